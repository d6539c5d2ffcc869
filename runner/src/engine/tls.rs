//! TLS to targets: whom we trust, what we show, and in which words a handshake fails.
//!
//! One configuration per worker, so that sessions are resumed without a lock that other threads
//! touch. All users of a worker share its sessions: a new connection costs the target a resumed
//! handshake if it offers tickets, whoever got them.

use std::sync::Arc;

use loadtest_core::plan::{ClientCertificate, TargetTls};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore,
    SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{
        CertificateDer, PrivateKeyDer, ServerName, UnixTime,
        pem::{self, PemObject},
    },
};

/// Why TLS cannot be set up. The sentence becomes the run's message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlsSetUpError {
    /// A mounted file is missing or is not what it should be.
    #[error("{field}: cannot use {path}: {reason}")]
    File {
        /// Field of the manifest.
        field: &'static str,
        /// Which file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Key and certificate do not fit, or are of a kind that nobody can use.
    #[error("target.tls.clientCertificateRef: {0}")]
    ClientCertificate(String),
    /// A name that no certificate can have.
    #[error("target.tls.serverName: {0:?} is neither a host name nor an address")]
    ServerName(String),
    /// An image without CA certificates.
    #[error(
        "the target speaks https, but this system has no CA certificates to verify it with: name the target's CA in target.tls.caRef, or use an image with public CAs"
    )]
    NoRoots,
    /// The library refuses its own defaults.
    #[error("cannot set up TLS: {0}")]
    Library(String),
}

/// How a client of ours speaks TLS as a plan says.
///
/// # Errors
/// When a file cannot be read or used, or there is nobody to trust.
pub fn client_config(tls: &TargetTls) -> Result<ClientConfig, TlsSetUpError> {
    if let Some(name) = &tls.server_name {
        server_name(name).ok_or_else(|| TlsSetUpError::ServerName(name.clone()))?;
    }
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsSetUpError::Library(error.to_string()))?;
    let builder = if tls.insecure_skip_verify {
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(TakesAny(provider)))
    } else {
        builder.with_root_certificates(roots(tls)?)
    };
    let mut config = match &tls.client_certificate {
        None => builder.with_no_client_auth(),
        Some(files) => {
            let (chain, key) = identity(files)?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|error| TlsSetUpError::ClientCertificate(error.to_string()))?
        }
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// For clients that want a configuration where no https is spoken.
///
/// # Errors
/// When the library refuses its own defaults.
pub fn trusting_nobody() -> Result<ClientConfig, TlsSetUpError> {
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map(|builder| {
            let nobody = RootCertStore::empty();
            builder.with_root_certificates(nobody).with_no_client_auth()
        })
        .map_err(|error| TlsSetUpError::Library(error.to_string()))
}

/// The name that is asked for and verified: a host name, or an address, which is not asked for.
pub fn server_name(host: &str) -> Option<ServerName<'static>> {
    ServerName::try_from(host.to_owned()).ok()
}

fn roots(tls: &TargetTls) -> Result<RootCertStore, TlsSetUpError> {
    const FIELD: &str = "target.tls.caRef";
    let mut store = RootCertStore::empty();
    if let Some(path) = &tls.ca_file {
        let refused = |reason: String| TlsSetUpError::File {
            field: FIELD,
            path: path.clone(),
            reason,
        };
        for (n, certificate) in certificates(FIELD, path)?.into_iter().enumerate() {
            store.add(certificate).map_err(|error| {
                refused(format!("certificate {} in it is no CA: {error}", n + 1))
            })?;
        }
    } else {
        // Some that are too odd to be used are no reason to do without the others.
        store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if store.is_empty() {
            return Err(TlsSetUpError::NoRoots);
        }
    }
    Ok(store)
}

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn identity(files: &ClientCertificate) -> Result<Identity, TlsSetUpError> {
    const FIELD: &str = "target.tls.clientCertificateRef";
    let key = PrivateKeyDer::from_pem_file(&files.key_file)
        .map_err(|error| file_error(FIELD, &files.key_file, "private key", &error))?;
    Ok((certificates(FIELD, &files.certificate_file)?, key))
}

fn certificates(
    field: &'static str,
    path: &str,
) -> Result<Vec<CertificateDer<'static>>, TlsSetUpError> {
    let failed = |error: &pem::Error| file_error(field, path, "certificate", error);
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path)
        .map_err(|error| failed(&error))?
        .collect();
    let found = found.map_err(|error| failed(&error))?;
    if found.is_empty() {
        return Err(failed(&pem::Error::NoItemsFound));
    }
    Ok(found)
}

fn file_error(field: &'static str, path: &str, what: &str, error: &pem::Error) -> TlsSetUpError {
    let reason = match error {
        pem::Error::Io(error) => error.to_string(),
        pem::Error::NoItemsFound => format!("it has no {what} in PEM form"),
        other => format!("it is not well-formed PEM: {other}"),
    };
    TlsSetUpError::File {
        field,
        path: path.to_owned(),
        reason,
    }
}

/// `insecureSkipVerify`: targets under test often have certificates that nobody signed, and rustls
/// has no switch for that on purpose. The signatures of the handshake are verified all the same:
/// leaving them out would make the target's work look the same and ours look cheaper than it is.
#[derive(Debug)]
struct TakesAny(Arc<CryptoProvider>);

impl ServerCertVerifier for TakesAny {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// What people read when TLS with a host fails. Never holds the current time or anything else that
/// differs from one request to the next: equal failures are counted together.
pub fn sentence(error: &Error, host: &str, tls: &TargetTls) -> String {
    match error {
        Error::InvalidCertificate(error) => certificate_sentence(error, host),
        Error::AlertReceived(alert) => alert_sentence(*alert, host, tls),
        Error::InvalidMessage(_) | Error::InappropriateMessage { .. } => {
            format!("{host} does not answer in TLS: it may speak plain http on this port")
        }
        Error::PeerIncompatible(_) => {
            format!("{host} has no TLS version or cipher in common with us: {error}")
        }
        other => format!("TLS with {host} failed: {other}"),
    }
}

fn certificate_sentence(error: &CertificateError, host: &str) -> String {
    let of = format!("the certificate of {host}");
    match error {
        // A bad signature is that of a CA with the name of a trusted one and another key.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            format!("{of} was issued by nobody that is trusted: name its CA in target.tls.caRef")
        }
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("{of} expired on {}", date(*not_after))
        }
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!("{of} is not valid before {}", date(*not_before))
        }
        CertificateError::NotValidForNameContext {
            expected,
            presented,
        } => {
            let names: Vec<_> = presented.iter().take(5).map(|name| bare(name)).collect();
            let names = match names.as_slice() {
                [] => "no name at all".to_owned(),
                names => names.join(", "),
            };
            format!(
                "{of} is for {names}, not for {}: see target.tls.serverName",
                expected.to_str()
            )
        }
        // The verifier's own errors have no other names than their texts.
        CertificateError::Other(error) => match error.0.to_string().as_str() {
            "CaUsedAsEndEntity" => format!(
                "{of} is that of a CA (CA:TRUE, as openssl req -x509 makes them), which cannot be a server's: use one with CA:FALSE, or target.tls.insecureSkipVerify"
            ),
            text => format!("{of} is refused: {text}"),
        },
        other => format!("{of} is refused: {other}"),
    }
}

fn alert_sentence(alert: AlertDescription, host: &str, tls: &TargetTls) -> String {
    use AlertDescription as Alert;
    let shown = tls.client_certificate.is_some();
    match alert {
        Alert::CertificateRequired => {
            format!("{host} requires a client certificate: see target.tls.clientCertificateRef")
        }
        Alert::BadCertificate
        | Alert::UnsupportedCertificate
        | Alert::CertificateRevoked
        | Alert::CertificateExpired
        | Alert::CertificateUnknown
        | Alert::UnknownCA
        | Alert::AccessDenied
        | Alert::DecryptError
            if shown =>
        {
            format!("{host} refused our client certificate with the alert {alert:?}")
        }
        // What servers send in TLS 1.2 when they got no certificate.
        Alert::HandshakeFailure | Alert::BadCertificate if !shown => format!(
            "{host} refused the handshake with the alert {alert:?}: it may require a client certificate (target.tls.clientCertificateRef) or other ciphers"
        ),
        Alert::ProtocolVersion => format!("{host} speaks neither TLS 1.2 nor TLS 1.3"),
        Alert::NoApplicationProtocol => {
            format!("{host} does not speak the version of HTTP that was asked for")
        }
        Alert::UnrecognisedName => {
            format!("{host} does not know the name that was asked for: see target.tls.serverName")
        }
        other => format!("{host} ended TLS with the alert {other:?}"),
    }
}

/// `DnsName("a.example")` → `a.example`.
fn bare(presented: &str) -> &str {
    let inner = presented
        .split_once('(')
        .and_then(|(_, rest)| rest.strip_suffix(')'));
    inner.unwrap_or(presented).trim_matches('"')
}

fn date(time: UnixTime) -> String {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    match jiff::Timestamp::from_second(seconds) {
        Ok(time) => time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
        Err(_) => format!("second {seconds} since 1970"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_certificates_are_bare() {
        assert_eq!(bare("DnsName(\"a.example\")"), "a.example");
        assert_eq!(bare("IpAddress(127.0.0.1)"), "127.0.0.1");
        assert_eq!(bare("odd"), "odd");
    }

    #[test]
    fn what_cannot_be_used_is_named_with_its_field_and_file() {
        let config = |tls: TargetTls| client_config(&tls).unwrap_err().to_string();
        let ca = |path: &str| {
            config(TargetTls {
                ca_file: Some(path.to_owned()),
                ..TargetTls::default()
            })
        };
        assert_eq!(
            ca("/nowhere/ca.crt"),
            "target.tls.caRef: cannot use /nowhere/ca.crt: No such file or directory (os error 2)"
        );
        assert_eq!(
            ca("/dev/null"),
            "target.tls.caRef: cannot use /dev/null: it has no certificate in PEM form"
        );
        let insecure = TargetTls {
            insecure_skip_verify: true,
            ..TargetTls::default()
        };
        let shown = TargetTls {
            client_certificate: Some(ClientCertificate {
                certificate_file: "/dev/null".to_owned(),
                key_file: "/dev/null".to_owned(),
            }),
            ..insecure.clone()
        };
        assert_eq!(
            config(shown),
            "target.tls.clientCertificateRef: cannot use /dev/null: it has no private key in PEM form"
        );
        let named = TargetTls {
            server_name: Some("a b".to_owned()),
            ..insecure
        };
        assert_eq!(
            config(named),
            "target.tls.serverName: \"a b\" is neither a host name nor an address"
        );
    }
}
