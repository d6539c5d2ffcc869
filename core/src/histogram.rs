//! Latency histograms in microseconds that merge without loss and travel as bytes.

use hdrhistogram::serialization::{Deserializer, Serializer, V2Serializer};
use serde::{Deserialize, Serialize, de::Error as _, ser::Error as _};

/// Largest value that can be told apart: 71 minutes. Longer ones count as this.
pub const MAX_MICROS: u64 = u32::MAX as u64;

/// Significant digits of the histogram over all requests.
pub const TOTAL_DIGITS: u8 = 3;
/// Significant digits of the histogram of one request name.
pub const NAME_DIGITS: u8 = 2;

/// A histogram of microseconds, empty until the first value.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    inner: Option<Box<hdrhistogram::Histogram<u64>>>,
    /// Exact, beside the buckets, which round.
    sum: u64,
    min: u64,
    max: u64,
}

impl Histogram {
    /// Records one value.
    ///
    /// `digits` is used when this is the first one; a histogram keeps its precision for life.
    pub fn record(&mut self, micros: u64, digits: u8) {
        let micros = micros.min(MAX_MICROS);
        if self.inner.is_none() {
            self.inner = new_inner(digits);
        }
        if let Some(inner) = &mut self.inner {
            self.min = if inner.is_empty() {
                micros
            } else {
                self.min.min(micros)
            };
            self.max = self.max.max(micros);
            self.sum = self.sum.saturating_add(micros);
            inner.saturating_record(micros);
        }
    }

    /// Adds all values of another histogram.
    pub fn merge(&mut self, other: &Self) {
        let Some(theirs) = other.inner.as_ref().filter(|theirs| !theirs.is_empty()) else {
            return;
        };
        self.min = if self.is_empty() {
            other.min
        } else {
            self.min.min(other.min)
        };
        self.max = self.max.max(other.max);
        self.sum = self.sum.saturating_add(other.sum);
        match &mut self.inner {
            None => self.inner = Some(theirs.clone()),
            // Cannot fail: every histogram covers MAX_MICROS.
            Some(ours) => drop(ours.add(&**theirs)),
        }
    }

    /// Removes all values, keeps the memory.
    pub fn clear(&mut self) {
        if let Some(inner) = &mut self.inner {
            inner.reset();
        }
        (self.sum, self.min, self.max) = (0, 0, 0);
    }

    /// Its precision, in significant digits; `None` before the first value.
    pub fn digits(&self) -> Option<u8> {
        self.inner.as_ref().map(|inner| inner.sigfig())
    }

    /// How many values.
    pub fn count(&self) -> u64 {
        self.inner.as_ref().map_or(0, |h| h.len())
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.count() == 0
    }

    /// The value at a share of one (0.99 for p99) within the precision, 0 when empty.
    pub fn quantile(&self, quantile: f64) -> u64 {
        match &self.inner {
            Some(inner) if !inner.is_empty() => {
                inner.value_at_quantile(quantile).clamp(self.min, self.max)
            }
            _ => 0,
        }
    }

    /// Exact smallest value, 0 when empty.
    pub fn min(&self) -> u64 {
        self.min
    }

    /// Exact largest value, 0 when empty.
    pub fn max(&self) -> u64 {
        self.max
    }

    /// Exact mean, 0 when empty.
    pub fn mean(&self) -> f64 {
        if self.is_empty() {
            0.0
        } else {
            self.sum as f64 / self.count() as f64
        }
    }

    /// Sum of all values.
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// A histogram that was written out as its [`Self::buckets`], [`Self::sum`], [`Self::min`] and
    /// [`Self::max`]; `digits` is the precision that it had.
    pub fn from_buckets(
        digits: u8,
        buckets: impl IntoIterator<Item = (u64, u64)>,
        sum: u64,
        range: (u64, u64),
    ) -> Self {
        let mut inner = new_inner(digits);
        for (value, count) in buckets {
            if let Some(inner) = &mut inner {
                inner.saturating_record_n(value.min(MAX_MICROS), count);
            }
        }
        match inner {
            Some(inner) if !inner.is_empty() => Self {
                inner: Some(inner),
                sum,
                min: range.0,
                max: range.1,
            },
            _ => Self::default(),
        }
    }

    /// Every bucket that has values: (highest equivalent value, count), ascending.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.inner.iter().flat_map(|inner| {
            inner.iter_recorded().map(|bucket| {
                (
                    bucket.value_iterated_to(),
                    bucket.count_since_last_iteration(),
                )
            })
        })
    }
}

fn new_inner(digits: u8) -> Option<Box<hdrhistogram::Histogram<u64>>> {
    hdrhistogram::Histogram::new_with_bounds(1, MAX_MICROS, digits)
        .ok()
        .map(Box::new)
}

/// Wire form: sum, smallest, largest and HDR's own V2 bytes (empty when there is no value).
#[derive(Serialize, Deserialize)]
struct Wire(u64, u64, u64, #[serde(with = "serde_bytes")] Vec<u8>);

impl Serialize for Histogram {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut bytes = Vec::new();
        if let Some(inner) = self.inner.as_ref().filter(|h| !h.is_empty()) {
            V2Serializer::new()
                .serialize(inner, &mut bytes)
                .map_err(S::Error::custom)?;
        }
        Wire(self.sum, self.min, self.max, bytes).serialize(to)
    }
}

impl<'de> Deserialize<'de> for Histogram {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let Wire(sum, min, max, bytes) = Wire::deserialize(from)?;
        if bytes.is_empty() {
            return Ok(Self::default());
        }
        // Only our own two shapes: a report with another one could make a merge fail or grow. Asked
        // before there is memory for it: the header alone says how much that is.
        let ours = [TOTAL_DIGITS, NAME_DIGITS].map(|digits| header(digits, bytes.len()));
        if !ours.iter().any(|header| bytes.starts_with(header)) || min > max {
            return Err(D::Error::custom("histogram has bounds that no runner uses"));
        }
        let inner: hdrhistogram::Histogram<u64> = Deserializer::new()
            .deserialize(&mut bytes.as_slice())
            .map_err(D::Error::custom)?;
        Ok(Self {
            inner: Some(Box::new(inner)),
            sum,
            min,
            max,
        })
    }
}

/// What the V2 form of one of ours begins with when it is so long, all big-endian: cookie, length of
/// the counts, offset of the counts, digits, lowest and highest value, ratio of the values.
fn header(digits: u8, length: usize) -> Vec<u8> {
    const COOKIE: u32 = 0x1c84_9313;
    const LENGTH: usize = 40;
    let counts = u32::try_from(length.saturating_sub(LENGTH)).unwrap_or(u32::MAX);
    let words = [COOKIE, counts, 0, u32::from(digits)].map(u32::to_be_bytes);
    let values = [1, MAX_MICROS, 1.0_f64.to_bits()].map(u64::to_be_bytes);
    [words.as_flattened(), values.as_flattened()].concat()
}
