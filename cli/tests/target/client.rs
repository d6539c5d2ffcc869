//! The target as a child, and a connection to it.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use loadtest_runner::http::{Progress, ResponseParser};

/// Nothing here takes this long; what does hangs.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// A target on a free port, gone with the value.
#[derive(Debug)]
pub struct Target {
    child: Child,
    pub address: SocketAddr,
}

pub fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadtest"));
    command.arg("target").stdin(Stdio::null());
    command
}

impl Target {
    pub fn start() -> Self {
        let mut child = command()
            .args(["--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the target starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("its output"))
            .read_line(&mut line)
            .expect("its first line");
        let address = line
            .strip_prefix("listening on http://")
            .and_then(|rest| rest.trim_end().parse().ok())
            .unwrap_or_else(|| panic!("the first line is {line:?}"));
        Self { child, address }
    }

    pub fn connect(&self) -> Connection {
        let stream = TcpStream::connect(self.address).expect("the target listens");
        stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
        Connection {
            stream,
            address: self.address,
        }
    }

    /// One request on a connection of its own.
    pub fn ask(&self, method: &str, path: &str) -> Answer {
        self.connect().ask(method, path, "", b"")
    }

    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(sent.expect("kill runs").success());
    }

    pub fn wait(mut self) -> ExitStatus {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status;
            }
            assert!(began.elapsed() < DEADLINE, "the target does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    address: SocketAddr,
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
    pub keep_alive: bool,
}

impl Answer {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {:?}", String::from_utf8_lossy(&self.body)))
    }
}

impl Connection {
    /// Sends a request without waiting for the answer. `headers` are whole lines.
    pub fn send(&mut self, method: &str, path: &str, headers: &str, body: &[u8]) {
        let length = if body.is_empty() && (method == "GET" || headers.contains("Content-Length")) {
            String::new()
        } else {
            format!("Content-Length: {}\r\n", body.len())
        };
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\n{headers}{length}\r\n",
            self.address
        );
        self.stream
            .write_all(head.as_bytes())
            .expect("the target reads");
        // A target that refuses the body may close before it has read it all.
        let _ = self.stream.write_all(body);
    }

    pub fn receive(&mut self, head_request: bool) -> Answer {
        let mut parser = ResponseParser::new();
        parser.reset(head_request);
        let (mut all, mut body) = (Vec::new(), Vec::new());
        let mut buffer = vec![0; 1 << 16];
        loop {
            let n = self.stream.read(&mut buffer).expect("an answer in time");
            assert!(n > 0, "closed after {:?}", String::from_utf8_lossy(&all));
            if all.len() < 1 << 14 {
                all.extend_from_slice(&buffer[..n]);
            }
            let progress = parser.feed(&buffer[..n], |part| body.extend_from_slice(part));
            if let Progress::Done { .. } = progress.expect("well-formed") {
                let text = String::from_utf8_lossy(&all);
                let head = text
                    .split("\r\n\r\n")
                    .next()
                    .unwrap_or_default()
                    .to_lowercase();
                let (status, keep_alive) = (parser.status(), parser.keep_alive());
                return Answer {
                    status,
                    head,
                    body,
                    keep_alive,
                };
            }
        }
    }

    pub fn ask(&mut self, method: &str, path: &str, headers: &str, body: &[u8]) -> Answer {
        self.send(method, path, headers, body);
        self.receive(method == "HEAD")
    }
}
