//! `history`: which runs there were, and what they came to.

use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    Cluster, ClusterError, Run,
    answer::formatted,
    columns::{Align, Table},
};
use crate::{
    exit::Exit,
    output::{table::grouped, terminal::print},
    run::OutputForm,
};

/// Arguments of `history`.
#[allow(clippy::doc_markdown)]
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of a LoadTest; default: the runs of all of them.
    pub name: Option<String>,
    /// Only so many runs, the newest.
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    /// What is printed.
    #[arg(short, long, value_name = "FORM", default_value = "table")]
    pub output: OutputForm,
}

/// Lists runs.
///
/// # Errors
/// When there is none, or they cannot be read.
pub async fn history(cluster: &Cluster, args: &Args) -> Result<Exit, ClusterError> {
    let mut runs = match &args.name {
        Some(name) => cluster.find_all(name).await?,
        None => cluster.runs().await?,
    };
    if runs.is_empty() {
        if let Some(name) = &args.name {
            cluster.may_have_no_runs(name).await?;
        }
        if args.output == OutputForm::Table {
            let namespace = &cluster.namespace;
            print(&format!(
                "no runs in namespace {namespace}: `kubectl loadtest run NAME` starts one\n"
            ))?;
            return Ok(Exit::Passed);
        }
    }
    runs.truncate(args.limit.unwrap_or(usize::MAX));
    print(&match args.output {
        OutputForm::Table => rows(&runs),
        form => formatted(&runs.iter().map(entry).collect(), form),
    })?;
    Ok(Exit::Passed)
}

fn rows(runs: &[Run]) -> String {
    let mut table = Table::new([
        ("RUN", Align::Left),
        ("TEST", Align::Left),
        ("VERDICT", Align::Left),
        ("STARTED", Align::Left),
        ("DURATION", Align::Right),
        ("REQUESTS", Align::Right),
        ("RATE", Align::Right),
        ("P95", Align::Right),
        ("P99", Align::Right),
        ("ERRORS", Align::Right),
    ]);
    for run in runs {
        let summary = run.status.summary.as_ref();
        let text = |text: Option<&str>| text.unwrap_or("–").to_owned();
        let count = summary.and_then(|s| u64::try_from(s.requests).ok());
        table.row([
            run.name(),
            text(run.test()),
            text(stands(run)),
            began(run).map_or_else(
                || "–".to_owned(),
                |at| at.strftime("%Y-%m-%d %H:%M:%SZ").to_string(),
            ),
            text(summary.map(|s| s.duration.as_str())),
            count.map_or_else(|| "–".to_owned(), grouped),
            text(summary.map(|s| s.rate.as_str())),
            text(summary.map(|s| s.latency.p95.as_str())),
            text(summary.map(|s| s.latency.p99.as_str())),
            text(summary.map(|s| s.error_ratio.as_str())),
        ]);
    }
    table.to_string()
}

/// The verdict; of a run under way where it stands.
fn stands(run: &Run) -> Option<&str> {
    let verdict = run.status.verdict.as_deref();
    verdict
        .filter(|verdict| !verdict.is_empty())
        .or(run.status.phase.as_deref())
}

/// When its load began, or it was made.
fn began(run: &Run) -> Option<Timestamp> {
    let started = run
        .status
        .run
        .as_ref()
        .and_then(|run| run.start_time.as_ref());
    started.map(|time| time.0).or_else(|| run.created())
}

fn entry(run: &Run) -> Value {
    json!({
        "name": run.name(),
        "test": run.test(),
        "created": run.created().map(|at| at.to_string()),
        "status": run.status,
    })
}
