//! The schema's rules. Each was declared once ([`crate::rule`]); here the schema is walked as the
//! API server walks it, and every rule found in it is looked up and checked.

use serde_json::Value;

use super::structural::join;
use crate::{
    problem::{Problem, Stage},
    rule::Declared,
};

/// Every rule that a value breaks.
pub(super) fn check(value: &Value, schema: &Value) -> Vec<Problem> {
    let mut problems = Vec::new();
    visit(value, schema, "", &mut problems);
    problems
}

fn visit(value: &Value, schema: &Value, path: &str, problems: &mut Vec<Problem>) {
    for (cel, message) in rules(schema) {
        if let Some(rule) = Declared::find(cel, message)
            && !rule.holds(value)
        {
            problems.push(Problem::new(Stage::Schema, path, message));
        }
    }
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                let inner = schema
                    .get("properties")
                    .and_then(|properties| properties.get(name))
                    .or_else(|| schema.get("additionalProperties"));
                if let Some(inner) = inner {
                    visit(member, inner, &join(path, name), problems);
                }
            }
        }
        Value::Array(items) => {
            if let Some(schema) = schema.get("items") {
                for (index, item) in items.iter().enumerate() {
                    visit(item, schema, &format!("{path}[{index}]"), problems);
                }
            }
        }
        _ => {}
    }
}

fn rules(schema: &Value) -> impl Iterator<Item = (&str, &str)> {
    schema
        .get("x-kubernetes-validations")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|rule| Some((rule.get("rule")?.as_str()?, rule.get("message")?.as_str()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_of_the_schema_is_declared() {
        fn count(schema: &Value) -> usize {
            let own = rules(schema)
                .inspect(|(cel, message)| {
                    assert!(Declared::find(cel, message).is_some(), "{cel}");
                })
                .count();
            own + match schema {
                Value::Object(members) => members.values().map(count).sum(),
                Value::Array(items) => items.iter().map(count).sum(),
                _ => 0,
            }
        }
        let [test, run] = super::super::schemas();
        assert_eq!(count(test), 43);
        assert_eq!(count(run), 46);
    }
}
