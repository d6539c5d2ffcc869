//! A server whose answers are bytes that each test writes itself, over TCP or TLS, and the
//! certificates for it.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use loadtest_core::plan::{Origin, Scheme};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::{
    HandshakeKind, RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    server::WebPkiClientVerifier,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;

use crate::target::{Seen, read_request};

/// What a route answers.
pub enum Answer {
    /// These bytes.
    Bytes(Vec<u8>),
    /// These bytes, and then the connection is closed.
    Last(Vec<u8>),
}

type Route = dyn Fn(&Seen) -> Answer + Send + Sync;

#[derive(Default)]
struct State {
    seen: Vec<Seen>,
    connections: u64,
    /// Handshakes that were whole, in full and resumed.
    full: u64,
    resumed: u64,
    /// Names that were asked for.
    names: Vec<Option<String>>,
}

/// The server; ends when it is dropped.
pub struct Site {
    pub address: SocketAddr,
    scheme: Scheme,
    state: Arc<Mutex<State>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Site {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub fn text(status: &str, headers: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let length = body.len();
    let head = format!("HTTP/1.1 {status} x\r\nContent-Length: {length}\r\n{headers}\r\n");
    [head.as_bytes(), body].concat()
}

pub fn ok(_: &Seen) -> Answer {
    Answer::Bytes(text("200", "", "hello"))
}

/// The value of a header of a request.
pub fn header<'a>(seen: &'a Seen, name: &str) -> Option<&'a str> {
    seen.head.lines().skip(1).find_map(|line| {
        let (key, value) = line.split_once(": ")?;
        key.eq_ignore_ascii_case(name).then_some(value)
    })
}

impl Site {
    pub async fn plain(route: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> Self {
        Self::start("127.0.0.1:0", None, route).await
    }

    pub async fn secure(
        config: ServerConfig,
        route: impl Fn(&Seen) -> Answer + Send + Sync + 'static,
    ) -> Self {
        Self::start("127.0.0.1:0", Some(config), route).await
    }

    pub async fn start(
        bind: &str,
        tls: Option<ServerConfig>,
        route: impl Fn(&Seen) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(bind).await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::<Mutex<State>>::default();
        let shared = Arc::clone(&state);
        let scheme = tls.as_ref().map_or(Scheme::Http, |_| Scheme::Https);
        let acceptor = tls.map(|config| TlsAcceptor::from(Arc::new(config)));
        let route: Arc<Route> = Arc::new(route);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let number = {
                    let mut state = shared.lock().unwrap();
                    state.connections += 1;
                    state.connections
                };
                let (state, route) = (Arc::clone(&shared), Arc::clone(&route));
                connections.spawn(serve(stream, number, acceptor.clone(), state, route));
            }
        });
        Self {
            address,
            scheme,
            state,
            task,
        }
    }

    pub fn origin(&self) -> Origin {
        Origin {
            scheme: self.scheme,
            host: self.address.ip().to_string(),
            port: self.address.port(),
        }
    }

    pub fn count(&self) -> u64 {
        self.state.lock().unwrap().seen.len() as u64
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.state.lock().unwrap().seen.clone()
    }

    pub fn connections(&self) -> u64 {
        self.state.lock().unwrap().connections
    }

    /// Handshakes in full and resumed.
    pub fn handshakes(&self) -> (u64, u64) {
        let state = self.state.lock().unwrap();
        (state.full, state.resumed)
    }

    pub fn names(&self) -> Vec<Option<String>> {
        self.state.lock().unwrap().names.clone()
    }
}

async fn serve(
    stream: TcpStream,
    number: u64,
    acceptor: Option<TlsAcceptor>,
    state: Arc<Mutex<State>>,
    route: Arc<Route>,
) {
    stream.set_nodelay(true).unwrap();
    let Some(acceptor) = acceptor else {
        return talk(stream, number, &state, &route).await;
    };
    let Ok(stream) = acceptor.accept(stream).await else {
        return;
    };
    {
        let mut state = state.lock().unwrap();
        let (_, session) = stream.get_ref();
        match session.handshake_kind() {
            Some(HandshakeKind::Resumed) => state.resumed += 1,
            _ => state.full += 1,
        }
        state.names.push(session.server_name().map(str::to_owned));
    }
    talk(stream, number, &state, &route).await;
}

async fn talk(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    number: u64,
    state: &Mutex<State>,
    route: &Arc<Route>,
) {
    let mut buffer = Vec::new();
    while let Some(seen) = read_request(&mut stream, &mut buffer).await {
        let seen = Seen {
            connection: number,
            ..seen
        };
        let answer = route(&seen);
        state.lock().unwrap().seen.push(seen);
        let (bytes, last) = match &answer {
            Answer::Bytes(bytes) => (bytes, false),
            Answer::Last(bytes) => (bytes, true),
        };
        if stream.write_all(bytes).await.is_err() || stream.flush().await.is_err() {
            return;
        }
        if last {
            drop(stream.shutdown().await);
            return;
        }
    }
}

/// A certificate authority and what it has signed.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub pem: String,
}

/// A certificate with its key.
pub struct Identity {
    pub chain: Vec<CertificateDer<'static>>,
    pub certificate_pem: String,
    pub key: KeyPair,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    pub fn sign(&self, name: &str) -> Identity {
        self.sign_with(name, |_| ())
    }

    pub fn sign_with(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Identity {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Identity {
            chain: vec![certificate.der().clone()],
            certificate_pem: certificate.pem(),
            key,
        }
    }

    /// A server that requires certificates of this authority from its clients.
    pub fn demanding(
        &self,
        identity: &Identity,
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> ServerConfig {
        let mut roots = RootCertStore::empty();
        let certificate = rustls::pki_types::pem::PemObject::from_pem_slice(self.pem.as_bytes());
        let certificate: CertificateDer<'_> = certificate.unwrap();
        roots.add(certificate).unwrap();
        let provider = Arc::new(ring::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_single_cert(identity.chain.clone(), identity.private_key())
            .unwrap()
    }
}

impl Identity {
    fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.serialize_der()).into()
    }

    /// A server with this certificate.
    pub fn server(&self) -> ServerConfig {
        self.server_of(rustls::ALL_VERSIONS)
    }

    /// The same of certain versions of TLS.
    pub fn server_of(
        &self,
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> ServerConfig {
        ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(self.chain.clone(), self.private_key())
            .unwrap()
    }
}
