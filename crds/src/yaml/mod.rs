//! YAML as kubectl reads it: YAML 1.1 scalars (`y` and `on` are booleans, `010` is eight), turned
//! into JSON before anything else is looked at. Nodes keep their places, so that every problem
//! can name its line.

mod compose;
mod emit;
mod scalar;

use serde_json::{Map, Number, Value};

pub use compose::parse;
pub use emit::to_string;

use crate::problem::Place;

/// A node of a document.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Where it begins.
    pub place: Place,
    /// What it is.
    pub content: Content,
}

/// What a node is; the same kinds as in JSON.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum Content {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A member of a mapping.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Key, as JSON has it.
    pub key: String,
    /// Where the key is.
    pub place: Place,
    /// Value.
    pub value: Node,
}

impl Node {
    /// The node as JSON.
    pub fn to_json(&self) -> Value {
        match &self.content {
            Content::Null => Value::Null,
            Content::Bool(value) => Value::Bool(*value),
            Content::Number(number) => Value::Number(number.clone()),
            Content::Text(text) => Value::String(text.clone()),
            Content::List(items) => items.iter().map(Self::to_json).collect(),
            Content::Map(entries) => {
                let members: Map<_, _> = entries
                    .iter()
                    .map(|entry| (entry.key.clone(), entry.value.to_json()))
                    .collect();
                Value::Object(members)
            }
        }
    }

    /// The place of a path such as `spec.scenarios[0].load`, or of the deepest part of it that
    /// exists.
    pub fn locate(&self, path: &str) -> Place {
        let mut node = self;
        let mut place = self.place;
        let mut rest = path;
        loop {
            rest = rest.strip_prefix('.').unwrap_or(rest);
            let next = match &node.content {
                Content::List(items) => index(rest)
                    .and_then(|(at, after)| items.get(at).map(|item| (item.place, item, after))),
                // Keys may hold dots and brackets themselves, so the longest that fits is taken.
                Content::Map(entries) => entries
                    .iter()
                    .filter_map(|entry| {
                        let after = rest.strip_prefix(entry.key.as_str())?;
                        let ends = after.is_empty() || after.starts_with(['.', '[']);
                        ends.then_some((entry.place, &entry.value, after))
                    })
                    .min_by_key(|(_, _, after)| after.len()),
                _ => None,
            };
            let Some((at, inner, after)) = next.filter(|_| !rest.is_empty()) else {
                return place;
            };
            (place, node, rest) = (at, inner, after);
        }
    }
}

fn index(path: &str) -> Option<(usize, &str)> {
    let (digits, after) = path.strip_prefix('[')?.split_once(']')?;
    Some((digits.parse().ok()?, after))
}
