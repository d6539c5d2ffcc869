//! What is taken out of an answer and remembered.

use std::{cell::RefCell, rc::Rc};

use loadtest_core::{
    plan::{Extract, From, OnMissing, Pick},
    series::Outcome,
};
use regex::bytes::Regex;
use serde_json::Value as Json;
use serde_json_path::JsonPath;

use super::{
    Answer, Compiler, List, Memory, ScriptError, Shared, Value,
    answer::Unreadable,
    checks::{Needs, json_path},
    condition::{json_text, pattern},
};
use crate::engine::failure::Failure;

/// Most of a path or pattern that a message shows.
const SHOWN: usize = 80;

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
                let nodes: Vec<&Json> = found.all();
                Ok(self.choose(&nodes, shared, |node| json_text(node).into()))
            }
            Place::Header(name) => {
                let values = answer.header(name);
                let values: Vec<_> = values.iter().map(|v| String::from_utf8_lossy(v)).collect();
                Ok(self.choose(&values, shared, |v| (&**v).into()))
            }
            Place::Regex(regex, _) => {
                let body = answer.body()?;
                let group = usize::from(regex.captures_len() > 1);
                let found: Vec<_> = regex
                    .captures_iter(body)
                    .filter_map(|captures| captures.get(group))
                    .take(if self.pick == Pick::First {
                        1
                    } else {
                        usize::MAX
                    })
                    .map(|found| String::from_utf8_lossy(found.as_bytes()))
                    .collect();
                Ok(self.choose(&found, shared, |v| (&**v).into()))
            }
        }
    }

    fn choose<T: serde::Serialize>(
        &self,
        found: &[T],
        shared: &Shared,
        text: impl Fn(&T) -> Rc<str>,
    ) -> Option<Value> {
        let one = match self.pick {
            Pick::First => 0,
            Pick::Random => shared.rng.borrow_mut().below(found.len() as u64) as usize,
            Pick::All if found.is_empty() => return None,
            Pick::All => {
                return Some(Value::List(Rc::new(List {
                    items: found.iter().map(text).collect(),
                    json: serde_json::to_string(found).unwrap_or_default(),
                })));
            }
        };
        found.get(one).map(|found| Value::Text(text(found)))
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

/// Remembers what is to be remembered of an answer, in order.
///
/// # Errors
/// The first thing that was not there and must be: the request has failed, the iteration is over.
pub fn extract(
    extracts: &[CompiledExtract],
    answer: &Answer<'_>,
    memory: &RefCell<Memory>,
    shared: &Shared,
) -> Result<(), Failure> {
    for extract in extracts {
        let reason = match extract.find(answer, shared) {
            Ok(Some(value)) => {
                memory.borrow_mut().set(extract.value, value);
                continue;
            }
            Ok(None) => None,
            Err(reason) => Some(reason),
        };
        if extract.on_missing == OnMissing::FailIteration {
            return Err(extract.missing(reason));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::script::testing::{inputs, response, shared};

    /// What is remembered as `first` of an answer, or what is said instead.
    fn remembered(
        from: From,
        pick: Pick,
        head: &str,
        body: Option<&[u8]>,
    ) -> Result<String, String> {
        let inputs = inputs();
        let extracted = Extract {
            value: 0,
            from,
            pick,
            on_missing: OnMissing::FailIteration,
        };
        let compiled = CompiledExtract::compile(&extracted, &Compiler::new(&inputs)).unwrap();
        let memory = RefCell::new(Memory::new(&inputs));
        let shared = shared(inputs);
        let (parser, _) = response(head, b"");
        let answer = Answer::new(&parser, body, 0);
        extract(&[compiled], &answer, &memory, &shared).map_err(|failure| {
            assert_eq!(failure.outcome, Outcome::Extract);
            failure.message(&[])
        })?;
        let memory = memory.borrow();
        Ok(memory.get(0).unwrap().as_str().to_owned())
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
    fn a_value_stays_what_it_was_if_the_plan_says_so() {
        let inputs = inputs();
        let extracted = Extract {
            value: 1,
            from: path("$.next"),
            pick: Pick::First,
            on_missing: OnMissing::Continue,
        };
        let compiled = CompiledExtract::compile(&extracted, &Compiler::new(&inputs)).unwrap();
        let memory = RefCell::new(Memory::new(&inputs));
        memory.borrow_mut().set(1, Value::text("before"));
        let shared = shared(inputs);
        let (parser, _) = response("", b"");
        for body in [&b"{}"[..], b"not JSON"] {
            let answer = Answer::new(&parser, Some(body), 0);
            extract(std::slice::from_ref(&compiled), &answer, &memory, &shared).unwrap();
            assert_eq!(memory.borrow().get(1).map(Value::as_str), Some("before"));
        }
    }
}
