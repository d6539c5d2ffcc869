//! The reports of a run: what they say is what the status says, whatever the run was.

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::fs;

use common::{Place, SECOND, Target, manifest, run_args};
use loadtest_crds::LoadTestRunStatus;

/// Runs a manifest into `out`.
fn run(place: &Place, yaml: &str) -> LoadTestRunStatus {
    let target = Target::start();
    place.write("test.yaml", yaml);
    place.finish_delivered(&run_args(&target.url)).run_status()
}

fn report(place: &Place, form: &str) -> String {
    place
        .finish(&["report", "out", "-o", form, "--out", "report"])
        .exits(0);
    fs::read_to_string(place.path().join("report")).unwrap()
}

const HOSTILE: &str = r#"<script>alert(1)</script> "ünï" & ']]> | `x` 名前"#;

fn hostile() -> String {
    let name = HOSTILE.replace('"', "\\\"");
    manifest(
        SECOND,
        "/status/503",
        &["errors.ratio < 1%", "latency.p99 < 1m"],
    )
    .replace("timeout: 2s", &format!("timeout: 2s, name: \"{name}\""))
}

#[test]
fn every_form_has_the_numbers_of_the_status_and_escapes_names() {
    let place = Place::new();
    let status = run(&place, &hostile());
    let summary = status.summary.as_ref().unwrap();
    assert_eq!((summary.requests, summary.failures), (100, 100));

    let page = fs::read_to_string(place.path().join("out/report.html")).unwrap();
    let again = place
        .finish(&["report", "out", "--out", "again.html"])
        .exits(0);
    assert!(again.stderr.contains("again.html"));
    assert_eq!(
        page,
        fs::read_to_string(place.path().join("again.html")).unwrap()
    );
    assert!(!page.contains("<script>alert"));
    assert!(page.contains("ünï") && page.contains("名前"));
    for part in [
        "Failed</span>",
        "errors.ratio &lt; 1%",
        "Latency over time",
        "Latency distribution",
        "<td>100</td>",
        "status 503",
        "/status/503",
        "Export: one document for each request",
        "The whole plan",
        "Content-Security-Policy",
    ]
    .map(|part| part.replace("&lt;", "&#60;"))
    {
        assert!(page.contains(&part), "no {part:?} in the page");
    }
    for latency in [
        &summary.latency.p50,
        &summary.latency.p99,
        &summary.latency.max,
    ] {
        assert!(page.contains(latency.as_str()));
    }
    // The chart's own sentence is of the merged intervals, and says the same.
    assert!(
        page.contains(&format!("the median was {}", summary.latency.p50)),
        "{page}"
    );
    for outside in [
        "http-equiv=\"refresh",
        "src=\"http",
        "url(http",
        "<iframe",
        "<link rel=\"stylesheet",
    ] {
        assert!(!page.contains(outside), "{outside}");
    }

    let json: LoadTestRunStatus = serde_json::from_str(&report(&place, "json")).unwrap();
    assert_eq!(json, status);
    let csv = report(&place, "csv");
    assert!(
        csv.lines()
            .last()
            .unwrap()
            .starts_with(",Aggregated,100,100,"),
        "{csv}"
    );
    let markdown = report(&place, "markdown");
    assert!(markdown.contains("❌ quick: Failed"), "{markdown}");
    assert!(
        markdown.contains("| ❌ breached | errors.ratio &lt; 1% |"),
        "{markdown}"
    );
    assert!(!markdown.contains("<script>"), "{markdown}");
    assert!(
        markdown.contains("100 produced = 100 indexed"),
        "{markdown}"
    );
}

#[test]
fn junit_has_a_case_for_each_threshold_and_the_verdict() {
    let place = Place::new();
    run(&place, &hostile());
    let xml = report(&place, "junit");
    assert!(
        xml.contains(r#"<testsuite name="quick" tests="3" failures="2" errors="0" skipped="0""#),
        "{xml}"
    );
    assert_eq!(xml.matches("<testcase ").count(), 3);
    assert_eq!(xml.matches("<failure ").count(), 2);
    assert!(xml.contains("observed 100%"), "{xml}");
}

#[test]
fn a_run_of_one_request_and_one_of_none_read_well() {
    let place = Place::new();
    let one = "{ sharedIterations: { users: 1, iterations: 1, maxDuration: 10s } }";
    let status = run(&place, &manifest(one, "/get", &[]));
    assert_eq!(status.summary.unwrap().requests, 1);
    let page = fs::read_to_string(place.path().join("out/report.html")).unwrap();
    assert!(page.contains("Passed") && !page.contains("NaN") && !page.contains("inf"));

    // The first request is nearly always due after the end.
    let place = Place::new();
    let none = "{ constantRate: { rate: 1/m, duration: 1s, arrivals: Poisson } }";
    let yaml = manifest(none, "/get", &["latency.p99 < 1s"]);
    let nothing_was_sent = (0..5).any(|_| {
        let _ = fs::remove_dir_all(place.path().join("out"));
        run(&place, &yaml).summary.unwrap().requests == 0
    });
    assert!(nothing_was_sent);
    let page = report(&place, "html");
    assert!(page.contains("Invalid") && page.contains("–"), "{page}");
    assert!(!page.contains("NaN"));
    let xml = report(&place, "junit");
    assert!(xml.contains(r#"type="Invalid""#), "{xml}");
    assert!(report(&place, "markdown").contains("Invalid"));
}

#[test]
fn a_half_written_directory_says_what_is_missing() {
    let place = Place::new();
    run(&place, &manifest(SECOND, "/get", &[]));
    let out = place.path().join("out");
    // As after a power cut: the parts were not joined, the last line is torn, the plan is gone.
    let intervals = fs::read(out.join("intervals.ndjson")).unwrap();
    fs::create_dir_all(out.join("parts/0")).unwrap();
    fs::write(
        out.join("parts/0/intervals.ndjson"),
        &intervals[..intervals.len() - 20],
    )
    .unwrap();
    for name in [
        "intervals.ndjson",
        "plan.json",
        "requests.ndjson.gz",
        "loadtest_stats.csv",
    ] {
        fs::remove_file(out.join(name)).unwrap();
    }
    let summary = fs::read_to_string(out.join("summary.json")).unwrap();
    let running = summary
        .replace(r#""phase": "Finished""#, r#""phase": "Running""#)
        .replace(r#""verdict": "Passed""#, r#""verdict": """#);
    fs::write(out.join("summary.json"), &running).unwrap();
    let page = report(&place, "html");
    for part in [
        "No verdict",
        "has not ended",
        "no plan.json",
        "1 line",
        "Latency over time",
    ] {
        assert!(page.contains(part), "no {part:?} in the page");
    }
    assert!(report(&place, "junit").contains("<error message="));
    place
        .finish(&["report", "out", "-o", "csv"])
        .exits(2)
        .says("when it has ended");

    fs::write(out.join("summary.json"), &running[..100]).unwrap();
    place
        .finish(&["report", "out"])
        .exits(2)
        .says("is not the status of a run");
    place
        .finish(&["report", "absent"])
        .exits(2)
        .says("name a directory that `loadtest run` wrote");
}

#[test]
fn a_report_that_cannot_be_written_says_so() {
    let place = Place::new();
    run(&place, &manifest(SECOND, "/get", &[]));
    place
        .finish(&["report", "out", "--out", "absent/page.html"])
        .exits(3)
        .says("cannot write absent/page.html");
}
