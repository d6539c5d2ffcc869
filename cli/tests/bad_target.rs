//! Targets and search servers that are not what one hopes for: the run ends by itself, says what it
//! saw, and counts every request.

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    time::Duration,
};

use common::{
    Finished, Place, SECOND, Target, csv_rows, manifest, processes_of, raw_count, run_args,
};
use loadtest_crds::LoadTestRunStatus;

/// A server that does `each` with every connection; gone with the process.
fn scripted(each: impl Fn(TcpStream) + Send + Sync + Copy + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || each(stream));
        }
    });
    url
}

/// Reads one request without a body; false at the end of the connection.
fn read_request(stream: &mut TcpStream) -> bool {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return false,
        }
    }
    true
}

fn run(place: &Place, url: &str, yaml: &str) -> Finished {
    place.write("test.yaml", yaml);
    place.finish_delivered(&[
        "run",
        "test.yaml",
        "--target",
        url,
        "--out",
        "out",
        "-o",
        "json",
    ])
}

/// All requests failed in one way, are counted once each, and nothing is left behind.
fn assert_all_failed(place: &Place, status: &LoadTestRunStatus, kind: &str, requests: i64) {
    let summary = status.summary.as_ref().unwrap();
    assert_eq!(
        (summary.requests, summary.failures),
        (requests, requests),
        "{summary:?}"
    );
    let kinds: Vec<_> = summary
        .errors
        .iter()
        .map(|error| error.kind.as_str())
        .collect();
    assert_eq!(kinds, [kind]);
    assert_eq!(summary.errors[0].count, requests);
    assert_eq!(raw_count(place), requests);
    let export = status.export.as_ref().unwrap();
    assert_eq!((export.produced, export.indexed), (requests, requests));
    let rows = csv_rows(&place.path().join("out/loadtest_failures.csv"));
    assert_eq!(rows[0]["Occurrences"], requests.to_string());
    assert_eq!(processes_of(place), Vec::<String>::new());
    assert!(!common::scratch_of(&status.run.as_ref().unwrap().id));
}

#[test]
fn a_refused_connection_fails_every_request_and_the_run() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let place = Place::new();
    let status = run(&place, &url, &manifest(SECOND, "/get", &[]))
        .exits(1)
        .run_status();
    assert_all_failed(&place, &status, "connect_refused", 100);
    assert_eq!(status.verdict.as_deref(), Some("Failed"));
    let message = status.message.unwrap();
    assert!(
        message.starts_with("all 100 requests failed: "),
        "{message}"
    );
    assert!(message.contains("refused"), "{message}");
}

#[test]
fn a_name_that_does_not_exist_fails_every_request_and_the_run() {
    let place = Place::new();
    let url = "http://no-such-host.invalid:8080";
    let status = run(&place, url, &manifest(SECOND, "/get", &[]))
        .exits(1)
        .run_status();
    assert_all_failed(&place, &status, "dns", 100);
    assert!(status.message.unwrap().contains("no-such-host.invalid"));
}

#[test]
fn garbage_is_a_protocol_error() {
    let url = scripted(|mut stream| {
        read_request(&mut stream);
        let _ = stream.write_all(b"\x00\x01garbage, not HTTP\r\n\r\n");
    });
    let place = Place::new();
    let status = run(&place, &url, &manifest(SECOND, "/get", &[]))
        .exits(1)
        .run_status();
    assert_all_failed(&place, &status, "protocol", 100);
}

#[test]
fn a_target_that_never_answers_is_a_timeout() {
    let url = scripted(|mut stream| while read_request(&mut stream) {});
    let place = Place::new();
    let yaml =
        manifest(SECOND, "/get", &["errors.ratio < 1%"]).replace("timeout: 2s", "timeout: 500ms");
    let status = run(&place, &url, &yaml).exits(1).run_status();
    assert_all_failed(&place, &status, "timeout", 100);
    assert_eq!(
        status.message.as_deref(),
        Some("threshold errors.ratio < 1% was breached: 100%")
    );
}

#[test]
fn a_target_that_stops_answering_in_mid_run_ends_within_graceful_stop() {
    // Each connection answers three times and then falls silent.
    let url = scripted(|mut stream| {
        for _ in 0..3 {
            if read_request(&mut stream) {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
            }
        }
        while read_request(&mut stream) {}
    });
    let place = Place::new();
    let load = "{ constantUsers: { users: 4, duration: 2s } }";
    let yaml =
        manifest(load, "/get", &["errors.ratio < 1%"]).replace("timeout: 2s", "timeout: 30s");
    let finished = run(&place, &url, &yaml).exits(1);
    assert!(
        finished.took < Duration::from_secs(15),
        "{:?}",
        finished.took
    );
    let status = finished.run_status();
    let summary = status.summary.unwrap();
    // Four users, three answers each, and then one that never came.
    assert_eq!((summary.requests, summary.failures), (16, 4));
    assert_eq!(summary.errors[0].kind, "aborted");
    assert_eq!(raw_count(&place), 16);
}

#[test]
fn an_absent_search_server_changes_nothing_measured_and_is_said() {
    let (place, target) = (Place::new(), Target::start());
    let yaml = manifest(SECOND, "/get", &[])
        + "  results:\n    elasticsearch: { urls: [\"http://es.invalid:9200\"], drainTimeout: 3s }\n";
    place.write("test.yaml", &yaml);
    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    let search = format!("http://{}", closed.local_addr().unwrap());
    drop(closed);
    let run = run_args(&target.url);
    let args: Vec<_> = run
        .into_iter()
        .chain(["--elasticsearch", &search])
        .collect();
    let finished = place.finish_delivered(&args).exits(0);
    // A second of load, three of drain, and what starting and ending takes.
    assert!(
        finished.took < Duration::from_secs(20),
        "{:?}",
        finished.took
    );
    let status = finished.run_status();
    assert_eq!(status.verdict.as_deref(), Some("Passed"));
    assert_eq!(status.summary.as_ref().unwrap().requests, 100);
    let export = status.export.unwrap();
    assert_eq!(
        (export.produced, export.indexed, export.pending),
        (100, 0, 0)
    );
    assert_eq!(
        export.rejected + export.dropped + export.lost,
        100,
        "all have a name"
    );
    assert!(!export.problem.unwrap().is_empty());
    let exported = status
        .conditions
        .iter()
        .find(|condition| condition.kind == "ResultsExported")
        .unwrap();
    assert_eq!(exported.reason, "ExportIncomplete");
    // The files have them all the same.
    assert_eq!(raw_count(&place), 100);
    assert_eq!(processes_of(&place), Vec::<String>::new());
}

#[test]
fn an_elasticsearch_of_the_manifest_is_left_to_the_cluster() {
    let (place, target) = (Place::new(), Target::start());
    let yaml = manifest(SECOND, "/get", &[])
        + "  results:\n    elasticsearch: { urls: [\"http://es.invalid:9200\"] }\n";
    let finished = run(&place, &target.url, &yaml)
        .exits(0)
        .says("results.elasticsearch of the manifest is for the cluster");
    assert_eq!(finished.run_status().export.unwrap().indexed, 100);
}
