//! The coordinator's clock: wall time that never jumps.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use loadtest_core::report::UnixMicros;

/// Wall time read once and carried on by the monotonic clock, so that a step of the system's clock
/// in mid-run neither moves a deadline nor bends a duration.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    wall: UnixMicros,
    anchor: Instant,
}

impl Clock {
    /// A clock that agrees with the system's now.
    pub fn start() -> Self {
        let since_epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            wall: i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX / 4),
            anchor: Instant::now(),
        }
    }

    /// Unix time, microseconds.
    pub fn now(&self) -> UnixMicros {
        self.wall + i64::try_from(self.anchor.elapsed().as_micros()).unwrap_or(0)
    }
}

/// A time as a UTC timestamp.
pub fn timestamp(at: UnixMicros) -> jiff::Timestamp {
    jiff::Timestamp::from_microsecond(at).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_goes_back_and_agrees_with_the_system() {
        let clock = Clock::start();
        let (a, b) = (clock.now(), clock.now());
        assert!(a <= b);
        let system = jiff::Timestamp::now().as_microsecond();
        assert!(
            (system - b).abs() < 60_000_000,
            "{system} and {b} are the same minute"
        );
        assert_eq!(
            timestamp(1_700_000_000_000_000).to_string(),
            "2023-11-14T22:13:20Z"
        );
    }
}
