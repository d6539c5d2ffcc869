//! What runs were, by their own files.

use std::{collections::BTreeMap, path::Path};

use loadtest_crds::LoadTestRunStatus;
use serde_json::Value;

use crate::common::raw_documents;

/// A run.
pub struct Run {
    pub id: String,
    /// One document for each request.
    pub requests: Vec<Value>,
    /// Interval documents.
    pub intervals: Vec<Value>,
    /// Failed exchanges that were kept.
    pub samples: Vec<Value>,
    /// The document of its end.
    pub end: Value,
}

/// All that is asked about.
pub struct Truth {
    /// The one that most questions are about, and another one.
    pub runs: [Run; 2],
    /// Of an iteration of two requests.
    pub trace: String,
    pub started: String,
    pub completed: String,
}

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

impl Run {
    pub fn read(status: &LoadTestRunStatus, out: &Path) -> Self {
        let id = status.run.as_ref().unwrap().id.clone();
        let run = Self {
            requests: raw_documents(out),
            intervals: lines(&out.join("intervals.ndjson")),
            samples: lines(&out.join("samples.ndjson")),
            end: lines(&out.join("runs.ndjson")).pop().unwrap(),
            id,
        };
        assert!(run.requests.len() > 200, "{}", run.requests.len());
        run
    }

    /// As people see it.
    pub fn name(&self) -> String {
        text(&self.end["loadtest"]["run"]["name"])
    }

    /// Requests that fulfil something.
    pub fn of(&self, holds: impl Fn(&Value) -> bool) -> Vec<&Value> {
        self.requests.iter().filter(|doc| holds(doc)).collect()
    }

    /// Requests that are judged.
    pub fn load(&self) -> Vec<&Value> {
        self.of(|doc| doc["loadtest"]["stage"] == "load")
    }
}

impl Truth {
    pub fn new(runs: [Run; 2]) -> Self {
        let bought = runs[0].of(|doc| doc["loadtest"]["request"]["name"] == "/delayed");
        let trace = text(&bought[7]["trace"]["id"]);
        let run = &runs[0].end["loadtest"]["run"];
        let (started, completed) = (text(&run["started"]), text(&run["completed"]));
        Self {
            runs,
            trace,
            started,
            completed,
        }
    }
}

/// A text field.
pub fn text(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("{value}"))
        .to_owned()
}

/// Where a document says its request name.
pub fn name(document: &Value) -> String {
    text(&document["loadtest"]["request"]["name"])
}

/// A time of a request, µs.
pub fn time(document: &Value, which: &str) -> f64 {
    document["loadtest"]["request"]["time"][which]
        .as_f64()
        .unwrap()
}

/// How many of each.
pub fn count<'a>(
    documents: impl IntoIterator<Item = &'a Value>,
    key: impl Fn(&Value) -> String,
) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for document in documents {
        *counts.entry(key(document)).or_default() += 1;
    }
    counts
}

/// Times in ascending order.
pub fn sorted(documents: &[&Value], which: &str) -> Vec<f64> {
    let mut times: Vec<_> = documents.iter().map(|doc| time(doc, which)).collect();
    times.sort_by(f64::total_cmp);
    times
}
