//! Bits on their way into bytes, the lowest first.

/// Appends bits to bytes.
#[derive(Debug)]
pub(super) struct Bits {
    out: Vec<u8>,
    /// Where the first byte of `held` belongs; what is behind it in `out` is room.
    at: usize,
    /// Those that do not fill a byte yet, and after a `push` more; the next comes above them.
    held: u64,
    count: u32,
}

/// Bytes by which the room grows at least.
const ROOM: usize = 4_096;

impl Bits {
    pub(super) fn new(out: Vec<u8>) -> Self {
        Self {
            at: out.len(),
            out,
            held: 0,
            count: 0,
        }
    }

    /// Appends the lowest `count` bits of `value`, at most 56 until the next `settle`; the others are 0.
    #[inline]
    pub(super) fn push(&mut self, value: u32, count: u32) {
        debug_assert!(count == 32 || value >> count == 0);
        self.held |= u64::from(value) << self.count;
        self.count += count;
    }

    /// Writes the whole bytes of what was pushed. All eight are written without asking how many are
    /// whole, and the others overwritten by the next: a question with a different answer each time
    /// would cost more.
    #[inline]
    pub(super) fn settle(&mut self) {
        let bytes = (self.count / 8) as usize;
        match self.out.get_mut(self.at..self.at + 8) {
            Some(room) => room.copy_from_slice(&self.held.to_le_bytes()),
            None => self.grow(),
        }
        self.at += bytes;
        self.held >>= self.count & !7;
        self.count &= 7;
    }

    #[cold]
    fn grow(&mut self) {
        self.out.resize(self.at + ROOM.max(self.at / 4), 0);
        if let Some(room) = self.out.get_mut(self.at..self.at + 8) {
            room.copy_from_slice(&self.held.to_le_bytes());
        }
    }

    /// The bytes; the last is filled up with 0.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.count = self.count.next_multiple_of(8);
        self.settle();
        self.out.truncate(self.at);
        self.out
    }
}
