//! What templates draw from: data, secrets, and how requests prove who they are.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{BasicAuth, KeyRef};
use crate::{
    rule,
    scalar::{Duration, Identifier},
};

/// Rows of data for users: each iteration, or each user, has one, and templates have its columns as
/// $(NAME.COLUMN).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Data {
    /// Unique name: with products and a column id it is $(products.id).
    pub name: Identifier,
    /// Where the rows are: exactly one of inline, configMapRef and path.
    pub from: DataFrom,
    /// How they are written. Csv (default): RFC 4180, the first line names the columns. JsonLines:
    /// a JSON object in each line, the first one names the columns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<DataFormat>,
    /// In which order they are taken. Sequential (default): as they are written. Random: shuffled,
    /// every row once before any comes again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<DataOrder>,
    /// Who takes which. Split (default): of N runners, row i belongs to runner i mod N, so that no
    /// row is used twice at a time. Each: every runner has all rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share: Option<DataShare>,
    /// How long a row is a user's. Iteration (default): each iteration takes the next one. User:
    /// each user takes one for its life, such as an account of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<DataScope>,
    /// What becomes of a scenario when all rows were taken. Recycle (default): it begins again with
    /// the first. Stop: it begins no more iterations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_exhausted: Option<OnExhausted>,
}

/// Where rows are: exactly one member.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::from(rule::DATA_FROM))]
pub struct DataFrom {
    /// Here, at most 64 KiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 65_536))]
    pub inline: Option<String>,
    /// A key of a ConfigMap in the test's namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_map_ref: Option<KeyRef>,
    /// Path of a file in the runner, such as /data/products.csv: mounted by runners.template.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub path: Option<String>,
}

/// How rows are written. Csv (default): RFC 4180, the first line names the columns. JsonLines: a JSON
/// object in each line, the first one names the columns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DataFormat {
    /// RFC 4180.
    #[default]
    Csv,
    /// A JSON object in each line.
    JsonLines,
}

/// In which order rows are taken. Sequential (default): as they are written. Random: shuffled, every
/// row once before any comes again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DataOrder {
    /// As they are written.
    #[default]
    Sequential,
    /// Shuffled.
    Random,
}

/// Who takes which rows. Split (default): of N runners, row i belongs to runner i mod N, so that no
/// row is used twice at a time. Each: every runner has all rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DataShare {
    /// Each row belongs to one runner.
    #[default]
    Split,
    /// Every runner has all rows.
    Each,
}

/// How long a row is a user's. Iteration (default): each iteration takes the next one. User: each
/// user takes one for its life, such as an account of its own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DataScope {
    /// For an iteration.
    #[default]
    Iteration,
    /// For its life.
    User,
}

/// What becomes of a scenario when all rows were taken. Recycle (default): it begins again with the
/// first. Stop: it begins no more iterations.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnExhausted {
    /// It begins again with the first.
    #[default]
    Recycle,
    /// It begins no more iterations.
    Stop,
}

/// A secret for templates: with name token it is $(secret.token). It is mounted into the load
/// container only and shown nowhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretValue {
    /// Unique name.
    pub name: Identifier,
    /// A key of a Secret in the test's namespace.
    pub secret_ref: KeyRef,
}

/// How requests to the target prove who they are: exactly one member. Every request to target.url
/// without an authorization header of its own gets one.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::from(rule::TARGET_AUTH))]
pub struct TargetAuth {
    /// User name and password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub basic: Option<TargetBasic>,
    /// A token that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bearer: Option<TargetBearer>,
    /// A token that each runner gets from an authorization server (OAuth 2.0, client credentials)
    /// and renews before it expires.
    #[serde(
        rename = "oauth2ClientCredentials",
        skip_serializing_if = "Option::is_none"
    )]
    pub client_credentials: Option<ClientCredentials>,
}

/// User name and password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TargetBasic {
    /// A Secret in the test's namespace.
    pub secret_ref: BasicAuth,
}

/// A token that is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TargetBearer {
    /// A key of a Secret in the test's namespace.
    pub secret_ref: KeyRef,
}

/// OAuth 2.0, client credentials (RFC 6749, 4.4).
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientCredentials {
    /// Where tokens are given out, such as https://login.example.com/oauth2/token. Requests there
    /// are in no result.
    #[schemars(length(min = 1, max = 1024))]
    #[x_kube(validation = Rule::from(rule::TOKEN_URL))]
    pub token_url: String,
    /// A key of a Secret with the client's identifier.
    pub client_id_ref: KeyRef,
    /// A key of a Secret with the client's secret.
    pub client_secret_ref: KeyRef,
    /// What is asked for, such as "orders.read orders.write"; default: nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub scope: Option<String>,
    /// A token is renewed so long before it expires; default 30s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh_before: Option<Duration>,
}
