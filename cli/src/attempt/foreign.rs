//! A rehearsal in a runner of the user's own, which is told the plan and tells what it sees.

use std::{
    fmt,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use loadtest_core::{
    identity,
    plan::{Plan, Scenario, Task},
};
use loadtest_runner::{engine::Seen, rehearsal::Told};

use crate::{output::terminal::say, run::scratch::Scratch};

/// What the runner is told.
#[derive(Debug)]
pub(super) struct Orders {
    runner: PathBuf,
    plan: PathBuf,
    plan_hash: String,
}

impl Orders {
    /// Writes the plan down.
    ///
    /// # Errors
    /// In a sentence, when that cannot be done.
    pub(super) fn new(runner: &Path, plan: &Plan, scratch: &Scratch) -> Result<Self, String> {
        let bytes = plan.to_bytes().map_err(|error| error.to_string())?;
        let file = scratch.secret("plan.json", &bytes);
        Ok(Self {
            // A name without a slash would be looked for elsewhere.
            runner: std::path::absolute(runner).map_err(|error| error.to_string())?,
            plan: file.map_err(|error| format!("cannot write the plan: {error}"))?,
            plan_hash: identity::plan_hash(&bytes),
        })
    }

    /// Has a task rehearsed; returns whether every request succeeded.
    ///
    /// # Errors
    /// In a sentence, when the runner cannot be started, ends early, or could not carry it out.
    pub(super) fn rehearse(
        &self,
        (scenario, task): (&Scenario, &Task),
        look: impl FnMut(&Seen),
    ) -> Result<bool, String> {
        let runner = self.runner.display();
        let failed =
            |what: &str, error: &dyn fmt::Display| format!("cannot {what} {runner}: {error}");
        let mut child = Command::new(&self.runner)
            .arg("try")
            .arg("--plan")
            .arg(&self.plan)
            .args(["--plan-hash", &self.plan_hash])
            .args(["--scenario", &scenario.name, "--task", &task.name])
            // It ends when this process does.
            .env("LOADTEST_END_WITH_STDIN", "true")
            .env_remove("LOADTEST_IMAGE")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| failed("start", &error))?;
        let told = listen(&mut child, look);
        let ended = child.wait().map_err(|error| failed("wait for", &error))?;
        told.unwrap_or_else(|| {
            Err(format!(
                "{runner} ended before the iteration did ({ended}). Is it a runner of this version, with command::main of the library in its main?"
            ))
        })
    }
}

/// What came of it; `None` if the runner did not say.
fn listen(child: &mut Child, mut look: impl FnMut(&Seen)) -> Option<Result<bool, String>> {
    let lines = BufReader::new(child.stdout.take()?).split(b'\n');
    for line in lines.map_while(Result::ok) {
        match serde_json::from_slice(&line) {
            Ok(Told::Seen(seen)) => look(&seen),
            Ok(Told::Done(whole)) => return Some(Ok(whole)),
            Ok(Told::Problem(problem)) => return Some(Err(problem)),
            // The code of a step kind may print what it wants.
            Err(_) => say(&String::from_utf8_lossy(&line)),
        }
    }
    None
}
