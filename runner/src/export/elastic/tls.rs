//! TLS towards the search server: the mounted certificates, and what went wrong with them.
//!
//! A mounted Secret can be replaced while a test runs, so what connections are made with is known
//! by its content: after an exchange that came to nothing it is read again and compared.

use std::{error::Error, fmt};

use elasticsearch::{
    auth::{ClientCertificate as Shown, Credentials},
    cert::{Certificate, CertificateValidation},
    http::{
        Url,
        transport::{SingleNodeConnectionPool, Transport, TransportBuilder},
    },
};
use loadtest_core::plan::{ClientCertificate, Elasticsearch};
use rustls::AlertDescription as Alert;

use super::client::ClientError;

/// What says where a client certificate is named.
const FIELD: &str = "results.elasticsearch.tls.clientCertificateRef";

/// The content of the mounted files.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Pem {
    authorities: Option<Vec<u8>>,
    /// Certificate with chain, and private key; and where they are from.
    shown: Option<(Vec<u8>, ClientCertificate)>,
}

impl Pem {
    /// # Errors
    /// When a file cannot be read.
    pub(super) fn read(settings: &Elasticsearch) -> Result<Self, ClientError> {
        let read =
            |path: &String| std::fs::read(path).map_err(|e| ClientError::File(path.clone(), e));
        let authorities = settings.ca_file.as_ref().map(read).transpose()?;
        let shown = match &settings.client_certificate {
            None => None,
            Some(files) => {
                let mut pem = read(&files.key_file)?;
                pem.push(b'\n');
                pem.extend(read(&files.certificate_file)?);
                Some((pem, files.clone()))
            }
        };
        Ok(Self { authorities, shown })
    }

    /// A transport to one node; its credentials are set afterwards.
    ///
    /// # Errors
    /// When a certificate or key cannot be used.
    pub(super) fn transport(&self, url: &Url) -> Result<Transport, ClientError> {
        let mut builder =
            TransportBuilder::new(SingleNodeConnectionPool::new(url.clone())).disable_proxy();
        if let Some(pem) = &self.authorities {
            let chain = Certificate::from_pem(pem)
                .map_err(|error| ClientError::Certificates(error.to_string()))?;
            builder = builder.cert_validation(CertificateValidation::Full(chain));
        }
        if let Some((pem, _)) = &self.shown {
            // Kept by the connections, also when other credentials are set.
            builder = builder.auth(Credentials::Certificate(Shown::Pem(pem.clone())));
        }
        builder.build().map_err(|error| {
            let why = chain(&error);
            match &self.shown {
                Some((_, files)) => ClientError::ClientCertificate {
                    files: files.clone(),
                    why,
                },
                None => ClientError::Url(url.to_string(), why),
            }
        })
    }
}

impl fmt::Debug for Pem {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pem").finish_non_exhaustive()
    }
}

/// What happened, and how to mend it where it is about certificates.
pub(super) fn trouble_of(error: &(dyn Error + 'static)) -> String {
    let text = chain(error);
    let mut cause = Some(error);
    while let Some(inner) = cause {
        if let Some(hint) = rustls_error(inner).and_then(hint) {
            return format!("{text}: {hint}");
        }
        cause = inner.source();
    }
    text
}

/// An error of TLS travels inside one of input and output.
fn rustls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let inner = error.downcast_ref::<std::io::Error>()?.get_ref()?;
    inner.downcast_ref()
}

fn hint(error: &rustls::Error) -> Option<String> {
    match error {
        rustls::Error::InvalidCertificate(_) => Some(
            "name the authority that signed the server's certificate in \
             results.elasticsearch.tls.caRef"
                .to_owned(),
        ),
        rustls::Error::AlertReceived(Alert::CertificateRequired) => Some(format!(
            "the server demands a client certificate: see {FIELD}"
        )),
        rustls::Error::AlertReceived(
            Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::AccessDenied
            | Alert::HandshakeFailure,
        ) => Some(format!(
            "the server refuses our client certificate, or that there is none: see {FIELD}"
        )),
        _ => None,
    }
}

/// The innermost cause says what happened, the outer ones where.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.ends_with(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    text
}
