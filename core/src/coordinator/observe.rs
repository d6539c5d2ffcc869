//! What is known of a run at a moment: see [`RunView`].

use std::time::Duration;

use super::{Coordinator, Runner};
use crate::{
    plan::Plan,
    report::{ExportCounts, UnixMicros, micros},
    threshold::{self, ThresholdResult},
    view::{
        Generator, Phase, Progress, RunView, RunnerCounts, Summary, generator_exhausted,
        generator_late,
    },
};

/// CPU share of a generator from which on its measurements are doubtful.
const SATURATED_CPU: f64 = 0.95;

/// The same of the time that it was throttled: below it, quotas of whole CPUs throttle a little at
/// any load.
const SATURATED_THROTTLING: f64 = 0.1;

impl Coordinator {
    /// What is known now.
    pub fn view(&self, now: UnixMicros) -> RunView {
        let mut view = match &self.judged {
            Some(judged) => (**judged).clone(),
            None => self.view_under_way(now),
        };
        view.phase = self.phase(now);
        view.completed = self.completed;
        (view.export, view.aggregates) = self.export_counts();
        view.export_problem = self
            .runners
            .iter()
            .filter_map(|runner| runner.exporter.as_ref())
            .map(|exporter| exporter.problem.clone())
            .find(|problem| !problem.is_empty())
            .unwrap_or_default();
        view
    }

    pub(super) fn view_under_way(&self, now: UnixMicros) -> RunView {
        let duration = self.measured_duration(now);
        let running = self.start.is_some_and(|start| now >= start);
        RunView {
            phase: self.phase(now),
            judgement: None,
            started: self.start,
            completed: None,
            start_skew_us: self.start_skew(),
            runners: self.runner_counts(),
            summary: running.then(|| {
                Summary::new(
                    &self.plan,
                    &self.merged,
                    self.warm_up.requests,
                    duration,
                    offered_rate(&self.plan),
                )
            }),
            progress: running.then(|| self.progress(now)),
            generator: self.generator(),
            delivery: None,
            thresholds: if running {
                self.evaluate_thresholds(duration)
            } else {
                Vec::new()
            },
            export: None,
            aggregates: None,
            export_problem: String::new(),
            notes: self.notes(),
            baseline: None,
        }
    }

    fn evaluate_thresholds(&self, duration: Duration) -> Vec<ThresholdResult> {
        let breaches = self.last_seconds.first_breach.iter();
        threshold::evaluate_all(&self.plan, &self.merged, duration)
            .into_iter()
            .zip(breaches)
            .map(|(result, breach)| ThresholdResult {
                first_breach: *breach,
                ..result
            })
            .collect()
    }

    fn phase(&self, now: UnixMicros) -> Phase {
        let stopping = self.ending.is_some()
            || self
                .start
                .is_some_and(|start| now >= start + micros(self.plan.load_duration()));
        if self.completed.is_some() {
            Phase::Finished
        } else if self.judged.is_some() {
            Phase::Exporting
        } else if self.start.is_none_or(|start| now < start) {
            Phase::Starting
        } else if stopping {
            Phase::Stopping
        } else {
            Phase::Running
        }
    }

    /// Of the load so far, without the warm-up.
    pub(super) fn measured_duration(&self, now: UnixMicros) -> Duration {
        let Some(start) = self.start else {
            return Duration::ZERO;
        };
        let measured_from = start + micros(self.plan.warm_up);
        let planned = start + micros(self.plan.load_duration());
        let end = now.min(planned).min(self.last_began_nothing_more());
        Duration::from_micros(u64::try_from(end - measured_from).unwrap_or(0))
    }

    /// When the last engine that began no more iterations before the planned end did so, if all
    /// have: a number of iterations was made, or the load was stopped. What stops a load is
    /// decided a report earlier than the engines can hear of it, and all requests of that second
    /// are counted: so it is the engines that say when their load ended. Of one that is gone it is
    /// the last time it was heard, once the load of the others was stopped for it.
    fn last_began_nothing_more(&self) -> UnixMicros {
        let decided = self.ending.as_ref().map(|(_, at)| *at);
        let end = |runner: &Runner| {
            let told = runner.engine.as_ref().and_then(|engine| engine.load_ended);
            let heard = || runner.merged_at.or(self.start);
            told.or_else(|| decided.filter(|_| runner.lost).and_then(|_| heard()))
        };
        let ends: Option<Vec<_>> = self.runners.iter().map(end).collect();
        let last = ends.and_then(|ends| ends.into_iter().max());
        last.unwrap_or(UnixMicros::MAX)
    }

    fn start_skew(&self) -> Option<u64> {
        let began: Vec<_> = self
            .runners
            .iter()
            .filter_map(|runner| runner.engine.as_ref()?.began)
            .collect();
        let (first, last) = (began.iter().min()?, began.iter().max()?);
        Some(last.abs_diff(*first))
    }

    fn runner_counts(&self) -> RunnerCounts {
        let lost = self
            .runners
            .iter()
            .filter(|runner| runner.is_gone())
            .count() as u32;
        let known = self
            .runners
            .iter()
            .filter(|r| r.engine.is_some() && !r.is_gone())
            .count();
        RunnerCounts {
            expected: self.plan.runners,
            ready: known as u32,
            lost,
        }
    }

    fn progress(&self, now: UnixMicros) -> Progress {
        let start = self.start.unwrap_or(now);
        let window = self.recent.window(self.plan.runners, now);
        let elapsed = Duration::from_micros(u64::try_from(now - start).unwrap_or(0));
        Progress {
            elapsed,
            remaining: self.plan.load_duration().saturating_sub(elapsed),
            rate: window.rate,
            p50: window.latency.quantile(0.5),
            p95: window.latency.quantile(0.95),
            p99: window.latency.quantile(0.99),
            error_ratio: window.error_ratio,
            users: self
                .runners
                .iter()
                .filter_map(|r| Some(r.engine.as_ref()?.users))
                .sum(),
            updated: now,
        }
    }

    fn generator(&self) -> Generator {
        let health = || {
            self.runners
                .iter()
                .filter_map(|r| Some(r.engine.as_ref()?.health))
        };
        let cpu = health().map(|h| h.cpu_max).fold(0.0, f64::max);
        let throttled = health().map(|h| h.throttled_max).fold(0.0, f64::max);
        let set = &self.merged;
        let to_blame = generator_late(set) || generator_exhausted(set);
        Generator {
            saturated: to_blame || cpu >= SATURATED_CPU || throttled >= SATURATED_THROTTLING,
            cpu,
            late_starts: set.late_by_generator + set.late_by_target,
            late_by_generator: set.late_by_generator,
            worst_lateness_us: set.worst_lateness_us,
            throttled_us: health().map(|h| h.throttled_us).sum(),
        }
    }

    fn export_counts(&self) -> (Option<ExportCounts>, Option<ExportCounts>) {
        if !self.plan.results.exports() {
            return (None, None);
        }
        let (mut requests, mut aggregates) = (ExportCounts::NOTHING, ExportCounts::NOTHING);
        for runner in &self.runners {
            let mut counts = runner
                .exporter
                .as_ref()
                .map(|e| e.requests)
                .unwrap_or_default();
            // The engine may know of records that its exporter has not seen yet.
            let produced = runner.engine.as_ref().map_or(0, |e| e.records.produced);
            if produced > counts.produced {
                let unseen = produced - counts.produced;
                counts.produced = produced;
                // An exporter that is gone will never send them.
                if runner.exporter_gone {
                    counts.lost += unseen;
                } else {
                    counts.pending += unseen;
                }
            }
            if runner.exporter_gone || self.completed.is_some() {
                counts.lost += std::mem::take(&mut counts.pending);
            }
            requests.merge(&counts);
            let exporter = runner.exporter.as_ref();
            aggregates.merge(&exporter.map(|e| e.aggregates).unwrap_or_default());
        }
        (Some(requests), Some(aggregates))
    }
}

/// Iterations per second that all open models of a plan ask for, over the load without its warm-up.
fn offered_rate(plan: &Plan) -> Option<f64> {
    let arrivals: Vec<u64> = plan
        .scenarios
        .iter()
        .filter_map(|scenario| {
            let schedule = scenario.load.schedule()?;
            let warm_up = plan.warm_up.saturating_sub(scenario.start_after).as_nanos();
            let cold = schedule.count_before(u64::try_from(warm_up).unwrap_or(u64::MAX));
            Some(schedule.count() - cold)
        })
        .collect();
    let seconds = plan
        .load_duration()
        .saturating_sub(plan.warm_up)
        .as_secs_f64();
    (!arrivals.is_empty() && seconds > 0.0).then(|| arrivals.iter().sum::<u64>() as f64 / seconds)
}
