//! An answer as checks and extracts look at it.

use std::{borrow::Cow, cell::OnceCell};

use reqwest::header::{HeaderMap, HeaderValue};
use serde_json::Value;

use crate::{clock::Nanos, http::ResponseParser};

/// Where the headers of an answer are.
#[derive(Debug, Clone, Copy)]
pub enum Headers<'a> {
    /// In the head that our own client kept.
    Own(&'a ResponseParser),
    /// In what the general client made of the head.
    General(&'a HeaderMap),
}

/// A whole answer.
#[derive(Debug)]
pub struct Answer<'a> {
    /// Status.
    pub status: u16,
    /// The body, if something looks at it; `None` when it was longer than is kept.
    pub body: Option<&'a [u8]>,
    /// The headers, if something looks at them.
    pub headers: Headers<'a>,
    /// From the intended start to the end.
    pub latency: Nanos,
    /// The body as JSON, parsed when it is first asked for.
    pub json: OnceCell<Result<Value, Unreadable>>,
}

/// Why nothing can be found in a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Unreadable {
    /// More than is kept.
    #[error("the body is longer than the 10 MiB that are kept")]
    TooLong,
    /// Nothing to parse.
    #[error("the body is empty, not JSON")]
    Empty,
    /// No JSON.
    #[error("the body is not JSON")]
    NotJson,
    /// More than a list takes.
    #[error("there are more finds than the 10,000 of a list")]
    TooMany,
    /// Digits of a number would be lost.
    #[error(
        "a number there has more digits than 64 bits hold: have the service write it as a text"
    )]
    LongNumber,
}

impl Unreadable {
    /// Something was found, and cannot be had.
    pub(super) fn is_there(self) -> bool {
        matches!(self, Self::TooMany | Self::LongNumber)
    }
}

impl Answer<'_> {
    /// The body.
    ///
    /// # Errors
    /// When it was too long to be kept.
    pub fn body(&self) -> Result<&[u8], Unreadable> {
        self.body.ok_or(Unreadable::TooLong)
    }

    /// The body as JSON; it is parsed once.
    ///
    /// # Errors
    /// When it is none.
    pub fn json(&self) -> Result<&Value, Unreadable> {
        let parsed = self.json.get_or_init(|| {
            let body = self.body()?;
            if body.trim_ascii().is_empty() {
                return Err(Unreadable::Empty);
            }
            serde_json::from_slice(body).map_err(|_| Unreadable::NotJson)
        });
        parsed.as_ref().map_err(|reason| *reason)
    }

    /// All headers that were kept, in their order.
    pub fn all_headers(&self) -> Vec<(String, String)> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match self.headers {
            Headers::Own(parser) => parser
                .headers()
                .map(|(name, value)| (text(name), text(value)))
                .collect(),
            Headers::General(map) => map
                .iter()
                .map(|(name, value)| (name.to_string(), text(value.as_bytes())))
                .collect(),
        }
    }

    /// Values of a header.
    pub fn header(&self, name: &str) -> Vec<Cow<'_, [u8]>> {
        match self.headers {
            Headers::Own(parser) => parser.headers().named(name).map(Cow::Borrowed).collect(),
            Headers::General(map) => {
                let values = map.get_all(name).iter().map(HeaderValue::as_bytes);
                values.map(Cow::Borrowed).collect()
            }
        }
    }
}

#[cfg(test)]
impl<'a> Answer<'a> {
    /// Of our own client.
    pub(super) fn new(parser: &'a ResponseParser, body: Option<&'a [u8]>, latency: Nanos) -> Self {
        Self {
            status: parser.status(),
            body,
            headers: Headers::Own(parser),
            latency,
            json: OnceCell::new(),
        }
    }
}
