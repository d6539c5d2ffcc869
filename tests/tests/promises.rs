//! What `docs/` says of tests and files is so.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "in a test, a panic is the report"
)]

use std::{fs, path::Path};

use loadtest_tests::root;

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The text of all Rust files of a folder.
fn sources(folder: &Path, to: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, to);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            to.push_str(&fs::read_to_string(&path).unwrap());
        }
    }
}

/// What stands between backticks and reads like a test's name.
fn names(text: &str) -> impl Iterator<Item = &str> {
    let quoted = text.split('`').skip(1).step_by(2);
    quoted.filter(|name| {
        let words = name.split('_');
        words.clone().count() > 2 && words.flat_map(str::chars).all(char::is_alphanumeric)
    })
}

#[test]
fn every_bound_has_the_test_that_is_named_beside_it() {
    let mut tests = String::new();
    for folder in ["tests/tests", "core/tests", "operator/src"] {
        sources(&root().join(folder), &mut tests);
    }
    let document = read("docs/failure-modes.md");
    let named: Vec<_> = names(&document).collect();
    assert!(named.len() > 25, "{named:?}");
    let missing: Vec<_> = named
        .iter()
        .filter(|name| !tests.contains(&format!("fn {name}(")))
        .collect();
    assert!(missing.is_empty(), "no such tests: {missing:?}");
}

#[test]
fn every_fault_of_the_export_has_the_tests_that_are_named_beside_it() {
    let mut tests = String::new();
    for folder in ["runner/tests", "runner/src/export"] {
        sources(&root().join(folder), &mut tests);
    }
    let document = read("docs/export.md");
    let (_, faults) = document.split_once("## Faults").unwrap();
    let (faults, _) = faults.split_once("## Proved").unwrap();
    let named: Vec<_> = names(faults).collect();
    assert!(named.len() > 35, "{named:?}");
    let missing: Vec<_> = named
        .iter()
        .filter(|name| !tests.contains(&format!("fn {name}(")))
        .collect();
    assert!(missing.is_empty(), "no such tests: {missing:?}");
}

#[test]
fn the_health_script_of_the_document_is_the_one_that_is_tested() {
    let script = read("charts/loadtest-operator/files/argocd/health.lua");
    let document = read("docs/gitops.md");
    let lines: Vec<_> = document.lines().map(str::trim_start).collect();
    let script: Vec<_> = script.lines().map(str::trim_start).collect();
    assert!(
        lines.windows(script.len()).any(|window| window == script),
        "docs/gitops.md shows another script than the chart's files/argocd/health.lua"
    );
}
