//! The control thread: talks to the coordinator, starts and stops the workers, sums what they
//! measure.
//!
//! The coordinator may be away at any time: the load goes on by the plan alone, and reports are
//! tried again for ever. Only before the start and after the end is there a limit to patience,
//! since then nothing else would end the process.

mod errands;

use std::time::Duration;

use loadtest_core::{
    plan::Plan,
    report::{Desired, EngineReport, EngineState},
};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::Instant,
};

use errands::Errands;

use super::{
    compile::nanos,
    crew::{Crew, SetUpError},
    health::Health,
    lane::Lane,
    meter::{FromWorker, Window},
    once::Errand,
    rng::Rng,
    samples::Admission,
    tally::{Intervals, Tally},
    worker::Command,
};
use crate::{
    clock::{self, Nanos, RemoteClock, WallAnchor},
    control::{Control, ControlError, Exchange, RunnerArgs},
    pool::{AggregateWriter, Interval, Pool},
    step_kind::StepKinds,
};

/// Time between two reports.
const REPORT_EVERY: Duration = Duration::from_secs(1);

/// Time between the first reports, from which the coordinator's clock is learnt, and between the
/// last ones, while the other runners end.
const HASTY_REPORT_EVERY: Duration = Duration::from_millis(250);

/// How many reports are hasty at the beginning.
const HASTY_REPORTS: u32 = 4;

/// Longest pause after reports that failed.
const LONGEST_BACKOFF: Duration = Duration::from_secs(5);

/// How long a coordinator may be silent before the start and after the end.
const PATIENCE: Duration = Duration::from_mins(5);

/// How long an engine whose work is done waits until the exporter's memory has room for the last
/// intervals: an exporter that can give memory back does so within a second.
const LANE_PATIENCE: Duration = Duration::from_secs(10);

/// How a driver's work ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The coordinator has everything.
    Acknowledged,
    /// The coordinator has the failure.
    Failed(String),
    /// The coordinator fell silent for good.
    Silence,
}

/// Drives one engine.
#[derive(Debug)]
pub struct Driver {
    args: RunnerArgs,
    plan: Plan,
    anchor: WallAnchor,
    control: Control,
    remote: RemoteClock,
    crew: Option<Crew>,
    workers_left: usize,
    tally: Tally,
    intervals: Option<Intervals>,
    lane: Option<Lane>,
    samples: Admission,
    health: Health,
    users: Vec<u32>,
    state: EngineState,
    start: Option<Nanos>,
    began: Option<Nanos>,
    load_end: Nanos,
    stopped: bool,
    interrupted: bool,
    failure: Option<String>,
    errands: Errands,
    rng: Rng,
    last_answer: Instant,
    failed_reports: u32,
    reports: u32,
}

impl Driver {
    /// Prepares everything up to the start. What cannot be prepared becomes the failure that is
    /// reported.
    ///
    /// # Errors
    /// When there is no way to report at all.
    pub fn new(args: RunnerArgs, plan: Plan, kinds: &StepKinds) -> Result<Self, ControlError> {
        let control = Control::new(&args, &plan.run.id, loadtest_core::report::Part::Engine)?;
        let anchor = WallAnchor::now();
        let set_up = Crew::start(&args, &plan, kinds, anchor)
            .and_then(|crew| Ok((crew.pool.as_ref().map(Pool::aggregates).transpose()?, crew)));
        let mut driver = Self {
            rng: Rng::new(&[clock::now(), u64::from(args.index)]),
            args,
            plan,
            anchor,
            control,
            remote: RemoteClock::default(),
            crew: None,
            workers_left: 0,
            tally: Tally::default(),
            intervals: None,
            lane: None,
            samples: Admission::default(),
            health: Health::new(0),
            users: Vec::new(),
            state: EngineState::Ready,
            start: None,
            began: None,
            load_end: 0,
            stopped: false,
            interrupted: false,
            failure: None,
            errands: Errands::default(),
            last_answer: Instant::now(),
            failed_reports: 0,
            reports: 0,
        };
        match set_up {
            Ok((aggregates, crew)) => driver.adopt(crew, aggregates),
            Err(error) => driver.fail(&error),
        }
        Ok(driver)
    }

    fn adopt(&mut self, crew: Crew, aggregates: Option<AggregateWriter>) {
        let workers = crew.workers();
        self.workers_left = workers;
        self.users = vec![0; workers];
        self.health = Health::new(workers);
        let length = nanos(self.plan.results.interval);
        self.intervals = aggregates
            .is_some()
            .then(|| Intervals::new(self.anchor, length, workers));
        self.lane = aggregates.map(Lane::new);
        self.crew = Some(crew);
    }

    fn fail(&mut self, error: &SetUpError) {
        tracing::error!(%error, "cannot begin");
        self.failure = Some(error.to_string());
        self.state = EngineState::Finished;
    }

    /// Drives until the coordinator has the final report.
    ///
    /// # Errors
    /// When signals cannot be listened for.
    pub async fn run(mut self) -> std::io::Result<End> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut next_report = Instant::now();
        let mut in_flight = std::pin::pin!(None);
        loop {
            if in_flight.is_none() && Instant::now() >= next_report {
                self.observe_schedule();
                self.hand_over_the_rest();
                let control = self.control.clone();
                let report = self.report();
                in_flight.set(Some(async move { control.send(&report).await }));
            }
            tokio::select! {
                message = next_message(&mut self.crew) => {
                    if self.heed(message) {
                        // The end is worth a report of its own.
                        next_report = Instant::now();
                    }
                }
                result = async {
                    match in_flight.as_mut().as_pin_mut() {
                        Some(future) => future.await,
                        None => std::future::pending().await,
                    }
                } => {
                    in_flight.set(None);
                    if let Some(end) = self.answered(result) {
                        self.end_lane().await;
                        return Ok(end);
                    }
                    next_report = Instant::now() + self.pause();
                }
                (errand, result) = self.errands.ended() => {
                    self.heed_errand(errand, result);
                    next_report = Instant::now();
                }
                () = tokio::time::sleep_until(next_report), if in_flight.is_none() => {}
                () = signalled(&mut terminate, &mut interrupt) => self.signalled(),
            }
        }
    }

    /// Takes what a worker says; true when the load is over with it.
    fn heed(&mut self, message: FromWorker) -> bool {
        let was = self.state;
        match message {
            FromWorker::Began(at) => {
                self.began = Some(self.began.map_or(at, |began| began.max(at)));
                if self.state == EngineState::Ready {
                    self.state = EngineState::Running;
                }
            }
            FromWorker::Window(window) => self.add(window),
            FromWorker::Ended { worker, load_end } => {
                self.load_end = self.load_end.max(load_end);
                self.worker_ended(worker);
            }
            FromWorker::Failed(worker, error) => {
                tracing::error!(worker, error, "a worker could not go on");
                self.failure
                    .get_or_insert(format!("a worker could not go on: {error}"));
                self.stop();
                self.worker_ended(worker);
            }
        }
        let over = |state| matches!(state, EngineState::LoadDone | EngineState::Finished);
        over(self.state) && !over(was)
    }

    fn add(&mut self, window: Window) {
        self.tally.add(&window.set, window.warm_up.as_deref());
        self.health.add(&window);
        if let Some(users) = self.users.get_mut(window.worker) {
            *users = window.users;
        }
        if let Some(intervals) = &mut self.intervals {
            intervals.add(&window);
        }
        if let Some(crew) = &self.crew {
            crew.give_back(window.worker, window.set);
            if let Some(warm_up) = window.warm_up {
                crew.give_back(window.worker, warm_up);
            }
        }
        self.samples.add(window.end, window.samples);
        self.hand_over();
    }

    fn worker_ended(&mut self, worker: usize) {
        self.workers_left = self.workers_left.saturating_sub(1);
        if let Some(intervals) = &mut self.intervals {
            intervals.worker_ended(worker);
        }
        self.hand_over();
        self.may_be_over();
    }

    /// To the exporter: what all workers have told everything of.
    fn hand_over(&mut self) {
        let (Some(lane), Some(intervals)) = (&mut self.lane, &mut self.intervals) else {
            return;
        };
        let Some(pool) = self.crew.as_ref().and_then(|crew| crew.pool.as_ref()) else {
            return;
        };
        for sample in self.samples.take_until(intervals.reached()) {
            lane.push_sample(sample);
        }
        while let Some(closed) = intervals.take_closed() {
            lane.push(Interval {
                sequence: 0,
                start_us: self.anchor.unix_micros(closed.begin),
                end_us: self.anchor.unix_micros(closed.end),
                partial: closed.partial,
                stage: closed.stage,
                set: closed.set,
                users: self.users.iter().sum(),
                records: pool.counts(),
                health: self.health.read(pool.high_water()),
            });
        }
    }

    /// Tries again what the exporter's memory had no room for. When all is handed over and no more
    /// will come, the exporter learns it.
    fn hand_over_the_rest(&mut self) {
        let is_empty = self.lane.as_mut().is_none_or(|lane| {
            lane.write();
            lane.is_empty()
        });
        if is_empty
            && self.workers_left == 0
            && let Some(pool) = self.crew.as_ref().and_then(|crew| crew.pool.as_ref())
        {
            pool.finish();
        }
    }

    /// Before the engine leaves: waits a moment for room.
    async fn end_lane(&mut self) {
        let patience = Instant::now() + LANE_PATIENCE;
        self.hand_over_the_rest();
        while let Some(lane) = self.lane.as_ref().filter(|lane| !lane.is_empty()) {
            if Instant::now() >= patience {
                return lane.give_up();
            }
            tokio::time::sleep(HASTY_REPORT_EVERY).await;
            self.hand_over_the_rest();
        }
    }

    /// The plan's own end: from then on nothing new begins.
    fn observe_schedule(&mut self) {
        let over = self.start.is_some_and(|start| {
            clock::now() >= start.saturating_add(nanos(self.plan.load_duration()))
        });
        if over && self.state == EngineState::Running {
            self.state = EngineState::Stopping;
        }
    }

    /// A number of iterations was made before the planned end.
    fn ended_before_its_time(&self) -> bool {
        let planned = |start: Nanos| start.saturating_add(nanos(self.plan.load_duration()));
        self.began.is_some()
            && self
                .start
                .is_some_and(|start| self.load_end < planned(start))
    }

    fn report(&mut self) -> EngineReport {
        let pool = self.crew.as_ref().and_then(|crew| crew.pool.as_ref());
        let (records, high_water) =
            pool.map_or_else(Default::default, |pool| (pool.counts(), pool.high_water()));
        // The final state goes with the last numbers, never before them.
        let state = if self.state == EngineState::Finished && !self.tally.is_all_told() {
            EngineState::Stopping
        } else {
            self.state
        };
        EngineReport {
            incarnation: 0,
            plan_hash: self.args.plan_hash.clone(),
            state,
            epoch: self.tally.epoch(),
            delta: self.tally.delta().cloned(),
            began: self.began.and_then(|began| self.remote.to_remote(began)),
            load_ended: (state == EngineState::Finished && self.ended_before_its_time())
                .then(|| self.remote.to_remote(self.load_end))
                .flatten(),
            users: self.users.iter().sum(),
            records,
            health: self.health.read(high_water),
            interrupted: self.interrupted,
            failure: self.failure.clone(),
            setup: self.errands.set_up.clone(),
            teardown_failure: self.errands.teardown_failure.clone(),
            exhausted: self.crew.as_ref().map(Crew::exhausted).unwrap_or_default(),
        }
    }

    /// Takes an answer or its absence; returns how it all ended, if it has.
    fn answered(&mut self, result: Result<Exchange, ControlError>) -> Option<End> {
        self.reports = self.reports.saturating_add(1);
        let Exchange {
            answer,
            sent,
            received,
        } = match result {
            Ok(exchange) => exchange,
            Err(error) => {
                self.failed_reports = self.failed_reports.saturating_add(1);
                tracing::warn!(%error, "the coordinator does not answer");
                self.waits_in_vain();
                return self.is_silence_final().then_some(End::Silence);
            }
        };
        self.failed_reports = 0;
        self.last_answer = Instant::now();
        self.remote.observe(sent, received, answer.clock);
        let all_told = self.state == EngineState::Finished && self.tally.is_all_told();
        self.tally.answered(&answer);
        self.take_setup(answer.setup.as_ref());
        match answer.desired {
            Desired::SetUp if !self.stopped => self.begin(Errand::SetUp),
            // Whoever is not waited for any more does it all the same.
            Desired::TearDown | Desired::Finish(_) | Desired::Exit
                if self.state == EngineState::LoadDone =>
            {
                self.begin(Errand::TearDown);
            }
            Desired::Wait | Desired::SetUp | Desired::TearDown => {}
            Desired::StartAt(at) => self.start_at(self.remote.to_local(at)),
            Desired::Exit if all_told => {
                return Some(self.failure.take().map_or(End::Acknowledged, End::Failed));
            }
            Desired::Stop | Desired::Finish(_) | Desired::Exit => self.stop(),
        }
        None
    }

    fn start_at(&mut self, at: Option<Nanos>) {
        if let Some(at) = at.filter(|_| self.start.is_none() && !self.stopped)
            && self.has_what_the_setup_left()
        {
            // A start that has passed is now: the schedule counts from when we can keep it.
            let at = at.max(clock::now());
            self.start = Some(at);
            self.command(Command::Start(at));
            let in_ms = (at - clock::now().min(at)) / clock::MILLI;
            tracing::info!(in_ms, "the start is set");
        }
    }

    fn stop(&mut self) {
        if !self.stopped {
            self.stopped = true;
            self.command(Command::Stop);
            if matches!(self.state, EngineState::Ready | EngineState::Running) {
                self.state = EngineState::Stopping;
                self.errands.abort();
            }
            tracing::info!("no more iterations begin");
        }
    }

    /// The first signal lets iterations end, the second cuts them off.
    fn signalled(&mut self) {
        self.errands.is_hurried = true;
        if self.stopped {
            self.command(Command::Abort);
            self.abandon();
        } else {
            // Once nothing new begins anyway, a signal takes nothing away from the load.
            self.interrupted = matches!(self.state, EngineState::Ready | EngineState::Running);
            self.stop();
        }
    }

    fn command(&self, command: Command) {
        if let Some(crew) = &self.crew {
            crew.command(command);
        }
    }

    fn is_silence_final(&self) -> bool {
        let patience = match self.state {
            EngineState::Ready => PATIENCE.max(self.plan.start_timeout),
            EngineState::Finished => PATIENCE,
            EngineState::Running | EngineState::Stopping | EngineState::LoadDone => return false,
        };
        self.last_answer.elapsed() >= patience
    }

    /// Time to the next report: even when all is well, else longer each time and at random, so
    /// that a coordinator that comes back is not met by all runners at once.
    fn pause(&mut self) -> Duration {
        if self.failed_reports > 0 {
            let doubled = HASTY_REPORT_EVERY * 2u32.pow(self.failed_reports.min(5));
            let longest = doubled.min(LONGEST_BACKOFF).as_micros() as u64;
            return Duration::from_micros(self.rng.between(longest / 2, longest));
        }
        if self.reports < HASTY_REPORTS || self.is_waited_for() {
            HASTY_REPORT_EVERY
        } else {
            REPORT_EVERY
        }
    }
}

async fn next_message(crew: &mut Option<Crew>) -> FromWorker {
    let message = match crew {
        Some(crew) => crew.messages.recv().await,
        None => None,
    };
    match message {
        Some(message) => message,
        None => std::future::pending().await,
    }
}

async fn signalled(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
