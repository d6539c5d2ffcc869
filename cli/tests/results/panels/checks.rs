//! What each panel must show, for both tools alike.

use serde_json::Value;

use super::{
    Answer,
    shown::{
        LATENCY, Shown, equals, intervals, max, mean, milliseconds, number, sum, totals, values,
    },
};
use crate::truth::{Run, Truth, count, name, sorted, text, time};

/// The panel that is asked about one trace.
pub const OF_A_TRACE: &str = "Requests in their order";

/// Parts of a request's time, as the panels call them.
const PHASES: [(&str, &str); 7] = [
    ("late", "scheduled_delay_us"),
    ("DNS", "dns_us"),
    ("connect", "connect_us"),
    ("TLS", "tls_us"),
    ("send", "send_us"),
    ("wait", "wait_us"),
    ("receive", "receive_us"),
];

/// Fails unless a panel shows what the runs' own files say. Every panel has its check.
pub fn check(dashboard: &str, title: &str, truth: &Truth, answer: &Answer) {
    let run = &truth.runs[0];
    let shown = Shown {
        rows: &answer.rows,
        estimated: answer.estimated,
    };
    assert!(
        answer.rows.len() + answer.documents.len() > 0,
        "{title} is empty"
    );
    match dashboard {
        "loadtest-run" => overview(title, run, shown, answer),
        "loadtest-compare" => comparison(title, truth, shown),
        _ => requests(title, truth, shown, answer),
    }
}

fn overview(title: &str, run: &Run, shown: Shown<'_>, answer: &Answer) {
    let end = |path: &str| number(&run.end, path).unwrap();
    match title {
        "Requests" => shown.is("", title, run.load().len() as f64),
        "Rate" => shown.is("", title, end("requests.rate")),
        "Failed" => shown.is("", title, end("requests.failed_ratio")),
        "p95" => shown.is("", title, end("latency.p95_us")),
        "p99" => shown.is("", title, end("latency.p99_us")),
        "Delivered load" => shown.is("", title, end("iterations.delivered_ratio")),
        "Thresholds" => {
            let [document] = answer.documents.as_slice() else {
                panic!("{} documents", answer.documents.len());
            };
            let threshold = &document["loadtest"]["thresholds"][0];
            assert_eq!(threshold["expr"], "requests.count > 1");
            assert_eq!(threshold["passed"], true);
        }
        _ => overview_over_time(title, run, shown, answer),
    }
}

fn overview_over_time(title: &str, run: &Run, shown: Shown<'_>, answer: &Answer) {
    match title {
        "Iterations per second against the target" => {
            for (label, field) in [
                ("scheduled", "scheduled"),
                ("started", "started"),
                ("ended", "count"),
            ] {
                shown.adds_up(label, run, &format!("iterations.{field}"));
            }
        }
        "Requests per second" => {
            equals(shown.sum("", "requests"), run.requests.len() as f64, title);
            shown.adds_up("failed", run, "requests.failed");
        }
        "Answers per second by status" => {
            let classes = [
                ("2xx", "c2xx"),
                ("3xx", "c3xx"),
                ("4xx", "c4xx"),
                ("5xx", "c5xx"),
                ("no answer", "none"),
            ];
            for (label, field) in classes {
                shown.adds_up(label, run, &format!("status.{field}"));
            }
        }
        "Late iterations per second" => {
            shown.adds_up("by the generator", run, "iterations.late_by_generator");
            shown.adds_up("by the target", run, "iterations.late_by_target");
        }
        "Latency" => shown.percentiles_over_time("", &run.of(|_| true)),
        "Latency of the worst runner and interval" => {
            for (label, field) in [("p95", "p95_us"), ("p99", "p99_us"), ("max", "max_us")] {
                shown.over_time("", label, &totals(run), &format!("latency.{field}"), max);
            }
        }
        "Share of failed requests" => shown.failures_over_time("", run),
        "Users" => shown.by_runner(run, "users.active", mean),
        "Documents not yet in the search server" => shown.by_runner(run, "export.pending", max),
        "Generator: busiest CPU" => shown.by_runner(run, "process.cpu_max_ratio", max),
        "Generator: worst lag" => shown.by_runner(run, "process.worst_lag_us", max),
        "Generator: throttled" => shown.by_runner(run, "process.throttled_us", max),
        _ => overview_tables(title, run, shown, answer),
    }
}

fn overview_tables(title: &str, run: &Run, shown: Shown<'_>, answer: &Answer) {
    match title {
        "By request name" => names(run, shown),
        "Latency by request name" => {
            let row = |doc: &Value| name(doc);
            shown.distributions(&run.load(), row);
        }
        "Groups" => {
            let key = "main, whole";
            let groups = intervals(run, "group");
            shown.is(key, "passes", sum(&values(&groups, "group.count")));
            shown.is(key, "failed", sum(&values(&groups, "group.failed")));
            shown.is(key, "max", max(&values(&groups, "group.duration.max_us")));
            shown.is(
                key,
                "worst p95",
                max(&values(&groups, "group.duration.p95_us")),
            );
        }
        "Errors" => {
            let failed = run.of(|doc| doc["event"]["outcome"] == "failure");
            let row = |doc: &Value| {
                let error = &doc["error"];
                format!(
                    "{}, {}, {}",
                    text(&error["type"]),
                    text(&error["message"]),
                    name(doc)
                )
            };
            shown.counts(&count(failed, row));
        }
        "Errors over time" => {
            let failed = run.of(|doc| doc["event"]["outcome"] == "failure");
            shown.counts(&count(failed, |doc| text(&doc["error"]["type"])));
        }
        "What failed answers said" => {
            let failed = run.of(|doc| doc["event"]["outcome"] == "failure");
            let failed = count(failed, |doc| text(&doc["error"]["message"]));
            let said = count(&answer.documents, |doc| text(&doc["error"]["message"]));
            assert!(said.keys().eq(failed.keys()), "{said:?}, {failed:?}");
            // At most 3 of each kind, runner and stage.
            assert!(
                said.iter()
                    .all(|(kind, number)| *number <= failed[kind].min(12)),
                "{said:?}"
            );
        }
        "Failed checks" => {
            let failed = run.of(|doc| doc["loadtest"]["check"].is_object());
            shown.counts(&count(failed, |doc| {
                text(&doc["loadtest"]["check"]["failed_names"][0])
            }));
        }
        "Documents" => {
            let runner = |doc: &Value| doc["loadtest"]["runner"]["index"].to_string();
            for (index, requests) in count(run.of(|_| true), runner) {
                let key = format!("{}, {index}", run.name());
                shown.is(&key, "produced", requests as f64);
                let mut of_runner = totals(run);
                of_runner.retain(|doc| runner(doc) == index);
                for label in ["indexed", "rejected", "dropped", "lost", "retries"] {
                    let known = values(&of_runner, &format!("export.{label}"));
                    shown.is(&key, label, max(&known));
                }
            }
        }
        other => panic!("no check for the panel {other}"),
    }
}

fn names(run: &Run, shown: Shown<'_>) {
    let intervals = intervals(run, "name");
    let documents = run.load();
    for (key, requests) in count(documents.clone(), name) {
        let failed = |doc: &&&Value| name(doc) == key && doc["event"]["outcome"] == "failure";
        let failed = documents.iter().filter(failed).count() as f64;
        let row = format!("main, {key}");
        shown.is(&row, "requests", requests as f64);
        shown.is(&row, "failed", failed);
        shown.is(&row, "share failed", failed / requests as f64);
        let of_name: Vec<_> = intervals
            .iter()
            .copied()
            .filter(|doc| name(doc) == key)
            .collect();
        shown.is(&row, "worst p99", max(&values(&of_name, "latency.p99_us")));
        shown.is(&row, "max", max(&values(&of_name, "latency.max_us")));
    }
}

fn comparison(title: &str, truth: &Truth, shown: Shown<'_>) {
    for run in &truth.runs {
        let name = run.name();
        let end = |path: &str| number(&run.end, path).unwrap();
        let percentiles = |key: &str| {
            for label in ["p50", "p95", "p99"] {
                shown.is(key, label, end(&format!("latency.{label}_us")));
            }
        };
        match title {
            "Runs" => {
                let word = |field: &str| text(&run.end["loadtest"][field]);
                let key = format!("results, {name}, {}, {}", word("verdict"), word("reason"));
                shown.is(&key, "requests", run.load().len() as f64);
                shown.is(&key, "per second", end("requests.rate"));
                shown.is(&key, "share failed", end("requests.failed_ratio"));
                shown.is(&key, "delivered", end("iterations.delivered_ratio"));
                percentiles(&key);
            }
            "Latency by run" => percentiles(&name),
            "Requests per second by run" => shown.only(&name, end("requests.rate")),
            "Share of failed requests by run" => shown.only(&name, end("requests.failed_ratio")),
            "p99 over time by run" => shown.percentiles_over_time(&name, &run.of(|_| true)),
            "Requests per second over time by run" => {
                equals(shown.sum_of(&name), run.requests.len() as f64, title);
            }
            "Share of failed requests over time by run" => shown.failures_over_time(&name, run),
            "Request names by run" => {
                let row = |doc: &Value| format!("{}, {name}", crate::truth::name(doc));
                shown.distributions(&run.load(), row);
            }
            "Errors by run" => {
                let failed = run.of(|doc| doc["event"]["outcome"] == "failure");
                let row = |doc: &Value| format!("{name}, {}", text(&doc["error"]["type"]));
                for (key, errors) in count(failed, row) {
                    shown.is(&key, "documents", errors as f64);
                }
            }
            other => panic!("no check for the panel {other}"),
        }
    }
}

fn requests(title: &str, truth: &Truth, shown: Shown<'_>, answer: &Answer) {
    let run = &truth.runs[0];
    let all = run.of(|_| true);
    let outcome = |doc: &Value| text(&doc["loadtest"]["request"]["outcome"]);
    match title {
        "Requests by outcome" | "By outcome" => shown.counts(&count(all, outcome)),
        "By status" => {
            let answered = run.of(|doc| doc["http"]["response"].is_object());
            shown.counts(&count(answered, |doc| {
                doc["http"]["response"]["status_code"].to_string()
            }));
        }
        "By runner" => {
            let row = |doc: &Value| doc["loadtest"]["runner"]["index"].to_string();
            shown.distributions(&all, row);
        }
        "Latency" => {
            shown.percentiles_over_time("", &all);
            shown.over_time("", "max", &all, "request.time.from_schedule_us", max);
        }
        "Where the time went" => {
            for (label, field) in PHASES {
                shown.over_time("", label, &all, &format!("request.time.{field}"), mean);
            }
        }
        "Where the time went, by request name" => {
            for (key, requests) in count(all.clone(), name) {
                shown.is(&key, "documents", requests as f64);
                let of_name = run.of(|doc| name(doc) == key);
                for (label, field) in PHASES {
                    let times = values(&of_name, &format!("request.time.{field}"));
                    match shown.value(&key, label) {
                        Some(shown) => equals(shown, mean(&times), label),
                        None => assert_eq!(times.len(), 0, "{key} {label}"),
                    }
                }
            }
        }
        "Slowest requests" => {
            assert_eq!(answer.documents.len(), all.len().min(500));
            // Kibana has them from the server in this order, Grafana sorts the newest.
            let times: Vec<_> = answer
                .documents
                .iter()
                .map(|doc| time(doc, LATENCY))
                .collect();
            let slowest = sorted(&all, LATENCY);
            let sent: Vec<_> = answer.documents.iter().map(milliseconds).collect();
            assert!(times[0] >= slowest[slowest.len() - 1] || sent.is_sorted_by(|a, b| a >= b));
        }
        OF_A_TRACE => {
            let mut names: Vec<_> = answer.documents.iter().map(name).collect();
            names.sort();
            assert_eq!(names, ["/delayed", "POST /post"]);
        }
        other => panic!("no check for the panel {other}"),
    }
}
