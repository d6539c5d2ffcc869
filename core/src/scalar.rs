//! Scalars that people write (`1m30s`, `200/s`, `1%`, `200-399`) and that they read (`12.4ms`).

use std::{fmt, fmt::Write as _, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

/// Why a scalar was refused; says what was found and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScalarError {
    /// Not a duration in Go style.
    #[error("{0:?} is not a duration: write it like 500ms, 30s or 1m30s")]
    Duration(String),
    /// Not a rate.
    #[error("{0:?} is not a rate: write it like 200/s or 30/m")]
    Rate(String),
    /// Not a percentage.
    #[error("{0:?} is not a percentage: write it like 1% or 99.9%")]
    Percent(String),
    /// Not a status code or range of them.
    #[error("{0:?} is not a status or a range of them: write it like 404 or 200-399")]
    Status(String),
}

/// Longest duration that is taken: 10,000 days, in microseconds.
const LONGEST: u64 = 10_000 * 24 * 3_600_000_000;

/// Parses a Go-style duration of whole numbers (GEP-2257 and `us`): `1h`, `1m30s`, `250ms`.
///
/// # Errors
/// [`ScalarError::Duration`] when the text has another form or is longer than 10,000 days.
pub fn parse_duration(text: &str) -> Result<Duration, ScalarError> {
    let refused = || ScalarError::Duration(text.to_owned());
    let mut rest = text;
    let mut micros: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let count: u64 = rest
            .get(..digits)
            .and_then(|d| d.parse().ok())
            .ok_or_else(refused)?;
        rest = rest.get(digits..).unwrap_or_default();
        let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let unit = match rest.get(..letters) {
            Some("us") => 1,
            Some("ms") => 1_000,
            Some("s") => 1_000_000,
            Some("m") => 60_000_000,
            Some("h") => 3_600_000_000,
            _ => return Err(refused()),
        };
        rest = rest.get(letters..).unwrap_or_default();
        micros = count
            .checked_mul(unit)
            .and_then(|v| micros.checked_add(v))
            .ok_or_else(refused)?;
    }
    if text.is_empty() || micros > LONGEST {
        Err(refused())
    } else {
        Ok(Duration::from_micros(micros))
    }
}

/// Writes a duration the way [`parse_duration`] reads it: `1m30s`, `250ms`, `0s`.
pub fn format_duration(duration: Duration) -> String {
    let mut micros = duration.as_micros() as u64;
    if micros == 0 {
        return "0s".to_owned();
    }
    let mut out = String::new();
    for (unit, name) in [
        (3_600_000_000, "h"),
        (60_000_000, "m"),
        (1_000_000, "s"),
        (1_000, "ms"),
        (1, "us"),
    ] {
        if micros >= unit {
            let _ = write!(out, "{}{name}", micros / unit);
            micros %= unit;
        }
    }
    out
}

/// Writes a duration as people read it, milliseconds up to a second, tenths up to a minute, then whole
/// seconds: `200ms`, `20.3s`, `5m3s`.
pub fn format_rounded_duration(duration: Duration) -> String {
    let millis = duration.as_millis() as u64;
    match millis {
        0..1_000 => format_duration(Duration::from_millis(millis)),
        1_000..60_000 => format!("{}s", (millis as f64 / 100.0).round() / 10.0),
        _ => format_duration(Duration::from_secs((millis + 500) / 1_000)),
    }
}

/// Writes microseconds with three significant digits: `953us`, `12.4ms`, `1.25s`, `125s`.
pub fn format_latency(micros: u64) -> String {
    if micros < 1_000 {
        return format!("{micros}us");
    }
    let (value, unit) = if micros < 999_500 {
        (micros as f64 / 1e3, "ms")
    } else {
        (micros as f64 / 1e6, "s")
    };
    let decimals = usize::from(value < 99.95) + usize::from(value < 9.995);
    format!("{value:.decimals$}{unit}")
}

/// Writes a share of one as a percentage with two decimals at most: `0%`, `0.25%`, `100%`.
///
/// A share that is not zero never reads as `0%`, and one that is not whole never as `100%`.
pub fn format_ratio(ratio: f64) -> String {
    if ratio <= 0.0 {
        return "0%".to_owned();
    }
    if ratio < 1.0 {
        if ratio < 0.0001 {
            return "<0.01%".to_owned();
        }
        let percent = (ratio * 1e4).round().min(9_999.0) / 1e2;
        return format!("{percent}%");
    }
    format!("{}%", (ratio * 1e4).round() / 1e2)
}

/// Writes a rate per second with one decimal at most: `199.9/s`.
pub fn format_rate(per_second: f64) -> String {
    format!("{}/s", (per_second * 10.0).round() / 10.0)
}

/// Serde form of a duration: the text that [`parse_duration`] reads.
pub mod duration_text {
    use super::{Duration, format_duration, parse_duration};
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// Writes the text form.
    pub fn serialize<S: Serializer>(value: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&format_duration(*value))
    }
    /// Reads the text form.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        parse_duration(&String::deserialize(from)?).map_err(D::Error::custom)
    }
}

/// Serde form of a duration that may be absent: the text that [`parse_duration`] reads, or null.
pub mod optional_duration_text {
    use super::{Duration, format_duration, parse_duration};
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    /// Writes the text form.
    #[allow(clippy::ref_option)] // the signature that serde asks for
    pub fn serialize<S: Serializer>(value: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
        value.map(format_duration).serialize(to)
    }
    /// Reads the text form.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        text.map(|text| parse_duration(&text).map_err(D::Error::custom))
            .transpose()
    }
}

/// An exact rate: `events` per `per`. Kept as written, so that due times are exact integers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Rate {
    /// How many.
    pub events: u64,
    /// In how long: one second or one minute.
    pub per: Duration,
}

impl Rate {
    /// Events per minute, exactly.
    pub fn per_minute(self) -> u64 {
        self.events * (60 / self.per.as_secs().clamp(1, 60))
    }

    /// Events per second.
    pub fn per_second(self) -> f64 {
        self.events as f64 / self.per.as_secs_f64()
    }
}

impl FromStr for Rate {
    type Err = ScalarError;
    fn from_str(text: &str) -> Result<Self, ScalarError> {
        let refused = || ScalarError::Rate(text.to_owned());
        let (events, unit) = text.split_once('/').ok_or_else(refused)?;
        let per = match unit {
            "s" => Duration::from_secs(1),
            "m" => Duration::from_mins(1),
            _ => return Err(refused()),
        };
        if events.is_empty() || events.len() > 9 || !events.bytes().all(|b| b.is_ascii_digit()) {
            return Err(refused());
        }
        Ok(Self {
            events: events.parse().map_err(|_| refused())?,
            per,
        })
    }
}

impl TryFrom<String> for Rate {
    type Error = ScalarError;
    fn try_from(text: String) -> Result<Self, ScalarError> {
        text.parse()
    }
}

impl From<Rate> for String {
    fn from(rate: Rate) -> Self {
        rate.to_string()
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}/{}",
            self.events,
            if self.per.as_secs() == 60 { "m" } else { "s" }
        )
    }
}

/// Parses `1%` or `99.95%` into a share of one.
///
/// # Errors
/// [`ScalarError::Percent`] when the sign is missing or the value is not within 0 to 100.
pub fn parse_percent(text: &str) -> Result<f64, ScalarError> {
    let refused = || ScalarError::Percent(text.to_owned());
    let number = text.strip_suffix('%').ok_or_else(refused)?;
    if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return Err(refused());
    }
    let value: f64 = number.parse().map_err(|_| refused())?;
    if value > 100.0 {
        Err(refused())
    } else {
        Ok(value / 100.0)
    }
}

/// Status codes that count as success, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StatusRange {
    /// First code.
    pub from: u16,
    /// Last code.
    pub to: u16,
}

impl StatusRange {
    /// Whether the code lies in the range.
    pub fn contains(self, status: u16) -> bool {
        (self.from..=self.to).contains(&status)
    }
}

impl FromStr for StatusRange {
    type Err = ScalarError;
    fn from_str(text: &str) -> Result<Self, ScalarError> {
        let refused = || ScalarError::Status(text.to_owned());
        let code = |t: &str| match t.parse::<u16>() {
            Ok(c) if t.len() == 3 && (100..=599).contains(&c) => Ok(c),
            _ => Err(refused()),
        };
        let (from, to) = match text.split_once('-') {
            Some((from, to)) => (code(from)?, code(to)?),
            None => (code(text)?, code(text)?),
        };
        if from > to {
            Err(refused())
        } else {
            Ok(Self { from, to })
        }
    }
}

impl TryFrom<String> for StatusRange {
    type Error = ScalarError;
    fn try_from(text: String) -> Result<Self, ScalarError> {
        text.parse()
    }
}

impl From<StatusRange> for String {
    fn from(range: StatusRange) -> Self {
        if range.from == range.to {
            range.from.to_string()
        } else {
            format!("{}-{}", range.from, range.to)
        }
    }
}
