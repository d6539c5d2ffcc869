//! Requests: names, headers, success and checks.

use std::collections::{BTreeMap, BTreeSet};

use loadtest_core::{
    plan::{Check, Condition, Request, SeriesKey, Test},
    scalar::{StatusRange, format_duration},
    template::{Position, Segment, Template},
};

use super::{BOOLEAN_KEY, Builder, DEFAULT_TIMEOUT, is_yaml_boolean};
use crate::{rule, scalar::Statuses, spec};

/// The engine frames messages itself; these would contradict it.
const FRAMING: [&str; 5] = [
    "content-length",
    "transfer-encoding",
    "upgrade",
    "expect",
    "trailer",
];

impl Builder<'_> {
    pub(super) fn request(
        &mut self,
        path: &str,
        scenario: &str,
        request: &spec::Request,
    ) -> Request {
        let method = request.method.unwrap_or_default().name();
        let name = match &request.name {
            Some(name) => {
                self.plain_text(&format!("{path}.name"), name);
                name.clone()
            }
            None => format!("{method} {}", request.url),
        };
        let mut headers = self.headers(&format!("{path}.headers"), &request.headers);
        let body = request.body.as_ref().and_then(|body| {
            let (body, content_type) = self.body(&format!("{path}.body"), body)?;
            let given = headers
                .iter()
                .any(|(name, _)| name.eq_ignore_ascii_case("content-type"));
            if let Some(content_type) = content_type.filter(|_| !given) {
                headers.push(("content-type".to_owned(), Template::literal(content_type)));
            }
            Some(body)
        });
        let (origin, url) = self.step_url(&format!("{path}.url"), &request.url);
        let step = self.steps;
        self.steps += 1;
        Request {
            step,
            series: self.series(scenario, &name, method),
            method: method.to_owned(),
            origin,
            path: url,
            headers,
            body,
            timeout: self.duration(
                &format!("{path}.timeout"),
                request.timeout.as_deref(),
                DEFAULT_TIMEOUT,
            ),
            follow_redirects: request
                .follow_redirects
                .and_then(|count| u8::try_from(count).ok())
                .unwrap_or(0),
            success: match &request.success {
                Some(ranges) => self.statuses(&format!("{path}.success"), ranges),
                None => vec![StatusRange { from: 200, to: 399 }],
            },
            labels: self.labels(&format!("{path}.labels"), request),
            checks: self.checks(&format!("{path}.checks"), &request.checks),
            extracts: Vec::new(),
            until: None,
        }
    }

    /// The row of the results that a request belongs to.
    fn series(&mut self, scenario: &str, name: &str, method: &str) -> u32 {
        let known = self
            .series
            .iter()
            .position(|key| key.scenario == scenario && key.name == name);
        let index = known.unwrap_or_else(|| {
            self.series.push(SeriesKey {
                scenario: scenario.to_owned(),
                name: name.to_owned(),
                method: method.to_owned(),
            });
            self.series.len() - 1
        });
        index as u32
    }

    fn headers(
        &mut self,
        path: &str,
        headers: &BTreeMap<String, crate::scalar::IntOrText>,
    ) -> Vec<(String, Template)> {
        let mut seen = BTreeSet::new();
        let mut all = Vec::with_capacity(headers.len() + 1);
        for (name, value) in headers {
            let path = format!("{path}.{name}");
            let lower = name.to_ascii_lowercase();
            if is_yaml_boolean(name) {
                self.problem(&path, BOOLEAN_KEY);
            } else if !is_token(name) {
                self.problem(&path, format!("{name:?} is not a name of a header"));
            } else if FRAMING.contains(&lower.as_str()) {
                self.problem(
                    &path,
                    "the engine sets this header itself, to fit the body it sends",
                );
            } else if !seen.insert(lower) {
                self.problem(
                    &path,
                    "this header is there twice, in other upper and lower case",
                );
            }
            let template = self.template(&path, &value.to_string(), Position::Header);
            if template.segments.iter().any(|segment| {
                matches!(segment, Segment::Text(text)
                    if text.chars().any(|c| c.is_control() && c != '\t'))
            }) {
                self.problem(
                    &path,
                    "a header has no line breaks or other control characters",
                );
            }
            all.push((name.clone(), template));
        }
        all
    }

    fn labels(&mut self, path: &str, request: &spec::Request) -> BTreeMap<String, String> {
        let mut labels = BTreeMap::new();
        for (name, value) in &request.labels {
            let path = format!("{path}.{name}");
            if is_yaml_boolean(name) {
                self.problem(&path, BOOLEAN_KEY);
            } else if !super::is_identifier(name) {
                self.problem(
                    &path,
                    "a name of a label is at most 63 characters of A-Z, a-z, 0-9, _ and -, beginning with a letter or _",
                );
            }
            labels.insert(name.clone(), value.to_string());
        }
        labels
    }

    pub(super) fn statuses(&mut self, path: &str, ranges: &[Statuses]) -> Vec<StatusRange> {
        let mut all = Vec::with_capacity(ranges.len());
        for (index, range) in ranges.iter().enumerate() {
            match range.0.to_string().parse() {
                Ok(range) => all.push(range),
                Err(error) => self.problem(&format!("{path}[{index}]"), error),
            }
        }
        all
    }

    fn checks(&mut self, path: &str, checks: &[spec::Check]) -> Vec<Check> {
        let mut all = Vec::with_capacity(checks.len());
        for (index, check) in checks.iter().enumerate() {
            let path = format!("{path}[{index}]");
            let condition = match (&check.status, &check.body_contains) {
                (Some(ranges), None) => {
                    Condition::Status(self.statuses(&format!("{path}.status"), ranges))
                }
                (None, Some(text)) => Condition::BodyContains(text.clone()),
                _ => {
                    self.problem(&path, rule::CHECK.message());
                    continue;
                }
            };
            let name = match &check.name {
                Some(name) => {
                    self.plain_text(&format!("{path}.name"), name);
                    name.clone()
                }
                None => in_words(&condition),
            };
            let known = self.checks.iter().position(|other| *other == name);
            let index = known.unwrap_or_else(|| {
                self.checks.push(name);
                self.checks.len() - 1
            });
            all.push(Check {
                index: index as u32,
                condition,
            });
        }
        all
    }
}

/// `status is 200 or 201-204`, `body contains "in stock"`.
fn in_words(condition: &Condition) -> String {
    match condition {
        Condition::Status(ranges) => {
            let ranges: Vec<_> = ranges.iter().map(|range| String::from(*range)).collect();
            format!("status is {}", ranges.join(" or "))
        }
        Condition::BodyContains(text) => format!("body contains {text:?}"),
        Condition::JsonPath { path, test } => format!("{path} {}", test_in_words(test)),
        Condition::Header { name, test } => format!("header {name} {}", test_in_words(test)),
        Condition::MaxLatency(most) => format!("latency is at most {}", format_duration(*most)),
    }
}

fn test_in_words(test: &Test) -> String {
    match test {
        Test::Equals(text) => format!("is {text:?}"),
        Test::NotEquals(text) => format!("is not {text:?}"),
        Test::Contains(text) => format!("contains {text:?}"),
        Test::Matches(expression) => format!("matches {expression}"),
        Test::Exists(true) => "exists".to_owned(),
        Test::Exists(false) => "does not exist".to_owned(),
    }
}

/// A token of RFC 9110.
fn is_token(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}
