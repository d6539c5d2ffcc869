//! A request as bytes with slots, ready to be rendered without looking anything up.

use loadtest_core::{
    plan::{Origin, Plan, Request},
    template::{Segment, Slot, Template},
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
}

/// What slots render to.
#[derive(Debug, Clone, Copy)]
pub struct Values<'a> {
    /// Number of the user over all runners.
    pub user: u32,
    /// Number of the user's iteration.
    pub iteration: u32,
    /// Number of the runner.
    pub runner: u32,
    /// The run's id.
    pub run_id: &'a str,
}

impl Values<'_> {
    fn length(&self, slot: Slot) -> usize {
        match slot {
            Slot::UserIndex => decimal_length(self.user),
            Slot::UserIteration => decimal_length(self.iteration),
            Slot::RunnerIndex => decimal_length(self.runner),
            Slot::RunId => self.run_id.len(),
            Slot::ResponseStatus => 3,
        }
    }

    fn write(&self, slot: Slot, out: &mut Vec<u8>) {
        let number = match slot {
            Slot::UserIndex => self.user,
            Slot::UserIteration => self.iteration,
            Slot::RunnerIndex => self.runner,
            Slot::ResponseStatus => 0,
            Slot::RunId => return out.extend_from_slice(self.run_id.as_bytes()),
        };
        out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    }
}

fn decimal_length(number: u32) -> usize {
    number
        .checked_ilog10()
        .map_or(1, |digits| digits as usize + 1)
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Bytes(Box<[u8]>),
    Slot(Slot),
    /// Length of the rendered body, which has slots.
    BodyLength,
}

/// Head and body of a request.
#[derive(Debug)]
pub struct Message {
    pieces: Vec<Piece>,
    /// Of the body: bytes outside slots, and the slots.
    body_bytes: usize,
    body_slots: Vec<Slot>,
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
    /// Compiles a request of a plan.
    ///
    /// # Errors
    /// When a part of the head would break it apart.
    pub fn compile(
        plan: &Plan,
        request: &Request,
        envelope: Envelope<'_>,
    ) -> Result<Self, MessageError> {
        validate(plan, request)?;
        Ok(Self::new(request, envelope))
    }

    /// Of a request whose parts are known to be well-formed. `Host`, `User-Agent`,
    /// `Content-Length` and `Connection: close` are added unless the request has them.
    pub fn new(request: &Request, envelope: Envelope<'_>) -> Self {
        let mut pieces = Pieces::default();
        pieces.text(&request.method);
        pieces.text(" ");
        pieces.template(&request.path);
        pieces.text(" HTTP/1.1\r\n");
        let has = |name: &str| {
            request
                .headers
                .iter()
                .any(|(n, _)| n.eq_ignore_ascii_case(name))
        };
        if !has("host") {
            pieces.text(&format!("Host: {}\r\n", envelope.origin.authority()));
        }
        if !has("user-agent") {
            let version = env!("CARGO_PKG_VERSION");
            pieces.text(&format!(
                "User-Agent: loadtest/{version} run/{}\r\n",
                envelope.run_id
            ));
        }
        if envelope.closes && !has("connection") {
            pieces.text("Connection: close\r\n");
        }
        for (name, value) in &request.headers {
            pieces.text(&format!("{name}: "));
            pieces.template(value);
            pieces.text("\r\n");
        }
        let empty = Template::default();
        let body = request.body.as_ref().unwrap_or(&empty);
        let mut body_bytes = 0;
        let mut body_slots = Vec::new();
        for segment in &body.segments {
            match segment {
                Segment::Text(text) => body_bytes += text.len(),
                Segment::Slot(slot) => body_slots.push(*slot),
                Segment::Expression(_) | Segment::File(_) => {}
            }
        }
        // A method that expects a body says so even when it is empty (RFC 9110, 8.6).
        let expects_body = ["POST", "PUT", "PATCH"].contains(&request.method.as_str());
        if (request.body.is_some() || expects_body) && !has("content-length") {
            pieces.text("Content-Length: ");
            if body_slots.is_empty() {
                pieces.text(&body_bytes.to_string());
            } else {
                pieces.push(Piece::BodyLength);
            }
            pieces.text("\r\n");
        }
        pieces.text("\r\n");
        pieces.template(body);
        Self {
            pieces: pieces.finish(),
            body_bytes,
            body_slots,
        }
    }

    /// Length of the rendered body.
    pub fn body_length(&self, values: &Values<'_>) -> usize {
        let slots: usize = self.body_slots.iter().map(|s| values.length(*s)).sum();
        self.body_bytes + slots
    }

    /// Writes the request to the end of `out`.
    pub fn render(&self, values: &Values<'_>, out: &mut Vec<u8>) {
        for piece in &self.pieces {
            match piece {
                Piece::Bytes(bytes) => out.extend_from_slice(bytes),
                Piece::Slot(slot) => values.write(*slot, out),
                Piece::BodyLength => {
                    let length = self.body_length(values);
                    out.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
                }
            }
        }
    }
}

/// Path and query of a rendered request.
pub fn request_target(rendered: &[u8]) -> &str {
    let target = rendered.split(|byte| *byte == b' ').nth(1);
    target
        .and_then(|bytes| std::str::from_utf8(bytes).ok())
        .unwrap_or("/")
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

    fn push(&mut self, piece: Piece) {
        if !self.text.is_empty() {
            self.done
                .push(Piece::Bytes(std::mem::take(&mut self.text).into()));
        }
        self.done.push(piece);
    }

    fn template(&mut self, template: &Template) {
        for segment in &template.segments {
            match segment {
                Segment::Text(text) => self.text(text),
                Segment::Slot(slot) => self.push(Piece::Slot(*slot)),
                Segment::Expression(_) | Segment::File(_) => {}
            }
        }
    }

    fn finish(mut self) -> Vec<Piece> {
        if !self.text.is_empty() {
            self.done.push(Piece::Bytes(self.text.into()));
        }
        self.done
    }
}

fn validate(plan: &Plan, request: &Request) -> Result<(), MessageError> {
    let name = || {
        plan.series
            .get(request.series as usize)
            .map(|key| key.name.clone())
            .unwrap_or_default()
    };
    if !is_token(&request.method) {
        return Err(MessageError::Method {
            request: name(),
            method: request.method.clone(),
        });
    }
    let path_breaks = |text: &str| text.bytes().any(|b| b <= b' ' || b == 0x7f);
    if texts(&request.path).any(path_breaks) || !starts_with_slash(&request.path) {
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

fn starts_with_slash(path: &Template) -> bool {
    texts(path).next().is_some_and(|text| text.starts_with('/'))
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

/// RFC 9110, 5.6.2.
fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}
