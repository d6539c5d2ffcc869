//! Where results go besides the status.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ClientCertificate;
use crate::{
    identity,
    scalar::{duration_text, optional_duration_text},
};

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
    /// Whether the first failed exchanges of each kind are kept with what the server said.
    #[serde(default = "default_samples")]
    pub samples: bool,
}

fn default_spool_limit() -> u64 {
    DEFAULT_SPOOL_LIMIT
}

fn default_samples() -> bool {
    true
}

impl Results {
    /// Whether any sink is set, so that exporters run and report.
    pub fn exports(&self) -> bool {
        self.elasticsearch.is_some() || self.files.is_some()
    }
    /// Which requests become documents: one choice for all sinks, the widest that one of them has.
    pub fn raw(&self) -> RawMode {
        let search = self.elasticsearch.as_ref().map(|search| search.raw);
        let files = self.files.as_ref().map(|files| files.raw);
        let modes = || search.into_iter().chain(files);
        let widest = modes().find(|mode| *mode == RawMode::All);
        let some = modes().find(|mode| *mode != RawMode::None);
        widest.or(some).unwrap_or(RawMode::None)
    }
    /// Whether somebody gets samples of failed exchanges.
    pub fn wants_samples(&self) -> bool {
        self.samples && self.exports()
    }
    /// Whether any sink wants documents of requests.
    pub fn wants_raw(&self) -> bool {
        self.raw() != RawMode::None
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
    /// What the names of its streams begin with: `<prefix>-{requests,metrics,runs}-<namespace>`.
    pub data_stream_prefix: String,
    /// Whether the exporter installs the streams' templates, and gives older streams new fields.
    /// Otherwise both are somebody else's.
    pub manage_templates: bool,
    /// Where the credentials are mounted.
    pub auth: Option<Auth>,
    /// Mounted file with the CA certificates to trust.
    pub ca_file: Option<String>,
    /// What is shown to servers that ask for a certificate.
    pub client_certificate: Option<ClientCertificate>,
    /// Which requests become documents.
    pub raw: RawMode,
}

/// What the names of streams begin with if a test does not say it.
pub const DEFAULT_DATA_STREAM_PREFIX: &str = "loadtest";

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

/// Which requests become documents. Aggregates are complete whatever it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RawMode {
    /// Every request.
    All,
    /// Requests that failed, and those that took at least so long from their intended start.
    #[serde(rename_all = "camelCase")]
    ErrorsAndSlow {
        /// From which latency on a request is slow.
        #[serde(with = "duration_text")]
        slower_than: Duration,
    },
    /// The same, and of the others a share that is chosen at random.
    #[serde(rename_all = "camelCase")]
    Sample {
        /// How many of a million; 1 to 1,000,000.
        per_million: u32,
        /// From which latency on a request is slow; none is when it is missing.
        #[serde(default, with = "optional_duration_text")]
        slower_than: Option<Duration>,
    },
    /// None; aggregates only.
    None,
}

impl RawMode {
    /// Whether a request becomes a document: how it ended, its latency in microseconds, and its
    /// number, which stands for chance.
    #[inline]
    pub fn keeps(self, ok: bool, latency_us: u64, number: u64) -> bool {
        match self {
            Self::All => true,
            Self::None => false,
            Self::ErrorsAndSlow { slower_than } => !ok || is_slow(latency_us, slower_than),
            Self::Sample {
                per_million,
                slower_than,
            } => {
                let slow = slower_than.is_some_and(|limit| is_slow(latency_us, limit));
                !ok || slow || mixed(number) % 1_000_000 < u64::from(per_million)
            }
        }
    }

    /// How many requests a document stands for, so that sums over documents are those of all
    /// requests; it says nothing of a mode that leaves requests out by what they are.
    pub fn weight(self, ok: bool, latency_us: u64) -> f64 {
        match self {
            Self::Sample {
                per_million,
                slower_than,
            } if ok && slower_than.is_none_or(|limit| !is_slow(latency_us, limit)) => {
                1e6 / f64::from(per_million.clamp(1, 1_000_000))
            }
            _ => 1.0,
        }
    }
}

fn is_slow(latency_us: u64, limit: Duration) -> bool {
    u128::from(latency_us) >= limit.as_micros()
}

/// Numbers that follow each other as numbers that do not (`SplitMix64`): what recurs in a load must
/// not meet what recurs in the sample.
fn mixed(number: u64) -> u64 {
    identity::mix(number.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_millis(500);

    #[test]
    fn weights_of_a_sample_add_up_to_all_requests() {
        let sample = RawMode::Sample {
            per_million: 100_000,
            slower_than: Some(LIMIT),
        };
        // Every tenth fails, every seventh is slow: they are kept, each for itself.
        let (mut plain, mut kept, mut weight) = (0_u64, 0_u64, 0.0);
        for number in 0..200_000_u64 {
            let (ok, latency) = (
                number % 10 != 3,
                if number % 7 == 0 { 500_000 } else { 900 },
            );
            let keeps = sample.keeps(ok, latency, number);
            assert!(keeps || (ok && latency < 500_000));
            plain += u64::from(ok && latency < 500_000);
            kept += u64::from(keeps && ok && latency < 500_000);
            weight += if keeps {
                sample.weight(ok, latency)
            } else {
                0.0
            };
        }
        let share = kept as f64 / plain as f64;
        assert!((share - 0.1).abs() < 0.005, "{share}");
        assert!((weight / 200_000.0 - 1.0).abs() < 0.03, "{weight}");
    }

    #[test]
    fn errors_and_slow_requests_are_kept() {
        let mode = RawMode::ErrorsAndSlow { slower_than: LIMIT };
        assert!(mode.keeps(false, 1, 0) && mode.keeps(true, 500_000, 0));
        assert!(!mode.keeps(true, 499_999, 0));
        assert!(RawMode::All.keeps(true, 0, 0) && !RawMode::None.keeps(false, 1, 0));
    }

    #[test]
    fn modes_are_written_as_one_would_read_them() {
        let text = |mode: RawMode| serde_json::to_string(&mode).unwrap_or_default();
        let sample = RawMode::Sample {
            per_million: 50_000,
            slower_than: None,
        };
        let slow = RawMode::ErrorsAndSlow { slower_than: LIMIT };
        assert_eq!(text(RawMode::All), "\"All\"");
        assert_eq!(text(slow), r#"{"ErrorsAndSlow":{"slowerThan":"500ms"}}"#);
        for mode in [RawMode::All, RawMode::None, sample, slow] {
            assert_eq!(
                serde_json::from_str::<RawMode>(&text(mode)).ok(),
                Some(mode)
            );
        }
    }
}
