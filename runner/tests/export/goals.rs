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
    let pool = exporter.pool(128);
    let mut writers = [pool.writer(0), pool.writer(1)];
    exporter.start();
    let outage = Outage::of(&exporter, &pool, &mut writers);
    let spooled = spooled_bytes(&exporter);
    drop(writers);
    end_measuring(&pool);

    let (begun, used) = (Instant::now(), cpu(exporter.pid()));
    let server = NullServer::counting(TcpListener::bind(address).unwrap());
    let until = |count: u64| {
        while (server.documents("requests") as u64) < count {
            let gone = begun.elapsed();
            assert!(gone < Duration::from_mins(2), "{}", exporter.log());
            std::thread::sleep(Duration::from_millis(5));
        }
        begun.elapsed()
    };
    // A server that was away is asked again after up to half a minute.
    let noticed = until(1);
    let drained = until(outage.records).saturating_sub(noticed).as_secs_f64();
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
        "backlog: noticed after {:.1} s, then {rate:.0} documents a second, {times:.1} times as \
         fast as it was made (goal {DRAIN}: {})",
        noticed.as_secs_f64(),
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
