//! The binary: parse, dispatch, answer the shell.

use std::process::ExitCode;

use clap::Parser;
use loadtest_cli::{
    cluster::plugin,
    command::{self, Cli},
};

fn main() -> ExitCode {
    // Two TLS libraries in one process need to be told which cryptography to use.
    let _ = rustls::crypto::ring::default_provider().install_default();
    if let Some(exit) = plugin::run_if_named() {
        return exit.into();
    }
    command::dispatch(Cli::parse())
}
