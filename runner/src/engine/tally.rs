//! What a runner measured, in the two forms that it is told in: deltas for the coordinator,
//! intervals for the exporter.

use std::collections::BTreeMap;

use loadtest_core::{
    report::{Answer, Delta},
    series::{Series, SeriesSet},
};

use super::meter::Window;
use crate::{
    clock::{Nanos, WallAnchor},
    pool::Stage,
};

/// Everything that was measured, and what of it the coordinator does not know yet.
///
/// One delta is on its way at a time. It is frozen: sent again unchanged until its sequence is
/// acknowledged, so that a lost report and a lost answer are the same to the coordinator. A new
/// epoch knows nothing and gets everything.
#[derive(Debug, Default)]
pub struct Tally {
    all: Measured,
    /// Measured since the frozen delta, or since the last acknowledged one.
    fresh: Measured,
    frozen: Option<Delta>,
    sequence: u64,
    epoch: u64,
    /// The epoch has merged nothing of ours.
    untold: bool,
}

/// As the coordinator is told it.
#[derive(Debug, Clone, Default)]
struct Measured {
    set: SeriesSet,
    /// Requests of the warm-up.
    warm_up: Series,
}

impl Measured {
    fn add(&mut self, set: &SeriesSet, warm_up: Option<&SeriesSet>) {
        self.set.merge(set);
        if let Some(warm_up) = warm_up {
            self.warm_up.merge(&warm_up.total);
        }
    }

    fn is_nothing(&self) -> bool {
        self.set.is_nothing() && self.warm_up.requests == 0
    }
}

impl Tally {
    /// More was measured, some of it perhaps in the warm-up.
    pub fn add(&mut self, set: &SeriesSet, warm_up: Option<&SeriesSet>) {
        self.all.add(set, warm_up);
        self.fresh.add(set, warm_up);
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
            let measured = if full {
                self.all.clone()
            } else {
                std::mem::take(&mut self.fresh)
            };
            if measured.is_nothing() {
                return None;
            }
            self.fresh = Measured::default();
            self.untold = false;
            self.sequence += 1;
            self.frozen = Some(Delta {
                sequence: self.sequence,
                full,
                set: measured.set,
                warm_up: measured.warm_up,
            });
        }
        self.frozen.as_ref()
    }

    /// Whether the next report tells everything that was measured.
    pub fn is_all_told(&self) -> bool {
        match (self.epoch, &self.frozen) {
            (0, _) => self.all.is_nothing(),
            (_, None) => true,
            (_, Some(_)) => self.fresh.is_nothing(),
        }
    }
}

/// Sums windows to intervals on the wall-clock grid.
#[derive(Debug)]
pub struct Intervals {
    anchor: WallAnchor,
    length: Nanos,
    began: Nanos,
    /// By their end; those of the warm-up before others of the same time.
    open: BTreeMap<(Nanos, Stage), SeriesSet>,
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
    /// Warm-up or load.
    pub stage: Stage,
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
        // A time in which nothing was measured is told as well.
        let load = self.open.entry((end, Stage::Load));
        load.or_default().merge(&window.set);
        if let Some(warm_up) = &window.warm_up {
            let open = self.open.entry((end, Stage::WarmUp));
            open.or_default().merge(warm_up);
        }
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

    /// Up to where the windows of all workers have come.
    pub fn reached(&self) -> Nanos {
        self.reached.iter().copied().min().unwrap_or(Nanos::MAX)
    }

    /// The next interval that is complete.
    pub fn take_closed(&mut self) -> Option<Closed> {
        let (end, stage) = *self.open.keys().next()?;
        if end > self.reached() {
            return None;
        }
        let set = self.open.remove(&(end, stage))?;
        let grid_begin = end.saturating_sub(self.length);
        let begin = grid_begin.max(self.began);
        let actual_end = end.min(self.last_end.max(begin));
        let partial = begin != grid_begin || actual_end != end;
        Some(Closed {
            begin,
            end: actual_end,
            partial,
            stage,
            set,
        })
    }
}

#[cfg(test)]
mod tests {
    use loadtest_core::report::Desired;

    use super::*;
    use crate::clock::SECOND;

    fn measured(requests: u64) -> SeriesSet {
        let mut set = SeriesSet {
            iterations: requests,
            ..SeriesSet::default()
        };
        set.total.requests = requests;
        set
    }

    fn answer(epoch: u64, acknowledged: Option<u64>) -> Answer {
        Answer {
            epoch,
            acknowledged,
            clock: 0,
            desired: Desired::Wait,
            setup: None,
        }
    }

    fn told(tally: &mut Tally) -> Option<(u64, bool, u64)> {
        tally
            .delta()
            .map(|delta| (delta.sequence, delta.full, delta.set.total.requests))
    }

    #[test]
    fn a_delta_is_frozen_until_it_is_acknowledged() {
        let mut tally = Tally::default();
        tally.add(&measured(3), None);
        assert_eq!(told(&mut tally), None, "nobody is known to listen");
        assert!(!tally.is_all_told());
        tally.answered(&answer(9, None));
        assert!(tally.is_all_told());
        assert_eq!(told(&mut tally), Some((1, true, 3)));
        tally.add(&measured(4), None);
        assert!(!tally.is_all_told());
        assert_eq!(told(&mut tally), Some((1, true, 3)));
        tally.answered(&answer(9, None));
        assert_eq!(told(&mut tally), Some((1, true, 3)));
        tally.answered(&answer(9, Some(1)));
        assert_eq!(told(&mut tally), Some((2, false, 4)));
        assert!(tally.is_all_told());
        tally.answered(&answer(9, Some(2)));
        assert_eq!(told(&mut tally), None);
    }

    #[test]
    fn a_new_epoch_gets_everything() {
        let mut tally = Tally::default();
        tally.answered(&answer(1, None));
        tally.add(&measured(3), None);
        assert_eq!(told(&mut tally), Some((1, true, 3)));
        tally.add(&measured(4), None);
        tally.answered(&answer(2, None));
        assert_eq!(told(&mut tally), Some((2, true, 7)));
        tally.add(&measured(1), None);
        tally.answered(&answer(2, Some(2)));
        assert_eq!(told(&mut tally), Some((3, false, 1)));
    }

    #[test]
    fn an_epoch_that_begins_before_the_load_gets_a_full_first_delta() {
        let mut tally = Tally::default();
        tally.answered(&answer(1, None));
        assert_eq!(told(&mut tally), None);
        assert!(tally.is_all_told());
        tally.add(&measured(2), None);
        assert_eq!(told(&mut tally), Some((1, true, 2)));
    }

    #[test]
    fn what_was_only_sent_once_more_is_told() {
        let mut tally = Tally::default();
        tally.answered(&answer(1, None));
        let set = SeriesSet {
            resent: 2,
            ..SeriesSet::default()
        };
        tally.add(&set, None);
        assert_eq!(tally.delta().map(|delta| delta.set.resent), Some(2));
        // Of a second epoch it would be told with everything else; within one it must be now.
        tally.answered(&answer(1, Some(1)));
        tally.add(&set, None);
        assert_eq!(tally.delta().map(|delta| delta.set.resent), Some(2));
    }

    #[test]
    fn an_interval_is_complete_when_every_worker_has_passed_it() {
        // Full seconds of the wall clock are full seconds of the monotonic one.
        let anchor = WallAnchor {
            wall_ns: 100 * SECOND.cast_signed(),
            mono_ns: 0,
        };
        let mut intervals = Intervals::new(anchor, 2 * SECOND, 2);
        let tenth = SECOND / 10;
        let window = |worker, begin, end, requests| Window {
            worker,
            begin: begin * tenth,
            end: end * tenth,
            set: Box::new(measured(requests)),
            warm_up: None,
            users: 0,
            cpu_ns: 0,
            worst_lag: 0,
            samples: Vec::new(),
        };
        let closed = |intervals: &mut Intervals| {
            intervals.take_closed().map(|closed| {
                let span = (closed.begin / tenth, closed.end / tenth);
                (span, closed.partial, closed.set.total.requests)
            })
        };
        intervals.add(&window(0, 15, 20, 1));
        intervals.add(&window(1, 15, 20, 2));
        assert_eq!(closed(&mut intervals), Some(((15, 20), true, 3)));
        intervals.add(&window(0, 20, 30, 4));
        intervals.add(&window(0, 30, 40, 5));
        intervals.add(&window(1, 20, 30, 6));
        assert_eq!(closed(&mut intervals), None);
        intervals.add(&window(1, 30, 40, 7));
        assert_eq!(closed(&mut intervals), Some(((20, 40), false, 22)));
        intervals.add(&window(0, 40, 43, 8));
        intervals.worker_ended(0);
        intervals.add(&window(1, 40, 44, 9));
        assert_eq!(closed(&mut intervals), None);
        intervals.worker_ended(1);
        assert_eq!(closed(&mut intervals), Some(((40, 44), true, 17)));
        assert_eq!(closed(&mut intervals), None);
    }
}
