//! The head of a response: status, where the body ends, whether the connection stays.

use std::mem::MaybeUninit;

use super::{
    ProtocolError,
    headers::{ContentEncoding, list},
};

/// Most headers that a response may have.
pub const MAX_HEADERS: usize = 64;

/// Longest head of a response, its last line end included.
pub const MAX_HEAD_BYTES: usize = 32 << 10;

/// How the end of a body is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// So many bytes; 0 also where a body is forbidden.
    Length(u64),
    /// Chunks.
    Chunked,
    /// All until the server closes.
    UntilClose,
}

/// What is needed of a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    /// Length of the head in bytes.
    pub len: usize,
    pub status: u16,
    pub framing: Framing,
    pub keep_alive: bool,
    pub content_encoding: ContentEncoding,
    pub has_cookies: bool,
    pub has_location: bool,
}

/// Reads a head from the beginning of `bytes`; `None` when it goes on beyond them.
///
/// # Errors
/// The first malformation, which is the same one for every longer input.
pub(super) fn parse(bytes: &[u8], head_request: bool) -> Result<Option<Head>, ProtocolError> {
    // The same window for every way of cutting the input, so that the outcome is the same too.
    let window = bytes.get(..MAX_HEAD_BYTES).unwrap_or(bytes);
    // httparse skips empty lines first, as a server should; a client has no reason to.
    if matches!(window.first(), Some(b'\r' | b'\n')) {
        return Err(ProtocolError::NotHttp);
    }
    let mut headers = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut []);
    let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(
        &mut response,
        window,
        &mut headers,
    );
    let len = match parsed {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) if window.len() == MAX_HEAD_BYTES => {
            return Err(ProtocolError::HeadTooLarge);
        }
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(name_error(error, window)),
    };
    let status = response.code.unwrap_or(0);
    if status < 100 {
        return Err(ProtocolError::StatusLine);
    }
    let http_10 = response.version == Some(0);
    let fields = Fields::read(response.headers);
    let framing = if head_request || status < 200 || status == 204 || status == 304 {
        // Such a response ends with its head, whatever that says (RFC 9112, 6.3).
        Framing::Length(0)
    } else {
        fields.framing(http_10)?
    };
    let keep_alive =
        !fields.close && (!http_10 || fields.keep_alive) && framing != Framing::UntilClose;
    Ok(Some(Head {
        len,
        status,
        framing,
        keep_alive,
        content_encoding: fields.content_encoding,
        has_cookies: fields.has_cookies,
        has_location: fields.has_location,
    }))
}

/// The headers that decide about framing and reuse, and what is worth knowing of others.
#[derive(Debug, Default)]
struct Fields {
    content_length: ContentLength,
    transfer_encoding: TransferEncoding,
    close: bool,
    keep_alive: bool,
    content_encoding: ContentEncoding,
    has_cookies: bool,
    has_location: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum ContentLength {
    #[default]
    Absent,
    Is(u64),
    /// Only an error where the length matters.
    Refused(ProtocolError),
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum TransferEncoding {
    #[default]
    Absent,
    Chunked,
    Other,
}

impl Fields {
    fn read(headers: &[httparse::Header<'_>]) -> Self {
        let mut fields = Self::default();
        for header in headers {
            // Most headers are told apart by the length of their name alone.
            let name = header.name.as_bytes();
            match name.len() {
                8 => fields.has_location |= is(name, b"location"),
                10 if is(name, b"set-cookie") => fields.has_cookies = true,
                10 if is(name, b"connection") => fields.read_connection(header.value),
                14 if is(name, b"content-length") => {
                    fields.content_length = fields.content_length.and(header.value);
                }
                16 if is(name, b"content-encoding") => {
                    fields.content_encoding = fields.content_encoding.and(header.value);
                }
                17 if is(name, b"transfer-encoding") => {
                    fields.transfer_encoding = fields.transfer_encoding.and(header.value);
                }
                _ => {}
            }
        }
        fields
    }

    fn read_connection(&mut self, value: &[u8]) {
        for option in list(value) {
            if option.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if option.eq_ignore_ascii_case(b"keep-alive") {
                self.keep_alive = true;
            }
        }
    }

    fn framing(&self, http_10: bool) -> Result<Framing, ProtocolError> {
        match (self.transfer_encoding, self.content_length) {
            (TransferEncoding::Absent, ContentLength::Absent) => Ok(Framing::UntilClose),
            (TransferEncoding::Absent, ContentLength::Is(length)) => Ok(Framing::Length(length)),
            (TransferEncoding::Absent, ContentLength::Refused(error)) => Err(error),
            (_, ContentLength::Is(_) | ContentLength::Refused(_)) => {
                Err(ProtocolError::ContentLengthWithTransferEncoding)
            }
            _ if http_10 => Err(ProtocolError::TransferEncodingInHttp10),
            (TransferEncoding::Chunked, ContentLength::Absent) => Ok(Framing::Chunked),
            (TransferEncoding::Other, ContentLength::Absent) => Err(ProtocolError::TransferCoding),
        }
    }
}

impl ContentLength {
    /// With one more header; repeated equal values are one (RFC 9110, 8.6).
    fn and(self, value: &[u8]) -> Self {
        match (self, decimal(value)) {
            (Self::Absent, Some(length)) => Self::Is(length),
            _ => self.and_list(value),
        }
    }

    #[cold]
    fn and_list(mut self, value: &[u8]) -> Self {
        for item in value.split(|byte| *byte == b',') {
            let Some(length) = decimal(item.trim_ascii()) else {
                return Self::Refused(ProtocolError::ContentLength);
            };
            self = match self {
                Self::Absent => Self::Is(length),
                Self::Is(known) if known == length => self,
                Self::Is(_) => Self::Refused(ProtocolError::ConflictingContentLengths),
                Self::Refused(_) => return self,
            };
        }
        self
    }
}

impl TransferEncoding {
    /// With one more header. Only `chunked`, once, is understood: nothing else was asked for.
    fn and(mut self, value: &[u8]) -> Self {
        for coding in list(value) {
            self = if self == Self::Absent && coding.eq_ignore_ascii_case(b"chunked") {
                Self::Chunked
            } else {
                Self::Other
            };
        }
        // A header without a coding is still a header that nobody can act on.
        if self == Self::Absent {
            Self::Other
        } else {
            self
        }
    }
}

/// Whether a header's name is `lower`, in any case; of the same length. In a name there are only
/// token bytes, of which no two but a letter's cases differ in that bit alone and meet in a letter
/// or a hyphen, so the compiler may compare many at once.
fn is<const N: usize>(name: &[u8], lower: &[u8; N]) -> bool {
    name.first_chunk::<N>().is_some_and(|name| {
        name.iter()
            .zip(lower)
            .fold(0, |differ, (byte, lower)| differ | ((byte | 0x20) ^ lower))
            == 0
    })
}

/// Digits only: no sign, no space, no more than 64 bits.
fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |value, byte| {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// Gives httparse's errors the names that people need.
#[cold]
fn name_error(error: httparse::Error, head: &[u8]) -> ProtocolError {
    match error {
        httparse::Error::Version if !head.starts_with(b"HTTP/") => ProtocolError::NotHttp,
        httparse::Error::Version
            if !head.starts_with(b"HTTP/1.0") && !head.starts_with(b"HTTP/1.1") =>
        {
            ProtocolError::Version
        }
        httparse::Error::Version | httparse::Error::Status | httparse::Error::Token => {
            ProtocolError::StatusLine
        }
        httparse::Error::HeaderName if folds(head) => ProtocolError::FoldedHeader,
        httparse::Error::HeaderName => ProtocolError::HeaderName,
        httparse::Error::HeaderValue => ProtocolError::HeaderValue,
        httparse::Error::NewLine => ProtocolError::LineEnd,
        httparse::Error::TooManyHeaders => ProtocolError::TooManyHeaders,
    }
}

/// Whether the first line with a malformed name is one that begins with white space.
fn folds(head: &[u8]) -> bool {
    for line in head.split(|byte| *byte == b'\n').skip(1) {
        if matches!(line.first(), Some(b' ' | b'\t')) {
            return true;
        }
        let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
        if name.len() == line.len() || name.is_empty() || !name.iter().all(|byte| is_token(*byte)) {
            return false;
        }
    }
    false
}

/// A byte of a header name (RFC 9110, 5.6.2).
pub(super) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
