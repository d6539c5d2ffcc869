//! Where everything lies in the pool's file.
//!
//! ```text
//! 0       header        magic, version, geometry, anchor, finished
//! 4096    ledger        two slots of the exporter's totals and which one is valid
//! 8192    counters      one 128-byte line per worker: produced, sampledOut, dropped, high water
//! ...     descriptors   64 bytes per block: state, checksum, progress, first n, generation, begin
//! ...     blocks        64 KiB each, on page borders
//! ```

/// "LTPOOL" and the version of this layout.
pub(super) const MAGIC: u64 = u64::from_le_bytes(*b"LTPOOL\x00\x01");

/// Size of a block: large enough that its hand-over costs nothing per record, small enough that a
/// second's worth of a slow test does not waste the pool.
pub(super) const BLOCK_BYTES: usize = 64 << 10;

/// Records per block: at 1.1 kB of JSON each, a block is one bulk request of about 2.3 MB.
pub(super) const BLOCK_RECORDS: u32 = 2_048;

pub(super) const HEADER_MAGIC: usize = 0;
pub(super) const HEADER_WORKERS: usize = 8;
pub(super) const HEADER_BLOCKS: usize = 12;
pub(super) const HEADER_WALL: usize = 16;
pub(super) const HEADER_MONO: usize = 24;
pub(super) const HEADER_FINISHED: usize = 32;

pub(super) const LEDGER_ACTIVE: usize = 4_096;
pub(super) const LEDGER_SLOTS: usize = 4_096 + 64;
/// Room of one ledger slot, in words of 64 bits.
pub(super) const LEDGER_WORDS: usize = 32;

const COUNTERS: usize = 8_192;
/// Two cache lines, because adjacent lines are fetched together.
const COUNTER_LINE: usize = 128;
const DESCRIPTOR: usize = 64;
const PAGE: usize = 4_096;

/// Offsets within a worker's line of counters.
pub(super) const PRODUCED: usize = 0;
pub(super) const SAMPLED_OUT: usize = 8;
pub(super) const DROPPED: usize = 16;
pub(super) const HIGH_WATER: usize = 24;

/// Offsets within a descriptor.
pub(super) const STATE: usize = 0;
pub(super) const CHECKSUM: usize = 4;
/// Records (upper half) and bytes (lower half) that are whole: one word, so that a reader sees
/// both or neither.
pub(super) const PROGRESS: usize = 8;
pub(super) const FIRST_N: usize = 16;
pub(super) const GENERATION: usize = 24;
pub(super) const BEGIN_NS: usize = 32;

/// Whose a block is.
pub(super) mod state {
    /// The writer's, empty.
    pub(in crate::pool) const FREE: u32 = 0;
    /// The writer's, being filled.
    pub(in crate::pool) const FILLING: u32 = 1;
    /// The reader's.
    pub(in crate::pool) const FULL: u32 = 2;
}

/// Where a worker's counters are.
pub(super) fn counters(worker: u32) -> usize {
    COUNTERS + worker as usize * COUNTER_LINE
}

/// Sizes of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Geometry {
    pub(super) workers: u32,
    pub(super) blocks_per_worker: u32,
}

impl Geometry {
    fn blocks(self) -> usize {
        self.workers as usize * self.blocks_per_worker as usize
    }

    pub(super) fn descriptor(self, worker: u32, block: u32) -> usize {
        self.descriptors() + self.number(worker, block) * DESCRIPTOR
    }

    pub(super) fn block(self, worker: u32, block: u32) -> usize {
        self.first_block() + self.number(worker, block) * BLOCK_BYTES
    }

    /// Length of the file.
    pub(super) fn len(self) -> usize {
        self.first_block() + self.blocks() * BLOCK_BYTES
    }

    fn number(self, worker: u32, block: u32) -> usize {
        worker as usize * self.blocks_per_worker as usize + block as usize
    }

    fn descriptors(self) -> usize {
        counters(self.workers)
    }

    fn first_block(self) -> usize {
        (self.descriptors() + self.blocks() * DESCRIPTOR).next_multiple_of(PAGE)
    }
}
