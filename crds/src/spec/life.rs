//! When a test runs, and what of its runs is kept.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    rule,
    scalar::{BaselineRun, Duration, DurationOrZero, WorseBy},
};

/// When a run starts. `OnApply`: when the `LoadTest` is created, and again when an edit changes what
/// a run does or the `runToken`. Manual: only when somebody creates a `LoadTestRun`, or a schedule
/// does. Default: `OnApply`, or Manual with a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Start {
    /// On creation and on changes of what a run does.
    OnApply,
    /// Only by hand or by a schedule.
    Manual,
}

/// Runs at certain times, as a `CronJob` does.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Schedule {
    /// Minute, hour, day of the month, month and day of the week: `0 3 * * 1-5` is 3 o'clock on
    /// working days. Also @hourly, @daily, @weekly, @monthly and @yearly.
    #[schemars(length(min = 1, max = 128))]
    pub cron: String,
    /// Time zone by its IANA name, such as Europe/Berlin; default Etc/UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub time_zone: Option<String>,
    /// What happens when a run is due while another one is under way. Forbid (default): it begins
    /// when the other one has ended. Replace: the other one is stopped first, gracefully.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency_policy: Option<ConcurrencyPolicy>,
    /// A run that could not begin within this time after it was due is left out, such as 10m;
    /// default: it begins as soon as it can, and of several that were missed the last one only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub starting_deadline: Option<Duration>,
}

/// What happens when a run is due while another one is under way. Forbid (default): it begins when
/// the other one has ended. Replace: the other one is stopped first, gracefully.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ConcurrencyPolicy {
    /// It waits.
    #[default]
    Forbid,
    /// The other one is stopped.
    Replace,
}

/// What is deleted after runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Cleanup {
    /// Whose Jobs, and with them the pods and their logs, are deleted: those of runs that passed
    /// (OnSuccess, default), of all (Always), or of none (Never).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jobs: Option<CleanJobs>,
    /// How long after the end of a run its Job is deleted, such as 30m; default 1h.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<DurationOrZero>,
    /// How many finished runs are kept, the last ones, with their results; default 10.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub keep_runs: Option<i32>,
}

/// An earlier run that runs are compared with, and by how much they may be worse.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Baseline {
    /// Which run: LastPassed, the last run of this test before it that passed, which cleanup then
    /// keeps; or a run of this test by its name, such as shop-12.
    pub run: BaselineRun,
    /// Numbers that may not get worse by more than so much, 1 to 8. A run whose thresholds all hold
    /// and that got worse has the verdict Failed with the reason Regressed. For example
    /// `{ metric: latency.p99, worseBy: 10% }`.
    #[schemars(length(min = 1, max = 8))]
    pub tolerances: Vec<Tolerance>,
}

/// A number that may not get worse by more than so much.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Tolerance {
    /// As in thresholds: latency, serviceTime and group with p50, p75, p90, p95, p99, p999, mean, min
    /// or max; errors.ratio, checks.ratio, requests.rate, iterations.rate, delivered.ratio.
    #[schemars(length(min = 1, max = 32))]
    pub metric: String,
    /// Only one request or one group, by its name: request for latency, serviceTime, errors.ratio and
    /// requests.rate, group for the metric group. Default: all of the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<ToleranceSelector>,
    /// How much worse than the baseline's it may be, such as 10%: more for times and errors, less for
    /// rates, checks and delivered. Of a ratio these are percentage points: 1% lets errors go from 0%
    /// to 1%.
    pub worse_by: WorseBy,
}

/// One request or one group, which only one scenario has: exactly one member.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::from(rule::TOLERANCE_SELECTOR))]
pub struct ToleranceSelector {
    /// Name of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub request: Option<String>,
    /// Name of the group.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub group: Option<String>,
}

/// Whose Jobs, and with them the pods and their logs, are deleted. `OnSuccess` (default): those of
/// runs that passed. Always: those of all. Never: those of none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum CleanJobs {
    /// Those of runs that passed: the pods of others may tell why.
    #[default]
    OnSuccess,
    /// All.
    Always,
    /// None.
    Never,
}
