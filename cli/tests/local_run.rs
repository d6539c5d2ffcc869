//! Runs to their end against the bundled target: every number that a run leaves says the same.

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use common::{
    Finished, Place, SECOND, Target, csv_rows, manifest, processes_of, raw_count, raw_documents,
    run_args,
};
use loadtest_crds::LoadTestRunStatus;

/// Runs a manifest into `out` with `-o json`.
fn run(place: &Place, target: &Target, yaml: &str, more: &[&str]) -> Finished {
    place.write("test.yaml", yaml);
    let mut args = run_args(&target.url).to_vec();
    args.extend(more);
    place.finish_delivered(&args)
}

/// Target, summary, raw documents and CSV agree on the number of requests; nothing is left behind.
fn assert_exact(place: &Place, target: &Target, status: &LoadTestRunStatus, requests: i64) {
    let run = status.run.as_ref().unwrap();
    let summary = status.summary.as_ref().unwrap();
    let out = place.path().join("out");
    assert_eq!(summary.requests, requests);
    assert_eq!(
        target.requests_of(&run.id),
        requests,
        "the target's own count"
    );

    let documents = raw_documents(&out);
    assert_eq!(i64::try_from(documents.len()).unwrap(), requests);
    let ids: std::collections::HashSet<_> = documents
        .iter()
        .map(|document| document["event"]["id"].to_string())
        .collect();
    assert_eq!(
        ids.len(),
        documents.len(),
        "every document has an id of its own"
    );

    let export = status.export.as_ref().unwrap();
    assert_eq!((export.produced, export.indexed), (requests, requests));
    assert_eq!(
        export.rejected + export.dropped + export.lost + export.pending,
        0
    );

    let rows = csv_rows(&out.join("loadtest_stats.csv"));
    let aggregated = rows.last().unwrap();
    assert_eq!(aggregated["Name"], "Aggregated");
    assert_eq!(aggregated["Request Count"], requests.to_string());
    assert_eq!(aggregated["Failure Count"], summary.failures.to_string());
    let history = csv_rows(&out.join("loadtest_stats_history.csv"));
    assert_eq!(
        history.last().unwrap()["Total Request Count"],
        requests.to_string()
    );

    let file: LoadTestRunStatus =
        serde_json::from_slice(&std::fs::read(out.join("summary.json")).unwrap()).unwrap();
    assert_eq!(&file, status, "summary.json is what was printed");

    assert_eq!(processes_of(place), Vec::<String>::new());
    assert!(!common::scratch_of(&run.id), "nothing is left in memory");
    assert!(!out.join("parts").exists());
}

#[test]
fn a_passed_run_has_one_answer_everywhere() {
    let (place, target) = (Place::new(), Target::start());
    let yaml = manifest(
        SECOND,
        "/get",
        &["errors.ratio < 1%", "requests.count == 100"],
    );
    let finished = run(&place, &target, &yaml, &[]).exits(0);
    let status = finished.run_status();
    assert_exact(&place, &target, &status, 100);
    assert_eq!(status.verdict.as_deref(), Some("Passed"));
    assert_eq!(status.phase.as_deref(), Some("Finished"));
    let summary = status.summary.unwrap();
    assert_eq!((summary.failures, summary.delivered.as_str()), (0, "100%"));
    assert_eq!(summary.requests_by_name.len(), 1);
    assert_eq!(summary.requests_by_name[0].name, "GET /get");
    assert!(status.thresholds.iter().all(|threshold| threshold.passed));
}

#[test]
fn two_runners_add_up_exactly() {
    let (place, target) = (Place::new(), Target::start());
    let load = "{ constantRate: { rate: 151/s, duration: 1s } }";
    let finished = run(
        &place,
        &target,
        &manifest(load, "/get", &[]),
        &["--runners", "2"],
    )
    .exits(0);
    let status = finished.run_status();
    assert_exact(&place, &target, &status, 151);
    assert_eq!(status.run.unwrap().runners_ready, "2/2");
}

#[test]
fn a_number_of_iterations_ends_the_run_when_they_are_made() {
    let (place, target) = (Place::new(), Target::start());
    let load = "{ perUserIterations: { users: 3, iterations: 40 } }";
    let status = run(&place, &target, &manifest(load, "/get", &[]), &[])
        .exits(0)
        .run_status();
    assert_exact(&place, &target, &status, 120);
    assert_eq!(status.summary.unwrap().delivered, "100%");
}

#[test]
fn the_warm_up_is_exported_and_not_judged() {
    let (place, target) = (Place::new(), Target::start());
    let load = "{ constantRate: { rate: 100/s, duration: 2s } }";
    let yaml = manifest(load, "/get", &["requests.count == 100"]) + "  warmUp: 1s\n";
    let status = run(&place, &target, &yaml, &[]).exits(0).run_status();
    let run = status.run.as_ref().unwrap();
    let summary = status.summary.as_ref().unwrap();
    assert_eq!(summary.requests, 100);
    assert_eq!(summary.warm_up_requests, Some(100));
    assert_eq!(target.requests_of(&run.id), 200);
    let export = status.export.as_ref().unwrap();
    assert_eq!((export.produced, export.indexed), (200, 200));
    let documents = raw_documents(&place.path().join("out"));
    let stages = |stage: &str| {
        let of_stage = |document: &&serde_json::Value| document["loadtest"]["stage"] == stage;
        documents.iter().filter(of_stage).count()
    };
    assert_eq!((stages("warm-up"), stages("load")), (100, 100));
}

#[test]
fn users_of_a_closed_model_are_counted_to_the_last_request() {
    let (place, target) = (Place::new(), Target::start());
    let load = "{ constantUsers: { users: 3, duration: 1s } }";
    let finished = run(
        &place,
        &target,
        &manifest(load, "/get", &[]),
        &["--runners", "2"],
    )
    .exits(0);
    let status = finished.run_status();
    let requests = status.summary.as_ref().unwrap().requests;
    assert!(requests >= 10, "{requests}");
    assert_exact(&place, &target, &status, requests);
}

#[test]
fn a_breached_threshold_fails_and_is_named() {
    let (place, target) = (Place::new(), Target::start());
    let yaml = manifest(
        SECOND,
        "/status/500",
        &["errors.ratio < 1%", "latency.p99 < 1m"],
    );
    let status = run(&place, &target, &yaml, &[]).exits(1).run_status();
    assert_exact(&place, &target, &status, 100);
    assert_eq!(status.verdict.as_deref(), Some("Failed"));
    assert_eq!(
        status.message.as_deref(),
        Some("threshold errors.ratio < 1% was breached: 100%")
    );
    let passed: Vec<_> = status
        .thresholds
        .iter()
        .map(|threshold| threshold.passed)
        .collect();
    assert_eq!(passed, [false, true]);
    let failures = csv_rows(&place.path().join("out/loadtest_failures.csv"));
    assert_eq!(failures.len(), 1);
    assert_eq!(failures[0]["Method"], "GET");
    assert_eq!(failures[0]["Name"], "/status/500");
    assert_eq!(failures[0]["Occurrences"], "100");
    assert!(failures[0]["Error"].contains("500"), "{:?}", failures[0]);
    assert!(failures[0]["First Seen"].ends_with('Z'));
}

#[test]
fn a_deadline_is_an_error_with_partial_results() {
    let (place, target) = (Place::new(), Target::start());
    let load = "{ constantRate: { rate: 50/s, duration: 1m } }";
    let yaml = manifest(load, "/get", &[]) + "  maxDuration: 2s\n";
    let status = run(&place, &target, &yaml, &[]).exits(3).run_status();
    let requests = status.summary.as_ref().unwrap().requests;
    assert!((90..=110).contains(&requests), "{requests}");
    assert_exact(&place, &target, &status, requests);
    assert_eq!(status.verdict.as_deref(), Some("Error"));
}

#[test]
fn a_generator_that_is_kept_from_its_work_is_invalid() {
    let (place, target) = (Place::new(), Target::start());
    let load = "{ constantRate: { rate: 200/s, duration: 4s } }";
    place.write("test.yaml", &manifest(load, "/get", &[]));
    let args = run_args(&target.url);
    let started = common::Started::new(place.loadtest(&args));
    // Stopped in the middle of its load, as by a hypervisor that has no CPU for it.
    let engine = common::wait_for_engine(&place, &target);
    common::signal(engine, "STOP");
    std::thread::sleep(std::time::Duration::from_secs(2));
    common::signal(engine, "CONT");
    let status = started
        .wait(std::time::Duration::from_mins(1))
        .exits(4)
        .run_status();
    assert_eq!(status.verdict.as_deref(), Some("Invalid"));
    assert_exact(&place, &target, &status, 800);
}

#[test]
fn raw_none_leaves_out_the_documents_and_says_so() {
    let (place, target) = (Place::new(), Target::start());
    let yaml = manifest(SECOND, "/get", &[]);
    let status = run(&place, &target, &yaml, &["--raw", "none"])
        .exits(0)
        .run_status();
    assert_eq!(status.summary.unwrap().requests, 100);
    let export = status.export.unwrap();
    assert_eq!(export.indexed, 0);
    assert_eq!(export.produced, export.sampled_out);
    let out = place.path().join("out");
    assert!(!out.join("requests.ndjson.gz").exists() || raw_documents(&out).is_empty());
    assert!(out.join("intervals.ndjson").exists());
}

#[test]
fn csv_prefix_writes_the_three_files_of_locust() {
    let (place, target) = (Place::new(), Target::start());
    run(
        &place,
        &target,
        &manifest(SECOND, "/get", &[]),
        &["--csv", "mine"],
    )
    .exits(0);
    for name in ["stats", "stats_history", "failures"] {
        let ours = std::fs::read(place.path().join(format!("mine_{name}.csv"))).unwrap();
        let theirs = std::fs::read(place.path().join(format!("out/loadtest_{name}.csv"))).unwrap();
        assert_eq!(ours, theirs);
    }
    let stats = std::fs::read_to_string(place.path().join("mine_stats.csv")).unwrap();
    assert!(stats.starts_with(
        "Type,Name,Request Count,Failure Count,Median Response Time,Average Response Time,\
         Min Response Time,Max Response Time,Average Content Size,Requests/s,Failures/s,\
         50%,66%,75%,80%,90%,95%,98%,99%,99.9%,99.99%,100%\r\nGET,/get,100,0,"
    ));
}

#[test]
fn tables_that_are_wanted_where_the_runs_own_are_stay_whole() {
    let (place, target) = (Place::new(), Target::start());
    let manifest = manifest(SECOND, "/get", &[]);
    run(&place, &target, &manifest, &["--csv", "out/loadtest"]).exits(0);
    let stats = std::fs::read_to_string(place.path().join("out/loadtest_stats.csv")).unwrap();
    assert!(stats.contains("\nGET,/get,100,0,"), "{stats}");
}

#[test]
fn people_get_a_table_and_a_default_directory() {
    let (place, target) = (Place::new(), Target::start());
    place.write(
        "test.yaml",
        &manifest(SECOND, "/get", &["errors.ratio < 1%"]),
    );
    let finished = place
        .finish_delivered(&["run", "test.yaml", "--target", &target.url])
        .exits(0);
    let text = &finished.stdout;
    for part in [
        "Requests  Failures",
        "GET /get",
        "Aggregated",
        "✓ errors.ratio < 1%  observed 0%",
        "100 produced = 100 indexed\n",
        "Verdict   Passed: the threshold held\n",
        "Files     loadtest-runs/quick-",
    ] {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
    assert!(
        finished.stderr.contains("load is being sent"),
        "{}",
        finished.stderr
    );
    let latest = place.path().join("loadtest-runs/latest/summary.json");
    assert!(latest.exists());
    // Only what is asked for.
    let quiet = place
        .finish_delivered(&["run", "test.yaml", "--target", &target.url, "--quiet"])
        .exits(0);
    assert_eq!(quiet.stderr, "");
}

#[test]
fn yaml_output_is_the_same_status() {
    let (place, target) = (Place::new(), Target::start());
    place.write("test.yaml", &manifest(SECOND, "/get", &[]));
    let args = [
        "run",
        "test.yaml",
        "--target",
        &target.url,
        "--out",
        "out",
        "-o",
        "yaml",
    ];
    let finished = place.finish_delivered(&args).exits(0);
    assert!(
        finished.stdout.contains("\nverdict: Passed\n"),
        "{}",
        finished.stdout
    );
    assert!(
        finished.stdout.contains("requests: 100\n"),
        "{}",
        finished.stdout
    );
}

#[test]
fn a_demo_needs_nothing_and_says_how_to_go_on() {
    let place = Place::new();
    let load = "{ constantRate: { rate: 50/s, duration: 1s } }";
    place.write("test.yaml", &manifest(load, "/get", &["errors.ratio < 1%"]));
    let finished = place
        .finish_delivered(&["demo", "test.yaml", "--out", "out"])
        .exits(0);
    assert!(
        finished.stdout.contains("Verdict   Passed"),
        "{}",
        finished.stdout
    );
    assert!(
        finished.stdout.contains("helm install"),
        "{}",
        finished.stdout
    );
    assert_eq!(raw_count(&place), 50);
    assert_eq!(processes_of(&place), Vec::<String>::new());
    let own_target = place.finish(&["demo", "test.yaml", "--target", "http://127.0.0.1:1"]);
    own_target.exits(2).says("demo starts a target of its own");
}
