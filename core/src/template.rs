//! Templates: text with `$(…)` slots.
//!
//! Variables are constants of a test, so they are put in when the plan is made; what is left are
//! the few slots that only a runner knows. Names that do not exist are refused here, before
//! anything runs. `$$(` is a literal `$(`.

use std::{collections::BTreeMap, fmt::Write as _};

use serde::{Deserialize, Serialize};

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
    /// Known only when the request is rendered.
    Slot(Slot),
}

/// What a runner puts in. All render as digits or hex, which need no escaping anywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Slot {
    /// `user.index`: number of the virtual user over all runners, from 0.
    #[serde(rename = "user.index")]
    UserIndex,
    /// `user.iteration`: number of this user's iteration, from 0.
    #[serde(rename = "user.iteration")]
    UserIteration,
    /// `run.id`: the run's 32 hex digits.
    #[serde(rename = "run.id")]
    RunId,
    /// `runner.index`: number of the runner, from 0.
    #[serde(rename = "runner.index")]
    RunnerIndex,
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
    /// In a form field: values are taken as they are, the whole field is encoded afterwards.
    Form,
    /// Inside a JSON string: values are escaped as JSON text.
    Json,
}

/// Why a template was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A `$(` without its `)`.
    #[error("{0:?} has a $( without its ): close it, or write $$( for a literal $(")]
    Unclosed(String),
    /// A name in no namespace that exists.
    #[error(
        "$({0}) is not known: use $(var.NAME) with a name from spec.variables, or one of $(user.index), $(user.iteration), $(run.id), $(runner.index)"
    )]
    UnknownName(String),
    /// `$(var.x)` where `spec.variables` has no `x`.
    #[error("$(var.{0}) is not known: spec.variables has no {0:?}")]
    UnknownVariable(String),
    /// A control character would break the request apart.
    #[error("the value of $({0}) has a control character, which a header must not have")]
    ControlCharacter(String),
}

impl Template {
    /// A template without slots.
    pub fn literal(text: impl Into<String>) -> Self {
        Self {
            segments: vec![Segment::Text(text.into())],
        }
    }

    /// Parses `text`, puts variables in, and keeps what a runner must put in as slots.
    ///
    /// # Errors
    /// [`TemplateError`] names the first slot that is not known or not closed.
    pub fn parse(
        text: &str,
        position: Position,
        variables: &BTreeMap<String, String>,
    ) -> Result<Self, TemplateError> {
        let mut template = Self::default();
        let mut rest = text;
        while let Some(at) = rest.find("$(") {
            let (before, slot) = rest.split_at(at);
            if let Some(before) = before.strip_suffix('$') {
                template.push_text(before);
                template.push_text("$(");
                rest = slot.get(2..).unwrap_or_default();
                continue;
            }
            template.push_text(before);
            let inside = slot.get(2..).unwrap_or_default();
            let (name, after) = inside
                .split_once(')')
                .ok_or_else(|| TemplateError::Unclosed(text.to_owned()))?;
            template.push_name(name.trim(), position, variables)?;
            rest = after;
        }
        template.push_text(rest);
        Ok(template)
    }

    /// The template as text with slots shown by name; for messages, documents and default names.
    pub fn to_display(&self) -> String {
        self.segments
            .iter()
            .map(|segment| match segment {
                Segment::Text(text) => text.clone(),
                Segment::Slot(slot) => format!("$({})", slot.name()),
            })
            .collect()
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
                slot @ Segment::Slot(_) => self.segments.push(slot),
            }
        }
    }

    fn push_name(
        &mut self,
        name: &str,
        position: Position,
        variables: &BTreeMap<String, String>,
    ) -> Result<(), TemplateError> {
        if let Some(variable) = name.strip_prefix("var.") {
            let value = variables
                .get(variable)
                .ok_or_else(|| TemplateError::UnknownVariable(variable.to_owned()))?;
            if position == Position::Header && value.bytes().any(|b| b < 0x20 || b == 0x7f) {
                return Err(TemplateError::ControlCharacter(name.to_owned()));
            }
            self.push_text(&escape(value, position));
            return Ok(());
        }
        let slot = Slot::ALL
            .into_iter()
            .find(|slot| slot.name() == name)
            .ok_or_else(|| TemplateError::UnknownName(name.to_owned()))?;
        self.segments.push(Segment::Slot(slot));
        Ok(())
    }
}

impl Slot {
    /// Every slot there is.
    pub const ALL: [Self; 4] = [
        Self::UserIndex,
        Self::UserIteration,
        Self::RunId,
        Self::RunnerIndex,
    ];

    /// The name that people write.
    pub fn name(self) -> &'static str {
        match self {
            Self::UserIndex => "user.index",
            Self::UserIteration => "user.iteration",
            Self::RunId => "run.id",
            Self::RunnerIndex => "runner.index",
        }
    }
}

fn escape(value: &str, position: Position) -> String {
    match position {
        Position::Url => percent_encode(value),
        Position::Json => {
            let quoted = serde_json::Value::String(value.to_owned()).to_string();
            quoted
                .trim_start_matches('"')
                .strip_suffix('"')
                .map(str::to_owned)
                .unwrap_or_default()
        }
        Position::Header | Position::Text | Position::Form => value.to_owned(),
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
