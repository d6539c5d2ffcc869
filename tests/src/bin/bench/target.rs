//! The target as a child, and what it counted.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, Stdio},
    time::Duration,
};

use anyhow::{Context, Result};

use crate::machine::Cores;

/// The bundled target on a free port, gone with the value.
#[derive(Debug)]
pub struct Target {
    child: Child,
    pub url: String,
}

impl Target {
    pub fn start(loadtest: &Path, cores: &Cores) -> Result<Self> {
        let mut child = Cores::command(&cores.target, loadtest)
            .args(["target", "--listen", "127.0.0.1:0"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {} target", loadtest.display()))?;
        let mut line = String::new();
        if let Some(output) = child.stdout.take() {
            BufReader::new(output).read_line(&mut line)?;
        }
        let url = line.trim().strip_prefix("listening on ").map(str::to_owned);
        let target = Self {
            child,
            url: url.clone().unwrap_or_default(),
        };
        url.with_context(|| format!("the target said {line:?} instead of where it listens"))?;
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
