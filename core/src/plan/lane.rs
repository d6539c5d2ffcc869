//! What a user does at the same time, and over how many connections.

use std::collections::BTreeSet;

use super::{Flow, Scenario, Step};

/// Most flows that a user may do at the same time.
pub const MAX_LANES: usize = 64;

/// What a user does one thing after the other, with what it does beside it: each has connections
/// of its own.
#[derive(Debug, Default)]
pub struct Lane {
    /// Where its requests go, redirects aside.
    origins: BTreeSet<Option<u32>>,
    /// By their place in a parallel step: the next such step uses the same connections.
    branches: Vec<Self>,
    /// Flows that were looked into.
    seen: BTreeSet<u32>,
}

impl Lane {
    /// What a user of a scenario does. When that is more than [`MAX_LANES`] at the same time it may
    /// be any number more.
    pub fn of(scenario: &Scenario) -> Self {
        let mut lane = Self::default();
        let mut left = MAX_LANES;
        let flows = &scenario.flows;
        for task in &scenario.tasks {
            lane.add(&task.steps, &flows.all, &mut left);
        }
        for hook in [flows.on_start, flows.on_stop].into_iter().flatten() {
            lane.add(&[Step::Call(hook)], &flows.all, &mut left);
        }
        lane
    }

    /// What is done by a flow that is done once for the whole run.
    pub fn of_flow(flow: u32, flows: &[Flow]) -> Self {
        let mut lane = Self::default();
        let mut left = MAX_LANES;
        lane.add_flow(flow, flows, &mut left);
        lane
    }

    /// How many things are done at the same time.
    pub fn lanes(&self) -> usize {
        let branches: usize = self.branches.iter().map(Self::lanes).sum();
        branches + 1
    }

    /// How many connections that takes, if each is kept for every origin.
    pub fn connections(&self) -> u64 {
        let branches: u64 = self.branches.iter().map(Self::connections).sum();
        branches + self.origins.len().max(1) as u64
    }

    /// Whether nothing is done but one thing after the other, and all with one origin.
    pub fn is_single(&self, origin: Option<u32>) -> bool {
        self.branches.is_empty() && self.origins == BTreeSet::from([origin])
    }

    fn add(&mut self, steps: &[Step], flows: &[Flow], left: &mut usize) {
        for step in steps {
            if let Some(request) = step.as_request() {
                self.origins.insert(request.origin);
            }
            let called = step.flows();
            if is_parallel(step) {
                while self.branches.len() < called.len() && *left > 0 {
                    self.branches.push(Self::default());
                    *left -= 1;
                }
                for (branch, flow) in self.branches.iter_mut().zip(called) {
                    branch.add_flow(flow, flows, left);
                }
            } else {
                for flow in called {
                    self.add_flow(flow, flows, left);
                }
            }
        }
    }

    fn add_flow(&mut self, flow: u32, flows: &[Flow], left: &mut usize) {
        if let Some(called) = flows.get(flow as usize)
            && self.seen.insert(flow)
        {
            self.add(&called.steps, flows, left);
        }
    }
}

fn is_parallel(step: &Step) -> bool {
    match step {
        Step::Parallel(_) => true,
        Step::When(conditional) => is_parallel(&conditional.step),
        _ => false,
    }
}
