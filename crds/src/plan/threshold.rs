//! Thresholds, and which rows of the results they look at.

use std::time::Duration;

use loadtest_core::threshold::{Abort, Threshold};

use super::Builder;
use crate::{
    rule,
    spec::{self, TestSpec},
};

/// A breach must last this long when the test does not say.
const DEFAULT_AFTER: Duration = Duration::from_secs(10);

/// The coordinator keeps what was measured for as long as this.
const LONGEST_AFTER: Duration = Duration::from_mins(10);

/// Requests before which no breach counts when the test does not say.
const DEFAULT_MIN_REQUESTS: u64 = 100;

impl Builder<'_> {
    /// The thresholds of a test whose scenarios were built before.
    pub(super) fn thresholds(&mut self, spec: &TestSpec) -> Vec<Threshold> {
        let mut thresholds: Vec<Threshold> = Vec::with_capacity(spec.thresholds.len());
        for (index, threshold) in spec.thresholds.iter().enumerate() {
            let path = format!("{}.thresholds[{index}]", self.root);
            let Some(parsed) = self.threshold(&path, threshold) else {
                continue;
            };
            if thresholds.iter().any(|other| other.name == parsed.name) {
                let message = format!(
                    "there is another threshold named {:?}: give one of them a name of its own",
                    parsed.name
                );
                self.problem(&path, message);
            }
            thresholds.push(parsed);
        }
        thresholds
    }

    fn threshold(&mut self, path: &str, threshold: &spec::Threshold) -> Option<Threshold> {
        if let Some(name) = &threshold.name {
            self.plain_text(&format!("{path}.name"), name);
        }
        let mut parsed = match Threshold::parse(threshold.name.as_deref(), &threshold.expr) {
            Ok(parsed) => parsed,
            Err(error) => {
                self.problem(&format!("{path}.expr"), error);
                return None;
            }
        };
        parsed.series = threshold.selector.as_ref().map(|selector| {
            let path = format!("{path}.selector");
            if !parsed.metric.is_of_requests() {
                self.problem(
                    &path,
                    "checks, iterations and delivery belong to no request or scenario: use latency, serviceTime, errors, requests or bytes, or leave the selector out",
                );
            }
            self.selected(&path, selector)
        });
        parsed.abort = threshold
            .abort
            .as_ref()
            .map(|abort| self.abort(&format!("{path}.abort"), abort));
        Some(parsed)
    }

    fn abort(&mut self, path: &str, abort: &spec::Abort) -> Abort {
        let path = format!("{path}.after");
        let after = self.duration(&path, abort.after.as_deref(), DEFAULT_AFTER);
        if after > LONGEST_AFTER {
            self.problem(
                &path,
                "is longer than 10m: take a shorter time, or leave abort out",
            );
        }
        Abort {
            after,
            min_requests: abort
                .min_requests
                .and_then(|count| u64::try_from(count).ok())
                .unwrap_or(DEFAULT_MIN_REQUESTS),
        }
    }

    /// Rows of the results that a selector names.
    fn selected(&mut self, path: &str, selector: &spec::Selector) -> Vec<u32> {
        let rows = |chosen: &dyn Fn(&loadtest_core::plan::SeriesKey) -> bool| -> Vec<u32> {
            (0..)
                .zip(&self.series)
                .filter(|(_, key)| chosen(key))
                .map(|(index, _)| index)
                .collect()
        };
        let (path, rows, what) = match (&selector.request, &selector.scenario) {
            (Some(request), None) => (
                format!("{path}.request"),
                rows(&|key| key.name == *request),
                format!("no request is named {request:?}"),
            ),
            (None, Some(scenario)) => (
                format!("{path}.scenario"),
                rows(&|key| key.scenario == **scenario),
                format!("no scenario is named {:?}", &**scenario),
            ),
            _ => {
                self.problem(path, rule::SELECTOR.message());
                return Vec::new();
            }
        };
        if rows.is_empty() {
            let mut known: Vec<_> = if selector.request.is_some() {
                self.series.iter().map(|key| key.name.as_str()).collect()
            } else {
                self.series
                    .iter()
                    .map(|key| key.scenario.as_str())
                    .collect()
            };
            known.dedup();
            known.truncate(5);
            let message = format!("{what}: there are {}", known.join(", "));
            self.problem(&path, message);
        }
        rows
    }
}
