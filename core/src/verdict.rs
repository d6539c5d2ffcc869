//! The verdict of a run and the reason for it.

use serde::{Deserialize, Serialize};

/// What a run came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// Every threshold held on the merged data.
    Passed,
    /// A threshold was breached.
    Failed,
    /// The generator did not deliver the load, so the numbers say nothing about the target.
    Invalid,
    /// The run could not be carried out.
    Error,
    /// Somebody stopped it.
    Aborted,
}

impl Verdict {
    /// The word in status, documents and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Passed => "Passed",
            Self::Failed => "Failed",
            Self::Invalid => "Invalid",
            Self::Error => "Error",
            Self::Aborted => "Aborted",
        }
    }
}

/// Why; one word for conditions, events and metrics.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reason {
    /// Every threshold held.
    ThresholdsMet,
    /// At least one threshold was breached at the end.
    ThresholdBreached,
    /// Every threshold held, but a number got worse than the baseline's by more than is tolerated.
    Regressed,
    /// Not one request succeeded, and no threshold speaks of errors.
    AllRequestsFailed,
    /// No request was made.
    NoRequests,
    /// Arrivals began late because of the generator.
    LoadNotDelivered,
    /// A runner ended or fell silent before its final report.
    RunnerLost,
    /// A runner could not begin: its own words are in the message.
    RunnerFailed,
    /// Not all runners registered within `startTimeout`, or the setup took as long.
    StartTimeout,
    /// `maxDuration` passed before the load was done.
    DeadlineExceeded,
    /// The run was cancelled.
    CancelRequested,
    /// What the cluster said, in its own word (`ImagePullFailed`, `Unschedulable`, `OOMKilled` …).
    Cluster(String),
}

impl Reason {
    /// The word.
    pub fn name(&self) -> &str {
        match self {
            Self::ThresholdsMet => "ThresholdsMet",
            Self::ThresholdBreached => "ThresholdBreached",
            Self::Regressed => "Regressed",
            Self::AllRequestsFailed => "AllRequestsFailed",
            Self::NoRequests => "NoRequests",
            Self::LoadNotDelivered => "LoadNotDelivered",
            Self::RunnerLost => "RunnerLost",
            Self::RunnerFailed => "RunnerFailed",
            Self::StartTimeout => "StartTimeout",
            Self::DeadlineExceeded => "DeadlineExceeded",
            Self::CancelRequested => "CancelRequested",
            Self::Cluster(word) => word,
        }
    }
}

/// A verdict with its reason and a sentence a person can act on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judgement {
    /// What the run came to.
    pub verdict: Verdict,
    /// Why, in one word.
    pub reason: Reason,
    /// Why, in one sentence.
    pub message: String,
}
