//! Templates: text with `$(…)`.
//!
//! Inside stands a name (`$(var.region)`, `$(token)`) or a function with its arguments
//! (`$(randomInt 1 100)`, `$(hmacSha256 secret.key payload)`), and at the end perhaps `:raw`, which
//! leaves out the escaping of its place. `$$(` is a literal `$(`.
//!
//! Variables are constants of a test, so they are put in when the plan is made; what is left is
//! what only a runner knows. Names and functions that do not exist are refused here, before
//! anything runs.

mod expression;
mod names;
mod parse;

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

pub use expression::{Argument, Call, Escape, Expression, Function, Slot, Source};
pub use names::{DataNames, Names};
pub use parse::TemplateError;

/// Text in which every slot is known, ready to be rendered without lookups.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Template {
    /// Literal texts and slots in order; never two texts in a row.
    pub segments: Vec<Segment>,
}

/// A piece of a [`Template`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Segment {
    /// Written as it is: escaping has been done.
    Text(String),
    /// A number or id of the runner: digits or hex, which need no escaping anywhere.
    Slot(Slot),
    /// Anything else that is known only when the request is rendered.
    Expression(Box<Expression>),
    /// The content of a file, index into [`Inputs::files`](crate::plan::Inputs::files).
    File(u32),
}

/// Where a template stands; decides how values are escaped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Position {
    /// In a URL: values are percent-encoded.
    Url,
    /// In a header: values are taken as they are, control characters are refused.
    Header,
    /// In a text body: values are taken as they are.
    Text,
    /// In a form field: values and the text around them are percent-encoded.
    Form,
    /// Inside a JSON string: values and the text around them are escaped as JSON text.
    Json,
}

impl Template {
    /// A template without slots.
    pub fn literal(text: impl Into<String>) -> Self {
        Self {
            segments: vec![Segment::Text(text.into())],
        }
    }

    /// Parses `text`, puts variables in, and keeps what a runner must put in.
    ///
    /// # Errors
    /// [`TemplateError`] names the first thing that is not known or not closed.
    pub fn parse(text: &str, position: Position, names: &Names) -> Result<Self, TemplateError> {
        let mut template = Self::default();
        let around = position.around();
        let mut rest = text;
        while let Some(at) = rest.find("$(") {
            let (before, slot) = rest.split_at(at);
            if let Some(before) = before.strip_suffix('$') {
                template.push_text(&around.apply(before));
                template.push_text(&around.apply("$("));
                rest = slot.get(2..).unwrap_or_default();
                continue;
            }
            template.push_text(&around.apply(before));
            let (inside, after) = parse::closed(slot.get(2..).unwrap_or_default())
                .ok_or_else(|| TemplateError::Unclosed(text.to_owned()))?;
            template.push_inside(inside, position, names)?;
            rest = after;
        }
        template.push_text(&around.apply(rest));
        Ok(template)
    }

    /// Whether `text` is nothing but one `$(… :raw)`: in JSON such a text stands for a number,
    /// boolean, list or object, without quotes.
    pub fn is_raw_value(text: &str) -> bool {
        text.strip_prefix("$(")
            .and_then(parse::closed)
            .is_some_and(|(inside, after)| after.is_empty() && parse::raw(inside).1)
    }

    /// The template as text with slots shown by name; for messages, documents and default names.
    pub fn to_display(&self) -> String {
        self.segments
            .iter()
            .map(|segment| match segment {
                Segment::Text(text) => text.clone(),
                Segment::Slot(slot) => format!("$({})", slot.name()),
                Segment::Expression(expression) => format!("$({})", expression.source),
                Segment::File(_) => "$(file)".to_owned(),
            })
            .collect()
    }

    /// All of its text, if nothing is to be put into it.
    pub fn as_literal(&self) -> Option<String> {
        let texts = self.segments.iter().map(|segment| match segment {
            Segment::Text(text) => Some(text.as_str()),
            _ => None,
        });
        texts.collect()
    }

    /// Adds literal text, joining it to a literal before it.
    pub fn push_text(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        match self.segments.last_mut() {
            Some(Segment::Text(last)) => last.push_str(text),
            _ => self.segments.push(Segment::Text(text.to_owned())),
        }
    }

    /// Adds all of another template.
    pub fn push_template(&mut self, other: Self) {
        for segment in other.segments {
            match segment {
                Segment::Text(text) => self.push_text(&text),
                other => self.segments.push(other),
            }
        }
    }

    fn push_inside(
        &mut self,
        inside: &str,
        position: Position,
        names: &Names,
    ) -> Result<(), TemplateError> {
        let (inside, raw) = parse::raw(inside);
        match parse::source(inside, names)? {
            Argument::Text(value) => {
                if position == Position::Header && value.bytes().any(|b| b < 0x20 || b == 0x7f) {
                    return Err(TemplateError::ControlCharacter(inside.trim().to_owned()));
                }
                if raw {
                    self.push_text(&value);
                } else {
                    self.push_text(&position.escape().apply(&value));
                }
            }
            Argument::Source(Source::Slot(slot)) if slot != Slot::ResponseStatus => {
                self.segments.push(Segment::Slot(slot));
            }
            Argument::Source(source) => {
                let escape = if raw { Escape::None } else { position.escape() };
                let expression = Expression { source, escape };
                self.segments
                    .push(Segment::Expression(Box::new(expression)));
            }
        }
        Ok(())
    }
}

impl Position {
    /// How values are escaped there.
    pub fn escape(self) -> Escape {
        match self {
            Self::Url | Self::Form => Escape::Url,
            Self::Json => Escape::Json,
            Self::Header | Self::Text => Escape::None,
        }
    }

    /// How the literal text around them is: a url is written as it is sent.
    fn around(self) -> Escape {
        match self {
            Self::Url => Escape::None,
            other => other.escape(),
        }
    }
}

impl Escape {
    /// The value as it is written.
    pub fn apply(self, value: &str) -> String {
        match self {
            Self::None => value.to_owned(),
            Self::Url => percent_encode(value),
            Self::Json => {
                let quoted = serde_json::Value::String(value.to_owned()).to_string();
                quoted
                    .strip_prefix('"')
                    .and_then(|rest| rest.strip_suffix('"'))
                    .map(str::to_owned)
                    .unwrap_or_default()
            }
        }
    }
}

/// Percent-encodes all but the unreserved characters of RFC 3986.
pub fn percent_encode(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}
