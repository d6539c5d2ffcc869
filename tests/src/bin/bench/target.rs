//! The target as a child, and what it counted.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};

use crate::{client::Place, machine::Cores};

/// What clients ask for; the lean target has no other answers.
pub const SMALL: &str = "/json";
pub const LARGE: &str = "/bytes/10240";

/// The lean target, and the bundled one for TLS, on free ports and gone with the value.
#[derive(Debug)]
pub struct Target {
    plain: Server,
    secure: Server,
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
        let mut bundled = Cores::command(&cores.target, loadtest);
        bundled
            .args(["target", "--listen", "127.0.0.1:0"])
            .args(["--tls-listen", "127.0.0.1:0"])
            .args(["--tls-cert", "cert.pem", "--tls-key", "key.pem"])
            .current_dir(place.path());
        let (secure, urls) = Server::start(bundled, 2)?;
        let [stats_url, secure_url] = urls.try_into().ok().context("two urls")?;
        let program = sibling("lean")?;
        let mut lean = Cores::command(&cores.target, &program);
        lean.arg(host(&stats_url)).args([SMALL, LARGE]);
        let (plain, urls) = Server::start(lean, 1)?;
        Ok(Self {
            plain,
            secure,
            url: urls.into_iter().next().context("a url")?,
            secure_url,
            certificate,
            _place: place,
        })
    }

    /// Requests so far, as the targets counted them.
    pub fn requests(&self) -> Result<u64> {
        Ok(self.plain.requests()? + self.secure.requests()?)
    }
}

/// A target as a child, killed with the value.
#[derive(Debug)]
struct Server {
    child: Child,
    /// Where it tells how many requests it had.
    host: String,
}

impl Server {
    /// Starts one that says at how many urls it listens, the first of them without TLS.
    fn start(mut command: Command, urls: usize) -> Result<(Self, Vec<String>)> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))?;
        let output = child.stdout.take();
        let mut server = Self {
            child,
            host: String::new(),
        };
        let lines = BufReader::new(output.context("the target has no output")?).lines();
        let said = lines.take(urls).map(|line| {
            let line = line?;
            let url = line.strip_prefix("listening on ");
            Ok(url
                .with_context(|| format!("the target said {line:?} instead of where it listens"))?
                .to_owned())
        });
        let said = said.collect::<Result<Vec<_>>>()?;
        let first = said
            .first()
            .context("the target does not say where it listens")?;
        host(first).clone_into(&mut server.host);
        Ok((server, said))
    }

    fn requests(&self) -> Result<u64> {
        let host = &self.host;
        let mut stream = TcpStream::connect(host).context("the target is gone")?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        // In one piece, as the lean target wants it.
        let request = format!("GET /__stats HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes())?;
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

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn host(url: &str) -> &str {
    url.trim_start_matches("http://")
}

/// Another program of this package.
pub fn sibling(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe().context("where this program is")?;
    let program = own.with_file_name(name);
    if !program.is_file() {
        bail!(
            "no {}: cargo build --release -p loadtest-tests --bins",
            program.display()
        );
    }
    Ok(program)
}
