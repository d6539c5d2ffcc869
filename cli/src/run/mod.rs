//! `loadtest run`: the whole of a run on this machine.
//!
//! Manifest → plan → run directory → coordinator, server and processes ([`local`]) → files and
//! answer. Everything that can be refused is refused before the first request is sent.

pub mod children;
pub mod clock;
pub mod control;
pub mod directory;
pub mod driver;
pub mod history;
pub mod local;
pub mod options;
pub mod parts;
pub mod progress;
pub mod recorder;
pub mod scratch;

use std::path::PathBuf;

pub use options::{Options, OutputForm};

use crate::{exit::Exit, manifest, output::terminal::say};

/// Arguments of `loadtest run`.
#[allow(clippy::doc_markdown)]
#[derive(Debug, clap::Args)]
pub struct Args {
    /// YAML file with one LoadTest; - reads standard input.
    pub file: PathBuf,
    /// How it is run.
    #[command(flatten)]
    pub options: Options,
}

/// Runs the test in a file.
pub fn run(args: &Args) -> Exit {
    match manifest::read(&args.file) {
        Ok(text) => run_text(&args.file.display().to_string(), &text, &args.options),
        Err(error) => {
            say(&format!("error: {error}"));
            Exit::Usage
        }
    }
}

/// Runs the test of a manifest; `source` is what problems are reported of.
pub fn run_text(source: &str, manifest: &str, options: &Options) -> Exit {
    let test = match crate::manifest::one_test(manifest) {
        Ok(test) => test,
        Err(problems) => return manifest::refuse(source, &problems),
    };
    let plan = match options.plan(&test) {
        Ok(plan) => plan,
        Err(problems) => return manifest::refuse(source, &problems),
    };
    local::run(&plan, options)
}
