//! The generated definitions: true, bounded, without defaults.

// Helpers of tests may fail like tests.
#![allow(clippy::unwrap_used, clippy::panic, clippy::needless_pass_by_value)]

use std::{fs, path::Path};

use loadtest_crds::{crd, reference};
use serde_json::{Value, json};

#[test]
fn the_committed_definitions_are_the_generated_ones() {
    let directory =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/loadtest-operator/files/crds");
    for (name, text) in crd::files() {
        let committed = fs::read_to_string(directory.join(name)).unwrap_or_default();
        assert!(
            committed == text,
            "{name} is stale: run cargo run -p loadtest-crds --bin generate-crds"
        );
    }
}

#[test]
fn the_committed_reference_is_the_generated_one() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .join(reference::FILE);
    let committed = fs::read_to_string(file).unwrap_or_default();
    assert!(
        committed == reference::page(),
        "{} is stale: make crds",
        reference::FILE
    );
}

#[test]
fn what_a_choice_is_when_it_is_left_out_is_told() {
    let check = |schema: &Value, path: &str| {
        let required = schema["required"].as_array();
        for (name, member) in schema["properties"].as_object().into_iter().flatten() {
            let required = required.is_some_and(|names| names.iter().any(|one| one == name));
            let told = member["description"].as_str().unwrap_or_default();
            let told = told.contains("default") || told.contains("Default");
            let choice = path.starts_with("spec") && member["enum"].is_array();
            assert!(
                required || !choice || told,
                "{path}.{name}: what is its default?"
            );
        }
    };
    for_each_schema(check);
}

#[test]
fn the_reference_has_every_field_of_both_kinds() {
    let page = reference::page();
    for_each_schema(|schema, path| {
        for name in schema["properties"].as_object().into_iter().flatten() {
            let row = format!("\n| `{}` | ", name.0);
            assert!(page.contains(&row), "{path}.{} is missing", name.0);
        }
    });
}

/// Visits every schema with its path.
fn visit(schema: &Value, path: &str, check: &mut dyn FnMut(&Value, &str)) {
    check(schema, path);
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        visit(property, &format!("{path}.{name}"), check);
    }
    for inner in ["items", "additionalProperties"] {
        if schema[inner].is_object() {
            visit(&schema[inner], &format!("{path}[]"), check);
        }
    }
}

fn for_each_schema(mut check: impl FnMut(&Value, &str)) {
    for definition in [crd::load_test(), crd::load_test_run()] {
        let schema = &crd::schema(&definition)["properties"];
        for part in ["spec", "status"] {
            visit(&schema[part], part, &mut check);
        }
    }
}

#[test]
fn everything_that_can_grow_is_bounded() {
    for_each_schema(|schema, path| {
        let has = |bound: &str| schema.get(bound).is_some();
        match schema["type"].as_str() {
            Some("string") => {
                let bounded = has("maxLength") || has("enum") || schema["format"] == "date-time";
                assert!(bounded, "{path} may be of any length");
            }
            Some("array") => assert!(has("maxItems"), "{path} may have any number of items"),
            Some("object") if has("additionalProperties") => {
                assert!(
                    has("maxProperties"),
                    "{path} may have any number of members"
                );
            }
            None if schema["x-kubernetes-int-or-string"] == true => {
                assert!(has("maxLength"), "{path} may be of any length");
            }
            None => assert!(
                has("x-kubernetes-preserve-unknown-fields"),
                "{path} has no type"
            ),
            _ => {}
        }
        let format = schema["format"].as_str().unwrap_or_default();
        assert!(!format.starts_with("uint"), "{path} is unsigned");
    });
}

#[test]
fn nothing_but_the_status_has_a_default_and_nothing_may_be_null() {
    for_each_schema(|schema, path| {
        let expected = (path == "status").then(|| json!({ "observedGeneration": -1 }));
        assert_eq!(schema.get("default"), expected.as_ref(), "{path}");
        assert_eq!(schema.get("nullable"), None, "{path}");
    });
}

#[test]
fn every_field_is_explained() {
    for_each_schema(|schema, path| {
        let item = path.ends_with("[]");
        let percentile = ["atency.", "serviceTime.", "duration."]
            .iter()
            .any(|times| path.contains(times));
        if !item && !percentile {
            let text = schema["description"].as_str().unwrap_or_default();
            assert!(text.len() > 5, "{path} is not explained");
            assert!(
                !text.contains('`') && !text.contains("\n "),
                "{path}: {text}"
            );
        }
    });
}

#[test]
fn columns_answer_the_question_in_one_line() {
    for definition in [crd::load_test(), crd::load_test_run()] {
        let columns = definition["spec"]["versions"][0]["additionalPrinterColumns"].clone();
        let names = |wide: bool| -> Vec<String> {
            columns
                .as_array()
                .unwrap()
                .iter()
                .filter(|column| (column["priority"] == 1) == wide)
                .map(|column| column["name"].as_str().unwrap().to_owned())
                .collect()
        };
        assert_eq!(
            names(false),
            ["Phase", "Verdict", "RPS", "P95", "Errors", "Runners", "Age"]
        );
        assert_eq!(names(true), ["P99", "Requests", "Run", "Target", "Message"]);
    }
}
