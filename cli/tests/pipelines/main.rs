//! The samples of `examples/ci`: every script of theirs is taken out and done, against the bundled target and, where
//! they ask a cluster, against a real API server. No operator is there; its part the test plays.
//!
//! The cluster's part is run by `make test-api`.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "in a test, a panic is the report"
)]

mod cluster;
#[path = "../common/mod.rs"]
mod common;
mod jobs;

use common::Target;
use jobs::{Machine, Steps, assert_codes, github, gitlab};

const GITHUB: &str = "examples/ci/github-actions.yaml";
const GITLAB: &str = "examples/ci/gitlab-ci.yml";

/// A job is tried again when the machine is too busy to send the load: 4 is a true answer then.
fn delivered(mut job: impl FnMut() -> (Machine, Steps)) -> (Machine, Steps) {
    for _ in 0..3 {
        let (machine, steps) = job();
        if steps
            .iter()
            .all(|(_, output)| output.status.code() != Some(4))
        {
            return (machine, steps);
        }
    }
    job()
}

fn cases(xml: &str) -> (usize, usize) {
    assert!(xml.starts_with("<?xml version=\"1.0\""), "{xml}");
    (
        xml.matches("<testcase ").count(),
        xml.matches("<failure ").count(),
    )
}

#[test]
fn github_actions_on_its_own_machine() {
    let target = Target::start();
    let given = [("vars.LOADTEST_TARGET", target.url.as_str())];
    let (machine, steps) = delivered(|| {
        let mut machine = Machine::new(&[]);
        let steps = github(&mut machine, GITHUB, "here", &given);
        (machine, steps)
    });
    let names = ["Install loadtest", "Load test", "Reports"];
    assert_codes(&steps, &names.map(|name| (name, 0)));
    // Two thresholds and the verdict; a half of 100/s for 5 s.
    assert_eq!(cases(&machine.read("results/junit.xml")), (3, 0));
    assert!(machine.read("summary").contains("Passed"));
    assert!(machine.read("results/report.html").contains("<td>250</td>"));
}

#[test]
fn a_breached_threshold_fails_the_step_and_is_in_the_reports() {
    let target = Target::start();
    let given = [("vars.LOADTEST_TARGET", target.url.as_str())];
    let (machine, steps) = delivered(|| {
        let mut machine = Machine::new(&[]);
        let strict = machine
            .read("loadtest.yaml")
            .replace("p95 < 1s", "p95 < 1us");
        machine.place.write("loadtest.yaml", &strict);
        let steps = github(&mut machine, GITHUB, "here", &given);
        (machine, steps)
    });
    assert_codes(
        &steps,
        &[("Install loadtest", 0), ("Load test", 1), ("Reports", 0)],
    );
    // The threshold and, because of it, the verdict.
    assert_eq!(cases(&machine.read("results/junit.xml")), (3, 2));
    assert!(machine.read("summary").contains("Failed"));
}

#[test]
fn gitlab_on_its_own_runner() {
    let target = Target::start();
    let (machine, steps) = delivered(|| {
        let mut machine = Machine::new(&[("TARGET", &target.url)]);
        let steps = gitlab(&mut machine, GITLAB, "here");
        (machine, steps)
    });
    assert_codes(&steps, &[("script", 0), ("after_script", 0)]);
    assert_eq!(cases(&machine.read("results/junit.xml")), (3, 0));
}

#[test]
fn the_commands_of_the_document_are_those_of_the_samples() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap();
    let samples = read(GITHUB);
    let document = read("docs/ci.md");
    let blocks = document.split("```sh\n").skip(1);
    let commands: Vec<_> = blocks
        .flat_map(|block| block.split("```").next().unwrap().lines())
        .collect();
    assert!(commands.len() > 4, "{commands:?}");
    for command in commands {
        assert!(samples.contains(command), "in no sample: {command}");
    }
}
