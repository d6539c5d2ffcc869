//! This program as a runner that knows a step kind, so that what one costs can be weighed.

use std::process::ExitCode;

use loadtest_runner::{
    command,
    step_kind::{Failed, Reply, Step, StepKind, StepKinds},
};

/// With what a runner is started.
pub const PARTS: [&str; 2] = ["engine", "export"];

/// Is done at once: all that is left is what it costs to hand a step over and to record it.
pub struct Nothing;

impl StepKind for Nothing {
    type Session = ();

    async fn run(&self, (): &mut (), _: &mut Step) -> Result<Reply, Failed> {
        Ok(Reply::default())
    }
}

/// A runner, as `loadtest run --runner-binary` starts it.
pub fn main() -> ExitCode {
    command::main(&StepKinds::default().with("nothing", Nothing))
}
