//! One file of the spool.
//!
//! ```text
//! head    "LTSPOOL" 1 · wall ns · mono ns (the pool's anchor) · first number · crc32 · 0
//! entry   "LTBE" · crc32 of the rest of the head · number · generation · first n · begin ns ·
//!         worker · count · length · crc32 of the records, and the records
//! ```
//! Little endian, words of 64 and 32 bits.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use crate::pool::{Anchor, Block, BlockParts};

/// Bytes before the first entry.
pub(super) const HEAD: u64 = 40;
/// Bytes before the records of an entry.
const ENTRY_HEAD: usize = 56;

const MAGIC: &[u8; 8] = b"LTSPOOL\x01";
const ENTRY_MAGIC: &[u8; 4] = b"LTBE";

/// More than a block of the pool can hold: a longer entry is none.
const MOST_BYTES: u32 = 64 << 10;

/// A segment with its length up to the end of its last whole entry.
#[derive(Debug)]
pub(super) struct Segment {
    file: File,
    path: PathBuf,
    first: u64,
    len: u64,
}

/// What a segment holds.
#[derive(Debug, Default)]
pub(super) struct Scan {
    pub(super) entries: Vec<Scanned>,
    pub(super) damaged_bytes: u64,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Scanned {
    pub(super) number: u64,
    pub(super) offset: u64,
    pub(super) parts: BlockParts,
    len: u32,
    checksum: u32,
}

impl Scanned {
    fn end(&self) -> u64 {
        self.offset + ENTRY_HEAD as u64 + u64::from(self.len)
    }
}

/// The segments of a directory, oldest first.
pub(super) fn files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "segment")
        {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

pub(super) fn path(dir: &Path, first: u64) -> PathBuf {
    dir.join(format!("{first:016x}.segment"))
}

/// A block as an entry. One that is not intact gets a checksum that does not hold either.
pub(super) fn entry_bytes(number: u64, block: &Block) -> Vec<u8> {
    let (parts, records) = block.parts();
    let checksum = crc32fast::hash(records) ^ u32::from(!block.intact);
    let mut rest = Vec::with_capacity(ENTRY_HEAD + records.len());
    for word in [number, parts.generation, parts.first_n, parts.begin_ns] {
        rest.extend_from_slice(&word.to_le_bytes());
    }
    for word in [parts.worker, parts.count, records.len() as u32, checksum] {
        rest.extend_from_slice(&word.to_le_bytes());
    }
    let mut bytes = Vec::with_capacity(ENTRY_HEAD + records.len());
    bytes.extend_from_slice(ENTRY_MAGIC);
    bytes.extend_from_slice(&crc32fast::hash(&rest).to_le_bytes());
    bytes.extend_from_slice(&rest);
    bytes.extend_from_slice(records);
    bytes
}

impl Segment {
    pub(super) fn create(path: &Path, first: u64, anchor: Anchor) -> io::Result<Self> {
        let mut head = MAGIC.to_vec();
        for word in [anchor.wall_ns.cast_unsigned(), anchor.mono_ns, first] {
            head.extend_from_slice(&word.to_le_bytes());
        }
        head.extend_from_slice(&crc32fast::hash(&head).to_le_bytes());
        head.extend_from_slice(&[0; 4]);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(path)?;
        let segment = Self {
            file,
            path: path.to_owned(),
            first,
            len: HEAD,
        };
        if let Err(error) = segment.file.write_all_at(&head, 0) {
            // Half a head would be taken for another run's.
            let _ = fs::remove_file(path);
            return Err(error);
        }
        Ok(segment)
    }

    /// `None` when it is of another pool, or has no whole head.
    pub(super) fn open(path: &Path, anchor: Anchor) -> io::Result<Option<Self>> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let len = file.metadata()?.len();
        let mut head = [0; HEAD as usize];
        if len < HEAD {
            return Ok(None);
        }
        file.read_exact_at(&mut head, 0)?;
        let mut words = Words(&head);
        let (magic, checked) = (words.bytes(8), head.get(..32).unwrap_or_default());
        let (wall, mono, first) = (words.long(), words.long(), words.long());
        let ours = magic == MAGIC
            && wall == anchor.wall_ns.cast_unsigned()
            && mono == anchor.mono_ns
            && words.short() == crc32fast::hash(checked);
        Ok(ours.then(|| Self {
            file,
            path: path.to_owned(),
            first,
            len,
        }))
    }

    /// Every whole entry. Cuts what is half at the end; `held` tells whether the pool still has a
    /// block, so that a last entry whose records are not whole can be cut as well.
    pub(super) fn scan(&mut self, held: impl Fn(&BlockParts) -> bool) -> io::Result<Scan> {
        let mut scan = Scan::default();
        let mut at = HEAD;
        while let Some((entry, skipped)) = self.next_entry(at)? {
            scan.damaged_bytes += skipped;
            at = entry.end();
            scan.entries.push(entry);
        }
        if let Some(last) = scan.entries.last()
            && held(&last.parts)
            && !self.read(last.offset)?.intact
        {
            at = last.offset;
            scan.entries.pop();
        }
        self.file.set_len(at)?;
        self.len = at;
        Ok(scan)
    }

    /// The first entry at or after an offset, and how many bytes before it are none.
    fn next_entry(&self, at: u64) -> io::Result<Option<(Scanned, u64)>> {
        if let Some(entry) = self.entry_at(at)? {
            return Ok(Some((entry, 0)));
        }
        let Some(left) = self.len.checked_sub(at).filter(|left| *left > 0) else {
            return Ok(None);
        };
        let mut rest = vec![0; left as usize];
        self.file.read_exact_at(&mut rest, at)?;
        for found in memchr::memmem::find_iter(&rest, ENTRY_MAGIC) {
            if let Some(entry) = self.entry_at(at + found as u64)? {
                return Ok(Some((entry, found as u64)));
            }
        }
        Ok(None)
    }

    /// The entry whose head lies at an offset, if the file has all of it.
    fn entry_at(&self, offset: u64) -> io::Result<Option<Scanned>> {
        let mut head = [0; ENTRY_HEAD];
        if offset + ENTRY_HEAD as u64 > self.len {
            return Ok(None);
        }
        self.file.read_exact_at(&mut head, offset)?;
        let mut words = Words(&head);
        let (magic, checksum) = (words.bytes(4) == ENTRY_MAGIC, words.short());
        if !magic || crc32fast::hash(words.0) != checksum {
            return Ok(None);
        }
        let (number, generation, first_n, begin_ns) =
            (words.long(), words.long(), words.long(), words.long());
        let (worker, count) = (words.short(), words.short());
        let entry = Scanned {
            number,
            offset,
            parts: BlockParts {
                worker,
                generation,
                count,
                begin_ns,
                first_n,
            },
            len: words.short(),
            checksum: words.short(),
        };
        Ok((entry.len <= MOST_BYTES && entry.end() <= self.len).then_some(entry))
    }

    pub(super) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, self.len).inspect_err(|_| {
            // What was written of it takes room that is wanted elsewhere.
            let _ = self.file.set_len(self.len);
        })?;
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// The block of the entry at an offset.
    ///
    /// # Errors
    /// When the file cannot be read, or there is no entry any more.
    pub(super) fn read(&self, offset: u64) -> io::Result<Block> {
        let Some(entry) = self.entry_at(offset)? else {
            return Err(io::Error::other("the head of an entry is damaged"));
        };
        let mut records = vec![0; entry.len as usize];
        self.file
            .read_exact_at(&mut records, offset + ENTRY_HEAD as u64)?;
        let whole = crc32fast::hash(&records) == entry.checksum;
        Ok(Block::restored(&entry.parts, records, whole))
    }

    pub(super) fn first(&self) -> u64 {
        self.first
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// Takes numbers from the front of bytes; zeros when there are no more.
struct Words<'a>(&'a [u8]);

impl<'a> Words<'a> {
    fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (front, rest) = self.0.split_at_checked(count).unwrap_or_default();
        self.0 = rest;
        front
    }

    fn short(&mut self) -> u32 {
        self.bytes(4).try_into().map_or(0, u32::from_le_bytes)
    }

    fn long(&mut self) -> u64 {
        self.bytes(8).try_into().map_or(0, u64::from_le_bytes)
    }
}
