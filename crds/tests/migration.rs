//! The pages for people who come from elsewhere name only what there is.

// Helpers of tests may fail like tests.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{collections::BTreeSet, fs, path::Path};

use loadtest_core::{template::Function, threshold::Threshold};
use loadtest_crds::{crd, yaml};
use serde_json::Value;

const PAGES: [&str; 2] = ["migrating-from-locust.md", "migrating-from-k6-operator.md"];

/// Of pods, of files and of objects.
const OTHERS: [&str; 8] = [
    "podAntiAffinity",
    "hostAliases",
    "metadata",
    "runner",
    "report",
    "html",
    "LoadTest",
    "status",
];

/// Names of fields and of what may be chosen for them.
fn collect(schema: &Value, names: &mut BTreeSet<String>) {
    for (name, member) in schema["properties"].as_object().into_iter().flatten() {
        names.insert(name.clone());
        collect(member, names);
    }
    let choices = schema["enum"].as_array().into_iter().flatten();
    names.extend(choices.filter_map(Value::as_str).map(str::to_owned));
    for inner in ["items", "additionalProperties"] {
        if schema[inner].is_object() {
            collect(&schema[inner], names);
        }
    }
}

fn names() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for definition in [crd::load_test(), crd::load_test_run()] {
        collect(crd::schema(&definition), &mut names);
    }
    names.extend(Function::ALL.map(|function| function.name().to_owned()));
    names.extend(OTHERS.map(str::to_owned));
    names
}

/// What a piece of YAML names: keys, however deep, and a text that stands alone.
fn named(value: &Value, alone: bool, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (key, member) in members {
                found.push(key.clone());
                // Names of variables are the reader's.
                if key != "variables" {
                    named(member, false, found);
                }
            }
        }
        Value::String(text) if alone => found.push(text.clone()),
        _ => {}
    }
}

/// What is wrong with a piece of code in the column that is about us.
fn problem(code: &str, names: &BTreeSet<String>) -> Option<String> {
    if code.starts_with(['$', '-', '/']) || code.starts_with("loadtest ") {
        return None;
    }
    let as_threshold = ["", " >= 1%"].iter().any(|rest| {
        let expression = format!("{code}{rest}");
        Threshold::parse(None, &expression).is_ok()
    });
    if as_threshold {
        return None;
    }
    let mut found = Vec::new();
    match yaml::parse(code) {
        Ok(documents) => named(&documents.first()?.to_json(), true, &mut found),
        Err(problem) => return Some(format!("`{code}`: {problem}")),
    }
    let words = found.iter().flat_map(|path| path.split('.'));
    let mut unknown = words.filter(|word| !names.contains(word.trim_end_matches("[]")));
    unknown
        .next()
        .map(|word| format!("`{code}`: there is no {word}"))
}

#[test]
fn what_stands_beside_the_words_of_others_is_ours() {
    let names = names();
    let mut wrong = Vec::new();
    let mut checked = 0;
    for page in PAGES {
        let file = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../docs")
            .join(page);
        let text = fs::read_to_string(file).unwrap();
        for row in text.lines().filter(|line| line.starts_with("| ")) {
            let ours = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
            for code in ours.split('`').skip(1).step_by(2) {
                checked += 1;
                wrong.extend(problem(code, &names).map(|problem| format!("{page}: {problem}")));
            }
        }
    }
    assert!(checked > 60, "{checked}");
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}
