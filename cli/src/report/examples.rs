//! A request for each kind of failure, from the documents of the run.

use std::{
    fs::File,
    io::{BufRead as _, BufReader},
    path::PathBuf,
};

use flate2::read::MultiGzDecoder;
use loadtest_core::scalar::format_latency;
use loadtest_crds::status::ErrorRow;
use serde::Deserialize;

/// Documents that are looked at: a failure that is not among the first million is rare enough to be
/// looked for by hand.
const MOST: usize = 1_000_000;

/// One failed request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// Method and url.
    pub request: String,
    /// What came of it, and whose and when it was.
    pub circumstances: String,
}

/// One request for each row, where there is one.
pub fn find(rows: &[ErrorRow], paths: &[PathBuf]) -> Vec<Option<Example>> {
    let mut found: Vec<Option<Example>> = vec![None; rows.len()];
    for path in paths {
        if found.iter().all(Option::is_some) {
            break;
        }
        let Ok(file) = File::open(path) else { continue };
        let lines = BufReader::new(MultiGzDecoder::new(BufReader::new(file))).lines();
        // A file whose run was cut off ends in the middle.
        for line in lines.map_while(Result::ok).take(MOST) {
            if !line.contains(r#""outcome":"failure""#) {
                continue;
            }
            let Ok(document) = serde_json::from_str::<Document>(&line) else {
                continue;
            };
            let mut open = rows
                .iter()
                .zip(&mut found)
                .filter(|(_, found)| found.is_none());
            if let Some((_, place)) = open.find(|(row, _)| document.is_of(row)) {
                *place = Some(document.example());
                if found.iter().all(Option::is_some) {
                    break;
                }
            }
        }
    }
    found
}

#[derive(Deserialize)]
struct Document {
    #[serde(rename = "@timestamp")]
    timestamp: String,
    error: Error,
    http: Http,
    loadtest: LoadTest,
    #[serde(default)]
    url: Url,
}

#[derive(Deserialize)]
struct Error {
    #[serde(rename = "type")]
    kind: String,
    message: String,
}

#[derive(Deserialize)]
struct Http {
    request: Method,
    response: Option<Response>,
}

#[derive(Deserialize)]
struct Method {
    method: String,
}

#[derive(Deserialize)]
struct Response {
    status_code: Option<u16>,
}

#[derive(Deserialize)]
struct LoadTest {
    request: Request,
    runner: Runner,
}

#[derive(Deserialize)]
struct Request {
    name: String,
    user: u64,
    iteration: u64,
    time: Times,
}

#[derive(Deserialize)]
struct Times {
    from_schedule_us: u64,
}

#[derive(Deserialize)]
struct Runner {
    index: u32,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Url {
    scheme: String,
    domain: String,
    port: Option<u16>,
    path: String,
    query: Option<String>,
}

impl Document {
    fn is_of(&self, row: &ErrorRow) -> bool {
        self.error.kind == row.kind
            && self.loadtest.request.name == row.request
            && self.error.message == row.message
    }

    fn example(&self) -> Example {
        let url = &self.url;
        let port = url.port.map(|port| format!(":{port}")).unwrap_or_default();
        let query = url
            .query
            .as_ref()
            .map(|query| format!("?{query}"))
            .unwrap_or_default();
        let request = &self.loadtest.request;
        let status = self
            .http
            .response
            .as_ref()
            .and_then(|response| response.status_code);
        let answer = status.map_or_else(
            || "no answer".to_owned(),
            |status| format!("status {status}"),
        );
        Example {
            request: format!(
                "{} {}://{}{port}{}{query}",
                self.http.request.method, url.scheme, url.domain, url.path
            ),
            circumstances: format!(
                "{answer} after {}, user {} of runner {}, iteration {}, {}",
                format_latency(request.time.from_schedule_us),
                request.user,
                self.loadtest.runner.index,
                request.iteration,
                self.timestamp
            ),
        }
    }
}
