//! Values: which there are, how long they are remembered, and who has them.

use loadtest_core::plan::ValueScope;
use serde_json::json;

use super::{flow, get, plan, refused, scenario, test};

fn extract(name: &str) -> serde_json::Value {
    json!({ "name": name, "from": { "header": "X-Id" } })
}

#[test]
fn what_a_user_does_once_is_remembered_for_its_life() {
    let mut explicit = extract("short");
    explicit["scope"] = json!("Iteration");
    let mut of_task = extract("kept");
    of_task["scope"] = json!("User");
    let spec = test(
        json!([]),
        json!({
            "flows": [flow("login", json!([
                { "set": { "session": "$(uuid)" } },
                { "request": { "url": "/login", "extract": [extract("token"), explicit] } },
            ]))],
            "scenarios": [{
                "name": "main",
                "load": { "constantUsers": { "users": 1, "duration": "1m" } },
                "onStart": "login",
                "tasks": [{ "steps": [
                    { "set": { "cart": 1 } },
                    { "request": { "url": "/$(token)/$(session)", "extract": [of_task] } },
                ] }]
            }]
        }),
    );
    let plan = plan(&spec);
    let scopes: Vec<_> = plan
        .inputs
        .values
        .iter()
        .map(|value| (value.name.as_str(), value.scope))
        .collect();
    assert_eq!(
        scopes,
        [
            ("cart", ValueScope::Iteration),
            ("kept", ValueScope::User),
            ("session", ValueScope::User),
            ("token", ValueScope::User),
            ("short", ValueScope::Iteration),
        ]
    );
}

#[test]
fn values_of_unused_flows_are_no_values_of_the_plan() {
    let spec = test(
        json!([{ "request": { "url": "/", "extract": [extract("used")] } }]),
        json!({ "flows": [flow("old", json!([
            { "set": { "gone": 1 } },
            { "request": { "url": "/$(gone)/$(used)", "followRedirects": 3 } },
        ]))] }),
    );
    let plan = plan(&spec);
    let names: Vec<_> = plan
        .inputs
        .values
        .iter()
        .map(|value| value.name.as_str())
        .collect();
    assert_eq!(names, ["used"]);
    assert_eq!((plan.requests().count(), plan.series.len()), (1, 1));
}

#[test]
fn a_scenario_has_its_own_values_only() {
    let spec = test(
        json!([]),
        json!({
            "flows": [flow("read", json!([{ "request": { "url": "/$(id)" } }]))],
            "scenarios": [
                scenario("writes", json!([{ "steps": [{ "set": { "id": 1 } }, { "call": { "flow": "read" } }] }])),
                scenario("reads", json!([{ "flow": "read" }])),
            ]
        }),
    );
    assert_eq!(
        refused(&spec),
        [
            "spec.flows[0].steps[0].request.url: $(id) is not known here: the steps and flows of scenario \"reads\" have no step that extracts or sets it"
        ]
    );
}

#[test]
fn names_that_mean_something_else_are_refused_wherever_they_are_made() {
    let spec = test(
        json!([
            { "set": { "now": 1, "a b": 2 } },
            { "repeat": { "flow": "page", "forEach": { "items": "ids", "as": "user" } } },
            { "request": { "url": "/", "extract": [extract("jwt"), extract("ids")] } },
        ]),
        json!({ "flows": [flow("page", json!([get("/")]))] }),
    );
    let said = refused(&spec).join("\n");
    for expected in [
        "steps[0].set.now: now is a function of templates",
        "steps[0].set.a b: a name of a value is at most 63 characters",
        "steps[1].repeat.forEach.as: $(user.…) means something else",
        "steps[2].request.extract[0].name: jwt is a function of templates",
    ] {
        assert!(said.contains(expected), "{expected}\n{said}");
    }
    assert_eq!(said.lines().count(), 4, "{said}");
}
