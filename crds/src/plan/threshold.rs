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
        let at = format!("{path}.selector");
        if parsed.metric.is_of_groups() {
            if self.made.groups.is_empty() {
                let message =
                    "the test has no groups: a step group, or until of a request, makes one";
                self.problem(&format!("{path}.expr"), message);
            }
            let selector = threshold.selector.as_ref();
            parsed.groups = selector.map(|selector| self.selected_groups(&at, selector));
        } else {
            let selector = threshold.selector.as_ref();
            parsed.series = selector.map(|selector| {
                if !parsed.metric.is_of_requests() {
                    self.problem(
                        &at,
                        "checks, iterations and delivery belong to no request or scenario: use latency, serviceTime, errors, requests or bytes, or leave the selector out",
                    );
                }
                self.selected_requests(&at, selector)
            });
        }
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

    /// Rows of requests that a selector names.
    fn selected_requests(&mut self, path: &str, selector: &spec::Selector) -> Vec<u32> {
        if selector.group.is_some() {
            let message = "a group has times only: use group.p95 or another statistic of group, or leave the selector out";
            self.problem(&format!("{path}.group"), message);
            return Vec::new();
        }
        let rows = self.made.series.iter();
        let rows = rows.map(|key| (key.scenario.clone(), key.name.clone()));
        let rows: Vec<_> = rows.collect();
        let request = selector.request.as_deref();
        self.selected(
            path,
            ("request", request),
            selector.scenario.as_deref(),
            &rows,
        )
    }

    /// Rows of groups that a selector names.
    fn selected_groups(&mut self, path: &str, selector: &spec::Selector) -> Vec<u32> {
        if selector.request.is_some() {
            let message = "a request is no group: use latency or serviceTime, or select a group";
            self.problem(&format!("{path}.request"), message);
            return Vec::new();
        }
        let rows = self.made.groups.iter();
        let rows = rows.map(|key| (key.scenario.clone(), key.name.clone()));
        let rows: Vec<_> = rows.collect();
        let group = selector.group.as_deref();
        self.selected(path, ("group", group), selector.scenario.as_deref(), &rows)
    }

    /// Rows, each a scenario and a name, that are selected by exactly one of both.
    fn selected(
        &mut self,
        path: &str,
        (kind, name): (&str, Option<&str>),
        scenario: Option<&str>,
        rows: &[(String, String)],
    ) -> Vec<u32> {
        let (field, wanted) = match (name, scenario) {
            (Some(name), None) => (kind, name),
            (None, Some(scenario)) => ("scenario", scenario),
            _ => {
                self.problem(path, rule::SELECTOR.message());
                return Vec::new();
            }
        };
        let key = |row: &(String, String)| {
            if name.is_some() {
                row.1.clone()
            } else {
                row.0.clone()
            }
        };
        let selected: Vec<u32> = (0..)
            .zip(rows)
            .filter(|(_, row)| key(row) == wanted)
            .map(|(index, _)| index)
            .collect();
        if selected.is_empty() {
            let mut known: Vec<_> = rows.iter().map(key).collect();
            known.dedup();
            known.truncate(5);
            let message = if known.is_empty() {
                format!("no {field} is named {wanted:?}: there is none")
            } else {
                format!(
                    "no {field} is named {wanted:?}: there are {}",
                    known.join(", ")
                )
            };
            self.problem(&format!("{path}.{field}"), message);
        }
        selected
    }
}
