//! The command line.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::{
    attempt, cluster, completions, demo, es_role, push, report, run,
    run::children::end_with_parent, target, validate,
};

/// Load tests of HTTP services: the manifests of the operator, run and checked on this machine.
///
/// Exit codes: 0 passed, 1 failed (a threshold was breached), 2 bad usage or manifest, 3 the run
/// could not be carried out, 4 invalid (the load was not delivered), 130 stopped.
#[derive(Debug, Parser)]
#[command(name = "loadtest", version, disable_help_subcommand = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

// Help is for terminals, which know no backticks.
#[allow(clippy::doc_markdown)]
#[derive(Debug, Subcommand)]
enum Command {
    /// Run a LoadTest on this machine: same plan, load, merge and verdict as in a cluster.
    Run(run::Args),
    /// Do one iteration of a task and show every request, answer, check and value.
    Try(attempt::Args),
    /// Run a LoadTest against a target that is started for it.
    Demo(demo::Args),
    /// Deliver the results of a run on this machine to Elasticsearch or OpenSearch afterwards;
    /// doing it twice adds nothing.
    Push(push::Args),
    /// Print the least that an exporter must be allowed to do on Elasticsearch or OpenSearch, as the
    /// body of a request that makes the role.
    EsRole(es_role::Args),
    /// Show a run that `run` wrote: as a page with charts, Markdown, JUnit, CSV or JSON.
    Report(report::Args),
    /// Say what the API server and the operator would refuse, with line numbers.
    Validate(validate::Args),
    /// Serve a small HTTP target to try things against.
    Target(target::TargetArgs),
    /// Start, follow, stop and compare runs in a Kubernetes cluster; also as `kubectl loadtest`.
    Cluster(cluster::Args),
    /// Print a completion script for a shell.
    Completions(completions::Args),
    /// A runner's engine; `run` starts it.
    #[command(hide = true)]
    Engine(loadtest_runner::engine::Args),
    /// A runner's exporter; `run` starts it.
    #[command(hide = true)]
    Export(loadtest_runner::export::Args),
    /// The target of `demo`, which starts it.
    #[command(hide = true)]
    DemoTarget(target::TargetArgs),
}

/// Does what the command line says.
pub fn dispatch(cli: Cli) -> ExitCode {
    match cli.command {
        Command::Run(args) => run::run(&args).into(),
        Command::Try(args) => attempt::run(&args).into(),
        Command::Demo(args) => demo::run(args).into(),
        Command::Push(args) => push::run(&args).into(),
        Command::EsRole(args) => es_role::run(&args).into(),
        Command::Report(args) => report::run(&args).into(),
        Command::Validate(args) => validate::run(&args).into(),
        Command::Target(args) => target::run(&args),
        Command::Cluster(args) => cluster::run(&args).into(),
        Command::Completions(args) => completions::run::<Cli>("loadtest", args).into(),
        Command::Engine(args) => {
            end_with_parent();
            loadtest_runner::engine::run(args)
        }
        Command::Export(args) => {
            end_with_parent();
            loadtest_runner::export::run(args)
        }
        Command::DemoTarget(args) => {
            end_with_parent();
            target::run(&args)
        }
    }
}
