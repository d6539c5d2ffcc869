//! Laws of flows, for every shape of them.

use std::collections::BTreeSet;

use loadtest_core::plan::{Plan, Step};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{flow, get, identity, scenario, test};
use loadtest_crds::{Overrides, plan::build};

const FLOWS: usize = 6;

/// A step that does flow `to`, in one of the five ways.
fn doing(to: usize, way: u8, name: String) -> Value {
    let to = format!("f{to}");
    match way {
        0 => json!({ "call": { "flow": to } }),
        1 => json!({ "group": { "name": name, "flow": to } }),
        2 => json!({ "repeat": { "flow": to, "times": 2 } }),
        3 => json!({ "parallel": { "flows": [to, to] } }),
        _ => json!({ "call": { "flow": to }, "when": { "probability": "50%" } }),
    }
}

/// Whether flow `from` comes back to itself over these edges, or leads to one that does.
fn has_circle(edges: &[Vec<(usize, u8)>]) -> bool {
    let mut left: BTreeSet<usize> = (0..edges.len()).collect();
    loop {
        let done = |index: &usize| edges[*index].iter().all(|(to, _)| !left.contains(to));
        let Some(leaf) = left.iter().copied().find(done) else {
            return !left.is_empty();
        };
        left.remove(&leaf);
    }
}

fn flow_indexes(steps: &[Step]) -> impl Iterator<Item = u32> + '_ {
    steps.iter().flat_map(Step::flows)
}

proptest! {
    #[test]
    fn flows_are_taken_exactly_when_they_end(
        edges in prop::collection::vec(prop::collection::vec((0..FLOWS, 0u8..5), 0..3), FLOWS),
        roots in prop::collection::vec(prop::collection::vec(0..FLOWS, 1..3), 1..3),
    ) {
        let flows: Vec<_> = edges
            .iter()
            .enumerate()
            .map(|(index, edges)| {
                let inner = edges.iter().enumerate();
                let inner = inner.map(|(place, (to, way))| doing(*to, *way, format!("g{index}-{place}")));
                let steps: Vec<_> = [get(&format!("/{index}"))].into_iter().chain(inner).collect();
                flow(&format!("f{index}"), json!(steps))
            })
            .collect();
        let scenarios: Vec<_> = roots
            .iter()
            .enumerate()
            .map(|(index, roots)| {
                let tasks: Vec<_> = roots.iter().map(|root| json!({ "flow": format!("f{root}") })).collect();
                scenario(&format!("s{index}"), json!(tasks))
            })
            .collect();
        let spec = test(json!([]), json!({ "flows": flows, "scenarios": scenarios }));
        let built = build(&spec, identity(), &Overrides::default());
        prop_assert_eq!(built.is_err(), has_circle(&edges));
        let Ok(plan) = built else { return Ok(()) };

        // Numbers follow the order in which everybody lists requests, and every index is one.
        let numbers: Vec<_> = plan.requests().map(|(_, _, request)| request.step).collect();
        let expected: Vec<u32> = (0..numbers.len() as u32).collect();
        prop_assert_eq!(numbers, expected);
        for scenario in &plan.scenarios {
            let copies = scenario.flows.all.len() as u32;
            let tasks = scenario.tasks.iter().flat_map(|task| flow_indexes(&task.steps));
            let inner = scenario.flows.all.iter().flat_map(|flow| flow_indexes(&flow.steps));
            let used: BTreeSet<u32> = tasks.chain(inner).collect();
            // No copy that nobody does, and none that is missing.
            prop_assert_eq!(used, (0..copies).collect());
        }
        prop_assert_eq!(&Plan::from_bytes(&plan.to_bytes().unwrap()).unwrap(), &plan);
    }
}
