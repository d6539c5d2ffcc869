//! The head of a response: one pass over its bytes, each of which is looked at.

use super::{
    ProtocolError,
    fields::{Fields, Framing},
    headers::{ContentEncoding, Notable},
    scan,
};

/// Most headers that a response may have.
pub const MAX_HEADERS: usize = 64;

/// Longest head of a response, its last line end included.
pub const MAX_HEAD_BYTES: usize = 32 << 10;

/// What is needed of a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    /// Length of the head in bytes.
    pub len: usize,
    pub status: u16,
    pub framing: Framing,
    pub keep_alive: bool,
    pub content_encoding: ContentEncoding,
    pub notable: Notable,
}

/// Why there is no head.
enum Stop {
    /// It goes on beyond the bytes that are there.
    Incomplete,
    Malformed(ProtocolError),
}

impl From<ProtocolError> for Stop {
    fn from(error: ProtocolError) -> Self {
        Self::Malformed(error)
    }
}

/// Reads a head from the beginning of `bytes`; `None` when it goes on beyond them.
///
/// # Errors
/// The first malformation, which is the same one for every longer input.
pub(super) fn parse(bytes: &[u8], head_request: bool) -> Result<Option<Head>, ProtocolError> {
    // The same window for every way of cutting the input, so that the outcome is the same too.
    let window = bytes.get(..MAX_HEAD_BYTES).unwrap_or(bytes);
    match read(window, head_request) {
        Ok(head) => Ok(Some(head)),
        Err(Stop::Incomplete) if window.len() == MAX_HEAD_BYTES => Err(ProtocolError::HeadTooLarge),
        Err(Stop::Incomplete) => Ok(None),
        Err(Stop::Malformed(error)) => Err(error),
    }
}

fn read(window: &[u8], head_request: bool) -> Result<Head, Stop> {
    let (http_10, status, first) = status_line(window)?;
    let mut fields = Fields::default();
    let body = headers(first, &mut fields)?;
    let framing = if head_request || status < 200 || status == 204 || status == 304 {
        // Such a response ends with its head, whatever that says (RFC 9112, 6.3).
        Framing::Length(0)
    } else {
        fields.framing(http_10)?
    };
    let keep_alive =
        !fields.close && (!http_10 || fields.keep_alive) && framing != Framing::UntilClose;
    Ok(Head {
        len: window.len() - body.len(),
        status,
        framing,
        keep_alive,
        content_encoding: fields.content_encoding,
        notable: fields.notable,
    })
}

/// The status line: whether it is HTTP/1.0, the status, and what follows the line.
#[inline]
fn status_line(window: &[u8]) -> Result<(bool, u16, &[u8]), Stop> {
    // Nearly every answer begins so.
    if let Some(first) = window.strip_prefix(b"HTTP/1.1 200 OK\r\n") {
        return Ok((false, 200, first));
    }
    any_status_line(window)
}

fn any_status_line(window: &[u8]) -> Result<(bool, u16, &[u8]), Stop> {
    for (index, byte) in window.iter().take(13).enumerate() {
        let (fits, otherwise) = match index {
            0..5 => (b"HTTP/".get(index) == Some(byte), ProtocolError::NotHttp),
            5..7 => (b"1.".get(index - 5) == Some(byte), ProtocolError::Version),
            7 => (matches!(byte, b'0' | b'1'), ProtocolError::Version),
            8 => (*byte == b' ', ProtocolError::StatusLine),
            9 => (matches!(byte, b'1'..=b'9'), ProtocolError::StatusLine),
            10 | 11 => (byte.is_ascii_digit(), ProtocolError::StatusLine),
            _ => (
                matches!(byte, b' ' | b'\r' | b'\n'),
                ProtocolError::StatusLine,
            ),
        };
        if !fits {
            return Err(otherwise.into());
        }
    }
    let (line, reason) = window.split_first_chunk::<12>().ok_or(Stop::Incomplete)?;
    let [.., minor, _, hundreds, tens, ones] = *line;
    let digit = |byte: u8| u16::from(byte - b'0');
    let status = 100 * digit(hundreds) + 10 * digit(tens) + digit(ones);
    let (_, line_end) = scan::value(reason);
    let first = after_line_end(line_end, ProtocolError::StatusLine)?;
    Ok((minor == b'0', status, first))
}

/// Reads header lines; returns what follows the head.
#[inline]
fn headers<'a>(mut rest: &'a [u8], fields: &mut Fields) -> Result<&'a [u8], Stop> {
    let mut count = 0;
    while !matches!(rest, [b'\r', ..]) {
        let Some((name, after)) = name(rest) else {
            break;
        };
        if name.is_empty() {
            return Err(ProtocolError::HeaderName.into());
        }
        let (value, next) = value(after)?;
        count += 1;
        if count > MAX_HEADERS {
            return Err(ProtocolError::TooManyHeaders.into());
        }
        fields.note(name, value);
        rest = next;
    }
    after_headers(rest)
}

/// A header's name, and what follows its colon.
#[inline]
fn name(line: &[u8]) -> Option<(&[u8], &[u8])> {
    if let Some((name, [b':', after @ ..])) = line.split_at_checked(scan::letters(line)) {
        return Some((name, after));
    }
    let (name, after) = scan::name(line);
    Some((name, after.strip_prefix(b":")?))
}

/// A header's value with the white space around it, and the lines that follow.
#[inline]
fn value(rest: &[u8]) -> Result<(&[u8], &[u8]), Stop> {
    if let Some((value, [b'\r', b'\n', next @ ..])) = rest.split_at_checked(scan::text(rest)) {
        return Ok((value, next));
    }
    let (value, line_end) = scan::value(rest);
    Ok((value, after_line_end(line_end, ProtocolError::HeaderValue)?))
}

/// At a line that is no header: what follows the empty line that ends the head, or an error.
fn after_headers(line: &[u8]) -> Result<&[u8], Stop> {
    match line {
        [b'\r', b'\n', after @ ..] | [b'\n', after @ ..] => Ok(after),
        [] | [b'\r'] => Err(Stop::Incomplete),
        [b'\r', ..] => Err(ProtocolError::LineEnd.into()),
        [b' ' | b'\t', ..] => Err(ProtocolError::FoldedHeader.into()),
        _ if scan::name(line).1.is_empty() => Err(Stop::Incomplete),
        _ => Err(ProtocolError::HeaderName.into()),
    }
}

/// What follows the line's end that is here.
fn after_line_end(rest: &[u8], otherwise: ProtocolError) -> Result<&[u8], Stop> {
    match rest {
        [b'\r', b'\n', after @ ..] | [b'\n', after @ ..] => Ok(after),
        [] | [b'\r'] => Err(Stop::Incomplete),
        _ => Err(otherwise.into()),
    }
}
