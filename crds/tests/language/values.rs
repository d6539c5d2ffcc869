//! Values: which there are, how long they are remembered, and who has them.

use loadtest_core::{
    plan::{Cookies, ValueScope},
    template::{Segment, Source},
};
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
fn what_one_scenario_does_once_another_may_do_in_each_iteration() {
    let starting = |name: &str, on_start: Option<&str>, tasks| {
        let mut scenario = scenario(name, tasks);
        if let Some(flow) = on_start {
            scenario["onStart"] = json!(flow);
        }
        scenario
    };
    let login = json!({ "call": { "flow": "login" } });
    let page = get("/$(token)");
    let flows = |scope: Option<&str>| {
        let mut token = extract("token");
        if let Some(scope) = scope {
            token["scope"] = json!(scope);
        }
        json!([flow(
            "login",
            json!([{ "request": { "url": "/login", "extract": [token] } }])
        )])
    };
    let spec = |scope| {
        test(
            json!([]),
            json!({
                "flows": flows(scope),
                "setup": "login",
                "scenarios": [
                    starting("each", None, json!([{ "steps": [login, page] }])),
                    starting("once", Some("login"), json!([{ "steps": [page] }])),
                ]
            }),
        )
    };
    let told = |scope| {
        let plan = plan(&spec(scope));
        let values = plan.inputs.values.iter();
        let values: Vec<_> = values.map(|key| (key.name.clone(), key.scope)).collect();
        let used = |index: usize| {
            let login = &plan.scenarios[index].flows.all[0].steps[0];
            login.as_request().unwrap().extracts[0].value
        };
        let read = |index: usize| {
            let task = &plan.scenarios[index].tasks[0];
            let path = &task.steps.last().unwrap().as_request().unwrap().path;
            match path.segments.last().unwrap() {
                Segment::Expression(expression) => expression.source.clone(),
                other => panic!("{other:?}"),
            }
        };
        for index in 0..2 {
            assert_eq!(read(index), Source::Value(used(index), "token".to_owned()));
        }
        let once = plan.once.as_ref().unwrap().flows[0].steps[0].as_request();
        // The runner finds the setup's by their names, the first of each.
        assert_eq!(once.unwrap().extracts[0].value, 0);
        (values, used(0), used(1))
    };
    let token = |scope| ("token".to_owned(), scope);
    let (iteration, user) = (ValueScope::Iteration, ValueScope::User);
    assert_eq!(told(None), (vec![token(iteration), token(user)], 0, 1));
    assert_eq!(told(Some("User")), (vec![token(user)], 0, 0));
    assert_eq!(told(Some("Iteration")), (vec![token(iteration)], 0, 0));
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

#[test]
fn cookies_that_a_user_gets_at_its_start_are_kept_as_long_as_it_lives() {
    let cookies = |fields: serde_json::Value| {
        let mut scenario = scenario("main", json!([{ "steps": [get("/")] }]));
        let fields = fields.as_object().unwrap().clone();
        scenario.as_object_mut().unwrap().extend(fields);
        let flows = json!([flow("login", json!([get("/login")]))]);
        let spec = json!({ "flows": flows, "scenarios": [scenario] });
        plan(&test(json!([]), spec)).scenarios[0].cookies
    };
    assert_eq!(cookies(json!({})), Cookies::Iteration);
    assert_eq!(cookies(json!({ "onStart": "login" })), Cookies::User);
    let said = json!({ "onStart": "login", "cookies": "Iteration" });
    assert_eq!(cookies(said), Cookies::Iteration);
}
