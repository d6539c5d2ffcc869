//! The command line of a runner: `engine` sends the load, `export` sends the results, `try` does one
//! iteration for somebody who looks. A runner with step kinds of its own has the same.

use std::{io, process::ExitCode, thread};

use clap::{Parser, Subcommand};

use crate::{engine, export, rehearsal, step_kind::StepKinds};

/// Whoever started the process is gone.
const EXIT_ORPHANED: i32 = 3;

#[derive(Debug, Parser)]
#[command(
    name = "loadtest-runner",
    version,
    about = "Carries out one shard of a load test"
)]
struct Cli {
    /// End when standard input does: no process of a local run outlives it.
    #[arg(long, env = "LOADTEST_END_WITH_STDIN", hide = true)]
    end_with_stdin: bool,
    #[command(subcommand)]
    part: Part,
}

#[derive(Debug, Subcommand)]
enum Part {
    /// Send the load and measure it.
    Engine(engine::Args),
    /// Send what was measured to where people look for it.
    Export(export::Args),
    /// Do one iteration and tell of it: `loadtest try FILE --runner-binary RUNNER` starts this and
    /// shows it.
    Try(rehearsal::Args),
}

/// All of a runner, with the step kinds that it knows: `main` returns what this does.
pub fn main(kinds: &StepKinds) -> ExitCode {
    // Two providers are linked through the dependencies; rustls wants to be told which one.
    drop(rustls::crypto::ring::default_provider().install_default());
    let cli = Cli::parse();
    if cli.end_with_stdin {
        thread::spawn(|| {
            // Nothing is ever sent; a read returns only at the end.
            drop(io::copy(&mut io::stdin().lock(), &mut io::sink()));
            std::process::exit(EXIT_ORPHANED);
        });
    }
    match cli.part {
        Part::Engine(args) => engine::run_with(args, kinds),
        Part::Export(args) => export::run(args),
        Part::Try(args) => rehearsal::run(&args, kinds),
    }
}
