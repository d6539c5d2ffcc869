//! Ours beside another, in pairs.

use anyhow::Result;

use crate::{
    client::{Client, Measured},
    machine::{self, Cores},
    statistics::Spread,
    target::Target,
};

/// A difference of two runs of the same program by which a pair's ratio says nothing.
const LOUD: f64 = 0.10;

/// What is to be compared.
#[derive(Debug)]
pub struct Comparison {
    /// What it says of the two, in a table's cell.
    pub what: String,
    /// How many times the other's requests per CPU second ours is to make.
    pub goal: Option<f64>,
    pub ours: Client,
    pub peer: Client,
}

/// What came of it.
#[derive(Debug)]
pub struct Compared {
    pub comparison: Comparison,
    /// Ours and the other, in the order of the pairs.
    pub pairs: Vec<(Measured, Measured)>,
    /// Ours over the other's, requests per CPU second, pair by pair.
    pub ratio: Spread,
    /// From one run of the other to its next: what chance does here.
    pub noise: Spread,
    /// Highest share of CPU time that something else used just before a pair.
    pub busy: f64,
}

impl Comparison {
    /// Runs them in turn; who is first changes, so that no one profits from its place.
    pub fn measure(self, pairs: usize, target: &Target, cores: &Cores) -> Result<Compared> {
        let mut measured = Vec::new();
        let mut busy = 0.0f64;
        for number in 0..pairs {
            busy = busy.max(machine::wait_for_quiet());
            let (ours, peer) = if number % 2 == 0 {
                let ours = self.ours.run(target, cores)?;
                (ours, self.peer.run(target, cores)?)
            } else {
                let peer = self.peer.run(target, cores)?;
                (self.ours.run(target, cores)?, peer)
            };
            eprintln!(
                "bench: {}: {} {:.0}, {} {:.0} requests per CPU second, {:.2} times",
                self.what,
                self.ours.name,
                ours.per_cpu_second(),
                self.peer.name,
                peer.per_cpu_second(),
                ours.per_cpu_second() / peer.per_cpu_second()
            );
            measured.push((ours, peer));
        }
        let ratio = measured
            .iter()
            .map(|(ours, peer)| ours.per_cpu_second() / peer.per_cpu_second());
        Ok(Compared {
            ratio: Spread::of(ratio),
            noise: noise(measured.iter().map(|(_, peer)| peer.per_cpu_second())),
            pairs: measured,
            busy,
            comparison: self,
        })
    }
}

impl Compared {
    /// Whether chance is too large for a verdict so near to the goal.
    pub fn is_undecided(&self, goal: f64) -> bool {
        let distance = (self.ratio.median / goal - 1.0).abs();
        self.noise.median > LOUD && distance < self.noise.median
    }
}

/// How much larger the larger one of two neighbours is.
fn noise(runs: impl Iterator<Item = f64>) -> Spread {
    let runs: Vec<f64> = runs.collect();
    Spread::of(runs.windows(2).filter_map(|two| match two {
        [a, b] => Some(a.max(*b) / a.min(*b) - 1.0),
        _ => None,
    }))
}
