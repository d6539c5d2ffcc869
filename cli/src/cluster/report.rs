//! `report`: what `loadtest report` makes of a directory, of a run in the cluster.
//!
//! The status has all that is said of the whole run. Its course, and a request of each kind of
//! failure, are documents in the search server and no part of the cluster: the report says so.

use std::{fs, path::PathBuf};

use loadtest_core::{
    plan::Plan,
    view::{LatencyStats, RequestStats, RunView, Summary},
};
use loadtest_crds::names;

use super::{Cluster, ClusterError, Run, answer};
use crate::{
    exit::Exit,
    output::{
        locust,
        terminal::{print, say},
    },
    report::{Form, course::Course, files::RunFiles, html, junit, markdown},
};

/// Arguments of `report` in a cluster.
#[allow(clippy::doc_markdown)]
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of a LoadTestRun, or of a LoadTest, whose last run it then is.
    pub name: String,
    /// What is made of it.
    #[arg(short, long, value_name = "FORM", default_value = "html")]
    pub output: Form,
    /// File to write; default: RUN.html for html, standard output for the others.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// Makes the report. The exit code tells whether it was made, not how the run went.
///
/// # Errors
/// When there is no such run, or the report cannot be made or written.
pub async fn report(cluster: &Cluster, args: &Args) -> Result<Exit, ClusterError> {
    let run = cluster.find(&args.name).await?;
    let failed = |message: String| ClusterError::Other {
        doing: "make the report",
        message,
    };
    let text = match args.output {
        Form::Csv => csv(cluster, &run).await?,
        Form::Json => serde_json::to_string_pretty(&run.status)
            .map(|text| text + "\n")
            .map_err(|error| failed(error.to_string()))?,
        form => {
            let files = files(cluster, &run).await?;
            match form {
                Form::Markdown => markdown::render(&files),
                Form::Junit => junit::render(&files).map_err(|error| failed(error.to_string()))?,
                _ => html::render(&files).map_err(|error| failed(error.to_string()))?,
            }
        }
    };
    let to = match (&args.out, args.output) {
        (Some(path), _) => path.clone(),
        (None, Form::Html) => PathBuf::from(format!("{}.html", run.name())),
        (None, _) => {
            print(&text)?;
            return Ok(Exit::Passed);
        }
    };
    fs::write(&to, text).map_err(|error| {
        failed(format!(
            "{} cannot be written: {error}; choose another file with --out FILE",
            to.display()
        ))
    })?;
    say(&format!("the report is in {}", to.display()));
    Ok(Exit::Passed)
}

/// The run as if it had been read from a directory.
async fn files(cluster: &Cluster, run: &Run) -> Result<RunFiles, ClusterError> {
    let mut notes = Vec::new();
    if !run.is_finished() {
        notes.push("The run has not ended: these are its numbers by now.".to_owned());
    }
    notes.push("This report is made from the run's status. Its course, and what the server said at failures, are in the search server, if the test names one.".to_owned());
    let plan = match plan(cluster, run).await {
        // As for the table: the status alone is a report, too.
        Err(ClusterError::Forbidden { .. }) => None,
        plan => plan?,
    };
    if plan.is_none() {
        notes.push(
            "The run's plan is not in the cluster, not to be read with your rights (get configmaps), or of another version: what was asked for is not shown.".to_owned(),
        );
    }
    Ok(RunFiles {
        test: run.test().map_or_else(|| run.name(), str::to_owned),
        status: run.status.clone(),
        plan_text: plan
            .as_ref()
            .and_then(|plan| serde_json::to_string_pretty(plan).ok()),
        plan,
        course: Course::default(),
        samples: Vec::new(),
        notes,
    })
}

async fn plan(cluster: &Cluster, run: &Run) -> Result<Option<Plan>, ClusterError> {
    let map = cluster.config_map(&names::plan_name(&run.name())).await?;
    let bytes = map.and_then(|map| answer::unpack(&map, names::KEY_PLAN));
    Ok(bytes.and_then(|bytes| Plan::from_bytes(&bytes).ok()))
}

/// Locust's table, from the numbers that the run was judged by.
async fn csv(cluster: &Cluster, run: &Run) -> Result<String, ClusterError> {
    let view: Option<RunView> = answer::judged(cluster, run).await;
    let summary = view.and_then(|view| view.summary).ok_or_else(|| {
        ClusterError::Nothing(format!(
            "there is no table of the run {}: its numbers are in the ConfigMap {}, which is not there (yet) or may not be read",
            run.name(),
            names::result_name(&run.name())
        ))
    })?;
    table(&summary).map_err(|error| ClusterError::Other {
        doing: "make the table",
        message: error.to_string(),
    })
}

fn table(summary: &Summary) -> csv::Result<String> {
    let mut out = csv::Writer::from_writer(Vec::new());
    out.write_record(locust::COLUMNS.iter().chain(&locust::PERCENTILES))?;
    let seconds = summary.duration.as_secs_f64();
    for row in &summary.by_name {
        out.write_record(record(&row.method, &row.name, &row.stats, seconds))?;
    }
    out.write_record(record("", "Aggregated", &summary.total, seconds))?;
    let bytes = out.into_inner().map_err(csv::IntoInnerError::into_error)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Percentiles that a view does not have are `N/A`, as Locust writes where it has none.
fn record(method: &str, name: &str, stats: &RequestStats, seconds: f64) -> Vec<String> {
    let latency = &stats.latency;
    let per_second = |count: u64| (count as f64 / seconds.max(1e-9)).to_string();
    let mut record = vec![
        method.to_owned(),
        locust::locust_name(method, name).to_owned(),
        stats.requests.to_string(),
        stats.failures.to_string(),
        locust::whole_millis(latency.p50),
        (latency.mean / 1e3).to_string(),
        locust::millis(latency.min),
        locust::millis(latency.max),
        (stats.bytes_received as f64 / stats.requests.max(1) as f64).to_string(),
        stats.rate.to_string(),
        per_second(stats.failures),
    ];
    record.extend(percentiles(latency));
    record
}

/// In the order of [`locust::PERCENTILES`].
fn percentiles(latency: &LatencyStats) -> [String; 11] {
    let known = |micros| Some(locust::whole_millis(micros));
    [
        known(latency.p50),
        None,
        known(latency.p75),
        None,
        known(latency.p90),
        known(latency.p95),
        None,
        known(latency.p99),
        known(latency.p999),
        None,
        known(latency.max),
    ]
    .map(|text| text.unwrap_or_else(|| "N/A".to_owned()))
}
