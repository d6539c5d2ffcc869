//! The dashboards of the results: what they show is said once, in [`content`], and written for Kibana
//! and for Grafana.
//!
//! A panel is said in words that both tools have: which documents, grouped by which fields, which
//! metrics, drawn how. Whatever only one of them can do is left out, so that a panel means the same
//! in both. Filters are Lucene's query strings, which both hand to the server as they stand.
//!
//! The files are committed in the chart. `tests/files.rs` holds them against this source and against
//! the index templates; `cli/tests/results` asks real servers what each panel of the files asks.

pub mod content;
mod grafana;
mod kibana;
pub mod panel;
mod prometheus;

/// Where the files are, from the root of the repository.
pub const FOLDER: &str = "charts/loadtest-operator/files/dashboards";

/// Every file with its path below [`FOLDER`], as it must be.
pub fn files() -> Vec<(String, String)> {
    let dashboards = content::all();
    let mut files = Vec::new();
    for dashboard in &dashboards {
        files.push((
            format!("kibana/{}.ndjson", dashboard.id),
            kibana::file(dashboard, &dashboards),
        ));
        files.push((
            format!("grafana/{}.json", dashboard.id),
            grafana::file(dashboard),
        ));
    }
    files.push((
        "grafana/loadtest-operator.json".to_owned(),
        prometheus::file(),
    ));
    files
}
