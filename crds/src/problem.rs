//! What is wrong with a manifest, said to the person who wrote it.

use std::fmt;

/// Something wrong, where it is, and how to mend it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Place in the text, when there is a text.
    pub at: Option<Place>,
    /// Field, such as `spec.scenarios[0].load`; empty when the whole is meant.
    pub path: String,
    /// What is wrong and what would be right.
    pub message: String,
    /// Who refuses it in a cluster.
    pub by: Stage,
}

/// Line and column of a text, both from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Line.
    pub line: usize,
    /// Column.
    pub column: usize,
}

/// Which check refuses a manifest; they are done in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Not YAML: kubectl.
    Yaml,
    /// The schema and its rules: the API server.
    Schema,
    /// What the schema cannot say: the operator, as `Accepted=False`.
    Acceptance,
}

impl Problem {
    /// A problem of a field, without a place in a text.
    pub fn new(by: Stage, path: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            at: None,
            path: path.into(),
            message: message.into(),
            by,
        }
    }

    /// Field and message, without the place in the text.
    pub fn sentence(&self) -> String {
        if self.path.is_empty() {
            self.message.clone()
        } else {
            format!("{}: {}", self.path, self.message)
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(Place { line, column }) = self.at {
            write!(f, "{line}:{column}: ")?;
        }
        f.write_str(&self.sentence())
    }
}

/// All problems as one error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", list(.0))]
pub struct Problems(pub Vec<Problem>);

fn list(problems: &[Problem]) -> String {
    problems
        .iter()
        .map(Problem::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}
