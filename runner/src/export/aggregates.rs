//! The lane of aggregates as documents: intervals and samples, one stretch after the other.

use loadtest_core::{plan::Plan, report::ExportCounts};

use super::{
    batch::{Batch, Stream},
    drain::Identity,
    interval::IntervalEncoder,
    sample::SampleEncoder,
};
use crate::pool::{AggregateReader, Next, Pool, PoolError};

/// Documents are sent together up to this size, after a time without a server.
const STRETCH_BYTES: usize = 1 << 20;

/// Reads the lane and makes its documents.
pub(super) struct Aggregates {
    lane: AggregateReader,
    /// From where the lane must be read to know the histograms under way.
    window: u64,
    intervals: IntervalEncoder,
    samples: SampleEncoder,
}

/// A stretch of the lane.
pub(super) struct Stretch {
    /// Intervals, or samples, which have a file of their own.
    pub(super) batch: Batch,
    /// Where it ends.
    pub(super) done: u64,
    /// From where the lane must be read to know the histograms under way at its end.
    pub(super) window: u64,
    /// Entries that could not be read.
    pub(super) damaged: u64,
}

impl Aggregates {
    /// # Errors
    /// When the lane cannot be opened.
    pub(super) fn new(plan: &Plan, identity: &Identity, pool: &Pool) -> Result<Self, PoolError> {
        let Identity { runner, host, .. } = identity;
        let (window, wall_ns) = (pool.ledger().aggregates_window, pool.anchor().wall_ns);
        Ok(Self {
            lane: pool.aggregates_from(window)?,
            window,
            intervals: IntervalEncoder::new(plan, *runner, host),
            samples: SampleEncoder::new(plan, *runner, host, wall_ns),
        })
    }

    /// The next stretch; what is before `delivered` is read again for the histograms under way.
    ///
    /// # Errors
    /// When the lane cannot be read any more.
    pub(super) fn next_stretch(
        &mut self,
        delivered: u64,
        engine_ended: bool,
        export: &ExportCounts,
    ) -> Result<Stretch, PoolError> {
        let (mut batch, mut damaged) = (Batch::new(Stream::Metrics), 0);
        while batch.text().len() < STRETCH_BYTES {
            let before = self.lane.offset();
            let entry = self.lane.next_entry()?;
            let is_delivered = self.lane.offset() <= delivered;
            let fits = batch.is_empty() || batch.samples == matches!(entry, Next::Sample(_));
            match entry {
                Next::Interval(interval) if is_delivered => {
                    let mut again = Batch::new(Stream::Metrics);
                    self.intervals.push(&mut again, &interval, export);
                }
                Next::Sample(_) if is_delivered => {}
                Next::Interval(_) | Next::Sample(_) if !fits => {
                    self.lane.go_back_to(before);
                    break;
                }
                Next::Interval(interval) => self.intervals.push(&mut batch, &interval, export),
                Next::Sample(sample) => {
                    batch.samples = true;
                    self.samples.push(&mut batch, &sample);
                }
                Next::Damaged => damaged += 1,
                Next::End => {
                    // After samples it is asked again.
                    if engine_ended && !batch.samples {
                        self.intervals.finish(&mut batch);
                    }
                    break;
                }
            }
            self.note_window();
        }
        self.note_window();
        Ok(Stretch {
            batch,
            done: self.lane.offset(),
            window: self.window,
            damaged,
        })
    }

    /// Gives back the memory of what is not needed again.
    pub(super) fn forget_before(&self, offset: u64) {
        self.lane.forget_before(offset);
    }

    fn note_window(&mut self) {
        if self.intervals.is_between_minutes() {
            self.window = self.lane.offset();
        }
    }
}
