//! The gate: what one request costs the engine may not grow unseen.
//!
//! The release binary runs a test over real loopback under callgrind, and the worker thread's
//! instructions, system calls and allocations per request are compared with those that are written
//! in `tests/gate/costs.txt`. Unlike times, these hardly depend on what else a machine does.
//! `--bless` writes the file anew; `--features` weighs what else a scenario may say.

mod costs;
mod features;
mod own_step;
mod profile;
mod target;
mod weigh;

use std::{fs, path::PathBuf, process::ExitCode};

use anyhow::{Context, Result, bail};

use costs::Costs;
use weigh::{Case, weigh};

const FILE: &str = "tests/gate/costs.txt";

const CASES: [Case; 4] = [
    Case {
        users: 1,
        export: false,
        most_system_calls: 3.1,
    },
    Case {
        users: 1,
        export: true,
        most_system_calls: 3.1,
    },
    Case {
        users: 64,
        export: false,
        most_system_calls: 2.1,
    },
    Case {
        users: 64,
        export: true,
        most_system_calls: 2.1,
    },
];

fn main() -> ExitCode {
    // Started as a runner by a loadtest that this program started.
    if std::env::args()
        .nth(1)
        .is_some_and(|part| own_step::PARTS.contains(&part.as_str()))
    {
        return own_step::main();
    }
    match gate(std::env::args().skip(1)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("gate: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn gate(args: impl Iterator<Item = String>) -> Result<()> {
    let (mut loadtest, mut bless) = (PathBuf::from("target/release/loadtest"), false);
    let mut features = false;
    for arg in args {
        match arg.as_str() {
            "--bless" => bless = true,
            "--features" => features = true,
            _ if !arg.starts_with('-') => loadtest = arg.into(),
            _ => {
                bail!(
                    "unknown argument {arg}; there are --bless, --features, and the path of another loadtest"
                )
            }
        }
    }
    let loadtest = loadtest.canonicalize().with_context(|| {
        format!(
            "no {}; cargo build --release --workspace --bins",
            loadtest.display()
        )
    })?;
    if features {
        return features::weigh_all(&loadtest);
    }
    let mut costs = Costs::new()?;
    for case in CASES {
        let cost = weigh(&loadtest, &case.subject()).with_context(|| case.to_string())?;
        println!("{}", costs.add(case, cost));
    }
    if bless {
        fs::write(FILE, costs.file()).with_context(|| format!("cannot write {FILE}"))?;
        println!("gate: written to {FILE}");
    }
    let file = fs::read_to_string(FILE)
        .with_context(|| format!("cannot read {FILE}; `make gate-bless` writes it"))?;
    let problems = costs.problems(&file);
    if problems.is_empty() {
        return Ok(());
    }
    bail!("{}", problems.join("\ngate: "))
}
