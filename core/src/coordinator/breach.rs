//! Thresholds that stop a run before its end.
//!
//! Such a threshold is judged twice: at the end on everything, like all others, and while the load
//! is sent on the last seconds, as many as its `after` says. So an outage late in a long run stops
//! it as soon as one at its beginning does.

use std::collections::{BTreeMap, VecDeque};

use super::Coordinator;
use crate::{
    plan::Plan,
    report::{UnixMicros, decode, encode, micros},
    scalar::format_duration,
    series::SeriesSet,
    threshold::Abort,
    verdict::{Reason, Verdict},
};

/// Pieces that the longest window is made of; a window ends and begins at the edge of a piece.
const PIECES: i64 = 60;

/// Shortest piece: runners report once a second.
const SHORTEST_PIECE: UnixMicros = 1_000_000;

/// The last seconds of everything that was measured, as far as thresholds may stop the run.
#[derive(Debug, Default)]
pub(super) struct LastSeconds {
    /// Of the longest window; 0 when no threshold may stop the run.
    length: UnixMicros,
    under_way: SeriesSet,
    /// When the piece under way began.
    since: UnixMicros,
    done: VecDeque<Piece>,
    /// By threshold of the plan: when it was first seen breached.
    pub(super) first_breach: Vec<Option<UnixMicros>>,
}

/// Encoded, since a histogram in memory is a hundred times as large as what it holds.
#[derive(Debug)]
struct Piece {
    until: UnixMicros,
    set: Vec<u8>,
}

impl LastSeconds {
    pub(super) fn new(plan: &Plan) -> Self {
        let lengths = plan.thresholds.iter().filter_map(|t| t.abort);
        Self {
            length: lengths.map(|a| micros(a.after)).max().unwrap_or(0),
            first_breach: vec![None; plan.thresholds.len()],
            ..Self::default()
        }
    }

    /// Takes what a predecessor saw.
    pub(super) fn resume(&mut self, first_breach: Vec<Option<UnixMicros>>) {
        if first_breach.len() == self.first_breach.len() {
            self.first_breach = first_breach;
        }
    }

    /// More was measured.
    pub(super) fn add(&mut self, set: &SeriesSet) {
        if self.length > 0 {
            self.under_way.merge(set);
        }
    }

    /// Ends the piece under way if it is long enough; true if so.
    fn cut(&mut self, now: UnixMicros) -> bool {
        let piece = (self.length / PIECES).max(SHORTEST_PIECE);
        if self.length == 0 || now - self.since < piece {
            return false;
        }
        self.since = now;
        self.under_way.errors.clear();
        // Ours always can be encoded; without a piece the window would only be less.
        if let Ok(set) = encode(&self.under_way) {
            self.done.push_back(Piece { until: now, set });
        }
        self.under_way.clear();
        while self
            .done
            .front()
            .is_some_and(|p| p.until <= now - self.length)
        {
            self.done.pop_front();
        }
        true
    }

    /// What was measured from a time on.
    fn from(&self, begin: UnixMicros) -> SeriesSet {
        let mut window = SeriesSet::default();
        for piece in self.done.iter().filter(|piece| piece.until > begin) {
            if let Ok(set) = decode(&piece.set) {
                window.merge(&set);
            }
        }
        window
    }
}

impl Coordinator {
    /// Stops the load when a threshold that may do so does not hold for the last seconds.
    pub(super) fn check_breaches(&mut self, now: UnixMicros) {
        let Some(start) = self.start else { return };
        let over = self.ending.is_some() || self.judged.is_some();
        if over || !self.last_seconds.cut(now) {
            return;
        }
        let plan = std::sync::Arc::clone(&self.plan);
        let Some(since) = self.measured_since(start) else {
            return;
        };
        let measured_for = now - since;
        // Most thresholds look at the same time: its pieces are put together once.
        let mut windows = BTreeMap::new();
        for (index, threshold) in plan.thresholds.iter().enumerate() {
            let Some(Abort { after, .. }) = threshold.abort else {
                continue;
            };
            if measured_for < micros(after) {
                continue;
            }
            let window = windows
                .entry(after)
                .or_insert_with(|| self.last_seconds.from(now - micros(after)));
            let Some(observed) = threshold.breach(window, after) else {
                continue;
            };
            if let Some(first) = self.last_seconds.first_breach.get_mut(index) {
                first.get_or_insert(now);
            }
            let message = format!(
                "the load was stopped: threshold {} was breached over the last {}: {}",
                threshold.expr,
                format_duration(after),
                observed
            );
            self.end_early(Verdict::Failed, Reason::ThresholdBreached, &message, now);
        }
    }

    /// From when on the last seconds hold what all live runners measure, if they do: a window that
    /// is filled in part would be taken for a slow load. An engine that heard of the start late
    /// began late, and what a runner measured before it found this coordinator is in no window.
    fn measured_since(&self, start: UnixMicros) -> Option<UnixMicros> {
        let warm_up = micros(self.plan.warm_up);
        let mut measured = start + warm_up;
        for (index, runner) in (0..).zip(&self.runners) {
            if !runner.is_gone() {
                let warm = self.began(index, start) + warm_up;
                measured = measured.max(warm).max(runner.seen_since?);
            }
        }
        Some(measured)
    }
}
