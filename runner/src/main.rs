//! The runner's binary: a runner without step kinds of its own.

use std::process::ExitCode;

use loadtest_runner::{command, step_kind::StepKinds};

fn main() -> ExitCode {
    command::main(&StepKinds::default())
}
