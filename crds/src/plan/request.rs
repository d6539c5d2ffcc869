//! Requests: names, headers and success.

use std::collections::{BTreeMap, BTreeSet};

use loadtest_core::{
    plan::{Request, SeriesKey},
    scalar::StatusRange,
    template::{Escape, Expression, Position, Segment, Source, Template},
};

use super::{BOOLEAN_KEY, Builder, DEFAULT_TIMEOUT, is_yaml_boolean};
use crate::{
    scalar::{IntOrText, Statuses},
    spec,
};

/// The engine frames messages itself; these would contradict it.
const FRAMING: [&str; 5] = [
    "content-length",
    "transfer-encoding",
    "upgrade",
    "expect",
    "trailer",
];

impl Builder<'_> {
    pub(super) fn request(&mut self, path: &str, request: &spec::Request) -> Request {
        let method = request.method.unwrap_or_default().name();
        let name = match &request.name {
            Some(name) => {
                self.plain_text(&format!("{path}.name"), name);
                name.clone()
            }
            None => format!("{method} {}", request.url),
        };
        let mut headers = self.headers(&format!("{path}.headers"), &request.headers);
        let body = request
            .body
            .as_ref()
            .and_then(|body| self.body(&format!("{path}.body"), body, &mut headers));
        let (origin, url) = self.step_url(&format!("{path}.url"), &request.url);
        self.authorize(origin, &mut headers);
        let (step, series) = self.numbers(&name, method);
        let follow_redirects = request
            .follow_redirects
            .and_then(|count| u8::try_from(count).ok())
            .unwrap_or(0);
        self.made.redirects |= follow_redirects > 0;
        let checks = self.checks(&format!("{path}.checks"), &request.checks);
        let (check_names, checks): (Vec<_>, Vec<_>) = checks.into_iter().unzip();
        Request {
            step,
            series,
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
            follow_redirects,
            success: match &request.success {
                Some(ranges) => self.statuses(&format!("{path}.success"), ranges),
                None => vec![StatusRange { from: 200, to: 399 }],
            },
            labels: self.labels(&format!("{path}.labels"), &request.labels),
            checks,
            extracts: self.extracts(&format!("{path}.extract"), &request.extract),
            until: request
                .until
                .as_ref()
                .and_then(|until| self.until(&format!("{path}.until"), &name, until, &check_names)),
        }
    }

    /// Number and row of a request. What is done once for the whole run counts downwards and has no
    /// row.
    pub(super) fn numbers(&mut self, name: &str, method: &str) -> (u32, u32) {
        if self.place.once {
            let step = self.once_steps;
            self.once_steps -= 1;
            return (step, u32::MAX);
        }
        let step = self.made.steps;
        self.made.steps += 1;
        (step, self.series(name, method))
    }

    /// Requests to the target prove who they are, unless they do so themselves.
    fn authorize(&self, origin: Option<u32>, headers: &mut Vec<(String, Template)>) {
        let own = headers
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case("authorization"));
        if self.spec.auth.is_some() && origin.is_none() && !own {
            let expression = Expression {
                source: Source::Authorization,
                escape: Escape::None,
            };
            let segments = vec![Segment::Expression(Box::new(expression))];
            headers.push(("authorization".to_owned(), Template { segments }));
        }
    }

    /// The row of the results that a request belongs to.
    fn series(&mut self, name: &str, method: &str) -> u32 {
        let scenario = &self.place.scenario;
        let series = &mut self.made.series;
        let known = series
            .iter()
            .position(|key| key.scenario == *scenario && key.name == name);
        let index = known.unwrap_or_else(|| {
            series.push(SeriesKey {
                scenario: scenario.clone(),
                name: name.to_owned(),
                method: method.to_owned(),
            });
            series.len() - 1
        });
        index as u32
    }

    fn headers(
        &mut self,
        path: &str,
        headers: &BTreeMap<String, IntOrText>,
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

    pub(super) fn labels(
        &mut self,
        path: &str,
        written: &BTreeMap<String, IntOrText>,
    ) -> BTreeMap<String, String> {
        let mut labels = BTreeMap::new();
        for (name, value) in written {
            let path = format!("{path}.{name}");
            if is_yaml_boolean(name) {
                self.problem(&path, BOOLEAN_KEY);
            } else if !super::is_identifier(name) {
                self.problem(
                    &path,
                    "a name of a label is at most 63 characters of A-Z, a-z, 0-9, _ and -, beginning with a letter or _",
                );
            }
            let value = value.to_string();
            let instead = "in a label, which is the same for every request: write the text itself";
            self.no_template(&path, &value, instead);
            labels.insert(name.clone(), value);
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
}

/// A token of RFC 9110.
pub(super) fn is_token(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}
