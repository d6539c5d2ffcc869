//! The exporter's own binary against real search servers.
//!
//! `make test-search` starts them and runs this with `LOADTEST_TEST_SEARCH_URLS`, one url for each
//! server, separated by commas.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a failed step fails the test

mod exporter;
mod faults;
mod launched;
mod measured;
mod proxy;
mod secure;
mod server;
mod upgrade;

use std::{
    collections::BTreeSet,
    path::Path,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use loadtest_core::report::ExporterReport;
use serde_json::{Value, json};

use exporter::Exporter;
use measured::{RECORDS, plan, record};
use server::Search;

/// Documents of ten intervals, each of the totals, two names and a group; and once the histograms
/// of the names and the group.
const METRICS: u64 = 10 * 4 + 3;

fn urls() -> Vec<String> {
    let urls = std::env::var("LOADTEST_TEST_SEARCH_URLS").unwrap_or_else(|_| {
        panic!(
            "LOADTEST_TEST_SEARCH_URLS is not set: `make test-search` starts real search servers \
             and runs this test against them"
        )
    });
    urls.split(',').map(str::to_owned).collect()
}

/// Every test has a namespace of its own, so that servers may be used again.
fn namespace(test: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    format!("{test}-{:x}", now.as_nanos())
}

fn complete(report: &ExporterReport, exporter: &Exporter) {
    let log = exporter.log();
    assert_eq!(report.problem, "", "{log}");
    assert_eq!(report.requests.produced, RECORDS);
    assert_eq!(report.requests.indexed, RECORDS, "{report:?}\n{log}");
    assert_eq!(report.requests.verified, Some(true), "{log}");
    assert_eq!(report.aggregates.produced, METRICS + 2, "{log}");
    assert_eq!(
        report.aggregates.indexed, report.aggregates.produced,
        "{report:?}\n{log}"
    );
    assert_eq!(report.aggregates.verified, Some(true), "{log}");
}

#[test]
#[ignore = "needs real search servers: make test-search"]
fn every_request_is_in_the_server_once_however_often_it_is_sent() {
    for url in urls() {
        let namespace = namespace("once");
        let mut exporter = Exporter::new(plan(&url, &namespace));
        let report = exporter.run();
        complete(&report, &exporter);
        let search = Search::new(&url, &namespace);
        let counts = || ["requests", "metrics", "runs"].map(|stream| search.count(stream));
        assert_eq!(counts(), [RECORDS, METRICS, 2], "{url}");

        // The same run again, as after an exporter whose memory was lost: nothing is added.
        let report = exporter.run();
        complete(&report, &exporter);
        assert_eq!(counts(), [RECORDS, METRICS, 2], "{url}");
    }
}

#[test]
#[ignore = "needs real search servers: make test-search"]
fn an_exporter_killed_again_and_again_delivers_exactly() {
    for url in urls() {
        let namespace = namespace("kill");
        let mut exporter = Exporter::new(plan(&url, &namespace));
        exporter.measure();
        for moment in [120, 200, 310, 430, 560] {
            exporter.start();
            std::thread::sleep(Duration::from_millis(moment));
            exporter.kill();
        }
        exporter.start();
        let report = exporter.finish();
        complete(&report, &exporter);
        assert_eq!(
            Search::new(&url, &namespace).count("requests"),
            RECORDS,
            "{url}"
        );
    }
}

/// A repetition after a rollover would double what was done before it: seen on every server.
#[test]
#[ignore = "needs real search servers: make test-search"]
fn streams_that_roll_over_while_an_exporter_is_killed_hold_every_request_once() {
    for url in urls() {
        let namespace = namespace("rollover");
        let search = Search::new(&url, &namespace);
        let mut exporter = Exporter::new(plan(&url, &namespace));
        exporter.measure();
        let mut rollovers = 0;
        for _ in 0..4 {
            let before = search.taken("requests");
            if before == RECORDS {
                break;
            }
            exporter.start();
            let deadline = Instant::now() + Duration::from_mins(1);
            while search.taken("requests") == before {
                assert!(Instant::now() < deadline, "{url}: {}", exporter.log());
            }
            exporter.kill();
            // What was on its way is done, or never will be.
            let mut taken = None;
            while taken.replace(search.taken("requests")) != Some(search.taken("requests")) {
                std::thread::sleep(Duration::from_millis(300));
            }
            search.ask("requests", "_rollover", &json!({}));
            rollovers += 1;
        }
        exporter.start();
        let report = exporter.finish();
        complete(&report, &exporter);
        assert_eq!(
            search.count("requests"),
            RECORDS,
            "{url} after {rollovers} rollovers"
        );
    }
}

#[test]
#[ignore = "needs real search servers: make test-search"]
fn what_people_ask_gets_the_true_answer() {
    for url in urls() {
        let namespace = namespace("ask");
        let mut exporter = Exporter::new(plan(&url, &namespace));
        complete(&exporter.run(), &exporter);
        let search = Search::new(&url, &namespace);
        let all = json!({"match_all": {}});
        percentiles_are_those_of_the_records(&search, &all);

        let names = json!({"terms": {"field": "loadtest.request.name"}});
        let names = search.aggregate("requests", &all, &names);
        let found: BTreeSet<_> = names["buckets"]
            .as_array()
            .unwrap()
            .iter()
            .map(|bucket| {
                (
                    bucket["key"].as_str().unwrap(),
                    bucket["doc_count"].as_u64().unwrap(),
                )
            })
            .collect();
        assert_eq!(
            found,
            BTreeSet::from([("GET /buy", 5_000), ("GET /get", 5_000)]),
            "{url}"
        );

        let failures = json!({"term": {"event.outcome": "failure"}});
        let body = json!({"query": failures});
        let count = search.ask("requests", "_count", &body)["count"].clone();
        assert_eq!(count, RECORDS / 10, "{url}");
        let labels = json!({"query": {"term": {"labels.page": "a \"quoted\" page"}}});
        assert_eq!(
            search.ask("requests", "_count", &labels)["count"],
            RECORDS,
            "{url}"
        );

        // Interval documents cover the run: totals add up to all requests.
        let totals = json!({"bool": {"filter": [
            {"term": {"loadtest.scope": "total"}},
            {"term": {"loadtest.doc": "interval"}},
        ]}});
        let sum = json!({"sum": {"field": "loadtest.requests.count"}});
        let sum = search.aggregate("metrics", &totals, &sum);
        assert_eq!(sum["value"].as_f64(), Some(RECORDS as f64), "{url}");

        let end = json!({"query": {"term": {"event.action": "end"}}});
        let hits = search.ask("runs", "_search", &end);
        let document = &hits["hits"]["hits"][0]["_source"]["loadtest"];
        assert_eq!(document["verdict"], "Failed", "{url}");
        assert_eq!(document["requests"]["count"], RECORDS, "{url}");
        assert_eq!(
            document["thresholds"][0]["expr"], "latency.p99 < 1ms",
            "{url}"
        );
        assert_eq!(document["by_name"][0]["name"], "GET /get", "{url}");
        nothing_secret_is_stored(&search);
    }
}

/// `hdr` over raw documents answers alike on every server; the truth is `k` times 100 µs.
fn percentiles_are_those_of_the_records(search: &Search, all: &Value) {
    let percentiles = json!({"percentiles": {
        "field": "loadtest.request.time.from_schedule_us",
        "percents": [50.0, 95.0, 99.0],
        "hdr": {"number_of_significant_value_digits": 3},
    }});
    let values = search.aggregate("requests", all, &percentiles)["values"].clone();
    for (percent, share) in [("50.0", 0.5), ("95.0", 0.95), ("99.0", 0.99)] {
        let truth = record((RECORDS as f64 * share) as u64 - 1).latency_us() as f64;
        let observed = values[percent].as_f64().unwrap();
        assert!(
            (observed / truth - 1.0).abs() < 0.002,
            "p{percent} is {observed} instead of {truth} at {}",
            search.url()
        );
    }
}

fn nothing_secret_is_stored(search: &Search) {
    for (query, documents) in [("token=REDACTED", RECORDS / 2), ("token=geheim", 0)] {
        let body = json!({"query": {"term": {"url.query": query}}});
        let count = search.ask("requests", "_count", &body)["count"].clone();
        assert_eq!(count, documents, "{query} at {}", search.url());
    }
}

#[test]
#[ignore = "needs real search servers: make test-search"]
fn streams_have_the_names_and_the_owner_that_the_test_says() {
    for url in urls() {
        let namespace = namespace("names");
        for manages in [true, false] {
            let prefix = format!("perf.{manages}-{namespace}");
            let mut plan = plan(&url, &namespace);
            let named = plan.results.elasticsearch.as_mut().unwrap();
            named.data_stream_prefix.clone_from(&prefix);
            named.manage_templates = manages;
            let search = Search::of_streams(&url, &prefix, &namespace);
            if !manages {
                administrators_install(&search, &prefix);
            }
            let mut exporter = Exporter::new(plan);
            let report = exporter.run();
            complete(&report, &exporter);
            let counts = ["requests", "metrics", "runs"].map(|stream| search.count(stream));
            assert_eq!(counts, [RECORDS, METRICS, 2], "{url}");
            let (status, _) = search.send(
                "GET",
                &format!("_index_template/{prefix}-requests"),
                &Value::Null,
            );
            assert_eq!(status, if manages { 200 } else { 404 }, "{url}");
        }
    }
}

/// Templates under names of their own, for streams whose names begin with `prefix`.
fn administrators_install(search: &Search, prefix: &str) {
    for stream in ["requests", "metrics", "runs"] {
        let template = json!({
            "index_patterns": [format!("{prefix}-{stream}-*")],
            "data_stream": {},
            "priority": 900,
        });
        assert!(search.takes_template(&format!("by-hand-{prefix}-{stream}"), &template));
    }
}

#[test]
#[ignore = "needs real search servers: make test-search"]
fn the_committed_templates_load() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("templates");
    for url in urls() {
        let search = Search::new(&url, "none");
        // Each server takes its own set, whichever it is; a priority of their own keeps these out
        // of the way of the other tests' streams.
        let taken = ["opensearch", "elasticsearch-without-histogram"].map(|flavor| {
            ["requests", "metrics", "runs"].iter().all(|stream| {
                let path = folder.join(format!("{stream}.{flavor}.json"));
                let mut template: Value =
                    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
                template["index_patterns"] = json!([format!("committed-{flavor}-{stream}-*")]);
                search.takes_template(&format!("committed-{flavor}-{stream}"), &template)
            })
        });
        assert!(
            taken.contains(&true),
            "{url} takes neither set of templates"
        );
    }
}
