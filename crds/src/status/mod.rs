//! The status of a test and of a run, as people and programs read it.
//!
//! Numbers are counts; everything with a unit is text that is ready to be read: `12.4ms`, `0.25%`,
//! `199.9/s`. `loadtest run -o json` prints the same shape.

mod conditions;
mod convert;
mod mirror;
mod rows;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use conditions::{Condition, ConditionStatus, Observed, kind, merge as merge_conditions};
pub use convert::{
    Facts, queued_run_status, refusal, refused_run_status, run_status, time_of, waiting_run_status,
};
pub use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
pub use mirror::{LastRunFacts, Next, TestFacts, load_test_status};
pub use rows::{DATA_MISSING, QUEUED};

/// Status of a `LoadTestRun`.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LoadTestRunStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Where the run stands, for people: Pending, Starting, Running, Stopping, Exporting, Finished.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub phase: Option<String>,
    /// What it came to; empty while active. Passed; Failed: a threshold was breached; Invalid: the
    /// load was not delivered, so the numbers say nothing about the target; Error: the run could
    /// not be carried out; Aborted: somebody stopped it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub verdict: Option<String>,
    /// One sentence that a person can act on.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub message: Option<String>,
    /// Identity, times and runners of the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<RunFacts>,
    /// Results merged over all runners.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<Summary>,
    /// The last five seconds of a run under way; written at most every 5 seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
    /// How the load generator itself was doing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generator: Option<Generator>,
    /// Each threshold with what was observed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub thresholds: Vec<ThresholdRow>,
    /// How the run compares with its baseline; left out without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub baseline: Option<BaselineRows>,
    /// What became of the document of each request:
    /// produced = indexed + rejected + sampledOut + dropped + lost + pending, always.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub export: Option<Export>,
    /// Accepted, Started, Finished, Succeeded, `LoadDelivered`, `ResultsExported`, Reconciling,
    /// Stalled, and Regressed with a baseline. Wait for a run with `kubectl wait --for=condition=Finished`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// Status of a `LoadTest`: that of its last run, and which run that is.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LoadTestStatus {
    /// The last run, in short.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_run: Option<LastRun>,
    /// When the schedule starts the next run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "time_schema")]
    pub next_schedule_time: Option<Time>,
    /// The last run's status.
    #[serde(flatten)]
    pub result: LoadTestRunStatus,
}

/// The last run of a test, in short.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LastRun {
    /// Name of the `LoadTestRun`.
    #[schemars(length(max = 253))]
    pub name: String,
    /// Its number.
    pub number: i64,
    /// What it came to; empty while active.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub verdict: Option<String>,
    /// When its load began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "time_schema")]
    pub start_time: Option<Time>,
    /// When all was over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "time_schema")]
    pub completion_time: Option<Time>,
    /// Hash of what the run was made from; another one asks for another run.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub run_key: Option<String>,
}

/// Identity, times and runners of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunFacts {
    /// Number within the test, from 1.
    pub number: i64,
    /// Id of the run in every document, and in the User-Agent of every request.
    #[schemars(length(max = 64))]
    pub id: String,
    /// Hash of the plan that every runner verified.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub plan_hash: Option<String>,
    /// When the load began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "time_schema")]
    pub start_time: Option<Time>,
    /// When all was over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "time_schema")]
    pub completion_time: Option<Time>,
    /// Largest measured difference between the runners' beginnings.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub start_skew: Option<String>,
    /// Runners by state.
    pub runners: RunnerRow,
    /// Ready of expected runners, such as 2/2; once finished, those that were not lost.
    #[schemars(length(max = 32))]
    pub runners_ready: String,
}

/// Runners by state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunnerRow {
    /// Asked for.
    pub expected: i32,
    /// Registered and not lost.
    pub ready: i32,
    /// Gone before their final report.
    pub lost: i32,
}

/// Results merged over all runners.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Length of the load, as far as it went, without the warm-up.
    #[schemars(length(max = 32))]
    pub duration: String,
    /// Requests of the warm-up, which are in no other number here; left out without a warm-up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warm_up_requests: Option<i64>,
    /// Requests that were sent a second time, because the server had closed the connection of the
    /// first: it may have seen them twice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resent: Option<i64>,
    /// Requests that ended.
    pub requests: i64,
    /// Those that failed: no success by status, a failed check, or no answer.
    pub failures: i64,
    /// Failures over requests.
    #[schemars(length(max = 32))]
    pub error_ratio: String,
    /// Requests per second.
    #[schemars(length(max = 32))]
    pub rate: String,
    /// Iterations per second that the test asks for; left out for closed models.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub offered: Option<String>,
    /// Share of the iterations that were to begin that did, in time or late.
    #[schemars(length(max = 32))]
    pub delivered: String,
    /// Iterations that ended.
    pub iterations: i64,
    /// Those of them that ended early, because a value was not in an answer; left out when none did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iterations_failed: Option<i64>,
    /// Bytes written.
    pub bytes_sent: i64,
    /// Bytes read.
    pub bytes_received: i64,
    /// From the intended start to the last byte of the answer.
    pub latency: Latencies,
    /// From the send to the last byte of the answer.
    pub service_time: Latencies,
    /// By request name, most requests first; at most 50 and then one row "(other)".
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 51))]
    pub requests_by_name: Vec<NameRow>,
    /// Kinds of failure, most frequent first; at most 10.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub errors: Vec<ErrorRow>,
    /// Checks with how often they held; at most 32.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub checks: Vec<CheckRow>,
    /// Groups of steps with the time that they took; at most 32.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub groups: Vec<GroupRow>,
}

/// Latencies with three significant digits; `–` when there was no request.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs)]
pub struct Latencies {
    #[schemars(length(max = 32))]
    pub min: String,
    #[schemars(length(max = 32))]
    pub mean: String,
    #[schemars(length(max = 32))]
    pub p50: String,
    #[schemars(length(max = 32))]
    pub p75: String,
    #[schemars(length(max = 32))]
    pub p90: String,
    #[schemars(length(max = 32))]
    pub p95: String,
    #[schemars(length(max = 32))]
    pub p99: String,
    #[schemars(length(max = 32))]
    pub p999: String,
    #[schemars(length(max = 32))]
    pub max: String,
}

/// Results of the requests of one name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NameRow {
    /// Request name.
    #[schemars(length(max = 128))]
    pub name: String,
    /// Scenario; empty for "(other)".
    #[schemars(length(max = 128))]
    pub scenario: String,
    /// Requests that ended.
    pub requests: i64,
    /// Those that failed.
    pub failures: i64,
    /// Requests per second.
    #[schemars(length(max = 32))]
    pub rate: String,
    /// From the intended start.
    pub latency: Latencies,
}

/// A kind of failure.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ErrorRow {
    /// How the requests ended: status, check, timeout, `connect_refused` and so on.
    #[serde(rename = "type")]
    #[schemars(length(max = 64))]
    pub kind: String,
    /// Name of the requests.
    #[schemars(length(max = 128))]
    pub request: String,
    /// What was said.
    #[schemars(length(max = 1024))]
    pub message: String,
    /// How often.
    pub count: i64,
}

/// How often a check held.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CheckRow {
    /// Name of the check.
    #[schemars(length(max = 128))]
    pub name: String,
    /// Answers that fulfilled it.
    pub passed: i64,
    /// Answers that did not.
    pub failed: i64,
}

/// How often a group of steps was done, and how long that took.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GroupRow {
    /// Name of the group; "NAME until CHECK" for a request that is repeated.
    #[schemars(length(max = 128))]
    pub name: String,
    /// Scenario.
    #[schemars(length(max = 128))]
    pub scenario: String,
    /// Passes that ended.
    pub count: i64,
    /// Those in which a request failed or the iteration ended.
    pub failures: i64,
    /// From the moment the first step was due to the end of the last one, pauses included.
    pub duration: Durations,
}

/// How long groups of steps took, with three significant digits; `–` when none was done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs)]
pub struct Durations {
    #[schemars(length(max = 32))]
    pub p50: String,
    #[schemars(length(max = 32))]
    pub p90: String,
    #[schemars(length(max = 32))]
    pub p95: String,
    #[schemars(length(max = 32))]
    pub p99: String,
    #[schemars(length(max = 32))]
    pub max: String,
}

/// The last seconds of a run under way.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// Since the start of the load.
    #[schemars(length(max = 32))]
    pub elapsed: String,
    /// Requests per second over the last five seconds.
    #[schemars(length(max = 32))]
    pub rate: String,
    /// 95th percentile of latency over the last five seconds.
    #[schemars(length(max = 32))]
    pub p95: String,
    /// Failures over requests in the last five seconds.
    #[schemars(length(max = 32))]
    pub error_ratio: String,
    /// Users of all runners.
    pub users: i32,
    /// When this was computed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "time_schema")]
    pub updated_at: Option<Time>,
}

/// How the load generator itself was doing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Generator {
    /// Whether it was at its limit, so that results may speak of it and not of the target.
    pub saturated: bool,
    /// Highest CPU share of any runner in any second.
    #[schemars(length(max = 32))]
    pub cpu: String,
    /// Iterations that began late, whoever's fault.
    pub late_starts: i64,
    /// How late the latest began.
    #[schemars(length(max = 32))]
    pub worst_lateness: String,
    /// Time for which runners were kept from their CPUs by a limit.
    #[schemars(length(max = 32))]
    pub throttled: String,
}

/// A threshold with what was observed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ThresholdRow {
    /// Its name; the expression when none was given.
    #[schemars(length(max = 128))]
    pub name: String,
    /// As written.
    #[schemars(length(max = 128))]
    pub expr: String,
    /// What was observed; `–` when there was nothing to observe.
    #[schemars(length(max = 64))]
    pub observed: String,
    /// Whether it held.
    pub passed: bool,
    /// Of a threshold that may stop the load: when it was first seen not to hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "time_schema")]
    pub first_breach: Option<Time>,
}

/// A run beside the earlier one that is its baseline.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BaselineRows {
    /// Name of the `LoadTestRun` that it was compared with.
    #[schemars(length(max = 253))]
    pub run: String,
    /// Whether anything got worse by more than is tolerated.
    pub regressed: bool,
    /// Each number that may not get worse.
    #[schemars(length(max = 8))]
    pub tolerances: Vec<BaselineRow>,
}

/// A number of a run and of its baseline.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BaselineRow {
    /// Which one, and of what: `latency.p99`, `latency.p99 of GET /items`.
    #[schemars(length(max = 64))]
    pub metric: String,
    /// What the baseline observed; `–` when there was nothing to observe.
    #[schemars(length(max = 32))]
    pub before: String,
    /// What this run observed.
    #[schemars(length(max = 32))]
    pub after: String,
    /// What changed, with its sign, such as +12.5% or -1 points; `–` when that cannot be said.
    #[schemars(length(max = 32))]
    pub change: String,
    /// How much worse it may be.
    #[schemars(length(max = 32))]
    pub worse_by: String,
    /// Whether it is not worse than that.
    pub passed: bool,
}

/// What became of the document of each request.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Export {
    /// Requests that ended.
    pub produced: i64,
    /// The server has them; confirmed repeats included.
    pub indexed: i64,
    /// The server refused them for good.
    pub rejected: i64,
    /// Left out because raw.mode says so.
    pub sampled_out: i64,
    /// Never reached the exporter: its pool was full.
    pub dropped: i64,
    /// Reached the exporter and are gone.
    pub lost: i64,
    /// On their way.
    pub pending: i64,
    /// Requests to the server that were repeated.
    pub retries: i64,
    /// Whether the server, asked for its own count, has as many as indexed; absent when it was not
    /// asked or could not count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verified: Option<bool>,
    /// The latest problem, in the server's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub problem: Option<String>,
}

fn time_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({ "type": "string", "format": "date-time" })
}
