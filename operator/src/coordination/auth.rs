//! Who sends a report: the pod that a projected token was made for.
//!
//! Tokens are verified offline against the API server's public keys, which every service account
//! may read. A `TokenReview` would need a cluster-wide right that no Role can grant.

use std::{
    collections::HashMap,
    sync::{PoisonError, RwLock},
    time::Duration,
};

use jsonwebtoken::{
    DecodingKey, Validation, decode, decode_header,
    jwk::{JwkSet, KeyAlgorithm},
};
use kube::Client;
use loadtest_core::scalar::format_duration;
use serde::Deserialize;
use tokio::{sync::Mutex, time::Instant};

use super::signature;

/// What runners' tokens are made for.
pub const AUDIENCE: &str = "loadtest-operator";

/// Path of the API server's public keys.
const JWKS_PATH: &str = "/openid/v1/jwks";

/// Keys are asked for again at most this often, so that forged key ids cannot make us a source of
/// load on the API server.
const REFETCH_AFTER: Duration = Duration::from_secs(30);

/// The same after an attempt that failed.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Runners wait behind the question, and give a report up after five seconds.
const FETCH_LIMIT: Duration = Duration::from_secs(3);

/// Clocks of nodes may differ by this much, seconds.
const LEEWAY: u64 = 30;

/// The pod that sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub pod: String,
    /// Its uid: a name may come again.
    pub pod_uid: String,
}

/// Why a token is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// Not a token, or its signature or claims are wrong.
    #[error("the token is not valid: {0}")]
    Invalid(#[from] jsonwebtoken::errors::Error),
    /// No key id, or one that the API server does not have.
    #[error("the token is signed with a key that the API server does not have")]
    UnknownKey,
    /// A token that is bound to no pod.
    #[error("the token is bound to no pod")]
    NoPod,
    /// The API server's keys cannot be had.
    #[error("the API server's keys cannot be read: {0}")]
    Keys(String),
}

/// The claims that matter.
#[derive(Debug, Deserialize)]
struct Claims {
    #[serde(rename = "kubernetes.io")]
    kubernetes: Kubernetes,
}

#[derive(Debug, Deserialize)]
struct Kubernetes {
    namespace: String,
    pod: Option<Pod>,
}

#[derive(Debug, Deserialize)]
struct Pod {
    name: String,
    uid: String,
}

/// The API server's public keys by key id.
#[derive(Clone, Default)]
struct Keys(HashMap<String, (DecodingKey, Validation)>);

impl Keys {
    fn parse(jwks: &str) -> Result<Self, serde_json::Error> {
        let set: JwkSet = serde_json::from_str(jwks)?;
        let keys = set.keys.iter().filter_map(|jwk| {
            let id = jwk.common.key_id.clone()?;
            let key = DecodingKey::from_jwk(jwk).ok()?;
            Some((id, (key, validation(jwk.common.key_algorithm)?)))
        });
        Ok(Self(keys.collect()))
    }

    fn verify(&self, token: &str) -> Result<Identity, TokenError> {
        let id = decode_header(token)?.kid.ok_or(TokenError::UnknownKey)?;
        let (key, validation) = self.0.get(&id).ok_or(TokenError::UnknownKey)?;
        let Kubernetes { namespace, pod } =
            decode::<Claims>(token, key, validation)?.claims.kubernetes;
        let Pod { name, uid } = pod.ok_or(TokenError::NoPod)?;
        Ok(Identity {
            namespace,
            pod: name,
            pod_uid: uid,
        })
    }
}

/// The algorithm comes from the key, never from the token.
fn validation(algorithm: Option<KeyAlgorithm>) -> Option<Validation> {
    let algorithm = algorithm?.to_string().parse().ok()?;
    if !signature::ALGORITHMS.contains(&algorithm) {
        return None;
    }
    let mut validation = Validation::new(algorithm);
    validation.set_audience(&[AUDIENCE]);
    validation.set_required_spec_claims(&["exp", "aud"]);
    validation.validate_nbf = true;
    validation.leeway = LEEWAY;
    Some(validation)
}

/// Verifies tokens.
pub struct Authenticator {
    client: Client,
    keys: RwLock<Keys>,
    last_fetch: Mutex<Option<Fetched>>,
}

/// An attempt to read the keys.
struct Fetched {
    at: Instant,
    /// What went wrong, if it did.
    problem: Option<String>,
}

impl Fetched {
    /// What is known without asking again, as long as it is too early for that.
    fn still_good(&self) -> Option<Result<(), TokenError>> {
        let (pause, known) = match &self.problem {
            Some(problem) => (RETRY_AFTER, Err(TokenError::Keys(problem.clone()))),
            None => (REFETCH_AFTER, Ok(())),
        };
        (self.at.elapsed() < pause).then_some(known)
    }
}

impl std::fmt::Debug for Authenticator {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Authenticator")
    }
}

impl Authenticator {
    /// Without keys yet: the first token fetches them.
    pub fn new(client: Client) -> Self {
        signature::install();
        Self {
            client,
            keys: RwLock::default(),
            last_fetch: Mutex::default(),
        }
    }

    /// With these keys already; for tests.
    #[cfg(test)]
    pub(super) fn with_keys(client: Client, jwks: &str) -> Self {
        let authenticator = Self::new(client);
        *authenticator.keys.write().unwrap() = Keys::parse(jwks).unwrap();
        authenticator
    }

    /// Who a token was made for.
    ///
    /// # Errors
    /// [`TokenError`] when it cannot be trusted, or the keys cannot be had.
    pub async fn verify(&self, token: &str) -> Result<Identity, TokenError> {
        match self.verify_with_known_keys(token) {
            Err(TokenError::UnknownKey) => {
                self.refetch().await?;
                self.verify_with_known_keys(token)
            }
            result => result,
        }
    }

    fn verify_with_known_keys(&self, token: &str) -> Result<Identity, TokenError> {
        self.keys
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .verify(token)
    }

    async fn refetch(&self) -> Result<(), TokenError> {
        let mut last = self.last_fetch.lock().await;
        if let Some(known) = last.as_ref().and_then(Fetched::still_good) {
            return known;
        }
        let fetched = tokio::time::timeout(FETCH_LIMIT, self.fetch())
            .await
            .unwrap_or_else(|_| {
                Err(format!(
                    "the API server gave none within {}",
                    format_duration(FETCH_LIMIT)
                ))
            });
        *last = Some(Fetched {
            at: Instant::now(),
            problem: fetched.as_ref().err().cloned(),
        });
        fetched.map_err(TokenError::Keys)
    }

    async fn fetch(&self) -> Result<(), String> {
        let request = axum::http::Request::get(JWKS_PATH)
            .body(Vec::new())
            .map_err(|error| error.to_string())?;
        let jwks = self
            .client
            .request_text(request)
            .await
            .map_err(|error| error.to_string())?;
        let keys = Keys::parse(&jwks).map_err(|error| error.to_string())?;
        tracing::info!(keys = keys.0.len(), "read the API server's public keys");
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use ring::{
        rand::SystemRandom,
        signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
    };
    use serde_json::{Value, json};

    use super::*;
    use crate::scripted;

    /// A key of our own, in the place of the API server's.
    pub struct Signer {
        pair: EcdsaKeyPair,
        id: &'static str,
    }

    impl Signer {
        pub fn new(id: &'static str) -> Self {
            signature::install();
            let random = SystemRandom::new();
            let pkcs8 =
                EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
            let pair =
                EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &random)
                    .unwrap();
            Self { pair, id }
        }

        pub fn jwks(&self) -> String {
            let point = self.pair.public_key().as_ref();
            json!({"keys": [{
                "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": self.id,
                "x": base64url(&point[1..33]), "y": base64url(&point[33..65]),
            }]})
            .to_string()
        }

        fn sign(&self, header: &Value, claims: &Value) -> String {
            let text = format!(
                "{}.{}",
                base64url(header.to_string().as_bytes()),
                base64url(claims.to_string().as_bytes())
            );
            let signature = self
                .pair
                .sign(&SystemRandom::new(), text.as_bytes())
                .unwrap();
            format!("{text}.{}", base64url(signature.as_ref()))
        }

        pub fn token(&self, claims: &Value) -> String {
            self.sign(&json!({"alg": "ES256", "kid": self.id}), claims)
        }
    }

    fn base64url(bytes: &[u8]) -> String {
        const DIGITS: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let mut out = String::new();
        for chunk in bytes.chunks(3) {
            let word = chunk
                .iter()
                .fold(0_u32, |word, byte| word << 8 | u32::from(*byte))
                << (8 * (3 - chunk.len()));
            for digit in 0..=chunk.len() {
                out.push(char::from(DIGITS[(word >> (18 - 6 * digit) & 63) as usize]));
            }
        }
        out
    }

    pub fn claims() -> Value {
        json!({
            "aud": [AUDIENCE],
            "exp": crate::clock::now() / 1_000_000 + 600,
            "nbf": crate::clock::now() / 1_000_000 - 10,
            "kubernetes.io": {
                "namespace": "shop",
                "pod": {"name": "checkout-1-0-abcde", "uid": "u-1"},
                "serviceaccount": {"name": "default", "uid": "s-1"},
            },
        })
    }

    fn with(key: &str, value: Value) -> Value {
        let mut claims = claims();
        claims[key] = value;
        claims
    }

    #[test]
    fn a_token_of_the_cluster_names_its_pod() {
        let signer = Signer::new("key-1");
        let keys = Keys::parse(&signer.jwks()).unwrap();
        let identity = keys.verify(&signer.token(&claims())).unwrap();
        assert_eq!(
            identity,
            Identity {
                namespace: "shop".into(),
                pod: "checkout-1-0-abcde".into(),
                pod_uid: "u-1".into()
            }
        );
    }

    #[test]
    fn whatever_is_wrong_with_a_token_refuses_it() {
        let signer = Signer::new("key-1");
        let keys = Keys::parse(&signer.jwks()).unwrap();
        let past = crate::clock::now() / 1_000_000 - 600;
        let mut unbound = claims();
        unbound["kubernetes.io"]
            .as_object_mut()
            .unwrap()
            .remove("pod");
        let mut endless = claims();
        endless.as_object_mut().unwrap().remove("exp");
        let stranger = Signer::new("key-1");
        let later = Signer::new("key-2");
        let good = signer.token(&claims());
        let unsigned = signer.sign(&json!({"alg": "none", "kid": "key-1"}), &claims());
        let shared = signer.sign(&json!({"alg": "HS256", "kid": "key-1"}), &claims());
        let cases = [
            (
                "expired",
                signer.token(&with("exp", past.into())),
                "ExpiredSignature",
            ),
            (
                "not yet valid",
                signer.token(&with("nbf", (past + 1200).into())),
                "ImmatureSignature",
            ),
            (
                "other audience",
                signer.token(&with("aud", json!(["api"]))),
                "InvalidAudience",
            ),
            (
                "no end",
                signer.token(&endless),
                "Missing required claim: exp",
            ),
            ("no pod", signer.token(&unbound), "bound to no pod"),
            ("forged", stranger.token(&claims()), "InvalidSignature"),
            ("key not known", later.token(&claims()), "does not have"),
            ("another algorithm", shared, "InvalidAlgorithm"),
            ("unsigned", unsigned, "not valid"),
            ("cut off", good[..good.len() - 2].to_owned(), "not valid"),
            ("not a token", "x".to_owned(), "InvalidToken"),
        ];
        for (case, token, expected) in cases {
            let error = keys.verify(&token).expect_err(case).to_string();
            assert!(error.contains(expected), "{case}: {error}");
        }
    }

    #[test]
    fn keys_that_cannot_verify_are_left_out() {
        signature::install();
        let jwks = json!({"keys": [
            {"kty": "oct", "k": "c2VjcmV0", "alg": "HS256", "kid": "a"},
            {"kty": "RSA", "n": "AQAB", "e": "AQAB", "kid": "no-algorithm"},
        ]});
        assert!(Keys::parse(&jwks.to_string()).unwrap().0.is_empty());
        assert!(Keys::parse("<html>").is_err());
    }

    #[tokio::test]
    async fn an_api_server_that_gives_no_keys_is_not_asked_for_each_token() {
        let (operator, server) = scripted::operator(&[], |asked| {
            asked
                .is("GET", JWKS_PATH)
                .then(|| scripted::failure(403, "not now"))
        })
        .await;
        let authenticator = Authenticator::new(operator.client.clone());
        let token = Signer::new("key-1").token(&claims());
        for _ in 0..3 {
            let error = authenticator.verify(&token).await.unwrap_err();
            assert!(
                matches!(&error, TokenError::Keys(problem) if problem.contains("not now")),
                "{error}"
            );
        }
        assert_eq!(server.heard("GET", JWKS_PATH).len(), 1);
    }
}
