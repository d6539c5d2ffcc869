//! The memory that engine and exporter share: what the engine measured and the exporter has not
//! yet delivered.
//!
//! A directory on a memory-backed file system with two files. `pool` is mapped by both processes:
//! per worker a line of counters and a ring of 64 KiB blocks of packed [records](Record).
//! `aggregates` is appended to by the engine's control thread: one [`Interval`] after the other, and
//! between them [samples](FailureSample) of failed exchanges. A third one, `urls`, is there if steps of
//! step kinds are: what only the engine knows of them.
//!
//! Laws
//! - An engine thread never waits, allocates or enters the kernel here: a full ring drops the
//!   record and counts it. Aggregates are never dropped.
//! - A block is one side's at a time: `Free` → `Filling` (writer) → `Full` (reader) → `Free`.
//!   Record bytes first, then their count, then the state.
//! - `produced = sampledOut + dropped + records in blocks + settled`, where settled is the
//!   exporter's [`Ledger`], which changes in one step however often the exporter is killed.
//! - The engine holds a lock on `pool` while it lives; when it is gone its unfinished blocks are
//!   the reader's.

mod aggregate;
mod layout;
mod map;
mod reader;
mod record;
mod sample;
mod urls;
mod writer;

use std::{
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use loadtest_core::report::RecordCounts;

pub use aggregate::{AggregateReader, AggregateWriter, Interval, Next, Stage};
pub(crate) use reader::BlockParts;
pub use reader::{Block, BlockId, Ledger};
pub use record::{MAX_ERROR_BYTES, Record, Records};
pub use sample::FailureSample;
pub use urls::{StepUrls, leave_step_urls};
pub use writer::RecordWriter;

use layout::{
    BLOCK_BYTES, DROPPED, Geometry, HEADER_BLOCKS, HEADER_FINISHED, HEADER_MAGIC, HEADER_MONO,
    HEADER_WALL, HEADER_WORKERS, HIGH_WATER, MAGIC, PRODUCED, SAMPLED_OUT,
};
use map::Map;

/// Most workers of one runner: an id has two hex digits for the worker.
pub const MAX_WORKERS: u32 = 256;

/// What a new pool is like.
#[derive(Debug, Clone, Copy)]
pub struct PoolOptions {
    /// Worker threads, each with a ring of its own; 1 to [`MAX_WORKERS`].
    pub workers: u32,
    /// Blocks of 64 KiB in each ring, at least 2.
    pub blocks_per_worker: u32,
    /// The engine's clock.
    pub anchor: Anchor,
}

/// One moment on both clocks; made once per runner, never again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Anchor {
    /// Unix time, nanoseconds.
    pub wall_ns: i64,
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub mono_ns: u64,
}

/// Why there is no pool.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// Sizes that no pool can have.
    #[error("a pool of {workers} workers with {blocks} blocks each cannot be made")]
    Options {
        /// Asked for.
        workers: u32,
        /// Asked for.
        blocks: u32,
    },
    /// The memory is not there.
    #[error("cannot reserve {bytes} bytes of memory for records in {}: {error}", path.display())]
    Reserve {
        /// The pool's file.
        path: PathBuf,
        /// How much was asked for.
        bytes: usize,
        /// What the file system said.
        error: io::Error,
    },
    /// The file could not be opened, locked, mapped, read or written.
    #[error("{}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The file is not a pool of this version.
    #[error("{} is not a record pool of this version", .0.display())]
    Foreign(PathBuf),
    /// An interval could not be written in its binary form.
    #[error("cannot encode an interval: {0}")]
    Encode(#[from] loadtest_core::report::WireError),
}

/// A pool, shared by all who clone it.
#[derive(Debug, Clone)]
pub struct Pool {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    map: Map,
    geometry: Geometry,
    /// Locked by the engine while it lives.
    file: File,
    dir: PathBuf,
    /// Workers whose writer was given out, so that a ring never has two.
    given: Vec<AtomicBool>,
}

impl Pool {
    /// Makes a pool in `dir`, all of its memory present, in place of any that was there.
    ///
    /// # Errors
    /// [`PoolError`]; above all [`PoolError::Reserve`] when the directory is too small.
    pub fn create(dir: &Path, options: PoolOptions) -> Result<Self, PoolError> {
        let PoolOptions {
            workers,
            blocks_per_worker,
            anchor,
        } = options;
        if !(1..=MAX_WORKERS).contains(&workers) || !(2..=1 << 20).contains(&blocks_per_worker) {
            return Err(PoolError::Options {
                workers,
                blocks: blocks_per_worker,
            });
        }
        let geometry = Geometry {
            workers,
            blocks_per_worker,
        };
        // Made under another name: whoever opens `pool` finds it complete and locked.
        let (path, unfinished) = (dir.join("pool"), dir.join("pool.new"));
        let in_file = |error| PoolError::File {
            path: unfinished.clone(),
            error,
        };
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&unfinished)
            .map_err(in_file)?;
        file.lock().map_err(in_file)?;
        map::reserve(&file, geometry.len() as u64).map_err(|error| PoolError::Reserve {
            path: path.clone(),
            bytes: geometry.len(),
            error,
        })?;
        let map = Map::new(&file, geometry.len()).map_err(in_file)?;
        map.word32(HEADER_WORKERS).store(workers, Ordering::Relaxed);
        map.word32(HEADER_BLOCKS)
            .store(blocks_per_worker, Ordering::Relaxed);
        map.word64(HEADER_WALL)
            .store(anchor.wall_ns.cast_unsigned(), Ordering::Relaxed);
        map.word64(HEADER_MONO)
            .store(anchor.mono_ns, Ordering::Relaxed);
        map.word64(HEADER_MAGIC).store(MAGIC, Ordering::Release);
        aggregate::create(dir)?;
        fs::rename(&unfinished, &path).map_err(in_file)?;
        Ok(Self::new(map, geometry, file, dir))
    }

    /// Opens the pool that an engine made in `dir`.
    ///
    /// # Errors
    /// [`PoolError`]; [`PoolError::is_absent`] tells that there is none yet.
    pub fn open(dir: &Path) -> Result<Self, PoolError> {
        let path = dir.join("pool");
        let in_file = |error| PoolError::File {
            path: path.clone(),
            error,
        };
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path)
            .map_err(in_file)?;
        let len = file.metadata().map_err(in_file)?.len() as usize;
        if len < BLOCK_BYTES {
            return Err(PoolError::Foreign(path));
        }
        let map = Map::new(&file, len).map_err(in_file)?;
        let geometry = Geometry {
            workers: map.word32(HEADER_WORKERS).load(Ordering::Relaxed),
            blocks_per_worker: map.word32(HEADER_BLOCKS).load(Ordering::Relaxed),
        };
        let ours = map.word64(HEADER_MAGIC).load(Ordering::Acquire) == MAGIC
            && geometry.workers <= MAX_WORKERS
            && geometry.blocks_per_worker <= 1 << 20
            && geometry.len() == len;
        if ours {
            Ok(Self::new(map, geometry, file, dir))
        } else {
            Err(PoolError::Foreign(path))
        }
    }

    fn new(map: Map, geometry: Geometry, file: File, dir: &Path) -> Self {
        let given = (0..geometry.workers)
            .map(|_| AtomicBool::new(false))
            .collect();
        Self {
            shared: Arc::new(Shared {
                map,
                geometry,
                file,
                dir: dir.to_owned(),
                given,
            }),
        }
    }

    /// The writer of a worker's ring; one each.
    ///
    /// # Panics
    /// When there is no such worker, or its writer was given out before.
    pub fn writer(&self, worker: u32) -> RecordWriter {
        let given = self.shared.given.get(worker as usize);
        assert!(
            given.is_some_and(|given| !given.swap(true, Ordering::AcqRel)),
            "each of {} workers has one writer, asked for {worker}",
            self.workers()
        );
        RecordWriter::new(self.clone(), worker)
    }

    /// The writer of aggregates; one.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn aggregates(&self) -> Result<AggregateWriter, PoolError> {
        AggregateWriter::open(&self.shared.dir)
    }

    /// The reader of aggregates, from the beginning of `offset` on.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn aggregates_from(&self, offset: u64) -> Result<AggregateReader, PoolError> {
        AggregateReader::open(&self.shared.dir, offset)
    }

    /// Where steps of step kinds go, as the engine says.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub fn step_urls(&self) -> Result<StepUrls, PoolError> {
        urls::read(&self.shared.dir)
    }

    /// Says that no writer will write any more. Drop or [flush](RecordWriter::flush) them first.
    pub fn finish(&self) {
        self.map()
            .word32(HEADER_FINISHED)
            .store(1, Ordering::Release);
    }

    /// Whether [`Self::finish`] was called.
    pub fn finished(&self) -> bool {
        self.map().word32(HEADER_FINISHED).load(Ordering::Acquire) == 1
    }

    /// Records by fate, over all workers; also after a crash of the engine.
    pub fn counts(&self) -> RecordCounts {
        let mut counts = RecordCounts::default();
        for worker in 0..self.workers() {
            let line = layout::counters(worker);
            // The parts first: the whole rises before them, so that it is never too small.
            let part = |offset| self.map().word64(line + offset).load(Ordering::Acquire);
            counts.sampled_out += part(SAMPLED_OUT);
            counts.dropped += part(DROPPED);
            counts.produced += part(PRODUCED);
        }
        counts
    }

    /// Highest share of any ring that was in use at once: 0 to 1.
    pub fn high_water(&self) -> f64 {
        let most = (0..self.workers())
            .map(|worker| {
                let line = layout::counters(worker);
                self.map().word64(line + HIGH_WATER).load(Ordering::Relaxed)
            })
            .max()
            .unwrap_or_default();
        most as f64 / f64::from(self.geometry().blocks_per_worker)
    }

    /// The engine's clock.
    pub fn anchor(&self) -> Anchor {
        Anchor {
            wall_ns: self
                .map()
                .word64(HEADER_WALL)
                .load(Ordering::Relaxed)
                .cast_signed(),
            mono_ns: self.map().word64(HEADER_MONO).load(Ordering::Relaxed),
        }
    }

    /// How many workers it was made for.
    pub fn workers(&self) -> u32 {
        self.geometry().workers
    }

    fn map(&self) -> &Map {
        &self.shared.map
    }

    fn geometry(&self) -> Geometry {
        self.shared.geometry
    }
}

impl PoolError {
    /// Whether there is no pool yet.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::File { error, .. } if error.kind() == io::ErrorKind::NotFound)
    }
}

#[cfg(test)]
pub(crate) mod tests;
