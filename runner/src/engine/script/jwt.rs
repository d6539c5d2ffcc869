//! Signed tokens: RFC 7519 in the compact form of RFC 7515.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use ring::{
    hmac,
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, RSA_PKCS1_SHA256, RsaKeyPair},
};
use rustls::pki_types::{PrivatePkcs8KeyDer, pem::PemObject};
use serde_json::{Map, Value};

use super::{Inputs, term::Term};
use crate::engine::message::Values;

/// How a token is signed (RFC 7518, 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    Hs256,
    Rs256,
    Es256,
}

/// A key that is ready to sign.
enum Key {
    Hmac(hmac::Key),
    Rsa(Box<RsaKeyPair>),
    P256(Box<EcdsaKeyPair>),
}

/// The token of some claims.
pub(super) struct Jwt {
    algorithm: Algorithm,
    /// Of a key that is known before the run starts: reading one takes longer than signing.
    ready: Option<Key>,
    key: Term,
    claims: Term,
}

impl std::fmt::Debug for Jwt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Jwt")
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

impl Algorithm {
    pub fn of(name: &str) -> Option<Self> {
        match name {
            "HS256" => Some(Self::Hs256),
            "RS256" => Some(Self::Rs256),
            "ES256" => Some(Self::Es256),
            _ => None,
        }
    }

    fn header(self) -> &'static str {
        match self {
            Self::Hs256 => r#"{"alg":"HS256","typ":"JWT"}"#,
            Self::Rs256 => r#"{"alg":"RS256","typ":"JWT"}"#,
            Self::Es256 => r#"{"alg":"ES256","typ":"JWT"}"#,
        }
    }
}

impl Key {
    fn read(algorithm: Algorithm, key: &str) -> Result<Self, String> {
        if algorithm == Algorithm::Hs256 {
            let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes());
            return Ok(Self::Hmac(key));
        }
        let der = PrivatePkcs8KeyDer::from_pem_slice(key.as_bytes()).map_err(|_| {
            "the key is no PKCS #8 private key in PEM, which begins with -----BEGIN PRIVATE KEY-----: \
             openssl pkcs8 -topk8 -nocrypt makes one of others"
                .to_owned()
        })?;
        let der = der.secret_pkcs8_der();
        if algorithm == Algorithm::Rs256 {
            let pair = RsaKeyPair::from_pkcs8(der);
            let pair = pair.map_err(|error| format!("the key is no RSA key of use: {error}"))?;
            Ok(Self::Rsa(Box::new(pair)))
        } else {
            let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
            let pair = EcdsaKeyPair::from_pkcs8(algorithm, der, &SystemRandom::new());
            let pair = pair.map_err(|error| format!("the key is no P-256 key of use: {error}"))?;
            Ok(Self::P256(Box::new(pair)))
        }
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, String> {
        let failed = |_| "the key cannot sign".to_owned();
        match self {
            Self::Hmac(key) => Ok(hmac::sign(key, message).as_ref().to_vec()),
            Self::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(
                    &RSA_PKCS1_SHA256,
                    &SystemRandom::new(),
                    message,
                    &mut signature,
                )
                .map_err(failed)?;
                Ok(signature)
            }
            Self::P256(pair) => {
                let signature = pair.sign(&SystemRandom::new(), message).map_err(failed)?;
                Ok(signature.as_ref().to_vec())
            }
        }
    }
}

impl Jwt {
    /// With a key that is read now if it is known now.
    ///
    /// # Errors
    /// When the key is none, or claims that are known are no JSON object.
    pub fn new(
        algorithm: Algorithm,
        key: Term,
        claims: Term,
        inputs: &Inputs,
    ) -> Result<Self, String> {
        if let Some(claims) = claims.constant(inputs) {
            check(claims)?;
        }
        let ready = key.constant(inputs).map(|key| Key::read(algorithm, key));
        Ok(Self {
            algorithm,
            ready: ready.transpose()?,
            key,
            claims,
        })
    }

    /// The token as of now.
    ///
    /// # Errors
    /// When key or claims are none; the text holds nothing of them.
    pub fn text(&self, values: &Values<'_>) -> Result<String, String> {
        let mut token = BASE64_URL_SAFE_NO_PAD.encode(self.algorithm.header());
        self.claims.with(values, |claims| {
            check(claims)?;
            token.push('.');
            BASE64_URL_SAFE_NO_PAD.encode_string(claims, &mut token);
            Ok::<_, String>(())
        })?;
        let signature = match &self.ready {
            Some(key) => key.sign(token.as_bytes()),
            None => self
                .key
                .with(values, |key| Key::read(self.algorithm, key))
                .and_then(|key| key.sign(token.as_bytes())),
        }?;
        token.push('.');
        BASE64_URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        Ok(token)
    }
}

/// RFC 7519, 7.1: claims are a JSON object.
fn check(claims: &str) -> Result<(), String> {
    serde_json::from_str::<Map<String, Value>>(claims)
        .map(drop)
        .map_err(|_| "the claims are no JSON object".to_owned())
}

#[cfg(test)]
mod tests {
    use loadtest_core::template::{Position, Template};
    use ring::signature::{
        ECDSA_P256_SHA256_FIXED, KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey,
    };

    use super::*;
    use crate::engine::script::{
        Compiler, Text,
        inputs::Secret,
        testing::{names, shared, values},
    };

    /// Made for this test, and nobody's.
    const RSA: &str = include_str!("jwt/rsa.pem");

    const CLAIMS: &str = r#"{"sub":"1234567890","name":"John Doe","iat":1516239022}"#;

    fn token(template: &str, key: &str) -> Result<String, String> {
        let inputs = std::sync::Arc::new(Inputs {
            secrets: [Secret::from(key.to_owned())].into(),
            ..Inputs::default()
        });
        let template = Template::parse(template, Position::Text, &names()).unwrap();
        let text = Text::compile(&template, &Compiler::new(&inputs));
        let text = text.map_err(|error| error.to_string())?;
        let shared = shared(inputs);
        let token = text.render(&values(&shared, None));
        shared.take_problem().map_or(Ok(token), Err)
    }

    fn parts(token: &str) -> (String, String, Vec<u8>) {
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let (header, _) = signed.split_once('.').unwrap();
        let decode = |text: &str| BASE64_URL_SAFE_NO_PAD.decode(text).unwrap();
        let header = String::from_utf8(decode(header)).unwrap();
        (header, signed.to_owned(), decode(signature))
    }

    #[test]
    fn tokens_are_signed_as_everybody_signs_them() {
        let template = format!("$(jwt HS256 secret.key '{CLAIMS}')");
        // The example that everybody knows.
        let known = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6IkpvaG4gRG9lIiwiaWF0IjoxNTE2MjM5MDIyfQ.SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c";
        assert_eq!(token(&template, "your-256-bit-secret").unwrap(), known);

        let made = token(&format!("$(jwt RS256 secret.key '{CLAIMS}')"), RSA).unwrap();
        let (header, signed, signature) = parts(&made);
        assert_eq!(header, r#"{"alg":"RS256","typ":"JWT"}"#);
        let Ok(Key::Rsa(pair)) = Key::read(Algorithm::Rs256, RSA) else {
            panic!("an RSA key")
        };
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, pair.public_key().as_ref())
            .verify(signed.as_bytes(), &signature)
            .unwrap();

        let pair = rcgen::KeyPair::generate().unwrap();
        let template = format!("$(jwt ES256 secret.key '{CLAIMS}')");
        let (header, signed, signature) = parts(&token(&template, &pair.serialize_pem()).unwrap());
        assert_eq!(header, r#"{"alg":"ES256","typ":"JWT"}"#);
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, pair.public_key_raw())
            .verify(signed.as_bytes(), &signature)
            .unwrap();
    }

    #[test]
    fn what_cannot_be_signed_says_so_and_shows_nothing() {
        for (template, key, expected) in [
            (
                "$(jwt RS256 secret.key '{}')",
                "hunter2",
                "the key is no PKCS #8 private key in PEM",
            ),
            (
                "$(jwt ES256 secret.key '{}')",
                RSA,
                "the key is no P-256 key of use",
            ),
            (
                "$(jwt HS256 secret.key secret.key)",
                "hunter2",
                "the claims are no JSON object",
            ),
            (
                "$(jwt HS256 secret.key user.index)",
                "hunter2",
                "the claims are no JSON object",
            ),
            (
                "$(jwt RS256 user.index '{}')",
                "hunter2",
                "the key is no PKCS #8 private key in PEM",
            ),
        ] {
            let refused = token(template, key).unwrap_err();
            assert!(refused.contains(expected), "{refused}");
            assert!(refused.starts_with("$(jwt"), "{refused}");
            assert!(
                !refused.contains("hunter2") && !refused.contains("BEGIN RSA"),
                "{refused}"
            );
        }
    }
}
