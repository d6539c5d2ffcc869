//! The line to the coordinator: one report out, one answer in, over HTTP with a bearer token.
//!
//! A report that cannot be delivered is not an error of the run: the caller goes on measuring and
//! sends the next one. The token is read anew for each report, since a projected token is replaced
//! while a run goes on.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use loadtest_core::report::{self, Answer, Part, WireError};
use serde::Serialize;

use crate::clock::{self, Nanos};

/// How long one report may take in all.
const REPORT_TIMEOUT: Duration = Duration::from_secs(5);

/// Most of a refusal's text that is repeated in a log line.
const REFUSAL_CHARACTERS: usize = 200;

/// What both processes of a runner are told: which run, which runner, whom to report to.
#[derive(Debug, Clone, clap::Args)]
pub struct RunnerArgs {
    /// Plan of the run: JSON, gzipped or not.
    #[arg(long, env = "LOADTEST_PLAN", value_name = "FILE")]
    pub plan: PathBuf,
    /// Hash of the plan's uncompressed bytes; another plan is refused.
    #[arg(long, env = "LOADTEST_PLAN_HASH", value_name = "HEX")]
    pub plan_hash: String,
    /// Number of this runner, from 0.
    #[arg(long, env = "LOADTEST_INDEX", value_name = "N")]
    pub index: u32,
    /// Memory-backed directory that the engine and the exporter of this runner share.
    #[arg(long, env = "LOADTEST_POOL", value_name = "DIR")]
    pub pool: PathBuf,
    /// Base url of the coordinator, http or https.
    #[arg(long, env = "LOADTEST_CONTROL", value_name = "URL")]
    pub control: String,
    /// File with the bearer token for the coordinator.
    #[arg(long, env = "LOADTEST_TOKEN_FILE", value_name = "FILE")]
    pub token_file: PathBuf,
    /// PEM file with the only certificate authorities to trust for the coordinator.
    #[arg(long, env = "LOADTEST_CONTROL_CA", value_name = "FILE")]
    pub control_ca: Option<PathBuf>,
}

/// Why a report was not answered.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// A file that is needed cannot be read.
    #[error("cannot read {path}: {source}")]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Not a url that reports can be sent to.
    #[error("{0:?} is not an http or https url")]
    Url(String),
    /// The HTTP client cannot be made, or the exchange failed.
    #[error("{}", chain(.0))]
    Http(#[from] reqwest::Error),
    /// The coordinator refused the report.
    #[error("the coordinator answered {status}: {text}")]
    Refused {
        /// Status code.
        status: u16,
        /// Beginning of its explanation.
        text: String,
    },
    /// A body cannot be written or read.
    #[error(transparent)]
    Wire(#[from] WireError),
}

/// Every cause of an error: reqwest names only the outermost.
fn chain(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// An answer with what is needed to learn the coordinator's clock from it.
#[derive(Debug)]
pub struct Exchange {
    /// What the coordinator said.
    pub answer: Answer,
    /// When the report was sent.
    pub sent: Nanos,
    /// When the answer was here.
    pub received: Nanos,
}

/// The line of one process to its coordinator.
#[derive(Debug, Clone)]
pub struct Control {
    client: reqwest::Client,
    url: String,
    token_file: PathBuf,
    /// As it was read last.
    token: Arc<Mutex<String>>,
}

impl Control {
    /// A line for the reports of one part of one runner.
    ///
    /// # Errors
    /// When the url or the certificates cannot be used.
    pub fn new(args: &RunnerArgs, run_id: &str, part: Part) -> Result<Self, ControlError> {
        let base = args.control.trim_end_matches('/');
        if !base.starts_with("http://") && !base.starts_with("https://") {
            return Err(ControlError::Url(args.control.clone()));
        }
        let mut builder = reqwest::Client::builder()
            // The coordinator is never behind a proxy: inside a cluster, or on this machine.
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(REPORT_TIMEOUT)
            .pool_idle_timeout(Duration::from_secs(30))
            .pool_max_idle_per_host(1);
        if let Some(path) = &args.control_ca {
            let pem = std::fs::read(path).map_err(|source| ControlError::File {
                path: path.clone(),
                source,
            })?;
            builder = builder.tls_certs_only(reqwest::Certificate::from_pem_bundle(&pem)?);
        }
        Ok(Self {
            client: builder.build()?,
            url: format!("{base}{}", report::report_path(run_id, args.index, part)),
            token_file: args.token_file.clone(),
            token: Arc::default(),
        })
    }

    /// The token, which the cluster renews from time to time. The last one serves on when it cannot
    /// be read, as when a target that hangs has taken all open files.
    fn token(&self) -> Result<String, ControlError> {
        let mut known = self.token.lock().unwrap_or_else(PoisonError::into_inner);
        match std::fs::read_to_string(&self.token_file) {
            Ok(token) => token.trim().clone_into(&mut known),
            Err(source) if known.is_empty() => {
                return Err(ControlError::File {
                    path: self.token_file.clone(),
                    source,
                });
            }
            Err(error) => tracing::warn!(%error, "cannot read the token; the last one serves on"),
        }
        Ok(known.clone())
    }

    /// Sends a report and waits for its answer, five seconds at most.
    ///
    /// # Errors
    /// [`ControlError`]; whatever it is, the next report may succeed.
    pub async fn send<T: Serialize>(&self, report: &T) -> Result<Exchange, ControlError> {
        self.post(report::encode(report)?).await
    }

    /// [`Self::send`] for a report that is encoded already.
    ///
    /// # Errors
    /// [`ControlError`]; whatever it is, the next report may succeed.
    pub async fn post(&self, body: Vec<u8>) -> Result<Exchange, ControlError> {
        let token = self.token()?;
        let sent = clock::now();
        let response = self
            .client
            .post(&self.url)
            .bearer_auth(token)
            .header("content-type", "application/msgpack")
            .body(body)
            .send()
            .await?;
        let status = response.status();
        let bytes = response.bytes().await?;
        let received = clock::now();
        if !status.is_success() {
            let text = String::from_utf8_lossy(&bytes);
            return Err(ControlError::Refused {
                status: status.as_u16(),
                text: text.trim().chars().take(REFUSAL_CHARACTERS).collect(),
            });
        }
        Ok(Exchange {
            answer: report::decode(&bytes)?,
            sent,
            received,
        })
    }
}
