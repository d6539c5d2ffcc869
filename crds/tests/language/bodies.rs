//! Bodies, and how what only a runner knows is escaped in them.

use loadtest_core::template::{Argument, Escape, Segment, Source, Template};
use serde_json::{Value, json};

use super::{RUN_ID, refused, request_of, test};

fn escapes(template: &Template) -> Vec<Escape> {
    template
        .segments
        .iter()
        .filter_map(|segment| match segment {
            Segment::Expression(expression) => Some(expression.escape),
            _ => None,
        })
        .collect()
}

fn body(body: Value, others: Value) -> (Template, Vec<(String, String)>) {
    let request = request_of(
        json!({ "url": "/", "method": "POST", "body": body }),
        others,
    );
    let headers = request.headers.iter();
    let headers = headers.map(|(name, value)| (name.clone(), value.to_display()));
    (request.body.unwrap(), headers.collect())
}

#[test]
fn raw_texts_of_json_lose_their_quotes() {
    let (json, _) = body(
        json!({ "json": {
            "list": "$(var.list:raw)", "n": "$(randomInt 1 9:raw)", "text": "$(randomInt 1 9)",
            "in": "no. $(randomInt 1 9:raw)"
        } }),
        json!({ "variables": { "list": "[1, 2]" } }),
    );
    assert_eq!(
        json.to_display(),
        r#"{"in":"no. $(randomInt "1" "9")","list":[1, 2],"n":$(randomInt "1" "9"),"text":"$(randomInt "1" "9")"}"#
    );
    assert_eq!(escapes(&json), [Escape::None, Escape::None, Escape::Json]);
}

#[test]
fn arguments_of_functions_are_the_same_in_json_as_in_a_text() {
    for (call, expected) in [
        ("$(randomChoice \"red\" 'blue')", vec!["red", "blue"]),
        ("$(sha256 \"a b\")", vec!["a b"]),
        ("$(hmacSha256 'k\\' \"a b\")", vec!["k\\", "a b"]),
        ("$(randomChoice '\"' \"'\")", vec!["\"", "'"]),
    ] {
        let (text, _) = body(json!({ "text": call }), json!({}));
        let (json, _) = body(json!({ "json": { call: call } }), json!({}));
        let display = text.to_display();
        assert_eq!(
            json.to_display(),
            format!("{{\"{display}\":\"{display}\"}}")
        );
        let arguments: Vec<_> = json
            .segments
            .iter()
            .filter_map(|segment| match segment {
                Segment::Expression(expression) => Some(&expression.source),
                _ => None,
            })
            .map(|source| match source {
                Source::Call(call) => call.arguments.clone(),
                other => panic!("{other:?}"),
            })
            .collect();
        let expected: Vec<_> = expected
            .into_iter()
            .map(|text| Argument::Text(text.to_owned()))
            .collect();
        assert_eq!(arguments, [expected.clone(), expected], "{call}");
    }
}

#[test]
fn texts_of_json_are_escaped_around_their_values() {
    let (json, _) = body(
        json!({ "json": { "a\"b": "c\\ \n$(var.q)\" $$(d) é" } }),
        json!({ "variables": { "q": "\"" } }),
    );
    let written = json.as_literal().unwrap();
    assert_eq!(
        serde_json::from_str::<Value>(&written).unwrap(),
        json!({ "a\"b": "c\\ \n\"\" $(d) é" })
    );
}

#[test]
fn values_in_forms_are_encoded_by_the_runner() {
    let (form, _) = body(
        json!({ "form": [{ "name": "a b", "value": "x&$(randomString 3)" }] }),
        json!({}),
    );
    assert_eq!(form.to_display(), "a%20b=x%26$(randomString \"3\")");
    assert_eq!(escapes(&form), [Escape::Url]);
    let (raw, _) = body(
        json!({ "form": [
            { "name": "a b", "value": "x&$(randomString 3:raw)" },
            { "name": "c", "value": "$(var.both:raw)$(var.both)" },
        ] }),
        json!({ "variables": { "both": "%20&d=e" } }),
    );
    assert_eq!(
        raw.to_display(),
        "a%20b=x%26$(randomString \"3\")&c=%20&d=e%2520%26d%3De"
    );
    assert_eq!(escapes(&raw), [Escape::None]);
}

#[test]
fn multipart_bodies_are_framed_here() {
    let (multipart, headers) = body(
        json!({ "multipart": [
            { "name": "a \"b\"", "value": "$(user.index)" },
            { "name": "f", "file": "/data/x.png" },
            { "name": "g", "file": "/data/x.png", "fileName": "y.png", "contentType": "image/png" },
        ] }),
        json!({}),
    );
    let expected = format!(
        "--loadtest-{RUN_ID}\r\n\
         content-disposition: form-data; name=\"a %22b%22\"\r\n\r\n\
         $(user.index)\r\n\
         --loadtest-{RUN_ID}\r\n\
         content-disposition: form-data; name=\"f\"; filename=\"x.png\"\r\n\
         content-type: application/octet-stream\r\n\r\n\
         $(file)\r\n\
         --loadtest-{RUN_ID}\r\n\
         content-disposition: form-data; name=\"g\"; filename=\"y.png\"\r\n\
         content-type: image/png\r\n\r\n\
         $(file)\r\n\
         --loadtest-{RUN_ID}--\r\n"
    );
    assert_eq!(multipart.to_display(), expected);
    let kind = format!("multipart/form-data; boundary=loadtest-{RUN_ID}");
    assert_eq!(headers, [("content-type".to_owned(), kind)]);
    // One file, read once.
    let files = multipart.segments.iter();
    let files = files.filter(|segment| matches!(segment, Segment::File(_)));
    assert_eq!(
        files.collect::<Vec<_>>(),
        [&Segment::File(0), &Segment::File(0)]
    );
}

#[test]
fn a_file_is_a_body() {
    let (file, headers) = body(json!({ "file": "/data/x.bin" }), json!({}));
    assert_eq!(file.segments, [Segment::File(0)]);
    let octets = "application/octet-stream".to_owned();
    assert_eq!(headers, [("content-type".to_owned(), octets)]);
    let spec = test(
        json!([{ "request": { "url": "/", "body": { "file": "/data/$(user.index)" } } }]),
        json!({}),
    );
    assert!(refused(&spec)[0].contains("is read once, before the load"));
}
