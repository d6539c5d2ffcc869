//! What is handed to the exporter: intervals and samples, kept until the memory takes them.
//!
//! That memory can be full for a time, when a search server is away. Intervals that find no room
//! become one longer interval, so that what is kept does not grow and nothing is missing in a sum;
//! samples of a runner are few. No number has a gap, since only what was written gets one.

use crate::pool::{AggregateWriter, FailureSample, Interval, PoolError};

/// The lane of aggregates from the engine's side.
#[derive(Debug)]
pub struct Lane {
    writer: AggregateWriter,
    /// Of the next interval.
    sequence: u64,
    /// Not written yet, in their order; one of each stage at most.
    intervals: Vec<Interval>,
    /// Not written yet, in their order; [`PER_RUNNER`](super::samples::PER_RUNNER) at most.
    samples: Vec<FailureSample>,
    /// The last try failed.
    is_refused: bool,
}

impl Lane {
    /// Empty.
    pub fn new(writer: AggregateWriter) -> Self {
        Self {
            writer,
            sequence: 0,
            intervals: Vec::new(),
            samples: Vec::new(),
            is_refused: false,
        }
    }

    /// Hands an interval over; its number is given to it here.
    pub fn push(&mut self, interval: Interval) {
        // Room for those before it keeps them as long as they are.
        self.write();
        let mut kept = self.intervals.iter_mut();
        match kept.find(|kept| kept.stage == interval.stage) {
            Some(kept) => prolong(kept, interval),
            None => self.intervals.push(interval),
        }
        self.write();
    }

    /// Hands a sample over.
    pub fn push_sample(&mut self, sample: FailureSample) {
        self.samples.push(sample);
        self.write();
    }

    /// Whether everything is written.
    pub fn is_empty(&self) -> bool {
        self.intervals.is_empty() && self.samples.is_empty()
    }

    /// Tries to write what is not written yet.
    pub fn write(&mut self) {
        if self.is_empty() {
            return;
        }
        match self.try_to_write() {
            Ok(()) if self.is_refused => {
                self.is_refused = false;
                tracing::info!("the exporter's memory has room again: nothing of it is lost");
            }
            Err(error) if !self.is_refused => {
                self.is_refused = true;
                tracing::error!(%error, "the exporter's memory takes no interval, it is kept");
            }
            Ok(()) | Err(_) => {}
        }
    }

    fn try_to_write(&mut self) -> Result<(), PoolError> {
        while let Some(sample) = self.samples.first() {
            self.writer.append_sample(sample)?;
            self.samples.remove(0);
        }
        while let Some(interval) = self.intervals.first_mut() {
            interval.sequence = self.sequence;
            self.writer.append(interval)?;
            self.sequence += 1;
            self.intervals.remove(0);
        }
        Ok(())
    }

    /// Nobody will try again.
    pub fn give_up(&self) {
        let (intervals, samples) = (&self.intervals, self.samples.len());
        let requests: u64 = intervals.iter().map(|i| i.set.total.requests).sum();
        let micros: i64 = intervals.iter().map(|i| i.end_us - i.start_us).sum();
        let seconds = micros / 1_000_000;
        tracing::error!(
            seconds,
            requests,
            samples,
            "intervals and samples are lost to the exporter: its memory is full; the run's result \
             has them"
        );
    }
}

/// Adds the interval that follows.
fn prolong(kept: &mut Interval, next: Interval) {
    let Interval {
        sequence: _,
        start_us: _,
        end_us,
        partial,
        stage: _,
        set,
        users,
        records,
        health,
    } = next;
    kept.set.merge(&set);
    kept.partial |= partial;
    kept.end_us = end_us;
    kept.users = users;
    kept.records = records;
    kept.health = health;
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use loadtest_core::{
        report::{GeneratorHealth, RecordCounts},
        series::SeriesSet,
    };

    use super::*;
    use crate::pool::{Anchor, Next, Pool, PoolOptions, Stage, tests::failure_sample};

    fn interval(second: i64, stage: Stage) -> Interval {
        Interval {
            sequence: 0,
            start_us: second * 1_000_000,
            end_us: (second + 1) * 1_000_000,
            partial: false,
            stage,
            set: SeriesSet {
                iterations: 1 << second,
                ..SeriesSet::default()
            },
            users: second as u32,
            records: RecordCounts::default(),
            health: GeneratorHealth::default(),
        }
    }

    #[test]
    fn what_finds_no_room_is_kept_in_one_interval_of_each_stage() {
        let name = format!("loadtest-lane-{}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        fs::create_dir_all(&directory).unwrap();
        let options = PoolOptions {
            workers: 1,
            blocks_per_worker: 2,
            anchor: Anchor {
                wall_ns: 0,
                mono_ns: 0,
            },
        };
        let pool = Pool::create(&directory, options).unwrap();
        let file = directory.join("aggregates");
        let mut lane = Lane::new(pool.aggregates().unwrap());
        lane.push(interval(0, Stage::WarmUp));
        assert!(lane.is_empty());
        // Every write to it says that no space is left.
        fs::rename(&file, directory.join("room")).unwrap();
        symlink("/dev/full", &file).unwrap();
        lane.writer = pool.aggregates().unwrap();
        lane.push(interval(1, Stage::WarmUp));
        for second in 1..5 {
            lane.push(interval(second, Stage::Load));
            lane.push_sample(failure_sample(second as u32));
        }
        assert_eq!((lane.intervals.len(), lane.samples.len()), (2, 4));
        fs::rename(directory.join("room"), &file).unwrap();
        lane.writer = pool.aggregates().unwrap();
        lane.push(interval(5, Stage::Load));
        assert!(lane.is_empty());
        let mut reader = pool.aggregates_from(0).unwrap();
        let (mut intervals, mut samples) = (Vec::new(), Vec::new());
        loop {
            match reader.next_entry().unwrap() {
                Next::Interval(i) => {
                    let span = (i.start_us / 1_000_000, i.end_us / 1_000_000);
                    intervals.push((i.sequence, i.stage, span, i.set.iterations, i.users));
                }
                Next::Sample(sample) => samples.push(sample.number),
                Next::End => break,
                Next::Damaged => unreachable!(),
            }
        }
        fs::remove_dir_all(&directory).unwrap();
        let expected = [
            (0, Stage::WarmUp, (0, 1), 0b1, 0),
            (1, Stage::WarmUp, (1, 2), 0b10, 1),
            (2, Stage::Load, (1, 5), 0b1_1110, 4),
            (3, Stage::Load, (5, 6), 0b10_0000, 5),
        ];
        assert_eq!(intervals, expected);
        assert_eq!(samples, [1, 2, 3, 4]);
    }
}
