//! What must be so for a step to be done, and what a flow is done for.

use std::{borrow::Cow, rc::Rc};

use loadtest_core::{
    plan::{self, When},
    template::{Segment, Source, Template},
};
use memchr::memmem::{self, Finder};
use regex::bytes::{Regex, RegexBuilder};

use super::{Compiler, ScriptError, Text, Value, answer::Unreadable, term::Term};
use crate::engine::message::Values;

/// Largest compiled pattern: what a person writes stays far below, and `(.{999}){999}` far above.
const PATTERN_BYTES: usize = 1 << 20;

/// Makes a regular expression ready. It is matched in linear time, whatever it is matched with.
///
/// # Errors
/// When it is none, or needs more memory than anybody's pattern does.
pub(super) fn pattern(pattern: &str) -> Result<Regex, ScriptError> {
    RegexBuilder::new(pattern)
        .size_limit(PATTERN_BYTES)
        .build()
        .map_err(|error| ScriptError::Pattern {
            pattern: pattern.to_owned(),
            reason: match error {
                regex::Error::CompiledTooBig(_) => "it is too large once compiled".to_owned(),
                // The last line says what; those before draw a picture of where.
                other => {
                    let text = other.to_string();
                    let last = text.lines().last().unwrap_or_default();
                    last.trim_start_matches("error: ").to_owned()
                }
            },
        })
}

/// What a text must fulfil.
#[derive(Debug)]
pub(super) enum Test {
    Equals(Wanted),
    NotEquals(Wanted),
    Contains(Box<Part>),
    Matches(Box<Regex>),
    Exists(bool),
}

/// A text that others are compared with.
#[derive(Debug)]
pub(super) enum Wanted {
    Constant(Box<str>),
    Text(Text),
}

impl Wanted {
    fn compile(template: &Template, compiler: &Compiler<'_>) -> Result<Self, ScriptError> {
        Ok(match template.segments.as_slice() {
            [] => Self::Constant("".into()),
            [Segment::Text(text)] => Self::Constant(text.as_str().into()),
            _ => Self::Text(Text::compile(template, compiler)?),
        })
    }

    fn as_str(&self, values: &Values<'_>) -> Cow<'_, str> {
        match self {
            Self::Constant(text) => Cow::Borrowed(text),
            Self::Text(text) => Cow::Owned(text.render(values)),
        }
    }
}

/// A text that is looked for in others.
#[derive(Debug)]
pub(super) enum Part {
    Constant(Box<Finder<'static>>),
    Text(Text),
}

impl Part {
    pub fn compile(template: &Template, compiler: &Compiler<'_>) -> Result<Self, ScriptError> {
        Ok(match Wanted::compile(template, compiler)? {
            Wanted::Constant(text) => {
                Self::Constant(Box::new(Finder::new(text.as_bytes()).into_owned()))
            }
            Wanted::Text(text) => Self::Text(text),
        })
    }

    pub fn is_in(&self, text: &[u8], values: &Values<'_>) -> bool {
        match self {
            Self::Constant(finder) => finder.find(text).is_some(),
            Self::Text(part) => memmem::find(text, part.render(values).as_bytes()).is_some(),
        }
    }
}

impl Test {
    pub fn compile(test: &plan::Test, compiler: &Compiler<'_>) -> Result<Self, ScriptError> {
        Ok(match test {
            plan::Test::Equals(wanted) => Self::Equals(Wanted::compile(wanted, compiler)?),
            plan::Test::NotEquals(wanted) => Self::NotEquals(Wanted::compile(wanted, compiler)?),
            plan::Test::Contains(wanted) => {
                Self::Contains(Box::new(Part::compile(wanted, compiler)?))
            }
            plan::Test::Matches(wanted) => Self::Matches(Box::new(pattern(wanted)?)),
            plan::Test::Exists(exists) => Self::Exists(*exists),
        })
    }

    /// Whether a text fulfils it.
    pub fn holds(&self, text: Option<&[u8]>, values: &Values<'_>) -> bool {
        match (self, text) {
            (Self::Exists(exists), text) => text.is_some() == *exists,
            (Self::NotEquals(_), None) => true,
            (_, None) => false,
            (Self::Equals(other), Some(text)) => text == other.as_str(values).as_bytes(),
            (Self::NotEquals(other), Some(text)) => text != other.as_str(values).as_bytes(),
            (Self::Contains(part), Some(text)) => part.is_in(text, values),
            (Self::Matches(regex), Some(text)) => regex.is_match(text),
        }
    }

    /// Whether one of several texts fulfils it; of none, whether that does.
    pub fn holds_for_one(&self, texts: &[Cow<'_, [u8]>], values: &Values<'_>) -> bool {
        if texts.is_empty() {
            return self.holds(None, values);
        }
        texts.iter().any(|text| self.holds(Some(text), values))
    }
}

/// What must be so.
#[derive(Debug)]
pub struct Condition(Inner);

#[derive(Debug)]
enum Inner {
    /// Below this of 2^64 numbers; `None` is always.
    Probability(Option<u64>),
    Value {
        source: Term,
        test: Test,
    },
}

impl Condition {
    /// Makes a condition ready.
    ///
    /// # Errors
    /// When its source can never have a value, or its pattern is none.
    pub fn compile(when: &When, compiler: &Compiler<'_>) -> Result<Self, ScriptError> {
        Ok(Self(match when {
            When::Probability(share) => {
                // A share of 1 would be 2^64, which is no number of 64 bits.
                Inner::Probability((*share < 1.0).then_some((share * 2f64.powi(64)) as u64))
            }
            When::Value { source, test } => Inner::Value {
                source: Term::compile(source, compiler)?,
                test: Test::compile(test, compiler)?,
            },
        }))
    }

    /// Whether it is so now. A probability draws anew each time.
    pub fn holds(&self, values: &Values<'_>) -> bool {
        match &self.0 {
            Inner::Probability(None) => true,
            Inner::Probability(Some(below)) => values.shared.rng.borrow_mut().next() < *below,
            Inner::Value { source, test } => match test {
                Test::Exists(exists) => {
                    let is_there = source.exists(values);
                    (is_there && source.with(values, |text| !text.is_empty())) == *exists
                }
                // What was never set is an empty text, as in templates.
                _ => source.with(values, |text| test.holds(Some(text.as_bytes()), values)),
            },
        }
    }
}

/// What a flow is done for, item by item.
#[derive(Debug)]
pub struct Items(Term);

impl Items {
    /// Makes a list ready.
    ///
    /// # Errors
    /// When it can never have a value.
    pub fn compile(source: &Source, compiler: &Compiler<'_>) -> Result<Self, ScriptError> {
        Term::compile(source, compiler).map(Self)
    }

    /// The items as of now: of a list its items, of a JSON array its elements, a text as it is,
    /// anything else as its JSON. Anything that is neither has none.
    pub fn list(&self, values: &Values<'_>) -> Vec<Rc<str>> {
        if let Term::Value(index) = &self.0
            && let Some(memory) = values.memory
            && let Some(Value::List(list)) = memory.borrow().get(*index)
        {
            return list.items.clone();
        }
        self.0.with(values, |text| {
            let items: Vec<serde_json::Value> = serde_json::from_str(text).unwrap_or_default();
            items.iter().map(json_text).map(Into::into).collect()
        })
    }
}

/// A text as it is, anything else as its JSON.
pub(super) fn json_text(value: &serde_json::Value) -> Cow<'_, str> {
    match value {
        serde_json::Value::String(text) => Cow::Borrowed(text),
        other => Cow::Owned(other.to_string()),
    }
}

/// A value whose numbers have kept their digits.
///
/// # Errors
/// When one is larger than whole numbers are: only its first digits are left.
pub(super) fn exact(value: &serde_json::Value) -> Result<&serde_json::Value, Unreadable> {
    use serde_json::Value::{Array, Number, Object};
    let is_exact = match value {
        Number(number) if number.is_f64() => number
            .as_f64()
            .is_some_and(|number| -2f64.powi(63) < number && number < 2f64.powi(64)),
        Array(items) => items.iter().all(|item| exact(item).is_ok()),
        Object(fields) => fields.values().all(|field| exact(field).is_ok()),
        _ => true,
    };
    is_exact.then_some(value).ok_or(Unreadable::LongNumber)
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, sync::Arc, time::Instant};

    use loadtest_core::{
        data::Table,
        plan::{DataFormat, ValueScope},
        shard::Shard,
        template::{Position, Slot},
    };

    use super::*;
    use crate::engine::script::{
        Inputs, List, Memory, Row,
        testing::{inputs, names, shared, values},
    };

    fn template(text: &str) -> Template {
        Template::parse(text, Position::Text, &names()).unwrap()
    }

    #[test]
    fn tests_hold_for_what_they_say() {
        use plan::Test::{Contains, Equals, Exists, Matches, NotEquals};
        let inputs = inputs();
        let memory = RefCell::new(Memory::new(&inputs));
        memory.borrow_mut().set(0, Value::text("abc"));
        let shared = shared(inputs.clone());
        let values = values(&shared, Some(&memory));
        for (test, holds_for) in [
            (Equals(template("abc")), &["abc"][..]),
            (Equals(template("$(first)")), &["abc"]),
            (Equals(template("")), &[""]),
            (NotEquals(template("abc")), &["", "xabcx", "none"]),
            (NotEquals(template("$(first)")), &["", "xabcx", "none"]),
            (Contains(template("b")), &["abc", "xabcx"]),
            (Contains(template("$(first)")), &["abc", "xabcx"]),
            (Matches("^x?a.c".to_owned()), &["abc", "xabcx"]),
            (Exists(true), &["abc", "", "xabcx"]),
            (Exists(false), &["none"]),
        ] {
            let compiled = Test::compile(&test, &Compiler::new(&inputs)).unwrap();
            for text in ["abc", "", "xabcx", "none"] {
                let given = (text != "none").then_some(text.as_bytes());
                let holds = compiled.holds(given, &values);
                assert_eq!(holds, holds_for.contains(&text), "{test:?} {text}");
            }
        }
    }

    #[test]
    fn conditions_look_at_what_is_remembered() {
        let inputs = inputs();
        let compiler = Compiler::new(&inputs);
        let memory = RefCell::new(Memory::new(&inputs));
        let shared = shared(inputs.clone());
        let values = values(&shared, Some(&memory));
        let exists = When::Value {
            source: Source::Value(1, "second".to_owned()),
            test: plan::Test::Exists(true),
        };
        let exists = Condition::compile(&exists, &compiler).unwrap();
        assert!(!exists.holds(&values));
        memory.borrow_mut().set(1, Value::text(""));
        assert!(!exists.holds(&values), "an empty text is as good as none");
        memory.borrow_mut().set(1, Value::text(" "));
        assert!(exists.holds(&values));
        let held = |share: f64| {
            let condition = Condition::compile(&When::Probability(share), &compiler).unwrap();
            (0..10_000).filter(|_| condition.holds(&values)).count()
        };
        assert_eq!((held(0.0), held(1.0)), (0, 10_000));
        let third = held(0.3);
        // Six standard deviations.
        assert!((2_725..3_275).contains(&third), "{third}");
    }

    #[test]
    fn what_is_not_there_is_an_empty_text() {
        use plan::Test::{Contains, Equals, Exists, Matches, NotEquals};
        let inputs = Arc::new(Inputs {
            feeders: ["users".to_owned()].into(),
            scopes: vec![ValueScope::Iteration].into(),
            ..Inputs::default()
        });
        let rows = Table::parse(DataFormat::Csv, b"name,coupon\nann,\n", Shard::WHOLE).unwrap();
        let memory = RefCell::new(Memory::new(&inputs));
        let row = Row {
            table: Arc::new(rows),
            index: 0,
        };
        memory.borrow_mut().set_row(0, Some(row));
        let shared = shared(inputs.clone());
        let values = values(&shared, Some(&memory));
        let column = |column: &str| Source::Data {
            feeder: 0,
            column: column.to_owned(),
            name: "users".to_owned(),
        };
        let (name, coupon) = (column("name"), column("coupon"));
        let never_set = Source::Value(0, "first".to_owned());
        let status = Source::Slot(Slot::ResponseStatus);
        for (source, test, expected) in [
            (&name, Exists(true), true),
            (&coupon, Exists(true), false),
            (&coupon, Exists(false), true),
            (&coupon, Equals(template("")), true),
            (&never_set, Exists(true), false),
            (&never_set, Exists(false), true),
            (&never_set, Equals(template("")), true),
            (&never_set, NotEquals(template("")), false),
            (&never_set, NotEquals(template("a")), true),
            (&never_set, Contains(template("")), true),
            (&never_set, Matches("^$".to_owned()), true),
            (&status, Exists(true), false),
            (&status, Equals(template("0")), true),
        ] {
            let (source, said) = (source.clone(), format!("{source} {test:?}"));
            let when = When::Value { source, test };
            let condition = Condition::compile(&when, &Compiler::new(&inputs)).unwrap();
            assert_eq!(condition.holds(&values), expected, "{said}");
        }
    }

    #[test]
    fn lists_are_what_was_extracted_or_json() {
        let inputs = inputs();
        let memory = RefCell::new(Memory::new(&inputs));
        let shared = shared(inputs.clone());
        let values = values(&shared, Some(&memory));
        let source = Source::Value(0, "first".to_owned());
        let items = Items::compile(&source, &Compiler::new(&inputs)).unwrap();
        let list = || {
            items
                .list(&values)
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
        };
        assert_eq!(list(), [""; 0]);
        let set = |value| memory.borrow_mut().set(0, value);
        set(Value::text(r#"["a", 1, {"b": null}]"#));
        assert_eq!(list(), ["a", "1", r#"{"b":null}"#]);
        set(Value::text("no list"));
        assert_eq!(list(), [""; 0]);
        set(Value::List(Rc::new(List {
            items: vec!["x".into(), "y".into()],
            json: "[]".to_owned(),
        })));
        assert_eq!(list(), ["x", "y"]);
    }

    #[test]
    fn patterns_neither_backtrack_nor_explode() {
        let hostile = pattern("^(a+)+$").unwrap();
        let text = [b"a".repeat(1 << 20), b"b".to_vec()].concat();
        let begun = Instant::now();
        assert!(!hostile.is_match(&text));
        // One that backtracks would need 2^1048576 steps.
        assert!(begun.elapsed().as_secs() < 20);
        let refused = pattern(r"(\w{999}){999}").unwrap_err().to_string();
        assert!(
            refused.ends_with("cannot be used: it is too large once compiled"),
            "{refused}"
        );
        let refused = pattern("id=(").unwrap_err().to_string();
        assert_eq!(
            refused,
            "the pattern \"id=(\" cannot be used: unclosed group"
        );
    }
}
