//! A request as bytes with slots, ready to be rendered without looking anything up.

use std::sync::Arc;

use loadtest_core::{
    plan::{Origin, Plan, Request},
    template::{Segment, Slot, Template},
};

pub use super::values::Values;
use super::{
    script::{Compiler, Expression, Place, Private, ScriptError},
    values::TRACEPARENT,
};

/// Why a request cannot be sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// Not a method.
    #[error("request {request:?} has the method {method:?}, which is not a word")]
    Method {
        /// Name of the request.
        request: String,
        /// Its method.
        method: String,
    },
    /// A path that would end the request line.
    #[error("request {request:?} has the url {url:?}, which has a space or control character")]
    Path {
        /// Name of the request.
        request: String,
        /// Its path.
        url: String,
    },
    /// A header that would break the head apart.
    #[error("request {request:?} has a malformed header {header:?}")]
    Header {
        /// Name of the request.
        request: String,
        /// Name of the header.
        header: String,
    },
    /// A part that can never be rendered.
    #[error("request {request:?}: {problem}")]
    Script {
        /// Name of the request.
        request: String,
        /// What is wrong.
        problem: ScriptError,
    },
}

#[derive(Debug)]
enum Piece {
    Bytes(Box<[u8]>),
    Slot(Slot),
    /// Length of the rendered body, which has slots.
    BodyLength,
    /// Length of the rendered body, which has expressions.
    BodyLengthLater,
    /// Which trace the request belongs to.
    Trace,
    Expression(Box<Expression>),
    /// Content of a file, of which there is one for all requests.
    File(Arc<[u8]>),
    /// The body begins here, of a message whose body has expressions.
    Body,
}

/// Head and body of a request.
#[derive(Debug)]
pub struct Message {
    pieces: Vec<Piece>,
    /// Of the body: bytes outside slots, and the slots.
    body_bytes: usize,
    body_slots: Vec<Slot>,
    varies: bool,
}

/// What a request's head has besides what the request says.
#[derive(Debug, Clone, Copy)]
pub struct Envelope<'a> {
    /// Where it goes.
    pub origin: &'a Origin,
    /// The run's id.
    pub run_id: &'a str,
    /// Whether the connection is closed after the answer.
    pub closes: bool,
}

impl Message {
    /// Compiles a request of a plan. `Host`, `User-Agent`, `traceparent`, `Content-Length` and
    /// `Connection: close` are added unless the request has them.
    ///
    /// # Errors
    /// When a part of the head would break it apart, or a part can never be rendered.
    pub fn compile(
        plan: &Plan,
        request: &Request,
        envelope: Envelope<'_>,
        compiler: &Compiler<'_>,
    ) -> Result<Self, MessageError> {
        validate(plan, request)?;
        Self::new(request, envelope, compiler).map_err(|problem| MessageError::Script {
            request: name_of(plan, request),
            problem,
        })
    }

    /// Of a request whose parts are known to be well-formed.
    fn new(
        request: &Request,
        envelope: Envelope<'_>,
        compiler: &Compiler<'_>,
    ) -> Result<Self, ScriptError> {
        let mut pieces = Pieces::default();
        pieces.text(&request.method);
        pieces.text(" ");
        pieces.template(&request.path, Place::Url, compiler)?;
        pieces.text(" HTTP/1.1\r\n");
        let has = |name: &str| {
            let mut names = request.headers.iter().map(|(name, _)| name);
            names.any(|other| other.eq_ignore_ascii_case(name))
        };
        if !has("host") {
            pieces.text(&format!("Host: {}\r\n", envelope.origin.authority()));
        }
        if !has("user-agent") {
            let version = env!("CARGO_PKG_VERSION");
            let run = envelope.run_id;
            pieces.text(&format!("User-Agent: loadtest/{version} run/{run}\r\n"));
        }
        if !has(TRACEPARENT) {
            pieces.trace();
        }
        if envelope.closes && !has("connection") {
            pieces.text("Connection: close\r\n");
        }
        for (name, value) in &request.headers {
            pieces.text(&format!("{name}: "));
            pieces.template(value, Place::Header, compiler)?;
            pieces.text("\r\n");
        }
        let empty = Template::default();
        let body = request.body.as_ref().unwrap_or(&empty);
        let size = Size::of(body, compiler)?;
        // A method that expects a body says so even when it is empty (RFC 9110, 8.6).
        let expects_body = ["POST", "PUT", "PATCH"].contains(&request.method.as_str());
        if (request.body.is_some() || expects_body) && !has("content-length") {
            pieces.text("Content-Length: ");
            if size.varies {
                pieces.push(Piece::BodyLengthLater);
            } else if size.slots.is_empty() {
                pieces.text(&size.bytes.to_string());
            } else {
                pieces.push(Piece::BodyLength);
            }
            pieces.text("\r\n");
        }
        pieces.text("\r\n");
        if size.varies {
            pieces.push(Piece::Body);
        }
        pieces.template(body, Place::Body, compiler)?;
        let pieces = pieces.finish();
        Ok(Self {
            varies: pieces.iter().any(|p| matches!(p, Piece::Expression(_))),
            pieces,
            body_bytes: size.bytes,
            body_slots: size.slots,
        })
    }

    /// Of bytes that were rendered before, but for the trace, which comes after `head` if it comes
    /// at all.
    pub fn rendered(head: &[u8], traced: bool, rest: &[u8]) -> Self {
        let mut pieces = Pieces {
            text: head.to_vec(),
            ..Pieces::default()
        };
        if traced {
            pieces.trace();
        }
        pieces.text.extend_from_slice(rest);
        Self {
            pieces: pieces.finish(),
            body_bytes: 0,
            body_slots: Vec::new(),
            varies: false,
        }
    }

    /// Whether it may be another one each time that it is rendered.
    pub fn varies(&self) -> bool {
        self.varies
    }

    /// Whether it says which trace it belongs to, by itself.
    pub fn is_traced(&self) -> bool {
        self.pieces.iter().any(|p| matches!(p, Piece::Trace))
    }

    /// Writes the request into the empty `out`.
    pub fn render(&self, values: &Values<'_>, out: &mut Vec<u8>) {
        let mut length_at = None;
        let mut body_at = None;
        for piece in &self.pieces {
            match piece {
                Piece::Bytes(bytes) => out.extend_from_slice(bytes),
                Piece::Slot(slot) => values.write(*slot, out),
                Piece::Trace => values.write_trace(out),
                Piece::BodyLength => {
                    let slots: usize = self.body_slots.iter().map(|s| values.length(*s)).sum();
                    let length = self.body_bytes + slots;
                    out.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
                }
                Piece::BodyLengthLater => length_at = Some(out.len()),
                Piece::Expression(expression) => expression.write(values, out),
                Piece::File(content) => out.extend_from_slice(content),
                Piece::Body => body_at = Some(out.len()),
            }
        }
        if self.varies {
            complete(out, length_at, body_at);
        }
    }
}

/// Puts in what was not known before an expression was rendered.
#[cold]
fn complete(out: &mut Vec<u8>, length_at: Option<usize>, body_at: Option<usize>) {
    if let Some(at) = length_at {
        let body = body_at.unwrap_or(out.len());
        let length = itoa::Buffer::new().format(out.len() - body).to_owned();
        out.splice(at..at, length.into_bytes());
    }
    // A path that was extracted may be without its slash.
    if let Some(space) = out.iter().position(|byte| *byte == b' ')
        && out.get(space + 1) != Some(&b'/')
    {
        out.insert(space + 1, b'/');
    }
}

/// Path and query of a rendered request.
pub fn request_target(rendered: &[u8]) -> &str {
    let target = rendered.split(|byte| *byte == b' ').nth(1);
    target
        .and_then(|bytes| std::str::from_utf8(bytes).ok())
        .unwrap_or("/")
}

/// Where the head of a rendered request ends, with the empty line: at its first one.
pub fn head_length(rendered: &[u8]) -> usize {
    memchr::memmem::find(rendered, b"\r\n\r\n").map_or(rendered.len(), |at| at + 4)
}

/// How long a body is.
struct Size {
    /// Bytes outside slots.
    bytes: usize,
    slots: Vec<Slot>,
    /// It has expressions, so nobody knows before.
    varies: bool,
}

impl Size {
    fn of(body: &Template, compiler: &Compiler<'_>) -> Result<Self, ScriptError> {
        let mut size = Self {
            bytes: 0,
            slots: Vec::new(),
            varies: false,
        };
        for segment in &body.segments {
            match segment {
                Segment::Text(text) => size.bytes += text.len(),
                Segment::Slot(Slot::ResponseStatus) | Segment::Expression(_) => size.varies = true,
                Segment::Slot(slot) => size.slots.push(*slot),
                Segment::File(index) => size.bytes += compiler.file(*index)?.len(),
            }
        }
        Ok(size)
    }
}

/// Joins neighbouring texts.
#[derive(Debug, Default)]
struct Pieces {
    done: Vec<Piece>,
    text: Vec<u8>,
}

impl Pieces {
    fn text(&mut self, text: &str) {
        self.text.extend_from_slice(text.as_bytes());
    }

    fn trace(&mut self) {
        self.text(TRACEPARENT);
        self.text(": ");
        self.push(Piece::Trace);
        self.text("\r\n");
    }

    fn push(&mut self, piece: Piece) {
        if !self.text.is_empty() {
            self.done
                .push(Piece::Bytes(std::mem::take(&mut self.text).into()));
        }
        self.done.push(piece);
    }

    fn template(
        &mut self,
        template: &Template,
        place: Place,
        compiler: &Compiler<'_>,
    ) -> Result<(), ScriptError> {
        for segment in &template.segments {
            match segment {
                Segment::Text(text) => self.text(text),
                Segment::Slot(Slot::ResponseStatus) => {
                    let status = Expression::status(place, compiler);
                    self.push(Piece::Expression(Box::new(status)));
                }
                Segment::Slot(slot) => self.push(Piece::Slot(*slot)),
                Segment::Expression(expression) => {
                    let expression = Expression::compile(expression, place, compiler)?;
                    self.push(Piece::Expression(Box::new(expression)));
                }
                Segment::File(index) => self.push(Piece::File(compiler.file(*index)?)),
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Vec<Piece> {
        if !self.text.is_empty() {
            self.done.push(Piece::Bytes(self.text.into()));
        }
        self.done
    }
}

/// The name under which a request is counted.
pub fn name_of(plan: &Plan, request: &Request) -> String {
    let key = plan.series.get(request.series as usize);
    key.map_or_else(|| request.path.to_display(), |key| key.name.clone())
}

fn validate(plan: &Plan, request: &Request) -> Result<(), MessageError> {
    let name = || name_of(plan, request);
    if !is_token(&request.method) {
        return Err(MessageError::Method {
            request: name(),
            method: request.method.clone(),
        });
    }
    let path_breaks = |text: &str| text.bytes().any(|b| b <= b' ' || b == 0x7f);
    if texts(&request.path).any(path_breaks) || !starts_well(&request.path) {
        return Err(MessageError::Path {
            request: name(),
            url: request.path.to_display(),
        });
    }
    for (header, value) in &request.headers {
        let breaks = |text: &str| text.bytes().any(|b| (b < b' ' && b != b'\t') || b == 0x7f);
        if !is_token(header) || texts(value).any(breaks) {
            return Err(MessageError::Header {
                request: name(),
                header: header.clone(),
            });
        }
    }
    Ok(())
}

/// With a slash, or with something that gets one when it is rendered.
fn starts_well(path: &Template) -> bool {
    match path.segments.first() {
        Some(Segment::Text(text)) => text.starts_with('/'),
        Some(Segment::Expression(_)) => true,
        Some(Segment::Slot(_) | Segment::File(_)) | None => false,
    }
}

fn texts(template: &Template) -> impl Iterator<Item = &str> {
    template
        .segments
        .iter()
        .filter_map(|segment| match segment {
            Segment::Text(text) => Some(text.as_str()),
            Segment::Slot(_) | Segment::Expression(_) | Segment::File(_) => None,
        })
}

/// Names of the headers that are made of secrets.
pub fn private_headers(request: &Request, private: &Private) -> Box<[String]> {
    let headers = request.headers.iter();
    let private = headers.filter(|(_, value)| private.has(value));
    private.map(|(name, _)| name.clone()).collect()
}

/// RFC 9110, 5.6.2.
fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

#[cfg(test)]
mod tests;
