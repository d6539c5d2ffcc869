//! Flows: copies, numbers, circles; setup and teardown; groups; repetition.

use loadtest_core::plan::{GroupKey, Loop, Plan, Step, Test, When};
use serde_json::json;

use super::{flow, get, plan, refused, scenario, test};

/// Scenario, place, number and row of every request.
fn requests(plan: &Plan) -> Vec<(&str, &str, u32, u32)> {
    plan.requests()
        .map(|(scenario, place, request)| {
            (scenario.name.as_str(), place, request.step, request.series)
        })
        .collect()
}

#[test]
fn a_flow_is_copied_into_each_scenario_that_uses_it() {
    let spec = test(
        json!([]),
        json!({
            "flows": [
                flow("unused", json!([get("/unused"), { "call": { "flow": "inner" } }])),
                flow("login", json!([get("/login")])),
                flow("inner", json!([get("/inner")])),
                flow("outer", json!([{ "call": { "flow": "inner" } }, get("/outer")])),
            ],
            "scenarios": [
                scenario("a", json!([
                    { "steps": [{ "call": { "flow": "outer" } }, get("/a")] },
                    { "name": "flowing", "flow": "outer" },
                ])),
                {
                    "name": "b",
                    "load": { "constantUsers": { "users": 1, "duration": "1m" } },
                    "onStart": "login", "onStop": "login",
                    "tasks": [{ "steps": [{ "parallel": { "flows": ["inner", "inner"] } }] }]
                },
            ]
        }),
    );
    let plan = plan(&spec);
    assert_eq!(
        requests(&plan),
        [
            ("a", "task-1", 0, 0),
            ("a", "outer", 1, 1),
            ("a", "inner", 2, 2),
            ("b", "inner", 3, 3),
            ("b", "login", 4, 4),
        ]
    );
    let [a, b] = plan.scenarios.as_slice() else {
        panic!()
    };
    let names = |index: usize| -> Vec<_> {
        let flows = &plan.scenarios[index].flows.all;
        flows.iter().map(|flow| flow.name.as_str()).collect()
    };
    assert_eq!(
        (names(0), names(1)),
        (vec!["outer", "inner"], vec!["inner", "login"])
    );
    assert_eq!(a.tasks[1].steps, [Step::Call(0)]);
    assert_eq!(a.flows.all[0].steps[0], Step::Call(1));
    assert_eq!(b.tasks[0].steps, [Step::Parallel(vec![0, 0])]);
    assert_eq!((b.flows.on_start, b.flows.on_stop), (Some(1), Some(1)));
    assert_eq!((a.flows.on_start, a.flows.on_stop), (None, None));
    let rows: Vec<_> = plan.series.iter().map(|row| row.name.as_str()).collect();
    assert_eq!(
        rows,
        [
            "GET /a",
            "GET /outer",
            "GET /inner",
            "GET /inner",
            "GET /login"
        ]
    );
    assert_eq!(Plan::from_bytes(&plan.to_bytes().unwrap()).unwrap(), plan);
}

#[test]
fn what_is_done_once_is_in_no_result() {
    let spec = test(
        json!([{ "request": { "url": "/$(setup.tenant)/$(setup.id)" } }]),
        json!({
            "setup": "make", "teardown": "remove",
            "flows": [
                flow("remove", json!([{ "request": { "url": "/$(setup.tenant)" } }])),
                flow("post", json!([{ "request": {
                    "url": "/$(id)",
                    "checks": [{ "status": [201] }],
                    "extract": [{ "name": "tenant", "from": { "jsonPath": "$.id" } }]
                } }])),
                flow("make", json!([
                    { "set": { "id": 5, "idle": 6 } },
                    { "group": { "name": "making", "flow": "post" } },
                    { "call": { "flow": "post" } },
                ])),
            ]
        }),
    );
    let plan = plan(&spec);
    let once = plan.once.clone().unwrap();
    assert_eq!((once.setup, once.teardown), (Some(0), Some(2)));
    let names: Vec<_> = once.flows.iter().map(|flow| flow.name.as_str()).collect();
    assert_eq!(names, ["make", "post", "remove"]);
    let requests = once.flows.iter().flat_map(|flow| &flow.steps);
    let numbers: Vec<_> = requests
        .filter_map(Step::as_request)
        .map(|request| (request.step, request.series))
        .collect();
    assert_eq!(numbers, [(u32::MAX, u32::MAX), (u32::MAX - 1, u32::MAX)]);
    // Only what somebody refers to.
    assert_eq!(plan.inputs.setup_values, ["id", "tenant"]);
    assert_eq!(plan.series.len(), 1);
    assert!(plan.checks.is_empty() && plan.groups.is_empty());
    assert_eq!(once.checks, ["status is 201"]);
    assert_eq!(once.groups.len(), 1);
    assert_eq!(once.flows[0].steps[1], Step::Group { group: 0, flow: 1 });
}

#[test]
fn a_flow_of_setup_and_teardown_is_each_ones_own() {
    let extract = json!([{ "name": "id", "from": { "jsonPath": "$.id" } }]);
    let flows = |teardown| {
        json!([
            flow(
                "make",
                json!([
                    { "request": { "url": "/tenants", "method": "POST", "extract": extract } },
                    { "call": { "flow": "remove" } },
                ])
            ),
            flow(
                "remove",
                json!([{ "request": { "url": "/tenants/$(id)", "method": "DELETE" } }])
            ),
            flow("clean", teardown),
        ])
    };
    let spec = |teardown, steps| {
        test(
            json!([get("/")]),
            json!({ "setup": "make", "teardown": teardown, "flows": flows(steps) }),
        )
    };
    let unknown = [
        "spec.flows[1].steps[0].request.url: $(id) is not known here: setup and teardown, each for itself, have no step that extracts or sets it",
    ];
    assert_eq!(refused(&spec("remove", json!([get("/")]))), unknown);
    let call = json!({ "call": { "flow": "remove" } });
    assert_eq!(refused(&spec("clean", json!([call]))), unknown);

    let plan = plan(&spec(
        "clean",
        json!([{ "set": { "id": "$(setup.id)" } }, call]),
    ));
    let once = plan.once.unwrap();
    assert_eq!((once.setup, once.teardown), (Some(0), Some(2)));
    let names: Vec<_> = once.flows.iter().map(|flow| flow.name.as_str()).collect();
    assert_eq!(names, ["make", "remove", "clean", "remove"]);
    assert_eq!(once.flows[0].steps[1], Step::Call(1));
    assert_eq!(once.flows[2].steps[1], Step::Call(3));
}

#[test]
fn groups_that_never_meet_may_have_one_name() {
    let grouped = |name: &str, of: &str| {
        let group = json!({ "group": { "name": "g", "flow": of } });
        flow(name, json!([group]))
    };
    let flows = |more: &[serde_json::Value]| {
        let flows = [
            flow("page", json!([get("/")])),
            grouped("one", "page"),
            grouped("two", "page"),
        ];
        let flows: Vec<_> = flows.iter().chain(more).collect();
        json!(flows)
    };
    let steps = json!([get("/")]);
    plan(&test(steps.clone(), json!({ "flows": flows(&[]) })));
    let once = json!({ "flows": flows(&[]), "setup": "one", "teardown": "two" });
    assert_eq!(
        plan(&test(steps.clone(), once)).once.unwrap().groups.len(),
        1
    );
    let both = flow(
        "both",
        json!([{ "call": { "flow": "one" } }, { "call": { "flow": "two" } }]),
    );
    let said = refused(&test(steps, json!({ "flows": flows(&[both]) })));
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(
        said[0]
            .starts_with("spec.flows[2].steps[0].group.name: there is another group named \"g\""),
        "{said:?}"
    );
}

#[test]
fn circles_are_told_in_words_and_once() {
    let spec = test(
        json!([{ "call": { "flow": "a" } }]),
        json!({ "flows": [
            flow("a", json!([get("/"), { "group": { "name": "g", "flow": "b" } }])),
            flow("b", json!([{ "repeat": { "flow": "c", "times": 2 } }])),
            flow("c", json!([{ "parallel": { "flows": ["d", "a"] } }])),
            flow("d", json!([get("/d")])),
        ] }),
    );
    assert_eq!(
        refused(&spec),
        [
            "spec.flows[2].steps[0].parallel.flows[1]: goes in a circle: a → b → c → a; use repeat to do a flow several times"
        ]
    );
}

#[test]
fn what_is_wrong_in_a_flow_is_said_once() {
    let spec = test(
        json!([]),
        json!({
            "flows": [flow("page", json!([{ "request": { "url": "/$(var.x)" } }]))],
            "scenarios": [
                scenario("a", json!([{ "flow": "page" }])),
                scenario("b", json!([{ "flow": "page" }])),
            ]
        }),
    );
    let said =
        ["spec.flows[0].steps[0].request.url: $(var.x) is not known: spec.variables has no \"x\""];
    assert_eq!(refused(&spec), said);
}

#[test]
fn a_task_needs_a_request_wherever_it_is() {
    let flows = json!([
        flow("wait", json!([{ "pause": { "min": "1s", "max": "1s" } }])),
        flow("deep", json!([{ "call": { "flow": "page" } }])),
        flow("page", json!([get("/")])),
    ]);
    let spec = |steps| test(steps, json!({ "flows": flows }));
    plan(&spec(json!([{ "call": { "flow": "deep" } }])));
    assert_eq!(
        refused(&spec(json!([{ "call": { "flow": "wait" } }]))),
        ["spec.scenarios[0].tasks[0].steps: a task needs at least one request"]
    );
}

#[test]
fn groups_and_loops_have_their_defaults() {
    let page = |name: &str| json!({ "group": { "name": name, "flow": "page" } });
    let repeat = |member: serde_json::Value| {
        let mut repeat = json!({ "flow": "page" });
        for (name, value) in member.as_object().unwrap() {
            repeat[name] = value.clone();
        }
        json!({ "repeat": repeat })
    };
    let spec = test(
        json!([
            page("checkout"),
            repeat(json!({ "times": 7 })),
            repeat(json!({ "times": 7, "max": 9 })),
            repeat(json!({ "while": { "probability": "50%" } })),
            repeat(json!({ "forEach": { "items": "ids" }, "max": 5 })),
        ]),
        json!({ "flows": [flow("page", json!([{ "request": {
            "url": "/",
            "extract": [{ "name": "ids", "from": { "jsonPath": "$.*" }, "pick": "All" }]
        } }]))] }),
    );
    let plan = plan(&spec);
    assert_eq!(
        plan.groups,
        [GroupKey {
            scenario: "main".to_owned(),
            name: "checkout".to_owned()
        }]
    );
    let steps = &plan.scenarios[0].tasks[0].steps;
    assert_eq!(steps[0], Step::Group { group: 0, flow: 0 });
    let loops: Vec<_> = steps
        .iter()
        .filter_map(|step| match step {
            Step::Repeat(repeat) => Some((repeat.how.clone(), repeat.max)),
            _ => None,
        })
        .collect();
    assert_eq!(loops[0], (Loop::Times(7), 7));
    assert_eq!(loops[1], (Loop::Times(7), 9));
    assert_eq!(loops[2], (Loop::While(When::Probability(0.5)), 100));
    let (Loop::ForEach { items, item }, 5) = &loops[3] else {
        panic!("{:?}", loops[3])
    };
    let value = |index: u32| plan.inputs.values[index as usize].name.as_str();
    assert_eq!((items.to_string().as_str(), value(*item)), ("ids", "item"));
}

#[test]
fn conditions_on_variables_are_decided_at_once() {
    let spec = test(
        json!([
            get("/"),
            { "when": { "var": "var.region", "equals": "$(var.home)" }, "request": { "url": "/eu" } },
            { "when": { "var": "var.region", "matches": "^u" }, "request": { "url": "/us" } },
            { "when": { "var": "response.status", "equals": 404 }, "request": { "url": "/gone" } },
        ]),
        json!({ "variables": { "region": "eu", "home": "eu" } }),
    );
    let plan = plan(&spec);
    let conditions: Vec<_> = plan.scenarios[0].tasks[0]
        .steps
        .iter()
        .filter_map(|step| match step {
            Step::When(conditional) => Some(conditional.when.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(conditions[0], When::Probability(1.0));
    assert_eq!(conditions[1], When::Probability(0.0));
    let When::Value {
        source,
        test: Test::Equals(text),
    } = &conditions[2]
    else {
        panic!("{:?}", conditions[2])
    };
    assert_eq!(
        (source.to_string(), text.to_display()),
        ("response.status".to_owned(), "404".to_owned())
    );
    assert_eq!(plan.requests().count(), 4);
}
