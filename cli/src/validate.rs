//! `loadtest validate`: what the API server and the operator would refuse, said before they do.

use std::path::PathBuf;

use crate::{
    exit::Exit,
    manifest,
    output::terminal::{answer, say},
    overrides::Changes,
};

/// Arguments of `loadtest validate`.
#[allow(clippy::doc_markdown)]
#[derive(Debug, clap::Args)]
pub struct Args {
    /// YAML files with any number of objects; - reads standard input.
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    /// What is changed before it is checked.
    #[command(flatten)]
    pub changes: Changes,
    /// Only problems, and the exit code.
    #[arg(long, short)]
    pub quiet: bool,
}

/// Checks every file, so that one call shows every problem.
pub fn run(args: &Args) -> Exit {
    let mut exit = Exit::Passed;
    for file in &args.files {
        let source = file.display().to_string();
        let problems = match manifest::read(file) {
            Ok(text) => match manifest::check(&text, &args.changes) {
                Ok(count) => {
                    if !args.quiet {
                        let objects = if count == 1 { "object" } else { "objects" };
                        let accepted = format!("{source}: {count} {objects}, all accepted\n");
                        if answer(&accepted) != Exit::Passed {
                            exit = Exit::Error;
                        }
                    }
                    continue;
                }
                Err(problems) => problems,
            },
            Err(error) => {
                say(&format!("error: {error}"));
                exit = Exit::Usage;
                continue;
            }
        };
        exit = manifest::refuse(&source, &problems);
    }
    exit
}
