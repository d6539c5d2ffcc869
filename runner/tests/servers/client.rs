//! Two clients: a socket with our codec behind it, and hyper's.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use http_body_util::{BodyExt, Full};
use hyper::{Version, body::Bytes};
use hyper_util::rt::TokioIo;
use loadtest_runner::http::{HeadMemory, Keep, Progress, ProtocolError, ResponseParser};

const PATIENCE: Duration = Duration::from_secs(20);

/// What is asked.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: &'static str,
    pub path: String,
    /// `1.1` or `1.0`.
    pub version: &'static str,
    pub headers: &'static [(&'static str, &'static str)],
    pub body: Vec<u8>,
}

impl Request {
    fn bytes(&self, server: SocketAddr) -> Vec<u8> {
        let mut lines = vec![
            format!("{} {} HTTP/{}", self.method, self.path, self.version),
            format!("host: {server}"),
        ];
        let headers = self.headers.iter();
        lines.extend(headers.map(|(name, value)| format!("{name}: {value}")));
        if !self.body.is_empty() {
            lines.push(format!("content-length: {}", self.body.len()));
        }
        let text = lines.join("\r\n") + "\r\n\r\n";
        [text.into_bytes(), self.body.clone()].concat()
    }
}

/// A whole answer, as far as both clients can tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
}

/// A connection that is used for as long as the codec says.
pub struct Client {
    pub server: SocketAddr,
    pub parser: ResponseParser,
    stream: Option<TcpStream>,
    /// Connections so far.
    pub connections: usize,
    /// Answers over the present one.
    pub answers: usize,
}

impl Client {
    pub fn new(server: SocketAddr) -> Self {
        Self {
            server,
            parser: ResponseParser::new(),
            stream: None,
            connections: 0,
            answers: 0,
        }
    }

    /// Asks, and reads at most `size` bytes at a time.
    pub fn ask(
        &mut self,
        request: &Request,
        size: usize,
        mut memory: Option<&mut HeadMemory>,
    ) -> Result<Answer, ProtocolError> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            none => {
                self.connections += 1;
                self.answers = 0;
                let stream = TcpStream::connect(self.server).expect("the server listens");
                stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
                stream.set_nodelay(true).expect("no delay");
                none.insert(stream)
            }
        };
        stream
            .write_all(&request.bytes(self.server))
            .expect("an open connection");
        let everything = Keep {
            all: true,
            ..Keep::NOTHING
        };
        self.parser
            .reset_keeping(request.method == "HEAD", everything);
        let mut body = Vec::new();
        let mut buffer = vec![0; size];
        loop {
            let count = stream.read(&mut buffer).expect("an answer in time");
            let keep = |part: &[u8]| body.extend_from_slice(part);
            if count == 0 {
                self.stream = None;
                self.parser.end_of_stream()?;
                break;
            }
            let bytes = &buffer[..count];
            let progress = self
                .parser
                .feed_remembering(bytes, memory.as_deref_mut(), keep)?;
            if let Progress::Done { consumed } = progress {
                assert_eq!(consumed, count, "bytes after the answer to {request:?}");
                break;
            }
        }
        self.answers += 1;
        if !self.parser.keep_alive() {
            self.expect_close(request);
        }
        Ok(Answer {
            status: self.parser.status(),
            body,
        })
    }

    /// The codec says that the connection is over: so must the server.
    fn expect_close(&mut self, request: &Request) {
        if let Some(mut stream) = self.stream.take() {
            let after = stream.read(&mut [0; 1]);
            assert!(
                matches!(after, Ok(0)),
                "after {request:?} the server goes on: {after:?}"
            );
        }
    }
}

/// The answer as hyper reads it, over a connection of its own.
pub async fn by_hyper(server: SocketAddr, request: &Request) -> Answer {
    let stream = tokio::net::TcpStream::connect(server)
        .await
        .expect("the server listens");
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .expect("a connection");
    let mut builder = hyper::Request::builder()
        .method(request.method)
        .uri(&request.path)
        .version(if request.version == "1.0" {
            Version::HTTP_10
        } else {
            Version::HTTP_11
        })
        .header("host", server.to_string());
    for (name, value) in request.headers {
        builder = builder.header(*name, *value);
    }
    let asked = builder
        .body(Full::new(Bytes::from(request.body.clone())))
        .expect("a request");
    let read = async {
        let response = sender.send_request(asked).await.expect("an answer");
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.expect("its body");
        drop(sender);
        Answer {
            status,
            body: body.to_bytes().to_vec(),
        }
    };
    let (answer, _) = tokio::join!(read, connection);
    answer
}
