//! What the design promises in numbers, measured: an outage of two minutes, and what is left of it
//! afterwards. Of a release build on a quiet machine:
//! `cargo test --release -p loadtest-runner --test export -- --ignored --nocapture`.

use std::{
    net::TcpListener,
    time::{Duration, Instant},
};

use loadtest_runner::pool::{Pool, RecordWriter};

use crate::{
    MOST_RSS_KIB, cpu,
    exporter::{Exporter, end_measuring},
    measure,
    measured::plan,
    namespace,
    null_server::NullServer,
    rss_kib, vacant,
};

/// Records a second of the outage.
const RATE: u64 = 20_000;
const OUTAGE: Duration = Duration::from_mins(2);
const SPOOL_LIMIT: u64 = 256 << 20;

/// By so much the backlog is delivered faster than it was made.
const DRAIN: f64 = 10.0;
/// CPU time of the exporter for each document, from the record to the server's answer.
const CPU_US: f64 = 1.2;

/// What an outage comes to.
struct Outage {
    /// Resident memory of the exporter, KiB, once a second.
    rss: Vec<u64>,
    /// CPU time that it used meanwhile, of one core.
    cpu: f64,
    records: u64,
}

impl Outage {
    /// The engine writes at its rate, a twentieth of a second's records at a time.
    fn of(exporter: &Exporter, pool: &Pool, writers: &mut [RecordWriter; 2]) -> Self {
        let (begun, used) = (Instant::now(), cpu(exporter.pid()));
        let (mut rss, mut records) = (Vec::new(), 0);
        while begun.elapsed() < OUTAGE {
            measure(pool, writers, records..records + RATE / 20);
            records += RATE / 20;
            if records % RATE == 0 {
                rss.push(rss_kib(exporter.pid()));
            }
            let due = Duration::from_secs_f64(records as f64 / RATE as f64);
            std::thread::sleep(due.saturating_sub(begun.elapsed()));
        }
        let used = cpu(exporter.pid()).saturating_sub(used);
        Self {
            rss,
            cpu: used.as_secs_f64() / begun.elapsed().as_secs_f64(),
            records,
        }
    }

    /// Highest at all, and growth in the second half.
    fn memory(&self) -> (u64, u64) {
        let (first, second) = self.rss.split_at(self.rss.len() / 2);
        let most = |part: &[u64]| part.iter().copied().max().unwrap();
        (most(&self.rss), most(second).saturating_sub(most(first)))
    }
}

#[test]
#[ignore = "a measurement of three minutes"]
fn an_outage_of_two_minutes_and_its_backlog() {
    let (url, address) = vacant();
    let mut plan = plan(&url, &namespace("goals"));
    plan.results.spool_limit = SPOOL_LIMIT;
    let mut exporter = Exporter::new(plan);
    // As large as an engine makes it.
    let pool = exporter.pool(256);
    let mut writers = [pool.writer(0), pool.writer(1)];
    exporter.start();
    let outage = Outage::of(&exporter, &pool, &mut writers);
    let spooled = spooled_bytes(&exporter);
    drop(writers);
    end_measuring(&pool);

    let (begun, used) = (Instant::now(), cpu(exporter.pid()));
    let server = NullServer::counting(TcpListener::bind(address).unwrap());
    while (server.documents("requests") as u64) < outage.records {
        assert!(
            begun.elapsed() < Duration::from_mins(2),
            "{}",
            exporter.log()
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    let drained = begun.elapsed().as_secs_f64();
    let used = cpu(exporter.pid()).saturating_sub(used).as_secs_f64();
    let after = rss_kib(exporter.pid());
    let report = exporter.finish();

    let (most, growth) = outage.memory();
    let rate = outage.records as f64 / drained;
    let cpu_us = used * 1e6 / outage.records as f64;
    let met = |holds: bool| if holds { "met" } else { "MISSED" };
    println!(
        "{} records in {} s, {} MiB on disk of {} MiB, exporter {:.1} % of a core",
        outage.records,
        OUTAGE.as_secs(),
        spooled >> 20,
        SPOOL_LIMIT >> 20,
        outage.cpu * 100.0
    );
    println!(
        "memory of the exporter at most {most} KiB (goal {MOST_RSS_KIB}: {}), {growth} KiB more in \
         the second minute, {after} KiB at the end of the backlog",
        met(most.max(after) <= MOST_RSS_KIB)
    );
    let times = rate / RATE as f64;
    println!(
        "backlog: {rate:.0} documents a second, {times:.1} times as fast as it was made (goal \
         {DRAIN}: {})",
        met(times >= DRAIN)
    );
    println!(
        "backlog: {cpu_us:.2} µs of CPU for each document (goal {CPU_US}: {})",
        met(cpu_us <= CPU_US)
    );
    assert_eq!(report.requests.indexed, outage.records, "{report:?}");
    assert!(most <= MOST_RSS_KIB && growth <= 1_024, "{:?}", outage.rss);
}

fn spooled_bytes(exporter: &Exporter) -> u64 {
    let files = std::fs::read_dir(exporter.dir().join("spool")).unwrap();
    files
        .map(|file| file.unwrap().metadata().unwrap().len())
        .sum()
}

/// A block is decoded twice: once when it is read, to know that it is whole, and once for its
/// documents. What the first costs.
#[test]
#[ignore = "a measurement"]
fn what_it_costs_to_know_that_a_block_is_whole() {
    const ROUNDS: u32 = 2_000;
    let exporter = Exporter::new(plan("http://127.0.0.1:1", &namespace("whole")));
    let pool = exporter.pool(2);
    let mut writers = [pool.writer(0), pool.writer(1)];
    measure(&pool, &mut writers, 0..4_000);
    drop(writers);
    let id = pool.full_blocks()[0];
    let block = pool.read(id);
    let per_record = |work: &dyn Fn() -> u64| {
        let begun = Instant::now();
        let records: u64 = (0..ROUNDS).map(|_| work()).sum();
        begun.elapsed().as_secs_f64() * 1e9 / records as f64
    };
    let read = per_record(&|| u64::from(pool.read(id).count));
    let decoded = per_record(&|| block.records().count() as u64);
    println!("{read:.1} ns a record to read a block, of which {decoded:.1} ns to decode it");
    assert!(decoded < read);
}
