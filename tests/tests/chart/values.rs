//! values.yaml, its table in the README, its schema; and selectors of alerts.

use std::fmt::Write as _;

use serde_json::Value;

use super::helm;

/// Before the table.
pub const BEGIN: &str = "<!-- values: made of values.yaml by tests/tests/chart.rs -->";
/// After it.
pub const END: &str = "<!-- /values -->";

/// A row for every value with a `# -- ` comment, as helm-docs has it; it speaks for all values below
/// its own.
///
/// # Panics
/// When a value has no comment.
pub fn table(text: &str) -> String {
    let values = helm::parse(text);
    let mut table = String::from("| value | default | |\n|---|---|---|\n");
    let mut path: Vec<(usize, String)> = Vec::new();
    let mut comment: Option<String> = None;
    let mut covered: Option<usize> = None;
    for line in text.lines() {
        let trimmed = line.trim();
        if let Some(first) = trimmed.strip_prefix("# -- ") {
            comment = Some(first.to_owned());
        } else if let (Some(more), Some(comment)) = (trimmed.strip_prefix("# "), &mut comment) {
            let _ = write!(comment, " {more}");
        } else if let Some((key, _)) = trimmed.split_once(':') {
            let indent = line.len() - trimmed.len();
            path.retain(|(above, _)| *above < indent);
            path.push((indent, key.to_owned()));
            covered = covered.filter(|above| *above < indent);
            let names: Vec<&str> = path.iter().map(|(_, key)| key.as_str()).collect();
            let pointer = format!("/{}", names.join("/"));
            let value = values[0].pointer(&pointer).unwrap();
            let leaf = value.as_object().is_none_or(serde_json::Map::is_empty);
            if let Some(text) = comment.take() {
                assert!(covered.is_none(), "{pointer} is told of twice");
                covered = Some(indent);
                let _ = writeln!(table, "| `{}` | `{value}` | {text} |", names.join("."));
            } else {
                assert!(
                    !leaf || covered.is_some(),
                    "{pointer} has no `# -- ` comment"
                );
            }
        }
    }
    table
}

/// Whether a schema has a property for each value and no other, down to open maps.
///
/// # Panics
/// When not.
pub fn same_keys(schema: &Value, values: &Value, path: &str) {
    let (Some(properties), Some(values)) = (schema["properties"].as_object(), values.as_object())
    else {
        return;
    };
    // Something of the API's own, such as an affinity.
    if values.is_empty() {
        return;
    }
    let open = &schema["additionalProperties"];
    assert_eq!(*open, false, "{path} takes anything");
    for key in properties.keys().filter(|key| *key != "global") {
        assert!(
            values.contains_key(key),
            "{path}.{key} is in the schema only"
        );
    }
    for (key, value) in values {
        let property = properties
            .get(key)
            .unwrap_or_else(|| panic!("{path}.{key} is not in the schema"));
        same_keys(property, value, &format!("{path}.{key}"));
    }
}

/// Names of our metrics in an expression, with the labels and values that each is selected by.
pub fn selectors(expr: &str) -> Vec<(&str, Vec<(&str, &str)>)> {
    let starts = expr.match_indices("loadtest_").map(|(at, _)| at);
    starts
        .map(|at| {
            let rest = &expr[at..];
            let end = rest
                .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                .unwrap_or(rest.len());
            let (metric, rest) = rest.split_at(end);
            let inside = rest.strip_prefix('{').and_then(|rest| rest.split_once('}'));
            let labels = inside.map_or(Vec::new(), |(inside, _)| {
                let pairs = inside.split(',');
                pairs
                    .filter_map(|pair| pair.split_once('"'))
                    .map(|(label, value)| {
                        let label = label.trim().trim_end_matches(['=', '~', '!']);
                        (label, value.trim_end_matches('"'))
                    })
                    .collect()
            });
            (metric, labels)
        })
        .collect()
}

#[test]
fn selectors_are_read_with_their_values() {
    let expr = r#"sum(rate(loadtest_a_total{namespace="n", class!~"x|y"}[5m])) / loadtest_b"#;
    let expected = [
        (
            "loadtest_a_total",
            vec![("namespace", "n"), ("class", "x|y")],
        ),
        ("loadtest_b", Vec::new()),
    ];
    assert_eq!(selectors(expr), expected);
}
