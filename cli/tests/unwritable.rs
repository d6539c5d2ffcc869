//! A disk or a standard output that takes no more: what was found out is told all the same, and the
//! exit code says that something is missing.

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::{fs, process::Output};

use common::{Place, SECOND, Target, manifest, run_args};
use loadtest_crds::LoadTestRunStatus;

#[test]
fn a_file_that_cannot_be_written_swallows_neither_the_answer_nor_the_other_files() {
    let (place, target) = (Place::new(), Target::start());
    place.write("test.yaml", &manifest(SECOND, "/get", &[]));
    let out = place.path().join("out");
    fs::create_dir_all(out.join("loadtest_stats.csv")).unwrap();
    let finished = place
        .finish(&run_args(&target.url))
        .exits(3)
        .says("error: cannot write out/loadtest_stats.csv: Is a directory");
    let status = finished.run_status();
    assert!(status.verdict.is_some(), "{status:?}");
    let file = fs::read(out.join("summary.json")).unwrap();
    let file: LoadTestRunStatus = serde_json::from_slice(&file).unwrap();
    assert_eq!(file, status);
    for name in [
        "requests.ndjson.gz",
        "runs.ndjson",
        "loadtest_failures.csv",
        "report.html",
    ] {
        assert!(out.join(name).is_file(), "{name}");
    }
    assert!(!out.join("parts").exists());
}

#[test]
fn the_table_is_printed_when_parts_cannot_be_joined() {
    let (place, target) = (Place::new(), Target::start());
    place.write("test.yaml", &manifest(SECOND, "/get", &[]));
    let out = place.path().join("out");
    fs::create_dir_all(out.join("intervals.ndjson")).unwrap();
    let args = ["run", "test.yaml", "--target", &target.url, "--out", "out"];
    let finished = place
        .finish(&args)
        .exits(3)
        .says("error: cannot join what the runners wrote, which stays in out/parts: ");
    assert!(finished.stdout.contains("\nVerdict   "), "{finished:?}");
    assert!(out.join("parts/0/intervals.ndjson").is_file());
    assert!(out.join("loadtest_stats.csv").is_file());
}

/// The commands that print, with what each needs.
fn printing(place: &Place, target: &Target) -> Vec<Vec<String>> {
    place.write("test.yaml", &manifest(SECOND, "/get", &[]));
    place.finish_delivered(&run_args(&target.url)).exits(0);
    let commands = [
        "report out -o junit",
        "report out -o csv",
        "es-role",
        "completions bash",
        "validate test.yaml",
        "try test.yaml --target URL",
        "run test.yaml -q -o json --target URL",
        "demo test.yaml -q -o yaml",
    ];
    let words = |command: &str| {
        let words = command.split(' ');
        let words = words.map(|word| word.replace("URL", &target.url));
        words.collect()
    };
    commands.map(words).into()
}

#[test]
fn a_standard_output_that_takes_nothing_is_an_error() {
    let (place, target) = (Place::new(), Target::start());
    for command in printing(&place, &target) {
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let ended = into(&place, &command, full);
        assert_eq!(ended.status.code(), Some(3), "{command:?}: {ended:?}");
        let said = String::from_utf8(ended.stderr).unwrap();
        let error = "error: cannot write to standard output: No space left on device";
        assert!(said.contains(error), "{command:?}: {said}");
    }
}

#[test]
fn a_reader_that_is_gone_is_no_error() {
    let (place, target) = (Place::new(), Target::start());
    for command in printing(&place, &target) {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let ended = into(&place, &command, writer);
        // A machine that is too busy for the load says so, as it would to a reader.
        let runs = matches!(command[0].as_str(), "run" | "demo");
        let right = ended.status.success() || runs && ended.status.code() == Some(4);
        assert!(right, "{command:?}: {ended:?}");
    }
}

fn into(place: &Place, command: &[String], stdout: impl Into<std::process::Stdio>) -> Output {
    let words: Vec<_> = command.iter().map(String::as_str).collect();
    place.loadtest(&words).stdout(stdout).output().unwrap()
}
