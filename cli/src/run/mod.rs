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
pub mod leave;
pub mod live;
pub mod local;
pub mod options;
pub mod parts;
pub mod progress;
pub mod recorder;
pub mod scratch;
pub mod signals;

use std::path::{Path, PathBuf};

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
        Ok(text) => run_text(&args.file, &text, &args.options),
        Err(error) => {
            say(&format!("error: {error}"));
            Exit::Usage
        }
    }
}

/// Runs the test of a manifest; `file` is what problems are reported of, and relative paths in it
/// are below its directory.
pub fn run_text(file: &Path, manifest: &str, options: &Options) -> Exit {
    let source = file.display().to_string();
    let mut test = match manifest::one_changed_test(manifest, &options.changes) {
        Ok(test) => test,
        Err(problems) => return manifest::refuse(&source, &problems),
    };
    let directory = file.parent().unwrap_or(Path::new(""));
    match options.plan(&mut test, directory) {
        Ok((plan, scratch)) => local::run(&plan, options, scratch),
        Err(problems) => manifest::refuse(&source, &problems),
    }
}
