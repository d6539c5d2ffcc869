//! `loadtest completions`: scripts that teach a shell the command line.

use clap::{CommandFactory, ValueEnum};
use clap_complete::{Shell, generate};

use crate::{exit::Exit, output::terminal::answer};

/// Arguments of `loadtest completions`.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Args {
    /// For which shell.
    pub shell: Choice,
}

/// Shells that are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Choice {
    /// For `source <(loadtest completions bash)`.
    Bash,
    /// For a file `_loadtest` in a directory of `fpath`.
    Zsh,
    /// For `loadtest completions fish | source`.
    Fish,
}

/// Prints the script for a command line that is called `name`.
pub fn run<C: CommandFactory>(name: &str, args: Args) -> Exit {
    let shell = match args.shell {
        Choice::Bash => Shell::Bash,
        Choice::Zsh => Shell::Zsh,
        Choice::Fish => Shell::Fish,
    };
    let mut script = Vec::new();
    generate(
        shell,
        &mut C::command().bin_name(name.to_owned()),
        name,
        &mut script,
    );
    answer(&String::from_utf8_lossy(&script))
}
