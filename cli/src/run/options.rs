//! What the command line changes of a manifest, and what it says of a local run.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::ValueEnum;
use loadtest_core::{
    identity,
    plan::{Plan, RawMode, RunIdentity},
};
use loadtest_crds::{Overrides, Problem, Stage};

use super::{
    clock::{Clock, timestamp},
    scratch::Scratch,
};
use crate::{
    manifest::Test,
    output::terminal::say,
    overrides::{Changes, PrivateFiles, anchor, client_certificate, readable},
    search_server::Access,
};

/// Options of `loadtest run`.
#[allow(clippy::doc_markdown)]
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Runner processes that share the load.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub runners: Option<u32>,
    /// A runner with step kinds of your own (custom steps), instead of the built-in one.
    #[arg(long, value_name = "FILE")]
    pub runner_binary: Option<PathBuf>,
    /// Directory for the results; default: loadtest-runs/<test>-<time>.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Which requests become documents; default: as the manifest says, or all.
    #[arg(long, value_name = "WHICH")]
    pub raw: Option<RawChoice>,
    /// Also write Locust-style PREFIX_stats.csv, PREFIX_stats_history.csv, PREFIX_failures.csv.
    #[arg(long, value_name = "PREFIX")]
    pub csv: Option<PathBuf>,
    /// Send results to this Elasticsearch or OpenSearch instead of the manifest's.
    #[arg(long, value_name = "URL")]
    pub elasticsearch: Option<String>,
    /// How to reach it.
    #[command(flatten)]
    pub access: Access,
    /// Test this base url instead of the manifest's target.url.
    #[arg(long, value_name = "URL")]
    pub target: Option<String>,
    /// PEM file with the authorities to trust for https, instead of the manifest's target.tls.caRef.
    #[arg(long, value_name = "FILE")]
    pub target_ca: Option<PathBuf>,
    /// PEM file with the certificate to show, instead of the manifest's
    /// target.tls.clientCertificateRef; needs --target-key.
    #[arg(long, value_name = "FILE", requires = "target_key")]
    pub target_cert: Option<PathBuf>,
    /// PEM file with the private key of --target-cert.
    #[arg(long, value_name = "FILE", requires = "target_cert")]
    pub target_key: Option<PathBuf>,
    /// What is changed of the manifest.
    #[command(flatten)]
    pub changes: Changes,
    /// What is printed at the end.
    #[arg(short, long, value_name = "FORM", default_value = "table")]
    pub output: OutputForm,
    /// No progress, no hints: only the answer, and problems.
    #[arg(long, short)]
    pub quiet: bool,
}

/// Which requests become documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RawChoice {
    /// Every request.
    All,
    /// None: intervals and summary only.
    None,
}

impl From<RawChoice> for RawMode {
    fn from(choice: RawChoice) -> Self {
        match choice {
            RawChoice::All => Self::All,
            RawChoice::None => Self::None,
        }
    }
}

/// What is printed at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OutputForm {
    /// Tables for people.
    Table,
    /// As JSON: of a run that is over, exactly its `.status`.
    Json,
    /// The same as YAML.
    Yaml,
}

impl Options {
    /// The plan of a local run of a test, and the private directory with what it refers to; relative
    /// paths in the test are below `directory`.
    ///
    /// # Errors
    /// Everything that keeps the test, with these options, from being accepted.
    pub fn plan(&self, test: &mut Test, directory: &Path) -> Result<(Plan, Scratch), Vec<Problem>> {
        self.hint(&test.object.spec);
        let spec = &mut test.object.spec.test;
        anchor(spec, directory);
        let interval_is_given = spec.results.as_ref().is_some_and(|r| r.interval.is_some());
        let given = PrivateFiles::collect(&self.changes, &test.objects, spec)
            .map_err(|problems| test.all_placed(problems))?;
        let identity = local_identity(test.name());
        let unwritable = |error: io::Error| {
            let message = format!("cannot make a private directory for the run: {error}");
            vec![Problem::new(Stage::Acceptance, "", message)]
        };
        let scratch = Scratch::new(&identity.id).map_err(unwritable)?;
        let written = given.write(&scratch).map_err(unwritable)?;
        if let (Some(why), false) = (scratch.not_in_memory(), self.quiet) {
            say(&format!("note: the runners' buffers are slower: {why}"));
        }
        let overrides = Overrides {
            data_files: written.data,
            secret_files: written.secrets,
            ..self.overrides()?
        };
        let mut plan = test.plan(identity, &overrides)?;
        if !interval_is_given && plan.load_duration() <= SHORT {
            plan.results.interval = Duration::from_secs(1);
        }
        Ok((plan, scratch))
    }

    fn overrides(&self) -> Result<Overrides, Vec<Problem>> {
        if let Some(runner) = &self.runner_binary {
            executable("--runner-binary", runner)?;
        }
        let ca = readable("--target-ca", self.target_ca.as_deref())?;
        let (certificate, key) = (self.target_cert.as_deref(), self.target_key.as_deref());
        let certificate = client_certificate("--target", certificate, key)?;
        let search = self.elasticsearch.as_deref();
        let search = search.map(|url| self.access.to(url)).transpose()?;
        Ok(Overrides {
            target: self.target.clone(),
            target_ca_file: ca,
            target_certificate: certificate,
            runners: Some(self.runners.unwrap_or(1)),
            raw: self.raw.map(RawMode::from),
            local: true,
            files: true,
            elasticsearch: search,
            ..Overrides::default()
        })
    }

    /// Says where a local run is not what the manifest says of a cluster.
    fn hint(&self, spec: &loadtest_crds::LoadTestSpec) {
        if self.quiet {
            return;
        }
        if spec.baseline.is_some() {
            say(
                "note: runs are compared with a baseline in the cluster, where the earlier ones are: a run here is judged by its thresholds only",
            );
        }
        let spec = &spec.test;
        let count = spec.runner_count();
        if count > 1 && self.runners.is_none() {
            say(&format!(
                "note: the manifest asks for {count} runners; on this machine one sends the whole load. Use --runners {count} for as many processes"
            ));
        }
        let search = spec
            .results
            .as_ref()
            .is_some_and(|results| results.elasticsearch.is_some());
        if search && self.elasticsearch.is_none() {
            say(
                "note: results.elasticsearch of the manifest is for the cluster; results go to files here. Use --elasticsearch URL to send them to a server as well",
            );
        }
    }
}

/// Up to here a local run has an interval each second, unless the manifest says otherwise: the charts
/// of a run of a minute need more points than a cluster's interval gives.
const SHORT: Duration = Duration::from_mins(10);

/// # Errors
/// When a file cannot be started.
fn executable(option: &str, path: &Path) -> Result<(), Vec<Problem>> {
    use std::os::unix::fs::PermissionsExt as _;
    let refused = match std::fs::metadata(path) {
        Ok(file) if !file.is_file() || file.permissions().mode() & 0o111 == 0 => {
            "it is no program".to_owned()
        }
        Ok(_) => return Ok(()),
        Err(error) => error.to_string(),
    };
    let message = format!("cannot start {}: {refused}", path.display());
    Err(vec![Problem::new(Stage::Acceptance, option, message)])
}

/// A local run has an identity of its own each time, from the time and the process.
fn local_identity(test: &str) -> RunIdentity {
    let now = Clock::start().now();
    let id = identity::run_id(&format!("local/{now}/{}", std::process::id()));
    let seed = u64::from_str_radix(id.get(..16).unwrap_or_default(), 16).unwrap_or(1);
    RunIdentity {
        namespace: "local".to_owned(),
        test: test.to_owned(),
        name: format!("{test}-{}", timestamp(now).strftime("%Y%m%dT%H%M%SZ")).to_lowercase(),
        number: 1,
        seed,
        id,
    }
}

/// Reads `NAME=VALUE`.
///
/// # Errors
/// What it should be.
pub fn name_and_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE".to_owned()),
    }
}
