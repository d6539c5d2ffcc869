//! One request as the engine hands it over, and its packed form of about 13 bytes.
//!
//! ```text
//! header   one byte of presence bits
//! always   Δ sent ns (zigzag), wait µs, receive µs, step, user, iteration · 2 + (sequence > 0)
//! if set   sequence · gap in n · late µs · send µs · failed checks · status, outcome · bytes sent ·
//!          bytes received · ext: flags, dns µs, connect µs, tls µs, error text
//! ```
//! All numbers are LEB128 varints. `Δ` and the two byte counts refer to the record before in the
//! same block; a block starts anew and so decodes alone.

use loadtest_core::series::Outcome;

/// Longest error text; more is cut.
pub const MAX_ERROR_BYTES: usize = 1_024;

/// Upper bound of a packed record without its error text.
const MAX_FIXED_BYTES: usize = 160;

/// One request that ended.
///
/// The phases follow each other without gaps, so that
/// [`latency_us`](Self::latency_us) is exactly what the engine counts in its histograms:
/// intended start → `late` → `dns` → `connect` → `tls` → (`sent_ns`) → `send` → `wait` → `receive` → end.
/// Truncate the *times* to microseconds, then subtract: differences of truncated times add up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Actual send (after connecting), nanoseconds since the pool's anchor, monotonic.
    pub sent_ns: u64,
    /// From the intended start to the moment the user turned to this request.
    pub late_us: u32,
    /// Name resolution, for the first request of a connection.
    pub dns_us: u32,
    /// Connecting, for the first request of a connection.
    pub connect_us: u32,
    /// TLS handshake, for the first request of a connection.
    pub tls_us: u32,
    /// From the send to the last byte written.
    pub send_us: u32,
    /// From the last byte written to the first byte read.
    pub wait_us: u32,
    /// From the first byte read to the last.
    pub receive_us: u32,
    /// Number of the request step in the plan.
    pub step: u32,
    /// Number of the user over all runners.
    pub user: u32,
    /// Number of the user's iteration.
    pub iteration: u32,
    /// Number of the request within the iteration, from 0.
    pub sequence: u32,
    /// Status code, 0 without an answer.
    pub status: u16,
    /// How it ended.
    pub outcome: Outcome,
    /// Bit `i` is set when the step's own `i`-th check failed; the last bit stands for all beyond.
    pub failed_checks: u64,
    /// Bytes written, head included.
    pub bytes_sent: u32,
    /// Bytes read, head included.
    pub bytes_received: u32,
    /// Whether the connection had served a request before.
    pub reused: bool,
    /// Whether it was to begin within the warm-up.
    pub warm_up: bool,
    /// What was said, when the outcome, status and checks do not say it all.
    pub error: Option<&'a str>,
}

impl Record<'_> {
    /// From the intended start to the end, microseconds.
    pub fn latency_us(&self) -> u64 {
        self.before_send_us() + self.service_us()
    }

    /// From the actual send to the end, microseconds.
    pub fn service_us(&self) -> u64 {
        u64::from(self.send_us) + u64::from(self.wait_us) + u64::from(self.receive_us)
    }

    /// From the intended start to the actual send, microseconds.
    pub fn before_send_us(&self) -> u64 {
        let connecting = [self.dns_us, self.connect_us, self.tls_us].map(u64::from);
        u64::from(self.late_us) + connecting.iter().sum::<u64>()
    }
}

mod bit {
    pub(super) const GAP: u8 = 1;
    pub(super) const LATE: u8 = 1 << 1;
    pub(super) const SEND: u8 = 1 << 2;
    pub(super) const CHECKS: u8 = 1 << 3;
    pub(super) const STATUS: u8 = 1 << 4;
    pub(super) const SENT: u8 = 1 << 5;
    pub(super) const RECEIVED: u8 = 1 << 6;
    pub(super) const EXT: u8 = 1 << 7;
}

mod ext {
    pub(super) const FRESH: u8 = 1;
    pub(super) const DNS: u8 = 1 << 1;
    pub(super) const CONNECT: u8 = 1 << 2;
    pub(super) const ERROR: u8 = 1 << 3;
    pub(super) const WARM_UP: u8 = 1 << 4;
    pub(super) const TLS: u8 = 1 << 5;
}

/// What a block's next record is relative to.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Context {
    pub(super) sent_ns: u64,
    pub(super) next_n: u64,
    bytes_sent: u32,
    bytes_received: u32,
}

impl Context {
    /// Of a block whose first record has number `n`.
    pub(super) fn new(begin_ns: u64, n: u64) -> Self {
        Self {
            sent_ns: begin_ns,
            next_n: n,
            ..Self::default()
        }
    }
}

/// Bytes that packing this record may need at most.
pub(super) fn room_for(record: &Record<'_>) -> usize {
    MAX_FIXED_BYTES
        + record
            .error
            .map_or(0, |text| text.len().min(MAX_ERROR_BYTES))
}

/// A place to pack a record into.
pub(super) struct Packed {
    bytes: [u8; MAX_FIXED_BYTES + MAX_ERROR_BYTES],
    len: usize,
}

impl Packed {
    pub(super) fn new() -> Self {
        Self {
            bytes: [0; MAX_FIXED_BYTES + MAX_ERROR_BYTES],
            len: 0,
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// Packs the record with number `n`, relative to `context`, which moves on.
    #[inline]
    pub(super) fn pack(&mut self, record: &Record<'_>, n: u64, context: &mut Context) {
        self.len = 0;
        let gap = n - context.next_n;
        let plain_status = record.status == 200 && record.outcome == Outcome::Ok;
        let ext = ext_flags(record);
        let header = flag(gap != 0, bit::GAP)
            | flag(record.late_us != 0, bit::LATE)
            | flag(record.send_us != 0, bit::SEND)
            | flag(record.failed_checks != 0, bit::CHECKS)
            | flag(!plain_status, bit::STATUS)
            | flag(record.bytes_sent != context.bytes_sent, bit::SENT)
            | flag(
                record.bytes_received != context.bytes_received,
                bit::RECEIVED,
            )
            | flag(ext != 0, bit::EXT);
        self.byte(header);
        self.varint(zigzag(
            record.sent_ns.wrapping_sub(context.sent_ns).cast_signed(),
        ));
        for value in [record.wait_us, record.receive_us, record.step, record.user] {
            self.varint(value.into());
        }
        // The last bit says whether there is a sequence: of tests with one request it is always 0.
        let follows = record.sequence != 0;
        self.varint(u64::from(record.iteration) << 1 | u64::from(follows));
        if follows {
            self.varint(record.sequence.into());
        }
        self.optional(header, bit::GAP, gap);
        self.optional(header, bit::LATE, record.late_us.into());
        self.optional(header, bit::SEND, record.send_us.into());
        self.optional(header, bit::CHECKS, record.failed_checks);
        if header & bit::STATUS != 0 {
            self.varint(record.status.into());
            self.byte(record.outcome as u8);
        }
        self.optional(header, bit::SENT, record.bytes_sent.into());
        self.optional(header, bit::RECEIVED, record.bytes_received.into());
        if ext != 0 {
            self.pack_ext(record, ext);
        }
        *context = Context {
            sent_ns: record.sent_ns,
            next_n: n + 1,
            bytes_sent: record.bytes_sent,
            bytes_received: record.bytes_received,
        };
    }

    #[cold]
    fn pack_ext(&mut self, record: &Record<'_>, flags: u8) {
        self.byte(flags);
        self.optional(flags, ext::DNS, record.dns_us.into());
        self.optional(flags, ext::CONNECT, record.connect_us.into());
        self.optional(flags, ext::TLS, record.tls_us.into());
        if let Some(text) = record.error {
            let text = text
                .get(..text.floor_char_boundary(MAX_ERROR_BYTES))
                .unwrap_or(text);
            self.varint(text.len() as u64);
            if let Some(place) = self.bytes.get_mut(self.len..self.len + text.len()) {
                place.copy_from_slice(text.as_bytes());
                self.len += text.len();
            }
        }
    }

    fn optional(&mut self, header: u8, bit: u8, value: u64) {
        if header & bit != 0 {
            self.varint(value);
        }
    }

    #[inline]
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.byte(value as u8 | 0x80);
            value >>= 7;
        }
        self.byte(value as u8);
    }

    #[inline]
    fn byte(&mut self, byte: u8) {
        // Never out of room: MAX_FIXED_BYTES bounds the sum of all fields.
        if let Some(place) = self.bytes.get_mut(self.len) {
            *place = byte;
            self.len += 1;
        }
    }
}

fn flag(set: bool, bit: u8) -> u8 {
    if set { bit } else { 0 }
}

fn ext_flags(record: &Record<'_>) -> u8 {
    flag(!record.reused, ext::FRESH)
        | flag(record.dns_us != 0, ext::DNS)
        | flag(record.connect_us != 0, ext::CONNECT)
        | flag(record.tls_us != 0, ext::TLS)
        | flag(record.error.is_some(), ext::ERROR)
        | flag(record.warm_up, ext::WARM_UP)
}

fn zigzag(value: i64) -> u64 {
    (value << 1 ^ value >> 63).cast_unsigned()
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

/// The records of a block, one after the other, each with its number.
#[derive(Debug, Clone)]
pub struct Records<'a> {
    bytes: &'a [u8],
    context: Context,
}

impl<'a> Records<'a> {
    pub(super) fn new(bytes: &'a [u8], context: Context) -> Self {
        Self { bytes, context }
    }

    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.bytes.split_first()?;
        self.bytes = rest;
        Some(*first)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    fn number(&mut self) -> Option<u32> {
        u32::try_from(self.varint()?).ok()
    }

    fn optional(&mut self, header: u8, bit: u8) -> Option<u64> {
        if header & bit == 0 {
            Some(0)
        } else {
            self.varint()
        }
    }

    fn optional_number(&mut self, header: u8, bit: u8, otherwise: u32) -> Option<u32> {
        if header & bit == 0 {
            Some(otherwise)
        } else {
            self.number()
        }
    }

    fn text(&mut self) -> Option<&'a str> {
        let len = self.number()? as usize;
        let (text, rest) = self.bytes.split_at_checked(len)?;
        self.bytes = rest;
        std::str::from_utf8(text).ok()
    }

    fn unpack(&mut self) -> Option<(u64, Record<'a>)> {
        let header = self.byte()?;
        let delta = unzigzag(self.varint()?);
        let sent_ns = self.context.sent_ns.wrapping_add(delta.cast_unsigned());
        let (wait_us, receive_us) = (self.number()?, self.number()?);
        let (step, user, iteration) = (self.number()?, self.number()?, self.varint()?);
        let sequence = if iteration & 1 == 0 {
            0
        } else {
            self.number()?
        };
        let iteration = u32::try_from(iteration >> 1).ok()?;
        let n = self
            .context
            .next_n
            .wrapping_add(self.optional(header, bit::GAP)?);
        let late_us = self.optional_number(header, bit::LATE, 0)?;
        let send_us = self.optional_number(header, bit::SEND, 0)?;
        let failed_checks = self.optional(header, bit::CHECKS)?;
        let (status, outcome) = if header & bit::STATUS == 0 {
            (200, Outcome::Ok)
        } else {
            (
                u16::try_from(self.varint()?).ok()?,
                Outcome::from_u8(self.byte()?)?,
            )
        };
        let bytes_sent = self.optional_number(header, bit::SENT, self.context.bytes_sent)?;
        let bytes_received =
            self.optional_number(header, bit::RECEIVED, self.context.bytes_received)?;
        let ext = if header & bit::EXT == 0 {
            0
        } else {
            self.byte()?
        };
        let dns_us = self.optional_number(ext, ext::DNS, 0)?;
        let connect_us = self.optional_number(ext, ext::CONNECT, 0)?;
        let tls_us = self.optional_number(ext, ext::TLS, 0)?;
        let error = if ext & ext::ERROR == 0 {
            None
        } else {
            Some(self.text()?)
        };
        self.context = Context {
            sent_ns,
            next_n: n.wrapping_add(1),
            bytes_sent,
            bytes_received,
        };
        let record = Record {
            sent_ns,
            late_us,
            dns_us,
            connect_us,
            tls_us,
            send_us,
            wait_us,
            receive_us,
            step,
            user,
            iteration,
            sequence,
            status,
            outcome,
            failed_checks,
            bytes_sent,
            bytes_received,
            reused: ext & ext::FRESH == 0,
            warm_up: ext & ext::WARM_UP != 0,
            error,
        };
        Some((n, record))
    }
}

impl<'a> Iterator for Records<'a> {
    /// Number and record.
    type Item = (u64, Record<'a>);

    /// `None` at the end, and at the first byte that no writer of ours wrote.
    fn next(&mut self) -> Option<Self::Item> {
        self.unpack()
    }
}

#[cfg(test)]
pub(crate) mod tests;
