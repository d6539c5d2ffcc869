//! `kubectl loadtest`: the same binary by another name.
//!
//! The rule: called `kubectl-loadtest` every command is one of the cluster; called `loadtest` those of
//! the cluster are below `loadtest cluster`, and everything else stays on this machine.

use std::{env, ffi::OsStr, path::Path};

use clap::{Parser, Subcommand};

use super::{Command, Connection, complete};
use crate::{completions, exit::Exit, validate};

/// How `kubectl` finds a plugin named `loadtest`.
pub const NAME: &str = "kubectl-loadtest";

/// Load tests in a Kubernetes cluster: start, follow, stop and compare runs of LoadTests.
///
/// Exit codes: 0 passed, or done; 1 failed (a threshold was breached), 2 bad usage or manifest,
/// 3 not carried out, or the cluster could not be asked, 4 invalid (the load was not delivered),
/// 130 stopped.
// Help is for terminals, which know no backticks.
#[allow(clippy::doc_markdown)]
#[derive(Debug, Parser)]
#[command(name = NAME, bin_name = "kubectl loadtest", version, disable_help_subcommand = true)]
pub struct Plugin {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    command: PluginCommand,
}

#[allow(clippy::doc_markdown)]
#[derive(Debug, Subcommand)]
enum PluginCommand {
    #[command(flatten)]
    Cluster(Command),
    /// Say what the API server and the operator would refuse, with line numbers.
    Validate(validate::Args),
    /// Print a completion script for a shell.
    Completions(completions::Args),
}

/// Does what the command line says, if the process was started as a plugin, or to complete the command
/// line of one.
pub fn run_if_named() -> Option<Exit> {
    let called = env::args_os().next()?;
    if is_called(&called, NAME) {
        Some(run())
    } else if is_called(&called, complete::NAME) {
        Some(complete::run())
    } else {
        None
    }
}

fn is_called(argument: &OsStr, wanted: &str) -> bool {
    let name = Path::new(argument).file_stem();
    name.is_some_and(|name| name == wanted)
}

fn run() -> Exit {
    let Plugin {
        connection,
        command,
    } = Plugin::parse();
    match command {
        PluginCommand::Cluster(command) => super::run(&super::Args {
            connection,
            command,
        }),
        PluginCommand::Validate(args) => validate::run(&args),
        PluginCommand::Completions(args) => completions::run::<Plugin>(NAME, args),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_decides() {
        for name in [
            "kubectl-loadtest",
            "/usr/bin/kubectl-loadtest",
            "./kubectl-loadtest.exe",
        ] {
            assert!(is_called(OsStr::new(name), NAME), "{name}");
        }
        for name in ["loadtest", "/opt/kubectl-loadtest/loadtest", "kubectl"] {
            assert!(!is_called(OsStr::new(name), NAME), "{name}");
        }
    }
}
