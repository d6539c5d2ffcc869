//! Blocks that wait on disk while the sink is slow or away, so that the pool's memory never fills
//! because of it.
//!
//! A directory of append-only segments. A segment begins with a head that names the pool it
//! belongs to; then one entry after the other, each a head of 56 bytes and the packed records as
//! they lay in the pool. Segments are named after their first entry and deleted whole.
//!
//! Laws
//! - Entries have numbers that rise by one and are never used twice. Which of them are settled is
//!   not in here but in the pool's ledger ([`Mark`]), so that a count and the entry it comes from
//!   change in one step. A segment is deleted when the *written* ledger has settled all of it.
//! - A block is freed in the pool only after its entry is whole. Killed in between, the exporter
//!   finds it in both places at its next start and frees the one in the pool.
//! - Half an entry at the end of a segment is what a kill left: it is cut, its block is still in
//!   the pool. Bytes in the middle that are no entry are passed over; what they held is missing in
//!   the law and becomes `lost`.
//! - Nothing is forced to the disk: the ledger lies in memory, and with the machine both are gone.

mod segment;

use std::{
    collections::{HashSet, VecDeque},
    fs, io,
    path::{Path, PathBuf},
};

use crate::pool::{Anchor, Block, BlockParts};
use segment::{Segment, entry_bytes};

/// A segment's usual size: small enough that little of the limit is kept by settled entries.
const SEGMENT_BYTES: u64 = 32 << 20;
/// Of a spool with a limit so small that a few segments would use it up.
const LEAST_SEGMENT_BYTES: u64 = 256 << 10;
/// The limit is at least this many segments.
const SEGMENTS: u64 = 8;

/// Entries from the first that is not settled which may be under way or settled: the bits of
/// [`Mark::done`].
const WINDOW: u64 = 64;

/// Most blocks that may be under way from the pool: each may become an entry behind those that are
/// taken from here, and its bit is wanted too.
pub(super) const MOST_FROM_POOL: usize = 4;

/// What was found for one take.
#[derive(Debug)]
pub(super) enum Take {
    /// An entry with its number.
    Block(u64, Block),
    /// Nobody waits here.
    Empty,
    /// Not before an older entry is settled.
    NotYet,
}

/// Why a block cannot be kept.
#[derive(Debug, thiserror::Error)]
pub(super) enum SpoolError {
    /// The limit is reached.
    #[error("the disk spool is full: {0} bytes are allowed by spoolLimit")]
    Full(u64),
    /// The disk has no room, or no more for us.
    #[error(
        "the disk of the spool is full: {}: {error}; make room on it, put the spool on a larger one \
         (--spool), or export fewer requests (results.elasticsearch.raw)",
        path.display()
    )]
    DiskFull {
        /// Which file or directory.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The disk does not take it.
    #[error("the disk spool cannot be used: {}: {error}", path.display())]
    File {
        /// Which file or directory.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

impl SpoolError {
    fn at(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        move |error| {
            let path = path.to_owned();
            match error.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    Self::DiskFull { path, error }
                }
                _ => Self::File { path, error },
            }
        }
    }
}

/// Which entries are settled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Mark {
    /// All before this number.
    pub(super) low: u64,
    /// And of the 64 from there on those whose bit is set.
    pub(super) done: u64,
}

impl Mark {
    fn settles(self, number: u64) -> bool {
        let place = number.checked_sub(self.low);
        place.is_none_or(|place| place < WINDOW && self.done >> place & 1 == 1)
    }
}

/// What an exporter finds that was killed.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Worker and generation of every entry that is not settled.
    pub(super) blocks: HashSet<(u32, u64)>,
    /// Of those, what may have been under way.
    pub(super) suspects: HashSet<(u32, u64)>,
    /// Bytes in the middle of segments that are no entries.
    pub(super) damaged_bytes: u64,
}

/// The spool.
#[derive(Debug)]
pub(super) struct Spool {
    dir: PathBuf,
    anchor: Anchor,
    limit: u64,
    segments: VecDeque<Segment>,
    /// Every entry from the first that is not settled on.
    entries: VecDeque<Entry>,
    /// Number of the next entry.
    next: u64,
    /// Bytes of all segments.
    used: u64,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    number: u64,
    /// First number of its segment.
    segment: u64,
    offset: u64,
    /// How many records it has: known also when it cannot be read any more.
    count: u32,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    Taken,
    Done,
}

impl Spool {
    /// The spool of a pool in `dir`, with what was left there; what belongs to another pool is
    /// deleted. `held` tells whether the pool still has a block.
    ///
    /// # Errors
    /// When the directory cannot be made or read, or a segment cannot be opened.
    pub(super) fn open(
        dir: &Path,
        anchor: Anchor,
        limit: u64,
        mark: Mark,
        held: impl Fn(&BlockParts) -> bool,
    ) -> Result<(Self, Found), SpoolError> {
        fs::create_dir_all(dir).map_err(SpoolError::at(dir))?;
        let mut spool = Self {
            dir: dir.to_owned(),
            anchor,
            limit,
            segments: VecDeque::new(),
            entries: VecDeque::new(),
            next: mark.low,
            used: 0,
        };
        let mut found = Found::default();
        for path in segment::files(dir).map_err(SpoolError::at(dir))? {
            spool
                .recover(&path, mark, &held, &mut found)
                .map_err(SpoolError::at(&path))?;
        }
        // Beyond every bit of the mark: a new entry must not look settled.
        let beyond = WINDOW - u64::from(mark.done.leading_zeros());
        spool.next = spool.next.max(mark.low + beyond);
        Ok((spool, found))
    }

    /// Whether the disk takes something now. Apart from [`Self::open`]: what lies on a disk that
    /// is full can be read all the same.
    ///
    /// # Errors
    /// When it does not.
    pub(super) fn try_disk(&self) -> Result<(), SpoolError> {
        let trial = self.dir.join("trial");
        fs::write(&trial, b"")
            .and_then(|()| fs::remove_file(&trial))
            .map_err(SpoolError::at(&trial))
    }

    fn recover(
        &mut self,
        path: &Path,
        mark: Mark,
        held: impl Fn(&BlockParts) -> bool,
        found: &mut Found,
    ) -> io::Result<()> {
        let Some(mut segment) = Segment::open(path, self.anchor)? else {
            tracing::warn!(path = %path.display(), "a spool segment of another run is deleted");
            return fs::remove_file(path);
        };
        let scan = segment.scan(held)?;
        found.damaged_bytes += scan.damaged_bytes;
        for scanned in scan.entries {
            self.next = self.next.max(scanned.number + 1);
            if scanned.number < mark.low {
                continue;
            }
            let done = mark.settles(scanned.number);
            if !done {
                let BlockParts {
                    worker, generation, ..
                } = scanned.parts;
                found.blocks.insert((worker, generation));
                if scanned.number < mark.low + WINDOW {
                    found.suspects.insert((worker, generation));
                }
            }
            self.entries.push_back(Entry {
                number: scanned.number,
                segment: segment.first(),
                offset: scanned.offset,
                count: scanned.parts.count,
                // Also what is settled: the next mark has to say so again.
                state: if done { State::Done } else { State::Waiting },
            });
        }
        self.used += segment.len();
        self.segments.push_back(segment);
        Ok(())
    }

    /// Keeps a block; answers the number of its entry.
    ///
    /// # Errors
    /// When the limit is reached or the disk refuses; nothing has changed then.
    pub(super) fn append(&mut self, block: &Block) -> Result<u64, SpoolError> {
        let bytes = entry_bytes(self.next, block);
        let len = bytes.len() as u64;
        if self.used + len + segment::HEAD > self.limit {
            return Err(SpoolError::Full(self.limit));
        }
        let most = (self.limit / SEGMENTS).clamp(LEAST_SEGMENT_BYTES, SEGMENT_BYTES);
        if self
            .segments
            .back()
            .is_none_or(|segment| segment.len() + len > most)
        {
            self.begin_segment()?;
        }
        let number = self.next;
        let Some(segment) = self.segments.back_mut() else {
            return Err(SpoolError::Full(self.limit));
        };
        let offset = segment.len();
        segment
            .append(&bytes)
            .map_err(SpoolError::at(segment.path()))?;
        self.used += len;
        self.next += 1;
        self.entries.push_back(Entry {
            number,
            segment: segment.first(),
            offset,
            count: block.count,
            state: State::Waiting,
        });
        Ok(number)
    }

    fn begin_segment(&mut self) -> Result<(), SpoolError> {
        let path = segment::path(&self.dir, self.next);
        let segment =
            Segment::create(&path, self.next, self.anchor).map_err(SpoolError::at(&path))?;
        self.used += segment.len();
        self.segments.push_back(segment);
        Ok(())
    }

    /// The oldest entry that nobody has taken.
    pub(super) fn take(&mut self) -> Take {
        let end = self.low() + WINDOW - MOST_FROM_POOL as u64;
        let waiting = |entry: &&mut Entry| entry.state == State::Waiting;
        let Some(entry) = self.entries.iter_mut().find(waiting) else {
            return Take::Empty;
        };
        if entry.number >= end {
            return Take::NotYet;
        }
        entry.state = State::Taken;
        let entry = *entry;
        Take::Block(entry.number, self.read(entry))
    }

    /// Whether a block that is under way may become an entry.
    pub(super) fn has_bit_for_next(&self) -> bool {
        self.next < self.low() + WINDOW
    }

    fn low(&self) -> u64 {
        self.entries.front().map_or(self.next, |entry| entry.number)
    }

    /// An entry that cannot be read is a block that is not intact.
    fn read(&self, entry: Entry) -> Block {
        let segment = self
            .segments
            .iter()
            .find(|segment| segment.first() == entry.segment);
        let block = segment.map(|segment| segment.read(entry.offset));
        if let Some(Err(error)) = &block {
            tracing::error!(%error, dir = %self.dir.display(), "a spooled block cannot be read");
        }
        block.and_then(Result::ok).unwrap_or_else(|| {
            let parts = BlockParts {
                count: entry.count,
                ..BlockParts::default()
            };
            Block::restored(&parts, Vec::new(), false)
        })
    }

    /// Says that somebody has the records of an entry already.
    pub(super) fn taken(&mut self, number: u64) {
        self.set(number, State::Taken);
    }

    /// Settles an entry; the mark belongs into the ledger, and after that comes
    /// [`Self::forget_settled`].
    pub(super) fn settle(&mut self, number: u64) -> Mark {
        self.set(number, State::Done);
        while self
            .entries
            .front()
            .is_some_and(|entry| entry.state == State::Done)
        {
            self.entries.pop_front();
        }
        let low = self.low();
        let bits = self
            .entries
            .iter()
            .take_while(|entry| entry.number < low + WINDOW)
            .filter(|entry| entry.state == State::Done)
            .fold(0, |bits, entry| bits | 1 << (entry.number - low));
        Mark { low, done: bits }
    }

    /// Deletes the segments whose entries are all settled.
    pub(super) fn forget_settled(&mut self) {
        let low = self.low();
        loop {
            let end = self.segments.get(1).map_or(self.next, Segment::first);
            let settled = |segment: &mut Segment| end <= low && segment.first() < end;
            let Some(segment) = self.segments.pop_front_if(settled) else {
                return;
            };
            self.used = self.used.saturating_sub(segment.len());
            if let Err(error) = fs::remove_file(segment.path()) {
                tracing::warn!(%error, path = %segment.path().display(), "cannot delete a spool segment");
            }
        }
    }

    /// Deletes everything.
    pub(super) fn remove(&mut self) {
        for segment in self.segments.drain(..) {
            let _ = fs::remove_file(segment.path());
        }
        self.entries.clear();
        self.used = 0;
        // Only if nobody else put something there.
        let _ = fs::remove_dir(&self.dir);
    }

    /// Bytes on disk.
    #[cfg(test)]
    pub(super) fn used(&self) -> u64 {
        self.used
    }

    fn set(&mut self, number: u64, state: State) {
        if let Ok(place) = self
            .entries
            .binary_search_by_key(&number, |entry| entry.number)
            && let Some(entry) = self.entries.get_mut(place)
        {
            entry.state = state;
        }
    }
}

#[cfg(test)]
mod tests;
