//! What stands inside `$(…)`: words, names, functions.

use super::{
    DataNames, Names,
    expression::{Argument, Call, Function, Slot, Source},
};
use crate::scalar::{ScalarError, parse_duration};

/// Why a template was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A `$(` without its `)`.
    #[error("{0:?} has a $( without its ): close it, or write $$( for a literal $(")]
    Unclosed(String),
    /// Nothing between the parentheses.
    #[error("$() is empty: write a name in it, or $$( for a literal $(")]
    Empty,
    /// A name in no namespace that exists.
    #[error("$({name}) is not known: {known}")]
    UnknownName {
        /// As written.
        name: String,
        /// What there is.
        known: String,
    },
    /// `$(var.x)` where `spec.variables` has no `x`.
    #[error("$({space}.{name}) is not known: {place} has no {name:?}")]
    UnknownMember {
        /// `var`, `secret`, `setup` or the name of a feeder.
        space: String,
        /// The member.
        name: String,
        /// Where it ought to be.
        place: String,
    },
    /// Something that is no function has arguments.
    #[error("{0:?} is not a function: use one of {functions}", functions = function_names())]
    UnknownFunction(String),
    /// A function with arguments that it does not take.
    #[error("$({call}): {problem}; it is written $({usage})")]
    Arguments {
        /// As written.
        call: String,
        /// What is wrong.
        problem: String,
        /// What is right.
        usage: &'static str,
    },
    /// A control character would break the request apart.
    #[error("the value of $({0}) has a control character, which a header must not have")]
    ControlCharacter(String),
}

fn function_names() -> String {
    let names: Vec<_> = Function::ALL.iter().map(|f| f.name()).collect();
    names.join(", ")
}

/// What is before the `)` that closes, and what is after it. Parentheses in quotes do not count.
pub(super) fn closed(text: &str) -> Option<(&str, &str)> {
    let mut quote = None;
    for (at, character) in text.char_indices() {
        match (quote, character) {
            (None, ')') => return Some((text.get(..at)?, text.get(at + 1..)?)),
            (None, '"' | '\'') => quote = Some(character),
            (Some(open), _) if open == character => quote = None,
            _ => {}
        }
    }
    // A quote that is not closed is no quote: `$(it's)` is an unknown name, not an open end.
    text.split_once(')')
}

/// Takes `:raw` off the end.
pub(super) fn raw(inside: &str) -> (&str, bool) {
    match inside.trim_end().strip_suffix(":raw") {
        Some(rest) => (rest, true),
        None => (inside, false),
    }
}

/// A name, or a function with its arguments. A known text is a constant.
pub(super) fn source(inside: &str, names: &Names) -> Result<Argument, TemplateError> {
    let words = words(inside);
    let (first, rest) = words.split_first().ok_or(TemplateError::Empty)?;
    let function = Function::ALL.into_iter().find(|f| f.name() == first.text);
    match function.filter(|_| !first.quoted) {
        Some(function) => call(inside.trim(), function, rest, names),
        None if rest.is_empty() => name(&first.text, names),
        None => Err(TemplateError::UnknownFunction(first.text.clone())),
    }
}

/// A word; in quotes it is a text even when it looks like a name.
#[derive(Debug)]
struct Word {
    text: String,
    quoted: bool,
}

impl Word {
    /// Whether its quote has no end.
    fn is_open(&self) -> bool {
        !self.quoted && self.text.starts_with(['"', '\''])
    }
}

fn words(inside: &str) -> Vec<Word> {
    let mut words = Vec::new();
    let mut rest = inside.trim_start();
    while let Some(first) = rest.chars().next() {
        let quoted = (first == '"' || first == '\'')
            .then(|| rest.get(1..)?.split_once(first))
            .flatten();
        let (text, after) = match quoted {
            Some((text, after)) => (text, after),
            None => match rest.find(char::is_whitespace) {
                Some(at) => rest.split_at(at),
                None => (rest, ""),
            },
        };
        words.push(Word {
            text: text.to_owned(),
            quoted: quoted.is_some(),
        });
        rest = after.trim_start();
    }
    words
}

fn name(text: &str, names: &Names) -> Result<Argument, TemplateError> {
    if let Some(slot) = Slot::ALL.into_iter().find(|slot| slot.name() == text) {
        return Ok(Argument::Source(Source::Slot(slot)));
    }
    if let Some((space, member)) = text.split_once('.') {
        return self::member(space, member, names);
    }
    match names.values.get(text) {
        Some(index) => Ok(Argument::Source(Source::Value(*index, text.to_owned()))),
        None => Err(TemplateError::UnknownName {
            name: text.to_owned(),
            known: known(names),
        }),
    }
}

fn member(space: &str, member: &str, names: &Names) -> Result<Argument, TemplateError> {
    let position = |all: &[String]| {
        let index = all.iter().position(|known| known == member)?;
        u32::try_from(index).ok()
    };
    let unknown = |place: String| TemplateError::UnknownMember {
        space: space.to_owned(),
        name: member.to_owned(),
        place,
    };
    let owned = || member.to_owned();
    match space {
        "var" => match names.variables.get(member) {
            Some(value) => Ok(Argument::Text(value.clone())),
            None => Err(unknown("spec.variables".to_owned())),
        },
        "secret" => match position(&names.secrets) {
            Some(index) => Ok(Argument::Source(Source::Secret(index, owned()))),
            None => Err(unknown("spec.secrets".to_owned())),
        },
        "setup" => match position(&names.setup) {
            Some(index) => Ok(Argument::Source(Source::Setup(index, owned()))),
            None => Err(unknown("the flow of spec.setup".to_owned())),
        },
        _ => column(space, member, names),
    }
}

fn column(feeder: &str, column: &str, names: &Names) -> Result<Argument, TemplateError> {
    let found = (0..).zip(&names.data).find(|(_, data)| data.name == feeder);
    let Some((index, DataNames { columns, .. })) = found else {
        return Err(TemplateError::UnknownName {
            name: format!("{feeder}.{column}"),
            known: known(names),
        });
    };
    match columns {
        Some(columns) if !columns.iter().any(|known| known == column) => {
            Err(TemplateError::UnknownMember {
                space: feeder.to_owned(),
                name: column.to_owned(),
                place: format!("the data, with the columns {},", columns.join(", ")),
            })
        }
        _ => Ok(Argument::Source(Source::Data {
            feeder: index,
            name: feeder.to_owned(),
            column: column.to_owned(),
        })),
    }
}

/// What names there are, for people who wrote another.
fn known(names: &Names) -> String {
    let mut all: Vec<String> = Slot::ALL.iter().map(|s| s.name().to_owned()).collect();
    all.extend(names.variables.keys().map(|name| format!("var.{name}")));
    all.extend(names.values.keys().cloned());
    for data in &names.data {
        match &data.columns {
            Some(columns) => {
                all.extend(
                    columns
                        .iter()
                        .map(|column| format!("{}.{column}", data.name)),
                );
            }
            None => all.push(format!("{}.COLUMN", data.name)),
        }
    }
    all.extend(names.secrets.iter().map(|name| format!("secret.{name}")));
    all.extend(names.setup.iter().map(|name| format!("setup.{name}")));
    format!("use one of {}, or a function", all.join(", "))
}

fn call(
    written: &str,
    function: Function,
    words: &[Word],
    names: &Names,
) -> Result<Argument, TemplateError> {
    let refused = |problem: String| TemplateError::Arguments {
        call: written.to_owned(),
        problem,
        usage: function.usage(),
    };
    if let Some(open) = words.iter().find(|word| word.is_open()) {
        let problem = format!("{} begins with a quote that is not closed", open.text);
        return Err(refused(problem));
    }
    let (least, most) = function.arity();
    if words.len() < least || words.len() > most {
        return Err(refused(format!("it has {} arguments", words.len())));
    }
    let mut arguments = Vec::with_capacity(words.len());
    for (place, word) in words.iter().enumerate() {
        let is_text = word.quoted || function.is_literal(place);
        arguments.push(if !is_text && is_name(&word.text, names) {
            name(&word.text, names)?
        } else {
            // Of a choice nobody wants quotes: `$(randomChoice v1.2 red)`.
            if !is_text && function != Function::RandomChoice {
                refuse_lost_name(&word.text, names).map_err(refused)?;
            }
            Argument::Text(word.text.clone())
        });
    }
    check(function, &arguments).map_err(refused)?;
    Ok(Argument::Source(Source::Call(Box::new(Call {
        function,
        arguments,
    }))))
}

/// Whether a word without quotes looks like the name of something that exists: it is a text
/// otherwise. What has a dot and a known space is a name.
fn is_name(text: &str, names: &Names) -> bool {
    let space = text.split_once('.').map(|(space, _)| space);
    match space {
        Some("var" | "secret" | "setup" | "user" | "run" | "runner" | "response") => true,
        Some(space) => names.data.iter().any(|data| data.name == space),
        None => names.values.contains_key(text),
    }
}

/// Refuses what was meant as a name and would be signed or coded as a text.
fn refuse_lost_name(text: &str, names: &Names) -> Result<(), String> {
    if Function::ALL.iter().any(|function| function.name() == text) {
        Err(format!(
            "{text} is a function, and functions do not nest: set a value to it first, or put it in quotes if it is a text"
        ))
    } else if text.contains('.') || names.made.contains(text) {
        Err(format!(
            "{text} is no name that is known here: put it in quotes if it is a text"
        ))
    } else {
        Ok(())
    }
}

impl Function {
    /// Fewest and most arguments.
    fn arity(self) -> (usize, usize) {
        match self {
            Self::Uuid => (0, 0),
            Self::RandomInt => (2, 2),
            Self::RandomString | Self::Hex | Self::UrlEncode => (1, 1),
            Self::RandomChoice => (1, 64),
            Self::Now => (0, 2),
            Self::Base64 | Self::Sha256 => (1, 2),
            Self::HmacSha256 => (2, 3),
            Self::Jwt => (3, 3),
        }
    }

    /// Whether the argument at a place is a word of the language, never a name.
    fn is_literal(self, place: usize) -> bool {
        match self {
            Self::RandomInt | Self::RandomString | Self::Now => true,
            Self::Base64 | Self::Sha256 => place == 1,
            Self::HmacSha256 => place == 2,
            Self::Jwt => place == 0,
            Self::Uuid | Self::RandomChoice | Self::Hex | Self::UrlEncode => false,
        }
    }
}

/// Longest text of `randomString`.
const LONGEST_RANDOM_STRING: u32 = 65_536;

fn check(function: Function, arguments: &[Argument]) -> Result<(), String> {
    let literal = |place: usize| match arguments.get(place) {
        Some(Argument::Text(text)) => Some(text.as_str()),
        _ => None,
    };
    let one_of = |place: usize, words: &[&str]| match literal(place) {
        Some(word) if !words.contains(&word) => {
            Err(format!("{word:?} is not one of {}", words.join(", ")))
        }
        _ => Ok(()),
    };
    match function {
        Function::RandomInt => {
            let number = |place| {
                let text = literal(place).unwrap_or_default();
                let parsed = text.parse::<i64>();
                parsed.map_err(|_| format!("{text:?} is not a whole number"))
            };
            let (min, max) = (number(0)?, number(1)?);
            if min > max {
                return Err(format!("{min} is above {max}"));
            }
            Ok(())
        }
        Function::RandomString => {
            let text = literal(0).unwrap_or_default();
            match text.parse::<u32>() {
                Ok(1..=LONGEST_RANDOM_STRING) => Ok(()),
                _ => Err(format!(
                    "{text:?} is not a length from 1 to {LONGEST_RANDOM_STRING}"
                )),
            }
        }
        Function::Now => arguments
            .iter()
            .enumerate()
            .try_for_each(|(place, _)| now_argument(literal(place).unwrap_or_default(), place)),
        Function::Base64 => one_of(1, &["standard", "url"]),
        Function::Sha256 => one_of(1, &["hex", "base64", "base64url"]),
        Function::HmacSha256 => one_of(2, &["hex", "base64", "base64url"]),
        Function::Jwt => {
            one_of(0, &["HS256", "RS256", "ES256"])?;
            literal(2).map_or(Ok(()), claims)
        }
        Function::Uuid | Function::RandomChoice | Function::Hex | Function::UrlEncode => Ok(()),
    }
}

/// RFC 7519, 7.1: claims are a JSON object.
fn claims(text: &str) -> Result<(), String> {
    serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text)
        .map(drop)
        .map_err(|_| "the claims are no JSON object".to_owned())
}

fn now_argument(text: &str, place: usize) -> Result<(), String> {
    if place == 0 && ["rfc3339", "unix", "unixMs"].contains(&text) {
        return Ok(());
    }
    let duration = text.strip_prefix(['+', '-']);
    let parsed: Option<Result<_, ScalarError>> = duration.map(parse_duration);
    match parsed {
        Some(Ok(_)) => Ok(()),
        _ => Err(format!("{text:?} is neither a format nor an offset")),
    }
}
