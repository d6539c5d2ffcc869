//! What a runner measured, in the two forms that it is told in: deltas for the coordinator,
//! intervals for the exporter.

use std::collections::BTreeMap;

use loadtest_core::{
    report::{Answer, Delta},
    series::SeriesSet,
};

use super::meter::Window;
use crate::clock::{Nanos, WallAnchor};

/// Everything that was measured, and what of it the coordinator does not know yet.
///
/// One delta is on its way at a time. It is frozen: sent again unchanged until its sequence is
/// acknowledged, so that a lost report and a lost answer are the same to the coordinator. A new
/// epoch knows nothing and gets everything.
#[derive(Debug, Default)]
pub struct Tally {
    all: SeriesSet,
    /// Measured since the frozen delta, or since the last acknowledged one.
    fresh: SeriesSet,
    frozen: Option<Delta>,
    sequence: u64,
    epoch: u64,
    /// The epoch has merged nothing of ours.
    untold: bool,
}

impl Tally {
    /// More was measured.
    pub fn add(&mut self, set: &SeriesSet) {
        self.all.merge(set);
        self.fresh.merge(set);
    }

    /// The coordinator's epoch, 0 before its first answer.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Learns from an answer what has arrived.
    pub fn answered(&mut self, answer: &Answer) {
        if answer.epoch != self.epoch {
            self.epoch = answer.epoch;
            self.untold = true;
            self.frozen = None;
        } else if let Some(frozen) = &self.frozen
            && answer
                .acknowledged
                .is_some_and(|sequence| sequence >= frozen.sequence)
        {
            self.frozen = None;
        }
    }

    /// What the next report carries.
    pub fn delta(&mut self) -> Option<&Delta> {
        if self.frozen.is_none() && self.epoch != 0 {
            let full = self.untold;
            let set = if full {
                self.all.clone()
            } else {
                std::mem::take(&mut self.fresh)
            };
            if is_nothing(&set) {
                return None;
            }
            self.fresh.clear();
            self.untold = false;
            self.sequence += 1;
            self.frozen = Some(Delta {
                sequence: self.sequence,
                full,
                set,
            });
        }
        self.frozen.as_ref()
    }

    /// Whether the next report tells everything that was measured.
    pub fn is_all_told(&self) -> bool {
        match (self.epoch, &self.frozen) {
            (0, _) => is_nothing(&self.all),
            (_, None) => true,
            (_, Some(_)) => is_nothing(&self.fresh),
        }
    }
}

/// Stricter than [`SeriesSet::is_empty`]: a connection without a request is something, too.
fn is_nothing(set: &SeriesSet) -> bool {
    set.is_empty() && set.connections == 0 && set.started == 0
}

/// Sums windows to intervals on the wall-clock grid.
#[derive(Debug)]
pub struct Intervals {
    anchor: WallAnchor,
    length: Nanos,
    began: Nanos,
    /// By their end.
    open: BTreeMap<Nanos, SeriesSet>,
    /// Per worker: up to where its windows have come.
    reached: Vec<Nanos>,
    last_end: Nanos,
}

/// An interval that no worker will add to.
#[derive(Debug)]
pub struct Closed {
    /// When it began.
    pub begin: Nanos,
    /// When it ended.
    pub end: Nanos,
    /// The load began or ended within it.
    pub partial: bool,
    /// What was measured.
    pub set: SeriesSet,
}

impl Intervals {
    /// Intervals of a length, which is taken as whole seconds, of a load that began at a time.
    pub fn new(anchor: WallAnchor, length: Nanos, workers: usize) -> Self {
        let second = crate::clock::SECOND;
        Self {
            anchor,
            length: length.div_ceil(second).max(1) * second,
            began: Nanos::MAX,
            open: BTreeMap::new(),
            reached: vec![0; workers],
            last_end: 0,
        }
    }

    /// A worker's window belongs to the interval in which it began.
    pub fn add(&mut self, window: &Window) {
        self.began = self.began.min(window.begin);
        self.last_end = self.last_end.max(window.end);
        let end = self.anchor.next_boundary(window.begin, self.length);
        self.open.entry(end).or_default().merge(&window.set);
        if let Some(reached) = self.reached.get_mut(window.worker) {
            *reached = window.end;
        }
    }

    /// A worker's windows are all here.
    pub fn worker_ended(&mut self, worker: usize) {
        if let Some(reached) = self.reached.get_mut(worker) {
            *reached = Nanos::MAX;
        }
    }

    /// The next interval that is complete.
    pub fn take_closed(&mut self) -> Option<Closed> {
        let everywhere = self.reached.iter().copied().min().unwrap_or(Nanos::MAX);
        let end = *self.open.keys().next()?;
        if end > everywhere {
            return None;
        }
        let set = self.open.remove(&end)?;
        let grid_begin = end.saturating_sub(self.length);
        let begin = grid_begin.max(self.began);
        let actual_end = end.min(self.last_end.max(begin));
        let partial = begin != grid_begin || actual_end != end;
        Some(Closed {
            begin,
            end: actual_end,
            partial,
            set,
        })
    }
}
