//! What is left of an exchange that failed: where it went and what the server said, for samples.

use loadtest_core::series::Outcome;

use super::{
    Connection, Exchange,
    decode::{Decoded, decode},
    rest::Rest,
};
use crate::{
    clock::Nanos,
    engine::{compile::CompiledRequest, message, samples},
    http::ContentEncoding,
};

/// What a server said.
#[derive(Debug, Default)]
pub struct Said {
    /// Its `Content-Type`; empty without one.
    pub content_type: String,
    /// The beginning of the body, decoded.
    pub body: Vec<u8>,
    /// Whether that is all of it.
    pub is_whole: bool,
    /// How long the body was, as it came.
    pub length: u64,
    /// Why nothing of a body is here, if there was one.
    pub missing: Option<&'static str>,
}

impl Connection {
    /// The head of the request that was sent; cookies as they are now.
    pub fn sent_head(&self, exchange: &Exchange<'_>) -> Vec<u8> {
        let mut rendered = Vec::new();
        let rest = self.rest.as_deref();
        Rest::render(rest, exchange, &mut rendered);
        if let Some(rest) = rest {
            rest.add_cookies(exchange, &mut rendered);
        }
        rendered.truncate(message::head_length(&rendered));
        rendered
    }

    /// The answer that is here, up to `most` bytes of its body.
    pub fn said(&self, request: &CompiledRequest, outcome: Outcome, most: usize) -> Said {
        let general = self.rest.as_deref().and_then(|rest| rest.general.as_ref());
        let (content_type, encoding, length) = match general {
            Some(general) => (
                general.headers("content-type").next(),
                general.content_encoding(),
                self.received,
            ),
            None => (
                self.parser.headers().named("content-type").next(),
                self.parser.content_encoding(),
                self.parser.body_bytes(),
            ),
        };
        let mut said = Said {
            content_type: String::from_utf8_lossy(content_type.unwrap_or_default()).into_owned(),
            length,
            ..Said::default()
        };
        let beginning = self.body.get(..most).unwrap_or(&self.body);
        let is_decoded = request.keep_body && !self.body_too_long && outcome != Outcome::Body;
        if encoding == ContentEncoding::Identity || is_decoded {
            said.body = beginning.to_vec();
            let kept = self.body.len() as u64;
            said.is_whole = beginning.len() == self.body.len() && (is_decoded || kept == length);
        } else if !self.body.is_empty() {
            // What comes before the cut is decoded all the same.
            let end = decode(encoding, &self.body, most, &mut said.body);
            said.is_whole = end == Decoded::Whole && self.body.len() as u64 == length;
        }
        said.missing = match (length, self.body.is_empty(), said.body.is_empty()) {
            (1.., true, _) => Some(
                "the body was not kept: its status is an expected one, and no check and no \
                 extract of the request looks at bodies",
            ),
            (1.., _, true) => Some("the body is coded in a way that cannot be shown"),
            _ => None,
        };
        said
    }
}

impl Exchange<'_> {
    /// Keeps what a sample shows of an unexpected answer, if one is wanted.
    #[cold]
    pub(super) fn keep_beginning(
        &self,
        status: u16,
        part: &[u8],
        body: &mut Vec<u8>,
        intended: Nanos,
    ) {
        if self.worker.meter.wants_body(self.request, status, intended) {
            let needed = samples::bytes_needed(&self.values);
            let room = needed.saturating_sub(body.len());
            body.extend_from_slice(part.get(..room).unwrap_or(part));
        }
    }
}
