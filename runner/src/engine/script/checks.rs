//! What an answer must fulfil.

use std::borrow::Cow;

use loadtest_core::plan::{self, Check};
use serde_json_path::JsonPath;

use super::{
    Answer, Compiler, ScriptError,
    answer::Unreadable,
    condition::{Part, Test, exact, json_text},
};
use crate::{
    clock::Nanos,
    engine::{
        compile::{StatusSet, nanos},
        message::Values,
    },
};

/// A check.
#[derive(Debug)]
pub struct CompiledCheck {
    /// Index of its name.
    pub index: u32,
    condition: Condition,
}

/// What a check looks at.
#[derive(Debug)]
enum Condition {
    Status(StatusSet),
    BodyContains(Box<Part>),
    JsonPath(Box<(JsonPath, Test)>),
    Header(Box<(String, Test)>),
    MaxLatency(Nanos),
}

/// What an answer must have kept for somebody.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Needs {
    /// The body.
    pub body: bool,
    /// The head.
    pub head: bool,
}

impl Needs {
    /// Both.
    pub fn and(self, other: Self) -> Self {
        Self {
            body: self.body || other.body,
            head: self.head || other.head,
        }
    }
}

impl CompiledCheck {
    /// Makes a check ready.
    ///
    /// # Errors
    /// When its pattern or path is none.
    pub fn compile(check: &Check, compiler: &Compiler<'_>) -> Result<Self, ScriptError> {
        let condition = match &check.condition {
            plan::Condition::Status(ranges) => Condition::Status(StatusSet::new(ranges)),
            plan::Condition::BodyContains(text) => {
                Condition::BodyContains(Box::new(Part::compile(text, compiler)?))
            }
            plan::Condition::JsonPath { path, test } => {
                Condition::JsonPath(Box::new((json_path(path)?, Test::compile(test, compiler)?)))
            }
            plan::Condition::Header { name, test } => {
                Condition::Header(Box::new((name.clone(), Test::compile(test, compiler)?)))
            }
            plan::Condition::MaxLatency(most) => Condition::MaxLatency(nanos(*most)),
        };
        Ok(Self {
            index: check.index,
            condition,
        })
    }

    /// What it looks at.
    pub fn needs(&self) -> Needs {
        Needs {
            body: matches!(
                self.condition,
                Condition::BodyContains(_) | Condition::JsonPath(_)
            ),
            head: matches!(self.condition, Condition::Header(_)),
        }
    }

    /// The status codes that it allows, if it looks at the status.
    pub fn statuses(&self) -> Option<StatusSet> {
        match &self.condition {
            Condition::Status(set) => Some(*set),
            _ => None,
        }
    }

    /// Whether an answer fulfils it.
    ///
    /// # Errors
    /// When the answer has nothing that could be looked at, which is as good as not fulfilling it.
    pub fn holds(&self, answer: &Answer<'_>, values: &Values<'_>) -> Result<bool, Unreadable> {
        match &self.condition {
            Condition::Status(set) => Ok(set.contains(answer.status)),
            Condition::BodyContains(part) => Ok(part.is_in(answer.body()?, values)),
            Condition::JsonPath(both) => {
                let (path, test) = &**both;
                let found = path.query(answer.json()?);
                let texts = found.iter().map(|value| {
                    // Whether there is a number does not hang on its digits.
                    if !matches!(test, Test::Exists(_)) {
                        exact(value)?;
                    }
                    Ok(match json_text(value) {
                        Cow::Borrowed(found) => found.as_bytes().into(),
                        Cow::Owned(found) => found.into_bytes().into(),
                    })
                });
                let texts: Vec<_> = texts.collect::<Result<_, Unreadable>>()?;
                Ok(test.holds_for_one(&texts, values))
            }
            Condition::Header(both) => {
                let (name, test) = &**both;
                Ok(test.holds_for_one(&answer.header(name), values))
            }
            Condition::MaxLatency(most) => Ok(answer.latency <= *most),
        }
    }
}

/// Makes a JSON path ready.
///
/// # Errors
/// When it is none.
pub(super) fn json_path(path: &str) -> Result<JsonPath, ScriptError> {
    JsonPath::parse(path).map_err(|error| ScriptError::Path {
        path: path.to_owned(),
        reason: format!("{} (at character {})", error.message(), error.position()),
    })
}

#[cfg(test)]
mod tests {
    use loadtest_core::{plan::Test, template::Template};
    use plan::Condition::{BodyContains, Header, MaxLatency, Status};

    use super::*;
    use crate::engine::script::testing::{inputs, response, shared, values};

    fn holds(condition: plan::Condition, head: &str, body: &[u8]) -> Result<bool, Unreadable> {
        let inputs = inputs();
        let check = Check {
            index: 0,
            condition,
        };
        let check = CompiledCheck::compile(&check, &Compiler::new(&inputs)).unwrap();
        let shared = shared(inputs.clone());
        let values = values(&shared, None);
        let (parser, body) = response(head, body);
        check.holds(&Answer::new(&parser, Some(&body), 1_500_000), &values)
    }

    fn json(path: &str, test: Test) -> plan::Condition {
        plan::Condition::JsonPath {
            path: path.to_owned(),
            test,
        }
    }

    fn equals(text: &str) -> Test {
        Test::Equals(Template::literal(text))
    }

    #[test]
    fn a_json_path_holds_for_one_of_what_it_finds() {
        let body = br#"{"items":[{"id":1,"s":"a"},{"id":2.5,"s":null}],"ok":true,"n":{"x":[]}}"#;
        for (path, test, expected) in [
            ("$.items[*].id", equals("1"), true),
            ("$.items[*].id", equals("2.5"), true),
            ("$.items[*].id", equals("3"), false),
            ("$.items[0].s", equals("a"), true),
            ("$.items[1].s", equals("null"), true),
            ("$.ok", equals("true"), true),
            ("$.n", equals(r#"{"x":[]}"#), true),
            ("$.missing", Test::Exists(false), true),
            ("$.missing", equals("a"), false),
            ("$.items[?@.id > 2].s", Test::Exists(true), true),
            ("$.items[?match(@.s, '[a-c]')].id", equals("1"), true),
            ("$.items[?length(@.s) == 1].id", equals("2.5"), false),
            ("$.items[*].s", Test::Matches("^[ab]$".to_owned()), true),
        ] {
            let found = holds(json(path, test.clone()), "", body);
            assert_eq!(found, Ok(expected), "{path} {test:?}");
        }
    }

    #[test]
    fn what_cannot_be_looked_at_fails_with_a_reason() {
        let path = || json("$.a", Test::Exists(false));
        assert_eq!(holds(path(), "", b"<html>"), Err(Unreadable::NotJson));
        assert_eq!(holds(path(), "", b"{\"a\": 1"), Err(Unreadable::NotJson));
        assert_eq!(holds(path(), "", b"\xff"), Err(Unreadable::NotJson));
        assert_eq!(holds(path(), "", b" \r\n"), Err(Unreadable::Empty));
        let deep = "[".repeat(100_000);
        assert_eq!(holds(path(), "", deep.as_bytes()), Err(Unreadable::NotJson));
        let long = b"{\"a\":98765432109876543210}";
        for test in [equals("1"), Test::NotEquals(Template::literal("1"))] {
            assert_eq!(
                holds(json("$.a", test), "", long),
                Err(Unreadable::LongNumber)
            );
        }
        assert_eq!(holds(json("$.a", Test::Exists(true)), "", long), Ok(true));
        let text = Unreadable::NotJson.to_string();
        assert_eq!(text, "the body is not JSON");
        let refused = json_path("$.items[").unwrap_err().to_string();
        assert!(
            refused.starts_with("\"$.items[\" is no JSON path (RFC 9535): "),
            "{refused}"
        );
    }

    #[test]
    fn headers_and_latency_are_looked_at() {
        let header = |name: &str, test: Test| Header {
            name: name.to_owned(),
            test,
        };
        let head = "X-Id: 7\r\nx-id:  8 \r\nEmpty:\r\n";
        for (condition, expected) in [
            (header("x-id", equals("8")), true),
            (header("x-id", equals("9")), false),
            (header("empty", equals("")), true),
            (header("empty", Test::Exists(true)), true),
            (header("absent", Test::Exists(false)), true),
            (MaxLatency(std::time::Duration::from_micros(1_500)), true),
            (MaxLatency(std::time::Duration::from_micros(1_499)), false),
            (Status(vec!["200".parse().unwrap()]), true),
            (BodyContains(Template::literal("tock")), true),
        ] {
            let found = holds(condition.clone(), head, b"in stock");
            assert_eq!(found, Ok(expected), "{condition:?}");
        }
    }
}
