//! What a scalar means, by the rules of the YAML library that kubectl and the API server use
//! (go.yaml.in/yaml/v2, `resolve.go`), and what Go's JSON makes of it.

use serde_json::Number;

use super::Content;

const TAG: &str = "tag:yaml.org,2002:";

/// The meaning of a scalar; `plain` is one without quotes.
pub(super) fn resolve(text: &str, plain: bool, tag: Option<&str>) -> Result<Content, String> {
    let kind = tag.and_then(|tag| tag.strip_prefix(TAG));
    match (kind, plain) {
        (Some("binary"), _) => Err("!!binary is of no use here".to_owned()),
        (Some("int" | "float" | "bool" | "null"), _) => meaning(text),
        // Another tag, or quotes: text, whatever it looks like.
        (Some(_), _) | (None, false) => Ok(Content::Text(text.to_owned())),
        (None, true) if tag.is_some() => Ok(Content::Text(text.to_owned())),
        (None, true) => meaning(text),
    }
}

/// The JSON form of a key.
pub(super) fn key(content: &Content) -> Result<String, String> {
    match content {
        Content::Text(text) => Ok(text.clone()),
        Content::Bool(value) => Ok(value.to_string()),
        Content::Number(number) => Ok(number.to_string()),
        Content::Null => Err("a key is missing before the colon".to_owned()),
        Content::List(_) | Content::Map(_) => Err("a key must be a text".to_owned()),
    }
}

/// The meaning of a text without quotes.
pub(super) fn meaning(text: &str) -> Result<Content, String> {
    Ok(match text {
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            Content::Bool(true)
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            Content::Bool(false)
        }
        "" | "~" | "null" | "Null" | "NULL" => Content::Null,
        ".nan" | ".NaN" | ".NAN" | ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF"
        | "-.inf" | "-.Inf" | "-.INF" => {
            return Err(format!("{text} has no form in JSON"));
        }
        _ => number(text).map_or_else(|| Content::Text(text.to_owned()), Content::Number),
    })
}

fn number(text: &str) -> Option<Number> {
    let first = text.bytes().next()?;
    if first == b'.' {
        return float(text);
    }
    if !(first.is_ascii_digit() || first == b'+' || first == b'-') {
        return None;
    }
    let plain = text.replace('_', "");
    if let Some(whole) = integer(&plain) {
        return Some(whole);
    }
    float(&plain)
}

/// An integer in the notations of Go: `0x`, `0o`, `0b` and a leading zero for octal.
fn integer(text: &str) -> Option<Number> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let lower = digits.to_ascii_lowercase();
    let (radix, digits) = match lower.get(..2) {
        Some("0x") => (16, lower.get(2..)?),
        Some("0o") => (8, lower.get(2..)?),
        Some("0b") => (2, lower.get(2..)?),
        Some(start) if start.starts_with('0') => (8, lower.get(1..)?),
        _ => (10, lower.as_str()),
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return None;
    }
    let value = i128::from_str_radix(digits, radix).ok()?;
    let value = if negative { -value } else { value };
    match (i64::try_from(value), u64::try_from(value)) {
        (Ok(value), _) => Some(value.into()),
        (_, Ok(value)) => Some(value.into()),
        _ => None,
    }
}

fn float(text: &str) -> Option<Number> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
        Some(at) => (unsigned.get(..at)?, unsigned.get(at + 1..)),
        None => (unsigned, None),
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, fraction) = mantissa
        .split_once('.')
        .map_or((mantissa, None), |(w, f)| (w, Some(f)));
    let shaped = match fraction {
        Some(fraction) if whole.is_empty() => digits(fraction),
        Some(fraction) => digits(whole) && (fraction.is_empty() || digits(fraction)),
        None => digits(whole),
    };
    let exponent = exponent
        .is_none_or(|exponent| digits(exponent.strip_prefix(['-', '+']).unwrap_or(exponent)));
    if !shaped || !exponent {
        return None;
    }
    let value: f64 = text.parse().ok()?;
    // Go writes whole floats without a fraction, so the API server reads them as integers.
    if value.fract() == 0.0 && value.abs() < 9e18 {
        return Some((value as i64).into());
    }
    Number::from_f64(value)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    fn json_of(text: &str) -> Value {
        super::super::parse(text).unwrap()[0].to_json()
    }

    #[test]
    fn scalars_mean_what_they_mean_to_kubectl() {
        for (text, value) in [
            ("a: y", json!({"a": true})),
            ("a: NO", json!({"a": false})),
            ("y: 1", json!({"true": 1})),
            ("a: 'y'", json!({"a": "y"})),
            ("a: 010", json!({"a": 8})),
            ("a: 08", json!({"a": 8})),
            ("a: 0x1F", json!({"a": 31})),
            ("a: 1_000", json!({"a": 1000})),
            ("a: 12:30", json!({"a": "12:30"})),
            ("a: 2026-11-22", json!({"a": "2026-11-22"})),
            ("a: 1e3", json!({"a": 1000})),
            ("a: 1.5", json!({"a": 1.5})),
            ("a: .5", json!({"a": 0.5})),
            ("a: 5.0", json!({"a": 5})),
            ("a: 200/s", json!({"a": "200/s"})),
            ("a: 1%", json!({"a": "1%"})),
            ("a: 200-399", json!({"a": "200-399"})),
            ("a: ~", json!({"a": null})),
            ("a:", json!({"a": null})),
            ("a: !!str 5", json!({"a": "5"})),
            ("a: -1", json!({"a": -1})),
            ("1: a", json!({"1": "a"})),
            ("a: |\n  y\n", json!({"a": "y\n"})),
            (
                "x: &d {b: 1, c: 2}\ny1: {<<: *d, c: 3}",
                json!({"x": {"b":1,"c":2}, "y1": {"b":1,"c":3}}),
            ),
        ] {
            assert_eq!(json_of(text), value, "{text}");
        }
    }

    #[test]
    fn places_of_problems_are_named() {
        let refused = |text: &str| super::super::parse(text).unwrap_err().to_string();
        assert_eq!(
            refused("a: 1\nb: 2\na: 3\n"),
            "3:1: \"a\" is here twice, first in line 1; only the last would count"
        );
        assert!(
            refused("a: [1\nb: 2").starts_with("2:"),
            "{}",
            refused("a: [1\nb: 2")
        );
        assert_eq!(refused("a: .inf"), "1:4: .inf has no form in JSON");
        let document =
            &super::super::parse("spec:\n  list:\n    - name: a\n    - name: b\n      k.x: 1\n")
                .unwrap()[0];
        assert_eq!(document.locate("spec.list[1].name").line, 4);
        assert_eq!(document.locate("spec.list[1].k.x").line, 5);
        assert_eq!(document.locate("spec.list[1].missing.deep").line, 4);
        assert_eq!(document.locate("").line, 1);
    }
}
