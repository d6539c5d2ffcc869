//! Kinds of failures of one worker: how often each came, and whether samples of it are wanted.

use std::collections::HashMap;

use loadtest_core::series::{ErrorKey, Outcome};

use super::{
    failure::{Detail, Failure},
    redaction::cut,
    samples::{PER_KIND, PER_RUNNER, Wanted},
};
use crate::pool::Stage;

/// Failures of more kinds than this are forgotten as kinds at the end of a window, not as counts.
const KINDS_KEPT: usize = 1_024;

/// Longest message of a failure, in bytes.
pub const MESSAGE_BYTES: usize = 256;

/// Warm-up or not, request name, failure.
type Key = (bool, u32, Failure);

/// The kinds.
#[derive(Debug)]
pub struct Kinds {
    known: HashMap<Key, Kind>,
    /// How many more samples may be taken.
    samples_left: u32,
}

#[derive(Debug)]
struct Kind {
    message: String,
    count: u64,
    /// Samples that were taken of it.
    sampled: u32,
}

impl Kinds {
    /// None yet.
    pub fn new(with_samples: bool) -> Self {
        Self {
            known: HashMap::new(),
            samples_left: if with_samples { PER_RUNNER } else { 0 },
        }
    }

    /// Counts a failure. Returns its message, and what is known of a sample if one is wanted: not
    /// yet when it was.
    pub fn count(
        &mut self,
        warm_up: bool,
        series: u32,
        failure: Failure,
        check_names: &[String],
    ) -> (&str, Option<Box<Wanted>>) {
        let (outcome, check) = (failure.outcome, failure.detail.check());
        let kind = self
            .known
            .entry((warm_up, series, failure))
            .or_insert_with_key(|(.., failure)| Kind {
                message: cut(&failure.message(check_names), MESSAGE_BYTES).to_owned(),
                count: 0,
                sampled: 0,
            });
        kind.count += 1;
        let is_wanted = self.samples_left > 0 && kind.sampled < PER_KIND;
        let wanted = is_wanted.then(|| {
            self.samples_left -= 1;
            let check = check.and_then(|check| check_names.get(check as usize));
            Box::new(kind.sample(outcome, warm_up, check))
        });
        (&kind.message, wanted)
    }

    /// Whether samples of an answer with this status are wanted, as far as is known before it is
    /// judged.
    pub fn wants(&self, warm_up: bool, series: u32, status: u16, is_success: bool) -> bool {
        let kind = (warm_up, series, Failure::status(status));
        let is_new = |kind: Option<&Kind>| kind.is_none_or(|kind| kind.sampled < PER_KIND);
        // A success fails by a check, and nobody knows yet by which.
        self.samples_left > 0 && (is_success || is_new(self.known.get(&kind)))
    }

    /// Tells what was counted since this was last asked, with whether it was in the warm-up.
    pub fn take_counts(&mut self, mut tell: impl FnMut(bool, ErrorKey, u64)) {
        for ((warm_up, series, failure), kind) in &mut self.known {
            let count = std::mem::take(&mut kind.count);
            if count > 0 {
                let key = ErrorKey {
                    outcome: failure.outcome,
                    series: *series,
                    message: kind.message.clone(),
                };
                tell(*warm_up, key, count);
            }
        }
        if self.known.len() > KINDS_KEPT {
            // Those of which there are samples are few.
            self.known.retain(|_, kind| kind.sampled > 0);
        }
    }
}

impl Kind {
    /// Counts a sample. When and how long is not known here.
    #[cold]
    fn sample(&mut self, outcome: Outcome, warm_up: bool, check: Option<&String>) -> Wanted {
        self.sampled += 1;
        Wanted {
            stage: if warm_up { Stage::WarmUp } else { Stage::Load },
            outcome,
            message: self.message.clone(),
            check: check.cloned(),
            sent_ns: 0,
            latency_us: 0,
        }
    }
}

impl Detail {
    /// Index of the check that did not hold, if it was one.
    fn check(&self) -> Option<u32> {
        match self {
            Self::Check(index, _) => Some(*index),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_messages_are_cut_between_characters() {
        let message = |text: String| {
            let mut kinds = Kinds::new(false);
            let failure = Failure::said(Outcome::Protocol, text);
            kinds.count(false, 0, failure, &[]).0.len()
        };
        assert_eq!(message("é".repeat(200)), 256);
        assert_eq!(message(format!("a{}", "é".repeat(200))), 255);
    }

    #[test]
    fn samples_are_wanted_of_the_first_of_each_kind() {
        let mut kinds = Kinds::new(true);
        let mut wanted = |warm_up, status| {
            let failure = Failure::status(status);
            let wants = kinds.wants(warm_up, 0, status, false);
            let wanted = kinds.count(warm_up, 0, failure, &[]).1;
            assert_eq!(wanted.is_some(), wants);
            wants
        };
        let first = [true, true, true, false];
        assert_eq!([(); 4].map(|()| wanted(false, 500)), first);
        assert_eq!([(); 4].map(|()| wanted(true, 500)), first);
        assert_eq!([(); 4].map(|()| wanted(false, 503)), first);
        let more = (600..1_000).filter(|status| wanted(false, *status));
        assert_eq!(more.count(), 91);
        let mut none = Kinds::new(false);
        let counted = none.count(false, 0, Failure::status(500), &[]);
        assert_eq!((counted.0, counted.1.is_none()), ("status 500", true));
    }
}
