use std::{collections::BTreeSet, sync::atomic::AtomicU32};

use loadtest_core::{
    report::GeneratorHealth,
    series::{Outcome, Sample, Series, SeriesSet},
};
use proptest::prelude::*;

pub(crate) use super::record::tests::{any_record, with_text};
use super::{layout::BLOCK_RECORDS, record::tests::cut, *};

/// A directory that is gone at the end.
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir =
            std::env::temp_dir().join(format!("loadtest-pool-{}-{number}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Pool {
    /// As if the engine's process were killed: the kernel gives its lock back.
    pub(crate) fn release_engine_lock(&self) {
        self.shared.file.unlock().unwrap();
    }
}

fn options(workers: u32, blocks_per_worker: u32) -> PoolOptions {
    let anchor = Anchor {
        wall_ns: 1_795_400_000_123_456_789,
        mono_ns: 42,
    };
    PoolOptions {
        workers,
        blocks_per_worker,
        anchor,
    }
}

pub(crate) fn record(sent_ns: u64) -> Record<'static> {
    Record {
        sent_ns,
        late_us: 2,
        dns_us: 0,
        connect_us: 0,
        tls_us: 0,
        send_us: 10,
        wait_us: 500,
        receive_us: 5,
        step: 0,
        user: 1,
        iteration: 2,
        sequence: 0,
        status: 200,
        outcome: Outcome::Ok,
        failed_checks: 0,
        bytes_sent: 100,
        bytes_received: 200,
        reused: true,
        warm_up: false,
        error: None,
    }
}

/// Takes every block that is the reader's, settled; answers the numbers by worker.
fn drain(pool: &Pool, ledger: &mut Ledger) -> Vec<(u32, u64)> {
    let mut numbers = Vec::new();
    for id in pool.full_blocks() {
        let block = pool.read(id);
        assert!(block.intact);
        numbers.extend(block.records().map(|(n, _)| (id.worker, n)));
        ledger.indexed += u64::from(block.count);
        pool.settle(id, ledger);
    }
    numbers
}

#[test]
fn a_second_mapping_sees_what_the_first_wrote() {
    let scratch = Scratch::new();
    let engine = Pool::create(&scratch.0, options(2, 4)).unwrap();
    let exporter = Pool::open(&scratch.0).unwrap();
    assert_eq!(exporter.anchor(), engine.anchor());
    assert_eq!(exporter.workers(), 2);

    let (mut first, mut second) = (engine.writer(0), engine.writer(1));
    for k in 0..10 {
        first.record(&record(k));
    }
    second.skip();
    second.record(&record(5));
    assert!(
        exporter.full_blocks().is_empty(),
        "a block under way is the writer's"
    );
    first.flush();
    second.flush();
    let mut ledger = exporter.ledger();
    let numbers = drain(&exporter, &mut ledger);
    assert_eq!(numbers.len(), 11);
    assert!(
        numbers.contains(&(1, 1)),
        "a skipped record leaves a gap in the numbers"
    );
    assert_eq!(
        exporter.counts(),
        RecordCounts {
            produced: 12,
            sampled_out: 1,
            dropped: 0
        },
    );
    assert_eq!(exporter.ledger().indexed, 11);
}

#[test]
fn a_full_ring_drops_and_counts_each_record() {
    let scratch = Scratch::new();
    let pool = Pool::create(&scratch.0, options(1, 2)).unwrap();
    let mut writer = pool.writer(0);
    let room = u64::from(2 * BLOCK_RECORDS);
    for k in 0..room + 77 {
        writer.record(&record(k));
    }
    assert_eq!(
        pool.counts(),
        RecordCounts {
            produced: room + 77,
            sampled_out: 0,
            dropped: 77
        }
    );
    assert!((pool.high_water() - 1.0).abs() < f64::EPSILON);

    // What was settled is free again, and numbers go on behind the gap.
    let mut ledger = Ledger::default();
    assert_eq!(drain(&pool, &mut ledger).len() as u64, room);
    writer.record(&record(1));
    drop(writer);
    assert_eq!(drain(&pool, &mut ledger), [(0, room + 77)]);
    assert_eq!(
        ledger.indexed + pool.counts().dropped,
        pool.counts().produced
    );
}

#[test]
fn a_backlog_fills_blocks_to_the_end() {
    let scratch = Scratch::new();
    let pool = Pool::create(&scratch.0, options(1, 4)).unwrap();
    let mut writer = pool.writer(0);
    for k in 0..100 {
        writer.record(&record(k));
        writer.flush();
    }
    assert_eq!(
        pool.full_blocks().len(),
        2,
        "half of the ring, then one is filled"
    );
    assert_eq!(pool.counts().dropped, 0);
    drop(writer);
    let mut ledger = Ledger::default();
    assert_eq!(drain(&pool, &mut ledger).len(), 100);
}

#[test]
fn an_engine_that_dies_leaves_its_records() {
    let scratch = Scratch::new();
    let engine = Pool::create(&scratch.0, options(1, 4)).unwrap();
    let exporter = Pool::open(&scratch.0).unwrap();
    let mut writer = engine.writer(0);
    for k in 0..5 {
        writer.record(&record(k));
    }
    assert!(!exporter.engine_gone());
    // As if killed: nothing is handed over, the kernel closes the file.
    engine.release_engine_lock();
    assert!(exporter.engine_gone());
    let blocks = exporter.unfinished_blocks();
    let block = exporter.read(blocks[0]);
    assert!(block.intact);
    assert_eq!(block.records().count(), 5);
    std::mem::forget(writer);
}

#[test]
fn a_flipped_bit_is_found() {
    let scratch = Scratch::new();
    let pool = Pool::create(&scratch.0, options(1, 2)).unwrap();
    let mut writer = pool.writer(0);
    writer.record(&record(1));
    writer.flush();
    let id = pool.full_blocks()[0];
    let at = pool.geometry().block(0, 0) + 3;
    let flipped = pool.map().bytes(at, 1)[0] ^ 0x10;
    pool.map().write(at, &[flipped]);
    let block = pool.read(id);
    assert!(!block.intact);
    assert_eq!(block.count, 1);
}

#[test]
fn an_exporter_killed_while_settling_counts_a_block_once() {
    let scratch = Scratch::new();
    let pool = Pool::create(&scratch.0, options(1, 4)).unwrap();
    let mut writer = pool.writer(0);
    writer.record(&record(1));
    writer.flush();
    writer.record(&record(2));
    writer.flush();
    let id = pool.full_blocks()[0];
    // The ledger is written, the block is not yet free.
    let ledger = Ledger {
        indexed: 1,
        last_worker: 1,
        last_generation: id.generation,
        ..Ledger::default()
    };
    pool.write_ledger(&ledger);

    let restarted = Pool::open(&scratch.0).unwrap();
    restarted.free_settled();
    let mut ledger = restarted.ledger();
    assert_eq!(drain(&restarted, &mut ledger), [(0, 1)]);
    assert_eq!(ledger.indexed, 2);
}

#[test]
fn other_files_are_refused() {
    let scratch = Scratch::new();
    assert!(Pool::open(&scratch.0).unwrap_err().is_absent());
    fs::write(scratch.0.join("pool"), vec![7; 100_000]).unwrap();
    assert!(matches!(Pool::open(&scratch.0), Err(PoolError::Foreign(_))));
    assert!(matches!(
        Pool::create(&scratch.0, options(0, 4)),
        Err(PoolError::Options {
            workers: 0,
            blocks: 4
        })
    ));
}

fn interval(sequence: u64) -> Interval {
    let mut set = SeriesSet {
        by_name: vec![Series::default(); 2],
        ..SeriesSet::default()
    };
    let sample = Sample {
        outcome: Outcome::Ok,
        status: 200,
        latency_us: 1_000 + sequence,
        service_us: 900,
        bytes_sent: 1,
        bytes_received: 2,
    };
    set.total.record(&sample, 3);
    set.by_name[1].record(&sample, 2);
    Interval {
        sequence,
        start_us: 5_000_000 * sequence.cast_signed(),
        end_us: 5_000_000 * (sequence.cast_signed() + 1),
        partial: sequence == 0,
        stage: Stage::Load,
        set,
        users: 3,
        records: RecordCounts::default(),
        health: GeneratorHealth::default(),
    }
}

pub(crate) fn failure_sample(number: u32) -> FailureSample {
    FailureSample {
        number,
        sent_ns: 1_234_567_890,
        stage: Stage::Load,
        series: 0,
        scenario: 0,
        step: 0,
        user: 7,
        iteration: 3,
        sequence: 1,
        outcome: Outcome::Status,
        message: "status 500".to_owned(),
        check: None,
        url: "http://shop/get?q=1&access_token=t0k3n".to_owned(),
        status: 500,
        latency_us: 2_500,
        content_type: "application/json".to_owned(),
        body: r#"{"error":"no stock","token":"t0k3n"}"#.to_owned(),
        body_bytes: 36,
        note: String::new(),
    }
}

fn read(reader: &mut AggregateReader) -> Option<Interval> {
    match reader.next_entry().unwrap() {
        Next::Interval(interval) => Some(*interval),
        Next::End => None,
        Next::Sample(_) | Next::Damaged => panic!("no interval"),
    }
}

#[test]
fn aggregates_come_back_whole_and_in_order() {
    let scratch = Scratch::new();
    let pool = Pool::create(&scratch.0, options(1, 2)).unwrap();
    let (mut writer, mut reader) = (pool.aggregates().unwrap(), pool.aggregates_from(0).unwrap());
    assert_eq!(read(&mut reader), None);
    writer.append(&interval(0)).unwrap();
    writer.append(&interval(1)).unwrap();
    assert_eq!(read(&mut reader), Some(interval(0)));
    let second = reader.offset();
    reader.forget_before(second);
    assert_eq!(read(&mut reader), Some(interval(1)));
    assert_eq!(read(&mut reader), None);

    // A reader that starts again where the first was; and half an interval is none.
    let mut again = pool.aggregates_from(second).unwrap();
    assert_eq!(read(&mut again), Some(interval(1)));
    let path = scratch.0.join("aggregates");
    let whole = fs::metadata(&path).unwrap().len();
    writer.append(&interval(2)).unwrap();
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(whole + 20).unwrap();
    assert_eq!(read(&mut again), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// A model of the ring: any mix of records, skips, flushes and drains, over two mappings.
    #[test]
    fn nothing_is_lost_without_a_count(
        actions in prop::collection::vec((0..10_u8, any_record(), 1..700_u32), 1..60)
    ) {
        let scratch = Scratch::new();
        let engine = Pool::create(&scratch.0, options(1, 3)).unwrap();
        let exporter = Pool::open(&scratch.0).unwrap();
        let mut writer = engine.writer(0);
        let (mut written, mut read) = (Vec::new(), Vec::new());
        let mut ledger = Ledger::default();
        let mut n = 0;
        for (action, owned, repeat) in &actions {
            match action {
                0 => { writer.skip(); n += 1; }
                1 => writer.flush(),
                2 => collect(&exporter, &mut ledger, &mut read),
                _ => for _ in 0..*repeat {
                    let before = exporter.counts().dropped;
                    let record = with_text(owned);
                    writer.record(&record);
                    if exporter.counts().dropped == before {
                        let cut = cut(&record);
                        written.push((n, cut.sent_ns, cut.error.map(str::to_owned)));
                    }
                    n += 1;
                }
            }
        }
        drop(writer);
        collect(&exporter, &mut ledger, &mut read);
        prop_assert_eq!(&read, &written);
        let counts = exporter.counts();
        prop_assert_eq!(counts.produced, n);
        prop_assert_eq!(counts.produced, counts.sampled_out + counts.dropped + ledger.indexed);
        let numbers: BTreeSet<_> = read.iter().map(|(n, ..)| *n).collect();
        prop_assert_eq!(numbers.len(), read.len());
    }
}

fn collect(pool: &Pool, ledger: &mut Ledger, into: &mut Vec<(u64, u64, Option<String>)>) {
    for id in pool.full_blocks() {
        let block = pool.read(id);
        assert!(block.intact);
        into.extend(
            block
                .records()
                .map(|(n, r)| (n, r.sent_ns, r.error.map(str::to_owned))),
        );
        ledger.indexed += u64::from(block.count);
        pool.settle(id, ledger);
    }
}
