//! The language of scenarios: from flows, values, data and secrets to the plan.

// Helpers of tests may fail like tests.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::needless_pass_by_value,
    clippy::missing_panics_doc
)]

mod answers;
mod bodies;
mod flows;
mod inputs;
mod laws;
mod values;

use loadtest_core::plan::{Plan, Request, RunIdentity};
use loadtest_crds::{
    Overrides, Problem, TestSpec,
    plan::{accept, build},
};
use serde_json::{Value, json};

/// Id of every run here.
pub const RUN_ID: &str = "0123456789abcdef0123456789abcdef";

/// Of every run here.
pub fn identity() -> RunIdentity {
    RunIdentity {
        id: RUN_ID.to_owned(),
        namespace: "perf".to_owned(),
        test: "shop".to_owned(),
        name: "shop-1".to_owned(),
        number: 1,
        seed: 7,
    }
}

/// A test of one scenario with these steps and these other members of its spec.
pub fn test(steps: Value, others: Value) -> TestSpec {
    let mut spec = json!({
        "target": { "url": "http://shop" },
        "scenarios": [scenario("main", json!([{ "steps": steps }]))]
    });
    for (name, member) in others.as_object().unwrap() {
        spec[name] = member.clone();
    }
    serde_json::from_value(spec).unwrap()
}

/// A scenario of some users and these tasks.
pub fn scenario(name: &str, tasks: Value) -> Value {
    let load = json!({ "constantUsers": { "users": 3, "duration": "1m" } });
    json!({ "name": name, "load": load, "tasks": tasks })
}

/// A flow of these steps.
pub fn flow(name: &str, steps: Value) -> Value {
    json!({ "name": name, "steps": steps })
}

/// A request of this path.
pub fn get(path: &str) -> Value {
    json!({ "request": { "url": path } })
}

/// The plan of a test that is accepted.
pub fn plan(spec: &TestSpec) -> Plan {
    build(spec, identity(), &Overrides::default()).unwrap()
}

/// The only request of a plan.
pub fn request_of(step: Value, others: Value) -> Request {
    let plan = plan(&test(json!([{ "request": step }]), others));
    plan.requests().next().unwrap().2.clone()
}

/// What is said of a test that is not accepted.
pub fn refused(spec: &TestSpec) -> Vec<String> {
    let problems = accept(spec, "spec").unwrap_err();
    problems.iter().map(Problem::sentence).collect()
}
