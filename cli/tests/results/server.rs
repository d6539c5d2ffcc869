//! A search server, asked directly.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use serde_json::{Value, json};

/// Where it is.
pub struct Server(String);

impl Server {
    pub fn at(url: &str) -> Self {
        Self(url.strip_prefix("http://").unwrap().to_owned())
    }

    /// Whether there is an engine for the language of scripts that every stock server has.
    pub fn runs_scripts(&self) -> bool {
        let script = json!({"query": {"script": {"script": "true"}}});
        self.try_post("loadtest-runs-*/_search", &script).is_ok()
    }

    /// Posts JSON, takes JSON; any other answer fails the test.
    pub fn post(&self, path: &str, body: &Value) -> Value {
        self.try_post(path, body)
            .unwrap_or_else(|said| panic!("{path}: {said}\n{body}"))
    }

    /// The same, with the answer when it is a refusal.
    fn try_post(&self, path: &str, body: &Value) -> Result<Value, String> {
        let mut stream = TcpStream::connect(&self.0).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        let body = body.to_string();
        // HTTP/1.0: the answer ends with the connection; a large one is in chunks all the same.
        write!(
            stream,
            "POST /{path} HTTP/1.0\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, answer) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap();
        if !status.starts_with('2') {
            return Err(format!("{status} {answer}"));
        }
        let chunked = head.to_lowercase().contains("transfer-encoding: chunked");
        let answer = if chunked {
            joined(answer)
        } else {
            answer.to_owned()
        };
        Ok(serde_json::from_str(&answer).unwrap())
    }
}

/// Chunks one after the other, each behind its length in hex.
fn joined(mut chunks: &str) -> String {
    let mut whole = String::new();
    while let Some((length, rest)) = chunks.split_once("\r\n") {
        let length = usize::from_str_radix(length, 16).unwrap();
        if length == 0 {
            break;
        }
        whole.push_str(&rest[..length]);
        chunks = &rest[length + 2..];
    }
    whole
}
