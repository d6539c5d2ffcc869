//! `kubectl loadtest <TAB>`: `kubectl` asks a program named `kubectl_complete-loadtest` for the words
//! that fit, one a line, and a last line `:N` that says whether names of files fit as well. Besides
//! what the command line knows these are the names of tests and runs in the cluster.

use std::{env, time::Duration};

use clap::{Arg, CommandFactory as _};

use super::{ClusterError, Connection, plugin::Plugin};
use crate::{exit::Exit, output::terminal::answer};

/// How `kubectl` finds it.
pub const NAME: &str = "kubectl_complete-loadtest";

/// Nobody waits longer for a word.
const PATIENCE: Duration = Duration::from_secs(3);

/// `kubectl`'s words for what a shell adds: names of files, or nothing.
const FILES: &str = ":0";
const NO_FILES: &str = ":4";

/// Prints the words for the command line so far, whose last word is the one under way.
pub fn run() -> Exit {
    let mut words: Vec<String> = env::args().skip(1).collect();
    let last = words.pop().unwrap_or_default();
    let line = Line::read(&words);
    let wanted = line.wanted(&last);
    let (mut words, files) = match wanted {
        Wanted::Words(words) => (words, NO_FILES),
        Wanted::Files => (Vec::new(), FILES),
        Wanted::Names(kinds) => (names(&line.connection, kinds), NO_FILES),
    };
    words.retain(|word| word.starts_with(&last));
    words.push(files.to_owned());
    answer(&(words.join("\n") + "\n"))
}

/// What could stand next.
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    Words(Vec<String>),
    Files,
    Names(Kinds),
}

/// Whose names fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kinds {
    Tests,
    TestsAndRuns,
}

/// A command line as far as it is written.
struct Line {
    command: clap::Command,
    /// The option whose value comes next.
    option: Option<Arg>,
    /// Arguments of the command that are there already.
    given: usize,
    connection: Connection,
}

impl Line {
    fn read(words: &[String]) -> Self {
        let mut command = Plugin::command();
        // Options of all commands are made known to each.
        command.build();
        let mut line = Self {
            command,
            option: None,
            given: 0,
            connection: Connection::default(),
        };
        for word in words {
            line.take(word);
        }
        line
    }

    fn take(&mut self, word: &str) {
        if let Some(option) = self.option.take() {
            self.connection.set(option.get_id().as_str(), word);
        } else if word.starts_with('-') {
            let (name, value) = word.split_once('=').unzip();
            let option = self.find(name.unwrap_or(word));
            match (option, value) {
                (Some(option), Some(value)) => {
                    self.connection.set(option.get_id().as_str(), value);
                }
                (option, None) => {
                    self.option = option.filter(|option| option.get_action().takes_values());
                }
                (None, _) => {}
            }
        } else if let Some(command) = self.command.find_subcommand(word) {
            self.command = command.clone();
        } else {
            self.given += 1;
        }
    }

    fn find(&self, name: &str) -> Option<Arg> {
        let mut options = self.command.get_arguments();
        let found = options.find(|option| {
            let long = option.get_long().map(|long| format!("--{long}"));
            let short = option.get_short().map(|short| format!("-{short}"));
            long.as_deref() == Some(name) || short.as_deref() == Some(name)
        });
        found.cloned()
    }

    fn wanted(&self, last: &str) -> Wanted {
        if let Some(option) = &self.option {
            return values(option);
        }
        if last.starts_with('-') {
            let options = self
                .command
                .get_arguments()
                .filter(|option| !option.is_hide_set());
            let longs = options.filter_map(|option| option.get_long());
            return Wanted::Words(longs.map(|long| format!("--{long}")).collect());
        }
        if self.command.has_subcommands() {
            let commands = self.command.get_subcommands().map(clap::Command::get_name);
            return Wanted::Words(commands.map(str::to_owned).collect());
        }
        let next = self.command.get_positionals().nth(self.given);
        match (next, self.command.get_name()) {
            (None, "validate") => Wanted::Files,
            (None, _) => Wanted::Words(Vec::new()),
            (Some(_), "run" | "history") => Wanted::Names(Kinds::Tests),
            (Some(next), _) => values(next),
        }
    }
}

/// What fits as the value of an argument.
fn values(argument: &Arg) -> Wanted {
    match argument.get_id().as_str() {
        "name" | "before" | "after" => Wanted::Names(Kinds::TestsAndRuns),
        "file" | "files" | "out" | "overlays" | "kubeconfig" => Wanted::Files,
        _ => {
            let values = argument.get_possible_values();
            Wanted::Words(
                values
                    .iter()
                    .map(|value| value.get_name().to_owned())
                    .collect(),
            )
        }
    }
}

/// Names in the cluster; none when it does not say them soon.
fn names(connection: &Connection, kinds: Kinds) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let Ok(runtime) = runtime else {
        return Vec::new();
    };
    let listed = runtime.block_on(async {
        tokio::time::timeout(PATIENCE, async {
            let cluster = connection.connect().await?;
            let mut names = cluster.test_names().await?;
            if kinds == Kinds::TestsAndRuns {
                names.extend(cluster.runs().await?.iter().map(super::Run::name));
            }
            Ok::<_, ClusterError>(names)
        })
        .await
    });
    runtime.shutdown_background();
    listed.ok().and_then(Result::ok).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(words: &[&str], last: &str) -> Wanted {
        let words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
        Line::read(&words).wanted(last)
    }

    #[test]
    fn the_line_so_far_decides_what_fits() {
        let Wanted::Words(commands) = wanted(&["-n", "perf"], "") else {
            panic!("commands come first");
        };
        assert!(
            commands.iter().any(|name| name == "compare"),
            "{commands:?}"
        );
        assert_eq!(wanted(&["run"], ""), Wanted::Names(Kinds::Tests));
        assert_eq!(wanted(&["run", "-f"], ""), Wanted::Files);
        assert_eq!(
            wanted(&["watch", "--namespace=perf"], "s"),
            Wanted::Names(Kinds::TestsAndRuns)
        );
        assert_eq!(
            wanted(&["compare", "a"], ""),
            Wanted::Names(Kinds::TestsAndRuns)
        );
        assert_eq!(
            wanted(&["compare", "a", "b"], ""),
            Wanted::Words(Vec::new())
        );
        assert_eq!(
            wanted(&["history", "-o"], "j"),
            Wanted::Words(["table", "json", "yaml"].map(str::to_owned).into())
        );
        let Wanted::Words(options) = wanted(&["run", "shop"], "--") else {
            panic!("options after a dash");
        };
        for option in ["--wait", "--namespace", "--help"] {
            assert!(options.iter().any(|name| name == option), "{options:?}");
        }
    }
}
