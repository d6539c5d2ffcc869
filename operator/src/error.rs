//! What can go wrong in a reconcile, and how long to wait before the next try.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// First wait after a failure.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// Longest wait.
const LONGEST_WAIT: Duration = Duration::from_mins(1);

/// Why a reconcile could not be done. It is tried again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server did not do what it was asked.
    #[error("cannot {action}: {}", words(source))]
    Api {
        /// What was tried.
        action: &'static str,
        /// What the API server said.
        #[source]
        source: Box<kube::Error>,
    },
    /// Something that we made ourselves cannot be read or written.
    #[error("{what}: {problem}")]
    Broken {
        /// What.
        what: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// Something of the cluster is not there yet.
    #[error("{0}")]
    NotYet(String),
    /// Another replica acts, or will in a moment.
    #[error("this replica does not hold the lease")]
    NotLeading,
}

/// All values of [`Error::class`].
pub const CLASSES: [&str; 8] = [
    "conflict",
    "forbidden",
    "refused",
    "api-server",
    "connection",
    "broken",
    "not-yet",
    "not-leading",
];

impl Error {
    /// An error of the API server while doing `action`.
    pub fn api(action: &'static str) -> impl Fn(kube::Error) -> Self {
        move |source| Self::Api {
            action,
            source: Box::new(source),
        }
    }

    /// A broken object of our own.
    pub fn broken(what: &'static str, problem: impl std::fmt::Display) -> Self {
        Self::Broken {
            what,
            problem: problem.to_string(),
        }
    }

    /// The metric's label; one of [`CLASSES`].
    pub fn class(&self) -> &'static str {
        match self {
            Self::Api { source, .. } => match source.as_ref() {
                kube::Error::Api(status) if status.code == 409 => "conflict",
                kube::Error::Api(status) if status.code == 403 => "forbidden",
                kube::Error::Api(status) if status.code < 500 => "refused",
                kube::Error::Api(_) => "api-server",
                _ => "connection",
            },
            Self::Broken { .. } => "broken",
            Self::NotYet(_) => "not-yet",
            Self::NotLeading => "not-leading",
        }
    }
}

impl Error {
    /// What the API server said if it refuses for good, see [`refusal`].
    pub fn refusal(&self) -> Option<&str> {
        match self {
            Self::Api { source, .. } => refusal(source),
            _ => None,
        }
    }

    /// Whether trying again cannot help and nobody need be told: what the reconcile was about is gone,
    /// or goes with its namespace.
    ///
    /// What is applied to an object that was deleted meanwhile is taken for an order to make it,
    /// which its uid forbids, and the end of its namespace before that.
    pub fn is_moot(&self) -> bool {
        let Self::Api { source, .. } = self else {
            return false;
        };
        match source.as_ref() {
            // That of a kind which is not served has no name.
            kube::Error::Api(status) if status.code == 404 => {
                let details = status.details.as_ref();
                details.is_some_and(|details| !details.name.is_empty())
            }
            kube::Error::Api(status) if status.code == 409 => {
                status.message.contains("uid mismatch")
                    || status.message.contains("Precondition failed: UID")
            }
            error => is_namespace_ending(error),
        }
    }
}

/// Whether nothing can be made any more because the namespace is being deleted.
pub fn is_namespace_ending(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else {
        return false;
    };
    let causes = status.details.iter().flat_map(|details| &details.causes);
    status.code == 403
        && causes
            .into_iter()
            .any(|cause| cause.reason == "NamespaceTerminating")
}

/// What the API server said if it refuses for good: trying the same again will not change it, or only
/// when somebody changes something else.
pub fn refusal(error: &kube::Error) -> Option<&str> {
    match error {
        kube::Error::Api(status) if matches!(status.code, 400 | 403 | 422) => Some(&status.message),
        _ => None,
    }
}

/// What the API server said, without the rest of its answer.
fn words(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        error => error.to_string(),
    }
}

/// Waits that grow with each failure of the same object.
#[derive(Debug, Default)]
pub struct Backoff {
    failures: Mutex<HashMap<String, u32>>,
    random: RandomState,
}

impl Backoff {
    /// How long to wait after one more failure of `key`.
    pub fn after_failure(&self, key: &str) -> Duration {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let count = failures.entry(key.to_owned()).or_insert(0);
        *count = count.saturating_add(1);
        let wait = FIRST_WAIT
            .saturating_mul(1 << (*count - 1).min(10))
            .min(LONGEST_WAIT);
        // Up to a quarter less, so that objects that failed together do not come together again.
        let jitter = self.random.hash_one((key, *count)) % 250;
        wait.mul_f64(1.0 - jitter as f64 / 1_000.0)
    }

    /// `key` went well.
    pub fn forget(&self, key: &str) {
        self.failures
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(key);
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    #[test]
    fn every_class_is_known_and_no_other() {
        let refused = |code| {
            let status = Status::failure("no", "No").with_code(code).boxed();
            Error::api("try")(kube::Error::Api(status))
        };
        let classes: Vec<_> = [
            refused(409),
            refused(403),
            refused(422),
            refused(500),
            Error::api("try")(kube::Error::LinesCodecMaxLineLengthExceeded),
            Error::broken("a thing", "broken"),
            Error::NotYet(String::new()),
            Error::NotLeading,
        ]
        .iter()
        .map(Error::class)
        .collect();
        assert_eq!(classes, CLASSES);
    }

    #[test]
    fn waits_grow_to_a_minute_and_start_anew_after_success() {
        let backoff = Backoff::default();
        let mut ceiling = 1.0;
        for _ in 0..20 {
            let wait = backoff.after_failure("a").as_secs_f64();
            assert!(
                wait <= ceiling && wait >= ceiling * 0.75,
                "{wait} of {ceiling}"
            );
            ceiling = f64::min(ceiling * 2.0, 60.0);
        }
        assert!(backoff.after_failure("b") <= FIRST_WAIT);
        backoff.forget("a");
        assert!(backoff.after_failure("a") <= FIRST_WAIT);
    }
}
