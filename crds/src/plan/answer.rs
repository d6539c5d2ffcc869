//! What is expected of answers and what is remembered of them: checks, extracts, polling. Patterns
//! and paths are parsed here as the engine will, so that none is refused at run time.

use std::time::Duration;

use loadtest_core::{
    plan::{Check, Condition, Extract, From, OnMissing, Pick, Test, Until},
    scalar::format_duration,
    template::{Position, Segment, Template},
};
use regex::bytes::RegexBuilder;
use serde_json_path::JsonPath;

use super::{Builder, request::is_token};
use crate::{rule, scalar::IntOrText, spec};

/// Largest compiled pattern; runners have the same limit.
const PATTERN_BYTES: usize = 1 << 20;

/// From the end of a try to the next one.
const DEFAULT_EVERY: Duration = Duration::from_secs(1);

/// No try begins later than this after the first.
const DEFAULT_UNTIL: Duration = Duration::from_secs(30);

/// The tests that can be written beside each other, of which one is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Written<'a> {
    pub equals: Option<&'a IntOrText>,
    pub not_equals: Option<&'a IntOrText>,
    pub contains: Option<&'a IntOrText>,
    pub matches: Option<&'a str>,
    pub exists: Option<bool>,
}

impl Written<'_> {
    pub fn count(&self) -> usize {
        let Self {
            equals,
            not_equals,
            contains,
            matches,
            exists,
        } = self;
        let texts = [equals, not_equals, contains];
        texts.into_iter().flatten().count()
            + usize::from(matches.is_some())
            + usize::from(exists.is_some())
    }

    pub fn is_empty(&self) -> bool {
        self.count() == 0
    }
}

impl Builder<'_> {
    /// The test that is written; exactly one must be.
    pub(super) fn test(&mut self, path: &str, written: &Written<'_>) -> Option<Test> {
        if written.count() != 1 {
            self.problem(path, rule::TEST.message());
            return None;
        }
        let mut template = |field: &str, other: Option<&IntOrText>| {
            let path = format!("{path}.{field}");
            other.map(|other| self.template(&path, &other.to_string(), Position::Text))
        };
        let equals = template("equals", written.equals).map(Test::Equals);
        let not_equals = template("notEquals", written.not_equals).map(Test::NotEquals);
        let contains = template("contains", written.contains).map(Test::Contains);
        let matches = written.matches.map(|pattern| {
            self.pattern(&format!("{path}.matches"), pattern);
            Test::Matches(pattern.to_owned())
        });
        let exists = written.exists.map(Test::Exists);
        equals.or(not_equals).or(contains).or(matches).or(exists)
    }

    fn pattern(&mut self, path: &str, pattern: &str) {
        if looks_templated(pattern) {
            self.problem(
                path,
                "a template cannot stand in a regular expression: compare with equals or contains, or write the text itself",
            );
        } else if let Err(reason) = check_pattern(pattern) {
            let message = format!("{pattern:?} is no regular expression: {reason}");
            self.problem(path, message);
        }
    }

    fn json_path(&mut self, path: &str, text: &str) {
        let instead = "in a JSON path: compare with equals, or write the text itself";
        if self.no_template(path, text, instead)
            && let Err(error) = JsonPath::parse(text)
        {
            let message = format!(
                "{text:?} is no JSON path (RFC 9535): {}, at character {}; it is written like $.items[0].id",
                error.message(),
                error.position() + 1
            );
            self.problem(path, message);
        }
    }

    fn header_name(&mut self, path: &str, name: &str) -> String {
        if !is_token(name) {
            self.problem(path, format!("{name:?} is not a name of a header"));
        }
        name.to_ascii_lowercase()
    }

    /// The checks of a request, each with its name.
    pub(super) fn checks(&mut self, path: &str, checks: &[spec::Check]) -> Vec<(String, Check)> {
        let mut all = Vec::with_capacity(checks.len());
        for (index, check) in checks.iter().enumerate() {
            let path = format!("{path}[{index}]");
            let Some(condition) = self.condition(&path, check) else {
                continue;
            };
            let name = match &check.name {
                Some(name) => {
                    self.plain_text(&format!("{path}.name"), name);
                    name.clone()
                }
                None => in_words(&condition),
            };
            let index = self.check_row(&name);
            all.push((name, Check { index, condition }));
        }
        all
    }

    fn check_row(&mut self, name: &str) -> u32 {
        let checks = &mut self.made.checks;
        let known = checks.iter().position(|other| other == name);
        let index = known.unwrap_or_else(|| {
            checks.push(name.to_owned());
            checks.len() - 1
        });
        index as u32
    }

    fn condition(&mut self, path: &str, check: &spec::Check) -> Option<Condition> {
        let spec::Check {
            name: _,
            status,
            body_contains,
            json_path,
            header,
            max_latency,
        } = check;
        let set = [
            status.is_some(),
            body_contains.is_some(),
            json_path.is_some(),
            header.is_some(),
            max_latency.is_some(),
        ];
        if set.into_iter().filter(|set| *set).count() != 1 {
            self.problem(path, rule::CHECK.message());
            return None;
        }
        if let Some(ranges) = status {
            let ranges = self.statuses(&format!("{path}.status"), ranges);
            return Some(Condition::Status(ranges));
        }
        if let Some(text) = body_contains {
            let path = format!("{path}.bodyContains");
            let text = self.template(&path, text, Position::Text);
            return Some(Condition::BodyContains(text));
        }
        if let Some(check) = json_path {
            let path = format!("{path}.jsonPath");
            self.json_path(&format!("{path}.path"), &check.path);
            let written = Written {
                equals: check.equals.as_ref(),
                not_equals: check.not_equals.as_ref(),
                contains: check.contains.as_ref(),
                matches: check.matches.as_deref(),
                exists: check.exists,
            };
            let test = self.test(&path, &written)?;
            let path = check.path.clone();
            return Some(Condition::JsonPath { path, test });
        }
        if let Some(check) = header {
            let path = format!("{path}.header");
            let name = self.header_name(&format!("{path}.name"), &check.name);
            let written = Written {
                equals: check.equals.as_ref(),
                not_equals: check.not_equals.as_ref(),
                contains: check.contains.as_ref(),
                matches: check.matches.as_deref(),
                exists: check.exists,
            };
            let test = self.test(&path, &written)?;
            return Some(Condition::Header { name, test });
        }
        let path = format!("{path}.maxLatency");
        let most = self.duration(&path, max_latency.as_deref(), Duration::ZERO);
        Some(Condition::MaxLatency(most))
    }

    pub(super) fn extracts(&mut self, path: &str, extracts: &[spec::Extract]) -> Vec<Extract> {
        let mut all = Vec::with_capacity(extracts.len());
        for (index, extract) in extracts.iter().enumerate() {
            let from_path = format!("{path}[{index}].from");
            let from = &extract.from;
            let from = match (&from.json_path, &from.header, &from.regex) {
                (Some(text), None, None) => {
                    self.json_path(&format!("{from_path}.jsonPath"), text);
                    From::JsonPath(text.clone())
                }
                (None, Some(name), None) => {
                    From::Header(self.header_name(&format!("{from_path}.header"), name))
                }
                (None, None, Some(pattern)) => {
                    self.pattern(&format!("{from_path}.regex"), pattern);
                    From::Regex(pattern.clone())
                }
                _ => {
                    self.problem(&from_path, rule::EXTRACT.message());
                    continue;
                }
            };
            all.push(Extract {
                value: self.value(&extract.name),
                from,
                pick: match extract.pick.unwrap_or_default() {
                    spec::Pick::First => Pick::First,
                    spec::Pick::Random => Pick::Random,
                    spec::Pick::All => Pick::All,
                },
                on_missing: match extract.on_missing.unwrap_or_default() {
                    spec::OnMissing::FailIteration => OnMissing::FailIteration,
                    spec::OnMissing::Continue => OnMissing::Continue,
                },
            });
        }
        all
    }

    /// How a request is sent again; `checks` are the names of its checks.
    pub(super) fn until(
        &mut self,
        path: &str,
        request: &str,
        until: &spec::Until,
        checks: &[String],
    ) -> Option<Until> {
        let every = self.duration(
            &format!("{path}.every"),
            until.every.as_deref(),
            DEFAULT_EVERY,
        );
        let timeout = self.duration(
            &format!("{path}.timeout"),
            until.timeout.as_deref(),
            DEFAULT_UNTIL,
        );
        let path = format!("{path}.check");
        let Some(check) = checks.iter().position(|name| *name == until.check) else {
            let message = if checks.is_empty() {
                "the request has no checks: write one that holds at the end, and name it here"
                    .to_owned()
            } else {
                format!(
                    "no check of the request is named {:?}: there are {}",
                    until.check,
                    checks.join(", ")
                )
            };
            self.problem(&path, message);
            return None;
        };
        let group = format!("{request} until {}", until.check);
        if self.place.groups.contains(&group) {
            let message =
                format!("there is a group named {group:?}: give one of them another name");
            self.problem(&path, message);
        }
        Some(Until {
            check: check as u32,
            every,
            timeout,
            group: self.group_row(&group),
        })
    }
}

/// Whether a value that is known fulfils a test; `None` if the test itself is not known.
pub(super) fn holds(test: &Test, value: &str) -> Option<bool> {
    let known = |template: &Template| match template.segments.as_slice() {
        [] => Some(String::new()),
        [Segment::Text(literal)] => Some(literal.clone()),
        _ => None,
    };
    Some(match test {
        Test::Equals(other) => known(other)? == value,
        Test::NotEquals(other) => known(other)? != value,
        Test::Contains(other) => value.contains(&known(other)?),
        Test::Matches(pattern) => regex::Regex::new(pattern).ok()?.is_match(value),
        Test::Exists(exists) => value.is_empty() != *exists,
    })
}

/// Whether a pattern has what can only be meant as a template. `\$(` is a dollar before a group, and
/// what begins with no letter, as in `$(?:\r\n)`, may be the end of a line before one.
fn looks_templated(pattern: &str) -> bool {
    pattern.match_indices("$(").any(|(at, _)| {
        let (before, from) = pattern.split_at(at);
        let escapes = before.bytes().rev().take_while(|byte| *byte == b'\\');
        let inside = from.trim_start_matches("$(").trim_start();
        escapes.count() % 2 == 0
            && inside.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
    })
}

fn check_pattern(pattern: &str) -> Result<(), String> {
    let built = RegexBuilder::new(pattern).size_limit(PATTERN_BYTES).build();
    built.map(drop).map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => {
            "it is too large once compiled: use smaller counts in {}".to_owned()
        }
        other => what_and_where(&other.to_string()),
    })
}

/// The library draws a picture: the pattern, below it a `^` at the place, and last what is wrong.
fn what_and_where(picture: &str) -> String {
    let lines: Vec<_> = picture.lines().collect();
    let last = lines.last().copied().unwrap_or_default();
    let what = last.trim().trim_start_matches("error: ");
    let place = lines.iter().find_map(|line| {
        let marks = line.trim();
        let only_marks = !marks.is_empty() && marks.bytes().all(|byte| byte == b'^');
        // The picture is indented by four blanks.
        only_marks
            .then(|| line.find('^'))?
            .and_then(|at| at.checked_sub(4))
    });
    match place {
        Some(at) => format!("{what}, at character {}", at + 1),
        None => what.to_owned(),
    }
}

/// `status is 200 or 201-204`, `body contains "in stock"`.
fn in_words(condition: &Condition) -> String {
    match condition {
        Condition::Status(ranges) => {
            let ranges: Vec<_> = ranges.iter().map(|range| String::from(*range)).collect();
            format!("status is {}", ranges.join(" or "))
        }
        Condition::BodyContains(text) => format!("body contains {:?}", text.to_display()),
        Condition::JsonPath { path, test } => format!("{path} {}", test_in_words(test)),
        Condition::Header { name, test } => format!("header {name} {}", test_in_words(test)),
        Condition::MaxLatency(most) => format!("latency is at most {}", format_duration(*most)),
    }
}

fn test_in_words(test: &Test) -> String {
    match test {
        Test::Equals(other) => format!("is {:?}", other.to_display()),
        Test::NotEquals(other) => format!("is not {:?}", other.to_display()),
        Test::Contains(other) => format!("contains {:?}", other.to_display()),
        Test::Matches(expression) => format!("matches {expression}"),
        Test::Exists(true) => "exists".to_owned(),
        Test::Exists(false) => "does not exist".to_owned(),
    }
}
