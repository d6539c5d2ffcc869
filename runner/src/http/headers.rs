//! What a caller may want of a head beyond its end: one header among all, or a few that decide
//! what is done next.
//!
//! Every head is looked through once, for its framing; what else is wanted of it is read out of
//! the bytes themselves, later and only if somebody asks. So a response whose headers nobody reads
//! costs nothing for it, and one whose headers are read costs one copy of its head.

/// Which heads are kept until the parser's next reset, to be read with
/// [`ResponseParser::headers`](super::ResponseParser::headers). By default none are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each may be asked for without the others"
)]
pub struct Keep {
    /// Every head.
    pub all: bool,
    /// Those with a `Set-Cookie`.
    pub cookies: bool,
    /// Those of a redirection (status 3xx) with a `Location`.
    pub location: bool,
    /// Those of an error (status 4xx or 5xx).
    pub errors: bool,
}

impl Keep {
    /// Nothing of any head.
    pub const NOTHING: Self = Self {
        all: false,
        cookies: false,
        location: false,
        errors: false,
    };

    #[inline]
    pub(super) fn wants(self, status: u16, notable: Notable) -> bool {
        self.all
            || (self.cookies && notable.cookies)
            || (self.location && notable.location && (300..400).contains(&status))
            || (self.errors && status >= 400)
    }
}

/// Headers that are worth a look later, if a caller says so.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Notable {
    pub cookies: bool,
    pub location: bool,
}

impl Notable {
    /// None of them.
    pub(super) const NOTHING: Self = Self {
        cookies: false,
        location: false,
    };
}

/// How the bytes of a body are coded (RFC 9110, 8.4).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ContentEncoding {
    /// As they are: no `Content-Encoding`, or `identity`.
    #[default]
    Identity,
    /// `gzip` or `x-gzip`.
    Gzip,
    /// `deflate`: a zlib stream, though some servers send the raw one.
    Deflate,
    /// `br`.
    Brotli,
    /// Something else, or several codings over one another.
    Other,
}

impl ContentEncoding {
    /// With one more header's value.
    pub(super) fn and(mut self, value: &[u8]) -> Self {
        for coding in list(value) {
            let next = match coding {
                _ if coding.eq_ignore_ascii_case(b"identity") => continue,
                _ if coding.eq_ignore_ascii_case(b"gzip") => Self::Gzip,
                _ if coding.eq_ignore_ascii_case(b"x-gzip") => Self::Gzip,
                _ if coding.eq_ignore_ascii_case(b"deflate") => Self::Deflate,
                _ if coding.eq_ignore_ascii_case(b"br") => Self::Brotli,
                _ => Self::Other,
            };
            self = if self == Self::Identity {
                next
            } else {
                Self::Other
            };
        }
        self
    }
}

/// Names and values of a head, in the order in which they came. Names are as the server wrote
/// them; values have no white space around them.
#[derive(Debug, Clone)]
pub struct Headers<'a> {
    /// Lines that are still to come, the empty one at the end included.
    lines: &'a [u8],
}

impl<'a> Headers<'a> {
    /// Of a head that was found to be well-formed; of nothing, no headers.
    pub(super) fn of(head: &'a [u8]) -> Self {
        let (_, lines) = line(head);
        Self { lines }
    }

    /// The values of all headers of a name, whose case does not matter.
    pub fn named(mut self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        std::iter::from_fn(move || {
            while !self.lines.is_empty() {
                let (line, rest) = line(self.lines);
                self.lines = rest;
                // Most lines are of other headers: their names need not be looked for the end of.
                if line.get(name.len()) == Some(&b':')
                    && let Some((found, value)) = line.split_at_checked(name.len())
                    && found.eq_ignore_ascii_case(name.as_bytes())
                {
                    return Some(value.get(1..).unwrap_or_default().trim_ascii());
                }
            }
            None
        })
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (line, rest) = line(self.lines);
        let colon = memchr::memchr(b':', line)?;
        self.lines = rest;
        let (name, value) = line.split_at(colon);
        Some((name, value.get(1..).unwrap_or_default().trim_ascii()))
    }
}

/// The first line without its end, and what follows it.
fn line(bytes: &[u8]) -> (&[u8], &[u8]) {
    let (line, rest) = match memchr::memchr(b'\n', bytes) {
        Some(end) => (
            bytes.get(..end).unwrap_or_default(),
            bytes.get(end + 1..).unwrap_or_default(),
        ),
        None => (bytes, &[][..]),
    };
    (line.strip_suffix(b"\r").unwrap_or(line), rest)
}

/// The items of a comma-separated list, empty ones left out (RFC 9110, 5.6.1).
pub(super) fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|byte| *byte == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|item| !item.is_empty())
}
