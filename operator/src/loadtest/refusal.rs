//! What a test says when the API server refuses to make its next run. Pure.

use loadtest_crds::{LoadTestStatus, status::kind};

use crate::error::Error;

/// A sentence in a status has at most 1,024 characters.
const LONGEST: usize = 512;

/// The word of conditions that wait for the run.
const PENDING: &str = "Pending";

/// Why a run is not made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    /// One word for conditions and events.
    pub(super) reason: &'static str,
    /// One sentence.
    pub(super) message: String,
}

impl Refusal {
    /// Of an error that is one: others go by themselves, and nobody need be told.
    pub(super) fn of(error: &Error) -> Option<Self> {
        let words = error.refusal()?;
        let reason = if words.contains("exceeded quota") {
            "QuotaExceeded"
        } else {
            "RunRefused"
        };
        let message = format!("the next run cannot be created: {words}");
        let message = message.chars().take(LONGEST).collect();
        Some(Self { reason, message })
    }

    /// Says it in a status, where it stays with what it says first: a sentence that differs from try
    /// to try, as that of a webhook may, would be a change that makes the next try.
    pub(super) fn tell(self, status: &mut LoadTestStatus, before: Option<&LoadTestStatus>) {
        let told = self.told(before).map(str::to_owned);
        let message = told.unwrap_or(self.message);
        let waiting = status.result.conditions.iter_mut();
        for condition in waiting.filter(|c| c.reason == PENDING && !c.message.is_empty()) {
            self.reason.clone_into(&mut condition.reason);
            condition.message.clone_from(&message);
        }
        status.result.message = Some(message);
    }

    /// What was said of it before.
    pub(super) fn told<'a>(&self, before: Option<&'a LoadTestStatus>) -> Option<&'a str> {
        let mut conditions = before?.result.conditions.iter();
        let told = conditions.find(|c| c.kind == kind::RECONCILING && c.reason == self.reason);
        told.map(|condition| condition.message.as_str())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refusal(message: &str) -> Refusal {
        Refusal {
            reason: "RunRefused",
            message: message.to_owned(),
        }
    }

    #[test]
    fn a_refusal_in_other_words_is_not_news() {
        let status: LoadTestStatus = serde_json::from_value(json!({"conditions": [
            {"type": "Reconciling", "status": "True", "reason": "Pending", "message": "soon",
             "lastTransitionTime": "2026-01-01T00:00:00Z"},
            {"type": "Stalled", "status": "False", "reason": "Pending", "message": "",
             "lastTransitionTime": "2026-01-01T00:00:00Z"},
        ]}))
        .unwrap();
        let mut first = status.clone();
        refusal("no (request 1)").tell(&mut first, Some(&status));
        assert_eq!(first.result.message.as_deref(), Some("no (request 1)"));
        assert_eq!(first.result.conditions[0].reason, "RunRefused");
        assert_eq!(first.result.conditions[0].message, "no (request 1)");
        assert_eq!(first.result.conditions[1], status.result.conditions[1]);
        let mut second = status;
        refusal("no (request 2)").tell(&mut second, Some(&first));
        assert_eq!(second, first);
    }
}
