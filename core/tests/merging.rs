//! Laws of what is measured: merging loses nothing, whatever the order, and travels exactly.
#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

use loadtest_core::{
    histogram::{Histogram, MAX_MICROS, NAME_DIGITS, TOTAL_DIGITS},
    report::{self, ExportCounts},
    series::{ErrorKey, GroupSeries, MAX_ERROR_KINDS, Outcome, Sample, Series, SeriesSet},
};
use proptest::prelude::*;

fn sample() -> impl Strategy<Value = (usize, Sample)> {
    let outcome = (0_u8..17).prop_map(|n| Outcome::from_u8(n).unwrap());
    (
        0_usize..4,
        outcome,
        prop_oneof![Just(0_u16), 100_u16..600],
        0_u64..MAX_MICROS * 2,
        0..5_000_u64,
    )
        .prop_map(|(name, outcome, status, latency_us, bytes)| {
            let sample = Sample {
                outcome,
                status,
                latency_us,
                service_us: latency_us / 2,
                bytes_sent: bytes,
                bytes_received: bytes * 2,
            };
            (name, sample)
        })
}

fn set_of(samples: &[(usize, Sample)]) -> SeriesSet {
    let mut set = SeriesSet::default();
    for (name, sample) in samples {
        set.by_name
            .resize_with(set.by_name.len().max(name + 1), Default::default);
        set.total.record(sample, TOTAL_DIGITS);
        set.by_name[*name].record(sample, NAME_DIGITS);
        // Every sample is also a pass through a group, so that groups obey the same laws.
        set.groups
            .resize_with(set.groups.len().max(name + 1), Default::default);
        let failed = sample.outcome != Outcome::Ok;
        set.groups[*name].record(failed, sample.latency_us, NAME_DIGITS);
        set.iterations += 1;
        set.iterations_failed += u64::from(sample.outcome == Outcome::Extract);
        if failed {
            let message = format!("{} {name}", sample.outcome.name());
            let key = ErrorKey {
                outcome: sample.outcome,
                series: *name as u32,
                message,
            };
            set.count_error(key, 1);
        }
    }
    set
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn any_split_and_order_merges_to_the_whole(
        samples in prop::collection::vec(sample(), 0..120), cut in 0_usize..120, other in 0_usize..120,
    ) {
        let whole = set_of(&samples);
        let (a, b) = (cut.min(other).min(samples.len()), cut.max(other).min(samples.len()));
        let parts = [set_of(&samples[..a]), set_of(&samples[a..b]), set_of(&samples[b..])];
        for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2]] {
            let mut merged = SeriesSet::default();
            for index in order {
                merged.merge(&parts[index]);
            }
            merged.by_name.resize_with(whole.by_name.len().max(merged.by_name.len()), Default::default);
            merged.groups.resize_with(whole.groups.len().max(merged.groups.len()), Default::default);
            prop_assert_eq!(&merged, &whole);
        }
    }

    #[test]
    fn a_set_travels_exactly(samples in prop::collection::vec(sample(), 0..60)) {
        let set = set_of(&samples);
        let bytes = report::encode(&set).unwrap();
        prop_assert_eq!(report::decode::<SeriesSet>(&bytes).unwrap(), set);
    }

    #[test]
    fn quantiles_are_within_the_precision_of_the_sorted_values(
        mut values in prop::collection::vec(1_u64..10_000_000, 1..400),
    ) {
        let mut histogram = Histogram::default();
        for value in &values {
            histogram.record(*value, TOTAL_DIGITS);
        }
        values.sort_unstable();
        for quantile in [0.5, 0.9, 0.99, 0.999] {
            let rank = ((quantile * values.len() as f64).ceil() as usize).max(1) - 1;
            let (exact, said) = (values[rank] as f64, histogram.quantile(quantile) as f64);
            prop_assert!((said - exact).abs() <= exact * 0.001 + 1.0, "{said} for {exact}");
        }
        prop_assert_eq!(histogram.max(), *values.last().unwrap());
        prop_assert_eq!(histogram.sum(), values.iter().sum::<u64>());
        prop_assert_eq!(histogram.buckets().map(|(_, count)| count).sum::<u64>(), values.len() as u64);
    }
}

#[test]
fn more_kinds_of_errors_than_are_kept_are_still_counted() {
    let mut set = SeriesSet::default();
    for n in 0..200 {
        let key = ErrorKey {
            outcome: Outcome::Status,
            series: 0,
            message: format!("status {n}"),
        };
        set.count_error(key, 2);
    }
    assert_eq!(set.errors.len(), MAX_ERROR_KINDS + 1);
    assert_eq!(set.errors.values().sum::<u64>(), 400);
}

type Count = fn(&mut SeriesSet);

/// A delta, an interval or a warm-up with nothing in it is never told: whatever is counted alone
/// must be something.
#[test]
fn every_counter_alone_is_something() {
    let counters: [(&str, Count); 14] = [
        ("total", |set| set.total.requests = 1),
        ("by_name", |set| {
            set.by_name = vec![Series::default(); 2];
            set.by_name[1].requests = 1;
        }),
        ("checks passed", |set| set.checks = vec![(0, 0), (1, 0)]),
        ("checks failed", |set| set.checks = vec![(0, 1)]),
        ("groups", |set| {
            set.groups = vec![GroupSeries::default(); 2];
            set.groups[1].count = 1;
        }),
        ("errors", |set| {
            let key = ErrorKey {
                outcome: Outcome::Status,
                series: 0,
                message: String::new(),
            };
            set.count_error(key, 1);
        }),
        ("iterations", |set| set.iterations = 1),
        ("iterations_failed", |set| set.iterations_failed = 1),
        ("scheduled", |set| set.scheduled = 1),
        ("started", |set| set.started = 1),
        ("late_by_generator", |set| set.late_by_generator = 1),
        ("late_by_target", |set| set.late_by_target = 1),
        ("connections", |set| set.connections = 1),
        ("resent", |set| set.resent = 1),
    ];
    let forgotten = counters.iter().filter(|(_, count)| {
        let mut set = SeriesSet::default();
        count(&mut set);
        set.is_nothing()
    });
    let forgotten: Vec<_> = forgotten.map(|(name, _)| *name).collect();
    assert_eq!(forgotten, [""; 0]);
    // Rows without a count are nothing.
    let empty = SeriesSet {
        by_name: vec![Series::default(); 3],
        checks: vec![(0, 0); 3],
        groups: vec![GroupSeries::default(); 3],
        ..SeriesSet::default()
    };
    assert!(empty.is_nothing());
}

#[test]
fn hostile_bytes_are_refused_and_do_not_panic() {
    let mut histogram = Histogram::default();
    histogram.record(12, TOTAL_DIGITS);
    let bytes = report::encode(&histogram).unwrap();
    for index in 0..bytes.len() {
        for bit in 0..8 {
            let mut hostile = bytes.clone();
            hostile[index] ^= 1 << bit;
            // Either refused, or another histogram that still has our bounds.
            if let Ok(read) = report::decode::<Histogram>(&hostile) {
                let mut merged = histogram.clone();
                merged.merge(&read);
                assert_eq!(merged.count(), 1 + read.count(), "byte {index} bit {bit}");
            }
        }
    }
}

#[test]
fn a_sum_is_verified_when_each_part_is() {
    let of = |verified| ExportCounts {
        produced: 2,
        indexed: 2,
        verified,
        ..ExportCounts::default()
    };
    for (parts, sum) in [
        (vec![Some(true)], Some(true)),
        (vec![Some(true), Some(true)], Some(true)),
        (vec![Some(true), None], None),
        (vec![None, Some(true)], None),
        (vec![None, Some(false)], Some(false)),
        (vec![Some(false), Some(true), None], Some(false)),
    ] {
        let mut all = ExportCounts::NOTHING;
        for part in &parts {
            all.merge(&of(*part));
        }
        assert_eq!(all.verified, sum, "{parts:?}");
        assert_eq!(all.indexed, 2 * parts.len() as u64);
    }
}
