//! When a test runs, and what of its runs is kept.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::scalar::{Duration, DurationOrZero};

/// When a run starts. `OnApply`: when the `LoadTest` is created, and again when an edit changes what
/// a run does or the `runToken`. Manual: only when somebody creates a `LoadTestRun`, or a schedule
/// does.
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

/// What happens when a run is due while another one is under way.
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

/// Whose Jobs are deleted.
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
