//! TLS of the coordination server: a certificate authority of the operator's own, which runners
//! are given in their plan's `ConfigMap` and trust alone.
//!
//! The authority is kept in one Secret, so that a restarted operator is trusted by runs that are
//! under way. The server's certificate is made anew at each start and never stored.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{
    Api,
    api::{ObjectMeta, PostParams},
};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::{
    ServerConfig,
    pki_types::{
        CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer,
        pem::{self, PemObject},
    },
};

/// Key of the certificate in the Secret.
const CERTIFICATE: &str = "tls.crt";
/// Key of the private key in the Secret.
const PRIVATE_KEY: &str = "tls.key";

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The Secret cannot be read or written.
    #[error("cannot keep the certificate authority in Secret {name}: {source}")]
    Secret {
        /// Which Secret.
        name: String,
        /// What the API server said.
        source: kube::Error,
    },
    /// What is in the Secret cannot be used.
    #[error("Secret {name} holds no usable certificate authority ({problem}): delete its data")]
    Content {
        /// Which Secret.
        name: String,
        /// What is wrong.
        problem: String,
    },
    /// A certificate cannot be made.
    #[error("cannot make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// A certificate cannot be used.
    #[error("cannot use the server's certificate: {0}")]
    Rustls(#[from] rustls::Error),
}

/// The operator's certificate authority, in PEM.
#[derive(Clone)]
pub struct Authority {
    /// What runners trust.
    pub certificate: String,
    private_key: String,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Authority")
            .field("certificate", &self.certificate)
            .finish_non_exhaustive()
    }
}

impl Authority {
    /// A new authority.
    ///
    /// # Errors
    /// When keys cannot be made.
    pub fn generate() -> Result<Self, TlsError> {
        let key = KeyPair::generate()?;
        let certificate = authority_params().self_signed(&key)?.pem();
        Ok(Self {
            certificate,
            private_key: key.serialize_pem(),
        })
    }

    /// The authority in a Secret; a new one is put there when it has none. Whoever writes first
    /// wins: the loser of a race reads what the winner wrote.
    ///
    /// # Errors
    /// When the Secret cannot be read or written, or holds something else.
    pub async fn load(secrets: &Api<Secret>, name: &str) -> Result<Self, TlsError> {
        let failed = |source| TlsError::Secret {
            name: name.to_owned(),
            source,
        };
        loop {
            let known = secrets.get_opt(name).await.map_err(failed)?;
            if let Some(authority) = known
                .as_ref()
                .map(|secret| Self::read(secret, name))
                .transpose()?
                .flatten()
            {
                return Ok(authority);
            }
            let authority = Self::generate()?;
            let post = PostParams::default();
            let result = if let Some(mut secret) = known {
                // With the resource version that was read: a write in between is a conflict.
                secret.data = Some(authority.data());
                secrets.replace(name, &post, &secret).await
            } else {
                let metadata = ObjectMeta {
                    name: Some(name.to_owned()),
                    ..Default::default()
                };
                let data = Some(authority.data());
                secrets
                    .create(
                        &post,
                        &Secret {
                            metadata,
                            data,
                            ..Default::default()
                        },
                    )
                    .await
            };
            match result {
                Ok(_) => {
                    tracing::info!(secret = name, "made a new certificate authority");
                    return Ok(authority);
                }
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                Err(error) => return Err(failed(error)),
            }
        }
    }

    fn data(&self) -> BTreeMap<String, ByteString> {
        BTreeMap::from([
            (
                CERTIFICATE.to_owned(),
                ByteString(self.certificate.clone().into_bytes()),
            ),
            (
                PRIVATE_KEY.to_owned(),
                ByteString(self.private_key.clone().into_bytes()),
            ),
        ])
    }

    fn read(secret: &Secret, name: &str) -> Result<Option<Self>, TlsError> {
        let content = |problem: &str| TlsError::Content {
            name: name.to_owned(),
            problem: problem.to_owned(),
        };
        let text = |key: &str| -> Result<Option<String>, TlsError> {
            let Some(bytes) = secret.data.as_ref().and_then(|data| data.get(key)) else {
                return Ok(None);
            };
            let text = String::from_utf8(bytes.0.clone())
                .map_err(|_| content(&format!("{key} is not text")))?;
            Ok(Some(text).filter(|text| !text.is_empty()))
        };
        match (text(CERTIFICATE)?, text(PRIVATE_KEY)?) {
            (None, None) => Ok(None),
            (Some(certificate), Some(private_key)) => {
                let authority = Self {
                    certificate,
                    private_key,
                };
                authority
                    .issuer()
                    .map_err(|error| content(&error.to_string()))?;
                authority
                    .root()
                    .map_err(|error| content(&error.to_string()))?;
                Ok(Some(authority))
            }
            _ => Err(content("tls.crt and tls.key must both be there")),
        }
    }

    fn issuer(&self) -> Result<Issuer<'static, KeyPair>, rcgen::Error> {
        Ok(Issuer::new(
            authority_params(),
            KeyPair::from_pem(&self.private_key)?,
        ))
    }

    /// What a server needs to answer as `host`.
    ///
    /// # Errors
    /// When the certificate cannot be made or used.
    pub fn server_config(&self, host: &str) -> Result<Arc<ServerConfig>, TlsError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(vec![host.to_owned()])?;
        // A common name has at most 64 characters; clients look at the alternative name only.
        params
            .distinguished_name
            .push(DnType::CommonName, "loadtest-operator");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer()?)?;
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], private)?;
        Ok(Arc::new(config))
    }

    /// The certificate as rustls takes it.
    ///
    /// # Errors
    /// When it is no PEM certificate.
    pub fn root(&self) -> Result<CertificateDer<'static>, pem::Error> {
        CertificateDer::from_pem_slice(self.certificate.as_bytes())
    }
}

/// What an authority's certificate says; its key is all that differs.
fn authority_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params
        .distinguished_name
        .push(DnType::CommonName, "loadtest-operator coordination");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    // rcgen's default validity (1975 to 4096) is kept: whoever can replace the Secret can replace
    // the authority, and an end date would only be an outage to come.
    params
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use k8s_openapi::api::core::v1::Secret;
    use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
    use tokio::net::{TcpListener, TcpStream};
    use tokio_rustls::{TlsAcceptor, TlsConnector};

    use super::*;

    const HOST: &str = "loadtest-operator.loadtest-system.svc";

    async fn handshake(serves: &Authority, trusted: &Authority, host: &'static str) -> bool {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let acceptor = TlsAcceptor::from(serves.server_config(HOST).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(trusted.root().unwrap()).unwrap();
        let config = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = TlsConnector::from(Arc::new(config));
        let connect = async {
            let stream = TcpStream::connect(address).await.unwrap();
            connector
                .connect(ServerName::try_from(host).unwrap(), stream)
                .await
                .is_ok()
        };
        let accept = async {
            let (stream, _) = listener.accept().await.unwrap();
            acceptor.accept(stream).await.is_ok()
        };
        tokio::join!(connect, accept).0
    }

    #[tokio::test]
    async fn runners_trust_a_restarted_operator_and_nobody_else() {
        let first = Authority::generate().unwrap();
        let kept = Secret {
            data: Some(first.data()),
            ..Secret::default()
        };
        let restarted = Authority::read(&kept, "ca").unwrap().unwrap();
        assert!(handshake(&restarted, &first, HOST).await);
        assert!(!handshake(&restarted, &first, "other.loadtest-system.svc").await);
        assert!(!handshake(&Authority::generate().unwrap(), &first, HOST).await);
    }

    #[test]
    fn a_secret_without_content_is_filled_and_one_with_other_content_is_not() {
        assert!(Authority::read(&Secret::default(), "ca").unwrap().is_none());
        let mut data = Authority::generate().unwrap().data();
        data.remove(PRIVATE_KEY);
        let half = Secret {
            data: Some(data.clone()),
            ..Secret::default()
        };
        let error = Authority::read(&half, "ca").unwrap_err().to_string();
        assert!(
            error.contains("tls.crt and tls.key must both be there"),
            "{error}"
        );
        data.insert(PRIVATE_KEY.to_owned(), ByteString(b"x".to_vec()));
        let broken = Secret {
            data: Some(data),
            ..Secret::default()
        };
        assert!(Authority::read(&broken, "ca").is_err());
    }
}
