//! The files of a run that has ended, delivered to a server.

use serde_json::Value;

use super::{
    runner::{Runner, complete, lines_of, view},
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

/// The files of a run: 5,000 requests, 7 intervals, and what `run` would have added.
async fn files_of_a_run() -> Runner {
    let runner = Runner::with_records(files_plan(), 5_000);
    runner.export().await;
    let lines = run_documents(&runner.plan, "ff", &view(), 0);
    std::fs::write(runner.out().join(RUNS), lines).unwrap();
    runner
}

/// What is delivered of these files to a server that has nothing.
async fn pushed_anew(runner: &Runner) -> (Pushed, [usize; 3]) {
    let server = Server::start().await;
    let plan = searchable_plan(&[&server.url]);
    let settings = plan.results.elasticsearch.unwrap();
    let pushed = push_all(&runner.out(), &runner.plan, &settings, |_| {}).await;
    let streams = [Stream::Requests, Stream::Metrics, Stream::Runs];
    let counts = streams.map(|stream| server.count(&stream.data_stream("loadtest", "shop-ns")));
    (pushed.unwrap(), counts)
}

/// Whoever wrote it was killed: what is whole is delivered, of this file and of all others.
#[tokio::test]
async fn half_a_last_line_costs_no_other_document() {
    let runner = files_of_a_run().await;
    let path = runner.out().join("intervals.ndjson");
    let whole = std::fs::read(&path).unwrap();
    let last = whole[..whole.len() - 1].iter().rposition(|b| *b == b'\n');
    let last = last.unwrap() + 1;
    // Nothing of the line but its first byte; half of it; all but its last brace.
    for end in [last + 1, last.midpoint(whole.len()), whole.len() - 2] {
        std::fs::write(&path, &whole[..end]).unwrap();
        let (pushed, counts) = pushed_anew(&runner).await;
        let but_one = Pushed {
            indexed: 5_008,
            torn: vec![path.clone()],
            ..Pushed::default()
        };
        assert_eq!((pushed, counts), (but_one, [5_000, 6, 2]), "{end}");
    }
    // Without its line break a document is whole all the same.
    std::fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    let (pushed, counts) = pushed_anew(&runner).await;
    let all = Pushed {
        indexed: 5_009,
        ..Pushed::default()
    };
    assert_eq!((pushed, counts), (all, [5_000, 7, 2]));
}

/// Where the members of a gzip file begin, and where the last one ends.
fn members(bytes: &[u8]) -> Vec<usize> {
    let mut ends = vec![0];
    let mut rest = bytes;
    while !rest.is_empty() {
        let mut member = flate2::bufread::GzDecoder::new(rest);
        std::io::copy(&mut member, &mut std::io::sink()).unwrap();
        rest = member.into_inner();
        ends.push(bytes.len() - rest.len());
    }
    ends
}

#[tokio::test]
async fn half_a_last_member_costs_no_document_that_is_whole() {
    let runner = files_of_a_run().await;
    let path = runner.out().join("requests.ndjson.gz");
    let whole = std::fs::read(&path).unwrap();
    let &[.., last, end] = members(&whole).as_slice() else {
        panic!("more than one member")
    };
    std::fs::write(&path, &whole[..last]).unwrap();
    let before = lines_of(&path).len();
    assert_eq!(before, 4_500, "two deliveries, and a part of the third");
    // In the head of the last member, in its middle, and in its checksum.
    let middle = last.midpoint(end);
    for (cut, least, most) in [
        (last + 1, before, before),
        (last + 5, before, before),
        (middle, before + 1, 4_999),
        (end - 1, 5_000, 5_000),
    ] {
        std::fs::write(&path, &whole[..cut]).unwrap();
        let (pushed, counts) = pushed_anew(&runner).await;
        let [requests, rest @ ..] = counts;
        assert!((least..=most).contains(&requests), "{cut}: {requests}");
        assert_eq!(rest, [7, 2]);
        let torn = Pushed {
            indexed: requests as u64 + 9,
            torn: vec![path.clone()],
            ..Pushed::default()
        };
        assert_eq!(pushed, torn, "{cut}");
    }
}

/// What an exporter leaves that was never given a request.
#[tokio::test]
async fn a_file_without_a_byte_is_whole() {
    let runner = files_of_a_run().await;
    std::fs::write(runner.out().join("requests.ndjson.gz"), "").unwrap();
    let (pushed, counts) = pushed_anew(&runner).await;
    let others = Pushed {
        indexed: 9,
        ..Pushed::default()
    };
    assert_eq!((pushed, counts), (others, [0, 7, 2]));
}

/// Torn is what ends too early, not what is something else.
#[tokio::test]
async fn a_file_that_is_damaged_before_its_end_is_named() {
    let runner = files_of_a_run().await;
    let path = runner.out().join("requests.ndjson.gz");
    let mut bytes = std::fs::read(&path).unwrap();
    let checksum = members(&bytes)[1] - 8;
    bytes[checksum] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let server = Server::start().await;
    let plan = searchable_plan(&[&server.url]);
    let settings = plan.results.elasticsearch.unwrap();
    let error = push_all(&runner.out(), &runner.plan, &settings, |_| {})
        .await
        .unwrap_err();
    let text = error.to_string();
    let named = format!("cannot read {}: ", path.display());
    assert!(text.starts_with(&named), "{text}");
}

#[tokio::test]
async fn a_file_that_is_none_of_ours_is_named_with_its_line() {
    let scratch = Scratch::new();
    let path = scratch.0.join("intervals.ndjson");
    let server = Server::start().await;
    let plan = searchable_plan(&[&server.url]);
    let settings = plan.results.elasticsearch.clone().unwrap();
    for second in ["{\"event\":1}\n", "{\"event\":1}", "{\"eve\n", "\n"] {
        let lines = format!("{{\"event\":{{\"id\":\"ab-1\"}}}}\n{second}");
        std::fs::write(&path, lines).unwrap();
        let error = push_all(&scratch.0, &plan, &settings, |_| {})
            .await
            .unwrap_err();
        let text = error.to_string();
        let named = format!("line 2 of {} is not a document", path.display());
        assert!(text.starts_with(&named), "{text}");
    }
}
