//! Random choices that a run's seed repeats.

/// `SplitMix64` (Steele, Lea, Flood 2014): eight bytes of state, and every seed is a good one.
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    /// A generator of its own for each combination of the parts.
    pub fn new(parts: &[u64]) -> Self {
        let mut rng = Self(0);
        for part in parts {
            rng.0 ^= part;
            rng.0 = rng.next();
        }
        rng
    }

    /// The next 64 bits.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound` (0 when that is 0). The bias of the multiplication is below
    /// `bound / 2^64`.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    /// A length with mean 1, as between independent events.
    pub fn exponential(&mut self) -> f64 {
        // 53 random bits: in (0, 1], so that the logarithm is finite.
        let uniform = ((self.next() >> 11) + 1) as f64 / (1u64 << 53) as f64;
        -uniform.ln()
    }

    /// A number in `min..=max`.
    pub fn between(&mut self, min: u64, max: u64) -> u64 {
        min + self.below(max.saturating_sub(min) + 1)
    }
}

/// Tasks drawn by weight without replacement: in each block of the sum of all weights every task
/// comes exactly as often as its weight, in random order.
#[derive(Debug)]
pub struct Deck {
    weights: Vec<u32>,
    remaining: Vec<u32>,
    left: u64,
    rng: Rng,
}

impl Deck {
    /// A deck that has not been drawn from.
    pub fn new(weights: Vec<u32>, rng: Rng) -> Self {
        Self {
            remaining: vec![0; weights.len()],
            weights,
            left: 0,
            rng,
        }
    }

    /// The next task; `None` only when all weights are 0.
    pub fn draw(&mut self) -> Option<usize> {
        if self.weights.len() == 1 {
            return Some(0);
        }
        if self.left == 0 {
            self.remaining.clone_from(&self.weights);
            self.left = self.weights.iter().copied().map(u64::from).sum();
        }
        let mut place = self.rng.below(self.left);
        for (task, remaining) in self.remaining.iter_mut().enumerate() {
            if place < u64::from(*remaining) {
                *remaining -= 1;
                self.left -= 1;
                return Some(task);
            }
            place -= u64::from(*remaining);
        }
        None
    }

    /// A number in `min..=max`, for pauses.
    pub fn between(&mut self, min: u64, max: u64) -> u64 {
        self.rng.between(min, max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_block_has_every_task_as_often_as_its_weight() {
        let weights = vec![3, 1, 0, 6];
        let mut deck = Deck::new(weights.clone(), Rng::new(&[7, 0, 1]));
        let mut orders = std::collections::BTreeSet::new();
        for _ in 0..200 {
            let block: Vec<_> = (0..10).map(|_| deck.draw().unwrap()).collect();
            let counts: Vec<_> = (0..4)
                .map(|task| block.iter().filter(|t| **t == task).count() as u32)
                .collect();
            assert_eq!(counts, weights);
            orders.insert(block);
        }
        assert!(
            orders.len() > 100,
            "blocks are shuffled: {} orders",
            orders.len()
        );
    }

    #[test]
    fn the_seed_decides() {
        let draw = |seed| {
            let mut deck = Deck::new(vec![1, 2, 3], Rng::new(&[seed]));
            (0..60).map(|_| deck.draw().unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }

    #[test]
    fn ranges_include_both_ends() {
        let mut rng = Rng::new(&[3]);
        let drawn: std::collections::BTreeSet<_> = (0..200).map(|_| rng.between(4, 6)).collect();
        assert_eq!(drawn.into_iter().collect::<Vec<_>>(), [4, 5, 6]);
        assert_eq!(rng.between(9, 9), 9);
    }
}
