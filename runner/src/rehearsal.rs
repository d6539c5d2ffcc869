//! A rehearsal in a runner of the user's own: `loadtest try` starts it as `RUNNER try`, since only that
//! runner has the code of its step kinds, and shows what it tells on its standard output, one
//! [`Told`] in JSON on each line.

use std::{
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
};

use loadtest_core::plan::{Plan, Scenario, Task};
use serde::{Deserialize, Serialize};

use crate::{
    engine::{Seen, rehearse},
    logging, plan_file,
    step_kind::StepKinds,
};

/// Arguments of `RUNNER try`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The plan file.
    #[arg(long)]
    pub plan: PathBuf,
    /// Its hash.
    #[arg(long)]
    pub plan_hash: String,
    /// Name of a scenario.
    #[arg(long)]
    pub scenario: String,
    /// Name of one of its tasks.
    #[arg(long)]
    pub task: String,
}

/// A line of what is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Told {
    /// Something happened.
    Seen(Seen),
    /// The last line: whether every request succeeded.
    Done(bool),
    /// The last line: why it could not be carried out.
    Problem(String),
}

/// Rehearses, and tells of it. Exit code 0: all was told, however it went; 1: nobody listens.
pub fn run(args: &Args, kinds: &StepKinds) -> ExitCode {
    logging::start();
    let last = match try_run(args, kinds) {
        Ok(whole) => Told::Done(whole),
        Err(problem) => Told::Problem(problem),
    };
    match tell(&last) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn try_run(args: &Args, kinds: &StepKinds) -> Result<bool, String> {
    let plan = plan_file::read(&args.plan, &args.plan_hash).map_err(|error| error.to_string())?;
    let chosen = chosen(&plan, &args.scenario, &args.task)
        .ok_or_else(|| format!("there is no {}, {} in the plan", args.scenario, args.task))?;
    rehearse(&plan, chosen, kinds, |seen| {
        // Who no longer listens has ended, and this process with it.
        drop(tell(&Told::Seen(seen)));
    })
}

fn chosen<'p>(plan: &'p Plan, scenario: &str, task: &str) -> Option<(&'p Scenario, &'p Task)> {
    let mut scenarios = plan.scenarios.iter();
    let scenario = scenarios.find(|known| known.name == scenario)?;
    let task = scenario.tasks.iter().find(|known| known.name == task)?;
    Some((scenario, task))
}

fn tell(told: &Told) -> io::Result<()> {
    let mut line = serde_json::to_vec(told)?;
    line.push(b'\n');
    let mut out = io::stdout().lock();
    out.write_all(&line)?;
    out.flush()
}
