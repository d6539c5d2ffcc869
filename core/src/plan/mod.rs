//! The plan: a test with every default resolved, every name checked and every template parsed.
//!
//! It is what the operator writes into the run's `ConfigMap` and what `loadtest run` gives to local
//! runners. It holds no secrets, only the paths where they are mounted.

mod load;
mod results;
mod target;

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

pub use load::{Arrivals, Load, RateStage, UserStage};
pub use results::{Auth, DEFAULT_SPOOL_LIMIT, Elasticsearch, Files, Flavor, RawMode, Results};
pub use target::{ClientCertificate, HostRule, Origin, Protocol, Scheme, Target, TargetTls};

use crate::{
    scalar::{StatusRange, duration_text, optional_duration_text},
    template::Template,
    threshold::Threshold,
};

/// At most this many request names per test; more would make every report and status grow.
pub const MAX_SERIES: usize = 200;

/// All that runners and the coordinator need to know of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// Which run this is.
    pub run: RunIdentity,
    /// The server under test.
    pub target: Target,
    /// Loads that run side by side.
    pub scenarios: Vec<Scenario>,
    /// Every request name, in the order of first use; requests refer to it by index.
    pub series: Vec<SeriesKey>,
    /// Every check name, in the order of first use; checks refer to it by index.
    pub checks: Vec<String>,
    /// What must hold.
    pub thresholds: Vec<Threshold>,
    /// How many runners share the load.
    pub runners: u32,
    /// What becomes of the run when a runner is lost.
    pub on_lost: OnLost,
    /// How long runners may take to register.
    #[serde(with = "duration_text")]
    pub start_timeout: Duration,
    /// Requests that were to begin within this time from the start of the run are recorded and
    /// exported, but are in no summary and no threshold. Shorter than the load.
    #[serde(with = "duration_text")]
    pub warm_up: Duration,
    /// Hard end of the load part, from its start.
    #[serde(with = "duration_text")]
    pub max_duration: Duration,
    /// Where results go besides the status.
    pub results: Results,
}

/// Names of a run, as they appear in status, documents and the `User-Agent`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunIdentity {
    /// 32 hex digits, see [`crate::identity::run_id`].
    pub id: String,
    /// Namespace of the test; `local` for a local run.
    pub namespace: String,
    /// Name of the `LoadTest`.
    pub test: String,
    /// Name of the `LoadTestRun`, also of a local run.
    pub name: String,
    /// Number of the run within its test, from 1.
    pub number: i64,
    /// Seed of every random choice, so that a run can be repeated.
    pub seed: u64,
}

/// A named load and the tasks that its users do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Scenario {
    /// Unique name.
    pub name: String,
    /// Begins this long after the start of the run.
    #[serde(with = "duration_text")]
    pub start_after: Duration,
    /// How much, and how long.
    pub load: Load,
    /// How long iterations that are under way at the end may take.
    #[serde(with = "duration_text")]
    pub graceful_stop: Duration,
    /// How long a user keeps a connection.
    pub connections: Connections,
    /// How long a user keeps the cookies that it is given.
    pub cookies: Cookies,
    /// Chosen by weight at each iteration.
    pub tasks: Vec<Task>,
}

/// What becomes of a run when a runner is lost after the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnLost {
    /// It ends with the verdict Error.
    #[default]
    Fail,
    /// The others go on; what is left is judged, and the load was not delivered.
    Continue,
}

/// How long a user keeps a connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Connections {
    /// As long as the server does.
    #[default]
    KeepAlive,
    /// Closed after each iteration: every iteration is a new visitor.
    PerIteration,
    /// Closed after each request.
    PerRequest,
}

/// How long a user keeps the cookies that it is given.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cookies {
    /// Forgotten after each iteration.
    #[default]
    Iteration,
    /// Kept for the user's life.
    User,
    /// Never kept.
    Off,
}

/// A list of steps; one pass is an iteration.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Task {
    /// Name, unique within the scenario.
    pub name: String,
    /// In each block of the sum of all weights a task runs exactly `weight` times.
    pub weight: u32,
    /// Wait after each iteration (closed models), drawn evenly from the range.
    pub think_time: Option<PauseRange>,
    /// Closed models: from the start of an iteration of this task to the start of the user's
    /// next one; at once when it took longer.
    #[serde(with = "optional_duration_text")]
    pub pacing: Option<Duration>,
    /// What to do.
    pub steps: Vec<Step>,
}

/// One step of a task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Step {
    /// Send a request and read the answer.
    Request(Box<Request>),
    /// Wait.
    Pause(PauseRange),
}

/// A wait, drawn evenly from `min..=max`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PauseRange {
    /// Shortest.
    #[serde(with = "duration_text")]
    pub min: Duration,
    /// Longest.
    #[serde(with = "duration_text")]
    pub max: Duration,
}

/// An HTTP request, what counts as its success, and how it is named.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// Number of this request step in the plan, from 0; raw records refer to it.
    pub step: u32,
    /// Index into [`Plan::series`].
    pub series: u32,
    /// Method in upper case.
    pub method: String,
    /// Index into [`Target::other_origins`], `None` for the target's own.
    pub origin: Option<u32>,
    /// Path and query, base path included, beginning with `/`.
    pub path: Template,
    /// Headers in order; `Host`, `User-Agent` and `Content-Length` are added by the engine
    /// unless they are here.
    pub headers: Vec<(String, Template)>,
    /// Body, if any.
    pub body: Option<Template>,
    /// From the moment the user turns to it to the last byte of the answer, connecting included.
    #[serde(with = "duration_text")]
    pub timeout: Duration,
    /// How many redirects are followed; each is a request of its own under the same name.
    pub follow_redirects: u8,
    /// Status codes of a success.
    pub success: Vec<StatusRange>,
    /// Into every raw document of this request.
    pub labels: BTreeMap<String, String>,
    /// A failed check makes the request failed.
    pub checks: Vec<Check>,
}

/// Something an answer must fulfil.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Check {
    /// Index into [`Plan::checks`].
    pub index: u32,
    /// What must hold.
    pub condition: Condition,
}

/// What a check looks at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Condition {
    /// The status code lies in one of the ranges.
    Status(Vec<StatusRange>),
    /// The body has this text.
    BodyContains(String),
}

/// A row of the results: a request name within a scenario.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SeriesKey {
    /// Scenario name.
    pub scenario: String,
    /// Request name.
    pub name: String,
    /// Method of the first request of this name; for tables.
    pub method: String,
}

impl Plan {
    /// Every request step in the order of its number.
    pub fn requests(&self) -> impl Iterator<Item = (&Scenario, &Task, &Request)> {
        self.scenarios.iter().flat_map(|scenario| {
            scenario.tasks.iter().flat_map(move |task| {
                task.steps.iter().filter_map(move |step| match step {
                    Step::Request(request) => Some((scenario, task, request.as_ref())),
                    Step::Pause(_) => None,
                })
            })
        })
    }

    /// When the last scenario stops to begin iterations, from the start of the run.
    pub fn load_duration(&self) -> Duration {
        self.scenarios
            .iter()
            .map(|scenario| scenario.start_after + scenario.load.duration())
            .max()
            .unwrap_or_default()
            .min(self.max_duration)
    }

    /// The longest time that iterations may take to end after [`Self::load_duration`].
    pub fn graceful_stop(&self) -> Duration {
        self.scenarios
            .iter()
            .map(|scenario| scenario.graceful_stop)
            .max()
            .unwrap_or_default()
    }

    /// The canonical bytes: what the `ConfigMap` holds and what the hash is made of.
    ///
    /// # Errors
    /// Only when serialisation itself fails, which a plan made by us never does.
    pub fn to_bytes(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }

    /// Reads what [`Self::to_bytes`] wrote.
    ///
    /// # Errors
    /// When the bytes are not a plan of this version.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }
}
