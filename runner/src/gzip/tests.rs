use std::io::Read;

use proptest::prelude::*;

use super::compress;

fn decompress(gzip: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    flate2::read::GzDecoder::new(gzip)
        .read_to_end(&mut text)
        .unwrap();
    text
}

/// What is made of it, once it is known to be the same again.
fn proved(text: &[u8]) -> usize {
    let gzip = compress(text);
    assert!(
        decompress(&gzip) == text,
        "{} bytes are not the same again",
        text.len()
    );
    gzip.len()
}

/// Numbers without order.
fn random() -> impl FnMut() -> u64 {
    let mut state = 1_u64;
    move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        state >> 20
    }
}

#[test]
fn documents_that_are_alike_become_small() {
    let mut random = random();
    let documents = (0..2_000).map(|n| {
        let (took, trace, user) = (random() % 1_000, random(), n % 64);
        format!(
            "{{\"host\":{{\"name\":\"runner-0\"}},\"url\":{{\"path\":\"/items\",\"domain\":\"target.shop.svc\"}},\
             \"request\":{{\"name\":\"browse\",\"user\":{user},\"iteration\":{n}}},\"took_us\":{took},\
             \"trace\":\"{trace:016x}\",\"event\":{{\"outcome\":\"success\"}}}}\n"
        )
    });
    let text: String = documents.collect();
    let small = proved(text.as_bytes());
    assert!(
        small * 6 < text.len(),
        "{} bytes became {small}",
        text.len()
    );
}

#[test]
fn nothing_and_little_and_much_of_the_same_get_through() {
    for length in (0..40).chain([
        257, 258, 259, 260, 261, 262, 263, 516, 520, 32_768, 100_000, 300_000,
    ]) {
        proved(&vec![b'a'; length]);
        proved(&vec![b'-'; length]);
        proved(&b"ab-".repeat(length));
    }
}

#[test]
fn noise_does_not_grow_much() {
    let mut random = random();
    let noise: Vec<u8> = (0..200_000).map(|_| random() as u8).collect();
    let size = proved(&noise);
    assert!(size * 100 < noise.len() * 101, "200000 bytes became {size}");
}

/// The counts that make Huffman's tree as deep as can be.
#[test]
fn codes_that_would_be_too_long_are_shortened() {
    let (mut text, mut counts) = (Vec::new(), (1, 1));
    for byte in 0..24 {
        text.extend(vec![byte * 2 + 128; counts.0]);
        counts = (counts.1, counts.0 + counts.1);
    }
    // In an order without repetitions of four.
    let mut random = random();
    for i in (1..text.len()).rev() {
        text.swap(i, random() as usize % (i + 1));
    }
    proved(&text);
}

/// Runs of symbols that do not occur are written in parts of at most 138.
#[test]
fn every_set_of_bytes_gets_through() {
    for gap in 0..=255_u8 {
        proved(&[0, gap, 0, gap, gap, gap.wrapping_add(1)]);
        proved(&(0..=gap).collect::<Vec<_>>());
    }
}

proptest! {
    #[test]
    fn every_text_gets_through(
        parts in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..40), 0_usize..200), 0..60)
    ) {
        proved(&parts.iter().flat_map(|(part, times)| part.repeat(*times)).collect::<Vec<_>>());
    }

    #[test]
    fn lines_that_differ_anywhere_get_through(
        line in "[a-z0-9\":,{}-]{1,400}",
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..300)
    ) {
        let mut text = Vec::new();
        for (place, byte) in changes {
            let mut line = line.clone().into_bytes();
            let place = place.index(line.len());
            line[place] = byte;
            text.extend(line);
        }
        proved(&text);
    }
}
