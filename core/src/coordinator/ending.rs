//! From the end of the load to the end of the run: deadlines, runners that are lost, the teardown.

use serde::{Deserialize, Serialize};

use super::{Coordinator, DRAIN_GRACE, END_GRACE, Runner, TEARDOWN_GRACE};
use crate::{
    plan::OnLost,
    report::{EngineState, UnixMicros, micros},
    scalar::format_duration,
    verdict::{Judgement, Reason, Verdict},
};

/// The decision to end before the load is done, as a driver makes it durable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EarlyEnd {
    /// What the run came to by it.
    pub judgement: Judgement,
    /// When it was made.
    pub at: UnixMicros,
    /// By threshold of the plan: when it was first seen breached.
    pub first_breach: Vec<Option<UnixMicros>>,
}

impl Coordinator {
    pub(super) fn check_deadlines(&mut self, now: UnixMicros) {
        let Some(start) = self.start else { return };
        if self.judged.is_some() {
            return;
        }
        let hard_end = start + micros(self.plan.max_duration);
        let wanted = self
            .plan
            .scenarios
            .iter()
            .map(|s| s.start_after + s.load.duration())
            .max();
        if now >= hard_end && wanted.unwrap_or_default() > self.plan.max_duration {
            let message = format!(
                "maxDuration {} passed before the load was done",
                format_duration(self.plan.max_duration)
            );
            self.end_early(Verdict::Error, Reason::DeadlineExceeded, &message, now);
        }
        for index in 0..self.plan.runners {
            if now > self.awaited_until(index, start) {
                let message = format!("runner {index} made no final report");
                self.mark_lost(index, Reason::RunnerLost, &message, now);
            }
        }
    }

    /// Until when an engine's final report is awaited. An engine that hears of the start late begins
    /// late, with the whole load before it.
    fn awaited_until(&self, index: u32, start: UnixMicros) -> UnixMicros {
        let ended = self.ending.as_ref().map_or(i64::MAX, |(_, at)| *at);
        let load_end = self.began(index, start) + micros(self.plan.load_duration());
        let latest = load_end.min(ended) + micros(self.plan.graceful_stop() + END_GRACE);
        let more = match index {
            0 if self.has_teardown() => micros(TEARDOWN_GRACE),
            _ => 0,
        };
        // A successor gives runners the same time to find it.
        latest.max(self.created + micros(END_GRACE)) + more
    }

    /// When a runner began its load, the start as long as it has not said.
    pub(super) fn began(&self, index: u32, start: UnixMicros) -> UnixMicros {
        let runner = self.runners.get(index as usize);
        let said = runner.and_then(|runner| runner.began);
        said.map_or(start, |began| began.max(start))
    }

    pub(super) fn mark_lost(&mut self, index: u32, reason: Reason, message: &str, now: UnixMicros) {
        if let Some(runner) = self.runners.get_mut(index as usize)
            && !runner.engine_ended()
        {
            runner.lost = true;
            self.end_without_runner(reason, message, now);
        }
    }

    /// Ends the run because a runner is gone, unless the others may go on.
    pub(super) fn end_without_runner(&mut self, reason: Reason, message: &str, now: UnixMicros) {
        let goes_on = self.plan.on_lost == OnLost::Continue
            && self.start.is_some()
            && self.runners.iter().any(|runner| !runner.is_gone());
        if !goes_on {
            self.end_early(Verdict::Error, reason, message, now);
        }
    }

    pub(super) fn end_early(
        &mut self,
        verdict: Verdict,
        reason: Reason,
        message: &str,
        now: UnixMicros,
    ) {
        if self.ending.is_none() && self.judged.is_none() {
            let judgement = Judgement {
                verdict,
                reason,
                message: message.to_owned(),
            };
            self.ending = Some((judgement, now));
            // A start of which nobody was told yet is none any more.
            self.proposed = None;
        }
    }

    pub(super) fn complete(&mut self, now: UnixMicros) {
        let (Some(load_ended), true) = (self.load_ended, self.judgement_durable) else {
            return;
        };
        if self.completed.is_some() {
            return;
        }
        let deadline = load_ended + micros(self.plan.results.drain_timeout + DRAIN_GRACE);
        let nobody_exports = !self.plan.results.exports() || self.start.is_none();
        if nobody_exports || self.runners.iter().all(Runner::exporter_ended) || now > deadline {
            self.completed = Some(now);
        }
    }

    pub(super) fn has_teardown(&self) -> bool {
        let once = self.plan.once.as_ref();
        once.is_some_and(|once| once.teardown.is_some())
    }

    /// Runner 0 waits for the word to do the teardown, and all the others have ended.
    pub(super) fn teardown_is_due(&self) -> bool {
        let never_began = self.start.is_none() && self.ending.is_some();
        let mut others = self.runners.iter().skip(1);
        self.is_at(EngineState::LoadDone) && (never_began || others.all(Runner::engine_ended))
    }

    /// A run that ends after its setup and before its start waits for the teardown all the same.
    pub(super) fn owes_teardown(&self, now: UnixMicros) -> bool {
        let set_up = self.setup_values().is_some() || self.is_at(EngineState::LoadDone);
        let in_time = |at: UnixMicros| now <= at + micros(TEARDOWN_GRACE);
        self.has_teardown()
            && set_up
            && !self.engine_ended(0)
            && self.ending.as_ref().is_some_and(|(_, at)| in_time(*at))
    }

    /// Where runner 0 stands, as far as it has said.
    fn is_at(&self, state: EngineState) -> bool {
        let first = self.runners.first();
        first
            .and_then(|runner| runner.engine.as_ref())
            .is_some_and(|engine| engine.state == state)
    }
}
