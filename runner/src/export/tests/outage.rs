//! A server that is away or slow for longer than memory lasts: blocks wait on disk.

use std::net::SocketAddr;

use tokio::net::TcpListener;

use super::{
    runner::{Runner, complete, view},
    server::{Fault, Server},
    *,
};

const REQUESTS: &str = "loadtest-requests-shop-ns";

/// Rings of four blocks in all have room for 8,000 of these.
const BLOCKS: u32 = 2;
const RECORDS: u64 = 20_000;

/// Where nobody listens yet.
async fn vacant() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}

async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_mins(1);
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn segments(runner: &Runner) -> usize {
    std::fs::read_dir(runner.spool()).map_or(0, Iterator::count)
}

#[tokio::test]
async fn memory_never_fills_because_the_server_is_away() {
    let address = vacant().await;
    let plan = searchable_plan(&[&format!("http://{address}")]);
    let (runner, engine) = Runner::measuring(plan, BLOCKS, RECORDS);
    let late = async {
        eventually("the engine ends", || engine.is_finished()).await;
        assert!(segments(&runner) > 0);
        Server::on(TcpListener::bind(address).await.unwrap())
    };
    let ((_, report), server) = tokio::join!(runner.export(), late);
    complete(&report, RECORDS);
    assert_eq!(server.count(REQUESTS) as u64, RECORDS);
}

#[tokio::test]
async fn memory_never_fills_because_the_server_is_busy() {
    let server = Server::start().await;
    server.script(std::iter::repeat_n(Fault::Request(429), 100_000));
    let plan = searchable_plan(&[&server.url]);
    let (runner, engine) = Runner::measuring(plan, BLOCKS, RECORDS);
    let relent = async {
        eventually("the engine ends", || engine.is_finished()).await;
        server.script([]);
    };
    let ((_, report), ()) = tokio::join!(runner.export(), relent);
    complete(&report, RECORDS);
    assert_eq!(server.count(REQUESTS) as u64, RECORDS);
}

#[tokio::test]
async fn what_neither_memory_nor_disk_can_hold_is_dropped_by_count_and_name() {
    let address = vacant().await;
    let mut plan = searchable_plan(&[&format!("http://{address}")]);
    plan.results.spool_limit = 160 << 10;
    let (runner, engine) = Runner::measuring(plan, BLOCKS, 30_000);
    let late = async {
        eventually("the engine ends", || engine.is_finished()).await;
        Server::on(TcpListener::bind(address).await.unwrap())
    };
    let ((_, report), server) = tokio::join!(runner.export(), late);
    let counts = report.requests;
    assert!(counts.dropped > 0 && counts.lost == 0, "{report:?}");
    assert_eq!(counts.indexed + counts.dropped, 30_000);
    assert_eq!(server.count(REQUESTS) as u64, counts.indexed);
    assert_eq!(counts.verified, Some(true));
    let because = format!("{} records were dropped: the memory", counts.dropped);
    assert!(report.problem.starts_with(&because), "{}", report.problem);
    assert!(
        report
            .problem
            .contains("163840 bytes are allowed by spoolLimit")
    );
}

/// Dropped wherever it stands, as SIGKILL would leave it, while the engine goes on.
#[tokio::test]
async fn kills_during_an_outage_lose_and_double_nothing() {
    let address = vacant().await;
    let plan = searchable_plan(&[&format!("http://{address}")]);
    let (runner, engine) = Runner::measuring(plan, BLOCKS, RECORDS);
    let mut server = None;
    for kill in 0..10_u64 {
        let mut exporter = runner.start();
        let moment = Duration::from_millis(40 + kill * 13);
        let _ = tokio::time::timeout(moment, exporter.drain.run(&Signals::none())).await;
        if kill == 7 {
            eventually("blocks are on disk", || segments(&runner) > 0).await;
            let on = Server::on(TcpListener::bind(address).await.unwrap());
            on.script([
                Fault::ResetAfter,
                Fault::None,
                Fault::Items(429),
                Fault::Truncated,
            ]);
            server = Some(on);
        }
    }
    eventually("the engine ends", || engine.is_finished()).await;
    let (_, report) = runner.export().await;
    complete(&report, RECORDS);
    assert_eq!(server.unwrap().count(REQUESTS) as u64, RECORDS);
}

#[tokio::test]
async fn a_server_that_answers_only_429_costs_every_request_its_name() {
    let words = "the search server answered 429: {\"error\":\"busy\"}";
    gives_up(Fault::Request(429), Duration::from_secs(1), words).await;
}

#[tokio::test]
async fn a_server_that_never_answers_is_named_while_it_is_waited_for() {
    let words = "the search server has not answered a request for 3 s";
    gives_up(Fault::Stall, Duration::from_secs(4), words).await;
}

/// All is lost, by count and in these words, when a server does nothing else for so long.
async fn gives_up(fault: Fault, drain_timeout: Duration, words: &str) {
    let server = Server::start().await;
    server.script(std::iter::repeat_n(fault, 100_000));
    let mut plan = searchable_plan(&[&server.url]);
    plan.results.drain_timeout = drain_timeout;
    let (runner, _engine) = Runner::measuring(plan, BLOCKS, RECORDS);
    let (ended, report) = runner.export().await;
    assert_eq!(ended, Ended::GivenUp);
    assert_eq!(
        (report.requests.lost, report.requests.dropped),
        (RECORDS, 0)
    );
    assert!(report.problem.contains(words), "{}", report.problem);
}

/// What an exporter says, and how many documents of the run there are, when the rest was given up
/// and the server `relents` or not.
async fn end_after_giving_up(relents: bool) -> (String, usize) {
    let server = Server::start().await;
    server.script(std::iter::repeat_n(Fault::Request(429), 100_000));
    let mut plan = searchable_plan(&[&server.url]);
    plan.results.drain_timeout = Duration::from_secs(1);
    let runner = Runner::with_records(plan, 1_000);
    let mut exporter = runner.start();
    let ended = exporter.drain.run(&Signals::none()).await.unwrap();
    assert_eq!(ended, Ended::GivenUp);
    exporter.drain.abandon_rest(ended);
    if relents {
        server.script([]);
    }
    let longest = Duration::from_secs(2);
    exporter.drain.write_end(Some(&view()), longest).await;
    let report = exporter.account.report();
    assert!(report.aggregates.balanced(), "{report:?}");
    (report.problem, server.count("loadtest-runs-shop-ns"))
}

#[tokio::test]
async fn a_server_that_was_too_slow_for_the_rest_gets_the_end_of_the_run() {
    let words = "the run's end is not in the search server";
    let (problem, documents) = end_after_giving_up(true).await;
    assert_eq!(documents, 1, "{problem}");
    assert!(!problem.contains(words), "{problem}");
    let (problem, documents) = end_after_giving_up(false).await;
    assert_eq!(documents, 0, "{problem}");
    assert!(problem.contains(words), "{problem}");
}

#[tokio::test]
async fn a_server_that_restarts_twenty_times_has_every_document_once() {
    let mut server = Server::start().await;
    let state = server.state.clone();
    let bulks = || state.lock().unwrap().bulks;
    let runner = Runner::with_records(searchable_plan(&[&server.url]), 15_000);
    let restarts = async {
        for _ in 0..20 {
            let before = bulks();
            eventually("a bulk request", || bulks() > before).await;
            server.restart().await;
        }
    };
    let ((_, report), ()) = tokio::join!(runner.export(), restarts);
    complete(&report, 15_000);
    assert_eq!(server.count(REQUESTS), 15_000);
}
