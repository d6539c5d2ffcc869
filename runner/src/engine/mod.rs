//! The load engine: one process that sends its part of a run's load and measures it.
//!
//! The control thread ([`driver`](self)) registers with the coordinator, waits for the common
//! start and reports about once a second. One worker thread per core sends the load: each is an
//! event loop of its own with its own users, connections, timers and histograms.
//!
//! Architecture invariant: workers share nothing that is written to. On the path of a request
//! there is no lock, no channel, no reference count that other threads touch and no allocation.
//!
//! Latency counts from the *intended* start: an open model's scheduled arrival, or the moment a
//! step became due. Service time counts from the send. A request that was begun ends in exactly
//! one record, whatever happens.

mod attempt;
mod compile;
mod connection;
mod crew;
mod custom;
mod deadlines;
mod driver;
mod failure;
mod feeder;
mod flow;
mod health;
mod kinds;
mod lane;
mod limits;
mod message;
mod meter;
mod model;
mod network;
mod once;
mod reach;
mod redaction;
mod rehearsal;
mod resolver;
mod rng;
mod samples;
mod scenario;
mod script;
mod steps;
mod tally;
mod timers;
mod times;
mod tls;
mod user;
mod values;
mod worker;

pub use rehearsal::{Seen, rehearse};

use std::process::ExitCode;

use crate::{
    control::RunnerArgs,
    logging, plan_file,
    step_kind::{self, StepKinds},
};

/// Arguments of the engine.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Which run, which runner, whom to report to.
    #[command(flatten)]
    pub runner: RunnerArgs,
}

/// The run could not be carried out; the coordinator knows why.
const EXIT_FAILED: u8 = 1;
/// The plan or the coordinator's address cannot be used, so nobody could be told.
const EXIT_UNUSABLE: u8 = 2;
/// The coordinator fell silent before it had the final report.
const EXIT_SILENCE: u8 = 3;

/// Runs an engine until its final report is acknowledged. Makes its own runtimes.
///
/// Exit code 0: all was reported. 1: the run failed and the coordinator knows why. 2: the plan or
/// the coordinator's address cannot be used. 3: the coordinator fell silent.
pub fn run(args: Args) -> ExitCode {
    run_with(args, &StepKinds::default())
}

/// The same, with what the engine can do besides requests.
pub fn run_with(args: Args, kinds: &StepKinds) -> ExitCode {
    logging::start();
    if !kinds.is_empty() {
        step_kind::contain_panics();
    }
    match try_run(args.runner, kinds) {
        Ok(driver::End::Acknowledged) => ExitCode::SUCCESS,
        Ok(driver::End::Failed(message)) => complain(EXIT_FAILED, &message),
        Ok(driver::End::Silence) => complain(
            EXIT_SILENCE,
            "the coordinator has been silent for too long: the final report is lost",
        ),
        Err(error) => complain(EXIT_UNUSABLE, &format!("{error:#}")),
    }
}

fn complain(code: u8, message: &str) -> ExitCode {
    tracing::error!("{message}");
    ExitCode::from(code)
}

fn try_run(args: RunnerArgs, kinds: &StepKinds) -> anyhow::Result<driver::End> {
    let plan = plan_file::read(&args.plan, &args.plan_hash)?;
    let driver = driver::Driver::new(args, plan, kinds)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    Ok(runtime.block_on(driver.run())?)
}
