//! A file mapped into two processes at once: the only unsafe code of the pool.
//!
//! Safety argument, in one place: a [`Map`] owns its mapping until it is dropped, every access is
//! checked against its length, and shared words are only ever reached as atomics. Plain bytes are
//! reached by [`Map::write`] and [`Map::bytes`], which are private to the pool: its block states
//! hand a block's bytes to exactly one side at a time (`Free` and `Filling` to the writer, `Full`
//! to the reader), with Release on the way out and Acquire on the way in.
#![allow(unsafe_code)]

use std::{
    fs::File,
    io,
    os::fd::AsRawFd,
    ptr::NonNull,
    sync::atomic::{AtomicU32, AtomicU64},
};

/// A shared mapping of a whole file.
#[derive(Debug)]
pub(super) struct Map {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the mapping belongs to no thread; see the module's safety argument for its contents.
unsafe impl Send for Map {}
// SAFETY: as above.
unsafe impl Sync for Map {}

impl Map {
    /// Maps `len` bytes of `file`, every page present, so that no later access waits for one.
    ///
    /// # Errors
    /// What `mmap` says.
    pub(super) fn new(file: &File, len: usize) -> io::Result<Self> {
        // SAFETY: a fresh mapping at an address of the kernel's choice aliases nothing of ours.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_POPULATE,
                file.as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or_else(io::Error::last_os_error)?;
        Ok(Self { start, len })
    }

    /// The word at `offset`, shared with the other process.
    pub(super) fn word32(&self, offset: usize) -> &AtomicU32 {
        assert!(
            offset.is_multiple_of(4) && offset + 4 <= self.len,
            "word outside the pool"
        );
        // SAFETY: in bounds and aligned (the mapping starts on a page), and never reached as
        // anything but an atomic.
        unsafe { AtomicU32::from_ptr(self.start.as_ptr().add(offset).cast()) }
    }

    /// The double word at `offset`, shared with the other process.
    pub(super) fn word64(&self, offset: usize) -> &AtomicU64 {
        assert!(
            offset.is_multiple_of(8) && offset + 8 <= self.len,
            "word outside the pool"
        );
        // SAFETY: as in `word32`.
        unsafe { AtomicU64::from_ptr(self.start.as_ptr().add(offset).cast()) }
    }

    /// Writes bytes that this side owns.
    pub(super) fn write(&self, offset: usize, bytes: &[u8]) {
        assert!(
            bytes.len() <= self.len && offset <= self.len - bytes.len(),
            "write outside the pool"
        );
        // SAFETY: in bounds; `bytes` cannot overlap the mapping's part that this side owns
        // exclusively, because nobody holds a reference to it while writing.
        unsafe {
            std::ptr::copy_nonoverlapping(
                bytes.as_ptr(),
                self.start.as_ptr().add(offset),
                bytes.len(),
            );
        }
    }

    /// Bytes that this side owns and does not write while it looks at them.
    pub(super) fn bytes(&self, offset: usize, len: usize) -> &[u8] {
        assert!(
            len <= self.len && offset <= self.len - len,
            "read outside the pool"
        );
        // SAFETY: in bounds, initialised (a file's pages are), and not written meanwhile.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr().add(offset), len) }
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: this is the mapping that `new` made, and nothing borrows from it any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}

/// Gives `len` bytes to a file now, so that no later write can fail for want of space.
///
/// # Errors
/// What the file system says, above all that there is no space.
pub(super) fn reserve(file: &File, len: u64) -> io::Result<()> {
    let len = libc::off_t::try_from(len).map_err(io::Error::other)?;
    // SAFETY: a plain call on a descriptor that is open.
    match unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, len) } {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(code)),
    }
}

/// Gives the memory behind `0..len` of a file back, keeps its length.
///
/// # Errors
/// What the file system says; some cannot do it.
pub(super) fn give_back(file: &File, len: u64) -> io::Result<()> {
    let len = libc::off_t::try_from(len).map_err(io::Error::other)?;
    let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    // SAFETY: a plain call on a descriptor that is open.
    match unsafe { libc::fallocate(file.as_raw_fd(), mode, 0, len) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
