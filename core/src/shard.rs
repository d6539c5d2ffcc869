//! How a whole is split so that the parts add up to it exactly, for any number of parts.
//!
//! A runner is part `i` of `n`; a worker thread of it is part `i + n·w` of `n·workers`. Both use
//! the same functions, so arrivals of all workers of all runners interleave to the whole schedule.

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
