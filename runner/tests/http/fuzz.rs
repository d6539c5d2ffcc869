//! Mutated responses by the ten thousand: nothing panics, nothing loops, nothing is made up.
//! Deterministic: the seed of a failing input is printed and gives it again.

use std::{
    cell::RefCell,
    time::{Duration, Instant},
};

use loadtest_runner::http::HeadMemory;

use crate::{
    corpus, outcome,
    samples::{BAD, GOOD},
};

const INPUTS: u64 = 20_000;

/// `SplitMix64`: enough chance for this, and the same on every machine.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}

/// Pieces that parsers trip over.
const TOKENS: &[&[u8]] = &[
    b"\r\n",
    b"\r",
    b"\n",
    b"\0",
    b" ",
    b"\t",
    b":",
    b";",
    b",",
    b"0\r\n\r\n",
    b"ffffffffffffffff\r\n",
    b"Content-Length: 18446744073709551615\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Connection: close\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 ",
    b"\xff\xfe",
];

/// The samples and the corpus.
fn seeds() -> Vec<Vec<u8>> {
    let samples = GOOD.iter().chain(BAD).map(|text| text.as_bytes().to_vec());
    samples.chain(corpus::answers().into_values()).collect()
}

fn mutated(seeds: &[Vec<u8>], chance: &mut Chance) -> Vec<u8> {
    let all = seeds.len();
    let pick = |n: usize| seeds[n].as_slice();
    let mut input = pick(chance.below(all)).to_vec();
    for _ in 0..=chance.below(4) {
        let at = chance.below(input.len() + 1);
        match chance.below(6) {
            0 if at < input.len() => input[at] = chance.next() as u8,
            1 if at < input.len() => input[at] ^= 1 << chance.below(8),
            2 => input.truncate(at),
            3 => {
                let end = (at + chance.below(8)).min(input.len());
                input.drain(at..end);
            }
            4 => {
                let other = pick(chance.below(all));
                let from = chance.below(other.len() + 1);
                input.splice(at..at, other[from..].iter().copied());
            }
            _ => {
                input.splice(at..at, TOKENS[chance.below(TOKENS.len())].iter().copied());
            }
        }
    }
    input
}

#[test]
fn mutated_responses_never_panic_or_loop_and_any_split_gives_the_same_result() {
    let began = Instant::now();
    let seeds = seeds();
    // Shared by all: what it remembers of one must never show in another.
    let memory = RefCell::new(HeadMemory::new());
    for seed in 0..INPUTS {
        let mut chance = Chance(seed);
        let input = mutated(&seeds, &mut chance);
        let head_request = chance.below(8) == 0;
        let size = 1 + chance.below(input.len().max(1));
        let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let whole = outcome::of_pieces(head_request, [input.as_slice()]);
            assert_eq!(outcome::of_pieces(head_request, input.chunks(size)), whole);
            let memory = &mut memory.borrow_mut();
            let remembered = outcome::remembering(head_request, [input.as_slice()], memory);
            assert_eq!(remembered, whole, "with a memory of heads");
            assert!(whole.body.len() <= input.len(), "a body was made up");
            assert!(!whole.keep_alive || matches!(whole.end, Ok(Some(end)) if end == input.len()));
        }));
        assert!(
            checked.is_ok(),
            "seed {seed}: {:?}",
            String::from_utf8_lossy(&input)
        );
    }
    assert!(
        began.elapsed() < Duration::from_mins(1),
        "it takes {:?}",
        began.elapsed()
    );
}
