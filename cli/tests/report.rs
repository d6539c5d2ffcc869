//! The reports of a run: what they say is what the status says, whatever the run was.

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::fs;

use common::{Place, SECOND, Target, manifest, run_args};
use loadtest_crds::{
    LoadTestRunStatus,
    status::{BaselineRow, BaselineRows},
};

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

/// What the server said stands below the error, collapsed, and is no part of the page.
#[test]
fn errors_show_what_the_server_said() {
    let place = Place::new();
    let checked = r#"timeout: 2s, name: echo, checks: [ { name: "in <stock>", bodyContains: "no such text" } ]"#;
    let path = "/get?said=%3Cscript%3Ealert(1)%3C/script%3E&token=t0k3n";
    let yaml = manifest(SECOND, path, &[]).replace("timeout: 2s", checked);
    run(&place, &yaml);
    let samples = fs::read_to_string(place.path().join("out/samples.ndjson")).unwrap();
    assert_eq!(samples.lines().count(), 3);
    let (page, markdown) = (report(&place, "html"), report(&place, "markdown"));
    // The page also has the plan, which is the manifest.
    for text in [&samples, &markdown] {
        assert!(!text.contains("t0k3n"), "{text}");
    }
    for part in [
        "What the server said (3)",
        "/get?said=%3Cscript%3Ealert(1)%3C/script%3E&#38;token=REDACTED",
        "status 200, after ",
        "&#60;script&#62;alert(1)",
    ] {
        assert!(page.contains(part), "no {part:?} in {page}");
    }
    assert!(!page.contains("<script>alert"), "{page}");
    let collapsed = "<details><summary>What the server said (3)</summary>";
    assert!(markdown.contains(collapsed), "{markdown}");
    assert_eq!(markdown.matches("\n```text\n{").count(), 3, "{markdown}");

    // Who may not keep what a server says keeps nothing of it.
    let place = Place::new();
    run(&place, &(yaml + "  results: { samples: false }\n"));
    assert!(!place.path().join("out/samples.ndjson").exists());
    assert!(!report(&place, "html").contains("What the server said"));
}

#[test]
fn data_that_ran_out_is_told() {
    let place = Place::new();
    let rows = "  data: [ { name: few, from: { inline: \"n\\n1\\n2\\n\" }, onExhausted: Stop } ]\n";
    run(&place, &(manifest(SECOND, "/get?n=$(few.n)", &[]) + rows));
    for form in ["html", "markdown"] {
        let text = report(&place, form);
        assert!(text.contains("ran out of rows"), "{form}: {text}");
    }
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

/// A status from a cluster, where runs are compared with earlier ones.
#[test]
fn what_got_worse_than_the_baseline_is_a_row_and_a_case() {
    let place = Place::new();
    let mut status = run(&place, &manifest(SECOND, "/get", &[]));
    let row = |metric: &str, passed| BaselineRow {
        metric: metric.to_owned(),
        before: "80.0ms".to_owned(),
        after: "101ms".to_owned(),
        change: "+26.25%".to_owned(),
        worse_by: "10%".to_owned(),
        passed,
    };
    status.baseline = Some(BaselineRows {
        run: "shop-2".to_owned(),
        regressed: true,
        tolerances: vec![row("latency.p99", false), row("latency.p50", true)],
    });
    let file = place.path().join("out/summary.json");
    fs::write(file, serde_json::to_string(&status).unwrap()).unwrap();
    let markdown = report(&place, "markdown");
    for line in [
        "|  | Metric | shop-2 | This run | Change | Tolerated |",
        "| ❌ worse | latency.p99 | 80.0ms | 101ms | +26.25% | 10% |",
        "| ✅ held | latency.p50 |",
    ] {
        assert!(markdown.contains(line), "{line}: {markdown}");
    }
    let page = report(&place, "html");
    assert!(page.contains("Beside its baseline shop-2"), "{page}");
    let row = "worse</td><th scope=\"row\" class=\"text name\">latency.p99</th><td>80.0ms</td>\
               <td>101ms</td><td>+26.25%</td><td>10%</td></tr>";
    assert!(page.contains(row), "{page}");
    let xml = report(&place, "junit");
    assert!(xml.contains("latency.p99 beside run shop-2"), "{xml}");
    assert!(
        xml.contains("101ms after 80.0ms (+26.25%), 10% is tolerated"),
        "{xml}"
    );
    assert_eq!(xml.matches("<failure ").count(), 1);
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
