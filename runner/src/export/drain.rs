//! Takes what the pool holds to the sinks, until the engine has ended and nothing is left, or
//! time is up.

use std::{collections::HashSet, sync::Arc, time::Duration};

use loadtest_core::{plan::Plan, scalar::format_duration, view::RunView};
use tokio::{
    task::{JoinError, JoinHandle, JoinSet},
    time::Instant,
};

use super::{
    LOOK,
    account::Account,
    batch::{Batch, Fate, Stream},
    interval::IntervalEncoder,
    request::RequestEncoder,
    run::RunEncoder,
    signals::Signals,
    sink::GiveUpSwitch,
    sinks::Sinks,
};
use crate::pool::{AggregateReader, BlockId, Ledger, Next, Pool, PoolError};

/// Intervals are sent together up to this size, after a time without a server.
const AGGREGATE_BYTES: usize = 1 << 20;

/// How long the last document may take when everything else was delivered.
const END_DOCUMENT: Duration = Duration::from_mins(1);

/// Bits of [`Ledger::run_documents`].
const START: u64 = 1;
const END: u64 = 2;

/// Who this exporter is.
#[derive(Debug, Clone)]
pub(super) struct Identity {
    pub(super) runner: u32,
    pub(super) host: String,
    pub(super) plan_hash: String,
}

/// How a drain came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// Everything has its fate.
    Drained,
    /// Time was up, or somebody lost patience.
    GivenUp,
}

/// The delivery of a pool.
pub(super) struct Drain {
    run_id: String,
    identity: Identity,
    timeout: Duration,
    pool: Pool,
    ledger: Ledger,
    sinks: Sinks,
    account: Arc<Account>,
    give_up: GiveUpSwitch,
    requests: RequestEncoder,
    intervals: IntervalEncoder,
    run: RunEncoder,
    lane: AggregateReader,
    /// From where the lane must be read to know the histograms under way.
    window: u64,
    running: JoinSet<Done>,
    blocks: HashSet<BlockId>,
    aggregates_running: bool,
    /// Whether the document of the start was sent, whatever became of it.
    start_sent: bool,
}

/// Where the engine stands, as its pool tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Engine {
    /// It may write.
    Measures,
    /// It has handed everything over and writes nothing more.
    Finished,
    /// Its process has ended; what it did not hand over is there for the taking.
    Gone,
}

/// A delivery that has ended.
struct Done {
    what: What,
    batch: Arc<Batch>,
    fate: Fate,
}

#[derive(Debug, Clone, Copy)]
enum What {
    Block(BlockId),
    /// The lane up to this offset, histograms under way from that one, and intervals that could
    /// not be read.
    Intervals {
        done: u64,
        window: u64,
        damaged: u64,
    },
    Run(u64),
}

impl Drain {
    pub(super) fn new(
        plan: &Plan,
        identity: &Identity,
        pool: Pool,
        sinks: Sinks,
        account: Arc<Account>,
        give_up: GiveUpSwitch,
    ) -> Result<Self, PoolError> {
        let ledger = pool.ledger();
        let wall_ns = pool.anchor().wall_ns;
        Ok(Self {
            run_id: plan.run.id.clone(),
            identity: identity.clone(),
            timeout: plan.results.drain_timeout,
            requests: RequestEncoder::new(plan, identity.runner, &identity.host, wall_ns),
            intervals: IntervalEncoder::new(plan, identity.runner, &identity.host),
            run: RunEncoder::new(plan, &identity.plan_hash),
            lane: pool.aggregates_from(ledger.aggregates_window)?,
            window: ledger.aggregates_window,
            running: JoinSet::new(),
            blocks: HashSet::new(),
            aggregates_running: false,
            start_sent: ledger.run_documents & START != 0,
            pool,
            ledger,
            sinks,
            account,
            give_up,
        })
    }

    /// Delivers until the end.
    ///
    /// # Errors
    /// When the aggregates cannot be read any more.
    pub(super) async fn run(&mut self, signals: &Signals) -> Result<Ended, PoolError> {
        let mut prepared = self.prepare();
        let mut ready = prepared.is_none();
        let mut draining_since: Option<Instant> = None;
        loop {
            let engine = self.engine();
            let engine_ended = engine != Engine::Measures;
            if engine_ended || signals.asked_to_end().is_some() {
                let since = *draining_since.get_or_insert_with(Instant::now);
                let late = since.elapsed() >= self.timeout;
                if (late || signals.asked_to_hurry()) && !self.give_up.given_up() {
                    self.give_up.give_up();
                    ready = true;
                }
            }
            if ready {
                self.take_aggregates(engine_ended)?;
                self.take_blocks(engine);
            }
            let idle = ready && self.running.is_empty();
            if idle && (engine_ended || self.give_up.given_up()) {
                let given_up = self.give_up.given_up();
                return Ok(if given_up {
                    Ended::GivenUp
                } else {
                    Ended::Drained
                });
            }
            tokio::select! {
                Some(done) = self.running.join_next() => self.settle(done),
                () = done(&mut prepared) => ready = true,
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    /// Notes as lost what has no fate yet: the law has no `pending` at the end.
    pub(super) fn abandon_rest(&mut self, ended: Ended) {
        let pending = super::account::requests(&self.pool).pending;
        if pending > 0 {
            self.ledger.lost += pending;
            self.pool.write_ledger(&self.ledger);
        }
        let lost = self.ledger.lost + self.ledger.aggregates_lost;
        match ended {
            _ if lost == 0 => {}
            Ended::GivenUp => {
                let timeout = format_duration(self.timeout);
                let because = self.account.report().problem;
                let because = if because.is_empty() {
                    String::new()
                } else {
                    format!(": {because}")
                };
                self.account.lasting_problem(format!(
                    "{lost} documents were given up and are lost, not delivered within {timeout} \
                     of the end of the load{because}"
                ));
            }
            Ended::Drained if pending > 0 => self.account.lasting_problem(format!(
                "{pending} records are lost: the engine ended before it handed them over"
            )),
            Ended::Drained => {}
        }
    }

    /// Whether the server counts as many requests of this runner as it confirmed.
    pub(super) async fn verify_requests(&self) -> Option<bool> {
        let elastic = self
            .sinks
            .elastic
            .as_ref()
            .filter(|_| self.sinks.searchable(Stream::Requests))?;
        let runner = Some(self.identity.runner);
        elastic
            .verify(Stream::Requests, &self.run_id, runner, self.ledger.indexed)
            .await
    }

    /// The same for interval and run documents.
    pub(super) async fn verify_aggregates(&self) -> Option<bool> {
        let elastic = self.sinks.elastic.as_ref()?;
        let runner = self.identity.runner;
        let runs = self.ledger.run_documents.count_ones().into();
        let metrics = self.ledger.aggregates_indexed.saturating_sub(runs);
        let verified = elastic
            .verify(Stream::Metrics, &self.run_id, Some(runner), metrics)
            .await?;
        if runner != 0 {
            return Some(verified);
        }
        Some(
            verified
                && elastic
                    .verify(Stream::Runs, &self.run_id, None, runs)
                    .await?,
        )
    }

    /// Writes the document of the run's end, once.
    pub(super) async fn write_end(&mut self, view: Option<&RunView>) {
        if self.ledger.run_documents & END != 0 {
            return;
        }
        let Some(view) = view else {
            let problem = "the run's end is not in the search server: the coordinator did not say \
                           what the run came to";
            return self.account.lasting_problem(problem.to_owned());
        };
        let batch = self
            .run
            .end(view, view.completed.unwrap_or_else(unix_micros));
        self.spawn(What::Run(END), batch);
        if let Ok(Some(done)) = tokio::time::timeout(END_DOCUMENT, self.running.join_next()).await {
            return self.settle(done);
        }
        self.give_up.give_up();
        if let Some(done) = self.running.join_next().await {
            self.settle(done);
        }
        self.account
            .lasting_problem("the run's end is not in the search server".to_owned());
    }

    fn engine(&self) -> Engine {
        if self.pool.engine_gone() {
            Engine::Gone
        } else if self.pool.finished() && self.pool.unfinished_blocks().is_empty() {
            // Finished first, blocks second: after it they can only be handed over.
            Engine::Finished
        } else {
            Engine::Measures
        }
    }

    /// Begins to see to it that the search server is ready for documents.
    fn prepare(&self) -> Option<JoinHandle<bool>> {
        let elastic = self.sinks.elastic.clone()?;
        let give_up = self.give_up.listen();
        Some(tokio::spawn(async move { elastic.prepare(give_up).await }))
    }

    /// Aggregates go one batch after the other, in order.
    fn take_aggregates(&mut self, engine_ended: bool) -> Result<(), PoolError> {
        if self.aggregates_running {
            return Ok(());
        }
        if self.identity.runner == 0 && !self.start_sent && self.sinks.elastic.is_some() {
            self.start_sent = true;
            let batch = self.run.start(self.pool.anchor().wall_ns / 1_000);
            self.spawn(What::Run(START), batch);
            return Ok(());
        }
        let export = self.account.requests();
        let (mut batch, mut damaged) = (Batch::new(Stream::Metrics), 0);
        while batch.bytes() < AGGREGATE_BYTES {
            match self.lane.next_interval()? {
                Next::Interval(interval) if self.lane.offset() <= self.ledger.aggregates_done => {
                    // Delivered before a restart; read again for the histograms under way.
                    self.intervals
                        .push(&mut Batch::new(Stream::Metrics), &interval, &export);
                }
                Next::Interval(interval) => self.intervals.push(&mut batch, &interval, &export),
                Next::Damaged => {
                    damaged += 1;
                    self.account
                        .lasting_problem("an interval could not be read".to_owned());
                }
                Next::End => {
                    if engine_ended {
                        self.intervals.finish(&mut batch);
                    }
                    break;
                }
            }
            if self.intervals.is_between_minutes() {
                self.window = self.lane.offset();
            }
        }
        let done = self.lane.offset();
        if self.intervals.is_between_minutes() {
            self.window = done;
        }
        if !batch.is_empty() || damaged > 0 {
            self.spawn(
                What::Intervals {
                    done,
                    window: self.window,
                    damaged,
                },
                batch,
            );
        }
        Ok(())
    }

    fn take_blocks(&mut self, engine: Engine) {
        let free = |drain: &Self| drain.sinks.window().saturating_sub(drain.blocks.len());
        if free(self) == 0 {
            return;
        }
        let mut waiting = self.pool.full_blocks();
        if engine == Engine::Gone {
            waiting.extend(self.pool.unfinished_blocks());
        }
        waiting.retain(|id| !self.blocks.contains(id));
        for id in waiting.into_iter().take(free(self)) {
            let block = self.pool.read(id);
            if block.intact {
                let batch = self.requests.batch(&block);
                self.spawn(What::Block(id), batch);
            } else {
                self.ledger.lost += u64::from(block.count);
                self.pool.settle(id, &mut self.ledger);
                self.account.lasting_problem(format!(
                    "{} records are lost: their block is damaged",
                    block.count
                ));
            }
        }
    }

    fn spawn(&mut self, what: What, batch: Batch) {
        match what {
            What::Block(id) => {
                self.blocks.insert(id);
            }
            What::Intervals { .. } | What::Run(_) => {
                self.aggregates_running = true;
                self.account.aggregates_under_way(batch.len() as u64);
            }
        }
        let batch = Arc::new(batch);
        let delivery = self.sinks.deliver(batch.clone(), self.give_up.listen());
        self.running.spawn(async move {
            Done {
                what,
                fate: delivery.await,
                batch,
            }
        });
    }

    /// One step: the copy in the files, the ledger, the block.
    fn settle(&mut self, done: Result<Done, JoinError>) {
        let Done { what, batch, fate } = match done.map_err(JoinError::try_into_panic) {
            Ok(done) => done,
            // Its block would be waited for for ever.
            Err(Ok(panic)) => std::panic::resume_unwind(panic),
            // Nobody cancels a delivery.
            Err(Err(_)) => return,
        };
        let ledger = &mut self.ledger;
        self.sinks.copy(&batch, ledger);
        if let Some(problem) = self.sinks.files_problem() {
            self.account.lasting_problem(problem);
        }
        if let What::Block(id) = what {
            ledger.indexed += fate.indexed;
            ledger.rejected += fate.rejected;
            ledger.lost += fate.lost;
            ledger.retries += fate.retries;
            self.pool.settle(id, ledger);
            self.blocks.remove(&id);
            return;
        }
        ledger.aggregates_produced += batch.len() as u64;
        ledger.aggregates_indexed += fate.indexed;
        ledger.aggregates_rejected += fate.rejected;
        ledger.aggregates_lost += fate.lost;
        ledger.aggregates_retries += fate.retries;
        match what {
            What::Run(bit) if fate.indexed > 0 => ledger.run_documents |= bit,
            What::Intervals {
                done,
                window,
                damaged,
            } => {
                ledger.aggregates_produced += damaged;
                ledger.aggregates_lost += damaged;
                ledger.aggregates_done = done;
                ledger.aggregates_window = window;
            }
            What::Run(_) | What::Block(_) => {}
        }
        self.pool.write_ledger(ledger);
        self.aggregates_running = false;
        self.account.aggregates_under_way(0);
        if let What::Intervals { window, .. } = what {
            self.lane.forget_before(window);
        }
    }
}

/// Completes when the task does, never when there is none (any more).
async fn done(task: &mut Option<JoinHandle<bool>>) {
    match task {
        Some(running) => {
            // A panic in it means that the templates are not known to be there; the deliveries
            // will say what is wrong.
            let _ = running.await;
            *task = None;
        }
        None => std::future::pending().await,
    }
}

fn unix_micros() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map(|since| since.as_micros() as i64)
        .unwrap_or_default()
}
