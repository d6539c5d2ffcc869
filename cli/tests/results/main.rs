//! Every query of docs/results.md and every panel of the dashboards, asked of real servers about real
//! runs: the answers are compared with what the runs' own files say.
//!
//! `make test-search` starts the servers and runs this with `LOADTEST_TEST_SEARCH_URLS`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a failed step fails the test

mod answers;
#[path = "../common/mod.rs"]
mod common;
#[path = "../../../runner/tests/search/launched.rs"]
#[allow(dead_code, reason = "shared with the exporter's tests")]
mod launched;
mod page;
mod panels;
mod secured;
mod server;
mod truth;

use std::sync::OnceLock;

use common::{Place, Target};
use page::Query;
use serde_json::json;
use server::Server;
use truth::{Run, Truth};

/// The four requests of the ancestor's example, and one more that succeeds, by users that are told
/// apart by labels; some of them fail.
const MANIFEST: &str = r#"apiVersion: loadtest.dev/v1alpha1
kind: LoadTest
metadata: { name: results }
spec:
  target: { url: "http://127.0.0.1:1" }
  warmUp: 1s
  results: { interval: 1s }
  flows:
    - name: missing
      steps:
        - request: { url: /status/404 }
  scenarios:
    - name: main
      gracefulStop: 2s
      load: { constantRate: { rate: 80/s, duration: 4s } }
      tasks:
        - name: buy
          weight: 3
          steps:
            - request: { name: /delayed, method: PUT, url: /delay/0.02, labels: { team: checkout } }
            - request: { method: POST, url: /post, body: { text: "x=1" }, labels: { team: checkout } }
        - name: look
          weight: 4
          steps:
            - request:
                url: /get
                labels: { team: catalog }
                checks: [ { name: says no, bodyContains: "no such text" } ]
            - request: { url: "/bytes/2000" }
        - name: miss
          weight: 1
          steps:
            - group: { name: whole, flow: missing }
  thresholds:
    - expr: requests.count > 1
"#;

fn urls() -> Vec<String> {
    let urls = std::env::var("LOADTEST_TEST_SEARCH_URLS")
        .expect("LOADTEST_TEST_SEARCH_URLS is set: `make test-search` does it");
    urls.split(',').map(str::to_owned).collect()
}

fn run(place: &Place, target: &Target, server: &str, out: &str) -> Run {
    let args = [
        "run",
        "test.yaml",
        "--target",
        &target.url,
        "--out",
        out,
        "-o",
        "json",
        "--runners",
        "2",
        "--elasticsearch",
        server,
    ];
    let status = place.finish(&args).run_status();
    Run::read(&status, &place.path().join(out))
}

/// Two runs into each server, once for all tests.
fn truths() -> &'static [(String, Truth)] {
    static TRUTHS: OnceLock<Vec<(String, Truth)>> = OnceLock::new();
    TRUTHS.get_or_init(|| {
        let truth = |url: String| {
            let (place, target) = (Place::new(), Target::start());
            place.write("test.yaml", MANIFEST);
            let runs = ["first", "second"].map(|out| run(&place, &target, &url, out));
            (url, Truth::new(runs))
        };
        urls().into_iter().map(truth).collect()
    })
}

#[test]
#[ignore = "needs real search servers: make test-search"]
fn every_query_of_the_page_gets_the_true_answer() {
    let queries = Query::all_of_the_page();
    assert_eq!(
        queries.len(),
        answers::CHECKS.len(),
        "each query has its check"
    );
    for (url, truth) in truths() {
        let server = Server::at(url);
        for (at, cpu) in [(&truth.started, 0.25), (&truth.completed, 0.75)] {
            let document =
                json!({"@timestamp": at, "system": {"cpu": {"total": {"norm": {"pct": cpu}}}}});
            server.post(
                &format!("metricbeat-{}/_doc?refresh=true", truth.runs[0].id),
                &document,
            );
        }
        for (query, check) in queries.iter().zip(answers::CHECKS) {
            println!("{url}: {}", query.title);
            check(truth, &query.ask(&server, truth));
        }
    }
}

#[test]
#[ignore = "needs real search servers: make test-search"]
fn every_panel_of_the_dashboards_shows_the_truth() {
    for (url, truth) in truths() {
        println!("{url}");
        panels::all_show_the_truth(&Server::at(url), truth);
    }
}

/// What people copy must be what is tested: each heading with a number has one query, in order.
#[test]
fn the_page_has_a_query_for_each_question() {
    let queries = Query::all_of_the_page();
    for (number, query) in queries.iter().enumerate() {
        assert!(
            query.title.starts_with(&format!("{}. ", number + 1)),
            "{} is query {}",
            query.title,
            number + 1
        );
    }
    assert_eq!(queries.len(), answers::CHECKS.len());
}
