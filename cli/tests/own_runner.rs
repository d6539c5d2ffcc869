//! Runners of the user's own, which may say anything on their way.

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::{fs, os::unix::fs::PermissionsExt as _};

use common::{Place, SECOND, Target, manifest, run_args};

/// A place with a test and a program that is given as the runner.
fn with_runner(script: &str) -> Place {
    let place = Place::new();
    place.write("test.yaml", &manifest(SECOND, "/get", &[]));
    let runner = place.write("runner", &format!("#!/bin/sh\n{script}"));
    fs::set_permissions(runner, fs::Permissions::from_mode(0o755)).unwrap();
    place
}

#[test]
fn a_line_that_is_no_text_does_not_end_the_log() {
    let target = Target::start();
    let place = with_runner("printf 'a \\377 b\\n' >&2\necho the reason >&2\nexit 5\n");
    let args = run_args(&target.url);
    let args = [&args[..], &["--runner-binary", "runner"]].concat();
    let status = place.finish(&args).exits(3).run_status();
    let message = status.message.unwrap();
    let reason = "runner 0's engine ended with exit status 5: the reason";
    assert!(message.contains(reason), "{message}");
    let log = fs::read_to_string(place.path().join("out/logs/runner-0-engine.log")).unwrap();
    assert_eq!(log, "a \u{fffd} b\nthe reason\n");
}

#[test]
fn a_line_that_is_no_text_does_not_end_a_rehearsal() {
    let place = with_runner("printf 'a \\377 b\\n'\necho '{\"done\":true}'\n");
    place
        .finish(&["try", "test.yaml", "--runner-binary", "runner"])
        .exits(0)
        .says("a \u{fffd} b\n");
}
