//! Manifests as files: which objects are in them, and what is wrong with them, by line.

use std::{io::Read as _, path::Path};

use loadtest_core::plan::{Plan, RunIdentity};
use loadtest_crds::{
    LoadTest, Overrides, Place, Problem, Stage, plan,
    validate::{self, Manifest},
    yaml,
};

use crate::{
    exit::Exit,
    output::terminal::say,
    overrides::{Changes, Objects},
};

/// Largest manifest: what the API server takes at most.
const MAX_BYTES: u64 = 3 << 20;

/// Why there is no text.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {path}: {source}")]
pub struct ReadError {
    path: String,
    source: std::io::Error,
}

/// Reads a manifest; `-` is standard input.
///
/// # Errors
/// When it cannot be read, is no text, or is longer than any API server takes.
pub fn read(path: &Path) -> Result<String, ReadError> {
    let mut text = String::new();
    let result = if path == Path::new("-") {
        std::io::stdin()
            .lock()
            .take(MAX_BYTES + 1)
            .read_to_string(&mut text)
    } else {
        std::fs::File::open(path)
            .and_then(|file| file.take(MAX_BYTES + 1).read_to_string(&mut text))
    };
    let failed = |source| ReadError {
        path: path.display().to_string(),
        source,
    };
    let length = result.map_err(failed)?;
    if length as u64 > MAX_BYTES {
        return Err(failed(std::io::Error::other("it is longer than 3 MiB")));
    }
    Ok(text)
}

/// A `LoadTest` that nothing is wrong with, and where its fields are written.
#[derive(Debug)]
pub struct Test {
    /// The object.
    pub object: LoadTest,
    /// Secrets and `ConfigMap`s beside it.
    pub objects: Objects,
    node: yaml::Node,
}

impl Test {
    /// Its name.
    pub fn name(&self) -> &str {
        self.object.metadata.name.as_deref().unwrap_or("test")
    }

    /// Its plan.
    ///
    /// # Errors
    /// What keeps it from being accepted, each with its place.
    pub fn plan(&self, run: RunIdentity, overrides: &Overrides) -> Result<Plan, Vec<Problem>> {
        plan::build(&self.object.spec.test, run, overrides)
            .map_err(|problems| self.all_placed(problems))
    }

    /// Problems with their places in the file.
    pub fn all_placed(&self, problems: Vec<Problem>) -> Vec<Problem> {
        problems
            .into_iter()
            .map(|problem| self.placed(problem))
            .collect()
    }

    fn placed(&self, mut problem: Problem) -> Problem {
        // A problem of an option has no place in the file.
        if problem.path.starts_with("spec") {
            problem
                .at
                .get_or_insert_with(|| self.node.locate(&problem.path));
        }
        problem
    }
}

/// The only `LoadTest` of a text. What the operator checks beyond the schema is checked when the plan
/// is made, since options may mend it (`--var`).
///
/// # Errors
/// Everything that is wrong with it, or that there is none or more than one.
pub fn one_test(text: &str) -> Result<Test, Vec<Problem>> {
    one_changed_test(text, &Changes::default())
}

/// The same with changes of the command line.
///
/// # Errors
/// As of [`one_test`], and what of the changes cannot be done.
pub fn one_changed_test(text: &str, changes: &Changes) -> Result<Test, Vec<Problem>> {
    let documents = changed(text, changes)?;
    if let Err(problems) = validate::documents(&documents)
        && problems
            .iter()
            .any(|problem| problem.by < Stage::Acceptance)
    {
        return Err(problems);
    }
    let objects = Objects::of(&documents);
    let mut tests: Vec<_> = documents.into_iter().filter(is_load_test).collect();
    match (tests.pop(), tests.len()) {
        (Some(node), 0) => match serde_json::from_value(node.to_json()) {
            Ok(object) => Ok(Test {
                object,
                objects,
                node,
            }),
            Err(error) => Err(vec![Problem::new(Stage::Schema, "", error.to_string())]),
        },
        (None, _) => Err(whole("there is no LoadTest in it")),
        (Some(_), others) => Err(whole(&format!(
            "there are {} LoadTests in it, and one is taken",
            others + 1
        ))),
    }
}

fn is_load_test(node: &yaml::Node) -> bool {
    let value = node.to_json();
    let text = |name: &str| value.get(name).and_then(serde_json::Value::as_str);
    text("kind") == Some("LoadTest")
        && text("apiVersion").is_some_and(|version| version.starts_with("loadtest.dev/"))
}

fn whole(message: &str) -> Vec<Problem> {
    vec![Problem {
        at: Some(Place { line: 1, column: 1 }),
        ..Problem::new(Stage::Yaml, "", message)
    }]
}

/// The documents of a text, its `LoadTest`s changed.
fn changed(text: &str, changes: &Changes) -> Result<Vec<yaml::Node>, Vec<Problem>> {
    let mut documents = yaml::parse(text).map_err(|problem| vec![problem])?;
    for test in documents.iter_mut().filter(|node| is_load_test(node)) {
        changes.apply(test)?;
    }
    Ok(documents)
}

/// Checks every object of a text, its `LoadTest`s changed; how many of ours there are.
///
/// # Errors
/// Everything that is wrong.
pub fn check(text: &str, changes: &Changes) -> Result<usize, Vec<Problem>> {
    let manifests = validate::documents(&changed(text, changes)?)?;
    let tests = manifests.iter().filter_map(|manifest| match manifest {
        Manifest::LoadTest(object) => Some(&object.spec.test),
        _ => None,
    });
    let unknown: Vec<_> = tests
        .flat_map(|test| changes.unknown_secrets(test))
        .collect();
    if !unknown.is_empty() {
        return Err(unknown);
    }
    Ok(manifests
        .iter()
        .filter(|manifest| !matches!(manifest, Manifest::Other(_)))
        .count())
}

/// Says what is wrong, one line each: `FILE:LINE:COLUMN: FIELD: MESSAGE`.
pub fn refuse(source: &str, problems: &[Problem]) -> Exit {
    for problem in problems {
        let separator = if problem.at.is_some() { ":" } else { ": " };
        say(&format!("{source}{separator}{problem}"));
    }
    Exit::Usage
}
