//! Values: what steps extract, set or take from a list, and who has them.

use std::collections::{BTreeMap, BTreeSet};

use loadtest_core::{
    plan::{ValueKey, ValueScope},
    template::Function,
};
use serde_json::Value as Json;

use super::{BOOLEAN_KEY, Builder, flow::each_step, is_identifier, is_yaml_boolean};
use crate::spec::{self, TestSpec};

/// Names that stand before a dot in templates.
const SPACES: [&str; 7] = [
    "var", "secret", "setup", "user", "run", "runner", "response",
];

/// Name of the item of a list that does not say.
pub(super) const DEFAULT_ITEM: &str = "item";

/// A place where a value comes into being.
#[derive(Debug)]
struct Made<'a> {
    name: &'a str,
    path: String,
    scope: Option<spec::ValueScope>,
}

/// All that steps make known, not looking into flows.
fn made<'a>(steps: &'a [spec::Step], path: &str) -> Vec<Made<'a>> {
    let mut all = Vec::new();
    for (path, step) in each_step(steps, path) {
        if let Some(request) = &step.request {
            all.extend((0..).zip(&request.extract).map(|(index, extract)| Made {
                name: &extract.name,
                path: format!("{path}.request.extract[{index}].name"),
                scope: extract.scope,
            }));
        }
        let sets = step.custom.iter().flat_map(|custom| &custom.sets);
        all.extend((0..).zip(sets).map(|(index, name): (u32, _)| Made {
            name,
            path: format!("{path}.custom.sets[{index}]"),
            scope: None,
        }));
        all.extend(step.set.iter().flatten().map(|(name, _)| Made {
            name,
            path: format!("{path}.set.{name}"),
            scope: None,
        }));
        let list = step
            .repeat
            .as_ref()
            .and_then(|repeat| repeat.for_each.as_ref());
        all.extend(list.map(|list| Made {
            name: list.item.as_deref().unwrap_or(DEFAULT_ITEM),
            path: format!("{path}.repeat.forEach.as"),
            scope: None,
        }));
    }
    all
}

/// Which names steps make known.
pub(super) fn names_made(steps: &[spec::Step]) -> impl Iterator<Item = &str> {
    made(steps, "").into_iter().map(|made| made.name)
}

impl Builder<'_> {
    /// Every value of the test with its scope, and how many of them are used: those that only unused
    /// flows make come last. One that lives longer in one scenario than in another is there twice,
    /// first the one of an iteration.
    pub(super) fn values(&mut self, spec: &TestSpec) -> (Vec<ValueKey>, usize) {
        let mut all: Vec<Made<'_>> = Vec::new();
        for (index, scenario) in spec.scenarios.iter().enumerate() {
            for (task_index, task) in scenario.tasks.iter().enumerate() {
                let path = format!("{}.scenarios[{index}].tasks[{task_index}].steps", self.root);
                all.extend(made(task.steps.as_deref().unwrap_or_default(), &path));
            }
        }
        let used = self.used_flows(spec);
        let (first, last): (Vec<usize>, Vec<usize>) =
            (0..spec.flows.len()).partition(|index| used.contains(index));
        let root = self.root;
        let of_flow = |index: usize| {
            let flow = spec.flows.get(index).into_iter();
            flow.flat_map(move |flow| made(&flow.steps, &format!("{root}.flows[{index}].steps")))
        };
        all.extend(first.into_iter().flat_map(of_flow));
        let used_places = all.len();
        all.extend(last.into_iter().flat_map(of_flow));
        for made in &all {
            self.value_name(made);
        }
        let declared = self.declared(&all);
        let (kept, forgotten) = self.lives(spec);
        let mut values: Vec<ValueKey> = Vec::new();
        let mut used = 0;
        for (place, Made { name, .. }) in all.iter().enumerate() {
            if !values.iter().any(|value| value.name == *name) {
                let declared = declared.get(name).map(|(_, scope)| *scope);
                let is_kept = match declared {
                    Some(scope) => scope == spec::ValueScope::User,
                    None => kept.contains(*name),
                };
                let is_both = declared.is_none() && is_kept && forgotten.contains(*name);
                let iteration = (!is_kept || is_both).then_some(ValueScope::Iteration);
                let for_life = is_kept.then_some(ValueScope::User);
                values.extend(iteration.into_iter().chain(for_life).map(|scope| ValueKey {
                    name: (*name).to_owned(),
                    scope,
                }));
            }
            if place < used_places {
                used = values.len();
            }
        }
        (values, used)
    }

    /// The scopes that are written, each with the place that says so first.
    fn declared<'m>(
        &mut self,
        all: &'m [Made<'m>],
    ) -> BTreeMap<&'m str, (&'m str, spec::ValueScope)> {
        let mut declared = BTreeMap::new();
        for Made { name, path, scope } in all {
            let Some(scope) = scope else { continue };
            let (before, other) = *declared.entry(*name).or_insert((path.as_str(), *scope));
            if other != *scope {
                let message = format!(
                    "{name} has the scope {scope:?} here and {other:?} at {before}: give it one of them everywhere"
                );
                self.problem(path, message);
            }
        }
        declared
    }

    /// Names that a scenario's `onStart` makes, and those that a scenario makes only in iterations.
    /// What a user does once would otherwise be forgotten after its first iteration; what another
    /// scenario does in each is not kept for that.
    fn lives(&self, spec: &'_ TestSpec) -> (BTreeSet<String>, BTreeSet<String>) {
        let (mut kept, mut forgotten) = (BTreeSet::new(), BTreeSet::new());
        for scenario in &spec.scenarios {
            let begin = scenario.on_start.as_deref();
            let begin = begin.map(|flow| self.reachable_from(flow));
            let begin = self.names_made_in(begin.iter().flatten());
            let steps = scenario
                .tasks
                .iter()
                .filter_map(|task| task.steps.as_deref());
            let mut made = self.names_made_in(&self.flows_of(scenario));
            made.extend(steps.flat_map(names_made));
            let others = made.difference(&begin).map(|name| (*name).to_owned());
            forgotten.extend(others);
            kept.extend(begin.into_iter().map(str::to_owned));
        }
        (kept, forgotten)
    }

    fn value_name(&mut self, made: &Made<'_>) {
        let Made { name, path, .. } = made;
        if is_yaml_boolean(name) {
            self.problem(path, BOOLEAN_KEY);
        } else if !is_identifier(name) {
            self.problem(
                path,
                "a name of a value is at most 63 characters of A-Z, a-z, 0-9, _ and -, beginning with a letter or _",
            );
        } else {
            self.free_name(path, name);
        }
    }

    /// Refuses names that mean something else in templates.
    pub(super) fn free_name(&mut self, path: &str, name: &str) {
        if Function::ALL.iter().any(|function| function.name() == name) {
            self.problem(
                path,
                format!("{name} is a function of templates: take another name"),
            );
        } else if SPACES.contains(&name) {
            self.problem(
                path,
                format!("$({name}.…) means something else in templates: take another name"),
            );
        }
    }
}

/// Names of those values of the setup that anybody refers to.
pub(super) fn wanted_of_setup(spec: &TestSpec, made: &BTreeSet<&str>) -> Vec<String> {
    let mut texts = Vec::new();
    let json = serde_json::to_value(spec).unwrap_or_default();
    collect_texts(&json, &mut texts);
    let wanted = |name: &str| {
        let reference = format!("setup.{name}");
        texts.iter().any(|text| {
            text.match_indices(&reference).any(|(at, _)| {
                let after = text.get(at + reference.len()..).unwrap_or_default();
                !after.starts_with(|next: char| next.is_ascii_alphanumeric() || "_-".contains(next))
            })
        })
    };
    made.iter()
        .filter(|name| wanted(name))
        .map(|name| (*name).to_owned())
        .collect()
}

fn collect_texts<'a>(value: &'a Json, texts: &mut Vec<&'a str>) {
    match value {
        Json::String(text) => texts.push(text),
        Json::Array(items) => items.iter().for_each(|item| collect_texts(item, texts)),
        Json::Object(members) => {
            for (key, member) in members {
                texts.push(key);
                collect_texts(member, texts);
            }
        }
        Json::Null | Json::Bool(_) | Json::Number(_) => {}
    }
}
