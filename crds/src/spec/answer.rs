//! What is expected of an answer, and what is remembered of it.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    rule,
    scalar::{Duration, Identifier, IntOrText, Statuses},
};

/// Something that an answer must fulfil: exactly one of status, bodyContains, jsonPath, header and
/// maxLatency.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::from(rule::CHECK))]
pub struct Check {
    /// Name in the results; default: the check in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub name: Option<String>,
    /// The status code is one of these, single or ranges: [200, 201-204].
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16))]
    pub status: Option<Vec<Statuses>>,
    /// The body has this text.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub body_contains: Option<String>,
    /// Something in a JSON body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub json_path: Option<JsonPathCheck>,
    /// A header of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<HeaderCheck>,
    /// The latency is at most this, such as 500ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_latency: Option<Duration>,
}

/// Something in a JSON body: path and exactly one of equals, notEquals, contains, matches and
/// exists. Of several finds one must fulfil it.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::from(rule::TEST))]
pub struct JsonPathCheck {
    /// Where it is, by RFC 9535: $.items[0].id, $..price, $.items[?@.stock > 0].
    #[schemars(length(min = 1, max = 1024))]
    pub path: String,
    /// It is this text or number; anything else is compared by its JSON, such as "true".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub equals: Option<IntOrText>,
    /// It is another one, or there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_equals: Option<IntOrText>,
    /// It has this text in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contains: Option<IntOrText>,
    /// This regular expression is found in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub matches: Option<String>,
    /// true: there is one. false: there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exists: Option<bool>,
}

/// A header of the answer: name and exactly one of equals, notEquals, contains, matches and exists.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::from(rule::TEST))]
pub struct HeaderCheck {
    /// Its name, in upper or lower case.
    #[schemars(length(min = 1, max = 256))]
    pub name: String,
    /// It is this text or number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub equals: Option<IntOrText>,
    /// It is another one, or there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_equals: Option<IntOrText>,
    /// It has this text in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contains: Option<IntOrText>,
    /// This regular expression is found in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub matches: Option<String>,
    /// true: there is one. false: there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exists: Option<bool>,
}

/// Something of an answer that later steps have by its name: with name token it is $(token).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Extract {
    /// Name of the value, at most 63 characters of A-Z, a-z, 0-9, _ and -.
    pub name: Identifier,
    /// Where it is: exactly one of jsonPath, header and regex.
    pub from: ExtractFrom,
    /// Which one, if there are several. First (default), Random: one of them, All: a list for
    /// repeat.forEach, which templates write as a JSON array.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pick: Option<Pick>,
    /// How long it is remembered. Iteration: until the iteration ends. User: for the user's life.
    /// Default: User if onStart makes the value, Iteration otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<ValueScope>,
    /// What becomes of the iteration if there is none. FailIteration (default): the request has
    /// failed and the iteration ends. Continue: the value stays what it was, at first an empty
    /// text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_missing: Option<OnMissing>,
}

/// Where in an answer something is: exactly one member.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::from(rule::EXTRACT))]
pub struct ExtractFrom {
    /// In a JSON body, by RFC 9535: $.token. A text is taken as it is, anything else as its JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub json_path: Option<String>,
    /// The value of a header, such as x-token.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub header: Option<String>,
    /// In the body, by a regular expression: what its first group found, as in
    /// name="csrf" value="([^"]+)", or all of it if it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub regex: Option<String>,
}

/// Which one, if there are several. First (default), Random: one of them, All: a list for
/// repeat.forEach, which templates write as a JSON array.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Pick {
    /// The first.
    #[default]
    First,
    /// One of them.
    Random,
    /// All, as a list.
    All,
}

/// How long a value is remembered. Iteration: until the iteration ends. User: for the user's life.
/// Default: User if onStart makes the value, Iteration otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ValueScope {
    /// Until the iteration ends.
    Iteration,
    /// For the user's life.
    User,
}

/// What becomes of the iteration if there is none. FailIteration (default): the request has failed
/// and the iteration ends. Continue: the value stays what it was, at first an empty text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnMissing {
    /// It ends.
    #[default]
    FailIteration,
    /// The value stays what it was.
    Continue,
}

/// How long a request is sent again. Each try is a request of the request's row; the whole is a row
/// of its own, named after request and check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Until {
    /// Name of the check of this request that must hold. It is judged once, at the end.
    #[schemars(length(min = 1, max = 1024))]
    pub check: String,
    /// From the end of a try to the next one, such as 500ms; default 1s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub every: Option<Duration>,
    /// No try begins later than this after the first; then the check has failed. Default 30s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
}
