//! The coordinators of the runs under way, and the clock that drives them.
//!
//! A coordinator only proposes: what must survive the operator is written by the run's reconcile,
//! which is the only writer of a run. This module says when one is needed.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::Duration,
};

use futures::channel::mpsc::UnboundedSender;
use kube::{core::DynamicObject, runtime::reflector::ObjectRef};
use loadtest_core::{
    baseline::Comparison,
    coordinator::{Coordinator, EarlyEnd, Refused},
    plan::Plan,
    report::{Answer, EngineReport, ExporterReport, UnixMicros, micros},
    verdict::Reason,
    view::{Phase, RunView},
};
use loadtest_crds::LoadTestRunStatus;

/// 32 hex digits, see [`loadtest_core::identity::run_id`].
pub type RunId = String;

/// `status.progress` is written at most so often.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);

/// A need that was not met is called out again after this long.
const WAKE_AGAIN: Duration = Duration::from_secs(1);

/// What a coordinator waits for its reconcile to make durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// The proposed start.
    Start,
    /// The early end of the load.
    EarlyEnd,
    /// The judged view.
    Judgement,
    /// The final status.
    Completion,
    /// Numbers of a run under way.
    Progress,
}

/// Why runners do not become ready, in the cluster's own words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// One word: `ImagePullFailed`, `Unschedulable` …
    pub reason: String,
    /// One sentence.
    pub message: String,
    /// Time does not heal it.
    pub hopeless: bool,
}

/// A part of a runner that is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Loss {
    /// The engine, with the reason.
    Engine {
        /// Which runner.
        index: u32,
        /// Why, in one word; `None` for a loss that the cluster has no word for.
        reason: Option<String>,
        /// Why, in one sentence.
        message: String,
    },
    /// The pod is being deleted: the engine stops and reports what it did, but not all that it was
    /// to do.
    Leaving {
        /// Which runner.
        index: u32,
        /// Why, in one sentence.
        message: String,
    },
    /// The exporter.
    Exporter {
        /// Which runner.
        index: u32,
    },
}

/// A run under way.
#[derive(Debug)]
pub struct Active {
    /// Id of the run.
    pub id: RunId,
    /// Its `LoadTestRun`.
    pub object: ObjectRef<DynamicObject>,
    /// What it does.
    pub plan: Arc<Plan>,
    /// Hash of the plan's bytes.
    pub plan_hash: String,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    coordinator: Coordinator,
    trouble: Option<Trouble>,
    completion_confirmed: bool,
    written: Option<LoadTestRunStatus>,
    progress_written: UnixMicros,
    woken: Option<(Need, UnixMicros)>,
}

impl Active {
    /// A run that is coordinated from now on.
    pub fn new(
        id: RunId,
        object: ObjectRef<DynamicObject>,
        (plan, plan_hash): (Arc<Plan>, String),
        coordinator: Coordinator,
        now: UnixMicros,
    ) -> Self {
        let state = State {
            coordinator,
            trouble: None,
            completion_confirmed: false,
            written: None,
            progress_written: now,
            woken: None,
        };
        Self {
            id,
            object,
            plan,
            plan_hash,
            state: Mutex::new(state),
        }
    }

    /// A panic while the lock was held cannot leave a half-made decision: the coordinator decides
    /// anew on each call.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes an engine's report.
    ///
    /// # Errors
    /// What the coordinator refuses.
    pub fn engine_report(
        &self,
        index: u32,
        report: EngineReport,
        now: UnixMicros,
    ) -> Result<Answer, Refused> {
        let mut state = self.state();
        Self::blame_trouble(&mut state, now);
        state.coordinator.engine_report(index, report, now)
    }

    /// Takes an exporter's report.
    ///
    /// # Errors
    /// What the coordinator refuses.
    pub fn exporter_report(
        &self,
        index: u32,
        report: ExporterReport,
        now: UnixMicros,
    ) -> Result<Answer, Refused> {
        let mut state = self.state();
        Self::blame_trouble(&mut state, now);
        state.coordinator.exporter_report(index, report, now)
    }

    /// Lets time pass.
    pub fn tick(&self, now: UnixMicros) {
        let mut state = self.state();
        Self::blame_trouble(&mut state, now);
        state.coordinator.tick(now);
    }

    /// At the end of `startTimeout` the cluster's reason is a better answer than "did not
    /// register"; a hopeless one need not wait for it.
    fn blame_trouble(state: &mut State, now: UnixMicros) {
        let Some(trouble) = &state.trouble else {
            return;
        };
        if !trouble.hopeless && now <= state.coordinator.registers_until() {
            return;
        }
        let starting = state.coordinator.view(now).phase == Phase::Starting;
        if starting && state.coordinator.proposed_start().is_none() {
            let Trouble {
                reason, message, ..
            } = trouble.clone();
            state
                .coordinator
                .fail(Reason::Cluster(reason), &message, now);
        }
    }

    /// Tells what the pods show: trouble of pods that do not start, and parts that are gone.
    pub fn observe(&self, trouble: Option<Trouble>, losses: &[Loss], now: UnixMicros) {
        let mut state = self.state();
        state.trouble = trouble;
        for loss in losses {
            match loss {
                Loss::Engine {
                    index,
                    reason,
                    message,
                } => {
                    let reason = reason.clone().map_or(Reason::RunnerLost, Reason::Cluster);
                    state.coordinator.lose_engine(*index, reason, message, now);
                }
                Loss::Leaving { index, message } => {
                    if !state.coordinator.engine_ended(*index) {
                        state.coordinator.interrupt_engine(*index, message, now);
                    }
                }
                Loss::Exporter { index } => state.coordinator.lose_exporter(*index, now),
            }
        }
        Self::blame_trouble(&mut state, now);
        state.coordinator.tick(now);
    }

    /// Stops the run because somebody asked for it.
    pub fn cancel(&self, now: UnixMicros) {
        self.state().coordinator.cancel(now);
    }

    /// Ends the run for a reason of the cluster.
    pub fn fail(&self, reason: &str, message: &str, now: UnixMicros) {
        self.state()
            .coordinator
            .fail(Reason::Cluster(reason.to_owned()), message, now);
    }

    /// What is known now.
    pub fn view(&self, now: UnixMicros) -> RunView {
        self.state().coordinator.view(now)
    }

    /// Why runners do not become ready, if one knows.
    pub fn trouble(&self) -> Option<Trouble> {
        self.state().trouble.clone()
    }

    /// The start that waits to be made durable.
    pub fn proposed_start(&self) -> Option<UnixMicros> {
        self.state().coordinator.proposed_start()
    }

    /// It is durable. Returns whether the run still starts.
    pub fn confirm_start(&self) -> bool {
        self.state().coordinator.confirm_start()
    }

    /// The early end of the load that waits to be made durable, with the start that it ends.
    pub fn unconfirmed_early_end(&self) -> Option<(UnixMicros, EarlyEnd)> {
        let state = self.state();
        let end = state.coordinator.unconfirmed_early_end()?;
        Some((state.coordinator.start()?, end))
    }

    /// It is durable.
    pub fn confirm_early_end(&self) {
        self.state().coordinator.confirm_early_end();
    }

    /// The judged view that waits to be made durable.
    pub fn unconfirmed_judgement(&self) -> Option<RunView> {
        self.state().coordinator.unconfirmed_judgement().cloned()
    }

    /// Takes what came of comparing the judged run with its baseline.
    pub fn compare(&self, comparison: Comparison) {
        self.state().coordinator.compare(comparison);
    }

    /// Takes what is worth telling of the judged run besides.
    pub fn note(&self, note: &str) {
        self.state().coordinator.note(note);
    }

    /// It is durable.
    pub fn confirm_judgement(&self, now: UnixMicros) {
        let mut state = self.state();
        state.coordinator.confirm_judgement();
        state.coordinator.tick(now);
    }

    /// The final status is durable. Says whether that is new.
    pub fn confirm_completion(&self) -> bool {
        let mut state = self.state();
        state.coordinator.confirm_completion();
        let before = state.completion_confirmed;
        state.completion_confirmed = state.coordinator.is_complete();
        state.completion_confirmed && !before
    }

    /// The status that was written last: the watch may not have it yet.
    pub fn written(&self) -> Option<LoadTestRunStatus> {
        self.state().written.clone()
    }

    /// This status was written.
    pub fn set_written(&self, status: LoadTestRunStatus) {
        self.state().written = Some(status);
    }

    /// Whether the final status is durable.
    pub fn is_over(&self) -> bool {
        self.state().completion_confirmed
    }

    /// Whether numbers may be written again, and that they are now.
    pub fn take_progress_turn(&self, now: UnixMicros) -> bool {
        let mut state = self.state();
        let due = now - state.progress_written >= micros(PROGRESS_EVERY);
        if due {
            state.progress_written = now;
        }
        due
    }

    /// What the reconcile must do now. The first answer to a need comes at once, the same again
    /// only after a while: the reconcile may be failing and backing off.
    pub fn wake(&self, now: UnixMicros) -> Option<Need> {
        let mut state = self.state();
        let coordinator = &state.coordinator;
        let need = if coordinator.proposed_start().is_some() {
            Need::Start
        } else if coordinator.unconfirmed_early_end().is_some() {
            Need::EarlyEnd
        } else if coordinator.unconfirmed_judgement().is_some() {
            Need::Judgement
        } else if coordinator.is_complete() && !state.completion_confirmed {
            Need::Completion
        } else if now - state.progress_written >= micros(PROGRESS_EVERY)
            && !state.completion_confirmed
        {
            Need::Progress
        } else {
            state.woken = None;
            return None;
        };
        if let Some((before, at)) = state.woken
            && before == need
            && now - at < micros(WAKE_AGAIN)
        {
            return None;
        }
        state.woken = Some((need, now));
        Some(need)
    }
}

/// All runs under way.
#[derive(Debug)]
pub struct Registry {
    runs: RwLock<HashMap<RunId, Arc<Active>>>,
    reconcile: UnboundedSender<ObjectRef<DynamicObject>>,
}

impl Registry {
    /// None yet. `reconcile` takes the runs whose reconcile is needed.
    pub fn new(reconcile: UnboundedSender<ObjectRef<DynamicObject>>) -> Self {
        Self {
            runs: RwLock::default(),
            reconcile,
        }
    }

    /// A run under way.
    pub fn get(&self, id: &str) -> Option<Arc<Active>> {
        self.runs
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(id)
            .cloned()
    }

    /// All of them.
    pub fn all(&self) -> Vec<Arc<Active>> {
        self.runs
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .cloned()
            .collect()
    }

    /// Takes a run; one that is there already stays.
    pub fn insert(&self, active: Active) -> Arc<Active> {
        let mut runs = self.runs.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(
            runs.entry(active.id.clone())
                .or_insert_with(|| Arc::new(active)),
        )
    }

    /// Forgets a run that is over or gone.
    pub fn remove(&self, id: &str) {
        self.runs
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(id);
    }

    /// Has a run reconciled.
    pub fn call(&self, run: ObjectRef<DynamicObject>) {
        // Fails only when the process is ending.
        let _ = self.reconcile.unbounded_send(run);
    }

    /// Has the run reconciled if its coordinator needs it.
    pub fn wake(&self, active: &Active, now: UnixMicros) {
        if active.wake(now).is_some() {
            self.call(active.object.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{objects::Kinds, run::fixtures};

    const SECOND: i64 = 1_000_000;

    fn active(now: UnixMicros) -> Active {
        successor(now, now)
    }

    fn successor(made: UnixMicros, now: UnixMicros) -> Active {
        let prepared = fixtures::prepared();
        let (plan, hash) = (prepared.plan, prepared.hash);
        let coordinator = Coordinator::new(Arc::clone(&plan), hash.clone(), 1, now);
        let coordinator = coordinator.awaiting_since(made);
        let object = Kinds::default().run_ref("shop-3", "perf");
        Active::new(fixtures::run().id, object, (plan, hash), coordinator, now)
    }

    fn trouble(hopeless: bool) -> Trouble {
        let (reason, message) = ("ImagePullFailed".to_owned(), "no such image".to_owned());
        Trouble {
            reason,
            message,
            hopeless,
        }
    }

    fn reason(active: &Active, now: UnixMicros) -> Option<String> {
        Some(active.view(now).judgement?.reason.name().to_owned())
    }

    #[test]
    fn trouble_may_heal_until_the_timeout_and_is_the_reason_then() {
        // startTimeout of the fixture is two minutes.
        let run = active(0);
        run.observe(Some(trouble(false)), &[], 60 * SECOND);
        run.tick(120 * SECOND);
        assert_eq!(reason(&run, 120 * SECOND), None);
        run.tick(120 * SECOND + 1);
        assert_eq!(
            reason(&run, 121 * SECOND).as_deref(),
            Some("ImagePullFailed")
        );

        let healed = active(0);
        healed.observe(Some(trouble(false)), &[], 60 * SECOND);
        healed.observe(None, &[], 61 * SECOND);
        healed.tick(121 * SECOND);
        assert_eq!(
            reason(&healed, 121 * SECOND).as_deref(),
            Some("StartTimeout")
        );
    }

    #[test]
    fn trouble_is_as_old_as_the_run_and_not_as_its_operator() {
        let now = 600 * SECOND;
        let run = successor(now - 100 * SECOND, now);
        run.observe(Some(trouble(false)), &[], now);
        // A successor looks for a while itself.
        run.tick(now + 30 * SECOND);
        assert_eq!(reason(&run, now + 30 * SECOND), None);
        run.tick(now + 30 * SECOND + 1);
        let later = now + 31 * SECOND;
        assert_eq!(reason(&run, later).as_deref(), Some("ImagePullFailed"));
    }

    #[test]
    fn hopeless_trouble_need_not_wait() {
        let run = active(0);
        run.observe(Some(trouble(true)), &[], SECOND);
        assert_eq!(reason(&run, SECOND).as_deref(), Some("ImagePullFailed"));
    }

    #[test]
    fn a_need_is_called_out_at_once_and_then_once_a_second() {
        let run = active(0);
        assert_eq!(run.wake(SECOND), None);
        run.cancel(SECOND);
        assert_eq!(run.wake(SECOND), Some(Need::Judgement));
        assert_eq!(run.wake(SECOND + SECOND / 2), None);
        assert_eq!(run.wake(2 * SECOND), Some(Need::Judgement));
        run.confirm_judgement(2 * SECOND);
        assert_eq!(run.wake(2 * SECOND), Some(Need::Completion));
        assert!(run.confirm_completion());
        assert!(!run.confirm_completion());
        assert_eq!(run.wake(60 * SECOND), None);
    }

    #[test]
    fn numbers_are_due_every_five_seconds() {
        let run = active(0);
        assert_eq!(run.wake(5 * SECOND - 1), None);
        assert_eq!(run.wake(5 * SECOND), Some(Need::Progress));
        assert!(run.take_progress_turn(5 * SECOND));
        assert!(!run.take_progress_turn(6 * SECOND));
        assert_eq!(run.wake(9 * SECOND), None);
    }

    #[test]
    fn a_pod_that_leaves_ends_the_run_but_not_the_engines_last_word() {
        let run = active(0);
        let message = "its pod was deleted".to_owned();
        run.observe(None, &[Loss::Leaving { index: 0, message }], SECOND);
        let view = run.view(SECOND);
        assert_eq!(reason(&run, SECOND).as_deref(), Some("RunnerLost"));
        assert_eq!(view.runners.lost, 1);
    }
}
