//! What the files of a run need besides the merged numbers: the course of the last seconds, and when
//! each kind of failure came first and last.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use loadtest_core::{
    coordinator::{Coordinator, Refused},
    report::{Answer, EngineReport, UnixMicros},
    series::{ErrorKey, Series, SeriesSet},
};

/// Locust's own window of its current percentiles.
const WINDOW: Duration = Duration::from_secs(10);

const SECOND: UnixMicros = 1_000_000;

/// Grows with the kinds of failures, which are bounded, and neither with the length of the run nor
/// with the number of runners.
#[derive(Debug, Default)]
pub struct History {
    window: VecDeque<(UnixMicros, Series)>,
    seen: BTreeMap<ErrorKey, (UnixMicros, UnixMicros)>,
}

impl History {
    /// Hands a report to the coordinator and remembers what was new in it.
    ///
    /// # Errors
    /// As [`Coordinator::engine_report`].
    pub fn take(
        &mut self,
        coordinator: &mut Coordinator,
        index: u32,
        report: EngineReport,
        now: UnixMicros,
    ) -> Result<Answer, Refused> {
        let delta = report.delta.as_ref().map(|delta| {
            (
                delta.set.total.clone(),
                delta.set.errors.keys().cloned().collect::<Vec<_>>(),
            )
        });
        let before = coordinator.merged().total.requests;
        let answer = coordinator.engine_report(index, report, now)?;
        // A delta that came twice was merged once and must be remembered once.
        if coordinator.merged().total.requests > before
            && let Some((total, errors)) = delta
        {
            self.see(errors, coordinator.merged(), now);
            self.remember(total, now);
        }
        Ok(answer)
    }

    /// Failures are seen as the kinds under which the run counts them.
    fn see(&mut self, errors: Vec<ErrorKey>, merged: &SeriesSet, now: UnixMicros) {
        for key in errors {
            let key = if merged.errors.contains_key(&key) {
                key
            } else {
                ErrorKey::other(key.outcome)
            };
            self.seen.entry(key).or_insert((now, now)).1 = now;
        }
    }

    /// One series for each second, however many runners report in it.
    fn remember(&mut self, total: Series, now: UnixMicros) {
        match self.window.back_mut() {
            Some((at, series)) if now / SECOND == *at / SECOND => series.merge(&total),
            _ => self.window.push_back((now, total)),
        }
        while self.window.len() > WINDOW.as_secs() as usize + 1 {
            self.window.pop_front();
        }
    }

    /// Everything in the last ten seconds before `now`.
    pub fn window(&mut self, now: UnixMicros) -> Series {
        let oldest = now - i64::try_from(WINDOW.as_micros()).unwrap_or(0);
        while self.window.front().is_some_and(|(at, _)| *at <= oldest) {
            self.window.pop_front();
        }
        self.merged()
    }

    /// The ten seconds before the last report.
    pub fn last_window(&mut self) -> Series {
        let last = self.window.back().map_or(0, |(at, _)| *at);
        self.window(last)
    }

    fn merged(&self) -> Series {
        let mut merged = Series::default();
        for (_, series) in &self.window {
            merged.merge(series);
        }
        merged
    }

    /// How long the window is, `elapsed` after the start.
    pub fn window_length(elapsed: Duration) -> Duration {
        elapsed.min(WINDOW)
    }

    /// When each kind of failure was first and last reported.
    pub fn seen(&self) -> &BTreeMap<ErrorKey, (UnixMicros, UnixMicros)> {
        &self.seen
    }
}

#[cfg(test)]
mod tests {
    use loadtest_core::series::{MAX_ERROR_KINDS, Outcome};

    use super::*;

    /// Two runners together have more kinds of failures than are counted apart.
    #[test]
    fn what_is_counted_as_other_was_seen_as_other() {
        let of_runner = |runner: u32| {
            let kinds = (0..40).map(|number| ErrorKey {
                outcome: Outcome::Check,
                series: 0,
                message: format!("runner {runner}, kind {number}"),
            });
            let mut set = SeriesSet::default();
            kinds.for_each(|kind| set.count_error(kind, 1));
            set
        };
        let (mut history, mut merged) = (History::default(), SeriesSet::default());
        for (runner, now) in [(0, 7 * SECOND), (1, 9 * SECOND), (1, 11 * SECOND)] {
            let set = of_runner(runner);
            merged.merge(&set);
            history.see(set.errors.into_keys().collect(), &merged, now);
        }
        assert_eq!(merged.errors.len(), MAX_ERROR_KINDS + 1);
        assert!(history.seen().keys().eq(merged.errors.keys()));
        let other = ErrorKey::other(Outcome::Check);
        assert_eq!(history.seen()[&other], (9 * SECOND, 11 * SECOND));
    }
}
