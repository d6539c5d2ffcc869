//! Scalars of the API: texts with a form, and values that may be numbers or texts.

use std::{borrow::Cow, fmt, ops::Deref};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

macro_rules! text {
    ($(#[$doc:meta])* $name:ident, $schema:tt) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub String);

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
        impl Deref for $name {
            type Target = str;
            fn deref(&self) -> &str {
                &self.0
            }
        }
        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.to_owned())
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text!(
    /// A duration in Go style that may be zero: `0s`, `500ms`, `1m30s`.
    DurationOrZero,
    { "type": "string", "maxLength": 32, "pattern": "^([0-9]+(us|ms|s|m|h))+$" }
);
text!(
    /// A duration in Go style that is not zero: `500ms`, `1m30s`.
    Duration,
    { "type": "string", "maxLength": 32, "pattern": "^[1-9][0-9]*(us|ms|s|m|h)([0-9]+(us|ms|s|m|h))*$" }
);
text!(
    /// A rate that is not zero: `200/s`, `30/m`.
    Rate,
    { "type": "string", "maxLength": 16, "pattern": "^[1-9][0-9]{0,8}/(s|m)$" }
);
text!(
    /// A rate that may be zero: `0/s`, `200/s`, `30/m`.
    RateOrZero,
    { "type": "string", "maxLength": 16, "pattern": "^(0|[1-9][0-9]{0,8})/(s|m)$" }
);
text!(
    /// A host that load may be sent to: `cdn.perf.svc`, `cdn.perf.svc:8443`, `[::1]:8080`. Its form
    /// is checked on acceptance: a pattern for it would be a riddle in the API server's answer.
    Host,
    { "type": "string", "minLength": 1, "maxLength": 264 }
);
text!(
    /// A name within a test: a DNS label.
    Name,
    { "type": "string", "minLength": 1, "maxLength": 52, "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$" }
);
text!(
    /// A name that templates use: `token`, `cartId`, `x-1`.
    Identifier,
    { "type": "string", "minLength": 1, "maxLength": 63, "pattern": "^[A-Za-z_][-_A-Za-z0-9]*$" }
);
text!(
    /// A share: `20%`, `0.1%`.
    Percentage,
    { "type": "string", "maxLength": 16, "pattern": "^(100|[0-9]{1,2}([.][0-9]{1,4})?)%$" }
);
text!(
    /// `LastPassed`, or the name of a run.
    BaselineRun,
    { "type": "string", "minLength": 1, "maxLength": 58, "pattern": "^(LastPassed|[a-z0-9]([-a-z0-9]*[a-z0-9])?)$" }
);
text!(
    /// By how much a number may get worse: `10%`, `0.5%`, `150%`.
    WorseBy,
    { "type": "string", "maxLength": 16, "pattern": "^[0-9]{1,3}([.][0-9]{1,4})?%$" }
);
text!(
    /// A size on disk: `512Mi`, `2Gi`.
    Size,
    { "type": "string", "maxLength": 8, "pattern": "^[0-9]{1,6}(Mi|Gi)$" }
);
text!(
    /// What names of data streams begin with: `loadtest`, `perf.shop`.
    DataStreamPrefix,
    { "type": "string", "minLength": 1, "maxLength": 52, "pattern": "^[a-z0-9]([-a-z0-9._]*[a-z0-9])?$" }
);
text!(
    /// The name of another object.
    ObjectName,
    { "type": "string", "minLength": 1, "maxLength": 253, "pattern": "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$" }
);
text!(
    /// A key of a Secret or `ConfigMap`.
    DataKey,
    { "type": "string", "minLength": 1, "maxLength": 253, "pattern": "^[-._a-zA-Z0-9]+$" }
);

/// A text, or a whole number that stands for its digits; so that nobody needs to quote `42`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum IntOrText {
    /// Written as a number.
    Int(i64),
    /// Written as text.
    Text(String),
}

impl fmt::Display for IntOrText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(value) => value.fmt(f),
            Self::Text(text) => f.write_str(text),
        }
    }
}

impl From<&str> for IntOrText {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl JsonSchema for IntOrText {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "IntOrText".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "x-kubernetes-int-or-string": true, "maxLength": 4096 })
    }
}

/// A status code or a range of them: `404`, `200-399`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Statuses(pub IntOrText);

impl JsonSchema for Statuses {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Statuses".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "x-kubernetes-int-or-string": true,
            "minimum": 100,
            "maximum": 599,
            "maxLength": 7,
            "pattern": "^[1-5][0-9]{2}(-[1-5][0-9]{2})?$"
        })
    }
}

/// Any JSON value, kept as it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AnyJson(pub serde_json::Value);

impl JsonSchema for AnyJson {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "AnyJson".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "x-kubernetes-preserve-unknown-fields": true })
    }
}

/// Any JSON object, kept as it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AnyObject(pub serde_json::Map<String, serde_json::Value>);

impl JsonSchema for AnyObject {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "AnyObject".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true })
    }
}
