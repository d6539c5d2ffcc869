//! Samples: the first failed exchanges of each kind, with what the server said.

use loadtest_core::series::Outcome;
use serde::{Deserialize, Serialize};

use super::Stage;

/// A failed exchange that is kept. Texts are bounded, and secrets of the plan are not in them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureSample {
    /// From 0, one more each; of the runner.
    pub number: u32,
    /// When the request was sent, nanoseconds after the pool's [`Anchor`](super::Anchor).
    pub sent_ns: u64,
    /// Warm-up or load.
    pub stage: Stage,
    /// Index of the request's name.
    pub series: u32,
    /// Number of its scenario in the plan.
    pub scenario: u32,
    /// Number of its step in the plan.
    pub step: u32,
    /// Number of the user.
    pub user: u32,
    /// Number of the user's iteration.
    pub iteration: u32,
    /// Number of the request within the iteration.
    pub sequence: u32,
    /// How it failed.
    pub outcome: Outcome,
    /// How it failed, in words; those of the counted error.
    pub message: String,
    /// Name of the check that did not hold, if it was one.
    pub check: Option<String>,
    /// Where the request went.
    pub url: String,
    /// Status, 0 without a whole answer.
    pub status: u16,
    /// From the intended start to the end, microseconds.
    pub latency_us: u64,
    /// What the server says the body is; empty if it does not.
    pub content_type: String,
    /// The beginning of the body as text.
    pub body: String,
    /// How long the whole body was, as it came.
    pub body_bytes: u64,
    /// What is not shown of the body, and why; empty if all is.
    pub note: String,
}
