//! What a run feels of a search server that is of no use: measured on a release build and a quiet
//! machine by `cargo test --release -p loadtest-cli --test outage -- --ignored --nocapture
//! --test-threads=1`.

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::{
    io::{Read, Write},
    net::TcpListener,
    time::{Duration, Instant},
};

use common::{Place, Started, Target, manifest, process_of, run_args, wait_for_engine};
use loadtest_crds::LoadTestRunStatus;

/// A search server as it should not be.
#[derive(Debug, Clone, Copy)]
enum Server {
    /// No documents are made at all: what the others are compared with.
    None,
    /// Nobody listens.
    Dead,
    /// Connections are taken by the kernel, and by nobody else.
    Stalled,
    /// 429, whatever it is asked.
    Busy,
}

impl Server {
    /// Its url, and what keeps it there.
    fn start(self) -> (String, Option<TcpListener>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        match self {
            Self::None | Self::Dead => (url, None),
            Self::Stalled => (url, Some(listener)),
            Self::Busy => {
                std::thread::spawn(move || {
                    for stream in listener.incoming().flatten() {
                        std::thread::spawn(move || refuse(stream));
                    }
                });
                (url, None)
            }
        }
    }
}

fn refuse(mut stream: impl Read + Write) -> Option<()> {
    let mut bytes = Vec::new();
    let mut part = [0; 16 << 10];
    while !bytes.windows(4).any(|window| window == b"\r\n\r\n") {
        let read = stream.read(&mut part).ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(&part[..read]);
    }
    let answer = b"HTTP/1.1 429 Busy\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
    stream.write_all(answer).ok()
}

/// A run at a rate; while it lasts, `look` is called with its engine and its exporter once a second.
fn run(
    server: Server,
    rate: u32,
    seconds: u64,
    mut look: impl FnMut(u32, u32),
) -> LoadTestRunStatus {
    let (place, target) = (Place::new(), Target::start());
    let (url, _listener) = server.start();
    let load =
        format!("{{ constantRate: {{ rate: {rate}/s, duration: {seconds}s, maxUsers: 1000 }} }}");
    let results = "  results:\n    elasticsearch: { urls: [\"http://127.0.0.1:1\"], \
                   spoolLimit: 256Mi, drainTimeout: 1s }\n";
    place.write("test.yaml", &(manifest(&load, "/get", &[]) + results));
    let mut args = run_args(&target.url).to_vec();
    match server {
        Server::None => args.extend(["--raw", "none"]),
        Server::Dead | Server::Stalled | Server::Busy => args.extend(["--elasticsearch", &url]),
    }
    let started = Started::new(place.loadtest(&args));
    let engine = wait_for_engine(&place, &target);
    let exporter = process_of(&place, "export");
    let end = Instant::now() + Duration::from_secs(seconds - 1);
    while Instant::now() < end {
        look(engine, exporter);
        std::thread::sleep(Duration::from_secs(1));
    }
    started.wait(Duration::from_mins(1)).run_status()
}

fn rss_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let word = line.and_then(|line| line.split_whitespace().nth(1));
    word.unwrap().parse().unwrap()
}

/// Highest at all, and by how much the second half's is higher than the first's.
fn memory(samples: &[u64]) -> (u64, u64) {
    let (first, second) = samples.split_at(samples.len() / 2);
    let most = |part: &[u64]| part.iter().copied().max().unwrap();
    (most(samples), most(second).saturating_sub(most(first)))
}

/// `64.0ms` as microseconds.
fn microseconds(text: &str) -> f64 {
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    let number: f64 = text.trim_end_matches(unit).parse().unwrap();
    match unit {
        "us" => number,
        "ms" => number * 1e3,
        "s" => number * 1e6,
        _ => panic!("{text} is no duration"),
    }
}

#[test]
#[ignore = "a measurement of two minutes"]
fn two_minutes_without_a_search_server_cost_no_memory() {
    const RATE: u32 = 20_000;
    let (mut engines, mut exporters) = (Vec::new(), Vec::new());
    let status = run(Server::Dead, RATE, 120, |engine, exporter| {
        engines.push(rss_kib(engine));
        exporters.push(rss_kib(exporter));
    });
    let (engine, exporter) = (memory(&engines), memory(&exporters));
    let summary = status.summary.as_ref().unwrap();
    println!(
        "{} requests at {RATE}/s, {:?}; {:?}",
        summary.requests, status.verdict, status.export
    );
    println!(
        "engine at most {} KiB, {} KiB more in the second minute; exporter at most {} KiB (goal \
         65536), {} KiB more",
        engine.0, engine.1, exporter.0, exporter.1
    );
    let counts = status.export.as_ref().unwrap();
    assert_eq!(counts.produced, summary.requests);
    assert_eq!(counts.lost + counts.dropped, counts.produced, "{counts:?}");
    assert!(exporter.0 <= 64 << 10, "{exporters:?}");
    assert!(engine.1 <= 2 << 10, "{engines:?}");
}

#[test]
#[ignore = "a measurement of three minutes"]
fn latency_is_the_same_whatever_the_search_server_does() {
    const ROUNDS: usize = 3;
    let servers = [Server::None, Server::Dead, Server::Stalled, Server::Busy];
    let mut p99 = [const { Vec::new() }; 4];
    for _ in 0..ROUNDS {
        for (server, values) in servers.into_iter().zip(&mut p99) {
            let status = run(server, 10_000, 10, |_, _| {});
            let latency = status.summary.unwrap().latency;
            values.push(microseconds(&latency.p99));
        }
    }
    let medians = p99.map(|mut values| {
        values.sort_by(f64::total_cmp);
        values[ROUNDS / 2]
    });
    for (server, median) in servers.iter().zip(medians) {
        println!(
            "{server:?}: p99 {median:.0} µs, {:.2} of the run without export (goal 1.10)",
            median / medians[0]
        );
    }
}
