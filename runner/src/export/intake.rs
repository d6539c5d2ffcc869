//! Where the records come from: the rings of the pool, and the spool that keeps them from filling.
//!
//! Law: a block has one place at any time, the pool or the spool, and moves only from the one to
//! the other, also while its records are under way. Its place is what is settled when their fate
//! is known. One lock is held over each such step, so a delivery that ends waits for a move that
//! has begun.

use std::{
    collections::{HashMap, HashSet},
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
    spool::{MOST_FROM_POOL, Mark, Spool, SpoolError, Take},
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

/// A block that somebody delivers.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) ticket: Ticket,
    pub(super) block: Block,
    /// Whether an exporter before this one may have sent it.
    pub(super) suspect: bool,
}

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
    /// Worker and generation of what an exporter before this one may have sent.
    suspects: HashSet<(u32, u64)>,
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
    /// Blocks stay where they are: the disk does not take them, there is no spool, or what a ring
    /// waits for is under way and the spool has no bit for it.
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
        let mut suspects = HashSet::new();
        if pool.ledger().exporters > 0 {
            suspects.extend(waiting(&pool).iter().map(name));
        }
        let mut spool = None;
        if let Some(dir) = dir.filter(|_| limit > 0) {
            match open_spool(&pool, &dir, limit, &account) {
                Ok((opened, found)) => {
                    suspects.extend(found);
                    if let Err(error) = opened.try_disk() {
                        account.trouble_of_spool(Some(&error.to_string()));
                    }
                    spool = Some(opened);
                }
                Err(error) => account.trouble_of_spool(Some(&error.to_string())),
            }
        }
        let inner = Inner {
            spool,
            under_way: HashMap::new(),
            tickets: 0,
            suspects,
        };
        Self {
            pool,
            account,
            inner: Mutex::new(inner),
        }
    }

    /// The oldest blocks that nobody has taken, `most` at most: those on disk, then those in
    /// memory. `engine_gone`: also those that their writer has not handed over.
    pub(super) fn take(&self, most: usize, engine_gone: bool) -> Vec<Taken> {
        let mut inner = self.inner();
        let mut taken = Vec::new();
        while taken.len() < most {
            match inner.spool.as_mut().map_or(Take::Empty, Spool::take) {
                Take::Block(number, block) => taken.push(inner.taken(Place::Spool(number), block)),
                Take::Empty => break,
                Take::NotYet => return taken,
            }
        }
        let mut waiting = self.pool.full_blocks();
        if engine_gone {
            waiting.extend(self.pool.unfinished_blocks());
        }
        waiting.retain(|id| inner.ticket_of(*id).is_none());
        let room = MOST_FROM_POOL.saturating_sub(inner.still_in_pool().count());
        for id in waiting.into_iter().take(room.min(most - taken.len())) {
            taken.push(inner.taken(Place::Pool(id), self.pool.read(id)));
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

    /// Moves one block to disk if a ring fills; first those that are under way, because a ring
    /// goes on only behind them.
    pub(super) fn relieve(&self) -> Relief {
        let mut inner = self.inner();
        let Some(oldest) = self.pool.oldest_under_pressure(PRESSURE) else {
            return Relief::Unneeded;
        };
        let under_way = inner.still_in_pool().min_by_key(|(_, id)| id.generation);
        let oldest_is_under_way = inner.ticket_of(oldest).is_some();
        let Some(spool) = &mut inner.spool else {
            return Relief::Refused;
        };
        let (ticket, id) = match under_way {
            Some((ticket, id)) if spool.has_bit_for_next() => (Some(ticket), id),
            // Its delivery ends in the pool: a copy on disk would be delivered a second time.
            _ if oldest_is_under_way => return Relief::Refused,
            _ => (None, oldest),
        };
        let number = match spool.append(&self.pool.read(id)) {
            Ok(number) => number,
            Err(error) => {
                self.account.trouble_of_spool(Some(&error.to_string()));
                return Relief::Refused;
            }
        };
        if let Some(ticket) = ticket {
            spool.taken(number);
            inner.under_way.insert(ticket, Place::Spool(number));
        }
        self.pool.release(id);
        self.account.trouble_of_spool(None);
        Relief::Moved
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
    fn taken(&mut self, place: Place, block: Block) -> Taken {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.under_way.insert(ticket, place);
        let suspect = self
            .suspects
            .remove(&(block.id.worker, block.id.generation));
        Taken {
            ticket,
            block,
            suspect,
        }
    }

    /// What is under way and still in the pool.
    fn still_in_pool(&self) -> impl Iterator<Item = (Ticket, BlockId)> {
        self.under_way
            .iter()
            .filter_map(|(ticket, place)| match place {
                Place::Pool(id) => Some((*ticket, *id)),
                Place::Spool(_) => None,
            })
    }

    fn ticket_of(&self, id: BlockId) -> Option<Ticket> {
        let place = Place::Pool(id);
        self.under_way
            .iter()
            .find_map(|(ticket, at)| (*at == place).then_some(*ticket))
    }
}

fn name(id: &BlockId) -> (u32, u64) {
    (id.worker, id.generation)
}

fn waiting(pool: &Pool) -> Vec<BlockId> {
    let mut waiting = pool.full_blocks();
    waiting.extend(pool.unfinished_blocks());
    waiting
}

/// The spool, and what an exporter before this one may have sent of it.
fn open_spool(
    pool: &Pool,
    dir: &Path,
    limit: u64,
    account: &Account,
) -> Result<(Spool, HashSet<(u32, u64)>), SpoolError> {
    let ledger = pool.ledger();
    let mark = Mark {
        low: ledger.spool_low,
        done: ledger.spool_done,
    };
    let waiting = waiting(pool);
    let held: HashSet<_> = waiting.iter().map(name).collect();
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
    Ok((spool, found.suspects))
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
