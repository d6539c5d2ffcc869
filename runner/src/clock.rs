//! One monotonic clock for everything that is measured, tied to the wall clock once.
//!
//! Durations come from `CLOCK_MONOTONIC` alone. The wall clock is read exactly once per process
//! (the anchor), so a step of it in mid-run moves nothing that was measured.

use std::time::{SystemTime, UNIX_EPOCH};

use loadtest_core::report::UnixMicros;

/// Nanoseconds of `CLOCK_MONOTONIC`.
pub type Nanos = u64;

/// Nanoseconds of a microsecond.
pub const MICRO: Nanos = 1_000;
/// Nanoseconds of a millisecond.
pub const MILLI: Nanos = 1_000_000;
/// Nanoseconds of a second.
pub const SECOND: Nanos = 1_000_000_000;

/// Now.
#[inline]
pub fn now() -> Nanos {
    crate::sys::monotonic_ns()
}

/// The same moment on both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WallAnchor {
    /// Unix time, nanoseconds.
    pub wall_ns: i64,
    /// Monotonic time, nanoseconds.
    pub mono_ns: Nanos,
}

impl WallAnchor {
    /// This moment.
    pub fn now() -> Self {
        let wall = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            wall_ns: wall.as_nanos() as i64,
            mono_ns: now(),
        }
    }

    /// Unix time in microseconds of a monotonic time.
    pub fn unix_micros(&self, at: Nanos) -> UnixMicros {
        self.unix_nanos(at).div_euclid(MICRO.cast_signed())
    }

    fn unix_nanos(&self, at: Nanos) -> i64 {
        self.wall_ns + at.cast_signed() - self.mono_ns.cast_signed()
    }

    /// The first boundary after `at` of the wall-clock grid with lines `step` apart.
    pub fn next_boundary(&self, at: Nanos, step: Nanos) -> Nanos {
        let step = step.max(1).cast_signed();
        let into = self.unix_nanos(at).rem_euclid(step);
        at + (step - into).cast_unsigned()
    }
}

/// What the coordinator's clock shows, as far as round trips tell.
///
/// The answer was made somewhere between the send and the receipt; its middle is wrong by half the
/// round trip at most, so the shortest round trip says the most.
#[derive(Debug, Clone, Copy, Default)]
pub struct RemoteClock {
    best: Option<Sample>,
}

#[derive(Debug, Clone, Copy)]
struct Sample {
    round_trip: Nanos,
    /// Remote Unix nanoseconds minus local monotonic nanoseconds.
    offset_ns: i64,
}

impl RemoteClock {
    /// Learns from one answer.
    pub fn observe(&mut self, sent: Nanos, received: Nanos, remote: UnixMicros) {
        let round_trip = received.saturating_sub(sent);
        if self.best.is_none_or(|best| round_trip < best.round_trip) {
            let middle = (sent + round_trip / 2).cast_signed();
            self.best = Some(Sample {
                round_trip,
                offset_ns: remote * MICRO.cast_signed() - middle,
            });
        }
    }

    /// The monotonic time of a moment on the remote clock; `None` before the first answer.
    pub fn to_local(&self, remote: UnixMicros) -> Option<Nanos> {
        self.best.map(|best| {
            (remote * MICRO.cast_signed() - best.offset_ns)
                .max(0)
                .cast_unsigned()
        })
    }

    /// The remote clock at a monotonic time; `None` before the first answer.
    pub fn to_remote(&self, local: Nanos) -> Option<UnixMicros> {
        self.best
            .map(|best| (local.cast_signed() + best.offset_ns).div_euclid(MICRO.cast_signed()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boundaries_lie_on_the_wall_clock() {
        let anchor = WallAnchor {
            wall_ns: 10_400_000_000,
            mono_ns: 1_000_000_000,
        };
        assert_eq!(anchor.unix_micros(1_100_000_000), 10_500_000);
        assert_eq!(anchor.next_boundary(1_000_000_000, SECOND), 1_600_000_000);
        assert_eq!(anchor.next_boundary(1_600_000_000, SECOND), 2_600_000_000);
        assert_eq!(
            anchor.next_boundary(1_000_000_000, 5 * SECOND),
            5_600_000_000
        );
    }

    #[test]
    fn the_shortest_round_trip_wins() {
        let mut clock = RemoteClock::default();
        assert_eq!(clock.to_local(5), None);
        clock.observe(1_000, 9_001_000, 77);
        // The remote clock is 1,000 µs ahead of the local one.
        clock.observe(10_000, 12_000, 1_011);
        clock.observe(50_000, 90_000, 1_300);
        assert_eq!(clock.to_local(2_000), Some(1_000_000));
        assert_eq!(clock.to_remote(1_000_000), Some(2_000));
    }
}
