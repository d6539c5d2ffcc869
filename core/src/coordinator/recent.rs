//! The last seconds of a run, for `progress`.
//!
//! Deltas arrive about once a second from each runner, never quite in step. So each delta is counted
//! with the time that it covers, and a rate is requests over covered time: since runners have equal
//! shares of the load, it is right whether the window happens to hold four deltas of a runner or six.

use std::{collections::VecDeque, time::Duration};

use crate::{histogram::Histogram, report::UnixMicros, series::Series};

const WINDOW_SECONDS: i64 = 5;

/// Length of the window.
pub(super) const WINDOW: Duration = Duration::from_secs(WINDOW_SECONDS.unsigned_abs());

const SECOND: i64 = 1_000_000;

/// What arrived in the last seconds, merged by second of arrival: its size does not depend on the
/// number of runners.
#[derive(Debug, Default)]
pub(super) struct Recent {
    seconds: VecDeque<Arrived>,
}

#[derive(Debug, Default)]
struct Arrived {
    second: i64,
    requests: u64,
    failures: u64,
    latency: Histogram,
    /// Time that the deltas cover, summed over runners.
    covered: i64,
}

/// Rates and latencies of the window.
#[derive(Debug, Default)]
pub(super) struct Window {
    pub(super) rate: f64,
    pub(super) error_ratio: f64,
    pub(super) latency: Histogram,
}

impl Recent {
    /// Counts what a runner measured from `since` to `now`.
    pub(super) fn add(&mut self, series: &Series, since: UnixMicros, now: UnixMicros) {
        let second = now.div_euclid(SECOND);
        if self.seconds.back().is_none_or(|last| last.second != second) {
            self.seconds.push_back(Arrived {
                second,
                ..Arrived::default()
            });
        }
        while self
            .seconds
            .front()
            .is_some_and(|first| first.second <= second - WINDOW_SECONDS)
        {
            self.seconds.pop_front();
        }
        if let Some(last) = self.seconds.back_mut() {
            last.requests += series.requests;
            last.failures += series.failures;
            last.latency.merge(&series.latency);
            last.covered += (now - since).max(0);
        }
    }

    /// The window that ends at `now`, of a run with so many runners.
    pub(super) fn window(&self, runners: u32, now: UnixMicros) -> Window {
        let oldest = now.div_euclid(SECOND) - WINDOW_SECONDS;
        let (mut requests, mut failures, mut covered) = (0, 0, 0);
        let mut latency = Histogram::default();
        for arrived in self
            .seconds
            .iter()
            .filter(|arrived| arrived.second > oldest)
        {
            requests += arrived.requests;
            failures += arrived.failures;
            covered += arrived.covered;
            latency.merge(&arrived.latency);
        }
        let ratio = |part: f64, whole: f64| if whole > 0.0 { part / whole } else { 0.0 };
        Window {
            rate: ratio(
                requests as f64 * f64::from(runners),
                covered as f64 / SECOND as f64,
            ),
            error_ratio: ratio(failures as f64, requests as f64),
            latency,
        }
    }
}
