//! The spec of a test, as people write it. No field has a default in the schema: a default inside
//! a list makes every client-side apply say "configured". [`crate::plan`] resolves what is left
//! out, and the plan shows it.

// These comments are what `kubectl explain` prints, where backticks only disturb.
#![allow(clippy::doc_markdown)]

mod answer;
mod input;
mod life;
mod load;
mod request;
mod results;
mod scenario;
mod step;
mod target;
mod threshold;

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use answer::{
    Check, Extract, ExtractFrom, HeaderCheck, JsonPathCheck, OnMissing, Pick, Until, ValueScope,
};
pub use input::{
    ClientCredentials, Data, DataFormat, DataFrom, DataOrder, DataScope, DataShare, OnExhausted,
    SecretValue, TargetAuth, TargetBasic, TargetBearer,
};
pub use life::{
    Baseline, CleanJobs, Cleanup, ConcurrencyPolicy, Schedule, Start, Tolerance, ToleranceSelector,
};
pub use load::{
    Arrivals, ConstantRate, ConstantUsers, Load, PerUserIterations, RampingRate, RampingUsers,
    RateStage, SharedIterations, UserStage,
};
pub use request::{Body, FormField, Method, Part, Request};
pub use results::{
    ApiKeyAuth, AuthRef, BasicAuth, BearerAuth, CaRef, Elasticsearch, Flavor, KeyRef, Raw, RawMode,
    Results, SearchTls,
};
pub use scenario::{Connections, Cookies, Pause, Scenario, Task};
pub use step::{Call, Custom, CustomCheck, Flow, ForEach, Group, Parallel, Repeat, Step, When};
pub use target::{ClientCertificateRef, Protocol, Proxy, Target, TargetTls};
pub use threshold::{Abort, Selector, Threshold};

use crate::{
    rule,
    scalar::{AnyObject, Duration, IntOrText, Name, ObjectName},
    status::{LoadTestRunStatus, LoadTestStatus},
};

/// A load test of an HTTP service. Applying it runs it: the operator makes a `LoadTestRun`, starts
/// the runners together, merges what they measure and writes one verdict into the status.
#[derive(CustomResource, KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "loadtest.dev",
    version = "v1alpha1",
    kind = "LoadTest",
    plural = "loadtests",
    namespaced,
    shortname = "ltest",
    category = "loadtesting",
    status = "LoadTestStatus",
    derive = "PartialEq",
    doc = "A load test of an HTTP service. Applying it runs it: the operator makes a LoadTestRun, starts the runners together, merges what they measure and writes one verdict into the status.",
    validation = Rule::from(rule::TEST_NAME),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Verdict", type_ = "string", json_path = ".status.verdict"),
    printcolumn(name = "RPS", type_ = "string", json_path = ".status.summary.rate"),
    printcolumn(name = "P95", type_ = "string", json_path = ".status.summary.latency.p95"),
    printcolumn(name = "Errors", type_ = "string", json_path = ".status.summary.errorRatio"),
    printcolumn(name = "Runners", type_ = "string", json_path = ".status.run.runnersReady"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "P99", type_ = "string", json_path = ".status.summary.latency.p99", priority = 1),
    printcolumn(name = "Requests", type_ = "integer", json_path = ".status.summary.requests", priority = 1),
    printcolumn(name = "Run", type_ = "integer", json_path = ".status.run.number", priority = 1),
    printcolumn(name = "Target", type_ = "string", json_path = ".spec.target.url", priority = 1),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.message", priority = 1)
)]
#[serde(rename_all = "camelCase")]
pub struct LoadTestSpec {
    /// What is run.
    #[serde(flatten)]
    pub test: TestSpec,
    /// When a run starts. OnApply (default without a schedule): when the LoadTest is created, and
    /// again when an edit changes what a run does or runToken. Manual (default with a schedule): only
    /// when somebody creates a LoadTestRun, or the schedule does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<Start>,
    /// Change it to run the same test again: any number or text.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxLength" = 128))]
    pub run_token: Option<IntOrText>,
    /// true: start no runs. A run under way goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
    /// Run at certain times, as a CronJob does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,
    /// What is deleted after runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cleanup: Option<Cleanup>,
    /// An earlier run of this test that its runs are compared with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub baseline: Option<Baseline>,
}

/// One execution of a test. The operator makes them for a `LoadTest`; a pipeline may create its
/// own with `generateName`. The status holds the full result.
#[derive(CustomResource, KubeSchema, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "loadtest.dev",
    version = "v1alpha1",
    kind = "LoadTestRun",
    plural = "loadtestruns",
    namespaced,
    shortname = "ltrun",
    category = "loadtesting",
    status = "LoadTestRunStatus",
    derive = "PartialEq",
    doc = "One execution of a test. The operator makes them for a LoadTest; a pipeline may create its own with generateName. The status holds the full result.",
    validation = Rule::from(rule::RUN_NAME),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Verdict", type_ = "string", json_path = ".status.verdict"),
    printcolumn(name = "RPS", type_ = "string", json_path = ".status.summary.rate"),
    printcolumn(name = "P95", type_ = "string", json_path = ".status.summary.latency.p95"),
    printcolumn(name = "Errors", type_ = "string", json_path = ".status.summary.errorRatio"),
    printcolumn(name = "Runners", type_ = "string", json_path = ".status.run.runnersReady"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "P99", type_ = "string", json_path = ".status.summary.latency.p99", priority = 1),
    printcolumn(name = "Requests", type_ = "integer", json_path = ".status.summary.requests", priority = 1),
    printcolumn(name = "Run", type_ = "integer", json_path = ".status.run.number", priority = 1),
    printcolumn(name = "Target", type_ = "string", json_path = ".spec.test.target.url", priority = 1),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.message", priority = 1)
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::from(rule::RUN),
    validation = Rule::from(rule::RUN_NUMBER),
    validation = Rule::from(rule::RUN_REF),
    validation = Rule::from(rule::RUN_TEST)
)]
pub struct LoadTestRunSpec {
    /// The LoadTest that this is a run of. Without `test` its spec is taken as it is when the run
    /// starts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load_test_ref: Option<LoadTestRef>,
    /// Number of the run within its test, from 1; set by the operator.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 99_999))]
    pub number: Option<i64>,
    /// What is run: a copy of the LoadTest's spec at the time, or a test of its own. It is read
    /// once, when the run starts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test: Option<TestSpec>,
    /// true: stop the run gracefully. Works once and is harmless afterwards.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cancel: Option<bool>,
}

/// A `LoadTest` in the same namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LoadTestRef {
    /// Its name.
    pub name: ObjectName,
}

/// What a test does: target, load, expectations, runners and results.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TestSpec {
    /// The service under test.
    pub target: Target,
    /// Named loads that run side by side, 1 to 16.
    #[schemars(length(min = 1, max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub scenarios: Vec<Scenario>,
    /// Named lists of steps, at most 32, that tasks and other flows do by name: with call, group,
    /// repeat and parallel, as a task's flow, as onStart, onStop, setup and teardown. Never in a
    /// circle. For example `{ name: login, steps: [{ request: { method: POST, url: /login } }] }`,
    /// which a step does with `call: { flow: login }`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub flows: Vec<Flow>,
    /// Name of a flow that one runner does once, before the load of all: to make what the test
    /// needs. What it extracts or sets everybody has as `$(setup.NAME)`. Its requests are in no
    /// result; if one fails, the run ends with the verdict Error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub setup: Option<Name>,
    /// Name of a flow that one runner does once, after the last iteration of all: to remove what
    /// the setup has made. Its requests are in no result.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub teardown: Option<Name>,
    /// Rows of data for users, at most 16 tables: `$(products.id)`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub data: Vec<Data>,
    /// Secrets for templates, at most 32: `$(secret.token)`. They are shown nowhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub secrets: Vec<SecretValue>,
    /// How requests to the target prove who they are: exactly one of basic, bearer and
    /// oauth2ClientCredentials. Default: not at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<TargetAuth>,
    /// Constants for templates: `region: eu` is `$(var.region)` in urls, headers and bodies.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub variables: BTreeMap<String, IntOrText>,
    /// What must hold for the run to pass, evaluated on the merged results of all runners. Without
    /// any, a run passes when its load was delivered and not all requests failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub thresholds: Vec<Threshold>,
    /// The pods that send the load.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runners: Option<Runners>,
    /// Where results go besides the status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub results: Option<Results>,
    /// The first part of the load, shorter than it, such as 10s: requests that were to begin within
    /// it are sent and exported (stage warm-up), but are in no number of the summary and in no
    /// threshold. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warm_up: Option<Duration>,
    /// Hard end of the load, counted from its start; a run that reaches it ends with the verdict
    /// Error. Default: what the scenarios need, their gracefulStop and one minute. It never cuts
    /// the export of results.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_duration: Option<Duration>,
}

/// The pods that send the load.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Runners {
    /// How many pods share the load, 1 to 1000; default 1. Rates and users of a test are totals:
    /// they are split so that the parts add up exactly.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub count: Option<i32>,
    /// What becomes of the run when a pod is lost after the start. Fail (default): it ends with the
    /// verdict Error. Continue: the others go on, thresholds decide on what is left, and the
    /// condition LoadDelivered is False.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_lost: Option<OnLost>,
    /// How long all runners together may take to be ready; default 5m. Then the run ends with the
    /// verdict Error and the cluster's own reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_timeout: Option<Duration>,
    /// A pod template that is merged over the operator's own, lists by their keys: node selectors,
    /// tolerations, resources and so on. The load container is named `runner`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<AnyObject>,
}

/// What becomes of a run when a pod is lost after the start. Fail (default): it ends with the verdict
/// Error. Continue: the others go on, thresholds decide on what is left, and the condition
/// `LoadDelivered` is False.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnLost {
    /// It ends.
    Fail,
    /// The others go on.
    Continue,
}

impl TestSpec {
    /// How many runners share the load.
    pub fn runner_count(&self) -> u32 {
        self.runners
            .as_ref()
            .and_then(|runners| runners.count)
            .and_then(|count| u32::try_from(count).ok())
            .unwrap_or(1)
    }
}
