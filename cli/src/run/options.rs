//! What the command line changes of a manifest, and what it says of a local run.

use std::path::PathBuf;

use clap::ValueEnum;
use loadtest_core::plan::RawMode;

/// Options of `loadtest run`.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Runner processes that share the load.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub runners: Option<u32>,
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
    /// Test this base url instead of the manifest's target.url.
    #[arg(long, value_name = "URL")]
    pub target: Option<String>,
    /// Set a variable of the manifest; may be repeated.
    #[arg(long = "var", value_name = "NAME=VALUE", value_parser = name_and_value)]
    pub variables: Vec<(String, String)>,
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
    /// Exactly the `.status` of a run, as JSON.
    Json,
    /// The same as YAML.
    Yaml,
}

fn name_and_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE".to_owned()),
    }
}
