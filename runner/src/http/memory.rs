//! Heads of answers to one request are mostly the same to the byte, for as long as the `Date` is.

use super::head::Head;

/// Heads longer than this are not remembered: they are rare, and hardly two of them alike.
const MAX_REMEMBERED_BYTES: usize = 1 << 10;

/// The last head that was read, and what it said: a response that begins with the same bytes says
/// the same, and comparing takes a fraction of what reading takes.
///
/// One for each kind of request is best, shared by all connections of a thread. It can never change
/// what comes of an input: what a head means depends on its bytes only, and on whether the request
/// was a `HEAD`, which is remembered too.
#[derive(Debug, Default)]
pub struct HeadMemory {
    bytes: Vec<u8>,
    read: Option<(bool, Head)>,
}

impl HeadMemory {
    /// One that remembers nothing yet.
    pub const fn new() -> Self {
        Self {
            bytes: Vec::new(),
            read: None,
        }
    }

    #[inline]
    pub(super) fn recall(&self, bytes: &[u8], head_request: bool) -> Option<Head> {
        match self.read {
            Some((asked, head)) if asked == head_request && bytes.starts_with(&self.bytes) => {
                Some(head)
            }
            _ => None,
        }
    }

    pub(super) fn remember(&mut self, bytes: &[u8], head_request: bool, head: Head) {
        if let Some(bytes) = bytes.get(..head.len)
            && bytes.len() <= MAX_REMEMBERED_BYTES
            && head.status >= 200
        {
            self.bytes.clear();
            self.bytes.extend_from_slice(bytes);
            self.read = Some((head_request, head));
        }
    }
}
