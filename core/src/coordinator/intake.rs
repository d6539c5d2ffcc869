//! What an engine's report adds to what is known: whether it may, and each delta once.

use super::{Coordinator, Refused, recent};
use crate::report::{Delta, EngineReport, UnixMicros, micros};

impl Coordinator {
    /// Whether a report can belong to this run. Rows that the plan does not have would be kept to
    /// the end of the run, and nobody could say what they are of.
    pub(super) fn admit(&self, index: u32, report: &EngineReport) -> Result<(), Refused> {
        if report.plan_hash != self.plan_hash {
            return Err(Refused::OtherPlan {
                runner: index,
                found: report.plan_hash.clone(),
                expected: self.plan_hash.clone(),
            });
        }
        if self.runners.get(index as usize).is_none() {
            return Err(Refused::UnknownRunner(index));
        }
        let plan = &self.plan;
        let feeders = ("feeders", report.exhausted.len(), plan.inputs.data.len());
        let measured = report.delta.as_ref().map(|Delta { set, .. }| {
            [
                ("request names", set.by_name.len(), plan.series.len()),
                ("checks", set.checks.len(), plan.checks.len()),
                ("groups", set.groups.len(), plan.groups.len()),
            ]
        });
        let mut all = measured.into_iter().flatten().chain([feeders]);
        match all.find(|(_, found, most)| found > most) {
            None => Ok(()),
            Some((rows, found, most)) => Err(Refused::TooManyRows {
                runner: index,
                rows,
                found,
                most,
            }),
        }
    }

    /// Merges what was measured and is new.
    pub(super) fn take_delta(&mut self, index: u32, delta: Option<Delta>, now: UnixMicros) {
        let Some(runner) = self.runners.get_mut(index as usize) else {
            return;
        };
        if !delta.as_ref().is_some_and(|delta| delta.full) {
            runner.seen_since.get_or_insert(now);
        }
        // A delta that is not full needs the ones before it; a full one must be the first.
        let last = runner.merged_sequence;
        let is_fresh = |delta: &Delta| last.map_or(delta.full, |last| delta.sequence > last);
        let Some(delta) = delta.filter(is_fresh) else {
            return;
        };
        runner.merged_sequence = Some(delta.sequence);
        self.merged.merge(&delta.set);
        self.warm_up.merge(&delta.warm_up);
        let since = runner.merged_at.replace(now).or(self.start).unwrap_or(now);
        if delta.full && now - since > micros(recent::WINDOW) {
            // A successor's first delta of a runner is its whole past, not the last second.
            runner.seen_since = None;
            return;
        }
        self.last_seconds.add(&delta.set);
        let mut total = delta.set.total;
        total.merge(&delta.warm_up);
        self.recent.add(&total, since, now);
    }
}

/// A time that an engine says of its past. One that is still to come would put deadlines off, and one
/// before all time would overflow what is computed with it.
pub(super) fn has_come(said: UnixMicros, now: UnixMicros) -> UnixMicros {
    said.min(now).max(0)
}
