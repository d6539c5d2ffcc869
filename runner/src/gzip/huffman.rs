//! Codes that are short for what is frequent, and a block that is written with them.

use super::{
    bits::Bits,
    tokens::{DISTANCES, END, LITERALS, Tokens, distance_code, length_code},
};

/// Most bits of a code, and of a code for the lengths of codes.
const MOST_BITS: usize = 15;
const MOST_BITS_OF_LENGTHS: usize = 7;

/// The order in which the lengths of the codes for lengths are written.
const ORDER: [usize; 19] = [
    16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15,
];

/// Writes the block that the tokens are at.
pub(super) fn write_block(bits: &mut Bits, tokens: &Tokens<'_>, last: bool) {
    let literals = Code::new::<MOST_BITS>(&tokens.literals);
    let distances = Code::new::<MOST_BITS>(&tokens.distances);
    bits.push(u32::from(last), 1);
    bits.push(2, 2); // with codes of its own
    write_codes(bits, &literals, &distances);
    for token in tokens.block() {
        match token.get() {
            Ok(byte) => literals.push(bits, usize::from(byte)),
            Err((length, distance)) => {
                let (symbol, extra, count) = length_code(length);
                literals.push(bits, symbol);
                bits.push(extra, count);
                let (symbol, extra, count) = distance_code(distance);
                distances.push(bits, symbol);
                bits.push(extra, count);
            }
        }
        bits.settle();
    }
    literals.push(bits, END);
    bits.settle();
}

/// Writes the codes themselves: their lengths, of which the codes follow, in a code of their own.
fn write_codes(bits: &mut Bits, literals: &Code<LITERALS>, distances: &Code<DISTANCES>) {
    let mut runs = runs(&literals.lengths);
    runs.extend(self::runs(&distances.lengths));
    let mut counts = [0; ORDER.len()];
    for run in &runs {
        counts[run.symbol] += 1;
    }
    let code = Code::new::<MOST_BITS_OF_LENGTHS>(&counts);
    let used = ORDER.iter().rposition(|symbol| code.lengths[*symbol] > 0);
    let used = used.map_or(4, |last| last + 1).max(4);
    bits.push((LITERALS - 257) as u32, 5);
    bits.push((DISTANCES - 1) as u32, 5);
    bits.push((used - 4) as u32, 4);
    for symbol in &ORDER[..used] {
        bits.push(u32::from(code.lengths[*symbol]), 3);
        bits.settle();
    }
    for run in runs {
        code.push(bits, run.symbol);
        bits.push(run.extra, run.extra_bits);
        bits.settle();
    }
}

/// A length, or a run of zeros.
struct Run {
    symbol: usize,
    extra: u32,
    extra_bits: u32,
}

fn runs(lengths: &[u8]) -> Vec<Run> {
    let mut runs = Vec::with_capacity(lengths.len());
    let mut rest = lengths;
    while let Some(first) = rest.first() {
        let zeros = rest.iter().take(138).take_while(|length| **length == 0);
        let (count, symbol, least, extra_bits) = match zeros.count() {
            count @ 11.. => (count, 18, 11, 7),
            count @ 3.. => (count, 17, 3, 3),
            _ => (1, usize::from(*first), 1, 0),
        };
        runs.push(Run {
            symbol,
            extra: (count - least) as u32,
            extra_bits,
        });
        rest = &rest[count..];
    }
    runs
}

/// A code for each symbol; its bits are in the order in which they are written.
#[derive(Debug)]
struct Code<const SYMBOLS: usize> {
    lengths: [u8; SYMBOLS],
    codes: [u16; SYMBOLS],
}

impl<const SYMBOLS: usize> Code<SYMBOLS> {
    /// The code for symbols that are as frequent as this, with at most so many bits.
    fn new<const MOST_BITS: usize>(counts: &[u32; SYMBOLS]) -> Self {
        let lengths = lengths::<SYMBOLS, MOST_BITS>(counts);
        // The first code of each length: behind all that are shorter.
        let mut next = [0_u16; 16];
        let mut code = 0;
        for (bits, first) in next.iter_mut().enumerate().skip(2) {
            let shorter = lengths
                .iter()
                .filter(|length| **length as usize == bits - 1);
            code = (code + shorter.count() as u16) << 1;
            *first = code;
        }
        let codes = lengths.map(|length| match length {
            0 => 0,
            length => {
                let code = &mut next[usize::from(length)];
                *code += 1;
                (*code - 1).reverse_bits() >> (16 - length)
            }
        });
        Self { lengths, codes }
    }

    #[inline]
    fn push(&self, bits: &mut Bits, symbol: usize) {
        bits.push(
            u32::from(self.codes[symbol]),
            u32::from(self.lengths[symbol]),
        );
    }
}

/// How many bits each symbol gets: Huffman's, with those that are too long made shorter at the cost
/// of others.
fn lengths<const SYMBOLS: usize, const MOST_BITS: usize>(counts: &[u32; SYMBOLS]) -> [u8; SYMBOLS] {
    let mut symbols: Vec<usize> = (0..SYMBOLS).filter(|symbol| counts[*symbol] > 0).collect();
    symbols.sort_by_key(|symbol| counts[*symbol]);
    let mut result = [0; SYMBOLS];
    if let [] | [_] = symbols[..] {
        // One bit is the least, also where no symbol is used at all.
        result[symbols.first().copied().unwrap_or_default()] = 1;
        return result;
    }
    let weights: Vec<u64> = symbols
        .iter()
        .map(|symbol| u64::from(counts[*symbol]))
        .collect();
    let mut of_length = [0_usize; 64];
    for depth in depths(&weights) {
        of_length[depth.min(MOST_BITS)] += 1;
    }
    shorten(&mut of_length, MOST_BITS);
    // The rarest have the longest.
    let lengths = (1..=MOST_BITS)
        .rev()
        .flat_map(|bits| std::iter::repeat_n(bits, of_length[bits]));
    for (symbol, bits) in symbols.into_iter().zip(lengths) {
        result[symbol] = bits as u8;
    }
    result
}

/// How deep each leaf is in the tree, for weights that ascend.
fn depths(weights: &[u64]) -> Vec<usize> {
    let leaves = weights.len();
    let mut nodes: Vec<u64> = weights.to_vec();
    let mut parents = vec![0; (2 * leaves).saturating_sub(1)];
    // Leaves and inner nodes both ascend, so the two lightest are at the heads of the two rows.
    let (mut leaf, mut inner) = (0, leaves);
    for parent in leaves..parents.len() {
        let mut weight = 0;
        for _ in 0..2 {
            let lightest = if leaf < leaves && (inner == parent || nodes[leaf] <= nodes[inner]) {
                &mut leaf
            } else {
                &mut inner
            };
            weight += nodes[*lightest];
            parents[*lightest] = parent;
            *lightest += 1;
        }
        nodes.push(weight);
    }
    let mut depths = vec![0; parents.len()];
    for node in (0..parents.len().saturating_sub(1)).rev() {
        depths[node] = depths[parents[node]] + 1;
    }
    depths.truncate(leaves);
    depths
}

/// Lengths of which a code can be made again, after the longest were cut: one of them takes the place
/// beside a shorter one, which becomes longer by one bit, until all fit.
fn shorten(of_length: &mut [usize; 64], most_bits: usize) {
    let used = |of_length: &[usize; 64]| -> usize {
        (1..=most_bits)
            .map(|bits| of_length[bits] << (most_bits - bits))
            .sum()
    };
    while used(of_length) > 1 << most_bits {
        of_length[most_bits] -= 1;
        if let Some(shorter) = (1..most_bits).rev().find(|bits| of_length[*bits] > 0) {
            of_length[shorter] -= 1;
            of_length[shorter + 1] += 2;
        }
    }
}
