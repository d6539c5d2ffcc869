//! `stop`: a run ends gracefully.

use super::{Cluster, ClusterError};
use crate::{exit::Exit, output::terminal::print};

/// Arguments of `stop`.
#[allow(clippy::doc_markdown)]
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of a LoadTestRun, or of a LoadTest, all of whose runs under way it then is.
    pub name: String,
}

/// Tells every run that the name stands for to stop.
///
/// # Errors
/// When there is none, or it cannot be told.
pub async fn stop(cluster: &Cluster, args: &Args) -> Result<Exit, ClusterError> {
    let runs = cluster.find_all(&args.name).await?;
    let Some(newest) = runs.first() else {
        // Says it as everything else does.
        cluster.find(&args.name).await?;
        return Ok(Exit::Error);
    };
    let active: Vec<_> = runs.iter().filter(|run| !run.is_finished()).collect();
    if active.is_empty() {
        let verdict = newest.status.verdict.as_deref().unwrap_or("–");
        let name = newest.name();
        print(&format!(
            "loadtestrun.loadtest.dev/{name} is over already: {verdict}\n"
        ))?;
    }
    // Whoever cannot be told of one run still wants the others stopped.
    let mut printed = Ok(());
    for run in active {
        let name = run.name();
        cluster.cancel(&name).await?;
        printed = printed.and(print(&format!(
            "loadtestrun.loadtest.dev/{name} is told to stop\n"
        )));
    }
    printed?;
    Ok(Exit::Passed)
}
