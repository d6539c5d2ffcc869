//! Of all replicas of the operator at most one acts at any moment: the one that holds a Lease.
//!
//! - [`election`]: the rules, as a state machine.
//! - [`Keeper`]: carries its requests to the API server.
//! - [`Leadership`]: the answer to "may I act now?", asked anew before each write.
//! - [`endpoint`]: leads runners to the replica that acts.
//!
//! Architecture invariant: nothing is written to the cluster but through
//! [`Context::writer`](crate::context::Context::writer), which asks [`Leadership`]. Only the lease
//! itself and the certificate authority, both guarded by their resource versions, are written without.

pub mod election;
pub mod endpoint;
mod keeper;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

pub use self::keeper::{Keeper, Standing};

/// Whether this process may act. A clone sees what the others see.
#[derive(Debug, Clone)]
pub struct Leadership {
    origin: Instant,
    /// Microseconds since `origin`; 0: not at all.
    valid_until: Arc<AtomicU64>,
}

impl Leadership {
    /// Of a process that has not been elected.
    pub fn none() -> Self {
        Self {
            origin: Instant::now(),
            valid_until: Arc::default(),
        }
    }

    /// Whether the lease is valid now, by this process's own clock. Never keep the answer.
    pub fn is_valid(&self) -> bool {
        let until = self.valid_until.load(Ordering::Acquire);
        self.now() < Duration::from_micros(until)
    }

    /// The election's clock.
    fn now(&self) -> election::LocalTime {
        self.origin.elapsed()
    }

    fn publish(&self, until: Option<election::LocalTime>) {
        let micros = until.map_or(0, |until| {
            u64::try_from(until.as_micros()).unwrap_or(u64::MAX)
        });
        self.valid_until.store(micros, Ordering::Release);
    }

    /// Of a process that acts, for tests.
    #[cfg(test)]
    pub(crate) fn held() -> Self {
        let leadership = Self::none();
        leadership.publish(Some(Duration::from_hours(1)));
        leadership
    }
}

#[cfg(test)]
mod tests;
