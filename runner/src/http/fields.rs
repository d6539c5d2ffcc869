//! The headers that a client must understand: where the body ends, whether the connection stays.

use super::{
    ProtocolError,
    headers::{ContentEncoding, Notable, list},
};

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

/// What the headers of a head say, as far as it matters here.
#[derive(Debug, Default)]
pub(super) struct Fields {
    content_length: ContentLength,
    transfer_encoding: TransferEncoding,
    pub close: bool,
    pub keep_alive: bool,
    pub content_encoding: ContentEncoding,
    pub notable: Notable,
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
    /// Notes one header, whose value may have white space around it.
    #[inline]
    pub fn note(&mut self, name: &[u8], value: &[u8]) {
        // Most headers are told apart by the length of their name alone.
        match name.len() {
            8 => self.notable.location |= is(name, b"location"),
            10 if is(name, b"connection") => self.note_connection(value.trim_ascii()),
            10 => self.notable.cookies |= is(name, b"set-cookie"),
            14 if is(name, b"content-length") => {
                self.content_length = self.content_length.and(value.trim_ascii());
            }
            16 if is(name, b"content-encoding") => {
                self.content_encoding = self.content_encoding.and(value);
            }
            17 if is(name, b"transfer-encoding") => {
                self.transfer_encoding = self.transfer_encoding.and(value.trim_ascii());
            }
            _ => {}
        }
    }

    fn note_connection(&mut self, value: &[u8]) {
        if is(value, b"keep-alive") {
            self.keep_alive = true;
            return;
        }
        for option in list(value) {
            self.close |= is(option, b"close");
            self.keep_alive |= is(option, b"keep-alive");
        }
    }

    /// Where the body ends, if there may be one.
    ///
    /// # Errors
    /// When that is not certain.
    pub fn framing(&self, http_10: bool) -> Result<Framing, ProtocolError> {
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
    #[inline]
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
        if self == Self::Absent && is(value, b"chunked") {
            return Self::Chunked;
        }
        for coding in list(value) {
            self = if self == Self::Absent && is(coding, b"chunked") {
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

/// Whether a name, or a word of a value, is `lower` in any case. The bytes of both have been looked
/// through: among those that may be there no two but a letter's cases differ in that bit alone and
/// meet in a letter or a hyphen, so the compiler may compare many at once.
#[inline]
fn is<const N: usize>(word: &[u8], lower: &[u8; N]) -> bool {
    <&[u8; N]>::try_from(word).is_ok_and(|word| {
        word.iter()
            .zip(lower)
            .fold(0, |differ, (byte, lower)| differ | ((byte | 0x20) ^ lower))
            == 0
    })
}

/// Digits only: no sign, no space, no more than 64 bits.
#[inline]
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
