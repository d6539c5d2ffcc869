//! What is said again is written as where it was said before.

/// Most that one reference may be long, and its distance.
const MOST_LENGTH: usize = 258;
const MOST_DISTANCE: usize = 32_768;

/// Least worth a reference; the format's own least is 3.
const LEAST_LENGTH: usize = 4;

/// Most tokens of a block: its codes cost some 100 bytes, and are made for what is in it.
const BLOCK: usize = 16_384;

/// Bits of the number of a remembered place. A document has some 50 of them.
const PLACES: u32 = 12;

/// Symbols of literals and lengths, and of distances.
pub(super) const LITERALS: usize = 286;
pub(super) const DISTANCES: usize = 30;

/// The end of a block among the literals.
pub(super) const END: usize = 256;

/// Letters and digits.
const WORD: [bool; 256] = {
    let (mut word, mut byte) = ([false; 256], 0);
    while byte < word.len() {
        word[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    word
};

/// A byte as it is, or a reference backwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token(u32);

impl Token {
    fn literal(byte: u8) -> Self {
        Self(u32::from(byte))
    }

    fn reference(length: usize, distance: usize) -> Self {
        Self((length as u32) << 16 | (distance as u32 - 1))
    }

    /// The byte, or length and distance.
    #[inline]
    pub(super) fn get(self) -> Result<u8, (u32, u32)> {
        match self.0 {
            byte @ 0..=255 => Ok(byte as u8),
            both => Err((both >> 16, (both & 0xffff) + 1)),
        }
    }
}

/// A text as tokens, block by block.
#[derive(Debug)]
pub(super) struct Tokens<'a> {
    text: &'a [u8],
    at: usize,
    /// Where the text went on after a difference, by the eight bytes that stood there; one more than
    /// the position, and 0 for nowhere.
    places: Vec<u32>,
    block: Vec<Token>,
    /// How often the block has each symbol.
    pub(super) literals: [u32; LITERALS],
    pub(super) distances: [u32; DISTANCES],
}

impl<'a> Tokens<'a> {
    pub(super) fn new(text: &'a [u8]) -> Self {
        Self {
            text,
            at: 0,
            places: vec![0; 1 << PLACES],
            block: Vec::with_capacity(BLOCK.min(text.len()) + MOST_LENGTH),
            literals: [0; LITERALS],
            distances: [0; DISTANCES],
        }
    }

    /// Those of this block.
    pub(super) fn block(&self) -> &[Token] {
        &self.block
    }

    /// Goes on to the next block; whether it is the last.
    pub(super) fn next_block(&mut self) -> bool {
        self.block.clear();
        self.literals = [0; LITERALS];
        self.distances = [0; DISTANCES];
        self.literals[END] = 1;
        while self.block.len() < BLOCK {
            let rest = self.text.get(self.at..).unwrap_or_default();
            let Some(eight) = rest.first_chunk::<8>() else {
                self.literals(rest);
                return true;
            };
            if let Some(earlier) = self.remember(*eight)
                && let Some(distance) = self.at.checked_sub(earlier)
                && distance <= MOST_DISTANCE
                && let Some(there) = self.text.get(earlier..)
                && let length @ LEAST_LENGTH.. = alike(rest, there)
            {
                self.references(length, distance);
            } else {
                self.literals(&rest[..1]);
            }
            // What differs ends where a word does.
            let rest = self.text.get(self.at..).unwrap_or_default();
            let word = rest.iter().take(MOST_LENGTH);
            let end = word.take_while(|byte| WORD[usize::from(**byte)]).count();
            self.literals(&rest[..end]);
        }
        self.at == self.text.len()
    }

    /// Where these eight bytes were seen last; from now on it is here.
    fn remember(&mut self, eight: [u8; 8]) -> Option<usize> {
        let mixed = u64::from_le_bytes(eight).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let place = self.places.get_mut((mixed >> (64 - PLACES)) as usize)?;
        let earlier = std::mem::replace(place, self.at as u32 + 1);
        (earlier as usize).checked_sub(1)
    }

    fn literals(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.literals[usize::from(*byte)] += 1;
        }
        let tokens = bytes.iter().map(|byte| Token::literal(*byte));
        self.block.extend(tokens);
        self.at += bytes.len();
    }

    fn references(&mut self, mut length: usize, distance: usize) {
        self.at += length;
        let symbol = distance_code(distance as u32).0;
        while length > 0 {
            // What is left must be long enough for a reference of its own.
            let part = match length {
                0..=MOST_LENGTH => length,
                _ => MOST_LENGTH.min(length - LEAST_LENGTH),
            };
            self.block.push(Token::reference(part, distance));
            self.literals[length_code(part as u32).0] += 1;
            self.distances[symbol] += 1;
            length -= part;
        }
    }
}

/// How many bytes two texts have in common from their beginning.
fn alike(a: &[u8], b: &[u8]) -> usize {
    let mut length = 0;
    for (a, b) in a.chunks_exact(8).zip(b.chunks_exact(8)) {
        let differ = word(a) ^ word(b);
        if differ != 0 {
            return length + (differ.trailing_zeros() / 8) as usize;
        }
        length += 8;
    }
    let (a, b) = (&a[length..], &b[length..]);
    length + a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

#[inline]
fn word(eight: &[u8]) -> u64 {
    u64::from_le_bytes(eight.try_into().unwrap_or_default())
}

/// Symbol, extra bits and their number of a length from 3 to 258: four symbols for each power of
/// two, the longest has its own.
#[inline]
pub(super) fn length_code(length: u32) -> (usize, u32, u32) {
    match length - 3 {
        255 => (285, 0, 0),
        n @ 0..8 => (257 + n as usize, 0, 0),
        n => {
            let extra = n.ilog2() - 2;
            let symbol = 257 + 4 * extra as usize + (n >> extra) as usize;
            (symbol, n & ((1 << extra) - 1), extra)
        }
    }
}

/// Symbol, extra bits and their number of a distance: two symbols for each power of two.
#[inline]
pub(super) fn distance_code(distance: u32) -> (usize, u32, u32) {
    match distance - 1 {
        n @ 0..4 => (n as usize, 0, 0),
        n => {
            let extra = n.ilog2() - 1;
            let symbol = 2 * extra as usize + (n >> extra) as usize;
            (symbol, n & ((1 << extra) - 1), extra)
        }
    }
}
