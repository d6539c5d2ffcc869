//! What runners and the coordinator say to each other, about once a second.
//!
//! `POST {control}/v1/runs/{run id}/runners/{index}/{engine|exporter}` with a report, answered by
//! an [`Answer`]. Both bodies are `MessagePack` with field names ([`encode`], [`decode`]).
//!
//! Reports may be lost, repeated or late. What was measured travels as one frozen [`Delta`] per
//! engine, resent unchanged until it is acknowledged; the coordinator merges each sequence once. A
//! coordinator that was restarted has a new epoch and knows nothing: the first delta of an epoch
//! is everything since the start of the run.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    bounded,
    series::{Series, SeriesSet},
    view::RunView,
};

/// Unix time in microseconds, on the coordinator's clock unless said otherwise.
pub type UnixMicros = i64;

/// A duration to add to a [`UnixMicros`]; bounded, so that a sum of a few cannot overflow.
pub fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX / 4)
}

/// Largest report that a coordinator takes.
pub const MAX_REPORT_BYTES: usize = 4 << 20;

/// Path of a report.
pub fn report_path(run_id: &str, runner: u32, part: Part) -> String {
    format!("/v1/runs/{run_id}/runners/{runner}/{}", part.name())
}

/// The two processes of a runner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// Sends the load.
    Engine,
    /// Sends the results.
    Exporter,
}

impl Part {
    /// The word in the path.
    pub fn name(self) -> &'static str {
        match self {
            Self::Engine => "engine",
            Self::Exporter => "exporter",
        }
    }
}

/// Where an engine stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum EngineState {
    /// Plan read, connections possible, waiting for the start.
    Ready,
    /// Sending load.
    Running,
    /// No new iterations; those under way may end.
    Stopping,
    /// Runner 0 of a plan with a teardown: its iterations have ended, and it waits for
    /// [`Desired::TearDown`].
    LoadDone,
    /// All is over; with the delta of this report everything was reported.
    Finished,
}

/// An engine's report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EngineReport {
    /// Which life of this runner; a pod's engine has only one.
    pub incarnation: u32,
    /// Hash of the plan that it read; must be the run's.
    pub plan_hash: String,
    /// Where it stands.
    pub state: EngineState,
    /// The coordinator epoch it knows, 0 before the first answer.
    pub epoch: u64,
    /// What was measured and not yet acknowledged.
    pub delta: Option<Delta>,
    /// When it began, on the coordinator's clock as far as it could be measured.
    pub began: Option<UnixMicros>,
    /// When all iterations were made, if that was before the planned end of the load; known with
    /// state `Finished`.
    pub load_ended: Option<UnixMicros>,
    /// Users that are in an iteration or between two.
    pub users: u32,
    /// Raw records, cumulative.
    pub records: RecordCounts,
    /// How the generator itself is doing.
    pub health: GeneratorHealth,
    /// A signal ended it before the load was done: what it reports is true, but not all.
    pub interrupted: bool,
    /// Why it cannot go on, in a sentence; with state `Finished`.
    pub failure: Option<String>,
    /// What the setup left, from its end on; only of runner 0, which does it.
    #[serde(default, deserialize_with = "bounded::optional_map")]
    pub setup: Option<BTreeMap<String, String>>,
    /// Why the teardown did not go well, in a sentence: worth telling, but the run was what it was.
    pub teardown_failure: Option<String>,
    /// Feeders that ran out of rows and stopped a scenario, by index.
    #[serde(deserialize_with = "bounded::list")]
    pub exhausted: Vec<u32>,
}

/// What was measured since the delta before, or since the start of the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Delta {
    /// Rises by one with each delta of this engine.
    pub sequence: u64,
    /// Everything since the start of the run: the first delta of an epoch.
    pub full: bool,
    /// The measurements, without those of the warm-up.
    pub set: SeriesSet,
    /// Requests of the warm-up.
    pub warm_up: Series,
}

/// Raw records as the engine counts them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordCounts {
    /// One per request that ended.
    pub produced: u64,
    /// Left out because `raw.mode` says so.
    pub sampled_out: u64,
    /// Lost because the pool was full.
    pub dropped: u64,
}

/// How the generator itself is doing, cumulative or worst over the run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct GeneratorHealth {
    /// CPU time of the engine's workers over wall time and workers, last second: 0 to 1.
    pub cpu: f64,
    /// Highest `cpu` of any second.
    pub cpu_max: f64,
    /// Time that the cgroup was throttled, microseconds.
    pub throttled_us: u64,
    /// Highest share of any second, over its workers, that the cgroup was throttled: 0 to 1.
    pub throttled_max: f64,
    /// Worst time between two turns of a worker's loop while work was due, microseconds.
    pub worst_lag_us: u64,
    /// Resident memory, bytes.
    pub rss: u64,
    /// Highest share of the record pool in use: 0 to 1.
    pub pool_high_water: f64,
}

/// Where an exporter stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExporterState {
    /// Sending as records come.
    Running,
    /// Everything is resolved or given up; nothing will change any more.
    Finished,
}

/// An exporter's report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExporterReport {
    /// Where it stands.
    pub state: ExporterState,
    /// One document per request: the conservation law of the run.
    pub requests: ExportCounts,
    /// Interval and run documents.
    pub aggregates: ExportCounts,
    /// The latest problem, in the server's words; empty when there is none.
    pub problem: String,
}

/// produced = indexed + rejected + sampledOut + dropped + lost + pending, always.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportCounts {
    /// Records that the engine made.
    pub produced: u64,
    /// The server (or file) has them; confirmed repeats included.
    pub indexed: u64,
    /// The server refused them for good.
    pub rejected: u64,
    /// Left out because `raw.mode` says so.
    pub sampled_out: u64,
    /// Never reached the exporter: the pool was full.
    pub dropped: u64,
    /// Reached the exporter and are gone.
    pub lost: u64,
    /// On their way.
    pub pending: u64,
    /// Requests to the server that were repeated.
    pub retries: u64,
    /// Whether the server's own count says the same as `indexed`; `None` when nobody knows.
    pub verified: Option<bool>,
}

impl ExportCounts {
    /// Of no exporter: what merging begins with, and what leaves nothing to verify.
    pub const NOTHING: Self = Self {
        produced: 0,
        indexed: 0,
        rejected: 0,
        sampled_out: 0,
        dropped: 0,
        lost: 0,
        pending: 0,
        retries: 0,
        verified: Some(true),
    };

    /// Adds another exporter's counts. One that nobody verified leaves the sum unverified; one that
    /// is wrong makes the sum wrong.
    pub fn merge(&mut self, other: &Self) {
        self.produced += other.produced;
        self.indexed += other.indexed;
        self.rejected += other.rejected;
        self.sampled_out += other.sampled_out;
        self.dropped += other.dropped;
        self.lost += other.lost;
        self.pending += other.pending;
        self.retries += other.retries;
        self.verified = match (self.verified, other.verified) {
            (Some(false), _) | (_, Some(false)) => Some(false),
            (Some(true), Some(true)) => Some(true),
            (None, _) | (_, None) => None,
        };
    }

    /// Whether the conservation law holds.
    pub fn balanced(&self) -> bool {
        self.produced
            == self.indexed
                + self.rejected
                + self.sampled_out
                + self.dropped
                + self.lost
                + self.pending
    }

    /// Whether every record that was wanted is indexed.
    pub fn complete(&self) -> bool {
        self.produced == self.indexed + self.sampled_out
    }
}

/// The coordinator's answer to any report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// Identity of this coordinator's memory, never 0; another one means: send everything.
    pub epoch: u64,
    /// Highest sequence of this engine that was merged in this epoch.
    pub acknowledged: Option<u64>,
    /// The coordinator's clock when it answered.
    pub clock: UnixMicros,
    /// What to be doing.
    pub desired: Desired,
    /// What the setup left, to engines, from its end until they have begun.
    pub setup: Option<BTreeMap<String, String>>,
}

/// The state that a runner should bring about; repeated in every answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Desired {
    /// Not all runners are here yet, or the setup is being done.
    Wait,
    /// Only to runner 0: all runners are here, do the setup, once.
    SetUp,
    /// Begin at this time, or have begun.
    StartAt(UnixMicros),
    /// Begin no iterations; let those under way end within `gracefulStop`.
    Stop,
    /// Only to runner 0 in state `LoadDone`: all other engines have ended, do the teardown.
    TearDown,
    /// Only to exporters: all engines have ended and the run is judged. Drain, let runner 0 write
    /// the end document with this view, and report `Finished`.
    Finish(Box<RunView>),
    /// Your final report is recorded where it survives the coordinator: exit.
    Exit,
}

/// Why a body was refused.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// Could not be written.
    #[error("cannot encode the message: {0}")]
    Encode(#[from] rmp_serde::encode::Error),
    /// Could not be read.
    #[error("cannot decode the message: {0}")]
    Decode(#[from] rmp_serde::decode::Error),
}

/// Writes a message.
///
/// # Errors
/// Only when a histogram cannot be serialised, which ours never is.
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, WireError> {
    Ok(rmp_serde::to_vec_named(message)?)
}

/// Reads a message.
///
/// # Errors
/// When the bytes are not such a message.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, WireError> {
    Ok(rmp_serde::from_slice(bytes)?)
}
