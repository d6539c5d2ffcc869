//! How a whole is split so that the parts add up to it exactly, for any number of parts.
//!
//! A runner is part `i` of `n`; a worker thread of it is part `i + n·w` of `n·workers`. Both use
//! the same functions, so arrivals of all workers of all runners interleave to the whole schedule.

use std::time::Duration;

use crate::scalar::Rate;

/// Part `index` of `parts`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// From 0.
    pub index: u32,
    /// At least 1.
    pub parts: u32,
}

impl Shard {
    /// The whole.
    pub const WHOLE: Self = Self { index: 0, parts: 1 };

    /// Part `index` of `parts` of this part.
    #[must_use]
    pub fn split(self, index: u32, parts: u32) -> Self {
        Self {
            index: self.index + self.parts * index,
            parts: self.parts * parts,
        }
    }

    /// How many of the things `0..total` belong to this part: those `≡ index (mod parts)`.
    pub fn share(self, total: u64) -> u64 {
        let (index, parts) = (u64::from(self.index), u64::from(self.parts));
        if total > index {
            (total - index).div_ceil(parts)
        } else {
            0
        }
    }

    /// The number, in the whole, of this part's `k`-th thing.
    pub fn global(self, k: u64) -> u64 {
        u64::from(self.index) + k * u64::from(self.parts)
    }
}

/// The exact schedule of a constant rate: arrival `k` of the whole is due at `k / rate`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConstantArrivals {
    rate: Rate,
    duration: Duration,
    shard: Shard,
}

impl ConstantArrivals {
    /// The arrivals of one part.
    pub fn new(rate: Rate, duration: Duration, shard: Shard) -> Self {
        Self {
            rate,
            duration,
            shard,
        }
    }

    /// How many arrivals this part has.
    pub fn count(&self) -> u64 {
        self.shard.share(self.whole())
    }

    /// When this part's `k`-th arrival is due, in nanoseconds from the start of the load, or
    /// `None` after the last.
    pub fn due(&self, k: u64) -> Option<u64> {
        let global = self.shard.global(k);
        (global < self.whole()).then(|| {
            (u128::from(global) * self.rate.per.as_nanos() / u128::from(self.rate.events)) as u64
        })
    }

    /// Arrivals of the whole: every `k` with `k / rate < duration`.
    fn whole(&self) -> u64 {
        (self.duration.as_nanos() * u128::from(self.rate.events)).div_ceil(self.rate.per.as_nanos())
            as u64
    }
}
