//! The real search server on the host, asked directly.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

/// A search server.
#[derive(Debug, Clone)]
pub struct Search {
    address: String,
}

impl Search {
    /// The one that `tests/environment.sh` started.
    ///
    /// # Errors
    /// When none runs.
    pub fn connect() -> Result<Self> {
        let run =
            std::env::var("CLUSTER_RUN").unwrap_or_else(|_| "/tmp/loadtest-cluster".to_owned());
        let url = std::fs::read_to_string(PathBuf::from(run).join("search.url"))
            .context("no search server runs: run `make cluster-up` first")?;
        Ok(Self {
            address: url.trim().trim_start_matches("http://").to_owned(),
        })
    }

    /// Sends a request and takes the JSON answer.
    ///
    /// # Errors
    /// When the server cannot be reached or answers with an error.
    pub fn request(&self, method: &str, path: &str, body: &Value) -> Result<Value> {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let mut stream = TcpStream::connect(&self.address)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        // HTTP/1.0: the answer is not chunked and ends with the connection.
        write!(
            stream,
            "{method} {path} HTTP/1.0\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
        let status = head.split(' ').nth(1).unwrap_or_default();
        if !status.starts_with('2') {
            bail!("{method} {path}: {status}: {body}");
        }
        Ok(serde_json::from_str(body)?)
    }

    /// Every document of a stream with this run id, in the order of their ids.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub fn documents(&self, stream: &str, run_id: &str) -> Result<Vec<Value>> {
        self.request("POST", &format!("/{stream}/_refresh"), &Value::Null)?;
        let mut documents: Vec<Value> = Vec::new();
        let mut after = Value::Null;
        loop {
            let mut query = json!({
                "size": 5000,
                "query": { "term": { "loadtest.run.id": run_id } },
                "sort": [{ "@timestamp": "asc" }, { "event.id": "asc" }],
            });
            if !after.is_null() {
                query["search_after"] = after;
            }
            let answer = self.request("POST", &format!("/{stream}/_search"), &query)?;
            let hits = answer["hits"]["hits"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            let Some(last) = hits.last() else {
                return Ok(documents);
            };
            after = last["sort"].clone();
            documents.extend(hits);
        }
    }
}
