//! One scenario as one worker carries it out: its phase, its users, its schedule.

use std::{
    cell::{Cell, RefCell},
    task::{Context, Waker},
};

use loadtest_core::shard::Shard;

use super::{
    compile::{Compiled, CompiledScenario},
    feeder::{Feeder, Feeders},
    model::{ClosedModel, Model, OpenModel},
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
    /// Requests that the iteration has begun, over all connections of the user.
    pub requests: Cell<u32>,
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
            requests: Cell::new(0),
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

/// Tells the random numbers of arrivals from those of tasks and pauses.
const ARRIVALS: u64 = 0x6172_7269;

/// A scenario on a worker.
#[derive(Debug)]
pub struct ScenarioRun {
    /// Index in the plan.
    pub index: usize,
    /// Its number in traces.
    pub number: u32,
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
    /// How iterations come about.
    pub model: Model,
    /// When the last user ended, of a load that may end before its time.
    pub ended: Cell<Nanos>,
    /// When a user was last done with its iterations.
    iterated: Cell<Nanos>,
    /// Feeders that it ends with.
    dries_with: Box<[u32]>,
}

/// After the end of a schedule, arrivals that wait for a user begin as long as the next in turn is no
/// later than this: a short stall at the very end loses nothing, and a target that is overrun is not
/// loaded for longer than was asked for. Nobody overtakes one that is later: whoever came behind it
/// would have a latency that no visitor of such a queue has. All of them are counted as scheduled.
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
        let seed = [
            compiled.seed,
            u64::from(runner.index),
            u64::from(worker),
            index as u64,
        ];
        let load = &scenario.load;
        let (users, max_users, model) = if let Some((schedule, arrivals)) = load.arrivals() {
            // Every worker that has arrivals needs a user for them.
            let of_runner = runner.share(u64::from(load.max_users())).max(1);
            let workers = workers.min(u32::try_from(of_runner).unwrap_or(u32::MAX));
            if worker >= workers {
                return None;
            }
            let part = runner.split(worker, workers);
            let rng = Rng::new(&[ARRIVALS, seed[0], seed[1], seed[2], seed[3]]);
            let open = OpenModel::new(schedule, arrivals, part, rng);
            let users = part.share(u64::from(load.max_users())).max(1);
            (part, users, Model::Open(open))
        } else {
            let part = runner.split(worker, workers);
            let users = part.share(u64::from(load.max_users()));
            (
                part,
                users,
                Model::Closed(ClosedModel::new(load, part, users)),
            )
        };
        let weights = scenario.tasks.iter().map(|task| task.weight).collect();
        Some(Self {
            index,
            number: compiled.first_number.wrapping_add(index as u32),
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
            model,
            ended: Cell::new(0),
            iterated: Cell::new(0),
            dries_with: scenario.dries_with.clone(),
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

    /// A user is done with its iterations.
    pub fn iterated(&self, now: Nanos) {
        self.iterated.set(now);
    }

    /// All users have ended before the time of the load was over.
    pub fn ended(&self, now: Nanos) {
        // What they do after their last iteration is no load.
        self.ended.set(match self.iterated.get() {
            0 => now,
            iterated => iterated,
        });
    }

    /// Whether it may end for want of rows.
    #[inline]
    pub fn may_run_dry(&self) -> bool {
        !self.dries_with.is_empty()
    }

    /// Whether there are no rows for another iteration.
    pub fn is_dry(&self, feeders: &Feeders) -> bool {
        let mut dries_with = self.dries_with.iter();
        dries_with.any(|feeder| feeders.get(*feeder).is_some_and(Feeder::is_exhausted))
    }

    /// When the next arrival is due, if there is one left.
    pub fn next_arrival(&self, open: &OpenModel) -> Option<Nanos> {
        let due = self.start.get().saturating_add(open.next()?);
        (due < self.stop.get()).then_some(due)
    }

    /// The intended start that has waited longest for a user, if it may begin now.
    pub fn take_waiting(&self, open: &OpenModel, now: Nanos) -> Option<Nanos> {
        let intended = self.start.get().saturating_add(open.longest_waiting()?);
        let lateness = now.saturating_sub(intended);
        let may_begin = match self.phase.get() {
            Phase::Running => true,
            Phase::Stopping => self.may_begin_late.get() && lateness <= LATEST_BEGIN,
            Phase::Waiting | Phase::Aborting => false,
        };
        may_begin.then(|| {
            open.end_wait();
            intended
        })
    }

    /// The open model, if it is one.
    pub fn open(&self) -> Option<&OpenModel> {
        match &self.model {
            Model::Open(open) => Some(open),
            Model::Closed(_) => None,
        }
    }

    /// The closed model, if it is one.
    pub fn closed(&self) -> Option<&ClosedModel> {
        match &self.model {
            Model::Open(_) => None,
            Model::Closed(closed) => Some(closed),
        }
    }

    /// When no more iterations began: its planned end, or before that the end of the last of a
    /// number of iterations.
    pub fn load_end(&self) -> Nanos {
        match self.ended.get() {
            0 => self.stop.get(),
            ended => ended.min(self.stop.get()),
        }
    }

    /// Whether nothing of it will happen any more.
    pub fn is_over(&self) -> bool {
        self.phase.get() >= Phase::Stopping && self.alive.get() == 0
    }
}
