//! What the server said: the failed exchanges that the run kept.

use std::{
    fs::File,
    io::{BufRead as _, BufReader},
    path::PathBuf,
};

use loadtest_core::scalar::format_latency;
use loadtest_crds::status::ErrorRow;
use serde::Deserialize;

/// Samples that are shown of each error: as many as each runner keeps.
const SHOWN: usize = 3;

/// One failed exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// Method and url.
    pub request: String,
    /// What came of it, whose and when it was.
    pub circumstances: String,
    /// The beginning of the body.
    pub body: String,
    /// What is not shown of the body, and why.
    pub note: String,
}

/// The first samples of each row, in order of time.
pub fn find(rows: &[ErrorRow], paths: &[PathBuf]) -> Vec<Vec<Sample>> {
    let mut documents: Vec<Document> = Vec::new();
    for path in paths {
        let Ok(file) = File::open(path) else { continue };
        // A file whose run was cut off ends in the middle.
        let lines = BufReader::new(file).lines().map_while(Result::ok);
        documents.extend(lines.filter_map(|line| serde_json::from_str(&line).ok()));
    }
    // All times are written alike.
    documents.sort_by(|a, b| a.timestamp.cmp(&b.timestamp));
    let of_row = |row| {
        let documents = documents.iter().filter(|document| document.is_of(row));
        documents.take(SHOWN).map(Document::sample).collect()
    };
    rows.iter().map(of_row).collect()
}

#[derive(Deserialize)]
struct Document {
    #[serde(rename = "@timestamp")]
    timestamp: String,
    error: Error,
    http: Http,
    loadtest: LoadTest,
    /// A step kind of somebody's own may have none.
    #[serde(default)]
    url: Url,
    trace: Trace,
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
    status_code: u16,
    body: Body,
}

#[derive(Deserialize)]
struct Body {
    content: String,
}

#[derive(Deserialize)]
struct LoadTest {
    stage: String,
    request: Request,
    runner: Runner,
    #[serde(default)]
    sample: OfSample,
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
struct OfSample {
    content_type: String,
    note: String,
}

#[derive(Default, Deserialize)]
struct Url {
    full: String,
}

#[derive(Deserialize)]
struct Trace {
    id: String,
}

impl Document {
    /// Whether it is one of those that a row counts; the warm-up is in no row.
    fn is_of(&self, row: &ErrorRow) -> bool {
        let Error { kind, message } = &self.error;
        self.loadtest.stage == "load"
            && row.is_like(&ErrorRow::new(
                kind,
                &self.loadtest.request.name,
                message,
                0,
            ))
    }

    fn sample(&self) -> Sample {
        let LoadTest {
            request,
            runner,
            sample,
            ..
        } = &self.loadtest;
        let mut parts = match &self.http.response {
            Some(response) => vec![format!("status {}", response.status_code)],
            None => vec!["no answer".to_owned()],
        };
        if !sample.content_type.is_empty() {
            parts.push(sample.content_type.clone());
        }
        parts.extend([
            format!("after {}", format_latency(request.time.from_schedule_us)),
            format!("user {} of runner {}", request.user, runner.index),
            format!("iteration {}", request.iteration),
            self.timestamp.clone(),
            format!("trace {}", self.trace.id),
        ]);
        let response = self.http.response.as_ref();
        Sample {
            request: format!("{} {}", self.http.request.method, self.url.full)
                .trim_end()
                .to_owned(),
            circumstances: parts.join(", "),
            body: response
                .map(|response| response.body.content.clone())
                .unwrap_or_default(),
            note: sample.note.clone(),
        }
    }
}
