//! What the operator tells a monitoring system. Labels are closed sets, so the number of series is
//! bounded whatever users do. `docs/metrics.md` is made of them by a test.

use std::{fmt, sync::atomic::AtomicU64};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};

use loadtest_core::verdict::Verdict;

use crate::{coordination::REFUSAL_REASONS, error::CLASSES};

/// Both controllers.
pub const CONTROLLERS: [&str; 2] = ["loadtest", "run"];

/// All verdicts.
const VERDICTS: [Verdict; 5] = [
    Verdict::Passed,
    Verdict::Failed,
    Verdict::Invalid,
    Verdict::Error,
    Verdict::Aborted,
];

/// A controller.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ControllerLabel {
    /// `loadtest` or `run`.
    pub controller: &'static str,
}

/// A failed reconcile.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ErrorLabel {
    /// `loadtest` or `run`.
    pub controller: &'static str,
    /// Kind of error.
    pub class: &'static str,
}

/// A finished run.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct VerdictLabel {
    /// Its verdict.
    pub verdict: &'static str,
}

/// A refused report.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RefusedLabel {
    /// Why.
    pub reason: &'static str,
}

/// All metrics of the process.
pub struct Metrics {
    registry: Registry,
    /// Runs that finished, by verdict.
    pub runs: Family<VerdictLabel, Counter>,
    /// Runs that are coordinated now.
    pub active_runs: Gauge,
    /// Runs that wait for others to end.
    pub queued_runs: Gauge,
    /// Runners of those runs that are ready.
    pub active_runners: Gauge,
    /// Largest difference between the beginnings of a run's runners.
    pub start_skew: Histogram,
    /// From the creation of a run to its start.
    pub start_delay: Histogram,
    /// Reconciles.
    pub reconciles: Family<ControllerLabel, Counter>,
    /// How long they took.
    pub reconcile_duration: Family<ControllerLabel, Histogram>,
    /// Those that failed.
    pub reconcile_errors: Family<ErrorLabel, Counter>,
    /// Reports that were taken.
    pub reports: Counter,
    /// Reports that were refused.
    pub reports_refused: Family<RefusedLabel, Counter>,
    /// Records that finished runs made, and those that never reached the search server.
    pub records_produced: Counter<u64, AtomicU64>,
    /// See above.
    pub records_not_indexed: Counter<u64, AtomicU64>,
    /// Records of runs under way that are not in the search server yet.
    pub records_pending: Gauge,
    /// 1 while this replica holds the lease.
    pub leader: Gauge,
    /// Requests about the lease whose outcome is unknown.
    pub lease_failures: Counter,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Metrics")
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Every metric, registered.
    pub fn new() -> Self {
        // 1 ms to 16 s: a reconcile is a few calls to the API server.
        let durations = || Histogram::new(exponential_buckets(0.001, 4.0, 8));
        let metrics = Self {
            registry: Registry::with_prefix("loadtest"),
            runs: Family::default(),
            active_runs: Gauge::default(),
            queued_runs: Gauge::default(),
            active_runners: Gauge::default(),
            // 100 µs to 1.6 s: the goal is 10 ms.
            start_skew: Histogram::new(exponential_buckets(0.0001, 4.0, 8)),
            // 1 s to 17 min: pods that must be scheduled and pulled.
            start_delay: Histogram::new(exponential_buckets(1.0, 2.0, 11)),
            reconciles: Family::default(),
            reconcile_duration: Family::new_with_constructor(durations),
            reconcile_errors: Family::default(),
            reports: Counter::default(),
            reports_refused: Family::default(),
            records_produced: Counter::default(),
            records_not_indexed: Counter::default(),
            records_pending: Gauge::default(),
            leader: Gauge::default(),
            lease_failures: Counter::default(),
        };
        metrics.begin();
        metrics.registered()
    }

    /// All series from the beginning: an alert on an increase sees the first one too.
    fn begin(&self) {
        for verdict in VERDICTS.map(Verdict::name) {
            drop(self.runs.get_or_create(&VerdictLabel { verdict }));
        }
        for controller in CONTROLLERS {
            let label = ControllerLabel { controller };
            drop(self.reconciles.get_or_create(&label));
            drop(self.reconcile_duration.get_or_create(&label));
            for class in CLASSES {
                let label = ErrorLabel { controller, class };
                drop(self.reconcile_errors.get_or_create(&label));
            }
        }
        for reason in REFUSAL_REASONS {
            drop(self.reports_refused.get_or_create(&RefusedLabel { reason }));
        }
    }

    fn registered(mut self) -> Self {
        let registry = &mut self.registry;
        registry.register("runs", "Runs that finished", self.runs.clone());
        registry.register("active_runs", "Runs under way", self.active_runs.clone());
        registry.register(
            "queued_runs",
            "Runs that wait for others to end",
            self.queued_runs.clone(),
        );
        registry.register(
            "active_runners",
            "Ready runners of runs under way",
            self.active_runners.clone(),
        );
        registry.register_with_unit(
            "start_skew",
            "Largest difference between the beginnings of a run's runners",
            Unit::Seconds,
            self.start_skew.clone(),
        );
        registry.register_with_unit(
            "start_delay",
            "From the creation of a run to its start",
            Unit::Seconds,
            self.start_delay.clone(),
        );
        registry.register("reconciles", "Reconciles", self.reconciles.clone());
        registry.register_with_unit(
            "reconcile_duration",
            "Length of a reconcile",
            Unit::Seconds,
            self.reconcile_duration.clone(),
        );
        registry.register(
            "reconcile_errors",
            "Reconciles that failed",
            self.reconcile_errors.clone(),
        );
        registry.register(
            "reports",
            "Reports of runners that were taken",
            self.reports.clone(),
        );
        registry.register(
            "reports_refused",
            "Reports of runners that were refused",
            self.reports_refused.clone(),
        );
        registry.register(
            "records_produced",
            "Requests of finished runs",
            self.records_produced.clone(),
        );
        registry.register(
            "records_not_indexed",
            "Requests of finished runs whose documents were rejected, dropped or lost",
            self.records_not_indexed.clone(),
        );
        registry.register(
            "records_pending",
            "Requests of runs under way whose documents are not in the search server yet",
            self.records_pending.clone(),
        );
        registry.register(
            "leader",
            "1 while this replica holds the lease and acts, 0 otherwise",
            self.leader.clone(),
        );
        registry.register(
            "lease_failures",
            "Requests about the lease that failed or had no answer",
            self.lease_failures.clone(),
        );
        self
    }

    /// The text that `/metrics` serves.
    ///
    /// # Errors
    /// Never in practice: writing into a string cannot fail.
    pub fn render(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests;
