//! What stands inside `$(…)` once it is parsed.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Something that a runner computes for each request, and how it is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Expression {
    /// What.
    pub source: Source,
    /// How it is escaped.
    pub escape: Escape,
}

/// How a value is escaped where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Escape {
    /// Not at all. What would break a request apart is changed all the same: in a URL control
    /// characters and spaces are percent-encoded, in a header control characters become spaces.
    None,
    /// All but the unreserved characters of RFC 3986 are percent-encoded.
    Url,
    /// As the inside of a JSON text.
    Json,
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Source {
    /// The runner itself.
    Slot(Slot),
    /// A value that is extracted or set, index into [`Inputs::values`](crate::plan::Inputs::values),
    /// and its name. Empty as long as nothing was.
    Value(u32, String),
    /// A value of the setup, index into
    /// [`Inputs::setup_values`](crate::plan::Inputs::setup_values), and its name.
    Setup(u32, String),
    /// A column of the user's row.
    Data {
        /// Index into [`Inputs::data`](crate::plan::Inputs::data).
        feeder: u32,
        /// Name of the feeder.
        name: String,
        /// Name of the column.
        column: String,
    },
    /// A secret, index into [`Inputs::secrets`](crate::plan::Inputs::secrets), and its name.
    Secret(u32, String),
    /// The value of the `Authorization` header by [`Inputs::auth`](crate::plan::Inputs::auth).
    Authorization,
    /// What a function makes of its arguments.
    Call(Box<Call>),
}

/// What a runner always knows. All are digits or hex.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Slot {
    /// `user.index`: number of the virtual user over all runners, from 0.
    #[serde(rename = "user.index")]
    UserIndex,
    /// `user.iteration`: number of this user's iteration, from 0.
    #[serde(rename = "user.iteration")]
    UserIteration,
    /// `run.id`: the run's 32 hex digits.
    #[serde(rename = "run.id")]
    RunId,
    /// `runner.index`: number of the runner, from 0.
    #[serde(rename = "runner.index")]
    RunnerIndex,
    /// `response.status`: status of the user's last answer, 0 when there was none.
    #[serde(rename = "response.status")]
    ResponseStatus,
}

/// A function with its arguments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Call {
    /// Which.
    pub function: Function,
    /// As many as it takes; numbers, lengths and words that select something are checked.
    pub arguments: Vec<Argument>,
}

/// An argument of a function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Argument {
    /// Known.
    Text(String),
    /// Known only to the runner.
    Source(Source),
}

/// The functions, a closed list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Function {
    /// `uuid`: a random UUID, version 4.
    Uuid,
    /// `randomInt MIN MAX`: a whole number in `MIN..=MAX`.
    RandomInt,
    /// `randomString LENGTH`: letters and digits.
    RandomString,
    /// `randomChoice A B …`: one of them.
    RandomChoice,
    /// `now [rfc3339|unix|unixMs] [OFFSET]`: the time, by default RFC 3339 in UTC with
    /// milliseconds; an offset is a duration with `+` or `-`, such as `+1h`.
    Now,
    /// `base64 TEXT [standard|url]`: RFC 4648; `url` is without padding.
    Base64,
    /// `hex TEXT`: in lower case.
    Hex,
    /// `sha256 TEXT [hex|base64|base64url]`.
    Sha256,
    /// `hmacSha256 KEY TEXT [hex|base64|base64url]`: RFC 2104.
    HmacSha256,
    /// `urlEncode TEXT`: all but the unreserved characters of RFC 3986 percent-encoded.
    UrlEncode,
    /// `jwt HS256|RS256|ES256 KEY CLAIMS`: a signed token of RFC 7519. `KEY` is a text (HS256) or a
    /// PKCS #8 private key in PEM; `CLAIMS` is JSON.
    Jwt,
}

impl Slot {
    /// Every slot there is.
    pub const ALL: [Self; 5] = [
        Self::UserIndex,
        Self::UserIteration,
        Self::RunId,
        Self::RunnerIndex,
        Self::ResponseStatus,
    ];

    /// The name that people write.
    pub fn name(self) -> &'static str {
        match self {
            Self::UserIndex => "user.index",
            Self::UserIteration => "user.iteration",
            Self::RunId => "run.id",
            Self::RunnerIndex => "runner.index",
            Self::ResponseStatus => "response.status",
        }
    }
}

impl Function {
    /// Every function.
    pub const ALL: [Self; 11] = [
        Self::Uuid,
        Self::RandomInt,
        Self::RandomString,
        Self::RandomChoice,
        Self::Now,
        Self::Base64,
        Self::Hex,
        Self::Sha256,
        Self::HmacSha256,
        Self::UrlEncode,
        Self::Jwt,
    ];

    /// The name that people write.
    pub fn name(self) -> &'static str {
        match self {
            Self::Uuid => "uuid",
            Self::RandomInt => "randomInt",
            Self::RandomString => "randomString",
            Self::RandomChoice => "randomChoice",
            Self::Now => "now",
            Self::Base64 => "base64",
            Self::Hex => "hex",
            Self::Sha256 => "sha256",
            Self::HmacSha256 => "hmacSha256",
            Self::UrlEncode => "urlEncode",
            Self::Jwt => "jwt",
        }
    }

    /// How it is written, for messages.
    pub fn usage(self) -> &'static str {
        match self {
            Self::Uuid => "uuid",
            Self::RandomInt => "randomInt MIN MAX",
            Self::RandomString => "randomString LENGTH",
            Self::RandomChoice => "randomChoice A B …",
            Self::Now => "now [rfc3339|unix|unixMs] [+1h|-5m]",
            Self::Base64 => "base64 TEXT [standard|url]",
            Self::Hex => "hex TEXT",
            Self::Sha256 => "sha256 TEXT [hex|base64|base64url]",
            Self::HmacSha256 => "hmacSha256 KEY TEXT [hex|base64|base64url]",
            Self::UrlEncode => "urlEncode TEXT",
            Self::Jwt => "jwt HS256|RS256|ES256 KEY CLAIMS",
        }
    }
}

impl fmt::Display for Source {
    /// As people write it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Slot(slot) => f.write_str(slot.name()),
            Self::Value(_, name) => f.write_str(name),
            Self::Setup(_, name) => write!(f, "setup.{name}"),
            Self::Data { name, column, .. } => write!(f, "{name}.{column}"),
            Self::Secret(_, name) => write!(f, "secret.{name}"),
            Self::Authorization => f.write_str("authorization"),
            Self::Call(call) => {
                f.write_str(call.function.name())?;
                for argument in &call.arguments {
                    match argument {
                        Argument::Text(text) => write!(f, " {text:?}")?,
                        Argument::Source(source) => write!(f, " {source}")?,
                    }
                }
                Ok(())
            }
        }
    }
}
