//! The runners' pod template: checked as strictly as the API server checks a pod, and for what the
//! operator must decide itself.

use k8s_openapi::api::core::v1::PodTemplateSpec;
use serde_json::{Map, Value, json};

use crate::problem::{Problem, Stage};

/// Everything wrong with a template.
pub(super) fn check(template: &Map<String, Value>, path: &str) -> Vec<Problem> {
    let problem = |path: String, message: String| Problem::new(Stage::Acceptance, path, message);
    let mut written = Value::Object(template.clone());
    quantities_as_text(&mut written);
    let understood = match serde_json::from_value::<PodTemplateSpec>(written.clone()) {
        Ok(template) => serde_json::to_value(template).unwrap_or_default(),
        Err(error) => {
            return vec![problem(
                path.to_owned(),
                format!("is not a pod template: {error}"),
            )];
        }
    };
    let mut lost = Vec::new();
    lost_fields(&written, &understood, path, &mut lost);
    let mut problems: Vec<_> = lost
        .into_iter()
        .map(|field| problem(field, "a pod template has no such field".to_owned()))
        .collect();
    if let Some(policy) = written.pointer("/spec/restartPolicy")
        && policy != "Never"
    {
        problems.push(problem(
            format!("{path}.spec.restartPolicy"),
            "runners never restart: leave it out or set it to Never".to_owned(),
        ));
    }
    problems
}

/// The API server takes numbers for quantities; the types here take texts.
fn quantities_as_text(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (key, member) in members {
                if matches!(
                    key.as_str(),
                    "limits" | "requests" | "sizeLimit" | "overhead"
                ) {
                    numbers_as_text(member);
                } else {
                    quantities_as_text(member);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(quantities_as_text),
        _ => {}
    }
}

fn numbers_as_text(value: &mut Value) {
    match value {
        Value::Number(number) => *value = json!(number.to_string()),
        Value::Object(members) => members.values_mut().for_each(numbers_as_text),
        _ => {}
    }
}

/// Fields that reading and writing lost: the type does not have them.
fn lost_fields(written: &Value, understood: &Value, path: &str, lost: &mut Vec<String>) {
    match (written, understood) {
        (Value::Object(members), Value::Object(known)) => {
            for (key, member) in members {
                let path = format!("{path}.{key}");
                match known.get(key) {
                    Some(known) => lost_fields(member, known, &path, lost),
                    None if member.is_null() => {}
                    None => lost.push(path),
                }
            }
        }
        (Value::Array(items), Value::Array(known)) => {
            for (index, (item, known)) in items.iter().zip(known).enumerate() {
                lost_fields(item, known, &format!("{path}[{index}]"), lost);
            }
        }
        _ => {}
    }
}
