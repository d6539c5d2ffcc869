//! Which values have a secret in them, as far as what is written tells: set from one, or from
//! another such value.

use std::collections::BTreeSet;

use loadtest_core::{
    plan::{Loop, Plan, Step},
    template::{Argument, Segment, Source, Template},
};

/// Values that are made of secrets.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Private {
    /// By their index in the plan.
    values: BTreeSet<u32>,
    /// Of the setup, by their index in the plan.
    setup: BTreeSet<u32>,
}

impl Private {
    /// Of a plan.
    pub fn of(plan: &Plan) -> Self {
        let mut private = Self::default();
        // What one pass finds may make others private, in steps before it.
        loop {
            let known = private.values.len() + private.setup.len();
            let scenarios = plan.scenarios.iter();
            let tasks = scenarios.clone().flat_map(|scenario| &scenario.tasks);
            let flows = scenarios.flat_map(|scenario| &scenario.flows.all);
            let once = plan.once.iter().flat_map(|once| &once.flows);
            let flows = flows.chain(once).flat_map(|flow| &flow.steps);
            for step in tasks.flat_map(|task| &task.steps).chain(flows) {
                private.learn(step);
            }
            for (name, index) in plan.inputs.setup_values.iter().zip(0..) {
                let mut values = plan.inputs.values.iter().zip(0..);
                let made = values.find(|(value, _)| value.name == *name);
                if made.is_some_and(|(_, value)| private.values.contains(&value)) {
                    private.setup.insert(index);
                }
            }
            if private.values.len() + private.setup.len() == known {
                return private;
            }
        }
    }

    /// The values of users, by their index.
    pub fn values(&self) -> impl Iterator<Item = u32> {
        self.values.iter().copied()
    }

    /// The values of the setup, by their index.
    pub fn setup(&self) -> impl Iterator<Item = u32> {
        self.setup.iter().copied()
    }

    /// Whether a text is made of a secret.
    pub fn has(&self, template: &Template) -> bool {
        template.segments.iter().any(|segment| {
            matches!(segment, Segment::Expression(expression) if self.is(&expression.source))
        })
    }

    fn is(&self, source: &Source) -> bool {
        match source {
            Source::Secret(..) | Source::Authorization => true,
            Source::Value(index, _) => self.values.contains(index),
            Source::Setup(index, _) => self.setup.contains(index),
            Source::Call(call) => call
                .arguments
                .iter()
                .any(|argument| matches!(argument, Argument::Source(source) if self.is(source))),
            Source::Slot(_) | Source::Data { .. } => false,
        }
    }

    fn learn(&mut self, step: &Step) {
        match step {
            Step::Set(assignments) => {
                for assignment in assignments {
                    if self.has(&assignment.to) {
                        self.values.insert(assignment.value);
                    }
                }
            }
            Step::Repeat(repeat) => {
                if let Loop::ForEach { items, item } = &repeat.how
                    && self.is(items)
                {
                    self.values.insert(*item);
                }
            }
            Step::When(conditional) => self.learn(&conditional.step),
            Step::Request(_)
            | Step::Pause(_)
            | Step::Call(_)
            | Step::Group { .. }
            | Step::Parallel(_)
            | Step::Custom(_) => {}
        }
    }
}
