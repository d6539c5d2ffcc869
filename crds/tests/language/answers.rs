//! Checks, extracts and polling.

use std::time::Duration;

use loadtest_core::plan::{Condition, Extract, From, OnMissing, Pick, Test};
use serde_json::json;

use super::{plan, refused, request_of, test};

#[test]
fn checks_are_named_in_words() {
    let spec = test(
        json!([{ "request": { "url": "/", "checks": [
            { "jsonPath": { "path": "$.items[0].id", "equals": 5 } },
            { "jsonPath": { "path": "$.state", "notEquals": "failed" } },
            { "header": { "name": "Content-Type", "contains": "json" } },
            { "header": { "name": "x-id", "matches": "^[0-9]+$" } },
            { "jsonPath": { "path": "$.error", "exists": false } },
            { "maxLatency": "1500ms" },
        ] } }]),
        json!({}),
    );
    let plan = plan(&spec);
    assert_eq!(
        plan.checks,
        [
            "$.items[0].id is \"5\"",
            "$.state is not \"failed\"",
            "header content-type contains \"json\"",
            "header x-id matches ^[0-9]+$",
            "$.error does not exist",
            "latency is at most 1s500ms",
        ]
    );
    let (_, _, request) = plan.requests().next().unwrap();
    assert_eq!(
        request.checks[4].condition,
        Condition::JsonPath {
            path: "$.error".to_owned(),
            test: Test::Exists(false)
        }
    );
    assert_eq!(
        request.checks[5].condition,
        Condition::MaxLatency(Duration::from_millis(1500))
    );
}

#[test]
fn extracts_have_their_defaults() {
    let request = request_of(
        json!({ "url": "/", "extract": [
            { "name": "a", "from": { "header": "X-Token" } },
            { "name": "b", "from": { "regex": "id=(\\d+)" }, "pick": "All", "onMissing": "Continue" },
        ] }),
        json!({}),
    );
    assert_eq!(
        request.extracts,
        [
            Extract {
                value: 0,
                from: From::Header("x-token".to_owned()),
                pick: Pick::First,
                on_missing: OnMissing::FailIteration
            },
            Extract {
                value: 1,
                from: From::Regex("id=(\\d+)".to_owned()),
                pick: Pick::All,
                on_missing: OnMissing::Continue
            },
        ]
    );
}

#[test]
fn polling_is_a_group_named_after_request_and_check() {
    let look = json!({ "request": {
        "name": "look", "url": "/job",
        "checks": [{ "status": [200] }, { "name": "done", "bodyContains": "done" }],
        "until": { "check": "done" }
    } });
    // Twice the same: one row, as of requests.
    let plan = plan(&test(json!([look, look]), json!({})));
    let names: Vec<_> = plan
        .groups
        .iter()
        .map(|group| group.name.as_str())
        .collect();
    assert_eq!(names, ["look until done"]);
    let (_, _, request) = plan.requests().next().unwrap();
    let until = request.until.unwrap();
    assert_eq!((until.check, until.group), (1, 0));
    assert_eq!(
        (until.every, until.timeout),
        (Duration::from_secs(1), Duration::from_secs(30))
    );
}

#[test]
fn patterns_and_paths_say_where_they_are_wrong() {
    for (from, expected) in [
        (
            json!({ "regex": "id=(\\d+" }),
            "\"id=(\\\\d+\" is no regular expression: unclosed group, at character 4",
        ),
        (
            json!({ "regex": "a{2,1}" }),
            "invalid repetition count range, the start must be <= the end, at character 2",
        ),
        (
            json!({ "regex": "(?=a)" }),
            "look-around, including look-ahead and look-behind, is not supported, at character 1",
        ),
        (
            json!({ "regex": "(\\w{500}){500}" }),
            "too large once compiled",
        ),
        (
            json!({ "jsonPath": "items" }),
            "\"items\" is no JSON path (RFC 9535): ",
        ),
        (json!({ "jsonPath": "$.a[?@.b >]" }), "at character"),
        (
            json!({ "header": "x id" }),
            "\"x id\" is not a name of a header",
        ),
    ] {
        let spec = test(
            json!([{ "request": { "url": "/", "extract": [{ "name": "a", "from": from }] } }]),
            json!({}),
        );
        let said = refused(&spec);
        assert!(
            said.len() == 1 && said[0].contains(expected),
            "{expected}\n{said:?}"
        );
    }
}
