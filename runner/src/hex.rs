//! Hex digits, of which every request and every document has many.

/// The 16 lower-case hex digits of a number, eight at a time.
#[inline]
pub fn digits(number: u64) -> [u8; 16] {
    let mut text = [0; 16];
    let (high, low) = text.split_at_mut(8);
    high.copy_from_slice(&eight((number >> 32) as u32));
    low.copy_from_slice(&eight(number as u32));
    text
}

#[inline]
fn eight(number: u32) -> [u8; 8] {
    const ONES: u64 = 0x0101_0101_0101_0101;
    // A digit in each byte, the first in the highest.
    let spread = u64::from(number);
    let spread = (spread | spread << 16) & 0x0000_ffff_0000_ffff;
    let spread = (spread | spread << 8) & 0x00ff_00ff_00ff_00ff;
    let spread = (spread | spread << 4) & (0x0f * ONES);
    // 1 in each byte that is ten or more: a letter, which is 39 characters further.
    let letters = (spread + 6 * ONES) >> 4 & ONES;
    (spread + u64::from(b'0') * ONES + letters * u64::from(b'a' - b'0' - 10)).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_what_the_standard_library_writes() {
        let mut number = 1_u64;
        for _ in 0..10_000 {
            number = number
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            assert_eq!(
                digits(number).as_slice(),
                format!("{number:016x}").as_bytes()
            );
        }
    }
}
