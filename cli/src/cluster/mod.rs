//! Runs in a cluster: `loadtest cluster …`, and the same commands as `kubectl loadtest …`.
//!
//! Every command makes, patches or reads `LoadTestRun` objects and nothing else; what happens then
//! is the operator's doing. Numbers are printed as the run's status has them.
//!
//! Architecture invariant: this is the only part of the command line that reads a kubeconfig or
//! talks to a cluster.

pub mod answer;
pub mod columns;
pub mod compare;
pub mod complete;
pub mod connection;
pub mod error;
pub mod follow;
pub mod history;
pub mod logs;
pub mod objects;
pub mod plugin;
pub mod report;
pub mod start;
pub mod stop;

use clap::Subcommand;

pub use connection::Connection;
pub use error::ClusterError;
pub use objects::{Cluster, Run};

use crate::{exit::Exit, output::terminal::say};

/// Arguments of `loadtest cluster`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which cluster, and as whom.
    #[command(flatten)]
    pub connection: Connection,
    /// What to do there.
    #[command(subcommand)]
    pub command: Command,
}

/// What can be done in a cluster.
// Help is for terminals, which know no backticks.
#[allow(clippy::doc_markdown)]
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start a run of a LoadTest in the cluster, or of one in a file.
    Run(start::Args),
    /// Follow a run to its end: its progress, then the answer and its exit code.
    Watch(follow::Args),
    /// Stop a run gracefully: its verdict is Aborted, with the numbers of what ran.
    Stop(stop::Args),
    /// Do the last run of a LoadTest, or a certain run, once more.
    Rerun(start::RerunArgs),
    /// List runs, the newest first.
    History(history::Args),
    /// Set two runs side by side.
    Compare(compare::Args),
    /// Print what a run's engines and exporters logged.
    Logs(logs::Args),
    /// Make a report of a run: a page, markdown, JUnit, a table.
    Report(report::Args),
}

/// Does what the command line says.
pub fn run(args: &Args) -> Exit {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            say(&format!("error: cannot start: {error}"));
            return Exit::Error;
        }
    };
    let done = runtime.block_on(command(args));
    // What still waits for an answer of a cluster that is gone is not waited for.
    runtime.shutdown_background();
    done.unwrap_or_else(|error| {
        error.tell();
        error.exit()
    })
}

async fn command(args: &Args) -> Result<Exit, ClusterError> {
    // A bad manifest is refused before a kubeconfig is looked for.
    let request = match &args.command {
        Command::Run(run) => Some(start::prepare(run, args.connection.namespace())?),
        _ => None,
    };
    let cluster = args.connection.connect().await?;
    match &args.command {
        Command::Run(run) => match request {
            Some(request) => start::run(&cluster, request, run).await,
            None => Ok(Exit::Error),
        },
        Command::Watch(args) => follow::watch(&cluster, args).await,
        Command::Stop(args) => stop::stop(&cluster, args).await,
        Command::Rerun(args) => start::rerun(&cluster, args).await,
        Command::History(args) => history::history(&cluster, args).await,
        Command::Compare(args) => compare::compare(&cluster, args).await,
        Command::Logs(args) => logs::logs(&cluster, args).await,
        Command::Report(args) => report::report(&cluster, args).await,
    }
}
