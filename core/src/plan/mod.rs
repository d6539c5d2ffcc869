//! The plan: a test with every default resolved, every name checked and every template parsed.
//!
//! It is what the operator writes into the run's `ConfigMap` and what `loadtest run` gives to local
//! runners. It holds no secrets, only the paths where they are mounted.

mod inputs;
mod lane;
mod load;
mod results;
mod step;
mod target;
mod uses;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use inputs::{
    DataFormat, DataOrder, DataScope, DataShare, DataSource, Feeder, Inputs, OnExhausted,
    SecretFile, TargetAuth, ValueKey, ValueScope,
};
pub use lane::{Lane, MAX_LANES};
pub use load::{Arrivals, Load, RateStage, UserStage};
pub use results::{
    Auth, DEFAULT_DATA_STREAM_PREFIX, DEFAULT_SPOOL_LIMIT, Elasticsearch, Files, Flavor, RawMode,
    Results,
};
pub use step::{
    Assignment, Check, Condition, Conditional, Custom, Extract, Flow, From, Loop, OnMissing,
    PauseRange, Pick, Repeat, Request, Step, Task, Test, Until, When,
};
pub use target::{ClientCertificate, HostRule, Origin, Protocol, Scheme, Target, TargetTls};
pub use uses::Uses;

use crate::{scalar::duration_text, threshold::Threshold};

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
    /// Every timed group, in the order of first use; steps refer to it by index.
    pub groups: Vec<GroupKey>,
    /// What templates draw from.
    pub inputs: Inputs,
    /// What is done once for the whole run, before and after the load.
    pub once: Option<Box<Once>>,
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

impl RunIdentity {
    /// Of a plan that is made to be looked at, and belongs to no run.
    pub fn nobody() -> Self {
        Self {
            id: String::new(),
            namespace: String::new(),
            test: String::new(),
            name: String::new(),
            number: 1,
            seed: 0,
        }
    }
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
    /// The flows that it uses.
    pub flows: Flows,
}

/// The flows of a scenario. A flow that two scenarios use is in both, so that each has its own
/// request numbers and rows.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Flows {
    /// Steps refer to them by index; never in a circle.
    pub all: Vec<Flow>,
    /// What a user does once before its first iteration.
    pub on_start: Option<u32>,
    /// What a user does once after its last iteration.
    pub on_stop: Option<u32>,
}

/// What runner 0 does once for the whole run. It is no load: its requests are in no result.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Once {
    /// The flows that it uses.
    pub flows: Vec<Flow>,
    /// Before the barrier; its values are everybody's as `$(setup.NAME)`.
    pub setup: Option<u32>,
    /// After the last iteration of all runners, when the setup was done.
    pub teardown: Option<u32>,
    /// Names of its checks: in messages only, not among [`Plan::checks`]. Its requests refer to them
    /// by index.
    #[serde(default)]
    pub checks: Vec<String>,
    /// Its groups, not among [`Plan::groups`]. Its steps refer to them by index.
    #[serde(default)]
    pub groups: Vec<GroupKey>,
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

/// A timed group of steps within a scenario, or a request that is repeated until a check holds.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupKey {
    /// Scenario name.
    pub scenario: String,
    /// Group name.
    pub name: String,
}

impl Plan {
    /// Every request step of the load in the order of its number: scenario, name of the task or
    /// flow that it stands in, and the request. A scenario's tasks come before its flows.
    pub fn requests(&self) -> impl Iterator<Item = (&Scenario, &str, &Request)> {
        let steps = self.steps();
        steps.filter_map(|(scenario, place, step)| Some((scenario, place, step.as_request()?)))
    }

    /// Every step of a step kind of the load, in the order of its number.
    pub fn customs(&self) -> impl Iterator<Item = &Custom> {
        self.steps().filter_map(|(_, _, step)| step.as_custom())
    }

    fn steps(&self) -> impl Iterator<Item = (&Scenario, &str, &Step)> {
        self.scenarios.iter().flat_map(|scenario| {
            let tasks = scenario.tasks.iter().map(|task| (&task.name, &task.steps));
            let flows = scenario
                .flows
                .all
                .iter()
                .map(|flow| (&flow.name, &flow.steps));
            tasks.chain(flows).flat_map(move |(place, steps)| {
                let steps = steps.iter();
                steps.map(move |step| (scenario, place.as_str(), step))
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
