//! How a user does steps one after the other, and those that do flows.
//!
//! A step is due when the one before has ended, the first of an iteration at the iteration's
//! intended start. Requests and pauses are done here as they are; the other steps are behind a
//! box of their own each time, so that users who have none stay small.

use std::{future::poll_fn, pin::Pin, rc::Rc, sync::Arc, task::Poll};

use super::{
    message::Values,
    scenario::Phase,
    script::{Row, Value},
    steps::{CompiledRepeat, CompiledStep, Passes, Rare},
    timers::Timers,
    user::{REST_AFTER_FAILED_CONNECT, User},
};
use crate::clock::{self, Nanos};

/// After so many passes through flows, however nested, others get a turn, should none of them have
/// waited.
const PASSES_PER_TURN: u32 = 64;

/// How steps went.
#[derive(Debug, Clone, Copy)]
pub struct Went {
    /// When the next step is due.
    pub due: Nanos,
    /// Whether there is one.
    pub then: Then,
}

/// What comes after a step; the worst of several is what comes after all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Then {
    /// The next step.
    GoOn,
    /// The end of the iteration: what later steps need is missing.
    EndIteration,
    /// Nothing: the run is over.
    CutOff,
}

impl Went {
    /// The next step is due.
    pub fn on(due: Nanos) -> Self {
        let then = Then::GoOn;
        Self { due, then }
    }

    fn cut_off() -> Self {
        Self {
            due: clock::now(),
            then: Then::CutOff,
        }
    }
}

impl User {
    /// Does steps, the first of which is due at a time.
    pub(super) async fn walk(&mut self, steps: &[CompiledStep], mut due: Nanos) -> Went {
        for step in steps {
            if self.is_cut_off() {
                return Went::cut_off();
            }
            match step {
                CompiledStep::Pause(wait) => {
                    due = self.draw_end(due, *wait);
                    self.wait_until(due, Phase::Aborting).await;
                }
                CompiledStep::Request(request) => {
                    let done = self.request(request, due).await;
                    due = done.ended;
                    if done.failed && self.worker.is_errand() {
                        let then = Then::EndIteration;
                        return Went { due, then };
                    }
                    if done.rest {
                        due = Timers::grid(due + REST_AFTER_FAILED_CONNECT);
                        self.wait_until(due, Phase::Stopping).await;
                        due = due.min(clock::now());
                    }
                    if done.then != Then::GoOn {
                        return Went {
                            due,
                            then: done.then,
                        };
                    }
                }
                CompiledStep::Rare(step) => {
                    let went = Box::pin(self.rare(step, due)).await;
                    if went.then != Then::GoOn {
                        return went;
                    }
                    due = went.due;
                }
            }
        }
        Went::on(due)
    }

    /// Does a flow of the scenario.
    pub(super) async fn flow(&mut self, flow: usize, due: Nanos) -> Went {
        let worker = Rc::clone(&self.worker);
        let scenario = worker.compiled.scenarios.get(self.scenario.index);
        match scenario.and_then(|scenario| scenario.flows.all.get(flow)) {
            Some(steps) => self.walk(steps, due).await,
            // Not to be: the plan was compiled with all its flows.
            None => Went::on(due),
        }
    }

    async fn rare(&mut self, step: &Rare, due: Nanos) -> Went {
        match step {
            Rare::Until(request, until) => self.until(request, until, due).await,
            Rare::Set(values) => {
                // What another text complained about is not this step's.
                drop(self.worker.shared.take_problem());
                for (value, text) in values {
                    let text = text.render(&self.values());
                    self.remember(*value, Value::text(&text));
                }
                match self.worker.shared.take_problem() {
                    None => Went::on(due),
                    Some(problem) => {
                        self.worker.note_unset(problem);
                        let then = Then::EndIteration;
                        Went { due, then }
                    }
                }
            }
            Rare::Call(flow) => self.flow(*flow, due).await,
            Rare::Group { group, flow } => {
                let failed = self.failed;
                let went = self.flow(*flow, due).await;
                self.end_group(*group, due, went, self.failed != failed);
                went
            }
            Rare::Repeat(repeat) => self.repeat_flow(repeat, due).await,
            Rare::Parallel(flows) => self.side_by_side(flows, due).await,
            Rare::Custom(custom) => self.custom(custom, due).await,
            Rare::When(condition, step) => {
                if condition.holds(&self.values()) {
                    self.walk(std::slice::from_ref(step), due).await
                } else {
                    Went::on(due)
                }
            }
        }
    }

    /// Records a pass through a group, unless the end of the run cut it off.
    pub(super) fn end_group(&self, group: usize, begun: Nanos, went: Went, failed: bool) {
        if went.then == Then::CutOff || self.is_cut_off() {
            return;
        }
        let failed = failed || went.then == Then::EndIteration;
        let length = went.due.saturating_sub(begun);
        self.worker
            .meter
            .record_group(clock::now(), begun, group, failed, length);
    }

    async fn repeat_flow(&mut self, repeat: &CompiledRepeat, due: Nanos) -> Went {
        let list = match &repeat.passes {
            Passes::ForEach { items, .. } => items.list(&self.values()),
            Passes::Times(_) | Passes::While(_) => Vec::new(),
        };
        let passes = match &repeat.passes {
            Passes::Times(times) => *times,
            Passes::While(_) => u32::MAX,
            Passes::ForEach { .. } => u32::try_from(list.len()).unwrap_or(u32::MAX),
        };
        let mut went = Went::on(due);
        for pass in 0..passes {
            if let Passes::While(condition) = &repeat.passes
                && !condition.holds(&self.values())
            {
                break;
            }
            if pass >= repeat.max {
                self.worker.note_cut_off(repeat);
                break;
            }
            if let Passes::ForEach { item, .. } = &repeat.passes
                && let Some(text) = list.get(pass as usize)
            {
                self.remember(*item, Value::Text(Rc::clone(text)));
            }
            went = self.flow(repeat.flow, went.due).await;
            if went.then != Then::GoOn {
                break;
            }
            self.passes = self.passes.wrapping_add(1);
            if self.passes.is_multiple_of(PASSES_PER_TURN) {
                tokio::task::yield_now().await;
            }
        }
        went
    }

    /// Does flows at the same time, each over a connection of its own. All are part of the user's
    /// one task: whatever one of them waits for wakes all, which then look whether it was theirs.
    async fn side_by_side(&mut self, flows: &[usize], due: Nanos) -> Went {
        let mut branches = self.take_branches(flows.len());
        let mut passes: Vec<Pin<Box<dyn Future<Output = Went> + '_>>> = Vec::new();
        for (branch, flow) in branches.iter_mut().zip(flows) {
            passes.push(Box::pin(branch.flow(*flow, due)));
        }
        let mut all = Went::on(due);
        let mut left = passes.len();
        let mut passes: Vec<_> = passes.into_iter().map(Some).collect();
        poll_fn(|context| {
            for place in &mut passes {
                let Some(pass) = place else {
                    continue;
                };
                if let Poll::Ready(went) = pass.as_mut().poll(context) {
                    *place = None;
                    left -= 1;
                    all.due = all.due.max(went.due);
                    all.then = all.then.max(went.then);
                }
            }
            if left == 0 {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
        drop(passes);
        self.put_branches_back(branches);
        all
    }

    /// Draws the rows that an iteration needs; false when there are none any more.
    pub(super) fn draw_rows(&self, feeders: &[u32]) -> bool {
        let Some(memory) = &self.memory else {
            return true;
        };
        for number in feeders {
            let Some(feeder) = self.worker.feeders.get(*number) else {
                continue;
            };
            let mut memory = memory.borrow_mut();
            if feeder.is_for_life() && memory.row(*number).is_some() {
                continue;
            }
            let Some(index) = feeder.draw() else {
                return false;
            };
            // The table is counted once for each user, not for each of its iterations: others count
            // it, too.
            if !memory.turn_to_row(*number, index) {
                let table = Arc::clone(&feeder.table);
                memory.set_row(*number, Some(Row { table, index }));
            }
        }
        true
    }

    /// What texts and conditions are made of.
    pub(super) fn values(&self) -> Values<'_> {
        Values {
            user: self.index,
            iteration: self.iteration,
            scenario: self.scenario.number,
            // Of no request.
            step: 0,
            sequence: 0,
            memory: self.memory.as_deref(),
            shared: &self.worker.shared,
        }
    }

    pub(super) fn remember(&self, value: u32, to: Value) {
        if let Some(witness) = &self.worker.shared.inputs.witness {
            witness.set(&self.worker.shared.inputs, value, &to);
        }
        if let Some(memory) = &self.memory {
            memory.borrow_mut().set(value, to);
        }
    }
}
