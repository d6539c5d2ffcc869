//! Templates and what stands in them, ready to be made into text.

use std::{
    cell::{Cell, RefCell},
    sync::Arc,
};

use loadtest_core::template::{self, Argument, Escape, Segment, Slot, Source, Template};

use super::{Inputs, functions::Call, inputs::Secret};
use crate::engine::message::Values;

/// Why something of a plan cannot be made ready.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScriptError {
    /// Not a regular expression, or one that is too large.
    #[error("the pattern {pattern:?} cannot be used: {reason}")]
    Pattern {
        /// As written.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Not a JSON path.
    #[error("{path:?} is no JSON path (RFC 9535): {reason}")]
    Path {
        /// As written.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A function that cannot do its work.
    #[error("$({call}): {reason}")]
    Call {
        /// As written.
        call: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The plan refers to something that it does not have.
    #[error("$({0}) refers to something that the plan does not have")]
    Missing(String),
}

/// Makes what a plan says ready, and learns on the way what users need.
#[derive(Debug)]
pub struct Compiler<'a> {
    /// What texts are made of.
    pub inputs: &'a Inputs,
    needs_memory: Cell<bool>,
}

impl<'a> Compiler<'a> {
    /// For a plan with these inputs.
    pub fn new(inputs: &'a Inputs) -> Self {
        let remembered = !inputs.scopes.is_empty() || !inputs.feeders.is_empty();
        Self {
            inputs,
            needs_memory: Cell::new(remembered),
        }
    }

    /// The content of a file.
    ///
    /// # Errors
    /// When the plan does not name it.
    pub fn file(&self, index: u32) -> Result<Arc<[u8]>, ScriptError> {
        let file = self.inputs.files.get(index as usize);
        let missing = || ScriptError::Missing(format!("file {index}"));
        file.cloned().ok_or_else(missing)
    }

    /// Whether users must remember something, by what has been compiled.
    pub fn needs_memory(&self) -> bool {
        self.needs_memory.get()
    }
}

/// Where a text comes from.
#[derive(Debug)]
pub(super) enum Term {
    /// Known.
    Text(Box<str>),
    /// The runner itself.
    Slot(Slot),
    /// A value of the user.
    Value(u32),
    /// A value of the setup.
    Setup(u32),
    /// A column of the user's row.
    Column { feeder: u32, column: Box<str> },
    /// A secret.
    Secret(u32),
    /// The value of the `Authorization` header.
    Authorization,
    /// What a function makes.
    Call(Box<Call>),
}

impl Term {
    /// Makes a source ready.
    ///
    /// # Errors
    /// When it can never have a value.
    pub fn compile(source: &Source, compiler: &Compiler<'_>) -> Result<Self, ScriptError> {
        let missing = || ScriptError::Missing(source.to_string());
        let known = |there: bool, term: Self| there.then_some(term).ok_or_else(missing);
        let inputs = compiler.inputs;
        match source {
            Source::Slot(slot) => {
                if *slot == Slot::ResponseStatus {
                    compiler.needs_memory.set(true);
                }
                Ok(Self::Slot(*slot))
            }
            Source::Value(index, _) => known(
                inputs.scopes.get(*index as usize).is_some(),
                Self::Value(*index),
            ),
            Source::Setup(index, _) => Ok(Self::Setup(*index)),
            Source::Data { feeder, column, .. } => known(
                inputs.feeders.get(*feeder as usize).is_some(),
                Self::Column {
                    feeder: *feeder,
                    column: column.as_str().into(),
                },
            ),
            Source::Secret(index, _) => known(
                inputs.secrets.get(*index as usize).is_some(),
                Self::Secret(*index),
            ),
            Source::Authorization => Ok(Self::Authorization),
            Source::Call(call) => Call::compile(call, compiler).map(|c| Self::Call(Box::new(c))),
        }
    }

    /// An argument of a function.
    ///
    /// # Errors
    /// As [`Self::compile`].
    pub fn argument(argument: &Argument, compiler: &Compiler<'_>) -> Result<Self, ScriptError> {
        match argument {
            Argument::Text(text) => Ok(Self::Text(text.as_str().into())),
            Argument::Source(source) => Self::compile(source, compiler),
        }
    }

    /// The text if it is known before the run starts.
    pub fn constant<'t>(&'t self, inputs: &'t Inputs) -> Option<&'t str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Secret(index) => inputs.secrets.get(*index as usize).map(Secret::reveal),
            _ => None,
        }
    }

    /// Whether there is a text: a value that was set, an answer's status, a row's field.
    pub fn exists(&self, values: &Values<'_>) -> bool {
        let memory = values.memory.map(RefCell::borrow);
        let memory = memory.as_deref();
        match self {
            Self::Slot(Slot::ResponseStatus) => memory.is_some_and(|memory| memory.status != 0),
            Self::Value(index) => memory.is_some_and(|memory| memory.get(*index).is_some()),
            Self::Column { feeder, column } => memory
                .and_then(|memory| memory.row(*feeder))
                .is_some_and(|row| row.field(column).is_some()),
            Self::Setup(index) => {
                let setup = values.shared.inputs.setup.get();
                setup.is_some_and(|values| values.get(*index as usize).is_some())
            }
            _ => true,
        }
    }

    /// Shows the text. One that was not set is empty.
    pub fn with<R>(&self, values: &Values<'_>, show: impl FnOnce(&str) -> R) -> R {
        let inputs = &values.shared.inputs;
        let memory = values.memory.map(RefCell::borrow);
        match self {
            Self::Text(text) => show(text),
            Self::Slot(Slot::RunId) => show(&values.shared.run_id),
            Self::Slot(slot) => show(itoa::Buffer::new().format(values.number(*slot))),
            Self::Value(index) => {
                let memory = memory.as_deref();
                let value = memory.and_then(|memory| memory.get(*index));
                show(value.map_or("", super::Value::as_str))
            }
            Self::Setup(index) => {
                let setup = inputs.setup.get();
                let value = setup.and_then(|values| values.get(*index as usize));
                show(value.map_or("", String::as_str))
            }
            Self::Column { feeder, column } => {
                let memory = memory.as_deref();
                let row = memory.and_then(|memory| memory.row(*feeder));
                show(row.and_then(|row| row.field(column)).unwrap_or_default())
            }
            Self::Secret(index) => {
                let secret = inputs.secrets.get(*index as usize);
                show(secret.map_or("", |secret| secret.reveal()))
            }
            Self::Authorization => show(&values.shared.authorization()),
            Self::Call(call) => show(&call.text(values)),
        }
    }
}

/// What a request is made of at this place: what it may not have there is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Path and query.
    Url,
    /// Value of a header.
    Header,
    /// Body, where nothing can break.
    Body,
}

/// An expression at its place in a message.
#[derive(Debug)]
pub struct Expression {
    term: Term,
    escape: Escape,
    place: Place,
}

impl Expression {
    /// Makes an expression ready.
    ///
    /// # Errors
    /// When it can never have a value.
    pub fn compile(
        expression: &template::Expression,
        place: Place,
        compiler: &Compiler<'_>,
    ) -> Result<Self, ScriptError> {
        Ok(Self {
            term: Term::compile(&expression.source, compiler)?,
            escape: expression.escape,
            place,
        })
    }

    /// The status of the last answer.
    pub fn status(place: Place, compiler: &Compiler<'_>) -> Self {
        compiler.needs_memory.set(true);
        Self {
            term: Term::Slot(Slot::ResponseStatus),
            escape: Escape::None,
            place,
        }
    }

    /// Writes the text to the end of `out`.
    pub fn write(&self, values: &Values<'_>, out: &mut Vec<u8>) {
        self.term
            .with(values, |text| write(text, self.escape, self.place, out));
    }
}

fn write(text: &str, escape: Escape, place: Place, out: &mut Vec<u8>) {
    let bytes = text.as_bytes();
    match (escape, place) {
        (Escape::Url, _) => percent_encode(bytes, out, |byte| {
            byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
        }),
        (Escape::None, Place::Url) => {
            percent_encode(bytes, out, |byte| byte > b' ' && byte != 0x7f);
        }
        (Escape::None, Place::Header) => out.extend(bytes.iter().map(|byte| match byte {
            b'\t' | 0x20..=0x7e | 0x80.. => *byte,
            _ => b' ',
        })),
        (Escape::None, Place::Body) => out.extend_from_slice(bytes),
        (Escape::Json, _) => out.extend_from_slice(Escape::Json.apply(text).as_bytes()),
    }
}

fn percent_encode(bytes: &[u8], out: &mut Vec<u8>, as_it_is: impl Fn(u8) -> bool) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in bytes {
        if as_it_is(*byte) {
            out.push(*byte);
        } else {
            let digit = |four: u8| HEX.get(usize::from(four)).copied().unwrap_or(b'0');
            out.extend_from_slice(&[b'%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
}

/// A template that becomes a value.
#[derive(Debug)]
pub struct Text(Vec<Part>);

#[derive(Debug)]
enum Part {
    Text(Box<str>),
    Term(Term, Escape),
}

impl Text {
    /// Makes a template ready.
    ///
    /// # Errors
    /// When a part of it can never have a value.
    pub fn compile(template: &Template, compiler: &Compiler<'_>) -> Result<Self, ScriptError> {
        let part = |segment: &Segment| match segment {
            Segment::Text(text) => Ok(Part::Text(text.as_str().into())),
            Segment::Slot(slot) => {
                Term::compile(&Source::Slot(*slot), compiler).map(|t| Part::Term(t, Escape::None))
            }
            Segment::Expression(expression) => Term::compile(&expression.source, compiler)
                .map(|term| Part::Term(term, expression.escape)),
            Segment::File(_) => Err(ScriptError::Missing("file".to_owned())),
        };
        let parts = template.segments.iter().map(part);
        Ok(Self(parts.collect::<Result<_, _>>()?))
    }

    /// The text as of now.
    pub fn render(&self, values: &Values<'_>) -> String {
        let mut out = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Term(term, escape) => {
                    term.with(values, |text| match escape {
                        Escape::None => out.push_str(text),
                        Escape::Url | Escape::Json => out.push_str(&escape.apply(text)),
                    });
                }
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use loadtest_core::template::{Names, Position};

    use super::*;
    use crate::engine::script::{
        Memory, Value,
        testing::{inputs, names, shared, values},
    };

    fn rendered(template: &str, position: Position, place: Place, value: &str) -> String {
        let inputs = inputs();
        let template = Template::parse(template, position, &names()).unwrap();
        let compiler = Compiler::new(&inputs);
        let memory = RefCell::new(Memory::new(&inputs));
        memory.borrow_mut().set(0, Value::text(value));
        let shared = shared(inputs.clone());
        let values = values(&shared, Some(&memory));
        let mut out = Vec::new();
        for segment in &template.segments {
            match segment {
                Segment::Text(text) => out.extend_from_slice(text.as_bytes()),
                Segment::Slot(slot) => values.write(*slot, &mut out),
                Segment::Expression(expression) => {
                    let expression = Expression::compile(expression, place, &compiler);
                    expression.unwrap().write(&values, &mut out);
                }
                Segment::File(_) => unreachable!(),
            }
        }
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn values_are_escaped_as_their_place_needs_it() {
        let value = "a b/c?d=1&e=\"é\"\r\nX: y\t%+\\";
        for (position, place, template, expected) in [
            (
                Position::Url,
                Place::Url,
                "/x/$(first)",
                "/x/a%20b%2Fc%3Fd%3D1%26e%3D%22%C3%A9%22%0D%0AX%3A%20y%09%25%2B%5C",
            ),
            // What is raw may have parts of a url, but cannot end the request line.
            (
                Position::Url,
                Place::Url,
                "/x/$(first:raw)",
                "/x/a%20b/c?d=1&e=\"é\"%0D%0AX:%20y%09%+\\",
            ),
            (
                Position::Header,
                Place::Header,
                "v $(first)",
                "v a b/c?d=1&e=\"é\"  X: y\t%+\\",
            ),
            (
                Position::Header,
                Place::Header,
                "$(first:raw)",
                "a b/c?d=1&e=\"é\"  X: y\t%+\\",
            ),
            (
                Position::Text,
                Place::Body,
                "<$(first)>",
                &format!("<{value}>"),
            ),
            (
                Position::Json,
                Place::Body,
                r#"a "$(first)""#,
                r#"a \"a b/c?d=1&e=\"é\"\r\nX: y\t%+\\\""#,
            ),
            (
                Position::Json,
                Place::Body,
                "[$(first:raw)]",
                &format!("[{value}]"),
            ),
        ] {
            let template_text = template;
            assert_eq!(
                rendered(template_text, position, place, value),
                expected,
                "{template_text} {position:?}"
            );
        }
    }

    #[test]
    fn what_was_not_set_is_empty_and_what_is_known_is_there() {
        let inputs = inputs();
        let compiler = Compiler::new(&inputs);
        let text = |template: &str| {
            let template = Template::parse(template, Position::Text, &names()).unwrap();
            Text::compile(&template, &compiler).unwrap()
        };
        let memory = RefCell::new(Memory::new(&inputs));
        let shared = shared(inputs.clone());
        let values = values(&shared, Some(&memory));
        let all = "[$(second)|$(secret.key)|$(user.index)|$(user.iteration)|$(runner.index)|$(response.status)|$(setup.shop)]";
        assert_eq!(text(all).render(&values), "[|s3cret|3|7|1|0|]");
        memory.borrow_mut().status = 404;
        memory.borrow_mut().set(1, Value::text("b"));
        shared.inputs.set_setup(vec!["shop-7".to_owned()]);
        assert_eq!(text(all).render(&values), "[b|s3cret|3|7|1|404|shop-7]");
        let nobody = super::Values {
            memory: None,
            ..values
        };
        assert_eq!(text("[$(second)]").render(&nobody), "[]");
    }

    #[test]
    fn what_the_plan_does_not_have_is_refused() {
        let inputs = Inputs::default();
        let compiler = Compiler::new(&inputs);
        for written in ["$(first)", "$(secret.key)"] {
            let template = Template::parse(written, Position::Text, &names()).unwrap();
            let refused = Text::compile(&template, &compiler).unwrap_err().to_string();
            let expected = format!("{written} refers to something that the plan does not have");
            assert_eq!(refused, expected);
        }
        assert!(!compiler.needs_memory());
        let status = Template::parse("$(response.status)", Position::Text, &Names::default());
        Text::compile(&status.unwrap(), &compiler).unwrap();
        assert!(compiler.needs_memory());
    }
}
