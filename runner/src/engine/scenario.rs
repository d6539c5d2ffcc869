//! One scenario as one worker carries it out: its phase, its users, its schedule.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    task::{Context, Waker},
};

use loadtest_core::{
    plan::Load,
    schedule::{ARRIVAL, Schedule},
    shard::Shard,
};

use super::{
    compile::{Compiled, CompiledScenario},
    rng::{Deck, Rng},
};
use crate::clock::{Nanos, SECOND};

/// Where a scenario stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Its time has not come.
    Waiting,
    /// Iterations begin.
    Running,
    /// No iteration begins any more; those under way may end.
    Stopping,
    /// Iterations under way are cut off.
    Aborting,
}

/// What the loop and a user share of the user.
#[derive(Debug)]
pub struct Seat {
    /// Number of the user on this worker.
    pub slot: u32,
    /// Index of its scenario.
    pub scenario: usize,
    /// The request under way has run out of time.
    pub timed_out: Cell<bool>,
    /// Open models: the intended start of the iteration to begin.
    pub arrival: Cell<Option<Nanos>>,
    waker: RefCell<Option<Waker>>,
}

impl Seat {
    /// For a new user.
    pub fn new(slot: u32, scenario: usize, arrival: Option<Nanos>) -> Self {
        Self {
            slot,
            scenario,
            timed_out: Cell::new(false),
            arrival: Cell::new(arrival),
            waker: RefCell::new(None),
        }
    }

    /// To be called before a user waits for anything, or the loop could not reach it.
    #[inline]
    pub fn register(&self, context: &Context<'_>) {
        let mut waker = self.waker.borrow_mut();
        // A task keeps its waker for life, so this clones once.
        if !waker
            .as_ref()
            .is_some_and(|known| known.will_wake(context.waker()))
        {
            *waker = Some(context.waker().clone());
        }
    }

    /// Makes the user look around.
    pub fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }
}

/// A scenario on a worker.
#[derive(Debug)]
pub struct ScenarioRun {
    /// Index in the plan.
    pub index: usize,
    /// Where it stands.
    pub phase: Cell<Phase>,
    /// When it begins; set with the start of the run.
    pub start: Cell<Nanos>,
    /// When no more iterations begin.
    pub stop: Cell<Nanos>,
    /// When iterations under way are cut off.
    pub abort: Cell<Nanos>,
    /// Whether the schedule ended by itself, so that arrivals that wait may still begin.
    pub may_begin_late: Cell<bool>,
    /// Users that have not ended.
    pub alive: Cell<u32>,
    /// Users ever made.
    pub made: Cell<u32>,
    /// Chooses tasks and lengths of pauses.
    pub deck: RefCell<Deck>,
    /// This worker's part of the users.
    pub users: Shard,
    /// Most users of this worker.
    pub max_users: u32,
    /// Open models only.
    pub open: Option<OpenModel>,
}

/// What an open model needs besides.
#[derive(Debug)]
pub struct OpenModel {
    /// This worker's part of the schedule.
    pub arrivals: Schedule,
    /// Number of the next arrival.
    pub next: Cell<u64>,
    /// Users that wait for an arrival; the one that came last goes first, so that as few
    /// connections as possible are in use.
    pub idle: RefCell<Vec<u32>>,
    /// Intended starts that wait for a user.
    pub queue: RefCell<VecDeque<Nanos>>,
    /// Shortest time between two wake-ups for arrivals.
    pub gap: Nanos,
}

/// Arrivals of one worker per second from which on wake-ups are bundled, and into what: arming
/// the timer for each arrival costs 35 % of a core at 10,000/s.
const BUNDLED_FROM: f64 = 1_000.0;
const BUNDLE: Nanos = 100_000;

/// After the end of a schedule, arrivals that wait for a user begin if they are no later than
/// this: a short stall at the very end loses nothing, and a target that is overrun is not loaded
/// for longer than was asked for.
const LATEST_BEGIN: Nanos = SECOND;

impl ScenarioRun {
    /// This worker's part of the runner's part.
    pub fn new(
        compiled: &Compiled,
        index: usize,
        runner: Shard,
        worker: u32,
        workers: u32,
    ) -> Option<Self> {
        let scenario = compiled.scenarios.get(index)?;
        let (users, max_users, open) = match &scenario.load {
            Load::ConstantUsers { users, .. } => {
                let part = runner.split(worker, workers);
                (part, part.share(u64::from(*users)), None)
            }
            Load::ConstantRate {
                rate,
                duration,
                max_users,
                ..
            } => {
                // Every worker that has arrivals needs a user for them.
                let of_runner = runner.share(u64::from(*max_users)).max(1);
                let workers = workers.min(u32::try_from(of_runner).unwrap_or(u32::MAX));
                let part = runner.split(worker, workers);
                if worker >= workers {
                    (part, 0, None)
                } else {
                    let per_worker = rate.per_second() / f64::from(part.parts);
                    let open = OpenModel {
                        arrivals: Schedule::constant(*rate, *duration),
                        next: Cell::new(0),
                        idle: RefCell::default(),
                        queue: RefCell::default(),
                        gap: if per_worker > BUNDLED_FROM { BUNDLE } else { 0 },
                    };
                    (part, part.share(u64::from(*max_users)).max(1), Some(open))
                }
            }
            _ => return None,
        };
        let weights = scenario.tasks.iter().map(|task| task.weight).collect();
        let seed = [
            compiled.seed,
            u64::from(runner.index),
            u64::from(worker),
            index as u64,
        ];
        Some(Self {
            index,
            phase: Cell::new(Phase::Waiting),
            start: Cell::new(Nanos::MAX),
            stop: Cell::new(Nanos::MAX),
            abort: Cell::new(Nanos::MAX),
            may_begin_late: Cell::new(false),
            alive: Cell::new(0),
            made: Cell::new(0),
            deck: RefCell::new(Deck::new(weights, Rng::new(&seed))),
            users,
            max_users: u32::try_from(max_users).unwrap_or(u32::MAX),
            open,
        })
    }

    /// Sets all times from the start of the run.
    pub fn schedule(&self, scenario: &CompiledScenario, run_start: Nanos, max_duration: Nanos) {
        let hard_end = run_start.saturating_add(max_duration);
        let start = run_start.saturating_add(scenario.start_after);
        let duration = super::compile::nanos(scenario.load.duration());
        let stop = start.saturating_add(duration).min(hard_end);
        self.start.set(start.min(hard_end));
        self.stop.set(stop);
        self.abort.set(stop.saturating_add(scenario.graceful_stop));
        self.may_begin_late.set(stop < hard_end);
    }

    /// Somebody stops the run before its time.
    pub fn stop_early(&self, now: Nanos, graceful_stop: Nanos) {
        self.may_begin_late.set(false);
        if self.stop.get() > now {
            self.stop.set(now);
            self.start.set(self.start.get().min(now));
            self.abort.set(now.saturating_add(graceful_stop));
        }
    }

    /// When its next arrival is due, if it is an open model and has one left.
    pub fn next_arrival(&self) -> Option<Nanos> {
        let open = self.open.as_ref()?;
        let due = self.start.get().saturating_add(
            open.arrivals
                .due(u128::from(self.users.global(open.next.get())) * ARRIVAL)?,
        );
        (due < self.stop.get()).then_some(due)
    }

    /// The intended start that has waited longest for a user, if it may begin now.
    pub fn take_waiting(&self, open: &OpenModel, now: Nanos) -> Option<Nanos> {
        let mut queue = open.queue.borrow_mut();
        let lateness = now.saturating_sub(*queue.front()?);
        let may_begin = match self.phase.get() {
            Phase::Running => true,
            Phase::Stopping => self.may_begin_late.get() && lateness <= LATEST_BEGIN,
            Phase::Waiting | Phase::Aborting => false,
        };
        if may_begin { queue.pop_front() } else { None }
    }

    /// Whether nothing of it will happen any more.
    pub fn is_over(&self) -> bool {
        self.phase.get() >= Phase::Stopping && self.alive.get() == 0
    }
}
