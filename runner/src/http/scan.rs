//! Finds where a name or a value ends: eight bytes at a time where it is made of what it usually is,
//! byte by byte otherwise.
//!
//! Most of what a head costs is to make sure that no byte of it is one that must not be there. A
//! word of eight bytes is looked at with the arithmetic of one number: carries never cross from one
//! byte to the next, so that each byte's highest bit tells of that byte alone.

/// How many bytes at the beginning are letters and hyphens, as all of most names are. It may be
/// less, for want of eight bytes at the end.
#[inline]
pub(super) fn letters(bytes: &[u8]) -> usize {
    run(bytes, other_than_letter_or_hyphen)
}

/// How many bytes at the beginning are no controls, as all of most values are; or less, as above.
#[inline]
pub(super) fn text(bytes: &[u8]) -> usize {
    run(bytes, control)
}

/// Splits where the first byte is that a header's name cannot have, or at the end.
pub(super) fn name(bytes: &[u8]) -> (&[u8], &[u8]) {
    split(bytes, is_token)
}

/// Splits where the first byte is that a header's value or a reason cannot have, which is the line's
/// end if all is well, or at the end.
pub(super) fn value(bytes: &[u8]) -> (&[u8], &[u8]) {
    split(bytes, |byte| byte == b'\t' || !byte.is_ascii_control())
}

fn split(bytes: &[u8], belongs: impl Fn(u8) -> bool) -> (&[u8], &[u8]) {
    let end = bytes.iter().position(|byte| !belongs(*byte));
    bytes.split_at(end.unwrap_or(bytes.len()))
}

/// A byte of a header's name (RFC 9110, 5.6.2).
pub(super) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Index of the first byte that is marked, or of the last few if none is.
#[inline]
fn run(bytes: &[u8], marks: impl Fn(u64) -> u64) -> usize {
    let mut rest = bytes;
    while let Some((word, after)) = rest.split_first_chunk() {
        let marked = marks(u64::from_le_bytes(*word));
        if marked != 0 {
            return bytes.len() - rest.len() + marked.trailing_zeros() as usize / 8;
        }
        rest = after;
    }
    bytes.len() - rest.len()
}

const fn each(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

/// Marks, with their highest bit, the bytes that are neither letter nor hyphen.
#[inline]
fn other_than_letter_or_hyphen(word: u64) -> u64 {
    let low = (word | each(0x20)) & each(0x7f);
    let letter = (low + each(0x80 - b'a')) & !(low + each(0x7f - b'z'));
    let other = (word ^ each(b'-')) & each(0x7f);
    let not_hyphen = other + each(0x7f);
    (word | (!letter & not_hyphen)) & each(0x80)
}

/// Marks, with their highest bit, the controls: tabs too, which may be in a value and seldom are.
#[inline]
fn control(word: u64) -> u64 {
    let low = word & each(0x7f);
    ((low + each(1)) | !(low + each(0x60))) & !word & each(0x80)
}
