//! One exchange with the search server.

use std::{
    net::ToSocketAddrs,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use elasticsearch::{
    auth::Credentials,
    http::{
        Method, Url,
        headers::{ACCEPT, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue},
        transport::Transport,
    },
};
use loadtest_core::plan::{Auth, ClientCertificate, Elasticsearch};

use super::tls::{Pem, trouble_of};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub(in crate::export) enum ClientError {
    /// Not a url.
    #[error("{0:?} is not the url of a search server: {1}")]
    Url(String, String),
    /// No url at all.
    #[error("no url of a search server is given")]
    NoUrl,
    /// A mounted file cannot be read.
    #[error("cannot read {0}: {1}")]
    File(String, std::io::Error),
    /// The certificates of the CA cannot be used.
    #[error("the CA certificates of the search server cannot be used: {0}")]
    Certificates(String),
    /// The certificate that is to be shown, or its key, cannot be used.
    #[error(
        "the client certificate of results.elasticsearch.tls cannot be used (certificate {}, key \
         {}): {why}",
        files.certificate_file,
        files.key_file
    )]
    ClientCertificate {
        /// Where they are.
        files: ClientCertificate,
        /// What is wrong with them.
        why: String,
    },
}

/// The nodes of a search server, asked in turn.
#[derive(Debug)]
pub(super) struct Client {
    nodes: Vec<Node>,
    current: AtomicUsize,
    settings: Elasticsearch,
    /// What the transports were made with.
    pem: Mutex<Pem>,
}

#[derive(Debug)]
struct Node {
    /// Made anew when the mounted certificates were replaced.
    transport: Mutex<Transport>,
    url: Url,
    /// Whether the last exchange came to an answer.
    works: AtomicBool,
}

/// A body with its media type.
#[derive(Debug, Clone, Copy)]
pub(super) enum Body<'a> {
    /// None.
    Empty,
    /// JSON.
    Json(&'a [u8]),
    /// Lines of JSON, gzipped.
    Gzip(&'a [u8]),
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum NoAnswer {
    /// Nothing was sent.
    Unsent(String),
    /// The server may have done what it was asked for.
    Unknown(String),
}

impl NoAnswer {
    /// What happened.
    pub(super) fn trouble(self) -> String {
        match self {
            Self::Unsent(trouble) | Self::Unknown(trouble) => trouble,
        }
    }
}

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) text: String,
}

impl Client {
    pub(super) fn new(settings: &Elasticsearch) -> Result<Self, ClientError> {
        let pem = Pem::read(settings)?;
        let nodes: Vec<_> = settings
            .urls
            .iter()
            .map(|url| Node::new(url, &pem))
            .collect::<Result<_, _>>()?;
        if nodes.is_empty() {
            return Err(ClientError::NoUrl);
        }
        let client = Self {
            nodes,
            current: AtomicUsize::new(0),
            settings: settings.clone(),
            pem: Mutex::new(pem),
        };
        client.read_credentials()?;
        Ok(client)
    }

    /// Reads the mounted credentials again: they may have been replaced.
    pub(super) fn read_credentials(&self) -> Result<(), ClientError> {
        let Some(auth) = &self.settings.auth else {
            return Ok(());
        };
        let credentials = match auth {
            Auth::Basic {
                username_file,
                password_file,
            } => Credentials::Basic(read(username_file)?, read(password_file)?),
            Auth::ApiKey { key_file } => Credentials::EncodedApiKey(read(key_file)?),
            Auth::Bearer { token_file } => Credentials::Bearer(read(token_file)?),
        };
        for node in &self.nodes {
            node.transport().set_auth(credentials.clone());
        }
        Ok(())
    }

    /// Reads the mounted certificates again, which may have been replaced, and connects with the new
    /// ones from now on.
    fn read_certificates(&self) -> Result<(), ClientError> {
        let new = Pem::read(&self.settings)?;
        let mut pem = self.pem.lock().unwrap_or_else(PoisonError::into_inner);
        if *pem == new {
            return Ok(());
        }
        for node in &self.nodes {
            *node.transport() = new.transport(&node.url)?;
        }
        *pem = new;
        drop(pem);
        tracing::info!("the certificates for the search server were replaced");
        self.read_credentials()
    }

    /// Sends a request to the node that worked last.
    ///
    /// # Errors
    /// When there is no whole answer; the next request goes to the next node.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: Body<'_>,
    ) -> Result<Answer, NoAnswer> {
        let current = self.current.load(Ordering::Relaxed);
        let Some(node) = self.nodes.get(current % self.nodes.len()) else {
            return Err(NoAnswer::Unsent(ClientError::NoUrl.to_string()));
        };
        let mut answer = node.exchange(method, path, query, body).await;
        if let Err(NoAnswer::Unknown(trouble)) = &mut answer
            && (self.settings.ca_file.is_some() || self.settings.client_certificate.is_some())
            && let Err(error) = self.read_certificates()
        {
            *trouble = format!("{trouble}; {error}");
        }
        let works = answer
            .as_ref()
            .is_ok_and(|answer| !matches!(answer.status, 502..=504));
        node.works.store(works, Ordering::Relaxed);
        if !works {
            let next = (current + 1) % self.nodes.len();
            let _ =
                self.current
                    .compare_exchange(current, next, Ordering::Relaxed, Ordering::Relaxed);
        }
        answer
    }
}

impl Node {
    fn new(text: &str, pem: &Pem) -> Result<Self, ClientError> {
        let refused = |why: String| ClientError::Url(text.to_owned(), why);
        let url = Url::parse(text).map_err(|error| refused(error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(refused("it must begin with http:// or https://".to_owned()));
        }
        Ok(Self {
            transport: Mutex::new(pem.transport(&url)?),
            url,
            works: AtomicBool::new(false),
        })
    }

    fn transport(&self) -> MutexGuard<'_, Transport> {
        self.transport
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: Body<'_>,
    ) -> Result<Answer, NoAnswer> {
        if !self.works.load(Ordering::Relaxed) {
            self.reach().await.map_err(NoAnswer::Unsent)?;
        }
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let body = match body {
            Body::Empty => None,
            Body::Json(json) => {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                Some(json)
            }
            Body::Gzip(gzip) => {
                headers.insert(
                    CONTENT_TYPE,
                    HeaderValue::from_static("application/x-ndjson"),
                );
                headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
                Some(gzip)
            }
        };
        let failed = |error: &(dyn std::error::Error + 'static)| {
            NoAnswer::Unknown(format!(
                "no answer from {}: {}",
                self.url,
                trouble_of(error)
            ))
        };
        let transport = self.transport().clone();
        let response = transport
            .send(
                method,
                path,
                headers,
                Some(query),
                body,
                Some(REQUEST_TIMEOUT),
            )
            .await
            .map_err(|error| failed(&error))?;
        let status = response.status_code().as_u16();
        let text = response.text().await.map_err(|error| failed(&error))?;
        Ok(Answer { status, text })
    }

    /// Whether somebody listens there: the transport has no time limit of its own for connecting,
    /// and the request's would make every attempt at a dead address take half a minute.
    async fn reach(&self) -> Result<(), String> {
        let failed = |why: &dyn std::fmt::Display| format!("cannot connect to {}: {why}", self.url);
        let (host, port) = (
            self.url
                .host_str()
                .unwrap_or_default()
                .trim_matches(['[', ']'])
                .to_owned(),
            self.url.port_or_known_default().unwrap_or(9200),
        );
        let connect = async {
            let resolve = move || (host, port).to_socket_addrs();
            let addresses = tokio::task::spawn_blocking(resolve).await??;
            let mut last = std::io::Error::other("the name has no address");
            for address in addresses {
                match tokio::net::TcpStream::connect(address).await {
                    Ok(_) => return Ok(()),
                    Err(error) => last = error,
                }
            }
            Err(last)
        };
        match tokio::time::timeout(CONNECT_TIMEOUT, connect).await {
            Ok(reached) => reached.map_err(|error: std::io::Error| failed(&error)),
            Err(_) => Err(failed(&"no connection within 5 s")),
        }
    }
}

fn read(path: &str) -> Result<String, ClientError> {
    let text = std::fs::read_to_string(path).map_err(|e| ClientError::File(path.to_owned(), e))?;
    let text = text.trim();
    // The transport would panic on a character that no header can have.
    if text.chars().any(char::is_control) {
        let error = std::io::Error::other("a control character in credentials");
        return Err(ClientError::File(path.to_owned(), error));
    }
    Ok(text.to_owned())
}
