//! The API server as its administrator sees it, asked without a process for each question: a `kubectl`
//! costs far more than what it asks for, which tells where many worlds are made at once.

use std::{
    io::{Read as _, Write as _},
    net::SocketAddr,
    sync::{Arc, OnceLock},
};

use anyhow::{Context as _, Result, bail};
use rustls::{
    ClientConfig, ConfigBuilder, RootCertStore,
    client::WantsClientCert,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use serde_json::Value;

use crate::{
    cluster::{self, state_folder},
    proxy::wire,
};

/// The API server of the running cluster, and how it is spoken to.
#[derive(Debug)]
pub struct Api {
    address: SocketAddr,
    tls: Arc<ClientConfig>,
}

/// TLS that trusts the running cluster.
///
/// # Errors
/// When there is none.
pub fn trusting() -> Result<ConfigBuilder<ClientConfig, WantsClientCert>> {
    let mut roots = RootCertStore::empty();
    let authority = state_folder().join("pki/ca.crt");
    roots.add(CertificateDer::from_pem_file(authority)?)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    Ok(tls)
}

impl Api {
    /// That of the running cluster.
    ///
    /// # Errors
    /// When there is none.
    pub fn of_cluster() -> Result<&'static Self> {
        static FOUND: OnceLock<Api> = OnceLock::new();
        if let Some(found) = FOUND.get() {
            return Ok(found);
        }
        let pki = state_folder().join("pki");
        let certificate = CertificateDer::from_pem_file(pki.join("admin.crt"))?;
        let key = PrivateKeyDer::from_pem_file(pki.join("admin.key"))?;
        let api = Self {
            address: address()?,
            tls: Arc::new(trusting()?.with_client_auth_cert(vec![certificate], key)?),
        };
        Ok(FOUND.get_or_init(|| api))
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// An object or a list; `None`: there is none.
    ///
    /// # Errors
    /// What the API server says when it refuses.
    pub fn get(&self, path: &str) -> Result<Option<Value>> {
        match self.ask("GET", path, "", "")? {
            (404, _) => Ok(None),
            answer => done("GET", path, answer).map(Some),
        }
    }

    /// Makes an object; the path is that of the list it will be in.
    ///
    /// # Errors
    /// What the API server says when it refuses.
    pub fn create(&self, path: &str, object: &Value) -> Result<Value> {
        let answer = self.ask("POST", path, "application/json", &object.to_string())?;
        done("POST", path, answer)
    }

    /// Changes an object by a merge patch.
    ///
    /// # Errors
    /// What the API server says when it refuses.
    pub fn merge(&self, path: &str, changes: &Value) -> Result<Value> {
        let kind = "application/merge-patch+json";
        let answer = self.ask("PATCH", path, kind, &changes.to_string())?;
        done("PATCH", path, answer)
    }

    /// Deletes an object, and does not wait for it to go.
    ///
    /// # Errors
    /// What the API server says when it refuses.
    pub fn delete(&self, path: &str) -> Result<()> {
        let answer = self.ask("DELETE", path, "", "")?;
        done("DELETE", path, answer).map(drop)
    }

    /// HTTP/1.0: an answer ends where the connection does.
    fn ask(&self, method: &str, path: &str, kind: &str, body: &str) -> Result<(u16, Value)> {
        let mut server = wire::connect(self.address, &self.tls)?;
        server.sock.set_read_timeout(Some(wire::HANDSHAKE))?;
        write!(
            server,
            "{method} {path} HTTP/1.0\r\nhost: localhost\r\naccept: application/json\r\n\
             content-type: {kind}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )?;
        server.flush()?;
        let mut answer = Vec::new();
        server.read_to_end(&mut answer)?;
        let answer = String::from_utf8(answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no answer")?;
        let status = head.split(' ').nth(1).context(head.to_owned())?.parse()?;
        Ok((status, serde_json::from_str(body).unwrap_or_default()))
    }
}

fn address() -> Result<SocketAddr> {
    let path = "jsonpath={.clusters[0].cluster.server}";
    let server = cluster::ok(&["config", "view", "-o", path], "")?;
    let address = server.strip_prefix("https://").context(server.clone())?;
    address.parse().context(server.clone())
}

fn done(method: &str, path: &str, (status, body): (u16, Value)) -> Result<Value> {
    if !(200..300).contains(&status) {
        bail!("{method} {path}: {status} {}", body["message"]);
    }
    Ok(body)
}
