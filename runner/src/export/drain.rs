//! Takes what the pool holds to the sinks, until the engine has ended and nothing is left, or
//! time is up.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use loadtest_core::{plan::Plan, scalar::format_duration, view::RunView};
use tokio::{
    task::{JoinError, JoinHandle, JoinSet},
    time::Instant,
};

use super::{
    LOOK,
    account::Account,
    aggregates::{Aggregates, Stretch},
    background::Background,
    batch::{Batch, Fate, Stream},
    intake::{Intake, Taken, Ticket},
    request::RequestEncoder,
    run::RunEncoder,
    signals::Signals,
    sink::GiveUpSwitch,
    sinks::Sinks,
};
use crate::pool::{Ledger, Pool, PoolError};

/// How long the last document may take when everything else was delivered.
pub(super) const END_DOCUMENT: Duration = Duration::from_mins(1);

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

/// All that a drain connects.
pub(super) struct Line {
    pub(super) pool: Pool,
    pub(super) intake: Arc<Intake>,
    pub(super) sinks: Sinks,
    pub(super) background: Background,
    pub(super) account: Arc<Account>,
    pub(super) give_up: GiveUpSwitch,
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
    intake: Arc<Intake>,
    ledger: Ledger,
    sinks: Sinks,
    background: Background,
    account: Arc<Account>,
    give_up: GiveUpSwitch,
    requests: Arc<Mutex<RequestEncoder>>,
    aggregates: Aggregates,
    run: RunEncoder,
    running: JoinSet<Done>,
    /// Blocks under way.
    blocks: usize,
    aggregates_running: bool,
    /// Whether an exporter before this one may have sent some of it.
    restarted: bool,
    /// Whether the document of the start was sent, whatever became of it.
    start_sent: bool,
    streams: Streams,
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

/// What is known of templates and streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Streams {
    /// Nothing, or somebody gave up before they were there.
    Unknown,
    /// They are ready, as far as they are ours to make.
    SeenTo,
}

/// A delivery that has ended.
struct Done {
    what: What,
    batch: Arc<Batch>,
    fate: Fate,
    /// What is still to be written to the files.
    copy: Option<Vec<u8>>,
}

#[derive(Debug, Clone, Copy)]
enum What {
    Block(Ticket),
    /// The lane up to this offset, histograms under way from that one, and entries that could not be
    /// read.
    Intervals {
        done: u64,
        window: u64,
        damaged: u64,
    },
    Run(u64),
}

impl Drain {
    pub(super) fn new(plan: &Plan, identity: &Identity, line: Line) -> Result<Self, PoolError> {
        let Line {
            pool,
            intake,
            sinks,
            background,
            account,
            give_up,
        } = line;
        let mut ledger = pool.ledger();
        let restarted = ledger.exporters > 0;
        ledger.exporters += 1;
        pool.write_ledger(&ledger);
        let wall_ns = pool.anchor().wall_ns;
        let urls = pool.step_urls()?;
        let requests = RequestEncoder::new(plan, identity.runner, (&identity.host, &urls), wall_ns);
        Ok(Self {
            run_id: plan.run.id.clone(),
            identity: identity.clone(),
            timeout: plan.results.drain_timeout,
            requests: Arc::new(Mutex::new(requests)),
            aggregates: Aggregates::new(plan, identity, &pool)?,
            run: RunEncoder::new(plan, &identity.plan_hash),
            running: JoinSet::new(),
            blocks: 0,
            aggregates_running: false,
            restarted,
            start_sent: ledger.run_documents & START != 0,
            streams: Streams::Unknown,
            pool,
            intake,
            ledger,
            sinks,
            background,
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
            if engine_ended {
                self.background.hurry();
            }
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
                if self.take_blocks(engine) {
                    // Nothing is under way for what was damaged: what is behind it still waits.
                    tokio::task::yield_now().await;
                    continue;
                }
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
                () = done(&mut prepared) => {
                    ready = true;
                    if !self.give_up.given_up() {
                        self.streams = Streams::SeenTo;
                    }
                }
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

    /// Writes the document of the run's end, once, also after the rest was given up: a server
    /// that is merely slow takes one document.
    pub(super) async fn write_end(&mut self, view: Option<&RunView>, longest: Duration) {
        if self.ledger.run_documents & END != 0 {
            return;
        }
        let Some(view) = view else {
            let problem = "the run's end is not in the search server: the coordinator did not say \
                           what the run came to";
            return self.account.lasting_problem(problem.to_owned());
        };
        // Without its template the document would make an index with guessed mappings.
        if self.streams == Streams::SeenTo {
            self.give_up = GiveUpSwitch::new();
            let batch = self.run.end(view, unix_micros());
            self.spawn(What::Run(END), batch);
            let mut done = tokio::time::timeout(longest, self.running.join_next()).await;
            if done.is_err() {
                self.give_up.give_up();
                done = Ok(self.running.join_next().await);
            }
            if let Ok(Some(done)) = done {
                self.settle(done);
            }
        }
        // The answer may have come while it was given up.
        if self.ledger.run_documents & END == 0 {
            self.account
                .lasting_problem("the run's end is not in the search server".to_owned());
        }
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
        let (delivered, export) = (self.ledger.aggregates_done, self.account.requests());
        let stretch = self
            .aggregates
            .next_stretch(delivered, engine_ended, &export)?;
        let Stretch {
            batch,
            done,
            window,
            damaged,
        } = stretch;
        if damaged > 0 {
            self.account
                .lasting_problem("an interval or a sample could not be read".to_owned());
        }
        if !batch.is_empty() || damaged > 0 {
            let what = What::Intervals {
                done,
                window,
                damaged,
            };
            self.spawn(what, batch);
        }
        Ok(())
    }

    /// Takes as many blocks as may be under way. True when some of them were damaged and have left
    /// room for others.
    fn take_blocks(&mut self, engine: Engine) -> bool {
        if self.give_up.given_up() && !self.sinks.copies_requests() {
            return false; // What is left is counted, not read.
        }
        let free = self.sinks.window().saturating_sub(self.blocks);
        if free == 0 {
            return false;
        }
        let mut damaged = false;
        for taken in self.intake.take(free, engine == Engine::Gone) {
            let Taken { ticket, block, .. } = &taken;
            if block.intact {
                self.spawn_block(taken);
            } else {
                damaged = true;
                self.ledger.lost += u64::from(block.count);
                self.intake.settle(*ticket, &mut self.ledger);
                self.account.lasting_problem(format!(
                    "{} records are lost: their block is damaged",
                    block.count
                ));
            }
        }
        damaged
    }

    /// Makes a block's documents and delivers them.
    fn spawn_block(&mut self, taken: Taken) {
        let Taken {
            ticket,
            block,
            suspect,
        } = taken;
        self.blocks += 1;
        let (encoder, background) = (self.requests.clone(), self.background.clone());
        let (deliver, give_up) = (self.sinks.clone(), self.give_up.listen());
        self.running.spawn(async move {
            let encode = move || {
                let mut encoder = encoder.lock().unwrap_or_else(PoisonError::into_inner);
                encoder.batch(&block)
            };
            let mut batch = background.run(encode).await;
            batch.suspect = suspect;
            let batch = Arc::new(batch);
            let (fate, copy) = deliver.deliver(batch.clone(), give_up).await;
            Done {
                what: What::Block(ticket),
                batch,
                fate,
                copy,
            }
        });
    }

    /// Delivers documents that are not of requests.
    fn spawn(&mut self, what: What, mut batch: Batch) {
        batch.suspect = self.restarted;
        self.aggregates_running = true;
        self.account.aggregates_under_way(batch.len() as u64);
        let batch = Arc::new(batch);
        let delivery = self.sinks.deliver(batch.clone(), self.give_up.listen());
        self.running.spawn(async move {
            let (fate, copy) = delivery.await;
            Done {
                what,
                batch,
                fate,
                copy,
            }
        });
    }

    /// One step: the copy in the files, the ledger, the block.
    fn settle(&mut self, done: Result<Done, JoinError>) {
        let Done {
            what,
            batch,
            fate,
            copy,
        } = match done.map_err(JoinError::try_into_panic) {
            Ok(done) => done,
            // Its block would be waited for for ever.
            Err(Ok(panic)) => std::panic::resume_unwind(panic),
            // Nobody cancels a delivery.
            Err(Err(_)) => return,
        };
        let ledger = &mut self.ledger;
        self.sinks.copy(&batch, copy.as_deref(), ledger);
        if let Some(problem) = self.sinks.files_problem() {
            self.account.lasting_problem(problem);
        }
        if let What::Block(ticket) = what {
            ledger.indexed += fate.indexed;
            ledger.rejected += fate.rejected;
            ledger.lost += fate.lost;
            ledger.retries += fate.retries;
            self.intake.settle(ticket, ledger);
            self.blocks -= 1;
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
            self.aggregates.forget_before(window);
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
