//! The engine's side of a ring.

use std::sync::atomic::Ordering;

use super::{
    Pool,
    layout::{
        BEGIN_NS, BLOCK_BYTES, BLOCK_RECORDS, CHECKSUM, DROPPED, FIRST_N, GENERATION, HIGH_WATER,
        PRODUCED, PROGRESS, SAMPLED_OUT, STATE, counters, state,
    },
    record::{Context, Packed, Record, room_for},
};

/// Writes one worker's records. Dropping it hands over what is in the block under way.
pub struct RecordWriter {
    pool: Pool,
    worker: u32,
    /// Number of the next record; also how many were produced.
    n: u64,
    sampled_out: u64,
    dropped: u64,
    /// The block under way, if any.
    filling: Option<Filling>,
    /// Blocks ever begun: the next one lies at `head % blocks`, and it is its generation.
    head: u64,
    /// Blocks ever seen free again, in ring order.
    tail: u64,
    high_water: u64,
    packed: Packed,
}

struct Filling {
    /// Offset of its descriptor.
    descriptor: usize,
    /// Offset of its bytes.
    bytes: usize,
    len: usize,
    count: u32,
    context: Context,
}

impl RecordWriter {
    pub(super) fn new(pool: Pool, worker: u32) -> Self {
        Self {
            pool,
            worker,
            n: 0,
            sampled_out: 0,
            dropped: 0,
            filling: None,
            head: 0,
            tail: 0,
            high_water: 0,
            packed: Packed::new(),
        }
    }

    /// Writes a record, or counts it as dropped when the ring is full.
    #[inline]
    pub fn record(&mut self, record: &Record<'_>) {
        let n = self.count_produced();
        let room = room_for(record);
        if self
            .filling
            .as_ref()
            .is_some_and(|f| f.count >= BLOCK_RECORDS || f.len + room > BLOCK_BYTES)
        {
            self.hand_over();
        }
        if self.filling.is_none() && !self.begin(record, n) {
            self.dropped += 1;
            self.store(DROPPED, self.dropped);
            return;
        }
        let Some(filling) = &mut self.filling else {
            return;
        };
        self.packed.pack(record, n, &mut filling.context);
        let bytes = self.packed.bytes();
        let map = self.pool.map();
        map.write(filling.bytes + filling.len, bytes);
        filling.len += bytes.len();
        filling.count += 1;
        let progress = u64::from(filling.count) << 32 | filling.len as u64;
        map.word64(filling.descriptor + PROGRESS)
            .store(progress, Ordering::Release);
    }

    /// The number that the next record gets.
    #[inline]
    pub fn next_number(&self) -> u64 {
        self.n
    }

    /// Counts a record that is not wanted.
    #[inline]
    pub fn skip(&mut self) {
        self.count_produced();
        self.sampled_out += 1;
        self.store(SAMPLED_OUT, self.sampled_out);
    }

    /// Hands the block under way to the exporter; call it about once a second and at the end.
    ///
    /// When more than half of the ring is in use the exporter is behind, and blocks are filled to
    /// the end instead, so that a slow test does not exhaust the ring with nearly empty ones.
    pub fn flush(&mut self) {
        self.advance_tail();
        if self.in_use() * 2 <= self.blocks() {
            self.hand_over();
        }
    }

    fn count_produced(&mut self) -> u64 {
        let n = self.n;
        self.n += 1;
        self.store(PRODUCED, self.n);
        n
    }

    fn store(&self, counter: usize, value: u64) {
        let line = counters(self.worker);
        self.pool
            .map()
            .word64(line + counter)
            .store(value, Ordering::Release);
    }

    fn blocks(&self) -> u64 {
        self.pool.geometry().blocks_per_worker.into()
    }

    fn in_use(&self) -> u64 {
        self.head - self.tail
    }

    fn descriptor(&self, number: u64) -> (usize, usize) {
        let block = (number % self.blocks()) as u32;
        let geometry = self.pool.geometry();
        (
            geometry.descriptor(self.worker, block),
            geometry.block(self.worker, block),
        )
    }

    fn advance_tail(&mut self) {
        while self.tail < self.head {
            let (descriptor, _) = self.descriptor(self.tail);
            // Acquire: the reader is done with the bytes before we write over them.
            if self
                .pool
                .map()
                .word32(descriptor + STATE)
                .load(Ordering::Acquire)
                != state::FREE
            {
                return;
            }
            self.tail += 1;
        }
    }

    /// Takes the next block of the ring for `record`; false when it is not free.
    fn begin(&mut self, record: &Record<'_>, n: u64) -> bool {
        self.advance_tail();
        if self.in_use() >= self.blocks() {
            return false;
        }
        let (descriptor, bytes) = self.descriptor(self.head);
        let map = self.pool.map();
        map.word64(descriptor + PROGRESS)
            .store(0, Ordering::Relaxed);
        map.word64(descriptor + FIRST_N).store(n, Ordering::Relaxed);
        map.word64(descriptor + GENERATION)
            .store(self.head, Ordering::Relaxed);
        map.word64(descriptor + BEGIN_NS)
            .store(record.sent_ns, Ordering::Relaxed);
        map.word32(descriptor + STATE)
            .store(state::FILLING, Ordering::Release);
        self.head += 1;
        let context = Context::new(record.sent_ns, n);
        self.filling = Some(Filling {
            descriptor,
            bytes,
            len: 0,
            count: 0,
            context,
        });
        if self.in_use() > self.high_water {
            self.high_water = self.in_use();
            self.store(HIGH_WATER, self.high_water);
        }
        true
    }

    fn hand_over(&mut self) {
        let Some(filling) = self.filling.take() else {
            return;
        };
        let map = self.pool.map();
        let checksum = crc32fast::hash(map.bytes(filling.bytes, filling.len));
        map.word32(filling.descriptor + CHECKSUM)
            .store(checksum, Ordering::Relaxed);
        map.word32(filling.descriptor + STATE)
            .store(state::FULL, Ordering::Release);
    }
}

impl Drop for RecordWriter {
    fn drop(&mut self) {
        self.hand_over();
    }
}

impl std::fmt::Debug for RecordWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecordWriter")
            .field("worker", &self.worker)
            .finish_non_exhaustive()
    }
}
