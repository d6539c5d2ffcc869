//! Flows: which ones a scenario uses, that they go in no circle, and their copies in the plan.

use std::collections::BTreeSet;

use loadtest_core::plan::{Flow, Flows, Once};

use super::{Builder, value};
use crate::spec::{self, TestSpec};

/// Where the steps stand that are being built. A flow is copied into every scenario that uses it,
/// so that each has its own request numbers and rows.
#[derive(Debug, Clone, Default)]
pub(super) struct Place {
    /// Name of the scenario.
    pub scenario: String,
    /// What is done once for the whole run is in no result.
    pub once: bool,
    /// Which flows of the test are used, in the order of their copies.
    pub flows: Vec<usize>,
    /// How many copies of others come before those.
    pub first: usize,
    /// Names of its groups.
    pub groups: BTreeSet<String>,
}

/// Steps with their paths.
pub(super) fn each_step<'a>(
    steps: &'a [spec::Step],
    path: &str,
) -> impl Iterator<Item = (String, &'a spec::Step)> {
    (0..)
        .zip(steps)
        .map(move |(index, step)| (format!("{path}[{index}]"), step))
}

/// Flows that a step does, by name, with the field that says so.
fn named(step: &spec::Step) -> Vec<(String, &str)> {
    let mut all: Vec<(String, &str)> = Vec::new();
    all.extend(
        step.call
            .iter()
            .map(|s| ("call.flow".to_owned(), &*s.flow.0)),
    );
    all.extend(
        step.group
            .iter()
            .map(|s| ("group.flow".to_owned(), &*s.flow.0)),
    );
    all.extend(
        step.repeat
            .iter()
            .map(|s| ("repeat.flow".to_owned(), &*s.flow.0)),
    );
    let parallel = step
        .parallel
        .iter()
        .flat_map(|parallel| (0..).zip(&parallel.flows));
    all.extend(parallel.map(|(index, flow)| (format!("parallel.flows[{index}]"), &*flow.0)));
    all
}

impl Builder<'_> {
    fn flow_named(&self, name: &str) -> Option<usize> {
        self.spec.flows.iter().position(|flow| *flow.name == *name)
    }

    /// Flows that a flow does, itself included.
    pub(super) fn reachable_from(&self, name: &str) -> BTreeSet<usize> {
        let mut found = BTreeSet::new();
        let mut open: Vec<usize> = self.flow_named(name).into_iter().collect();
        while let Some(index) = open.pop() {
            if found.insert(index)
                && let Some(flow) = self.spec.flows.get(index)
            {
                open.extend(self.directly(&flow.steps));
            }
        }
        found
    }

    /// Flows that steps do, and the flows that those do.
    pub(super) fn reachable(&self, steps: &[spec::Step]) -> BTreeSet<usize> {
        steps
            .iter()
            .flat_map(named)
            .flat_map(|(_, name)| self.reachable_from(name))
            .collect()
    }

    fn directly(&self, steps: &[spec::Step]) -> Vec<usize> {
        let names = steps.iter().flat_map(named);
        names
            .filter_map(|(_, name)| self.flow_named(name))
            .collect()
    }

    /// Flows that a scenario does.
    pub(super) fn flows_of(&self, scenario: &spec::Scenario) -> BTreeSet<usize> {
        let mut found = BTreeSet::new();
        for task in &scenario.tasks {
            found.extend(self.reachable(task.steps.as_deref().unwrap_or_default()));
            found.extend(task.flow.iter().flat_map(|flow| self.reachable_from(flow)));
        }
        for flow in scenario.on_start.iter().chain(&scenario.on_stop) {
            found.extend(self.reachable_from(flow));
        }
        found
    }

    /// Flows that somebody does.
    pub(super) fn used_flows(&self, spec: &TestSpec) -> BTreeSet<usize> {
        let scenarios = spec.scenarios.iter().flat_map(|s| self.flows_of(s));
        let once = spec.setup.iter().chain(&spec.teardown);
        let once = once.flat_map(|flow| self.reachable_from(flow));
        scenarios.chain(once).collect()
    }

    /// The copy of a flow in the scenario that is being built.
    pub(super) fn flow_index(&mut self, path: &str, name: &str) -> Option<u32> {
        let Some(found) = self.flow_named(name) else {
            let known: Vec<_> = self.spec.flows.iter().map(|flow| &*flow.name.0).collect();
            let message = if known.is_empty() {
                format!("no flow is named {name:?}: spec.flows is where they are written")
            } else {
                format!("no flow is named {name:?}: there are {}", known.join(", "))
            };
            self.problem(path, message);
            return None;
        };
        let flows = &mut self.place.flows;
        let copy = flows.iter().position(|flow| *flow == found);
        let copy = copy.unwrap_or_else(|| {
            flows.push(found);
            flows.len() - 1
        });
        u32::try_from(self.place.first + copy).ok()
    }

    /// Adds all flows that are used by now, and those that they use.
    pub(super) fn copy_flows(&mut self, copies: &mut Vec<Flow>) {
        let first = self.place.first;
        while let Some(index) = self.place.flows.get(copies.len() - first).copied() {
            let Some(flow) = self.spec.flows.get(index) else {
                break;
            };
            let path = format!("{}.flows[{index}].steps", self.root);
            copies.push(Flow {
                name: flow.name.0.clone(),
                steps: self.steps(&path, &flow.steps),
            });
        }
    }

    /// The flows of a scenario whose tasks were built before.
    pub(super) fn scenario_flows(&mut self, path: &str, scenario: &spec::Scenario) -> Flows {
        let mut named = |field: &str, flow: Option<&str>| {
            flow.and_then(|flow| self.flow_index(&format!("{path}.{field}"), flow))
        };
        let on_start = named("onStart", scenario.on_start.as_deref());
        let on_stop = named("onStop", scenario.on_stop.as_deref());
        let mut all = Vec::new();
        self.copy_flows(&mut all);
        Flows {
            all,
            on_start,
            on_stop,
        }
    }

    /// What is done once for the whole run.
    pub(super) fn once(&mut self, spec: &TestSpec) -> Option<Box<Once>> {
        if spec.setup.is_none() && spec.teardown.is_none() {
            return None;
        }
        let mut once = Once::default();
        let checks = std::mem::take(&mut self.made.checks);
        let groups = std::mem::take(&mut self.made.groups);
        once.setup = self.once_flow("setup", spec.setup.as_deref(), &mut once.flows);
        once.teardown = self.once_flow("teardown", spec.teardown.as_deref(), &mut once.flows);
        self.leave();
        once.checks = std::mem::replace(&mut self.made.checks, checks);
        once.groups = std::mem::replace(&mut self.made.groups, groups);
        Some(Box::new(once))
    }

    /// Each has copies of its own: what the setup knows, the teardown does not.
    fn once_flow(
        &mut self,
        field: &str,
        flow: Option<&str>,
        copies: &mut Vec<Flow>,
    ) -> Option<u32> {
        let flow = flow?;
        self.place = Place {
            scenario: "setup and teardown".to_owned(),
            once: true,
            first: copies.len(),
            ..Place::default()
        };
        self.enter(&self.reachable_from(flow), &[], None);
        if field == "setup" {
            // What it makes is its own until it is done.
            self.names.setup.clear();
        }
        let copy = self.flow_index(&format!("{}.{field}", self.root), flow);
        self.copy_flows(copies);
        copy
    }

    /// Flows that nobody uses are no problem, but what is wrong in them is.
    pub(super) fn unused_flows(&mut self, spec: &TestSpec) {
        let used = self.used_flows(spec);
        let unused: Vec<usize> = (0..spec.flows.len())
            .filter(|index| !used.contains(index))
            .collect();
        let before = self.made.clone();
        // Which scenario will use them is not known, so any of its values may be meant.
        self.names = self.everybodys.clone();
        let values = (0..).zip(&self.values);
        self.names.values = values
            .map(|(index, value)| (value.name.clone(), index))
            .collect();
        let mut done = BTreeSet::new();
        for index in unused {
            // One that another does was looked at in its place.
            if !done.contains(&index) {
                self.place = Place {
                    flows: vec![index],
                    ..Place::default()
                };
                self.copy_flows(&mut Vec::new());
                done.extend(self.place.flows.iter().copied());
            }
        }
        self.leave();
        self.made = before;
    }

    /// From here on templates have the values of these flows and steps. Those that `on_start` makes
    /// are kept for the user's life, unless they say otherwise.
    pub(super) fn enter(
        &mut self,
        flows: &BTreeSet<usize>,
        steps: &[&[spec::Step]],
        on_start: Option<&str>,
    ) {
        let begin = on_start.map(|flow| self.reachable_from(flow));
        let begin = self.names_made_in(begin.iter().flatten());
        let mut known = self.names_made_in(flows);
        known.extend(steps.iter().flat_map(|steps| value::names_made(steps)));
        let index = |name: &str| {
            let keys = (0..).zip(&self.values);
            let mut keys = keys.filter(|(_, key)| key.name == name);
            let (first, second) = (keys.next()?, keys.next());
            let kept = second.filter(|_| begin.contains(name));
            Some((name.to_owned(), kept.unwrap_or(first).0))
        };
        let values = known.into_iter().filter_map(index).collect();
        self.names = self.everybodys.clone();
        self.names.values = values;
    }

    /// Names that flows make known.
    pub(super) fn names_made_in<'f>(
        &self,
        flows: impl IntoIterator<Item = &'f usize>,
    ) -> BTreeSet<&'_ str> {
        let spec = self.spec;
        let flows = flows.into_iter().filter_map(|index| spec.flows.get(*index));
        flows
            .flat_map(|flow| value::names_made(&flow.steps))
            .collect()
    }

    /// From here on templates have what everybody has.
    pub(super) fn leave(&mut self) {
        self.names = self.everybodys.clone();
        self.place = Place::default();
    }

    /// Refuses flows that do themselves, in however many steps.
    pub(super) fn circles(&mut self, spec: &TestSpec) {
        let mut done = BTreeSet::new();
        for index in 0..spec.flows.len() {
            self.circle(index, &mut Vec::new(), &mut done);
        }
    }

    fn circle(&mut self, index: usize, above: &mut Vec<usize>, done: &mut BTreeSet<usize>) {
        if !done.insert(index) {
            return;
        }
        let spec = self.spec;
        let Some(flow) = spec.flows.get(index) else {
            return;
        };
        above.push(index);
        let path = format!("{}.flows[{index}].steps", self.root);
        for (path, step) in each_step(&flow.steps, &path) {
            for (field, name) in named(step) {
                let Some(next) = self.flow_named(name) else {
                    continue;
                };
                if let Some(at) = above.iter().position(|flow| *flow == next) {
                    let circle = above.iter().skip(at).chain([&next]);
                    let names: Vec<_> = circle
                        .filter_map(|index| spec.flows.get(*index))
                        .map(|flow| &*flow.name.0)
                        .collect();
                    let message = format!(
                        "goes in a circle: {}; use repeat to do a flow several times",
                        names.join(" → ")
                    );
                    self.problem(&format!("{path}.{field}"), message);
                } else {
                    self.circle(next, above, done);
                }
            }
        }
        above.pop();
    }
}
