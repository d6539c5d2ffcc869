//! What a cluster would refuse, told without one, in the order in which it would: YAML, then the
//! structural schema with unknown fields, then the schema's rules, then what the operator checks
//! before it accepts a test.

mod document;
mod rules;
mod structural;

use std::sync::LazyLock;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::{
    crd, plan,
    problem::{Place, Problem, Stage},
    schedule,
    spec::{LoadTest, LoadTestRun},
    yaml,
};

/// A document that a cluster would take.
#[derive(Debug, Clone, PartialEq)]
pub enum Manifest {
    /// A `LoadTest`.
    LoadTest(Box<LoadTest>),
    /// A `LoadTestRun`.
    LoadTestRun(Box<LoadTestRun>),
    /// An object of another kind, as JSON: not looked at.
    Other(Value),
}

/// Everything wrong with a text of one or more documents; empty when a cluster would take all of
/// its `LoadTest`s and `LoadTestRun`s. A text without any is wrong.
pub fn validate_yaml(text: &str) -> Vec<Problem> {
    load(text).err().unwrap_or_default()
}

/// Reads the documents of a text.
///
/// # Errors
/// Every problem of [`validate_yaml`], in the order of the text.
pub fn load(text: &str) -> Result<Vec<Manifest>, Vec<Problem>> {
    documents(&yaml::parse(text).map_err(|problem| vec![problem])?)
}

/// Checks documents that were read already, and perhaps changed since.
///
/// # Errors
/// As of [`load`].
pub fn documents(documents: &[yaml::Node]) -> Result<Vec<Manifest>, Vec<Problem>> {
    let mut manifests = Vec::with_capacity(documents.len());
    let mut problems = Vec::new();
    for document in documents {
        match manifest(document) {
            Ok(manifest) => manifests.push(manifest),
            Err(found) => problems.extend(found),
        }
    }
    let ours = manifests
        .iter()
        .any(|manifest| !matches!(manifest, Manifest::Other(_)));
    if problems.is_empty() && !ours {
        let message = "there is no LoadTest or LoadTestRun in it";
        problems.push(Problem::new(Stage::Yaml, "", message));
    }
    if problems.is_empty() {
        Ok(manifests)
    } else {
        Err(problems)
    }
}

fn manifest(document: &yaml::Node) -> Result<Manifest, Vec<Problem>> {
    let value = document.to_json();
    let found = match document::kind(&value).map_err(|problem| vec![problem]) {
        Ok(None) => return Ok(Manifest::Other(value)),
        Ok(Some(document::Kind::LoadTest)) => load_test(value),
        Ok(Some(document::Kind::LoadTestRun)) => load_test_run(value),
        Err(problems) => Err(problems),
    };
    found.map_err(|mut problems| {
        for problem in &mut problems {
            place(problem, document);
        }
        problems.sort_by_key(|problem| (problem.by, problem.at));
        problems
    })
}

fn load_test(mut value: Value) -> Result<Manifest, Vec<Problem>> {
    structural::prune_nulls(&mut value, &LOAD_TEST);
    check(&value, &LOAD_TEST)?;
    let test: LoadTest = typed(value)?;
    schedule::accept(&test.spec)?;
    Ok(Manifest::LoadTest(Box::new(test)))
}

fn load_test_run(mut value: Value) -> Result<Manifest, Vec<Problem>> {
    structural::prune_nulls(&mut value, &LOAD_TEST_RUN);
    check(&value, &LOAD_TEST_RUN)?;
    let run: LoadTestRun = typed(value)?;
    if let Some(test) = &run.spec.test {
        plan::accept(test, "spec.test")?;
    }
    Ok(Manifest::LoadTestRun(Box::new(run)))
}

/// What a structural schema refuses of a value, without its rules.
pub fn against_schema(value: &Value, schema: &Value) -> Vec<Problem> {
    structural::check(value, schema)
}

/// Reads a file that is no object of a cluster, such as a configuration, by the schema of its type:
/// unknown fields are refused as in a manifest, and `more` is what the schema cannot say. A file without
/// content is an empty one.
///
/// # Errors
/// Every problem, each with its place.
pub fn file<T: JsonSchema + DeserializeOwned>(
    text: &str,
    more: impl Fn(&T) -> Vec<Problem>,
) -> Result<T, Vec<Problem>> {
    let documents = yaml::parse(text).map_err(|problem| vec![problem])?;
    let written = documents.iter().filter(|node| !node.to_json().is_null());
    let document = match written.collect::<Vec<_>>().as_slice() {
        [] => return typed(Value::Object(Map::new())),
        [document] => *document,
        [_, second, ..] => {
            let mut problem = Problem::new(Stage::Yaml, "", "has more than one document");
            problem.at = Some(second.place);
            return Err(vec![problem]);
        }
    };
    let schema = crd::schema_of::<T>();
    let mut value = document.to_json();
    structural::prune_nulls(&mut value, &schema);
    let mut problems = structural::check(&value, &schema);
    if problems.is_empty() {
        problems = rules::check(&value, &schema);
    }
    let result = if problems.is_empty() {
        typed(value)
    } else {
        Err(problems)
    };
    let result = result.and_then(|value| match more(&value) {
        problems if problems.is_empty() => Ok(value),
        problems => Err(problems),
    });
    result.map_err(|mut problems| {
        for problem in &mut problems {
            place(problem, document);
        }
        problems.sort_by_key(|problem| problem.at);
        problems
    })
}

/// What the API server refuses.
fn check(value: &Value, schema: &Value) -> Result<(), Vec<Problem>> {
    let mut problems = document::metadata(value);
    problems.extend(structural::check(value, schema));
    if problems.is_empty() {
        problems = rules::check(value, schema);
    }
    if problems.is_empty() {
        Ok(())
    } else {
        Err(problems)
    }
}

fn typed<T: DeserializeOwned>(value: Value) -> Result<T, Vec<Problem>> {
    serde_json::from_value(value)
        .map_err(|error| vec![Problem::new(Stage::Schema, "", error.to_string())])
}

/// Finds the place of a problem by its path, or by the path in its message.
fn place(problem: &mut Problem, document: &yaml::Node) {
    let path = if problem.path.is_empty() {
        problem.message.split('"').nth(1).unwrap_or_default()
    } else {
        &problem.path
    };
    let at: Place = document.locate(path);
    problem.at.get_or_insert(at);
}

static LOAD_TEST: LazyLock<Value> = LazyLock::new(|| crd::schema(&crd::load_test()).clone());
static LOAD_TEST_RUN: LazyLock<Value> =
    LazyLock::new(|| crd::schema(&crd::load_test_run()).clone());

/// Kind and fields of one of our objects, for tests of the schema itself.
#[cfg(test)]
pub(crate) fn schemas() -> [&'static Value; 2] {
    [&LOAD_TEST, &LOAD_TEST_RUN]
}
