//! Fields of the streams, by the index templates that the exporter installs.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::read;

/// What a field is that is only kept.
const UNSEARCHABLE: &str = "unsearchable";

/// Types of a stream's fields.
#[derive(Debug)]
pub struct Mapping {
    stream: String,
    types: BTreeMap<String, String>,
}

/// What a field is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// In a list of documents.
    Shown,
    /// In a query.
    Asked,
    /// Groups.
    Terms,
    /// Sums, means, percentiles.
    Number,
    /// The largest or smallest.
    Extreme,
    /// A histogram of time.
    Time,
}

impl Mapping {
    /// Of the stream `loadtest-<stream>-*`. Both dialects' templates must have the fields.
    pub fn of(stream: &str) -> Self {
        let types = |dialect: &str| {
            let text = read(&format!("runner/templates/{stream}.{dialect}.json"));
            let template: Value = serde_json::from_str(&text).unwrap();
            let mut types = BTreeMap::new();
            collect(
                &template["template"]["mappings"]["properties"],
                "",
                &mut types,
            );
            types
        };
        let mut both = types("elasticsearch");
        let other = types("opensearch");
        both.retain(|field, _| other.contains_key(field));
        Self {
            stream: stream.to_owned(),
            types: both,
        }
    }

    /// Of the documents that a query asks for.
    pub fn of_query(query: &str) -> Self {
        let document = query.split("loadtest.doc:").nth(1).unwrap();
        match document.split(' ').next().unwrap() {
            "request" => Self::of("requests"),
            "interval" | "sample" => Self::of("metrics"),
            "run" => Self::of("runs"),
            other => panic!("no documents {other}: {query}"),
        }
    }

    /// Fails unless the field is there and may be used so.
    pub fn check(&self, field: &str, usage: Use) {
        let kind = self.types.get(field);
        let Some(kind) = kind else {
            panic!("loadtest-{} has no field {field}", self.stream);
        };
        let number = ["integer", "long", "double"].contains(&kind.as_str());
        let moment = ["date", "date_nanos"].contains(&kind.as_str());
        let fits = match usage {
            Use::Shown => kind != "object",
            Use::Asked => !["object", UNSEARCHABLE].contains(&kind.as_str()),
            Use::Terms => kind == "keyword" || kind == "integer",
            Use::Number => number,
            Use::Extreme => number || moment,
            Use::Time => moment,
        };
        assert!(fits, "{field} is {kind}: not for {usage:?}");
    }

    /// Whether a field's values are numbers.
    pub fn is_number(&self, field: &str) -> bool {
        self.types[field] == "integer"
    }

    /// Fails unless every field of a Lucene query is there.
    pub fn check_query(&self, query: &str) {
        for clause in query.split(" AND ") {
            let (field, value) = clause.split_once(':').unwrap();
            match field {
                "_exists_" => self.check(value, Use::Asked),
                field => self.check(field, Use::Asked),
            }
        }
    }
}

fn collect(properties: &Value, path: &str, types: &mut BTreeMap<String, String>) {
    for (name, field) in properties.as_object().unwrap() {
        let path = match path {
            "" => name.clone(),
            path => format!("{path}.{name}"),
        };
        match field["type"].as_str() {
            Some(_) if field["index"] == false => {
                types.insert(path, UNSEARCHABLE.to_owned());
            }
            Some(kind) => drop(types.insert(path, kind.to_owned())),
            None => collect(&field["properties"], &path, types),
        }
    }
}
