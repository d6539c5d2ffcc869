//! What is known of a run at a moment, as numbers. Status, tables, files and documents are all made
//! from this one value; none of them computes a number of its own.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    baseline::Comparison,
    histogram::Histogram,
    plan::Plan,
    report::{ExportCounts, UnixMicros},
    series::{GroupSeries, Series, SeriesSet},
    threshold::ThresholdResult,
    verdict::Judgement,
};

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Nothing has been made yet.
    Pending,
    /// Runners are being started and register.
    Starting,
    /// Load is sent.
    Running,
    /// No new iterations; those under way may end.
    Stopping,
    /// The load is over, results are being sent.
    Exporting,
    /// All is over.
    Finished,
}

impl Phase {
    /// The word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Starting => "Starting",
            Self::Running => "Running",
            Self::Stopping => "Stopping",
            Self::Exporting => "Exporting",
            Self::Finished => "Finished",
        }
    }
}

/// A run at a moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunView {
    /// Where it stands.
    pub phase: Phase,
    /// What it came to, from the end of the load on.
    pub judgement: Option<Judgement>,
    /// When the load began.
    pub started: Option<UnixMicros>,
    /// When all was over.
    pub completed: Option<UnixMicros>,
    /// Largest difference between the runners' beginnings, microseconds.
    pub start_skew_us: Option<u64>,
    /// Runners by state.
    pub runners: RunnerCounts,
    /// Merged over all runners; `None` before the start.
    pub summary: Option<Summary>,
    /// The last seconds, while load is sent.
    pub progress: Option<Progress>,
    /// How the generators were doing.
    pub generator: Generator,
    /// Whether the load that was asked for was delivered, from the end of the load on.
    pub delivery: Option<Delivery>,
    /// Each threshold with what was observed.
    pub thresholds: Vec<ThresholdResult>,
    /// One document per request; `None` when nothing is exported.
    pub export: Option<ExportCounts>,
    /// Interval and run documents; `None` when nothing is exported.
    pub aggregates: Option<ExportCounts>,
    /// The latest export problem, empty when there is none.
    pub export_problem: String,
    /// What is worth telling beside the verdict, one clause each: what is being done, data that ran
    /// out, a teardown that failed. The message of the judgement ends with them.
    #[serde(default)]
    pub notes: Vec<String>,
    /// How it compares with its baseline, once it was judged; `None` for a run without one.
    #[serde(default)]
    pub baseline: Option<Comparison>,
}

/// Whether the load that was asked for was delivered, and who is to blame if not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Delivery {
    /// Every arrival began in time, or there were no arrivals (closed models).
    Delivered,
    /// More than [`LATE_SHARE`] of the arrivals began late because of the generator.
    GeneratorLate,
    /// Requests could not be made for want of local ports or open files.
    GeneratorExhausted,
    /// Arrivals waited or never began because all users were waiting for the target.
    TargetSaturated,
    /// Not all of a number of iterations had begun at `maxDuration`.
    OutOfTime,
    /// A runner was lost, or the run ended early.
    Incomplete,
}

/// Share of the due arrivals that may begin late because of the generator; also share of the
/// requests that it may fail to make.
pub const LATE_SHARE: f64 = 0.01;

/// Runners by state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunnerCounts {
    /// Asked for.
    pub expected: u32,
    /// Registered and not lost.
    pub ready: u32,
    /// Gone before the load was done.
    pub lost: u32,
}

/// All requests of a run, merged.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Length of the load, as far as it went, without the warm-up.
    pub duration: Duration,
    /// Requests of the warm-up: they are in no other number here.
    pub warm_up_requests: u64,
    /// Requests that were sent a second time, because the connection that they were sent over had
    /// been closed by the server meanwhile. The target may have seen them twice.
    pub resent: u64,
    /// Totals.
    pub total: RequestStats,
    /// Iterations that ended.
    pub iterations: u64,
    /// Those of them that ended before their last step, for want of a value.
    #[serde(default)]
    pub iterations_failed: u64,
    /// Open models: iterations per second that the plan asks for; `None` for closed models.
    pub offered_rate: Option<f64>,
    /// Share of the iterations that were to begin that did, in time or late; 1 for models without
    /// a number or times of iterations.
    pub delivered: f64,
    /// By name, most requests first, at most [`MAX_NAMES`] and then one row `(other)`.
    pub by_name: Vec<NamedStats>,
    /// Most frequent first, at most [`MAX_ERRORS`].
    pub errors: Vec<ErrorStats>,
    /// In the order of the plan, at most [`MAX_CHECKS`].
    pub checks: Vec<CheckStats>,
    /// Fulfilled checks over all checks, those without a row included; `None` when there was none.
    #[serde(default)]
    pub checks_ratio: Option<f64>,
    /// In the order of the plan, at most [`MAX_GROUPS`].
    #[serde(default)]
    pub groups: Vec<GroupStats>,
}

/// Rows of `requestsByName`.
pub const MAX_NAMES: usize = 50;
/// Rows of `errors`.
pub const MAX_ERRORS: usize = 10;
/// Rows of `checks`.
pub const MAX_CHECKS: usize = 32;
/// Rows of `groups`.
pub const MAX_GROUPS: usize = 32;

/// Counts and latencies of a set of requests.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RequestStats {
    /// Requests that ended.
    pub requests: u64,
    /// Those that failed.
    pub failures: u64,
    /// Requests per second over the duration.
    pub rate: f64,
    /// Bytes written.
    pub bytes_sent: u64,
    /// Bytes read.
    pub bytes_received: u64,
    /// From the intended start.
    pub latency: LatencyStats,
    /// From the actual send.
    pub service_time: LatencyStats,
}

impl RequestStats {
    /// From a series that lasted `duration`.
    pub fn new(series: &Series, duration: Duration) -> Self {
        let seconds = duration.as_secs_f64();
        Self {
            requests: series.requests,
            failures: series.failures,
            rate: if seconds > 0.0 {
                series.requests as f64 / seconds
            } else {
                0.0
            },
            bytes_sent: series.bytes_sent,
            bytes_received: series.bytes_received,
            latency: LatencyStats::from(&series.latency),
            service_time: LatencyStats::from(&series.service_time),
        }
    }

    /// Failures over requests, 0 when there were none.
    pub fn error_ratio(&self) -> f64 {
        if self.requests == 0 {
            0.0
        } else {
            self.failures as f64 / self.requests as f64
        }
    }
}

/// Microseconds; all 0 when there was no request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct LatencyStats {
    pub min: u64,
    pub mean: f64,
    pub p50: u64,
    pub p75: u64,
    pub p90: u64,
    pub p95: u64,
    pub p99: u64,
    pub p999: u64,
    pub max: u64,
}

impl From<&Histogram> for LatencyStats {
    fn from(histogram: &Histogram) -> Self {
        Self {
            min: histogram.min(),
            mean: histogram.mean(),
            p50: histogram.quantile(0.5),
            p75: histogram.quantile(0.75),
            p90: histogram.quantile(0.9),
            p95: histogram.quantile(0.95),
            p99: histogram.quantile(0.99),
            p999: histogram.quantile(0.999),
            max: histogram.max(),
        }
    }
}

/// A row of `requestsByName`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct NamedStats {
    /// Scenario.
    pub scenario: String,
    /// Request name.
    pub name: String,
    /// Method.
    pub method: String,
    /// The numbers.
    pub stats: RequestStats,
}

/// A row of `errors`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorStats {
    /// Outcome name.
    pub kind: String,
    /// Request name, empty for `(other)`.
    pub name: String,
    /// What was said.
    pub message: String,
    /// How often.
    pub count: u64,
}

/// A row of `checks`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckStats {
    /// Name.
    pub name: String,
    /// Answers that fulfilled it.
    pub passed: u64,
    /// Answers that did not.
    pub failed: u64,
}

/// A row of `groups`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct GroupStats {
    /// Scenario.
    pub scenario: String,
    /// Name.
    pub name: String,
    /// Passes that ended.
    pub count: u64,
    /// Those in which a request failed or the iteration ended.
    pub failures: u64,
    /// From the moment the first step was due to the end of the last one, pauses included.
    pub duration: LatencyStats,
}

impl GroupStats {
    /// Failures over passes, 0 when there were none.
    pub fn error_ratio(&self) -> f64 {
        if self.count == 0 {
            0.0
        } else {
            self.failures as f64 / self.count as f64
        }
    }
}

/// The last seconds of a run under way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Since the start.
    pub elapsed: Duration,
    /// Until the last scenario stops to begin iterations.
    pub remaining: Duration,
    /// Requests per second over the last five seconds.
    pub rate: f64,
    /// Median latency over the last five seconds, microseconds.
    pub p50: u64,
    /// 95th percentile over the last five seconds, microseconds.
    pub p95: u64,
    /// 99th percentile over the last five seconds, microseconds.
    pub p99: u64,
    /// Failures over requests in the last five seconds.
    pub error_ratio: f64,
    /// Users of all runners.
    pub users: u32,
    /// When this was computed.
    pub updated: UnixMicros,
}

/// How the generators were doing, over all runners.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Generator {
    /// Whether the generator failed to make requests in time or at all, its CPU was full, or its
    /// cgroup was throttled for a good part of a second.
    pub saturated: bool,
    /// Highest CPU share of any runner in any second: 0 to 1.
    pub cpu: f64,
    /// Arrivals that began late, whoever's fault.
    pub late_starts: u64,
    /// Those of them that the generator is to blame for.
    pub late_by_generator: u64,
    /// Worst lateness, microseconds.
    pub worst_lateness_us: u64,
    /// Time that cgroups were throttled, summed, microseconds.
    pub throttled_us: u64,
}

impl Summary {
    /// From everything that was measured.
    pub fn new(
        plan: &Plan,
        set: &SeriesSet,
        warm_up_requests: u64,
        duration: Duration,
        offered: Option<f64>,
    ) -> Self {
        Self {
            duration,
            warm_up_requests,
            resent: set.resent,
            total: RequestStats::new(&set.total, duration),
            iterations: set.iterations,
            iterations_failed: set.iterations_failed,
            offered_rate: offered,
            delivered: delivered(set),
            by_name: named_stats(plan, set, duration),
            errors: error_stats(plan, set),
            checks: plan
                .checks
                .iter()
                .zip(&set.checks)
                .take(MAX_CHECKS)
                .map(|(name, (passed, failed))| CheckStats {
                    name: name.clone(),
                    passed: *passed,
                    failed: *failed,
                })
                .collect(),
            checks_ratio: set.checks_ratio(),
            groups: group_stats(plan, set),
        }
    }
}

/// Whether more arrivals began late because of the generator than a run may have.
pub fn generator_late(set: &SeriesSet) -> bool {
    set.late_by_generator as f64 > set.scheduled as f64 * LATE_SHARE
}

/// Whether the generator failed to make more requests than a run may miss.
pub fn generator_exhausted(set: &SeriesSet) -> bool {
    set.failed_by_generator() as f64 > set.total.requests as f64 * LATE_SHARE
}

/// Share of the due arrivals that began; 1 when there was none.
pub fn delivered(set: &SeriesSet) -> f64 {
    if set.scheduled == 0 {
        1.0
    } else {
        set.started as f64 / set.scheduled as f64
    }
}

fn named_stats(plan: &Plan, set: &SeriesSet, duration: Duration) -> Vec<NamedStats> {
    let mut rows: Vec<_> = plan
        .series
        .iter()
        .zip(&set.by_name)
        .filter(|(_, series)| series.requests > 0)
        .collect();
    // A stable order: by count, then as written in the plan.
    rows.sort_by_key(|(_, series)| std::cmp::Reverse(series.requests));
    let mut other = Series::default();
    for (_, series) in rows.iter().skip(MAX_NAMES) {
        other.merge(series);
    }
    let mut stats: Vec<_> = rows
        .into_iter()
        .take(MAX_NAMES)
        .map(|(key, series)| NamedStats {
            scenario: key.scenario.clone(),
            name: key.name.clone(),
            method: key.method.clone(),
            stats: RequestStats::new(series, duration),
        })
        .collect();
    if other.requests > 0 {
        stats.push(NamedStats {
            name: "(other)".to_owned(),
            stats: RequestStats::new(&other, duration),
            ..NamedStats::default()
        });
    }
    stats
}

/// Groups that were never done have a row of nothing: that is worth seeing.
fn group_stats(plan: &Plan, set: &SeriesSet) -> Vec<GroupStats> {
    let never = GroupSeries::default();
    let measured = set.groups.iter().chain(std::iter::repeat(&never));
    let rows = plan.groups.iter().zip(measured).take(MAX_GROUPS);
    rows.map(|(key, group)| GroupStats {
        scenario: key.scenario.clone(),
        name: key.name.clone(),
        count: group.count,
        failures: group.failures,
        duration: LatencyStats::from(&group.duration),
    })
    .collect()
}

fn error_stats(plan: &Plan, set: &SeriesSet) -> Vec<ErrorStats> {
    let mut rows: Vec<_> = set
        .errors
        .iter()
        .map(|(key, count)| ErrorStats {
            kind: key.outcome.name().to_owned(),
            name: plan
                .series
                .get(key.series as usize)
                .map(|series| series.name.clone())
                .unwrap_or_default(),
            message: key.message.clone(),
            count: *count,
        })
        .collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.count));
    rows.truncate(MAX_ERRORS);
    rows
}
