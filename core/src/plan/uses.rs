//! Which rows of data steps need.

use std::collections::BTreeSet;

use super::{Condition, Flow, Loop, Request, Scenario, Step, Test, When};
use crate::template::{Argument, Segment, Source, Template};

/// The columns of data that steps need, and the flows that were looked into for it.
#[derive(Debug, Default)]
pub struct Uses {
    /// By index of the feeder.
    columns: BTreeSet<(u32, String)>,
    seen: BTreeSet<u32>,
}

impl Uses {
    /// What a scenario's users need, in any of its tasks, at their beginning or at their end.
    pub fn of(scenario: &Scenario) -> Self {
        let mut uses = Self::default();
        let flows = &scenario.flows;
        for task in &scenario.tasks {
            uses.add(&task.steps, &flows.all);
        }
        let once = [flows.on_start, flows.on_stop].into_iter().flatten();
        for flow in once.filter_map(|flow| flows.all.get(flow as usize)) {
            uses.add(&flow.steps, &flows.all);
        }
        uses
    }

    /// Adds what steps need, with the flows that they do as far as those are here.
    pub fn add(&mut self, steps: &[Step], flows: &[Flow]) {
        for step in steps {
            self.add_step(step, flows);
        }
    }

    /// The feeders.
    pub fn feeders(&self) -> BTreeSet<u32> {
        self.columns.iter().map(|(feeder, _)| *feeder).collect()
    }

    /// The columns of a feeder.
    pub fn columns(&self, feeder: u32) -> impl Iterator<Item = &str> {
        let columns = self.columns.iter();
        let of_feeder = columns.filter(move |(of, _)| *of == feeder);
        of_feeder.map(|(_, column)| column.as_str())
    }

    fn add_step(&mut self, step: &Step, flows: &[Flow]) {
        match step {
            Step::Request(request) => self.add_request(request),
            Step::Set(assignments) => {
                for assignment in assignments {
                    self.add_template(&assignment.to);
                }
            }
            Step::Repeat(repeat) => match &repeat.how {
                Loop::Times(_) => {}
                Loop::While(when) => self.add_when(when),
                Loop::ForEach { items, .. } => self.add_source(items),
            },
            Step::When(conditional) => {
                self.add_when(&conditional.when);
                self.add_step(&conditional.step, flows);
            }
            Step::Custom(custom) => {
                for template in custom.with.values() {
                    self.add_template(template);
                }
                self.add_request(&custom.request);
            }
            Step::Pause(_) | Step::Call(_) | Step::Group { .. } | Step::Parallel(_) => {}
        }
        for flow in step.flows() {
            if let Some(called) = flows.get(flow as usize)
                && self.seen.insert(flow)
            {
                self.add(&called.steps, flows);
            }
        }
    }

    fn add_request(&mut self, request: &Request) {
        let headers = request.headers.iter().map(|(_, value)| value);
        let body = request.body.iter();
        for template in std::iter::once(&request.path).chain(headers).chain(body) {
            self.add_template(template);
        }
        for check in &request.checks {
            match &check.condition {
                Condition::BodyContains(template) => self.add_template(template),
                Condition::JsonPath { test, .. } | Condition::Header { test, .. } => {
                    self.add_test(test);
                }
                Condition::Status(_) | Condition::MaxLatency(_) => {}
            }
        }
    }

    fn add_when(&mut self, when: &When) {
        match when {
            When::Probability(_) => {}
            When::Value { source, test } => {
                self.add_source(source);
                self.add_test(test);
            }
        }
    }

    fn add_test(&mut self, test: &Test) {
        match test {
            Test::Equals(other) | Test::NotEquals(other) | Test::Contains(other) => {
                self.add_template(other);
            }
            Test::Matches(_) | Test::Exists(_) => {}
        }
    }

    fn add_template(&mut self, template: &Template) {
        for segment in &template.segments {
            if let Segment::Expression(expression) = segment {
                self.add_source(&expression.source);
            }
        }
    }

    fn add_source(&mut self, source: &Source) {
        match source {
            Source::Data { feeder, column, .. } => {
                self.columns.insert((*feeder, column.clone()));
            }
            Source::Call(call) => {
                for argument in &call.arguments {
                    if let Argument::Source(source) = argument {
                        self.add_source(source);
                    }
                }
            }
            Source::Slot(_)
            | Source::Value(..)
            | Source::Setup(..)
            | Source::Secret(..)
            | Source::Authorization => {}
        }
    }
}
