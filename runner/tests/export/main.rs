//! The exporter's own binary where no search server is needed: away, killed, and answering at
//! once.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a failed step fails the test

mod disk;
#[path = "../search/exporter.rs"]
#[allow(dead_code, reason = "shared with the tests against real servers")]
mod exporter;
mod goals;
#[path = "../search/measured.rs"]
#[allow(dead_code, reason = "as above")]
mod measured;
mod null_server;

use std::{
    net::TcpListener,
    time::{Duration, Instant},
};

use loadtest_core::report::ExporterReport;
use loadtest_runner::pool::{Pool, RecordWriter};

use exporter::{Exporter, end_measuring};
use measured::{plan, record};
use null_server::NullServer;

/// Of an exporter, whatever it has to hold back; a pod has four times as much.
const MOST_RSS_KIB: u64 = 64 << 10;

fn namespace(test: &str) -> String {
    format!("{test}-{}", std::process::id())
}

/// A url where nobody listens yet, and the address to listen on later.
fn vacant() -> (String, std::net::SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (format!("http://{address}"), address)
}

/// Records from `from` on, as an engine of two workers makes them; a moment's rest after every
/// few thousand, as the kernel's network stack takes it.
fn measure(pool: &Pool, writers: &mut [RecordWriter; 2], records: std::ops::Range<u64>) {
    for k in records {
        writers[(k % 2) as usize].record(&record(k));
        if k % 4_096 == 4_095 {
            std::thread::sleep(Duration::from_millis(4));
        }
    }
    assert!(!pool.finished());
}

/// The exporter has taken blocks to disk: rings of that size hold one each that is left alone.
fn wait_until_relieved(pool: &Pool) {
    let deadline = Instant::now() + Duration::from_mins(1);
    while pool.full_blocks().len() > 2 {
        assert!(
            Instant::now() < deadline,
            "{} blocks wait",
            pool.full_blocks().len()
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Memory of a process that is resident now, shared memory included.
fn rss_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let word = line.and_then(|line| line.split_whitespace().nth(1));
    word.unwrap().parse().unwrap()
}

/// CPU time that a process has used.
fn cpu(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, rest) = stat.rsplit_once(')').unwrap();
    let ticks = |place| {
        rest.split_whitespace()
            .nth(place)
            .unwrap()
            .parse::<u64>()
            .unwrap()
    };
    // User and system; a tick is 10 ms on every Linux that Rust runs on.
    Duration::from_millis((ticks(11) + ticks(12)) * 10)
}

fn every_record_arrived(report: &ExporterReport, records: u64, server: &NullServer) {
    let requests = report.requests;
    assert_eq!(
        (requests.produced, requests.indexed),
        (records, records),
        "{report:?}"
    );
    assert_eq!(report.problem, "");
    assert_eq!(server.documents("requests"), records as usize);
}

/// More than memory and disk can hold: what is over is dropped by count, and the exporter's own
/// memory does not grow.
#[test]
fn an_outage_costs_little_memory_and_every_record_keeps_its_name() {
    const RECORDS: u64 = 4_000_000;
    let mut plan = plan("http://127.0.0.1:1", &namespace("outage"));
    plan.results.spool_limit = 8 << 20;
    plan.results.drain_timeout = Duration::from_secs(5);
    let mut exporter = Exporter::new(plan);
    // As large as an engine makes it.
    let pool = exporter.pool(128);
    let mut writers = [pool.writer(0), pool.writer(1)];
    exporter.start();
    let mut most = 0;
    for part in 0..20 {
        measure(
            &pool,
            &mut writers,
            part * RECORDS / 20..(part + 1) * RECORDS / 20,
        );
        most = most.max(rss_kib(exporter.pid()));
    }
    drop(writers);
    end_measuring(&pool);
    exporter.wait_for(
        |report| report.problem.contains("spoolLimit"),
        "the full spool is named",
    );
    most = most.max(rss_kib(exporter.pid()));
    println!("most memory of the exporter: {most} KiB");
    assert!(most > 1_000 && most <= MOST_RSS_KIB, "{most} KiB");
    let report = exporter.finish();
    let requests = report.requests;
    assert_eq!(requests.produced, RECORDS);
    assert!(requests.dropped > 0 && requests.lost > 0, "{report:?}");
    assert_eq!(requests.dropped + requests.lost, RECORDS, "{report:?}");
    let because = format!(
        "{} records were dropped: the memory for them was full",
        requests.dropped
    );
    assert!(report.problem.contains(&because), "{}", report.problem);
    assert!(
        report
            .problem
            .contains("cannot connect to http://127.0.0.1:1"),
        "{}",
        report.problem
    );
}

#[test]
fn killed_at_any_moment_of_an_outage_it_goes_on_where_it_was() {
    const RECORDS: u64 = 60_000;
    let (url, address) = vacant();
    let mut exporter = Exporter::new(plan(&url, &namespace("kill")));
    // Room for a third of the records.
    let pool = exporter.pool(6);
    let mut writers = [pool.writer(0), pool.writer(1)];
    let mut server = None;
    for kill in 0..10_u64 {
        exporter.start();
        measure(
            &pool,
            &mut writers,
            kill * RECORDS / 10..(kill + 1) * RECORDS / 10,
        );
        if kill == 6 {
            server = Some(NullServer::on(TcpListener::bind(address).unwrap()));
        }
        // Every other one dies at once, perhaps before it has begun.
        if kill % 2 == 0 {
            wait_until_relieved(&pool);
        }
        exporter.kill();
    }
    drop(writers);
    end_measuring(&pool);
    exporter.start();
    let report = exporter.finish();
    every_record_arrived(&report, RECORDS, server.as_ref().unwrap());
}

/// An engine that is killed leaves its pool, and the exporter its spool.
#[test]
fn an_engine_that_is_killed_leaves_pool_and_spool_to_be_drained() {
    const RECORDS: u64 = 30_000;
    let (url, address) = vacant();
    let mut exporter = Exporter::new(plan(&url, &namespace("engine")));
    let pool = exporter.pool(4);
    let mut writers = [pool.writer(0), pool.writer(1)];
    exporter.start();
    for part in 0..5 {
        measure(
            &pool,
            &mut writers,
            part * RECORDS / 5..(part + 1) * RECORDS / 5,
        );
        wait_until_relieved(&pool);
    }
    // It never says that it has finished; the kernel gives back its lock.
    drop((writers, pool));
    let server = NullServer::on(TcpListener::bind(address).unwrap());
    let report = exporter.finish();
    every_record_arrived(&report, RECORDS, &server);
}

/// Not a test of a number: prints what a backlog costs, for the build it is made with.
#[test]
#[ignore = "a measurement: cargo test --release -p loadtest-runner --test export -- --ignored --nocapture"]
fn how_fast_a_backlog_is_delivered() {
    const RECORDS: u64 = 1_000_000;
    let (url, address) = vacant();
    let mut exporter = Exporter::new(plan(&url, &namespace("backlog")));
    let pool = exporter.pool(128);
    let mut writers = [pool.writer(0), pool.writer(1)];
    exporter.start();
    measure(&pool, &mut writers, 0..RECORDS);
    drop(writers);
    end_measuring(&pool);
    let before = cpu(exporter.pid());
    let begun = Instant::now();
    let server = NullServer::counting(TcpListener::bind(address).unwrap());
    while server.documents("requests") < RECORDS as usize {
        assert!(
            begun.elapsed() < Duration::from_mins(2),
            "{}",
            server.documents("requests")
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    let (elapsed, cpu) = (begun.elapsed(), cpu(exporter.pid()).saturating_sub(before));
    println!(
        "{:.0} documents a second, {:.2} µs of CPU each, {} KiB",
        RECORDS as f64 / elapsed.as_secs_f64(),
        cpu.as_secs_f64() * 1e6 / RECORDS as f64,
        rss_kib(exporter.pid()),
    );
    assert_eq!(exporter.finish().requests.indexed, RECORDS);
}
