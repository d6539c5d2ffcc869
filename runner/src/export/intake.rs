//! Where the records come from: the rings of the pool, and the spool that keeps them from filling.
//!
//! Law: a block has one place at any time, the pool or the spool, and moves only from the one to
//! the other, also while its records are under way. Its place is what is settled when their fate
//! is known. One lock is held over each such step, so a delivery that ends waits for a move that
//! has begun.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use super::{
    account::Account,
    spool::{Mark, Spool, SpoolError},
};
use crate::pool::{Block, BlockId, Ledger, Pool};

/// Share of a ring that may be taken before its oldest blocks go to disk: what remains has room
/// for the longest stall of a disk that was seen, many times over.
const PRESSURE: f64 = 0.25;

/// How often it is looked whether a ring fills: at 100,000 requests a second one block of it does
/// in the meantime.
const LOOK: Duration = Duration::from_millis(20);

/// How long a disk that is full or broken is left alone.
const AFTER_TROUBLE: Duration = Duration::from_secs(1);

/// A block whose records are under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Ticket(u64);

/// All blocks that wait for a sink.
#[derive(Debug)]
pub(super) struct Intake {
    pool: Pool,
    account: Arc<Account>,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    spool: Option<Spool>,
    under_way: HashMap<Ticket, Place>,
    tickets: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Pool(BlockId),
    Spool(u64),
}

/// What a look at the rings came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Relief {
    /// A block was moved; there may be more.
    Moved,
    /// No ring is under pressure.
    Unneeded,
    /// Blocks stay where they are: the disk does not take them, or there is no spool.
    Refused,
}

impl Intake {
    /// The blocks of a pool, and those that an exporter before this one has left in `dir`. A spool
    /// that cannot be used is noted in the account, and the pool's memory has to do.
    pub(super) fn open(
        pool: Pool,
        dir: Option<PathBuf>,
        limit: u64,
        account: Arc<Account>,
    ) -> Self {
        pool.free_settled();
        let spool = dir.filter(|_| limit > 0).and_then(|dir| {
            match open_spool(&pool, &dir, limit, &account) {
                Ok(spool) => Some(spool),
                Err(error) => {
                    account.trouble_of_spool(Some(&error.to_string()));
                    None
                }
            }
        });
        let inner = Inner {
            spool,
            under_way: HashMap::new(),
            tickets: 0,
        };
        Self {
            pool,
            account,
            inner: Mutex::new(inner),
        }
    }

    /// The oldest blocks that nobody has taken, `most` at most: those on disk, then those in
    /// memory. `engine_gone`: also those that their writer has not handed over.
    pub(super) fn take(&self, most: usize, engine_gone: bool) -> Vec<(Ticket, Block)> {
        let mut inner = self.inner();
        let mut taken = Vec::new();
        while taken.len() < most
            && let Some((number, block)) = inner.spool.as_mut().and_then(Spool::take)
        {
            taken.push((inner.ticket(Place::Spool(number)), block));
        }
        if taken.len() == most {
            return taken;
        }
        let mut waiting = self.pool.full_blocks();
        if engine_gone {
            waiting.extend(self.pool.unfinished_blocks());
        }
        waiting.retain(|id| inner.ticket_of(*id).is_none());
        for id in waiting.into_iter().take(most - taken.len()) {
            taken.push((inner.ticket(Place::Pool(id)), self.pool.read(id)));
        }
        taken
    }

    /// Writes the new totals and forgets the block they come from, in one step.
    pub(super) fn settle(&self, ticket: Ticket, ledger: &mut Ledger) {
        let mut inner = self.inner();
        match inner.under_way.remove(&ticket) {
            Some(Place::Pool(id)) => self.pool.settle(id, ledger),
            Some(Place::Spool(number)) => {
                let Some(spool) = &mut inner.spool else {
                    return;
                };
                let Mark { low, done } = spool.settle(number);
                (ledger.spool_low, ledger.spool_done) = (low, done);
                self.pool.write_ledger(ledger);
                spool.forget_settled();
            }
            None => {}
        }
    }

    /// Moves one block to disk if a ring fills.
    pub(super) fn relieve(&self) -> Relief {
        let mut inner = self.inner();
        let Some(id) = self.pool.oldest_under_pressure(PRESSURE) else {
            return Relief::Unneeded;
        };
        let Inner {
            spool: Some(spool), ..
        } = &mut *inner
        else {
            return Relief::Refused;
        };
        match spool.append(&self.pool.read(id)) {
            Ok(number) => {
                if let Some(ticket) = inner.ticket_of(id) {
                    inner.under_way.insert(ticket, Place::Spool(number));
                    if let Some(spool) = &mut inner.spool {
                        spool.taken(number);
                    }
                }
                self.pool.release(id);
                self.account.trouble_of_spool(None);
                Relief::Moved
            }
            Err(error) => {
                self.account.trouble_of_spool(Some(&error.to_string()));
                Relief::Refused
            }
        }
    }

    /// Forgets what is on disk. Nothing is under way any more.
    pub(super) fn remove_spool(&self) {
        if let Some(mut spool) = self.inner().spool.take() {
            spool.remove();
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn ticket(&mut self, place: Place) -> Ticket {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.under_way.insert(ticket, place);
        ticket
    }

    fn ticket_of(&self, id: BlockId) -> Option<Ticket> {
        let place = Place::Pool(id);
        self.under_way
            .iter()
            .find_map(|(ticket, at)| (*at == place).then_some(*ticket))
    }
}

fn open_spool(pool: &Pool, dir: &Path, limit: u64, account: &Account) -> Result<Spool, SpoolError> {
    let ledger = pool.ledger();
    let mark = Mark {
        low: ledger.spool_low,
        done: ledger.spool_done,
    };
    let mut waiting = pool.full_blocks();
    waiting.extend(pool.unfinished_blocks());
    let name = |id: &BlockId| (id.worker, id.generation);
    let held: std::collections::HashSet<_> = waiting.iter().map(name).collect();
    let (spool, found) = Spool::open(dir, pool.anchor(), limit, mark, |parts| {
        held.contains(&(parts.worker, parts.generation))
    })?;
    // Killed between the end of a move and the block's release.
    for id in waiting.iter().filter(|id| found.blocks.contains(&name(id))) {
        pool.release(*id);
    }
    if found.damaged_bytes > 0 {
        account.lasting_problem(format!(
            "{} bytes of the disk spool are damaged, their records are lost",
            found.damaged_bytes
        ));
    }
    Ok(spool)
}

/// A thread of its own that keeps the rings from filling, whatever the others are doing.
#[derive(Debug)]
pub(super) struct BlockWriter {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl BlockWriter {
    /// # Errors
    /// When the system refuses a thread.
    pub(super) fn start(intake: Arc<Intake>) -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let asked = stop.clone();
        let thread = std::thread::Builder::new()
            .name("block-writer".to_owned())
            .spawn(move || {
                while !asked.load(Ordering::Relaxed) {
                    match intake.relieve() {
                        Relief::Moved => {}
                        Relief::Unneeded => std::thread::park_timeout(LOOK),
                        Relief::Refused => std::thread::park_timeout(AFTER_TROUBLE),
                    }
                }
            })?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for BlockWriter {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests;
