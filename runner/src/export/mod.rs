//! The exporter: one process that takes what the engine measured out of the shared [`pool`] and
//! delivers it, however long the search server is away.
//!
//! ```text
//! blocks ─► request documents ─┐                                    ┌─► ledger in the pool
//!  │  ▲     (an idle thread)    │                                    │
//!  ▼  │                         │                                    │
//! spool on disk                 │                                    │
//! intervals ─► their documents ─┤
//! samples ─► their documents ───┼─► batch ─► sink: verdict per item ─┤
//! run ─► start, end ────────────┘      (again, until all are known)  └─► block is forgotten
//! ```
//! Three threads: deliveries, aggregates and reports here; the [encoder](background) only when the
//! CPU has nothing else to do; the [block writer](intake), which moves blocks to the
//! [spool] before a ring fills.
//!
//! Laws
//! - `produced = indexed + rejected + sampledOut + dropped + lost + pending` in every report; at
//!   the end `pending` is 0, and what was given up is `lost` with the reason in the problem.
//! - Every document's id is derived from what it is about, and documents are only ever created:
//!   sending one again changes nothing.
//! - A block stays in the pool or the spool until the fate of each of its records is known. An
//!   exporter that is killed continues from there; at most the request counts (`retries`) of
//!   deliveries that were under way are not known any more.
//! - Aggregates go before requests.
//!
//! A data stream that rolls over between a delivery whose answer was lost and its repetition would
//! take a document twice, because ids are unique per backing index only: it is asked first what it
//! has.
//!
//! [`pool`]: crate::pool

mod account;
mod aggregates;
mod background;
mod batch;
mod drain;
mod elastic;
mod files;
mod ids;
mod intake;
mod interval;
mod json;
mod privacy;
pub mod push;
mod reporter;
mod request;
pub mod role;
mod run;
mod sample;
mod signals;
mod sink;
mod sinks;
mod spool;
mod templates;

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use loadtest_core::{plan::Plan, report::Part, view::RunView};
use serde_json::{Map, Value, json};
use tokio::{sync::watch, time::Instant};

use crate::{
    control::{Control, RunnerArgs},
    logging, plan_file,
    pool::Pool,
};
use account::Account;
use background::Background;
use drain::{Drain, Ended, Line};
use elastic::{DeadLetters, Elastic};
use intake::{BlockWriter, Intake};
use reporter::{Known, Reporter, SILENCE};
use signals::Signals;
use sink::GiveUpSwitch;
use sinks::Sinks;

/// Arguments of the exporter.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Which run, which runner, whom to report to.
    #[command(flatten)]
    pub runner: RunnerArgs,
    /// Directory of the result files, when the plan asks for files.
    #[arg(long, env = "LOADTEST_OUT", value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Directory on a disk for records that wait for the search server; default: below the
    /// directory of the result files, else below the pool.
    #[arg(long, env = "LOADTEST_SPOOL", value_name = "DIR")]
    pub spool: Option<PathBuf>,
}

/// The plan, an address or a directory cannot be used.
const EXIT_UNUSABLE: u8 = 2;

/// How often an exporter looks whether the pool, or something in it, is there.
const LOOK: Duration = Duration::from_millis(50);

/// How long runner 0 waits for the run's result after it was told to end.
const WAIT_FOR_RESULT: Duration = Duration::from_secs(30);

/// How long the run's result and its document may take together when the rest was given up: a pod
/// has 15 seconds beyond the time to drain, and the final report needs some of them.
const END_AFTER_GIVING_UP: Duration = Duration::from_secs(5);

/// How long the other runners' exporters may take, beyond the time to drain, before this one's
/// final report is recorded.
const WAIT_FOR_OTHERS: Duration = Duration::from_mins(1);

/// Runs an exporter until everything is delivered or given up. Makes its own runtime.
///
/// Exit code 0: the end was reported, if anybody listened. 2: the plan, an address or a directory
/// cannot be used.
pub fn run(args: Args) -> ExitCode {
    logging::start();
    match try_run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::from(EXIT_UNUSABLE)
        }
    }
}

fn try_run(args: Args) -> anyhow::Result<()> {
    let plan = plan_file::read(&args.runner.plan, &args.runner.plan_hash)?;
    let control = Control::new(&args.runner, &plan.run.id, Part::Exporter)?;
    if let (Some(out), Some(_)) = (&args.out, &plan.results.files) {
        files::check(out)?;
    }
    let background = Background::start()?;
    let elastic = match &plan.results.elasticsearch {
        Some(settings) => {
            let (namespace, index) = (&plan.run.namespace, args.runner.index);
            let letters = DeadLetters::in_dir(args.out.clone().or_else(|| args.spool.clone()));
            let elastic = Elastic::new(settings, namespace, index, background.clone(), letters)?;
            Some(Arc::new(elastic))
        }
        None => None,
    };
    let account = Arc::new(Account::new(elastic.clone()));
    let reporter = Reporter::new(control, account.clone());
    let known = reporter.known();
    let longest = plan.results.drain_timeout + WAIT_FOR_OTHERS;
    let exporter = Exporter {
        args,
        plan,
        elastic,
        background,
        account: account.clone(),
        known,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let signals = Signals::listen()?;
        let outcome = tokio::select! {
            outcome = exporter.export(&signals) => outcome,
            () = reporter.keep_reporting() => Ok(()),
        };
        if let Err(error) = &outcome {
            account.lasting_problem(format!("{error:#}"));
        }
        account.finished();
        reporter.report_final(longest, &signals).await;
        outcome
    })
}

struct Exporter {
    args: Args,
    plan: Plan,
    elastic: Option<Arc<Elastic>>,
    background: Background,
    account: Arc<Account>,
    known: watch::Receiver<Known>,
}

impl Exporter {
    async fn export(self, signals: &Signals) -> anyhow::Result<()> {
        if let Some((pool, _lock)) = self.wait_for_pool(signals).await? {
            self.deliver_all(pool, signals).await?;
        }
        Ok(())
    }

    /// The pool, and the lock that keeps a second exporter away from it. `None` when the run was
    /// over before there was a pool.
    async fn wait_for_pool(&self, signals: &Signals) -> anyhow::Result<Option<(Pool, File)>> {
        loop {
            match Pool::open(&self.args.runner.pool) {
                Ok(pool) => {
                    let lock = File::create(self.args.runner.pool.join("exporter"))?;
                    if lock.try_lock().is_ok() {
                        return Ok(Some((pool, lock)));
                    }
                }
                Err(error) if error.is_absent() => {}
                Err(error) => return Err(error.into()),
            }
            let over = {
                let known = self.known.borrow();
                known.exit || known.end.is_some()
            };
            if over || signals.asked_to_end().is_some() {
                return Ok(None);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn deliver_all(&self, pool: Pool, signals: &Signals) -> anyhow::Result<()> {
        let sinks = Sinks::new(
            &self.plan,
            self.elastic.clone(),
            self.args.out.as_deref(),
            &pool.ledger(),
            &self.background,
        )?;
        self.account.opened(&pool);
        let intake = Arc::new(Intake::open(
            pool.clone(),
            Some(self.spool_dir()),
            self.plan.results.spool_limit,
            self.account.clone(),
        ));
        let block_writer = BlockWriter::start(intake.clone())?;
        let identity = drain::Identity {
            runner: self.args.runner.index,
            host: host_name(),
            plan_hash: self.args.runner.plan_hash.clone(),
        };
        let line = Line {
            pool,
            intake: intake.clone(),
            sinks,
            background: self.background.clone(),
            account: self.account.clone(),
            give_up: GiveUpSwitch::new(),
        };
        let mut drain = Drain::new(&self.plan, &identity, line)?;
        let ended = drain.run(signals).await?;
        self.conclude(&mut drain, ended, signals).await;
        drop(block_writer);
        intake.remove_spool();
        Ok(())
    }

    /// Where this runner's blocks wait on disk: in a directory of its own, below the one that was
    /// named, else beside what else it writes.
    fn spool_dir(&self) -> PathBuf {
        let Args { runner, out, spool } = &self.args;
        match (spool, out) {
            (Some(spool), _) => spool.join(format!("{}-{}", self.plan.run.id, runner.index)),
            (None, Some(out)) => out.join("spool"),
            (None, None) => runner.pool.join("spool"),
        }
    }

    /// What comes after the last record: verification, and the document of the run's end.
    async fn conclude(&self, drain: &mut Drain, ended: Ended, signals: &Signals) {
        drain.abandon_rest(ended);
        let writes_end = self.args.runner.index == 0 && self.elastic.is_some();
        if ended == Ended::GivenUp {
            if writes_end && !signals.asked_to_hurry() {
                let deadline = Instant::now() + END_AFTER_GIVING_UP;
                let result = tokio::time::timeout_at(deadline, self.wait_for_result(signals)).await;
                let left = deadline.saturating_duration_since(Instant::now());
                drain
                    .write_end(result.ok().flatten().as_deref(), left)
                    .await;
            }
            return;
        }
        let requests = drain.verify_requests().await;
        self.account.verified(requests, None);
        if writes_end {
            let end = self.wait_for_result(signals).await;
            drain.write_end(end.as_deref(), drain::END_DOCUMENT).await;
        }
        let aggregates = drain.verify_aggregates().await;
        self.account.verified(requests, aggregates);
    }

    /// What the run came to, as soon as the coordinator knows it.
    async fn wait_for_result(&self, signals: &Signals) -> Option<Box<RunView>> {
        let drained = Instant::now();
        loop {
            let known = self.known.borrow().clone();
            if known.end.is_some() || known.exit {
                return known.end;
            }
            let told = signals
                .asked_to_end()
                .map(|at| at.max(drained) + WAIT_FOR_RESULT);
            let silent = known.contact.max(drained) + SILENCE;
            let deadline = told.map_or(silent, |told| told.min(silent));
            if Instant::now() >= deadline || signals.asked_to_hurry() {
                return None;
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// Fields of `loadtest` that every document of a run has.
fn run_fields(plan: &Plan, doc: &str) -> Map<String, Value> {
    let run = &plan.run;
    let mut fields = Map::new();
    fields.insert("schema".into(), json!(request::SCHEMA));
    fields.insert("doc".into(), json!(doc));
    fields.insert("test".into(), json!({"name": run.test}));
    fields.insert(
        "run".into(),
        json!({"id": run.id, "name": run.name, "number": run.number}),
    );
    fields
}

/// The name of this machine or pod.
fn host_name() -> String {
    let name = std::fs::read_to_string(Path::new("/proc/sys/kernel/hostname"));
    name.map(|name| name.trim().to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
