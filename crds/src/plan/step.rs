//! Steps: what is done, how often, and when.

use loadtest_core::{
    plan::{Assignment, Conditional, GroupKey, Loop, PauseRange, Repeat, Step, Test, When},
    scalar::{format_duration, parse_percent},
    template::{Position, Segment, Source, Template},
};

use super::{
    Builder,
    answer::{Written, holds},
    flow::each_step,
    value::DEFAULT_ITEM,
};
use crate::{rule, spec};

/// Passes of a loop that does not say.
const DEFAULT_MAX: u32 = 100;

impl Builder<'_> {
    pub(super) fn steps(&mut self, path: &str, steps: &[spec::Step]) -> Vec<Step> {
        each_step(steps, path)
            .filter_map(|(path, step)| self.step(&path, step))
            .collect()
    }

    fn step(&mut self, path: &str, step: &spec::Step) -> Option<Step> {
        let spec::Step {
            request,
            pause,
            set,
            call,
            group,
            repeat,
            parallel,
            custom,
            when,
        } = step;
        let count = [
            request.is_some(),
            pause.is_some(),
            set.is_some(),
            call.is_some(),
            group.is_some(),
            repeat.is_some(),
            parallel.is_some(),
            custom.is_some(),
        ];
        if count.into_iter().filter(|set| *set).count() != 1 {
            self.problem(path, rule::STEP.message());
            return None;
        }
        let done = if let Some(request) = request {
            let request = self.request(&format!("{path}.request"), request);
            Some(Step::Request(Box::new(request)))
        } else if let Some(pause) = pause {
            Some(Step::Pause(self.pause(&format!("{path}.pause"), pause)))
        } else if let Some(set) = set {
            Some(Step::Set(self.set(&format!("{path}.set"), set)))
        } else if let Some(call) = call {
            self.flow_index(&format!("{path}.call.flow"), &call.flow)
                .map(Step::Call)
        } else if let Some(group) = group {
            self.group(&format!("{path}.group"), group)
        } else if let Some(repeat) = repeat {
            self.repeat(&format!("{path}.repeat"), repeat)
        } else if let Some(custom) = custom {
            let custom = self.custom(&format!("{path}.custom"), custom);
            Some(Step::Custom(Box::new(custom)))
        } else {
            let flows = parallel.iter().flat_map(|parallel| &parallel.flows);
            let copies: Vec<_> = (0..)
                .zip(flows)
                .filter_map(|(index, flow): (u32, _)| {
                    self.flow_index(&format!("{path}.parallel.flows[{index}]"), flow)
                })
                .collect();
            Some(Step::Parallel(copies))
        };
        let Some(when) = when else { return done };
        let when = self.when(&format!("{path}.when"), when);
        Some(Step::When(Box::new(Conditional {
            when: when?,
            step: done?,
        })))
    }

    pub(super) fn pause(&mut self, path: &str, pause: &spec::Pause) -> PauseRange {
        let zero = std::time::Duration::ZERO;
        let min = self.duration(&format!("{path}.min"), Some(&pause.min), zero);
        let max = self.duration(&format!("{path}.max"), Some(&pause.max), min);
        if min > max {
            self.problem(
                path,
                format!(
                    "min {} is above max {}",
                    format_duration(min),
                    format_duration(max)
                ),
            );
        }
        PauseRange { min, max }
    }

    fn set(
        &mut self,
        path: &str,
        set: &std::collections::BTreeMap<String, crate::scalar::IntOrText>,
    ) -> Vec<Assignment> {
        let mut all = Vec::with_capacity(set.len());
        for (name, to) in set {
            let to = self.template(&format!("{path}.{name}"), &to.to_string(), Position::Text);
            all.push(Assignment {
                value: self.value(name),
                to,
            });
        }
        all
    }

    /// Index of a value that is made by what is being built.
    pub(super) fn value(&self, name: &str) -> u32 {
        self.names.values.get(name).copied().unwrap_or_default()
    }

    fn group(&mut self, path: &str, group: &spec::Group) -> Option<Step> {
        self.plain_text(&format!("{path}.name"), &group.name);
        let flow = self.flow_index(&format!("{path}.flow"), &group.flow);
        if !self.place.groups.insert(group.name.clone()) {
            let message = format!(
                "there is another group named {:?} in this scenario: give one of them a name of its own, or put both into one flow",
                group.name
            );
            self.problem(&format!("{path}.name"), message);
        }
        Some(Step::Group {
            group: self.group_row(&group.name),
            flow: flow?,
        })
    }

    /// The row of the results that a group belongs to.
    pub(super) fn group_row(&mut self, name: &str) -> u32 {
        let key = GroupKey {
            scenario: self.place.scenario.clone(),
            name: name.to_owned(),
        };
        let groups = &mut self.made.groups;
        let known = groups.iter().position(|other| *other == key);
        let index = known.unwrap_or_else(|| {
            groups.push(key);
            groups.len() - 1
        });
        index as u32
    }

    fn repeat(&mut self, path: &str, repeat: &spec::Repeat) -> Option<Step> {
        let spec::Repeat {
            flow,
            times,
            as_long_as,
            for_each,
            max,
        } = repeat;
        self.takes_time(path, flow);
        let flow = self.flow_index(&format!("{path}.flow"), flow);
        let number = |number: i32| u32::try_from(number).unwrap_or(1);
        let max = max.map(number);
        let (how, max) = match (times, as_long_as, for_each) {
            (Some(times), None, None) => {
                let times = number(*times);
                if let Some(max) = max.filter(|max| times > *max) {
                    let message = format!("{times} is above max {max}: leave max out");
                    self.problem(&format!("{path}.times"), message);
                }
                (Loop::Times(times), max.unwrap_or(times))
            }
            (None, Some(when), None) => {
                let when = self.when(&format!("{path}.while"), when);
                (Loop::While(when?), max.unwrap_or(DEFAULT_MAX))
            }
            (None, None, Some(list)) => {
                let items = self.items(&format!("{path}.forEach.items"), &list.items);
                let item = list.item.as_deref().unwrap_or(DEFAULT_ITEM);
                let how = Loop::ForEach {
                    items: items?,
                    item: self.value(item),
                };
                (how, max.unwrap_or(DEFAULT_MAX))
            }
            _ => {
                self.problem(path, rule::REPEAT.message());
                return None;
            }
        };
        Some(Step::Repeat(Box::new(Repeat {
            flow: flow?,
            how,
            max,
        })))
    }

    /// Passes that take no time would turn in circles as fast as the CPU allows.
    fn takes_time(&mut self, path: &str, flow: &str) {
        let spec = self.spec;
        let reached = self.reachable_from(flow);
        let mut steps = reached
            .iter()
            .filter_map(|index| spec.flows.get(*index))
            .flat_map(|flow| &flow.steps);
        let takes = steps
            .any(|step| step.request.is_some() || step.pause.is_some() || step.custom.is_some());
        if !takes && !reached.is_empty() {
            self.problem(
                &format!("{path}.flow"),
                "a flow that is repeated needs at least one request, custom step or pause",
            );
        }
    }

    pub(super) fn when(&mut self, path: &str, when: &spec::When) -> Option<When> {
        let written = Written {
            equals: when.equals.as_ref(),
            not_equals: when.not_equals.as_ref(),
            contains: when.contains.as_ref(),
            matches: when.matches.as_deref(),
            exists: when.exists,
        };
        match (&when.probability, &when.var) {
            (Some(_), None) if !written.is_empty() => {
                self.problem(path, rule::WHEN_TEST.message());
                None
            }
            (Some(share), None) => {
                let share = self.share(&format!("{path}.probability"), share);
                Some(When::Probability(share))
            }
            (None, Some(_)) if written.count() != 1 => {
                self.problem(path, rule::WHEN_TEST.message());
                None
            }
            (None, Some(name)) => {
                let test = self.test(path, &written);
                let found = self.named(&format!("{path}.var"), name);
                let (test, found) = (test?, found?);
                Some(self.known_or_not(path, found, test))
            }
            _ => {
                self.problem(path, rule::WHEN.message());
                None
            }
        }
    }

    /// A variable is known, so the condition is always so or never.
    fn known_or_not(&mut self, path: &str, found: Found, test: Test) -> When {
        let variable = match found {
            Found::Source(source) => return When::Value { source, test },
            Found::Text(variable) => variable,
        };
        let Some(holds) = holds(&test, &variable) else {
            self.problem(
                path,
                "compares a variable with something that only a run knows: write it the other way round",
            );
            return When::Probability(0.0);
        };
        When::Probability(f64::from(u8::from(holds)))
    }

    /// A percentage as a share of one.
    pub(super) fn share(&mut self, path: &str, text: &str) -> f64 {
        parse_percent(text).unwrap_or_else(|error| {
            self.problem(path, error);
            0.0
        })
    }

    fn items(&mut self, path: &str, name: &str) -> Option<Source> {
        match self.named(path, name)? {
            Found::Source(source) => Some(source),
            Found::Text(_) => {
                self.problem(
                    path,
                    "is a variable: set a value to it in a step before, and name that",
                );
                None
            }
        }
    }

    /// What a name outside of a template means.
    fn named(&mut self, path: &str, name: &str) -> Option<Found> {
        if name.contains("$(") {
            self.problem(
                path,
                format!(
                    "is a name, not a template: write {} without $( and )",
                    name.trim_start_matches("$(").trim_end_matches(')')
                ),
            );
            return None;
        }
        let problems = self.problems.len();
        let Template { segments } = self.template(path, &format!("$({name})"), Position::Text);
        if self.problems.len() > problems {
            return None;
        }
        let mut segments = segments.into_iter();
        match (segments.next(), segments.next()) {
            (None, _) => Some(Found::Text(String::new())),
            (Some(Segment::Text(text)), None) => Some(Found::Text(text)),
            (Some(Segment::Slot(slot)), None) => Some(Found::Source(Source::Slot(slot))),
            (Some(Segment::Expression(expression)), None) => Some(Found::Source(expression.source)),
            _ => {
                self.problem(path, format!("{name:?} is no name"));
                None
            }
        }
    }
}

/// What a name means.
enum Found {
    /// Something that a runner knows.
    Source(Source),
    /// A variable.
    Text(String),
}
