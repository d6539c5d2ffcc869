//! Bodies in chunks (RFC 9112, 7.1): a machine that takes bytes as they come and keeps a few
//! numbers, never bytes.

use super::{MAX_HEAD_BYTES, MAX_HEADERS, ProtocolError, scan::is_token};

/// Longest extensions of one chunk. Nobody uses them; the bound is hyper's.
const MAX_EXTENSION_BYTES: u32 = 16 << 10;

/// Where in a chunked body the input stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Before the first digit of a size.
    Size,
    /// After at least one digit.
    SizeDigits,
    /// White space after the digits, which old servers pad sizes with.
    SizePadding,
    /// After a semicolon.
    Extension,
    /// After the carriage return of a size line.
    SizeLineFeed,
    /// In the data, `left` bytes before its end.
    Data,
    /// After the data.
    DataReturn,
    /// After the data's carriage return.
    DataLineFeed,
    /// At the start of a trailer line, or of the empty line that ends it all.
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerLineFeed,
    /// After the carriage return of the last, empty line.
    EndLineFeed,
}

/// The state between two pieces of input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Chunked {
    place: Place,
    /// Size of the chunk as far as it was read, then what is left of its data.
    left: u64,
    /// Bytes of extensions of this chunk, then of trailers.
    line_bytes: u32,
    trailers: u32,
}

impl Chunked {
    pub(super) fn new() -> Self {
        Self {
            place: Place::Size,
            left: 0,
            line_bytes: 0,
            trailers: 0,
        }
    }

    /// Takes bytes, hands on those of the body. Returns how many were taken when the body ended
    /// among them, `None` when all were taken and it goes on.
    pub(super) fn feed(
        &mut self,
        bytes: &[u8],
        body: &mut impl FnMut(&[u8]),
    ) -> Result<Option<usize>, ProtocolError> {
        let mut rest = bytes;
        loop {
            if self.place == Place::Size
                && let Some((size, after)) = usual_size_line(rest)
            {
                rest = after;
                self.left = size;
                self.place = match size {
                    0 => Place::TrailerStart,
                    _ => Place::Data,
                };
            }
            if self.place == Place::Data {
                let here = usize::try_from(self.left).map_or(rest.len(), |n| n.min(rest.len()));
                let (data, after) = rest.split_at(here);
                if !data.is_empty() {
                    body(data);
                }
                self.left -= here as u64;
                rest = after;
                if self.left > 0 {
                    return Ok(None);
                }
                self.place = Place::DataReturn;
                if let Some(after) = rest.strip_prefix(b"\r\n") {
                    rest = after;
                    self.line_bytes = 0;
                    self.place = Place::Size;
                    continue;
                }
            }
            let Some((byte, after)) = rest.split_first() else {
                return Ok(None);
            };
            rest = after;
            if self.step(*byte)? {
                return Ok(Some(bytes.len() - rest.len()));
            }
        }
    }

    /// Takes one byte outside of data; true when it was the last of the body.
    fn step(&mut self, byte: u8) -> Result<bool, ProtocolError> {
        self.place = match self.place {
            Place::Size | Place::SizeDigits | Place::SizePadding | Place::Extension => {
                self.size_line(byte)?
            }
            Place::SizeLineFeed => match byte {
                b'\n' if self.left == 0 => {
                    self.line_bytes = 0;
                    Place::TrailerStart
                }
                b'\n' => Place::Data,
                _ => return Err(ProtocolError::ChunkSize),
            },
            // `feed` leaves the data before it comes here.
            Place::Data | Place::DataReturn => match byte {
                b'\r' => Place::DataLineFeed,
                _ => return Err(ProtocolError::ChunkEnd),
            },
            Place::DataLineFeed => match byte {
                b'\n' => {
                    self.line_bytes = 0;
                    Place::Size
                }
                _ => return Err(ProtocolError::ChunkEnd),
            },
            Place::EndLineFeed => match byte {
                b'\n' => return Ok(true),
                _ => return Err(ProtocolError::Trailer),
            },
            Place::TrailerStart
            | Place::TrailerName
            | Place::TrailerValue
            | Place::TrailerLineFeed => self.trailer_line(byte)?,
        };
        Ok(false)
    }

    fn size_line(&mut self, byte: u8) -> Result<Place, ProtocolError> {
        match (self.place, byte) {
            (Place::Size | Place::SizeDigits, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                let digit = match byte {
                    b'0'..=b'9' => byte - b'0',
                    _ => (byte | 0x20) - b'a' + 10,
                };
                self.left = self
                    .left
                    .checked_mul(16)
                    .and_then(|size| size.checked_add(u64::from(digit)))
                    .ok_or(ProtocolError::ChunkSize)?;
                self.count_extension()?; // leading zeros have no end otherwise
                Ok(Place::SizeDigits)
            }
            (Place::Size, _) | (Place::Extension, b'\n') => Err(ProtocolError::ChunkSize),
            (_, b'\r') => Ok(Place::SizeLineFeed),
            (Place::Extension, _) => {
                self.count_extension()?;
                Ok(Place::Extension)
            }
            (_, b';') => Ok(Place::Extension),
            (_, b' ' | b'\t') => {
                self.count_extension()?;
                Ok(Place::SizePadding)
            }
            _ => Err(ProtocolError::ChunkSize),
        }
    }

    fn count_extension(&mut self) -> Result<(), ProtocolError> {
        self.line_bytes += 1;
        if self.line_bytes > MAX_EXTENSION_BYTES {
            return Err(ProtocolError::ChunkExtensionTooLong);
        }
        Ok(())
    }

    fn trailer_line(&mut self, byte: u8) -> Result<Place, ProtocolError> {
        self.line_bytes += 1;
        if self.line_bytes as usize > MAX_HEAD_BYTES {
            return Err(ProtocolError::TrailersTooLarge);
        }
        match (self.place, byte) {
            (Place::TrailerStart, b'\r') => Ok(Place::EndLineFeed),
            (Place::TrailerStart, _) if is_token(byte) => {
                self.trailers += 1;
                if self.trailers as usize > MAX_HEADERS {
                    return Err(ProtocolError::TrailersTooLarge);
                }
                Ok(Place::TrailerName)
            }
            (Place::TrailerName, b':') | (Place::TrailerValue, b'\t' | b' '..=0x7e | 0x80..) => {
                Ok(Place::TrailerValue)
            }
            (Place::TrailerName, _) if is_token(byte) => Ok(Place::TrailerName),
            (Place::TrailerValue, b'\r') => Ok(Place::TrailerLineFeed),
            (Place::TrailerLineFeed, b'\n') => Ok(Place::TrailerStart),
            _ => Err(ProtocolError::Trailer),
        }
    }
}

/// A size line that is all there and has nothing but at most eight digits, and what follows it.
/// Others are left to the machine, which takes these too.
#[inline]
fn usual_size_line(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut size = 0;
    let mut rest = bytes;
    while let Some((byte, after)) = rest.split_first() {
        let digits = bytes.len() - rest.len();
        match char::from(*byte).to_digit(16) {
            Some(digit) if digits < 8 => size = size << 4 | u64::from(digit),
            None if digits > 0 => return Some((size, rest.strip_prefix(b"\r\n")?)),
            _ => return None,
        }
        rest = after;
    }
    None
}
