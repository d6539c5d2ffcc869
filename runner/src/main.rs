//! The runner's binary: `engine` sends the load, `export` sends the results.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(
    name = "loadtest-runner",
    version,
    about = "Carries out one shard of a load test"
)]
struct Cli {
    #[command(subcommand)]
    part: Part,
}

#[derive(Debug, Subcommand)]
enum Part {
    /// Send the load and measure it.
    Engine(loadtest_runner::engine::Args),
    /// Send what was measured to where people look for it.
    Export(loadtest_runner::export::Args),
}

fn main() -> ExitCode {
    // Two providers are linked through the dependencies; rustls wants to be told which one.
    drop(rustls::crypto::ring::default_provider().install_default());
    match Cli::parse().part {
        Part::Engine(args) => loadtest_runner::engine::run(args),
        Part::Export(args) => loadtest_runner::export::run(args),
    }
}
