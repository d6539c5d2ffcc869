//! The workers of a runner, from the control thread's side.

use std::{
    ops::RangeInclusive,
    sync::{Arc, mpsc as std_mpsc},
    thread,
};

use loadtest_core::{
    plan::{Plan, RawMode},
    series::SeriesSet,
    shard::Shard,
};
use tokio::sync::{mpsc, watch};

use super::{
    compile::{CompileError, Compiled},
    custom,
    feeder::{FeederError, Feeders},
    limits::{self, LimitError},
    meter::{FromWorker, RawLane},
    once::{Errand, Prepared},
    script::{AuthorizationError, Inputs, authorize},
    worker::{self, Assignment, Command},
};
use crate::{
    clock::WallAnchor,
    control::RunnerArgs,
    pool::{Anchor, MAX_WORKERS, Pool, PoolError, PoolOptions, leave_step_urls},
    step_kind::StepKinds,
};

/// Memory of the record pool for each worker, in blocks of 64 KiB: 4 MiB hold 300,000 requests, which
/// a worker at its limit sends in five seconds. What the exporter cannot take for longer than that is
/// on its disk.
const BLOCKS_PER_WORKER: u32 = 64;

/// Of the whole pool: from 16 MiB, a million requests, to 64 MiB.
const POOL_BLOCKS: RangeInclusive<u32> = 256..=1024;

/// Messages of one worker that may wait: a minute of windows.
const MESSAGES_PER_WORKER: usize = 64;

/// Why a runner cannot begin. The sentence becomes the run's message.
#[derive(Debug, thiserror::Error)]
pub enum SetUpError {
    /// The plan cannot be carried out.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// The plan has fewer runners than this one's number says.
    #[error("runner {index} is not one of the plan's {runners}")]
    NoSuchRunner {
        /// This runner.
        index: u32,
        /// The plan's.
        runners: u32,
    },
    /// The system does not allow as much as the users need.
    #[error(transparent)]
    Limits(#[from] LimitError),
    /// Nobody could prove to the target who they are.
    #[error(transparent)]
    Authorization(#[from] AuthorizationError),
    /// There are no rows of data.
    #[error(transparent)]
    Feeder(#[from] FeederError),
    /// The record pool cannot be made.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// The system refused something else.
    #[error("cannot start the workers: {0}")]
    System(#[from] std::io::Error),
}

/// Worker threads and the lines to them.
#[derive(Debug)]
pub struct Crew {
    /// What workers say.
    pub messages: mpsc::Receiver<FromWorker>,
    /// The record pool, when anything is exported.
    pub pool: Option<Pool>,
    compiled: Arc<Compiled>,
    feeders: Arc<Feeders>,
    /// The setup and the teardown, of runner 0, until they begin.
    prepared: [Option<Prepared>; 2],
    commands: watch::Sender<Command>,
    spares: Vec<std_mpsc::Sender<Box<SeriesSet>>>,
}

impl Crew {
    /// Starts the workers; they wait for the start.
    ///
    /// # Errors
    /// [`SetUpError`] when this runner cannot carry out its part of the plan.
    pub fn start(
        args: &RunnerArgs,
        plan: &Plan,
        kinds: &StepKinds,
        anchor: WallAnchor,
    ) -> Result<Self, SetUpError> {
        let runner = Shard {
            index: args.index,
            parts: plan.runners.max(1),
        };
        if runner.index >= runner.parts {
            let (index, runners) = (args.index, plan.runners);
            return Err(SetUpError::NoSuchRunner { index, runners });
        }
        let compiled = Arc::new(Compiled::new(plan, kinds)?);
        limits::check(plan, runner)?;
        let feeders = Arc::new(Feeders::load(plan, runner)?);
        authorize(plan, &compiled.inputs.authorization)?;
        let prepare = |errand| {
            if runner.index == 0 {
                Prepared::new(errand, plan, &compiled, &feeders, anchor)
            } else {
                Ok(None)
            }
        };
        let prepared = [prepare(Errand::SetUp)?, prepare(Errand::TearDown)?];
        let workers = worker_count();
        let pool = pool(args, (plan, kinds), workers, anchor)?;
        let (commands, watched) = watch::channel(Command::Wait);
        let (outbox, messages) = mpsc::channel(MESSAGES_PER_WORKER * workers as usize);
        let mut spares = Vec::new();
        for worker in 0..workers {
            let (spare, returned) = std_mpsc::channel();
            spares.push(spare);
            let assignment = Assignment {
                compiled: Arc::clone(&compiled),
                feeders: Arc::clone(&feeders),
                left: None,
                runner,
                worker,
                workers,
                anchor,
                raw: raw_lane(pool.as_ref(), plan, worker),
                commands: watched.clone(),
                outbox: outbox.clone(),
                spares: returned,
            };
            spawn(assignment)?;
        }
        Ok(Self {
            messages,
            pool,
            compiled,
            feeders,
            prepared,
            commands,
            spares,
        })
    }

    /// How many workers there are.
    pub fn workers(&self) -> usize {
        self.spares.len()
    }

    /// What texts are made of.
    pub fn inputs(&self) -> &Inputs {
        &self.compiled.inputs
    }

    /// Feeders that had no row left for somebody.
    pub fn exhausted(&self) -> Vec<u32> {
        self.feeders.exhausted()
    }

    /// Whether there is something that was not begun.
    pub fn has(&self, errand: Errand) -> bool {
        self.prepared
            .iter()
            .flatten()
            .any(|prepared| prepared.is(errand))
    }

    /// What is done once, to be begun; `None` if there is no such thing, or it has been taken.
    pub fn take(&mut self, errand: Errand) -> Option<Prepared> {
        let mut places = self.prepared.iter_mut();
        let place = places.find(|place| place.as_ref().is_some_and(|prepared| prepared.is(errand)));
        place.and_then(Option::take)
    }

    /// Tells all workers what to do.
    pub fn command(&self, command: Command) {
        self.commands.send_replace(command);
    }

    /// Gives a set back to the worker that filled it.
    pub fn give_back(&self, worker: usize, mut set: Box<SeriesSet>) {
        if let Some(spare) = self.spares.get(worker) {
            set.clear();
            // Fails only when the worker has ended.
            drop(spare.send(set));
        }
    }
}

/// The record pool, when anything is exported.
fn pool(
    args: &RunnerArgs,
    (plan, kinds): (&Plan, &StepKinds),
    workers: u32,
    anchor: WallAnchor,
) -> Result<Option<Pool>, SetUpError> {
    if !plan.results.exports() {
        return Ok(None);
    }
    let options = PoolOptions {
        workers,
        // Without raw records the pool only counts.
        blocks_per_worker: if plan.results.wants_raw() {
            let all = BLOCKS_PER_WORKER.saturating_mul(workers);
            (all.clamp(*POOL_BLOCKS.start(), *POOL_BLOCKS.end()) / workers).max(4)
        } else {
            2
        },
        anchor: Anchor {
            wall_ns: anchor.wall_ns,
            mono_ns: anchor.mono_ns,
        },
    };
    leave_step_urls(&args.pool, &custom::urls(plan, kinds)?)?;
    Ok(Some(Pool::create(&args.pool, options)?))
}

fn raw_lane(pool: Option<&Pool>, plan: &Plan, worker: u32) -> RawLane {
    let Some(pool) = pool else {
        return RawLane::None;
    };
    match plan.results.raw() {
        RawMode::All => RawLane::All(pool.writer(worker)),
        RawMode::None => RawLane::Counted(pool.writer(worker)),
        mode => RawLane::Chosen(pool.writer(worker), mode),
    }
}

fn spawn(assignment: Assignment) -> std::io::Result<()> {
    let number = assignment.worker as usize;
    let outbox = assignment.outbox.clone();
    thread::Builder::new()
        .name(format!("worker-{number}"))
        .spawn(move || {
            if let Err(error) = worker::run(assignment) {
                drop(outbox.blocking_send(FromWorker::Failed(number, error.to_string())));
            }
        })?;
    Ok(())
}

/// One per core that this process may use; cgroup quotas count.
fn worker_count() -> u32 {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    u32::try_from(cores)
        .unwrap_or(MAX_WORKERS)
        .clamp(1, MAX_WORKERS)
}
