//! What is handed to the exporter says the same as what is told to the coordinator.

use std::time::Duration;

use loadtest_core::{
    histogram::{Histogram, TOTAL_DIGITS},
    plan::RawMode,
    series::{Outcome, SeriesSet},
};
use loadtest_runner::pool::{Interval, Next, Pool};

use crate::{
    harness::{Ended, Run, get, plan, rate, scenario, step, task, users, with_files},
    target::Target,
};

const SECOND: Duration = Duration::from_secs(1);

async fn finished(plan: loadtest_core::plan::Plan) -> (Run, Ended) {
    // Nobody exports here, so the run cannot be complete; its engine can.
    let mut run = Run::start(plan).await;
    let ended = run.end().await;
    assert_eq!(ended.codes, [Some(0)]);
    (run, ended)
}

fn intervals(pool: &Pool) -> Vec<Interval> {
    let mut reader = pool.aggregates_from(0).unwrap();
    let mut intervals = Vec::new();
    loop {
        match reader.next_entry().unwrap() {
            Next::Interval(interval) => intervals.push(*interval),
            Next::Sample(_) => {}
            Next::End => return intervals,
            Next::Damaged => panic!("a damaged interval"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn raw_records_and_intervals_add_up_to_what_was_reported() {
    let target = Target::start().await;
    let mut hang = get("/hang");
    hang.timeout = Duration::from_millis(100);
    let mut failing = get("/status/503");
    failing.checks = vec![
        crate::harness::body_contains("x"),
        crate::harness::body_contains("y"),
    ];
    let steps = vec![step(get("/ok")), step(failing), step(hang)];
    let load = rate("100/s", 3 * SECOND, 50);
    let plan = with_files(
        plan(
            target.address,
            vec![scenario(load, vec![task("only", 1, steps)])],
        ),
        RawMode::All,
    );
    let (run, ended) = finished(plan).await;
    let pool = Pool::open(&run.pool(0)).unwrap();
    assert!(pool.finished());
    let mut latency = Histogram::default();
    let (mut requests, mut sent, mut received, mut fresh) = (0, 0, 0, 0);
    let mut timeouts = Vec::new();
    for id in pool
        .full_blocks()
        .into_iter()
        .chain(pool.unfinished_blocks())
    {
        let block = pool.read(id);
        assert!(block.intact);
        for (_, record) in block.records() {
            requests += 1;
            latency.record(record.latency_us(), TOTAL_DIGITS);
            sent += u64::from(record.bytes_sent);
            received += u64::from(record.bytes_received);
            fresh += u64::from(!record.reused);
            match record.outcome {
                Outcome::Timeout => timeouts.push(record.error.unwrap_or_default().to_owned()),
                Outcome::Status => assert_eq!((record.status, record.failed_checks), (503, 0b11)),
                outcome => assert_eq!((outcome, record.status), (Outcome::Ok, 200)),
            }
        }
    }
    let merged = ended.merged;
    assert_eq!((requests, merged.total.requests), (900, 900));
    assert_eq!(latency, merged.total.latency);
    assert_eq!(
        (sent, received),
        (merged.total.bytes_sent, merged.total.bytes_received)
    );
    assert_eq!(fresh, merged.connections);
    assert_eq!(timeouts, vec!["no whole answer within 100ms"; 300]);
    let counts = run.server.reports().last().unwrap().records;
    assert_eq!(
        (counts.produced, counts.sampled_out, counts.dropped),
        (900, 0, 0)
    );

    let intervals = intervals(&pool);
    assert!((3..=5).contains(&intervals.len()), "{}", intervals.len());
    let mut sum = SeriesSet::default();
    for (number, interval) in intervals.iter().enumerate() {
        assert_eq!(interval.sequence, number as u64);
        let whole = interval.start_us % 1_000_000 == 0 && interval.end_us % 1_000_000 == 0;
        assert_eq!(
            interval.partial, !whole,
            "{} to {}",
            interval.start_us, interval.end_us
        );
        assert!(interval.start_us < interval.end_us);
        sum.merge(&interval.set);
    }
    for pair in intervals.windows(2) {
        assert_eq!(pair[0].end_us, pair[1].start_us);
    }
    assert_eq!(sum, merged);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_raw_records_requests_are_counted_as_left_out() {
    let target = Target::start().await;
    let tasks = vec![task("only", 1, vec![step(get("/slow/1"))])];
    let plan = with_files(
        plan(target.address, vec![scenario(users(4, SECOND), tasks)]),
        RawMode::None,
    );
    let (run, ended) = finished(plan).await;
    let pool = Pool::open(&run.pool(0)).unwrap();
    assert!(pool.full_blocks().is_empty() && pool.unfinished_blocks().is_empty());
    let counts = run.server.reports().last().unwrap().records;
    let requests = ended.merged.total.requests;
    assert_eq!(
        (counts.produced, counts.sampled_out, counts.dropped),
        (requests, requests, 0)
    );
    let sum: u64 = intervals(&pool)
        .iter()
        .map(|interval| interval.set.total.requests)
        .sum();
    assert_eq!(sum, requests);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_choice_of_requests_keeps_what_failed_and_counts_the_rest() {
    let target = Target::start().await;
    for (mode, most_ok) in [
        (
            RawMode::ErrorsAndSlow {
                slower_than: SECOND * 9,
            },
            0,
        ),
        (
            RawMode::Sample {
                per_million: 200_000,
                slower_than: None,
            },
            200,
        ),
    ] {
        let steps = vec![step(get("/ok")), step(get("/status/503"))];
        let load = rate("200/s", 2 * SECOND, 50);
        let scenarios = vec![scenario(load, vec![task("only", 1, steps)])];
        let plan = with_files(plan(target.address, scenarios), mode);
        let (run, ended) = finished(plan).await;
        let pool = Pool::open(&run.pool(0)).unwrap();
        let (mut ok, mut failed) = (0, 0);
        let waiting = pool.full_blocks().into_iter();
        for id in waiting.chain(pool.unfinished_blocks()) {
            let block = pool.read(id);
            for (n, record) in block.records() {
                assert!(mode.keeps(record.outcome == Outcome::Ok, record.latency_us(), n));
                *(if record.outcome == Outcome::Ok {
                    &mut ok
                } else {
                    &mut failed
                }) += 1;
            }
        }
        assert_eq!(
            (ended.merged.total.requests, failed),
            (800, 400),
            "{mode:?}"
        );
        assert!(
            ok <= most_ok && (most_ok == 0 || ok > 20),
            "{ok} of 400 in {mode:?}"
        );
        let counts = run.server.reports().last().unwrap().records;
        let left_out = 800 - failed - ok;
        assert_eq!(
            (counts.produced, counts.sampled_out, counts.dropped),
            (800, left_out, 0)
        );
    }
}
