//! Laws of specs and plans, for tests of every shape.

// Helpers of tests may fail like tests.
#![allow(clippy::unwrap_used, clippy::panic)]

use loadtest_core::plan::{Plan, RunIdentity};
use loadtest_crds::{LoadTestSpec, Overrides, plan::build};
use proptest::prelude::*;
use serde_json::{Value, json};

fn identity() -> RunIdentity {
    RunIdentity {
        id: "0123456789abcdef0123456789abcdef".to_owned(),
        namespace: "perf".to_owned(),
        test: "shop".to_owned(),
        name: "shop-1".to_owned(),
        number: 1,
        seed: 7,
    }
}

fn any_load() -> impl Strategy<Value = Value> {
    prop_oneof![
        (1u32..9999, prop_oneof![Just("s"), Just("m")], 1u32..5000, prop::option::of(50i32..9999)).prop_map(
            |(rate, unit, seconds, max)| {
                let mut load = json!({ "rate": format!("{rate}/{unit}"), "duration": format!("{seconds}s") });
                if let Some(max) = max {
                    load["maxUsers"] = json!(max);
                }
                json!({ "constantRate": load })
            }
        ),
        (1i32..9999, 1u32..5000).prop_map(
            |(users, ms)| json!({ "constantUsers": { "users": users, "duration": format!("{ms}ms") } })
        ),
        (prop::collection::vec((1u32..5000, 1u32..9999), 1..32), any::<bool>()).prop_map(
            |(stages, open)| {
                let stages: Vec<_> = stages
                    .into_iter()
                    .map(|(seconds, level)| {
                        let duration = format!("{seconds}s");
                        if open {
                            json!({ "duration": duration, "rate": format!("{level}/s") })
                        } else {
                            json!({ "duration": duration, "users": level })
                        }
                    })
                    .collect();
                if open {
                    json!({ "rampingRate": { "startRate": "0/s", "stages": stages, "arrivals": "Poisson" } })
                } else {
                    json!({ "rampingUsers": { "stages": stages } })
                }
            }
        ),
        (1i32..9999, 1i64..1_000_000, any::<bool>()).prop_map(|(users, iterations, shared)| {
            let model = if shared { "sharedIterations" } else { "perUserIterations" };
            json!({ model: { "users": users, "iterations": iterations } })
        }),
    ]
}

fn any_request() -> impl Strategy<Value = Value> {
    let text =
        "([ -~é\n\"]|\\$\\(user\\.index\\)|\\$\\(var\\.v\\)){0,8}".prop_map(|text: String| {
            text.replace("$(", "\u{0}")
                .replace('$', "")
                .replace('\u{0}', "$(")
        });
    let text = text.prop_filter("only known slots", |text| {
        text.matches("$(").count()
            == text.matches("$(user.index)").count() + text.matches("$(var.v)").count()
    });
    (
        "/[a-z0-9/]{0,12}(\\$\\(user\\.iteration\\))?",
        prop::option::of("[a-z ]{1,10}"),
        prop::option::of(text),
        prop::collection::vec(100u16..599, 0..3),
        any::<bool>(),
    )
        .prop_map(|(url, name, text, success, form)| {
            let mut request = json!({ "url": url });
            if let Some(name) = name {
                request["name"] = json!(name);
            }
            if !success.is_empty() {
                request["success"] = json!(success);
                request["checks"] = json!([{ "status": success }]);
            }
            if let Some(text) = text {
                request["body"] = if form {
                    json!({ "form": [{ "name": "a", "value": text }] })
                } else {
                    json!({ "json": { "a": [text] } })
                };
            }
            json!({ "request": request })
        })
}

prop_compose! {
    fn any_spec()(
        loads in prop::collection::vec(any_load(), 1..4),
        steps in prop::collection::vec(any_request(), 1..6),
        value in "\\PC{0,8}",
        runners in 1i32..50,
    ) -> Value {
        let scenarios: Vec<_> = loads
            .into_iter()
            .enumerate()
            .map(|(i, load)| json!({ "name": format!("s{i}"), "load": load, "tasks": [{ "steps": steps }] }))
            .collect();
        json!({
            "target": { "url": "http://shop:8080" },
            "variables": { "v": value },
            "runners": { "count": runners },
            "scenarios": scenarios,
            "thresholds": [{ "expr": "latency.p99 < 250ms" }]
        })
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// What is written into the ConfigMap is what runners read.
    #[test]
    fn plans_survive_their_json(spec in any_spec()) {
        let spec: LoadTestSpec = serde_json::from_value(spec).unwrap();
        let plan = build(&spec.test, identity(), &Overrides::default()).unwrap();
        let bytes = plan.to_bytes().unwrap();
        let read = Plan::from_bytes(&bytes).unwrap();
        prop_assert_eq!(&read, &plan);
        prop_assert_eq!(read.to_bytes().unwrap(), bytes);
        for (_, _, request) in plan.requests() {
            prop_assert!(plan.series.get(request.series as usize).is_some());
            prop_assert!(request.checks.iter().all(|c| plan.checks.get(c.index as usize).is_some()));
            if let Some(body) = &request.body
                && request.headers.iter().any(|(_, v)| v.to_display() == "application/json")
            {
                let rendered = body.to_display();
                prop_assert!(serde_json::from_str::<Value>(&rendered).is_ok(), "{}", rendered);
            }
        }
        for scenario in &plan.scenarios {
            if scenario.load.is_open() {
                prop_assert!(scenario.load.max_users() >= plan.runners);
            }
        }
    }

    /// A typed spec and its JSON say the same; nothing is added or lost.
    #[test]
    fn specs_survive_their_types(spec in any_spec()) {
        let typed: LoadTestSpec = serde_json::from_value(spec.clone()).unwrap();
        prop_assert_eq!(serde_json::to_value(&typed).unwrap(), spec);
    }
}
