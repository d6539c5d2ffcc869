//! The exporter's side of the rings, and its memory of what became of the records.

use std::sync::atomic::Ordering;

use super::{
    Pool,
    layout::{
        BEGIN_NS, BLOCK_BYTES, BLOCK_RECORDS, CHECKSUM, FIRST_N, GENERATION, LEDGER_ACTIVE,
        LEDGER_SLOTS, LEDGER_WORDS, PROGRESS, STATE, state,
    },
    record::{Context, Records},
};

/// A filling of a block: the same place filled again has another generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlockId {
    /// Whose ring.
    pub worker: u32,
    /// How many blocks that worker began before.
    pub generation: u64,
    index: u32,
}

/// A copy of a block's records, checked.
#[derive(Debug, Clone)]
pub struct Block {
    /// Which one.
    pub id: BlockId,
    /// How many records it says it has.
    pub count: u32,
    begin_ns: u64,
    first_n: u64,
    bytes: Vec<u8>,
    /// Whether checksum and records are as the writer left them.
    pub intact: bool,
}

impl Block {
    /// A block that was kept elsewhere, and came back `intact` or not; it has no place in the ring
    /// any more.
    pub(crate) fn restored(parts: &BlockParts, bytes: Vec<u8>, intact: bool) -> Self {
        let BlockParts {
            worker,
            generation,
            count,
            begin_ns,
            first_n,
        } = *parts;
        let id = BlockId {
            worker,
            generation,
            index: u32::MAX,
        };
        Self {
            id,
            count,
            begin_ns,
            first_n,
            bytes,
            intact,
        }
    }

    /// What must be kept of it to [restore](Self::restored) it, and its bytes.
    pub(crate) fn parts(&self) -> (BlockParts, &[u8]) {
        let parts = BlockParts {
            worker: self.id.worker,
            generation: self.id.generation,
            count: self.count,
            begin_ns: self.begin_ns,
            first_n: self.first_n,
        };
        (parts, &self.bytes)
    }

    /// Its records in the order in which they ended.
    pub fn records(&self) -> Records<'_> {
        Records::new(&self.bytes, Context::new(self.begin_ns, self.first_n))
    }
}

/// All of a block but its bytes and its place.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct BlockParts {
    pub(crate) worker: u32,
    pub(crate) generation: u64,
    pub(crate) count: u32,
    pub(crate) begin_ns: u64,
    pub(crate) first_n: u64,
}

macro_rules! ledger {
    ($($(#[$doc:meta])* $field:ident,)*) => {
        /// What became of the records and aggregates that were taken from the pool.
        ///
        /// It lies in the pool's memory and changes as a whole, so an exporter that was killed
        /// at any moment finds each block either not settled or settled, never half.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct Ledger {
            $($(#[$doc])* pub $field: u64,)*
        }

        impl Ledger {
            fn words(&self) -> impl Iterator<Item = u64> {
                [$(self.$field,)*].into_iter()
            }

            fn from_words(mut words: impl Iterator<Item = u64>) -> Self {
                Self { $($field: words.next().unwrap_or_default(),)* }
            }
        }
    };
}

ledger! {
    /// Records that the sink has.
    indexed,
    /// Records that the sink refused.
    rejected,
    /// Records that were given up or unreadable.
    lost,
    /// Requests for records that were repeated.
    retries,
    /// Aggregate documents made.
    aggregates_produced,
    /// Aggregate documents that the sink has.
    aggregates_indexed,
    /// Aggregate documents that the sink refused.
    aggregates_rejected,
    /// Aggregate documents given up.
    aggregates_lost,
    /// Requests for aggregates that were repeated.
    aggregates_retries,
    /// Bytes of the aggregates file that are settled.
    aggregates_done,
    /// From where the aggregates file must be read again to know the histograms under way.
    aggregates_window,
    /// Length of `requests.ndjson.gz` with the settled blocks.
    requests_file,
    /// Length of `intervals.ndjson` with the settled intervals.
    intervals_file,
    /// Length of `samples.ndjson` with the settled samples.
    samples_file,
    /// Run documents that are settled: bit 0 the start, bit 1 the end.
    run_documents,
    /// The block settled last: worker + 1, 0 before the first.
    last_worker,
    /// The block settled last.
    last_generation,
    /// Number of the first block of the exporter's spool that is not settled.
    spool_low,
    /// Of the 64 blocks of the spool from there on: a bit for each that is settled.
    spool_done,
    /// Exporters that were started on this pool.
    exporters,
}

impl Pool {
    /// Blocks that wait for the reader, oldest of each worker first, workers in turn.
    pub fn full_blocks(&self) -> Vec<BlockId> {
        self.blocks_in(state::FULL)
    }

    /// Blocks that a writer was filling: theirs, unless the engine [is gone](Self::engine_gone).
    pub fn unfinished_blocks(&self) -> Vec<BlockId> {
        self.blocks_in(state::FILLING)
    }

    /// Whether the process that made the pool has ended, however it did.
    pub fn engine_gone(&self) -> bool {
        match self.shared.file.try_lock_shared() {
            Ok(()) => {
                // Not kept: an engine never takes a lock again, but a test's may.
                let _ = self.shared.file.unlock();
                true
            }
            Err(_) => false,
        }
    }

    /// Copies a block that is the reader's. A block that its writer did not hand over has no
    /// checksum yet and is taken as far as it got.
    pub fn read(&self, id: BlockId) -> Block {
        let at = self.geometry().descriptor(id.worker, id.index);
        let map = self.map();
        let handed_over = map.word32(at + STATE).load(Ordering::Acquire) == state::FULL;
        let progress = map.word64(at + PROGRESS).load(Ordering::Acquire);
        let (count, len) = ((progress >> 32) as u32, (progress & 0xffff_ffff) as usize);
        let sane = len <= BLOCK_BYTES && count <= BLOCK_RECORDS;
        let bytes = if sane {
            map.bytes(self.geometry().block(id.worker, id.index), len)
                .to_vec()
        } else {
            Vec::new()
        };
        let mut block = Block {
            id,
            count: count.min(BLOCK_RECORDS),
            begin_ns: map.word64(at + BEGIN_NS).load(Ordering::Relaxed),
            first_n: map.word64(at + FIRST_N).load(Ordering::Relaxed),
            bytes,
            intact: false,
        };
        let checksum = map.word32(at + CHECKSUM).load(Ordering::Relaxed);
        // Decoding costs more than all the rest here, so it is left to whoever wants the records
        // where a checksum says that they are as they were written.
        block.intact = sane
            && if handed_over {
                crc32fast::hash(&block.bytes) == checksum
            } else {
                block.records().count() == count as usize
            };
        block
    }

    /// The exporter's totals.
    pub fn ledger(&self) -> Ledger {
        let slot = self.map().word32(LEDGER_ACTIVE).load(Ordering::Acquire);
        Ledger::from_words((0..LEDGER_WORDS).map(|word| {
            self.map()
                .word64(ledger_word(slot, word))
                .load(Ordering::Relaxed)
        }))
    }

    /// Replaces the exporter's totals in one step.
    pub fn write_ledger(&self, ledger: &Ledger) {
        let active = self.map().word32(LEDGER_ACTIVE);
        let other = 1 - active.load(Ordering::Relaxed).min(1);
        for (word, value) in ledger.words().enumerate() {
            self.map()
                .word64(ledger_word(other, word))
                .store(value, Ordering::Relaxed);
        }
        active.store(other, Ordering::Release);
    }

    /// Notes in the ledger what became of a block's records and gives the block back.
    ///
    /// `ledger` must hold the new totals. Killed before the ledger is written, the block is sent
    /// again with the same ids; killed after it, [`Self::free_settled`] finds the block settled.
    pub fn settle(&self, id: BlockId, ledger: &mut Ledger) {
        ledger.last_worker = u64::from(id.worker) + 1;
        ledger.last_generation = id.generation;
        self.write_ledger(ledger);
        self.free(id);
    }

    /// Gives back the block that was settled when the exporter was killed before it could.
    pub fn free_settled(&self) {
        let ledger = self.ledger();
        let settled = |id: &BlockId| {
            u64::from(id.worker) + 1 == ledger.last_worker
                && id.generation == ledger.last_generation
        };
        for id in self
            .full_blocks()
            .into_iter()
            .chain(self.unfinished_blocks())
            .filter(settled)
        {
            self.free(id);
        }
    }

    /// Gives a block back whose records are safe elsewhere.
    pub fn release(&self, id: BlockId) {
        self.free(id);
    }

    /// The oldest block that waits for the reader in a ring of which more than `share` is taken:
    /// what a writer has begun since the oldest block that is not free again, because a ring is
    /// filled in order.
    pub fn oldest_under_pressure(&self, share: f64) -> Option<BlockId> {
        let full = self.full_blocks();
        let filling = self.unfinished_blocks();
        let most = f64::from(self.geometry().blocks_per_worker) * share;
        (0..self.workers()).find_map(|worker| {
            let of = |ids: &[BlockId]| -> Vec<BlockId> {
                ids.iter()
                    .copied()
                    .filter(|id| id.worker == worker)
                    .collect()
            };
            let (full, filling) = (of(&full), of(&filling));
            let oldest = full.first().copied()?;
            let newest = full.iter().chain(&filling).map(|id| id.generation).max()?;
            let taken = newest - oldest.generation + 1;
            (taken as f64 > most).then_some(oldest)
        })
    }

    fn free(&self, id: BlockId) {
        let at = self.geometry().descriptor(id.worker, id.index);
        self.map()
            .word32(at + STATE)
            .store(state::FREE, Ordering::Release);
    }

    fn blocks_in(&self, wanted: u32) -> Vec<BlockId> {
        let (map, geometry) = (self.map(), self.geometry());
        let mut blocks = Vec::new();
        for worker in 0..geometry.workers {
            for index in 0..geometry.blocks_per_worker {
                let at = geometry.descriptor(worker, index);
                if map.word32(at + STATE).load(Ordering::Acquire) == wanted {
                    let generation = map.word64(at + GENERATION).load(Ordering::Relaxed);
                    blocks.push(BlockId {
                        worker,
                        generation,
                        index,
                    });
                }
            }
        }
        blocks.sort_by_key(|id| (id.generation, id.worker));
        blocks
    }
}

fn ledger_word(slot: u32, word: usize) -> usize {
    LEDGER_SLOTS + (slot.min(1) as usize * LEDGER_WORDS + word) * 8
}
