//! A runner that knows one step kind more than ours: a WebSocket echo. All else it does as ours does.

use std::process::ExitCode;

use loadtest_runner::{command, step_kind::StepKinds};
use own_step::WebSocketEcho;

fn main() -> ExitCode {
    command::main(&StepKinds::default().with("webSocketEcho", WebSocketEcho))
}
