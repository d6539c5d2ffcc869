//! A virtual user: a task with its own connection that does one iteration after the other.

use std::{cell::RefCell, future::poll_fn, rc::Rc, task::Poll};

use loadtest_core::schedule::UserLevels;

use super::{
    connection::Connection,
    flow::Then,
    model::{ClosedModel, Model, OpenModel},
    scenario::{Phase, ScenarioRun, Seat},
    script::Memory,
    steps::{CompiledFlows, CompiledTask, Rest, Wait},
    timers::Timers,
    worker::Worker,
};
use crate::clock::{self, MILLI, Nanos};

/// How long a user of a closed model rests after it could not connect, so that a dead target does
/// not make it spin. Open models need no rest: their schedule is their pace.
pub const REST_AFTER_FAILED_CONNECT: Nanos = 100 * MILLI;

/// How long a user of a closed model rests after an iteration in which no condition was so and
/// nothing was waited for. It would spin otherwise.
const REST_AFTER_NOTHING: Nanos = MILLI;

/// One user of a scenario, or what it does beside other things: then it has a seat and a
/// connection of its own.
pub struct User {
    pub(super) worker: Rc<Worker>,
    pub(super) scenario: Rc<ScenarioRun>,
    pub(super) seat: Rc<Seat>,
    /// Of the user itself; its requests are counted there.
    pub(super) lead: Rc<Seat>,
    pub(super) connection: Connection,
    /// Number over all runners.
    pub(super) index: u32,
    /// Number of the iteration under way, or of the next.
    pub(super) iteration: u32,
    /// Requests of its own that failed.
    pub(super) failed: u32,
    /// Passes of repeated flows: after some of them others get a turn.
    pub(super) passes: u32,
    /// Place of a check that is not part of the judgement of the request under way. As long as it
    /// does not hold, nothing is taken out of the answer.
    pub(super) aside: Option<u16>,
    /// It has done what comes before the first iteration.
    begun: bool,
    /// What it remembers, in a plan in which there is something.
    pub(super) memory: Option<Rc<RefCell<Memory>>>,
    /// What has been done side by side, kept for the next time.
    #[allow(
        clippy::box_collection,
        reason = "few users have any, and all have the place for it"
    )]
    branches: Option<Box<Vec<Self>>>,
}

/// Lives until its scenario stops.
pub async fn live(worker: Rc<Worker>, scenario: Rc<ScenarioRun>, seat: Rc<Seat>, index: u32) {
    let mut user = User::new(worker, scenario, seat, index);
    let scenario = Rc::clone(&user.scenario);
    match &scenario.model {
        Model::Open(open) => user.live_open(open).await,
        Model::Closed(closed) => user.live_closed(closed).await,
    }
    scenario.iterated(clock::now());
    if user.begun {
        Box::pin(user.do_last()).await;
    }
    user.leave();
    user.worker.user_ended(&scenario);
}

impl User {
    fn new(worker: Rc<Worker>, scenario: Rc<ScenarioRun>, seat: Rc<Seat>, index: u32) -> Self {
        Self {
            memory: worker.new_memory(),
            worker,
            scenario,
            lead: Rc::clone(&seat),
            seat,
            connection: Connection::default(),
            index,
            iteration: 0,
            failed: 0,
            passes: 0,
            aside: None,
            begun: false,
            branches: None,
        }
    }

    /// Open model: begins an iteration for each arrival that it is given.
    async fn live_open(&mut self, open: &OpenModel) {
        let worker = Rc::clone(&self.worker);
        loop {
            let Some((intended, waited)) = self.next_arrival(open).await else {
                return;
            };
            let Some(task) = self.prepare(&worker) else {
                return worker.out_of_rows();
            };
            if self.scenario.may_run_dry() {
                worker.count_start(intended, clock::now(), waited);
            }
            worker.user_is_busy(true);
            self.iterate(task, intended).await;
            self.end_iteration(&worker);
            worker.user_is_busy(false);
        }
    }

    /// Closed model: begins the next iteration when the one before has ended.
    async fn live_closed(&mut self, closed: &ClosedModel) {
        let worker = Rc::clone(&self.worker);
        let start = self.scenario.start.get();
        if let Some(levels) = &closed.levels {
            while let Some(comes) = self.next_presence(levels).await {
                let leaves = start + levels.leaves(self.index, comes);
                worker.user_is_busy(true);
                // What it would have waited for, had it stayed, is no matter any more.
                let goes_on = self.repeat(closed, start + comes, leaves).await;
                worker.user_is_busy(false);
                self.close();
                // It is still there, and would ask for a row again and again.
                if !goes_on {
                    return;
                }
            }
        } else {
            worker.user_is_busy(true);
            self.repeat(closed, start, Nanos::MAX).await;
            worker.user_is_busy(false);
        }
    }

    /// Iterations one after the other, none of which begins at `leaves` or later. False when there
    /// was no row for another.
    async fn repeat(&mut self, closed: &ClosedModel, begin: Nanos, leaves: Nanos) -> bool {
        let worker = Rc::clone(&self.worker);
        let mut due = begin;
        while self.scenario.phase.get() == Phase::Running
            && (leaves == Nanos::MAX || clock::now() < leaves)
            && closed.take(self.iteration.into())
        {
            let Some(task) = self.prepare(&worker) else {
                closed.put_back();
                worker.out_of_rows();
                return false;
            };
            if closed.counts_iterations() {
                worker.meter.count(clock::now(), due, |set| {
                    set.scheduled += 1;
                    set.started += 1;
                });
            }
            let (ended, rest) = self.iterate(task, due).await;
            self.end_iteration(&worker);
            let next = match rest {
                None if ended <= due => Timers::grid(clock::now() + REST_AFTER_NOTHING),
                None => ended,
                Some(Rest::Think(wait)) => self.draw_end(ended, wait),
                Some(Rest::Pace(length)) => Timers::grid(due + length).max(ended),
            };
            due = next;
            if due > ended {
                self.wait_until(due.min(leaves), Phase::Stopping).await;
            }
        }
        true
    }

    /// When the user is there again, from the start of the load; waits for it. `None` when it
    /// never is, or the load is over.
    async fn next_presence(&self, levels: &UserLevels) -> Option<Nanos> {
        let start = self.scenario.start.get();
        let comes = levels.next_presence(self.index, clock::now().saturating_sub(start))?;
        self.wait_until(start + comes, Phase::Stopping).await;
        (self.scenario.phase.get() == Phase::Running).then_some(comes)
    }

    /// The intended start of the next iteration and whether it has waited for a user; `None` when
    /// no more begin.
    async fn next_arrival(&self, open: &OpenModel) -> Option<(Nanos, bool)> {
        if let Some(intended) = self.seat.arrival.take() {
            return Some((intended, false));
        }
        let now = clock::now();
        if let Some(intended) = self.scenario.take_waiting(open, now) {
            if !self.scenario.may_run_dry() {
                self.worker.count_start(intended, now, true);
            }
            return Some((intended, true));
        }
        if self.scenario.phase.get() == Phase::Running {
            open.idle.borrow_mut().push(self.seat.slot);
        }
        let arrival = poll_fn(|context| {
            self.seat.register(context);
            match self.seat.arrival.take() {
                Some(intended) => Poll::Ready(Some(intended)),
                None if self.scenario.phase.get() >= Phase::Stopping => Poll::Ready(None),
                None => Poll::Pending,
            }
        });
        Some((arrival.await?, false))
    }

    /// Chooses the task of the next iteration and draws its rows; `None` when there are no more.
    fn prepare<'w>(&self, worker: &'w Worker) -> Option<&'w CompiledTask> {
        let number = self.scenario.deck.borrow_mut().draw()?;
        let scenario = worker.compiled.scenarios.get(self.scenario.index)?;
        let task = scenario.tasks.get(number)?;
        let feeders = if self.begun {
            &task.feeders
        } else {
            &task.first_feeders
        };
        (feeders.is_empty() || self.draw_rows(feeders)).then_some(task)
    }

    /// One pass through a task, before the first one what comes before all. Returns when it ended
    /// and how to rest afterwards.
    async fn iterate(&mut self, task: &CompiledTask, intended: Nanos) -> (Nanos, Option<Rest>) {
        let worker = Rc::clone(&self.worker);
        self.lead.requests.set(0);
        let mut due = intended;
        let mut then = Then::GoOn;
        if !self.begun {
            self.begun = true;
            if let Some(flow) = self.flows(&worker).and_then(|flows| flows.on_start) {
                let went = Box::pin(self.flow(flow, due)).await;
                then = went.then;
                // An arrival has waited for it.
                if self.scenario.closed().is_some() {
                    due = went.due;
                }
            }
        }
        if then == Then::GoOn {
            let went = self.walk(&task.steps, due).await;
            (due, then) = (went.due, went.then);
        }
        if !self.is_cut_off() {
            let failed = then != Then::GoOn;
            // The last step has ended just now, at that time.
            worker.meter.count(due, intended, |set| {
                set.iterations += 1;
                set.iterations_failed += u64::from(failed);
            });
            if !failed {
                worker.keep_what_is_left(self.memory.as_deref());
            }
        }
        (due, task.rest)
    }

    /// Does what comes after the last iteration.
    async fn do_last(&mut self) {
        let worker = Rc::clone(&self.worker);
        let Some(flow) = self.flows(&worker).and_then(|flows| flows.on_stop) else {
            return;
        };
        if !self.is_cut_off() {
            self.iteration = self.iteration.saturating_sub(1);
            self.flow(flow, clock::now()).await;
        }
    }

    fn flows<'w>(&self, worker: &'w Worker) -> Option<&'w CompiledFlows> {
        let scenario = worker.compiled.scenarios.get(self.scenario.index);
        scenario.map(|scenario| &scenario.flows)
    }

    fn end_iteration(&mut self, worker: &Worker) {
        self.iteration = self.iteration.wrapping_add(1);
        if let Some(memory) = &self.memory {
            memory.borrow_mut().end_iteration(&worker.shared.inputs);
        }
        if let Some(compiled) = worker.compiled.scenarios.get(self.scenario.index) {
            self.end_iteration_of_connections(compiled);
        }
    }

    pub(super) fn draw_end(&self, from: Nanos, wait: Wait) -> Nanos {
        let length = self.scenario.deck.borrow_mut().between(wait.min, wait.max);
        if length == 0 {
            from
        } else {
            Timers::grid(from + length)
        }
    }

    /// Whether what is under way is to end at once.
    pub(super) fn is_cut_off(&self) -> bool {
        self.scenario.phase.get() == Phase::Aborting
    }

    /// Waits until a time, or until the scenario has reached a phase.
    pub(super) async fn wait_until(&self, at: Nanos, phase: Phase) {
        if clock::now() >= at {
            return;
        }
        self.worker.timers.add(at, self.seat.slot);
        poll_fn(|context| {
            self.seat.register(context);
            if clock::now() >= at || self.scenario.phase.get() >= phase {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }
}

/// What a user does side by side.
impl User {
    /// So many of itself, each with a seat and connection of its own, those of the last time
    /// first.
    pub(super) fn take_branches(&mut self, count: usize) -> Vec<Self> {
        let mut branches = self.branches.take().map(|kept| *kept).unwrap_or_default();
        while branches.len() < count {
            branches.push(Self {
                worker: Rc::clone(&self.worker),
                scenario: Rc::clone(&self.scenario),
                seat: self.worker.take_seat(self.scenario.index, None),
                lead: Rc::clone(&self.lead),
                connection: Connection::default(),
                index: self.index,
                iteration: 0,
                failed: 0,
                passes: 0,
                aside: None,
                begun: true,
                memory: self.memory.clone(),
                branches: None,
            });
        }
        for branch in &mut branches {
            branch.iteration = self.iteration;
            branch.failed = 0;
            branch.connection.share_cookies(&mut self.connection);
        }
        branches
    }

    /// They have ended.
    pub(super) fn put_branches_back(&mut self, branches: Vec<Self>) {
        let failed = branches.iter().map(|branch| branch.failed).sum();
        self.failed = self.failed.wrapping_add(failed);
        self.branches = Some(Box::new(branches));
    }

    /// Closes all connections.
    fn close(&mut self) {
        self.connection.close();
        for branch in self.branches.iter_mut().flat_map(|kept| kept.iter_mut()) {
            branch.close();
        }
    }

    fn end_iteration_of_connections(&mut self, scenario: &super::compile::CompiledScenario) {
        self.connection.end_iteration(scenario);
        for branch in self.branches.iter_mut().flat_map(|kept| kept.iter_mut()) {
            branch.end_iteration_of_connections(scenario);
        }
    }

    /// The user is gone for good; others may have the seats of its branches.
    fn leave(&mut self) {
        self.connection.close();
        for mut branch in self.branches.take().map(|kept| *kept).unwrap_or_default() {
            branch.leave();
            self.worker.give_seat_back(branch.seat);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_result<A, B, C, D, F>(_: impl Fn(A, B, C, D) -> F) -> usize {
        size_of::<F>()
    }

    /// Ten thousand users are ten thousand of these: what is rare is boxed instead.
    #[test]
    fn a_user_is_small() {
        let size = size_of_result(live);
        assert!(size <= 1_024, "{size} bytes");
    }
}
