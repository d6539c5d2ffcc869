//! The target as a child, and what it counted.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, Stdio},
    time::Duration,
};

use anyhow::{Context, Result};

use crate::{client::Place, machine::Cores};

/// The bundled target on free ports, gone with the value.
#[derive(Debug)]
pub struct Target {
    child: Child,
    pub url: String,
    /// The same over TLS.
    pub secure_url: String,
    /// Its certificate, in PEM, which is its own authority.
    pub certificate: String,
    /// Certificate and key as files.
    _place: Place,
}

impl Target {
    pub fn start(loadtest: &Path, cores: &Cores) -> Result<Self> {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])?;
        let certificate = made.cert.pem();
        let place = Place::new()?;
        place.write("cert.pem", &certificate)?;
        place.write("key.pem", &made.signing_key.serialize_pem())?;
        let mut child = Cores::command(&cores.target, loadtest)
            .args([
                "target",
                "--listen",
                "127.0.0.1:0",
                "--tls-listen",
                "127.0.0.1:0",
            ])
            .args(["--tls-cert", "cert.pem", "--tls-key", "key.pem"])
            .current_dir(place.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {} target", loadtest.display()))?;
        let output = child.stdout.take();
        let mut target = Self {
            child,
            url: String::new(),
            secure_url: String::new(),
            certificate,
            _place: place,
        };
        let mut lines = BufReader::new(output.context("the target has no output")?).lines();
        for url in [&mut target.url, &mut target.secure_url] {
            let line = lines
                .next()
                .context("the target does not say where it listens")??;
            let said = line.strip_prefix("listening on ");
            said.with_context(|| format!("the target said {line:?} instead of where it listens"))?
                .clone_into(url);
        }
        Ok(target)
    }

    /// Requests so far, as the target counted them.
    pub fn requests(&self) -> Result<u64> {
        let host = self.url.trim_start_matches("http://");
        let mut stream = TcpStream::connect(host).context("the target is gone")?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        write!(
            stream,
            "GET /__stats HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (_, body) = answer
            .split_once("\r\n\r\n")
            .context("no body in /__stats")?;
        let stats: serde_json::Value = serde_json::from_str(body).context("/__stats")?;
        stats
            .get("requests")
            .and_then(serde_json::Value::as_u64)
            .context("no count in /__stats")
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
