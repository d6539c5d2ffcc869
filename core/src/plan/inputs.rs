//! What templates draw from: values of the run, data, secrets, files.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::scalar::duration_text;

/// Everything that a template of the plan may refer to by index.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Inputs {
    /// Values that are extracted or set while the test runs.
    pub values: Vec<ValueKey>,
    /// Values of the setup that others refer to.
    pub setup_values: Vec<String>,
    /// Rows of data.
    pub data: Vec<Feeder>,
    /// Secrets, by file: the plan holds none of them.
    pub secrets: Vec<SecretFile>,
    /// Files that bodies are made of.
    pub files: Vec<String>,
    /// How requests to the target prove who they are.
    pub auth: Option<TargetAuth>,
}

/// A value that is extracted or set while the test runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ValueKey {
    /// Its name.
    pub name: String,
    /// How long it is remembered.
    pub scope: ValueScope,
}

/// How long a value is remembered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ValueScope {
    /// Until the iteration ends.
    #[default]
    Iteration,
    /// As long as the user lives.
    User,
}

/// Rows of data for users, one at a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Feeder {
    /// Its name in templates.
    pub name: String,
    /// Where the rows are.
    pub source: DataSource,
    /// How they are written.
    pub format: DataFormat,
    /// In which order they are taken.
    pub order: DataOrder,
    /// Who takes which.
    pub share: DataShare,
    /// How long a row is a user's.
    pub scope: DataScope,
    /// What becomes of a scenario when all rows were taken.
    pub on_exhausted: OnExhausted,
    /// SHA-256 of the content when the test was accepted, in hex; runners refuse another one.
    pub sha256: Option<String>,
}

/// Where rows are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DataSource {
    /// Here.
    Inline(String),
    /// In a file of the runner.
    File(String),
}

/// How rows are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum DataFormat {
    /// RFC 4180; the first line names the columns.
    #[default]
    Csv,
    /// A JSON object in each line; the first one names the columns.
    JsonLines,
}

/// In which order rows are taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum DataOrder {
    /// As they are written.
    #[default]
    Sequential,
    /// Shuffled by seed, anew in each pass: every row once, then every row again.
    Random,
}

/// Who takes which rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum DataShare {
    /// Row i belongs to runner i mod N.
    #[default]
    Split,
    /// Every runner has all rows.
    Each,
}

/// How long a row is a user's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum DataScope {
    /// For an iteration.
    #[default]
    Iteration,
    /// For its life.
    User,
}

/// What becomes of a scenario when all rows were taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnExhausted {
    /// It begins again with the first.
    #[default]
    Recycle,
    /// It begins no more iterations on this runner.
    Stop,
}

/// A secret of the runner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretFile {
    /// Its name in templates.
    pub name: String,
    /// The file that holds it; one line break at the end is not part of it.
    pub path: String,
}

/// How requests to the target prove who they are. Secrets are meant by their index in
/// [`Inputs::secrets`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum TargetAuth {
    /// RFC 7617.
    #[serde(rename_all = "camelCase")]
    Basic {
        /// User name.
        username: u32,
        /// Password.
        password: u32,
    },
    /// A token that is known.
    #[serde(rename_all = "camelCase")]
    Bearer {
        /// The token.
        token: u32,
    },
    /// A token that each runner gets by RFC 6749, 4.4, and renews.
    #[serde(rename_all = "camelCase")]
    ClientCredentials {
        /// Where tokens are given out.
        token_url: String,
        /// Identifier of the client.
        client_id: u32,
        /// Its secret.
        client_secret: u32,
        /// What is asked for.
        scope: Option<String>,
        /// A token is renewed so long before it expires.
        #[serde(with = "duration_text")]
        refresh_before: Duration,
    },
}
