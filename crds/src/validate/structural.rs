//! The structural schema, read from the definition that the API server is given: what is written
//! there is checked here, in the server's words.

use std::{
    collections::HashMap,
    sync::{LazyLock, Mutex},
};

use regex::Regex;
use serde_json::{Map, Value};

use crate::problem::{Problem, Stage};

/// Everything that a schema refuses of a value: unknown fields first, as the server does.
pub(super) fn check(value: &Value, schema: &Value) -> Vec<Problem> {
    let mut found = Found::default();
    found.visit(value, schema, "");
    found.unknown.append(&mut found.invalid);
    found.unknown
}

/// Takes out fields that are null, as the API server does before it checks: none of ours may be
/// null, so an empty `thresholds:` is one that is left out.
pub(super) fn prune_nulls(value: &mut Value, schema: &Value) {
    let inner = |name: &str| {
        schema
            .get("properties")
            .and_then(|properties| properties.get(name))
            .or_else(|| schema.get("additionalProperties"))
    };
    match value {
        Value::Object(members) => {
            members.retain(|name, member| !member.is_null() || inner(name).is_none());
            for (name, member) in members {
                if let Some(schema) = inner(name) {
                    prune_nulls(member, schema);
                }
            }
        }
        Value::Array(items) => {
            if let Some(schema) = schema.get("items") {
                for item in items {
                    prune_nulls(item, schema);
                }
            }
        }
        _ => {}
    }
}

#[derive(Default)]
struct Found {
    unknown: Vec<Problem>,
    invalid: Vec<Problem>,
}

impl Found {
    fn refuse(&mut self, path: &str, message: String) {
        self.invalid
            .push(Problem::new(Stage::Schema, path, message));
    }

    fn visit(&mut self, value: &Value, schema: &Value, path: &str) {
        if !self.has_type(value, schema, path) {
            return;
        }
        if let Some(Value::Array(allowed)) = schema.get("enum")
            && !allowed.contains(value)
        {
            let listed: Vec<_> = allowed.iter().map(Value::to_string).collect();
            self.refuse(
                path,
                format!(
                    "Unsupported value: {value}: supported values: {}",
                    listed.join(", ")
                ),
            );
        }
        match value {
            Value::Object(members) => self.object(members, schema, path),
            Value::Array(items) => self.list(items, schema, path),
            Value::String(text) => self.text(text, schema, path),
            Value::Number(_) => self.number(value, schema, path),
            Value::Null | Value::Bool(_) => {}
        }
    }

    fn has_type(&mut self, value: &Value, schema: &Value, path: &str) -> bool {
        let actual = type_of(value);
        let either = flag(schema, "x-kubernetes-int-or-string");
        let fits = match schema.get("type").and_then(Value::as_str) {
            _ if either => matches!(actual, "integer" | "string"),
            None => true,
            Some("number") => matches!(actual, "integer" | "number"),
            Some(wanted) => wanted == actual,
        };
        if !fits {
            let wanted = if either {
                "integer,string"
            } else {
                schema
                    .get("type")
                    .and_then(Value::as_str)
                    .unwrap_or_default()
            };
            let mut message = format!("must be of type {wanted}: \"{actual}\"");
            if wanted == "string" && matches!(actual, "integer" | "number") {
                message.push_str("; quantities have their unit, such as 200/s or 30s, and other texts that look like numbers stand in quotes");
            }
            self.refuse(path, message);
        }
        fits
    }

    fn object(&mut self, members: &Map<String, Value>, schema: &Value, path: &str) {
        let empty = Map::new();
        let properties = schema
            .get("properties")
            .and_then(Value::as_object)
            .unwrap_or(&empty);
        let required = schema
            .get("required")
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        for name in required.filter_map(Value::as_str) {
            if !members.contains_key(name) {
                self.refuse(&join(path, name), "Required value".to_owned());
            }
        }
        self.bounds(
            members.len(),
            schema,
            path,
            ["minProperties", "maxProperties"],
            "properties",
        );
        for (name, member) in members {
            let inner = join(path, name);
            if let Some(property) = properties.get(name) {
                self.visit(member, property, &inner);
            } else if let Some(values) =
                schema.get("additionalProperties").filter(|s| s.is_object())
            {
                self.visit(member, values, &inner);
            } else if !(flag(schema, "x-kubernetes-preserve-unknown-fields")
                || path.is_empty() && ["apiVersion", "kind", "metadata"].contains(&name.as_str()))
            {
                let hint = nearest(name, properties.keys())
                    .map(|known| format!(": did you mean {known}?"))
                    .unwrap_or_default();
                let message = format!("unknown field \"{inner}\"{hint}");
                self.unknown.push(Problem::new(Stage::Schema, "", message));
            }
        }
    }

    fn list(&mut self, items: &[Value], schema: &Value, path: &str) {
        self.bounds(items.len(), schema, path, ["minItems", "maxItems"], "items");
        if let Some(schema) = schema.get("items") {
            for (index, item) in items.iter().enumerate() {
                self.visit(item, schema, &format!("{path}[{index}]"));
            }
        }
        let keys: Vec<_> = schema
            .get("x-kubernetes-list-map-keys")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        if keys.is_empty() {
            return;
        }
        let mut seen = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let key: Map<_, _> = keys
                .iter()
                .filter_map(|key| Some(((*key).to_owned(), item.get(*key)?.clone())))
                .collect();
            if key.is_empty() {
                continue;
            }
            if seen.contains(&key) {
                let key = Value::Object(key);
                self.refuse(
                    &format!("{path}[{index}]"),
                    format!("Duplicate value: {key}"),
                );
            } else {
                seen.push(key);
            }
        }
    }

    fn text(&mut self, text: &str, schema: &Value, path: &str) {
        if let Some(most) = limit(schema, "maxLength")
            && text.chars().count() > most
        {
            self.refuse(path, format!("Too long: may not be more than {most} bytes"));
        }
        if let Some(least) = limit(schema, "minLength")
            && text.chars().count() < least
        {
            self.refuse(path, format!("should be at least {least} chars long"));
        }
        if let Some(pattern) = schema.get("pattern").and_then(Value::as_str)
            && !matches(pattern, text)
        {
            self.refuse(
                path,
                format!("Invalid value: {text:?}: should match '{pattern}'"),
            );
        }
    }

    fn number(&mut self, value: &Value, schema: &Value, path: &str) {
        let Some(number) = value.as_f64() else { return };
        if let Some(least) = schema.get("minimum").and_then(Value::as_f64)
            && number < least
        {
            self.refuse(
                path,
                format!("Invalid value: {value}: should be greater than or equal to {least}"),
            );
        }
        if let Some(most) = schema.get("maximum").and_then(Value::as_f64)
            && number > most
        {
            self.refuse(
                path,
                format!("Invalid value: {value}: should be less than or equal to {most}"),
            );
        }
    }

    fn bounds(
        &mut self,
        count: usize,
        schema: &Value,
        path: &str,
        [low, high]: [&str; 2],
        what: &str,
    ) {
        if let Some(least) = limit(schema, low)
            && count < least
        {
            self.refuse(path, format!("should have at least {least} {what}"));
        }
        if let Some(most) = limit(schema, high)
            && count > most
        {
            self.refuse(
                path,
                format!("Too many: {count}: must have at most {most} {what}"),
            );
        }
    }
}

/// The type of a value in the words of the schema.
fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn flag(schema: &Value, name: &str) -> bool {
    schema.get(name) == Some(&Value::Bool(true))
}

fn limit(schema: &Value, name: &str) -> Option<usize> {
    schema
        .get(name)
        .and_then(Value::as_u64)
        .map(|limit| limit as usize)
}

pub(super) fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

/// Patterns are few and used often. They are our own, so each is one that `regex` and Go both
/// understand, and in the same way.
fn matches(pattern: &str, text: &str) -> bool {
    static COMPILED: LazyLock<Mutex<HashMap<String, Option<Regex>>>> =
        LazyLock::new(Mutex::default);
    let mut compiled = COMPILED
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    compiled
        .entry(pattern.to_owned())
        .or_insert_with(|| Regex::new(pattern).ok())
        .as_ref()
        .is_none_or(|regex| regex.is_match(text))
}

/// The known name that a mistyped one is closest to, when it is close at all.
fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a String>) -> Option<&'a String> {
    let lower = name.to_lowercase();
    known
        .map(|known| (distance(&lower, &known.to_lowercase()), known))
        .filter(|(distance, known)| *distance <= 2.min(known.len() / 2))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

/// Levenshtein's edit distance.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, left) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut before = i + 1;
        if let Some(first) = row.first_mut() {
            *first = before;
        }
        for (cell, right) in row.iter_mut().skip(1).zip(b.chars()) {
            let change = diagonal + usize::from(left != right);
            diagonal = *cell;
            before = change.min(diagonal + 1).min(before + 1);
            *cell = before;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistyped_names_find_the_one_that_was_meant() {
        let known = [
            "thresholds".to_owned(),
            "target".to_owned(),
            "results".to_owned(),
        ];
        assert_eq!(nearest("treshold", known.iter()), Some(&known[0]));
        assert_eq!(nearest("Target", known.iter()), Some(&known[1]));
        assert_eq!(nearest("flows", known.iter()), None);
        assert_eq!(distance("kitten", "sitting"), 3);
    }

    #[test]
    fn every_pattern_of_the_schema_is_understood() {
        fn patterns(schema: &Value, found: &mut Vec<String>) {
            match schema {
                Value::Object(members) => {
                    if let Some(Value::String(pattern)) = members.get("pattern") {
                        found.push(pattern.clone());
                    }
                    members.values().for_each(|value| patterns(value, found));
                }
                Value::Array(items) => items.iter().for_each(|value| patterns(value, found)),
                _ => {}
            }
        }
        let mut found = Vec::new();
        for schema in super::super::schemas() {
            patterns(schema, &mut found);
        }
        assert!(found.len() > 20);
        for pattern in found {
            assert!(Regex::new(&pattern).is_ok(), "{pattern}");
        }
    }
}
