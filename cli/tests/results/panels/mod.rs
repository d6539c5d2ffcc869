//! Every panel of the chart's dashboards, asked of real servers as its tool would ask: the request is
//! made of the shipped file, by the rules of Grafana's and Kibana's own request builders.

mod checks;
mod grafana;
mod kibana;
mod shown;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use serde_json::{Value, json};

use crate::{
    server::Server,
    truth::{Run, Truth},
};

/// What a panel shows.
#[derive(Debug, Default)]
pub struct Answer {
    pub rows: Vec<Row>,
    /// Documents, where it shows these.
    pub documents: Vec<Value>,
    /// Whether percentiles are the server's estimates.
    pub estimated: bool,
}

/// A group: a line of a table, a point of a chart.
#[derive(Debug, Default, Clone)]
pub struct Row {
    /// Of the groups it is in, without the time.
    pub keys: Vec<String>,
    /// When it begins, ms; charts only.
    pub time: i64,
    /// By the names that people see.
    pub values: BTreeMap<String, f64>,
}

/// What is asked about.
pub struct Asked<'a> {
    pub server: &'a Server,
    /// Whether the server runs scripts; that of the tests' Elasticsearch has no engine for them.
    pub scripts: bool,
    /// Names of the chosen runs.
    pub runs: Vec<String>,
    /// The chosen trace.
    pub trace: Option<String>,
}

/// Length of an interval of charts, ms.
pub const STEP: i64 = 1_000;

/// Asks all panels of all dashboards and compares what they show.
pub fn all_show_the_truth(server: &Server, truth: &Truth) {
    let scripts = server.runs_scripts();
    for id in ["loadtest-run", "loadtest-compare", "loadtest-requests"] {
        let chosen = if id == "loadtest-compare" { 2 } else { 1 };
        let runs = &truth.runs[..chosen];
        let mut asked = Asked {
            server,
            scripts,
            runs: runs.iter().map(Run::name).collect(),
            trace: None,
        };
        let tools = [
            ("Grafana", grafana::panels(id)),
            ("Kibana", kibana::panels(id)),
        ];
        let titles = |panels: &[(String, Value)]| -> BTreeSet<String> {
            panels.iter().map(|(title, _)| title.clone()).collect()
        };
        assert_eq!(titles(&tools[0].1), titles(&tools[1].1), "{id}");
        for (tool, panels) in tools {
            for (title, panel) in panels {
                asked.trace = (title == checks::OF_A_TRACE).then(|| truth.trace.clone());
                println!("{tool}, {id}: {title}");
                let answer = match tool {
                    "Grafana" => grafana::ask(&asked, &panel),
                    _ => kibana::ask(&asked, &panel),
                };
                checks::check(id, &title, truth, &answer);
            }
        }
    }
}

/// A committed dashboard.
fn file(path: &str) -> String {
    let folder = "../charts/loadtest-operator/files/dashboards";
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(folder)
        .join(path);
    std::fs::read_to_string(path).unwrap()
}

/// A time that includes all runs.
fn always() -> Value {
    json!({"range": {"@timestamp": {"gte": 0, "lte": 4_000_000_000_000_u64, "format": "epoch_millis"}}})
}

/// Walks through nested groups; `each` makes the values of an innermost bucket. The group `time` is
/// none of a row's keys.
fn rows(
    aggregations: &Value,
    groups: &[String],
    time: &str,
    each: &dyn Fn(&Value) -> BTreeMap<String, f64>,
) -> Vec<Row> {
    let Some((group, inner)) = groups.split_first() else {
        let values = each(aggregations);
        return vec![Row {
            values,
            ..Row::default()
        }];
    };
    let mut found = Vec::new();
    for bucket in aggregations[group.as_str()]["buckets"].as_array().unwrap() {
        for mut row in rows(bucket, inner, time, each) {
            match &bucket["key"] {
                key if group == time => row.time = key.as_i64().unwrap(),
                Value::String(key) => row.keys.insert(0, key.clone()),
                key => row.keys.insert(0, key.to_string()),
            }
            found.push(row);
        }
    }
    found
}

/// The value of a metric in a bucket, if it has one.
fn value(bucket: &Value, id: &str, operation: &str) -> Option<f64> {
    match operation {
        "count" => bucket["doc_count"].as_f64(),
        "percentile" | "percentiles" => {
            let values = bucket[id]["values"].as_object().unwrap();
            assert_eq!(values.len(), 1);
            values.values().next().unwrap().as_f64()
        }
        _ => bucket[id]["value"].as_f64(),
    }
}
