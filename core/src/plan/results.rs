//! Where results go besides the status.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::scalar::duration_text;

/// Most bytes of records that wait on disk when the plan does not say: at 20,000 requests a second
/// about two hours without a search server.
pub const DEFAULT_SPOOL_LIMIT: u64 = 2 << 30;

/// Where results go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Results {
    /// Length of an exported interval.
    #[serde(with = "duration_text")]
    pub interval: Duration,
    /// Search server, if any.
    pub elasticsearch: Option<Elasticsearch>,
    /// Files in the runner's output directory (local runs).
    pub files: Option<Files>,
    /// How long the exporter may go on sending after the load has ended.
    #[serde(with = "duration_text")]
    pub drain_timeout: Duration,
    /// Most bytes of records that wait on disk for a sink that is slow or away; 0: none do.
    #[serde(default = "default_spool_limit")]
    pub spool_limit: u64,
}

fn default_spool_limit() -> u64 {
    DEFAULT_SPOOL_LIMIT
}

impl Results {
    /// Whether any sink is set, so that exporters run and report.
    pub fn exports(&self) -> bool {
        self.elasticsearch.is_some() || self.files.is_some()
    }
    /// Whether any sink wants one document per request.
    pub fn wants_raw(&self) -> bool {
        self.elasticsearch
            .as_ref()
            .is_some_and(|e| e.raw == RawMode::All)
            || self.files.as_ref().is_some_and(|f| f.raw == RawMode::All)
    }
}

/// Elasticsearch or `OpenSearch`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Elasticsearch {
    /// Base urls, tried in turn.
    pub urls: Vec<String>,
    /// Which server; `Auto` asks it.
    pub flavor: Flavor,
    /// Where the credentials are mounted.
    pub auth: Option<Auth>,
    /// Mounted file with the CA certificates to trust.
    pub ca_file: Option<String>,
    /// Which requests become documents.
    pub raw: RawMode,
}

/// Kind of search server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Flavor {
    /// Ask the server.
    Auto,
    /// Elasticsearch.
    Elasticsearch,
    /// `OpenSearch`.
    OpenSearch,
}

/// Credentials by mounted file; read when needed, never kept in the plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Auth {
    /// User name and password.
    #[serde(rename_all = "camelCase")]
    Basic {
        /// File with the user name.
        username_file: String,
        /// File with the password.
        password_file: String,
    },
    /// Encoded API key.
    #[serde(rename_all = "camelCase")]
    ApiKey {
        /// File with the key.
        key_file: String,
    },
    /// Bearer token.
    #[serde(rename_all = "camelCase")]
    Bearer {
        /// File with the token.
        token_file: String,
    },
}

/// Files in a run directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Files {
    /// Which requests become documents.
    pub raw: RawMode,
}

/// Which requests become documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RawMode {
    /// Every request.
    All,
    /// None; aggregates only.
    None,
}
