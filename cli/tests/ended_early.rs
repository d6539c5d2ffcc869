//! Runs that do not reach their end: stopped, killed, robbed of a process. What was measured is
//! kept and counted, and nothing survives.

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::{io::Read as _, process::Command, time::Duration};

use common::{
    Place, Started, Target, eventually, manifest, process_of, processes_of, raw_count, run_args,
    signal, wait_for_engine,
};
use loadtest_crds::LoadTestRunStatus;

const MINUTE: &str = "{ constantRate: { rate: 100/s, duration: 1m } }";

fn begin(place: &Place, target: &Target, more: &[&str]) -> Started {
    place.write(
        "test.yaml",
        &manifest(MINUTE, "/get", &["errors.ratio < 1%"]),
    );
    let mut args = run_args(&target.url).to_vec();
    args.extend(more);
    Started::new(place.loadtest(&args))
}

fn summary_file(place: &Place) -> LoadTestRunStatus {
    let bytes = std::fs::read(place.path().join("out/summary.json")).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

fn assert_balanced(status: &LoadTestRunStatus) {
    let e = status.export.as_ref().unwrap();
    let parts = e.indexed + e.rejected + e.sampled_out + e.dropped + e.lost + e.pending;
    assert_eq!(e.produced, parts, "{e:?}");
    assert_eq!(e.pending, 0);
}

fn assert_nothing_left(place: &Place, status: &LoadTestRunStatus) {
    assert_eq!(processes_of(place), Vec::<String>::new());
    assert!(!common::scratch_of(&status.run.as_ref().unwrap().id));
}

#[test]
fn ctrl_c_ends_gracefully_with_what_was_measured() {
    let (place, target) = (Place::new(), Target::start());
    let started = begin(&place, &target, &["--runners", "2"]);
    wait_for_engine(&place, &target);
    started.signal("INT");
    let finished = started
        .wait(Duration::from_secs(20))
        .exits(130)
        .says("stopping");
    let status = finished.run_status();
    assert_eq!(status.verdict.as_deref(), Some("Aborted"));
    let requests = status.summary.as_ref().unwrap().requests;
    assert!(requests > 0);
    assert_eq!(
        target.requests_of(&status.run.as_ref().unwrap().id),
        requests
    );
    assert_eq!(raw_count(&place), requests);
    assert_eq!(status.export.as_ref().unwrap().indexed, requests);
    assert_balanced(&status);
    assert_eq!(summary_file(&place), status);
    assert_nothing_left(&place, &status);
}

#[test]
fn a_threshold_that_may_stop_the_load_does_so() {
    let (place, target) = (Place::new(), Target::start());
    let yaml = manifest(MINUTE, "/status/503", &["errors.ratio < 1%"])
        + "      abort: { after: 1s, minRequests: 20 }\n";
    place.write("test.yaml", &yaml);
    let started = Started::new(place.loadtest(&run_args(&target.url)));
    let finished = started.wait(Duration::from_secs(30)).exits(1);
    let status = finished.run_status();
    assert_eq!(status.verdict.as_deref(), Some("Failed"));
    let message = status.message.as_deref().unwrap_or_default();
    assert!(
        message.starts_with(
            "the load was stopped: threshold errors.ratio < 1% was breached over the last 1s"
        ),
        "{message}"
    );
    assert!(status.thresholds[0].first_breach.is_some());
    let requests = status.summary.as_ref().unwrap().requests;
    assert!((100..2_000).contains(&requests), "{requests}");
    assert_eq!(
        target.requests_of(&status.run.as_ref().unwrap().id),
        requests
    );
    assert_eq!(raw_count(&place), requests);
    assert_balanced(&status);
    assert_nothing_left(&place, &status);
}

#[test]
fn ctrl_c_before_the_start_sends_nothing() {
    let (place, target) = (Place::new(), Target::start());
    let started = begin(&place, &target, &[]);
    eventually("the run begins", Duration::from_secs(10), || {
        place.path().join("out/plan.json").exists()
    });
    started.signal("INT");
    let status = started
        .wait(Duration::from_secs(20))
        .exits(130)
        .run_status();
    assert_eq!(target.requests_of(&status.run.as_ref().unwrap().id), 0);
    assert_nothing_left(&place, &status);
}

#[test]
fn a_second_ctrl_c_kills_at_once_and_the_directory_says_so() {
    let (place, target) = (Place::new(), Target::start());
    // The answer takes longer than anyone wants to wait.
    let yaml = manifest(MINUTE, "/delay/8", &[])
        .replace("gracefulStop: 1s", "gracefulStop: 1m")
        .replace("timeout: 2s", "timeout: 1m");
    place.write("test.yaml", &yaml);
    let args = run_args(&target.url);
    let started = Started::new(place.loadtest(&args));
    eventually("load is sent", Duration::from_secs(20), || {
        common::requests(&target, "delay") > 0
    });
    started.signal("INT");
    std::thread::sleep(Duration::from_millis(300));
    started.signal("INT");
    let again = std::time::Instant::now();
    let finished = started.wait(Duration::from_secs(20)).exits(130);
    assert!(
        again.elapsed() < Duration::from_secs(3),
        "{:?}",
        again.elapsed()
    );
    let status = finished.run_status();
    assert_eq!(status.verdict.as_deref(), Some("Aborted"));
    assert!(
        status.message.as_ref().unwrap().contains("were killed"),
        "{:?}",
        status.message
    );
    assert_eq!(summary_file(&place), status);
    assert_balanced(&status);
    assert_nothing_left(&place, &status);
}

#[test]
fn a_killed_engine_is_an_error_that_names_it() {
    let (place, target) = (Place::new(), Target::start());
    let started = begin(&place, &target, &[]);
    signal(wait_for_engine(&place, &target), "KILL");
    let status = started.wait(Duration::from_secs(30)).exits(3).run_status();
    assert_eq!(status.verdict.as_deref(), Some("Error"));
    assert_eq!(
        status.message.as_deref(),
        Some("runner 0's engine was killed by signal 9")
    );
    let run = status.run.as_ref().unwrap();
    assert_eq!((run.runners.lost, run.runners_ready.as_str()), (1, "0/1"));
    assert_balanced(&status);
    assert_nothing_left(&place, &status);
}

#[test]
fn a_killed_exporter_is_started_again_and_loses_nothing() {
    let (place, target) = (Place::new(), Target::start());
    let load = "{ constantUsers: { users: 2, duration: 4s } }";
    place.write("test.yaml", &manifest(load, "/get", &["errors.ratio < 1%"]));
    let args = run_args(&target.url);
    let started = Started::new(place.loadtest(&args));
    wait_for_engine(&place, &target);
    std::thread::sleep(Duration::from_millis(1_500));
    signal(process_of(&place, "export"), "KILL");
    let finished = started
        .wait(Duration::from_secs(40))
        .exits(0)
        .says("started again");
    let status = finished.run_status();
    let requests = status.summary.as_ref().unwrap().requests;
    assert_eq!(
        target.requests_of(&status.run.as_ref().unwrap().id),
        requests
    );
    let export = status.export.as_ref().unwrap();
    assert_eq!((export.produced, export.indexed), (requests, requests));
    assert_eq!(raw_count(&place), requests);
    assert_nothing_left(&place, &status);
}

#[test]
fn nothing_survives_a_killed_parent_and_the_next_run_tidies_up() {
    let (place, target) = (Place::new(), Target::start());
    let started = begin(&place, &target, &[]);
    wait_for_engine(&place, &target);
    let id = summary_file(&place).run.unwrap().id;
    assert!(common::scratch_of(&id));
    started.signal("KILL");
    started.wait(Duration::from_secs(5));
    eventually("its processes end", Duration::from_secs(5), || {
        processes_of(&place).is_empty()
    });
    let status = summary_file(&place);
    assert_eq!(
        status.verdict, None,
        "a run that was cut off has no verdict"
    );
    place
        .finish(&[
            "run",
            "test.yaml",
            "--target",
            &target.url,
            "--var",
            "broken",
        ])
        .exits(2);
    let short = manifest(common::SECOND, "/get", &[]);
    place.write("short.yaml", &short);
    place
        .finish_delivered(&["run", "short.yaml", "--target", &target.url, "-q"])
        .exits(0);
    assert!(
        !common::scratch_of(&id),
        "the next run removes what it left"
    );
}

/// A run whose load is over and whose results wait for a search server that is not there.
fn begin_and_wait_for_export(place: &Place, target: &Target) -> Started {
    let yaml = manifest("{ constantUsers: { users: 1, duration: 1s } }", "/get", &[])
        + "  results:\n    elasticsearch: { urls: [\"http://es.invalid\"], drainTimeout: 5m }\n";
    place.write("test.yaml", &yaml);
    let run = run_args(&target.url);
    let args: Vec<_> = run
        .into_iter()
        .chain(["--elasticsearch", "http://127.0.0.1:1"])
        .collect();
    let started = Started::new(place.loadtest(&args));
    eventually("the load is over", Duration::from_secs(30), || {
        let summary = place.path().join("out/summary.json");
        std::fs::read_to_string(summary).is_ok_and(|text| text.contains("\"Exporting\""))
    });
    started
}

#[test]
fn ctrl_c_while_results_are_stored_gives_up_only_when_it_comes_twice() {
    let (place, target) = (Place::new(), Target::start());
    let started = begin_and_wait_for_export(&place, &target);
    started.signal("INT");
    std::thread::sleep(Duration::from_millis(1_500));
    assert!(
        !processes_of(&place).is_empty(),
        "one Ctrl-C does not give up on results"
    );
    started.signal("INT");
    let finished = started.wait(Duration::from_secs(10)).exits(130);
    let finished = finished.says("results are still being stored");
    let status = finished.run_status();
    // The load was judged before anybody stopped anything.
    assert_eq!(status.verdict.as_deref(), Some("Passed"));
    assert!(
        status.message.as_ref().unwrap().contains("were killed"),
        "{:?}",
        status.message
    );
    let requests = status.summary.as_ref().unwrap().requests;
    assert!(requests > 0);
    assert_eq!(status.export.as_ref().unwrap().lost, requests);
    assert_balanced(&status);
    assert_nothing_left(&place, &status);
}

/// Joining the files of a long run takes minutes; here it waits for ever, at a pipe among the parts.
#[test]
fn ctrl_c_ends_the_joining_of_files_and_says_where_they_are() {
    let (place, target) = (Place::new(), Target::start());
    let mut started = begin(&place, &target, &[]);
    wait_for_engine(&place, &target);
    let pipe = place.path().join("out/parts/0/dead-letters.ndjson");
    assert!(
        common::output(Command::new("mkfifo").arg(pipe))
            .status
            .success()
    );
    // Killed, so that the parts have to be read.
    eventually("its processes end", Duration::from_secs(20), || {
        started.signal("INT");
        processes_of(&place).is_empty()
    });
    let mut stderr = started.child.as_mut().unwrap().stderr.take().unwrap();
    eventually("the command ends", Duration::from_secs(20), || {
        started.signal("TERM");
        started
            .child
            .as_mut()
            .unwrap()
            .try_wait()
            .unwrap()
            .is_some()
    });
    let status = started.child.as_mut().unwrap().wait().unwrap();
    let mut said = String::new();
    stderr.read_to_string(&mut said).unwrap();
    assert_eq!(status.code(), Some(130), "{said}");
    let where_they_are = "stopped while the runners' files were joined: what is not joined yet is \
                          in out/parts, and the verdict is in out/summary.json";
    assert!(said.contains(where_they_are), "{said}");
    assert_eq!(summary_file(&place).verdict.as_deref(), Some("Aborted"));
}
