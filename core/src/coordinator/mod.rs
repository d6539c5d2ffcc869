//! The coordinator of one run, without clock or network.
//!
//! A driver (the operator's server, or `loadtest run`) hands in reports and the time, persists
//! what must survive it, and sends the answers. The life of a run:
//!
//! 1. engines register; when all are here, and runner 0 has done the setup if there is one, a start
//!    is *proposed*; the driver makes it durable and [confirms](Coordinator::confirm_start) it; only
//!    then runners are told;
//! 2. deltas are merged, each sequence of each runner once; an early end, when a threshold or a
//!    person stops the load, is made durable and [confirmed](Coordinator::confirm_early_end) before
//!    engines hear of it, for a successor would find nothing of what they no longer send;
//! 3. when all engines have ended (or are lost), runner 0 after its teardown if there is one, the
//!    run is *judged*; the driver makes the judgement
//!    durable and [confirms](Coordinator::confirm_judgement) it; only then engines may exit and
//!    exporters are told the result;
//! 4. when all exporters have ended (or the drain deadline passed) the run is complete; the driver
//!    makes that durable and [confirms](Coordinator::confirm_completion) it; then exporters exit.
//!
//! So the driver may die at any moment: a successor that [resumes](Coordinator::resume) from what
//! was durable asks the runners for the rest.

mod answers;
mod beginning;
mod breach;
mod ending;
mod intake;
mod judge;
mod notes;
mod observe;
mod recent;

use std::{sync::Arc, time::Duration};

pub use self::ending::EarlyEnd;
use self::{breach::LastSeconds, recent::Recent};
use crate::{
    baseline::Comparison,
    plan::Plan,
    report::{Answer, EngineReport, EngineState, ExporterReport, ExporterState, UnixMicros},
    series::{Series, SeriesSet},
    verdict::{Judgement, Reason, Verdict},
    view::RunView,
};

/// From the decision to start to the start: every runner reports once a second, so two report
/// intervals reach each of them even when one report is lost.
pub const START_LEAD: Duration = Duration::from_millis(2_500);

/// The same for a runner that is the only one: until its start it reports four times a second, and
/// making the start durable takes most of this time.
pub const LONE_START_LEAD: Duration = Duration::from_millis(1_250);

/// How long past its latest possible end an engine may be silent before it counts as lost.
pub const END_GRACE: Duration = Duration::from_secs(30);

/// How long past the time of a setup its end may be told.
pub const SETUP_GRACE: Duration = Duration::from_secs(5);

/// How much longer runner 0 may take when the plan has a teardown: engines end one within a minute,
/// and must hear of it and report.
pub const TEARDOWN_GRACE: Duration = Duration::from_secs(75);

/// How long engines that are to stop are not told while that cannot be made durable: a load that
/// does harm must end also when nobody can write down why.
pub const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// How long past the drain deadline an exporter's final report is awaited.
pub const DRAIN_GRACE: Duration = Duration::from_secs(5);

/// Why a report was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The run has fewer runners.
    #[error("the run has no runner {0}")]
    UnknownRunner(u32),
    /// The runner read another plan.
    #[error("runner {runner} has plan {found}, the run has plan {expected}")]
    OtherPlan {
        /// Which runner.
        runner: u32,
        /// Its plan's hash.
        found: String,
        /// The run's.
        expected: String,
    },
    /// The runner reports rows that the plan does not have.
    #[error("runner {runner} reports {found} {rows}, the plan has {most}")]
    TooManyRows {
        /// Which runner.
        runner: u32,
        /// Rows of what.
        rows: &'static str,
        /// How many there are.
        found: usize,
        /// How many the plan has.
        most: usize,
    },
}

/// What a successor knows of a run that was under way.
#[derive(Debug, Clone, Default)]
pub struct Resume {
    /// The start that runners may have been told.
    pub start: Option<UnixMicros>,
    /// The decision to end early that runners may have been told.
    pub early_end: Option<EarlyEnd>,
    /// The view that was made durable with the judgement.
    pub judged: Option<Box<RunView>>,
}

/// Merges, decides, judges. See the module.
#[derive(Debug)]
pub struct Coordinator {
    plan: Arc<Plan>,
    plan_hash: String,
    epoch: u64,
    created: UnixMicros,
    /// Since when runners are awaited: longer than there is this coordinator, if it is a successor.
    awaited_since: UnixMicros,
    runners: Vec<Runner>,
    merged: SeriesSet,
    warm_up: Series,
    recent: Recent,
    /// When all runners were here and runner 0 was to do the setup.
    setup_began: Option<UnixMicros>,
    proposed: Option<UnixMicros>,
    start: Option<UnixMicros>,
    last_seconds: LastSeconds,
    /// The first reason to end early, and when it came.
    ending: Option<(Judgement, UnixMicros)>,
    ending_durable: bool,
    load_ended: Option<UnixMicros>,
    judged: Option<Box<RunView>>,
    judgement_durable: bool,
    completed: Option<UnixMicros>,
    completion_durable: bool,
}

/// What is known of one runner.
#[derive(Debug, Default)]
struct Runner {
    engine: Option<EngineReport>,
    merged_sequence: Option<u64>,
    merged_at: Option<UnixMicros>,
    /// From when on all that it measures is in the last seconds; `None` while its past may be
    /// missing there.
    seen_since: Option<UnixMicros>,
    /// When it began, as it first said: it begins once.
    began: Option<UnixMicros>,
    lost: bool,
    /// A signal ended it before the load was done; its final report still comes.
    interrupted: bool,
    exporter: Option<ExporterReport>,
    exporter_gone: bool,
}

impl Runner {
    /// It does not send its part of the load to the end.
    fn is_gone(&self) -> bool {
        self.lost || self.interrupted
    }
    fn engine_ended(&self) -> bool {
        self.lost
            || self
                .engine
                .as_ref()
                .is_some_and(|e| e.state == EngineState::Finished)
    }
    fn exporter_ended(&self) -> bool {
        self.exporter_gone
            || self
                .exporter
                .as_ref()
                .is_some_and(|e| e.state == ExporterState::Finished)
    }
}

impl Coordinator {
    /// A coordinator of a run that nobody has coordinated before. `epoch` must differ from that of
    /// every other coordinator of this run and not be 0.
    pub fn new(plan: Arc<Plan>, plan_hash: String, epoch: u64, now: UnixMicros) -> Self {
        Self::resume(plan, plan_hash, epoch, now, Resume::default())
    }

    /// A successor. Runners will send everything they have, since the epoch is new to them.
    pub fn resume(
        plan: Arc<Plan>,
        plan_hash: String,
        epoch: u64,
        now: UnixMicros,
        known: Resume,
    ) -> Self {
        let runners = (0..plan.runners).map(|_| Runner::default()).collect();
        let mut last_seconds = LastSeconds::new(&plan);
        let ending = known.early_end.map(|end| {
            last_seconds.resume(end.first_breach);
            (end.judgement, end.at)
        });
        let judgement_durable = known.judged.is_some();
        Self {
            plan,
            plan_hash,
            epoch,
            created: now,
            awaited_since: now,
            runners,
            merged: SeriesSet::default(),
            last_seconds,
            warm_up: Series::default(),
            recent: Recent::default(),
            setup_began: None,
            proposed: None,
            start: known.start,
            ending_durable: ending.is_some(),
            ending,
            load_ended: judgement_durable.then_some(now),
            judged: known.judged,
            judgement_durable,
            completed: None,
            completion_durable: false,
        }
    }

    /// Takes an engine's report.
    ///
    /// # Errors
    /// [`Refused`] when it cannot belong to this run; nothing was changed then.
    pub fn engine_report(
        &mut self,
        index: u32,
        mut report: EngineReport,
        now: UnixMicros,
    ) -> Result<Answer, Refused> {
        self.admit(index, &report)?;
        let epoch = self.epoch;
        let delta = report.delta.take();
        if report.epoch == epoch {
            self.take_delta(index, delta, now);
        }
        let runner = self
            .runners
            .get_mut(index as usize)
            .ok_or(Refused::UnknownRunner(index))?;
        report.began = report.began.map(|at| intake::has_come(at, now));
        report.load_ended = report.load_ended.map(|at| intake::has_come(at, now));
        runner.began = runner.began.or(report.began);
        let final_and_merged = report.epoch == epoch || report.state != EngineState::Finished;
        let (failure, interrupted) = (report.failure.clone(), report.interrupted);
        if !final_and_merged {
            // Its last numbers are still to come, in this coordinator's epoch.
            report.state = EngineState::Stopping;
        }
        let acknowledged = runner.merged_sequence;
        runner.engine = Some(report);
        if let Some(message) = failure {
            self.end_early(Verdict::Error, Reason::RunnerFailed, &message, now);
        } else if interrupted {
            let message = format!("runner {index} was ended by a signal before the load was done");
            self.interrupt_engine(index, &message, now);
        }
        self.tick(now);
        Ok(Answer {
            epoch,
            acknowledged,
            clock: now,
            desired: self.desired_of_engine(index, now),
            setup: self.setup_for(index),
        })
    }

    /// Takes an exporter's report.
    ///
    /// # Errors
    /// [`Refused::UnknownRunner`].
    pub fn exporter_report(
        &mut self,
        index: u32,
        report: ExporterReport,
        now: UnixMicros,
    ) -> Result<Answer, Refused> {
        let runner = self
            .runners
            .get_mut(index as usize)
            .ok_or(Refused::UnknownRunner(index))?;
        runner.exporter = Some(report);
        self.tick(now);
        Ok(Answer {
            epoch: self.epoch,
            acknowledged: None,
            clock: now,
            desired: self.desired_of_exporter(),
            setup: None,
        })
    }

    /// Lets time pass: deadlines, the start, the judgement, the completion.
    pub fn tick(&mut self, now: UnixMicros) {
        self.propose_start(now);
        self.check_deadlines(now);
        self.check_breaches(now);
        self.judge(now);
        self.complete(now);
    }

    /// The start that waits to be made durable, if any.
    pub fn proposed_start(&self) -> Option<UnixMicros> {
        self.proposed
    }

    /// The proposed start is durable: runners may be told. Returns whether they are: a run that ended
    /// in between has no start any more.
    pub fn confirm_start(&mut self) -> bool {
        let proposed = self.proposed.take();
        self.start = self.start.or(proposed);
        proposed.is_some()
    }

    /// When the load starts, or started, once that is durable.
    pub fn start(&self) -> Option<UnixMicros> {
        self.start
    }

    /// The early end of a load that waits to be made durable, if any.
    pub fn unconfirmed_early_end(&self) -> Option<EarlyEnd> {
        let waits = self.start.is_some() && !self.ending_durable && self.judged.is_none();
        let (judgement, at) = self.ending.as_ref().filter(|_| waits)?;
        Some(EarlyEnd {
            judgement: judgement.clone(),
            at: *at,
            first_breach: self.last_seconds.first_breach.clone(),
        })
    }

    /// The early end is durable: engines may be told to stop.
    pub fn confirm_early_end(&mut self) {
        self.ending_durable = self.ending.is_some();
    }

    /// The judged view that waits to be made durable, if any.
    pub fn unconfirmed_judgement(&self) -> Option<&RunView> {
        self.judged.as_deref().filter(|_| !self.judgement_durable)
    }

    /// Takes what came of comparing the judged run with its baseline, which the driver knows. Only
    /// before the judgement is durable, and once.
    pub fn compare(&mut self, comparison: Comparison) {
        let judged = self.judged.as_mut().filter(|_| !self.judgement_durable);
        if let Some(view) = judged.filter(|view| view.baseline.is_none()) {
            view.take_comparison(comparison);
        }
    }

    /// The judgement is durable: engines may exit.
    pub fn confirm_judgement(&mut self) {
        self.judgement_durable = self.judged.is_some();
    }

    /// Whether all is over, durable or not.
    pub fn is_complete(&self) -> bool {
        self.completed.is_some()
    }

    /// The final view is durable: exporters may exit.
    pub fn confirm_completion(&mut self) {
        self.completion_durable = self.completed.is_some();
    }

    /// Somebody asks the run to stop. Acts once.
    pub fn cancel(&mut self, now: UnixMicros) {
        self.end_early(
            Verdict::Aborted,
            Reason::CancelRequested,
            "the run was cancelled",
            now,
        );
        self.tick(now);
    }

    /// The run cannot go on, for a reason that the driver knows.
    pub fn fail(&mut self, reason: Reason, message: &str, now: UnixMicros) {
        self.end_early(Verdict::Error, reason, message, now);
        self.tick(now);
    }

    /// A runner's engine is gone before its final report.
    pub fn lose_engine(&mut self, index: u32, reason: Reason, message: &str, now: UnixMicros) {
        self.mark_lost(index, reason, message, now);
        self.tick(now);
    }

    /// A runner's engine is being ended before the load is done; its final report still comes.
    pub fn interrupt_engine(&mut self, index: u32, message: &str, now: UnixMicros) {
        if let Some(runner) = self.runners.get_mut(index as usize)
            && !runner.interrupted
            && self.judged.is_none()
        {
            runner.interrupted = true;
            self.end_without_runner(Reason::RunnerLost, message, now);
        }
    }

    /// A runner's exporter is gone: what it last reported is final.
    pub fn lose_exporter(&mut self, index: u32, now: UnixMicros) {
        if let Some(runner) = self.runners.get_mut(index as usize) {
            runner.exporter_gone = true;
        }
        self.tick(now);
    }

    /// Whether this runner's engine has made its final report or is lost.
    pub fn engine_ended(&self, index: u32) -> bool {
        self.runners
            .get(index as usize)
            .is_none_or(Runner::engine_ended)
    }

    /// Whether this runner's exporter has made its final report or is gone.
    pub fn exporter_ended(&self, index: u32) -> bool {
        self.runners
            .get(index as usize)
            .is_none_or(Runner::exporter_ended)
    }

    /// Everything that was measured so far, merged, without the warm-up.
    pub fn merged(&self) -> &SeriesSet {
        &self.merged
    }

    /// The plan of the run.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }
}
