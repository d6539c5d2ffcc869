//! Waits between attempts: full jitter from 250 ms to 30 s.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

const FIRST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(30);

/// The waits of one delivery.
#[derive(Debug)]
pub(super) struct Backoff {
    ceiling: Duration,
    /// The standard library's seed from the system: jitter needs no more.
    random: RandomState,
    step: u64,
}

impl Backoff {
    pub(super) fn new() -> Self {
        Self {
            ceiling: FIRST,
            random: RandomState::new(),
            step: 0,
        }
    }

    /// The next wait: anything up to a ceiling that doubles.
    pub(super) fn next(&mut self) -> Duration {
        self.step += 1;
        let share = self.random.hash_one(self.step) as f64 / u64::MAX as f64;
        let wait = self.ceiling.mul_f64(share);
        self.ceiling = (self.ceiling * 2).min(LONGEST);
        wait
    }

    /// Back to the first ceiling, after a success.
    pub(super) fn reset(&mut self) {
        self.ceiling = FIRST;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_limit_and_differ() {
        let mut backoff = Backoff::new();
        let first: Vec<_> = (0..3).map(|_| backoff.next()).collect();
        assert!(
            first
                .iter()
                .zip([250, 500, 1_000])
                .all(|(wait, most)| wait.as_millis() <= most)
        );
        let long: Vec<_> = (0..200).map(|_| backoff.next()).collect();
        assert!(long.iter().all(|wait| *wait <= LONGEST));
        assert!(long.iter().max() > Some(&Duration::from_secs(15)));
        assert_ne!(long.first(), long.last());
        backoff.reset();
        assert!(backoff.next() <= FIRST);
    }
}
