//! Law: the shards of any split are the whole, nothing twice and nothing missing.
#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

use std::{collections::BTreeSet, time::Duration};

use loadtest_core::{
    scalar::Rate,
    schedule::{ARRIVAL, Schedule},
    shard::Shard,
};
use proptest::prelude::*;

proptest! {
    #[test]
    fn shares_add_up(total in 0_u64..100_000, runners in 1_u32..40, workers in 1_u32..9) {
        let sum: u64 = parts(runners, workers).map(|shard| shard.share(total)).sum();
        prop_assert_eq!(sum, total);
    }

    #[test]
    fn every_thing_belongs_to_exactly_one_part(
        total in 0_u64..2_000, runners in 1_u32..10, workers in 1_u32..5,
    ) {
        let all: Vec<u64> = parts(runners, workers)
            .flat_map(|shard| (0..shard.share(total)).map(move |k| shard.global(k)))
            .collect();
        prop_assert_eq!(all.len() as u64, total);
        prop_assert_eq!(all.into_iter().collect::<BTreeSet<_>>(), (0..total).collect());
    }

    #[test]
    fn arrivals_of_all_parts_interleave_to_the_whole_schedule(
        events in 1_u64..5_000, per_minute in any::<bool>(), millis in 1_u64..3_000,
        runners in 1_u32..10, workers in 1_u32..5,
    ) {
        let rate: Rate = format!("{events}/{}", if per_minute { "m" } else { "s" }).parse().unwrap();
        let duration = Duration::from_millis(millis);
        let schedule = Schedule::constant(rate, duration);
        let whole = due_times(&schedule, Shard::WHOLE);
        let mut merged: Vec<u64> = parts(runners, workers)
            .flat_map(|shard| due_times(&schedule, shard))
            .collect();
        merged.sort_unstable();
        prop_assert_eq!(&merged, &whole);
        // As many as fit: the last is due before the end, the next would not be.
        prop_assert!(whole.iter().all(|due| u128::from(*due) < duration.as_nanos()));
        let next = whole.len() as u128 * rate.per.as_nanos();
        prop_assert!(next >= duration.as_nanos() * u128::from(events));
    }
}

fn parts(runners: u32, workers: u32) -> impl Iterator<Item = Shard> {
    (0..runners).flat_map(move |index| {
        (0..workers).map(move |worker| {
            Shard {
                index,
                parts: runners,
            }
            .split(worker, workers)
        })
    })
}

fn due_times(schedule: &Schedule, shard: Shard) -> Vec<u64> {
    let count = shard.share(schedule.count());
    let due = |k| schedule.due(u128::from(shard.global(k)) * ARRIVAL);
    assert_eq!(due(count), None);
    (0..count).map(|k| due(k).unwrap()).collect()
}
