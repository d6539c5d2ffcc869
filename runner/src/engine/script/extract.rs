//! What is taken out of an answer and remembered.

use std::rc::Rc;

use loadtest_core::{
    plan::{Extract, From, OnMissing, Pick},
    series::Outcome,
};
use regex::bytes::Regex;
use serde_json::Value as Json;
use serde_json_path::JsonPath;

use super::{
    Answer, Compiler, List, ScriptError, Shared, Value,
    answer::Unreadable,
    checks::{Needs, json_path},
    condition::{exact, json_text, pattern},
};
use crate::engine::failure::Failure;

/// Most of a path or pattern that a message shows.
const SHOWN: usize = 80;

/// Most finds of a list: a pattern that fits every byte would make of 10 MiB hundreds.
const MOST_FINDS: usize = 10_000;

/// Something of an answer that is remembered.
#[derive(Debug)]
pub struct CompiledExtract {
    /// Index of the value.
    pub value: u32,
    /// Name of the value, for messages.
    pub name: String,
    from: Place,
    pick: Pick,
    on_missing: OnMissing,
}

#[derive(Debug)]
enum Place {
    JsonPath(Box<JsonPath>, String),
    Header(String),
    Regex(Box<Regex>, String),
}

impl CompiledExtract {
    /// Makes an extract ready.
    ///
    /// # Errors
    /// When its path or pattern is none.
    pub fn compile(extract: &Extract, compiler: &Compiler<'_>) -> Result<Self, ScriptError> {
        let name = compiler.inputs.value_names.get(extract.value as usize);
        Ok(Self {
            value: extract.value,
            name: name
                .cloned()
                .ok_or_else(|| ScriptError::Missing(format!("value {}", extract.value)))?,
            from: match &extract.from {
                From::JsonPath(path) => Place::JsonPath(Box::new(json_path(path)?), shown(path)),
                From::Header(name) => Place::Header(name.clone()),
                From::Regex(text) => Place::Regex(Box::new(pattern(text)?), shown(text)),
            },
            pick: extract.pick,
            on_missing: extract.on_missing,
        })
    }

    /// What it looks at.
    pub fn needs(&self) -> Needs {
        let head = matches!(self.from, Place::Header(_));
        Needs { body: !head, head }
    }

    fn find(&self, answer: &Answer<'_>, shared: &Shared) -> Result<Option<Value>, Unreadable> {
        match &self.from {
            Place::JsonPath(path, _) => {
                let found = path.query(answer.json()?);
                let nodes = found.all().into_iter();
                self.choose(nodes, shared, |node: &&Json| {
                    exact(node).map(|node| json_text(node).into())
                })
            }
            Place::Header(name) => {
                let values = answer.header(name);
                let values = values.iter().map(|value| String::from_utf8_lossy(value));
                self.choose(values, shared, |value| Ok((&**value).into()))
            }
            Place::Regex(regex, _) => {
                let body = answer.body()?;
                let group = usize::from(regex.captures_len() > 1);
                let found = regex.captures_iter(body);
                let found = found.filter_map(|captures| captures.get(group));
                let found = found.map(|found| String::from_utf8_lossy(found.as_bytes()));
                self.choose(found, shared, |value| Ok((&**value).into()))
            }
        }
    }

    /// Chooses of what was found, none of which is kept but what is chosen.
    fn choose<T: serde::Serialize>(
        &self,
        mut found: impl Iterator<Item = T>,
        shared: &Shared,
        text: impl Fn(&T) -> Result<Rc<str>, Unreadable>,
    ) -> Result<Option<Value>, Unreadable> {
        let one = match self.pick {
            Pick::First => found.next(),
            Pick::Random => {
                let mut rng = shared.rng.borrow_mut();
                // Each replaces the ones before with its share of the chance: one pass, and each is
                // as likely as the others.
                let chosen = found.zip(1..).filter(|(_, place)| rng.below(*place) == 0);
                chosen.last().map(|(find, _)| find)
            }
            Pick::All => {
                let found: Vec<T> = found.take(MOST_FINDS + 1).collect();
                if found.len() > MOST_FINDS {
                    return Err(Unreadable::TooMany);
                }
                if found.is_empty() {
                    return Ok(None);
                }
                return Ok(Some(Value::List(Rc::new(List {
                    items: found.iter().map(text).collect::<Result<_, _>>()?,
                    json: serde_json::to_string(&found).unwrap_or_default(),
                }))));
            }
        };
        one.map(|found| text(&found).map(Value::Text)).transpose()
    }

    #[cold]
    fn missing(&self, reason: Option<Unreadable>) -> Failure {
        let name = &self.name;
        let found_nothing = match &self.from {
            Place::JsonPath(_, path) => format!("{path} found nothing"),
            Place::Header(header) => format!("it has no header {header}"),
            Place::Regex(_, pattern) => format!("{pattern} found nothing"),
        };
        let reason = reason.map_or(found_nothing, |reason| reason.to_string());
        Failure::said(
            Outcome::Extract,
            format!("no {name} in the answer: {reason}"),
        )
    }
}

fn shown(text: &str) -> String {
    if text.chars().count() <= SHOWN {
        return text.to_owned();
    }
    text.chars().take(SHOWN).chain(['…']).collect()
}

/// What was taken out of an answer.
#[derive(Debug)]
pub struct Found {
    /// Values by their index, in order.
    pub values: Vec<(u32, Value)>,
    /// The first thing that was not there and must be: the request has failed, the iteration is
    /// over.
    pub failure: Option<Failure>,
}

/// Takes out of an answer what is to be remembered of it.
pub fn extract(extracts: &[CompiledExtract], answer: &Answer<'_>, shared: &Shared) -> Found {
    let mut values = Vec::with_capacity(extracts.len());
    for extract in extracts {
        let reason = match extract.find(answer, shared) {
            Ok(Some(value)) => {
                values.push((extract.value, value));
                continue;
            }
            Ok(None) => None,
            Err(reason) => Some(reason),
        };
        let is_there = reason.is_some_and(Unreadable::is_there);
        if is_there || extract.on_missing == OnMissing::FailIteration {
            let failure = Some(extract.missing(reason));
            return Found { values, failure };
        }
    }
    let failure = None;
    Found { values, failure }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::script::testing::{inputs, response, shared};

    /// What is found for `first` in an answer, or what is said instead.
    fn found(
        from: From,
        (pick, on_missing): (Pick, OnMissing),
        head: &str,
        body: Option<&[u8]>,
    ) -> Result<Option<String>, String> {
        let inputs = inputs();
        let extracted = Extract {
            value: 0,
            from,
            pick,
            on_missing,
        };
        let compiled = CompiledExtract::compile(&extracted, &Compiler::new(&inputs)).unwrap();
        let (parser, _) = response(head, b"");
        let answer = Answer::new(&parser, body, 0);
        let Found { values, failure } = extract(&[compiled], &answer, &shared(inputs));
        if let Some(failure) = failure {
            assert_eq!((failure.outcome, values.len()), (Outcome::Extract, 0));
            return Err(failure.message(&[]));
        }
        assert!(values.iter().all(|(value, _)| *value == 0));
        Ok(values.first().map(|(_, value)| value.as_str().to_owned()))
    }

    /// The same of what must be there.
    fn remembered(
        from: From,
        pick: Pick,
        head: &str,
        body: Option<&[u8]>,
    ) -> Result<String, String> {
        let how = (pick, OnMissing::FailIteration);
        found(from, how, head, body).map(Option::unwrap)
    }

    fn path(text: &str) -> From {
        From::JsonPath(text.to_owned())
    }

    fn regex(text: &str) -> From {
        From::Regex(text.to_owned())
    }

    #[test]
    fn values_are_found_where_they_are() {
        let body = br#"{"token":"a\u00e9","items":[{"id":1},{"id":"x\"y"},{"id":null}],"n":{"b":1,"a":2}}"#;
        let html = b"<a href='/p/1'>1</a> <a href='/p/2'>2</a> \xff";
        let head = "Location: /orders/7\r\nlocation: /orders/8\r\n";
        for (from, pick, body, expected) in [
            (path("$.token"), Pick::First, &body[..], "aé"),
            (path("$.items[*].id"), Pick::First, body, "1"),
            (path("$.items[*].id"), Pick::All, body, r#"[1,"x\"y",null]"#),
            (path("$.n"), Pick::First, body, r#"{"a":2,"b":1}"#),
            (regex("href='(/p/[0-9])'"), Pick::First, html, "/p/1"),
            (
                regex("href='(/p/[0-9])'"),
                Pick::All,
                html,
                r#"["/p/1","/p/2"]"#,
            ),
            (regex("/p/[0-9]"), Pick::First, html, "/p/1"),
            (
                From::Header("location".to_owned()),
                Pick::First,
                html,
                "/orders/7",
            ),
            (
                From::Header("location".to_owned()),
                Pick::All,
                html,
                r#"["/orders/7","/orders/8"]"#,
            ),
        ] {
            let found = remembered(from.clone(), pick, head, Some(body));
            assert_eq!(found.as_deref(), Ok(expected), "{from:?} {pick:?}");
        }
        let one = remembered(path("$.items[*].id"), Pick::Random, "", Some(body)).unwrap();
        assert!(["1", "x\"y", "null"].contains(&one.as_str()), "{one}");
    }

    #[test]
    fn what_is_missing_is_named() {
        for (from, pick, body, expected) in [
            (
                path("$.token"),
                Pick::First,
                Some(&b"{}"[..]),
                "no first in the answer: $.token found nothing",
            ),
            (
                path("$.a[*]"),
                Pick::All,
                Some(b"{\"a\":[]}"),
                "no first in the answer: $.a[*] found nothing",
            ),
            (
                path("$.a[*]"),
                Pick::Random,
                Some(b"{}"),
                "no first in the answer: $.a[*] found nothing",
            ),
            (
                path("$.token"),
                Pick::First,
                Some(b"<html>"),
                "no first in the answer: the body is not JSON",
            ),
            (
                path("$.token"),
                Pick::First,
                Some(b""),
                "no first in the answer: the body is empty, not JSON",
            ),
            (
                regex("id=([0-9]+)"),
                Pick::First,
                None,
                "no first in the answer: the body is longer than the 10 MiB that are kept",
            ),
            (
                regex("id=([0-9]+)"),
                Pick::First,
                Some(b"id=x"),
                "no first in the answer: id=([0-9]+) found nothing",
            ),
            (
                From::Header("x-token".to_owned()),
                Pick::First,
                Some(b""),
                "no first in the answer: it has no header x-token",
            ),
        ] {
            let said = remembered(from.clone(), pick, "", body).unwrap_err();
            assert_eq!(said, expected, "{from:?}");
        }
    }

    #[test]
    fn ten_megabytes_are_looked_through() {
        let filler = "{\"id\":\"0123456789\",\"on\":true},".repeat(340_000);
        let body = format!("{{\"items\":[{filler}{{\"id\":\"last\"}}]}}").into_bytes();
        assert!(body.len() > 9 << 20);
        let found = remembered(path("$.items[-1].id"), Pick::First, "", Some(&body));
        assert_eq!(found.as_deref(), Ok("last"));
        let found = remembered(
            regex("\"id\":\"([a-z]+)\"}]}$"),
            Pick::First,
            "",
            Some(&body),
        );
        assert_eq!(found.as_deref(), Ok("last"));
    }

    #[test]
    fn what_is_missing_is_left_as_it_was_if_the_plan_says_so() {
        for body in [&b"{}"[..], b"not JSON"] {
            let how = (Pick::First, OnMissing::Continue);
            assert_eq!(found(path("$.next"), how, "", Some(body)), Ok(None));
        }
    }

    #[test]
    fn a_list_has_its_most() {
        let body = vec![b'x'; 1 << 20];
        let too_many = "no first in the answer: there are more finds than the 10,000 of a list";
        for on_missing in [OnMissing::FailIteration, OnMissing::Continue] {
            let all = found(regex("."), (Pick::All, on_missing), "", Some(&body));
            assert_eq!(all, Err(too_many.to_owned()), "{on_missing:?}");
        }
        let most = vec![b'1'; MOST_FINDS];
        let all = remembered(regex("."), Pick::All, "", Some(&most)).unwrap();
        assert_eq!(all.matches('1').count(), MOST_FINDS);
        let one = remembered(regex("."), Pick::Random, "", Some(&body));
        assert_eq!(one.as_deref(), Ok("x"));
    }

    #[test]
    fn each_find_is_as_likely_as_the_others() {
        let inputs = inputs();
        let extracted = Extract {
            value: 0,
            from: regex("[a-d]"),
            pick: Pick::Random,
            on_missing: OnMissing::FailIteration,
        };
        let compiled = [CompiledExtract::compile(&extracted, &Compiler::new(&inputs)).unwrap()];
        let (parser, _) = response("", b"");
        let answer = Answer::new(&parser, Some(b"a b c d"), 0);
        let shared = shared(inputs);
        let mut counts = std::collections::BTreeMap::new();
        for _ in 0..4_000 {
            let found = extract(&compiled, &answer, &shared).values;
            *counts.entry(found[0].1.as_str().to_owned()).or_insert(0) += 1;
        }
        assert_eq!(counts.len(), 4);
        // Six standard deviations.
        assert!(
            counts.values().all(|count| (835..1_165).contains(count)),
            "{counts:?}"
        );
    }

    #[test]
    fn numbers_are_what_a_double_or_64_bits_hold() {
        let long = "no first in the answer: a number there has more digits than 64 bits hold: have \
                    the service write it as a text";
        for (number, expected) in [
            ("18446744073709551615", Ok("18446744073709551615")),
            ("-9223372036854775808", Ok("-9223372036854775808")),
            ("18446744073709551616", Err(long)),
            ("-9223372036854775809", Err(long)),
            ("98765432109876543210", Err(long)),
            ("{\"ids\":[1,98765432109876543210]}", Err(long)),
            ("10.00", Ok("10.0")),
            ("0.1", Ok("0.1")),
        ] {
            let body = format!("{{\"id\":{number}}}");
            let found = remembered(path("$.id"), Pick::First, "", Some(body.as_bytes()));
            assert_eq!(
                found.as_deref().map_err(String::as_str),
                expected,
                "{number}"
            );
        }
    }
}
