//! The lane of aggregates: a file of intervals and samples, each with its length and checksum before
//! it.
//!
//! Never dropped, so it lives in a file that can grow instead of in blocks; what the exporter has
//! delivered gives its memory back.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use loadtest_core::{
    report::{GeneratorHealth, RecordCounts, UnixMicros, decode, encode},
    series::SeriesSet,
};
use serde::{Deserialize, Serialize};

use super::{FailureSample, PoolError, map};

/// Bytes before an entry: length and crc32, little endian.
const PREFIX: usize = 8;

/// What a runner measured in one interval of the wall-clock grid.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// From 0, one more each.
    pub sequence: u64,
    /// Begin, Unix microseconds.
    pub start_us: UnixMicros,
    /// End, Unix microseconds.
    pub end_us: UnixMicros,
    /// Whether it is shorter than the grid: the first and the last.
    pub partial: bool,
    /// Warm-up or load; a time that has some of both has an interval for each.
    pub stage: Stage,
    /// What was measured, by time of completion.
    pub set: SeriesSet,
    /// Users at its end.
    pub users: u32,
    /// Raw records, cumulative at its end.
    pub records: RecordCounts,
    /// The generator at its end.
    pub health: GeneratorHealth,
}

/// The part of a run that something belongs to, by when it was to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Stage {
    /// In no summary and no threshold.
    WarmUp,
    /// What is judged.
    Load,
}

impl Stage {
    /// The word in documents.
    pub fn name(self) -> &'static str {
        match self {
            Self::WarmUp => "warm-up",
            Self::Load => "load",
        }
    }
}

/// What is in the lane.
#[derive(Serialize)]
enum Written<'a> {
    Interval(&'a Interval),
    Sample(&'a FailureSample),
}

/// The same, as it is read.
#[derive(Deserialize)]
enum Entry {
    Interval(Box<Interval>),
    Sample(Box<FailureSample>),
}

fn path(dir: &Path) -> PathBuf {
    dir.join("aggregates")
}

/// Makes the empty file, in place of any that was there.
pub(super) fn create(dir: &Path) -> Result<(), PoolError> {
    let path = path(dir);
    match File::create(&path) {
        Ok(_) => Ok(()),
        Err(error) => Err(PoolError::File { path, error }),
    }
}

/// Appends to the lane.
#[derive(Debug)]
pub struct AggregateWriter {
    file: File,
    path: PathBuf,
}

impl AggregateWriter {
    pub(super) fn open(dir: &Path) -> Result<Self, PoolError> {
        let path = path(dir);
        match OpenOptions::new().append(true).open(&path) {
            Ok(file) => Ok(Self { file, path }),
            Err(error) => Err(PoolError::File { path, error }),
        }
    }

    /// Appends an interval.
    ///
    /// # Errors
    /// When it cannot be written, above all because the memory is full.
    pub fn append(&mut self, interval: &Interval) -> Result<(), PoolError> {
        self.write(&Written::Interval(interval))
    }

    /// Appends a sample.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub fn append_sample(&mut self, sample: &FailureSample) -> Result<(), PoolError> {
        self.write(&Written::Sample(sample))
    }

    fn write(&mut self, entry: &Written<'_>) -> Result<(), PoolError> {
        let body = encode(entry)?;
        let mut bytes = Vec::with_capacity(PREFIX + body.len());
        bytes.extend_from_slice(&(body.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&crc32fast::hash(&body).to_le_bytes());
        bytes.extend_from_slice(&body);
        let in_file = |error| PoolError::File {
            path: self.path.clone(),
            error,
        };
        let before = self.file.metadata().map_err(in_file)?.len();
        self.file.write_all(&bytes).map_err(|error| {
            // A half-written entry would hide all after it.
            let _ = self.file.set_len(before);
            in_file(error)
        })
    }
}

/// Reads the lane as it grows.
#[derive(Debug)]
pub struct AggregateReader {
    file: File,
    path: PathBuf,
    offset: u64,
}

/// What a read found.
#[derive(Debug)]
pub enum Next {
    /// An interval.
    Interval(Box<Interval>),
    /// A sample.
    Sample(Box<FailureSample>),
    /// Nothing more at present.
    End,
    /// Bytes that are neither; they were passed over.
    Damaged,
}

impl AggregateReader {
    pub(super) fn open(dir: &Path, offset: u64) -> Result<Self, PoolError> {
        let path = path(dir);
        match OpenOptions::new().read(true).write(true).open(&path) {
            Ok(file) => Ok(Self { file, path, offset }),
            Err(error) => Err(PoolError::File { path, error }),
        }
    }

    /// Where the next entry begins.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Goes back to where an entry begins.
    pub fn go_back_to(&mut self, offset: u64) {
        self.offset = offset;
    }

    /// The next entry.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn next_entry(&mut self) -> Result<Next, PoolError> {
        self.read().map_err(|error| PoolError::File {
            path: self.path.clone(),
            error,
        })
    }

    fn read(&mut self) -> io::Result<Next> {
        let available = self.file.metadata()?.len().saturating_sub(self.offset);
        let mut prefix = [0; PREFIX];
        if available < PREFIX as u64 {
            return Ok(Next::End);
        }
        self.file.read_exact_at(&mut prefix, self.offset)?;
        let [l0, l1, l2, l3, c0, c1, c2, c3] = prefix;
        let (len, checksum) = (
            u32::from_le_bytes([l0, l1, l2, l3]),
            u32::from_le_bytes([c0, c1, c2, c3]),
        );
        // A writer appends in one call, but a call may be cut by a signal that kills it.
        if available < PREFIX as u64 + u64::from(len) {
            return Ok(Next::End);
        }
        let mut body = vec![0; len as usize];
        self.file
            .read_exact_at(&mut body, self.offset + PREFIX as u64)?;
        self.offset += PREFIX as u64 + u64::from(len);
        if crc32fast::hash(&body) != checksum {
            return Ok(Next::Damaged);
        }
        Ok(match decode(&body) {
            Ok(Entry::Interval(interval)) => Next::Interval(interval),
            Ok(Entry::Sample(sample)) => Next::Sample(sample),
            Err(_) => Next::Damaged,
        })
    }

    /// Gives back the memory of all bytes before `offset`, which are not needed again.
    pub fn forget_before(&self, offset: u64) {
        if let Err(error) = map::give_back(&self.file, offset) {
            tracing::debug!(%error, "the memory of delivered aggregates stays in use");
        }
    }
}
