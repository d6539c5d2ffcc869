//! JSON as YAML for people: block style, long texts folded by nobody, and quotes wherever a reader
//! of YAML 1.1 or 1.2 could take a text for something else.

use serde_json::Value;

use super::{Content, scalar};

/// Writes a document, ending with a line break.
pub fn to_string(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(members) if !members.is_empty() => block(value, 0, &mut out),
        Value::Array(items) if !items.is_empty() => block(value, 0, &mut out),
        _ => {
            inline(value, &mut out);
            out.push('\n');
        }
    }
    out
}

fn block(value: &Value, indent: usize, out: &mut String) {
    match value {
        Value::Object(members) => {
            for (index, (key, member)) in members.iter().enumerate() {
                if index > 0 || out.ends_with('\n') || out.is_empty() {
                    pad(indent, out);
                }
                text(key, out);
                out.push(':');
                child(member, indent, out);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                if index > 0 || out.ends_with('\n') || out.is_empty() {
                    pad(indent, out);
                }
                out.push_str("- ");
                if is_block(item) {
                    block(item, indent + 1, out);
                } else {
                    inline(item, out);
                    out.push('\n');
                }
            }
        }
        _ => {}
    }
}

/// What follows a key.
fn child(member: &Value, indent: usize, out: &mut String) {
    if is_block(member) {
        out.push('\n');
        // Lists stand at the indent of their key, as Kubernetes writes them.
        let inner = if member.is_array() {
            indent
        } else {
            indent + 1
        };
        block(member, inner, out);
    } else {
        out.push(' ');
        inline(member, out);
        out.push('\n');
    }
}

fn is_block(value: &Value) -> bool {
    match value {
        Value::Object(members) => !members.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => false,
    }
}

fn inline(value: &Value, out: &mut String) {
    match value {
        Value::String(string) => text(string, out),
        other => out.push_str(&other.to_string()),
    }
}

fn text(string: &str, out: &mut String) {
    if is_plain(string) {
        out.push_str(string);
    } else {
        // A JSON string is a double-quoted YAML scalar.
        out.push_str(&Value::String(string.to_owned()).to_string());
    }
}

/// Whether a text can stand without quotes: short of everything that has a meaning anywhere.
fn is_plain(string: &str) -> bool {
    let starts = string.starts_with(|c: char| {
        c.is_ascii_alphanumeric() || matches!(c, '/' | '(' | '$' | '^' | '.' | '–')
    });
    let safe = |c: char| {
        c.is_ascii_alphanumeric()
            || matches!(
                c,
                ' ' | '.'
                    | '/'
                    | '_'
                    | '-'
                    | '('
                    | ')'
                    | '$'
                    | '^'
                    | ';'
                    | '+'
                    | '='
                    | '<'
                    | '>'
                    | '%'
                    | '|'
                    | '*'
                    | '~'
                    | '–'
                    | '\''
            )
            || (c == ',')
    };
    let colons = string.contains(": ") || string.ends_with(':');
    starts
        && !colons
        && !string.ends_with(' ')
        && string.chars().all(|c| safe(c) || c == ':')
        && matches!(scalar::meaning(string), Ok(Content::Text(_)))
        && !string.starts_with(|c: char| c.is_ascii_digit() && looks_like_time(string))
}

/// Dates and times, which some readers take for timestamps or for numbers of base 60.
fn looks_like_time(string: &str) -> bool {
    string
        .bytes()
        .all(|byte| byte.is_ascii_digit() || b"-:.TZ ".contains(&byte))
}

/// Two blanks for each level.
fn pad(indent: usize, out: &mut String) {
    for _ in 0..indent {
        out.push_str("  ");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn it_reads_well() {
        let value = json!({
            "apiVersion": "v1", "items": [{"a": 1, "b": [1, "x y"]}, [], {}, [[1, 2], 3]],
            "quoted": ["y", "010", "", " x", "a: b", "#c", "12:30", "2026-11-22", "a\nb", "-", "null", "https://x:1/"],
            "n": null
        });
        let text = to_string(&value);
        assert_eq!(
            text,
            "apiVersion: v1\nitems:\n- a: 1\n  b:\n  - 1\n  - x y\n- []\n- {}\n- - - 1\n    - 2\n  - 3\n\"n\": null\nquoted:\n- \"y\"\n- \"010\"\n- \"\"\n- \" x\"\n- \"a: b\"\n- \"#c\"\n- \"12:30\"\n- \"2026-11-22\"\n- \"a\\nb\"\n- \"-\"\n- \"null\"\n- https://x:1/\n"
        );
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "\\PC{0,12}".prop_map(Value::from),
            "[-:#&*!|>'%@`{}, ynotf0-9.~<=?\\[\\]\"]{0,6}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map("[a-z:# -]{0,5}", inner, 0..5)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(value in any_json()) {
            let text = to_string(&value);
            let documents = super::super::parse(&text).unwrap();
            let read = documents.first().map_or(Value::Null, super::super::Node::to_json);
            prop_assert_eq!(read, value, "{}", text);
        }
    }
}
