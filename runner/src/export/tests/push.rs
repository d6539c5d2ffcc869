//! The files of a run that has ended, delivered to a server.

use serde_json::Value;

use super::{
    runner::{Runner, complete, view},
    server::{Fault, Server},
    *,
};
use crate::{
    export::{
        batch::Stream,
        push::{Pushed, RUNS, push_all, run_documents},
        templates::tests::assert_mapped,
    },
    pool::tests::Scratch,
};

/// Pushed, pushed again, and pushed once more after a rollover: each document is there once.
#[tokio::test]
async fn the_files_of_a_run_can_be_delivered_later_and_again() {
    let runner = Runner::with_records(files_plan(), 5_000);
    let (_, report) = runner.export().await;
    assert_eq!(report.requests.indexed, 5_000);
    let lines = run_documents(&runner.plan, "ff", &view(), 0);
    std::fs::write(runner.out().join(RUNS), lines).unwrap();
    let server = Server::start().await;
    server.script([Fault::None, Fault::ResetAfterRollover, Fault::Items(503)]);
    let settings = searchable_plan(&[&server.url])
        .results
        .elasticsearch
        .unwrap();
    for _ in 0..3 {
        let pushed = push_all(&runner.out(), &runner.plan, &settings, |_| {})
            .await
            .unwrap();
        let whole = Pushed {
            indexed: 5_009,
            ..Pushed::default()
        };
        assert_eq!(pushed, whole);
        let streams = [Stream::Requests, Stream::Metrics, Stream::Runs];
        let counts = streams.map(|stream| server.count(&stream.data_stream("loadtest", "shop-ns")));
        assert_eq!(counts, [5_000, 7, 2]);
    }
    // An exporter that had a server from the start makes the same documents.
    let live = Server::start().await;
    let runner = Runner::with_records(searchable_plan(&[&live.url]), 5_000);
    complete(&runner.export().await.1, 5_000);
    let (state, live) = (server.state.lock().unwrap(), live.state.lock().unwrap());
    assert_eq!(state.doubled, 0);
    for stream in Stream::ALL {
        let name = stream.data_stream("loadtest", "shop-ns");
        if stream != Stream::Metrics {
            // Intervals say where the delivery stood at that moment.
            assert_eq!(state.documents[&name], live.documents[&name]);
        }
        for (id, document) in &state.documents[&name] {
            assert_mapped(stream, document);
            assert_eq!(document["event"]["id"], Value::from(id.as_str()));
        }
    }
}

#[tokio::test]
async fn a_file_that_is_none_of_ours_is_named_with_its_line() {
    let scratch = Scratch::new();
    let path = scratch.0.join("intervals.ndjson");
    std::fs::write(&path, "{\"event\":{\"id\":\"ab-1\"}}\n{\"event\":1}\n").unwrap();
    let server = Server::start().await;
    let plan = searchable_plan(&[&server.url]);
    let settings = plan.results.elasticsearch.clone().unwrap();
    let error = push_all(&scratch.0, &plan, &settings, |_| {})
        .await
        .unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with("line 2 of ") && text.contains("intervals.ndjson"),
        "{text}"
    );
}
