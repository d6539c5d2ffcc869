//! Samples of failed exchanges arrive once, in files and in the server, whatever happens.

use serde_json::Value;

use super::{
    runner::{Runner, complete, interval},
    server::{Fault, Server},
    *,
};
use crate::{
    export::push::{SAMPLES, push_all},
    pool::tests::failure_sample,
};

const METRICS: &str = "loadtest-metrics-shop-ns";

/// Requests, and intervals with samples before, between and after them.
fn runner(plan: Plan) -> Runner {
    let runner = Runner::with_records(plan, 1_000);
    let mut lane = runner.pool.aggregates().unwrap();
    for number in 0..3 {
        lane.append_sample(&failure_sample(number)).unwrap();
    }
    lane.append(&interval(3)).unwrap();
    lane.append_sample(&failure_sample(3)).unwrap();
    runner
}

fn lines(runner: &Runner, name: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(runner.out().join(name)).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn is_sample(document: &Value) -> bool {
    document["loadtest"]["doc"] == "sample"
}

/// Each has a file of its own; in the server both are in one stream. Killed again and again.
#[tokio::test]
async fn samples_arrive_once_beside_the_intervals() {
    let server = Server::start().await;
    let mut plan = searchable_plan(&[&server.url]);
    plan.results.files = files_plan().results.files;
    let runner = runner(plan);
    server.script([
        Fault::ResetAfter,
        Fault::Items(503),
        Fault::ResetBefore,
        Fault::Truncated,
    ]);
    for life in 1..8 {
        let mut exporter = runner.start();
        let life = Duration::from_millis(life * 20);
        let signals = Signals::none();
        drop(tokio::time::timeout(life, exporter.drain.run(&signals)).await);
    }
    let (ended, report) = runner.export().await;
    assert_eq!(ended, Ended::Drained);
    complete(&report, 1_000);
    // Totals and one name in each of four intervals, and the name's histograms once.
    let intervals = 4 * 2 + 1;
    assert_eq!(report.aggregates.indexed, intervals + 4 + 2);
    assert_eq!(server.count(METRICS), intervals as usize + 4);
    let in_files = lines(&runner, SAMPLES);
    let of_file: Vec<_> = in_files.iter().map(|d| d["event"]["id"].clone()).collect();
    let state = server.state.lock().unwrap();
    let of_server = state.documents[METRICS]
        .values()
        .filter(|document| is_sample(document));
    assert_eq!(
        of_file,
        of_server
            .map(|d| d["event"]["id"].clone())
            .collect::<Vec<_>>()
    );
    assert_eq!(of_file.len(), 4);
    let others = lines(&runner, "intervals.ndjson");
    assert_eq!(others.len(), intervals as usize);
    assert!(!others.iter().any(is_sample));
}

#[tokio::test]
async fn samples_of_files_are_pushed() {
    let runner = runner(files_plan());
    runner.export().await;
    let server = Server::start().await;
    let settings = searchable_plan(&[&server.url]).results.elasticsearch;
    let settings = settings.unwrap();
    for _ in 0..2 {
        let pushed = push_all(&runner.out(), &runner.plan, &settings, |_| {}).await;
        assert_eq!(pushed.unwrap().indexed, 1_000 + 9 + 4);
        assert_eq!(server.count(METRICS), 9 + 4);
    }
}
