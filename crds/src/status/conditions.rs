//! Conditions: what programs wait on and act on. `lastTransitionTime` moves only when the status
//! of a condition changes, so an unchanged run is an unchanged object.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// Types of conditions.
pub mod kind {
    /// The spec was understood and everything in it exists.
    pub const ACCEPTED: &str = "Accepted";
    /// Load was sent.
    pub const STARTED: &str = "Started";
    /// All is over: what a pipeline waits on.
    pub const FINISHED: &str = "Finished";
    /// The verdict is Passed; Unknown while active.
    pub const SUCCEEDED: &str = "Succeeded";
    /// The load was sent as the test asks for.
    pub const LOAD_DELIVERED: &str = "LoadDelivered";
    /// Every result that was wanted is stored.
    pub const RESULTS_EXPORTED: &str = "ResultsExported";
    /// A number got worse than the baseline's by more than is tolerated; only of runs that have one.
    pub const REGRESSED: &str = "Regressed";
    /// kstatus: in progress.
    pub const RECONCILING: &str = "Reconciling";
    /// kstatus: failed.
    pub const STALLED: &str = "Stalled";
}

/// A condition, as everywhere in Kubernetes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// Which one.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// The generation of the spec that it speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// When the status changed last.
    pub last_transition_time: Time,
    /// Why, in one word.
    pub reason: String,
    /// Why, in one sentence.
    pub message: String,
}

/// Whether a condition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not.
    False,
    /// Not yet known.
    Unknown,
}

impl From<bool> for ConditionStatus {
    fn from(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}

// k8s-openapi's schema of conditions has no bounds; this is that of metav1.Condition.
impl JsonSchema for Condition {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Condition".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A condition: type, status (True, False or Unknown), reason and message.",
            "type": "object",
            "required": ["type", "status", "lastTransitionTime", "reason", "message"],
            "properties": {
                "type": {
                    "description": "Which one.",
                    "type": "string",
                    "maxLength": 316,
                    "pattern": "^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$"
                },
                "status": {
                    "description": "Whether it holds.",
                    "type": "string",
                    "enum": ["True", "False", "Unknown"]
                },
                "observedGeneration": {
                    "description": "The generation of the spec that it speaks of.",
                    "type": "integer",
                    "format": "int64",
                    "minimum": 0
                },
                "lastTransitionTime": {
                    "description": "When the status changed last.",
                    "type": "string",
                    "format": "date-time"
                },
                "reason": {
                    "description": "Why, in one word.",
                    "type": "string",
                    "minLength": 1,
                    "maxLength": 1024,
                    "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"
                },
                "message": {
                    "description": "Why, in one sentence.",
                    "type": "string",
                    "maxLength": 32_768
                }
            }
        })
    }
}

/// A condition as it is observed now, before it is compared with what was written before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// Which one, see [`kind`].
    pub kind: &'static str,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// Why, in one word.
    pub reason: String,
    /// Why, in one sentence.
    pub message: String,
    /// The generation that it speaks of.
    pub generation: i64,
}

/// Conditions to write: `observed` in its order; the transition time of each is kept from
/// `previous` when its status is the same, and is `now` otherwise.
pub fn merge(previous: &[Condition], observed: Vec<Observed>, now: &Time) -> Vec<Condition> {
    observed
        .into_iter()
        .map(|condition| {
            let since = previous
                .iter()
                .find(|before| before.kind == condition.kind && before.status == condition.status)
                .map_or_else(|| now.clone(), |before| before.last_transition_time.clone());
            Condition {
                kind: condition.kind.to_owned(),
                status: condition.status,
                observed_generation: Some(condition.generation),
                last_transition_time: since,
                reason: condition.reason,
                message: condition.message,
            }
        })
        .collect()
}
