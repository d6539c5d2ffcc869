//! The six defects of the program that this one descends from, which sent the results of Locust to
//! Elasticsearch: each has a test that it is not here.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{
    runner::{Runner, complete, interval},
    server::Server,
    *,
};
use crate::{
    export::{
        batch::{Batch, Stream},
        interval::IntervalEncoder,
        request::RequestEncoder,
    },
    pool::{
        Anchor, PoolOptions, Record, StepUrls,
        tests::{Scratch, record},
    },
};
use loadtest_core::{
    report::ExportCounts,
    series::{ErrorKey, Outcome},
};

const REQUESTS: &str = "loadtest-requests-shop-ns";

/// The documents of requests, as they are made.
fn documents_of(records: &[Record<'_>]) -> Vec<Value> {
    let scratch = Scratch::new();
    let options = PoolOptions {
        workers: 1,
        blocks_per_worker: 8,
        anchor: Anchor {
            wall_ns: 1_795_400_000_000_000_000,
            mono_ns: 0,
        },
    };
    let pool = Pool::create(&scratch.0, options).unwrap();
    let mut writer = pool.writer(0);
    for record in records {
        writer.record(record);
    }
    drop(writer);
    let mut encoder = RequestEncoder::new(
        &plan(),
        0,
        ("host", &StepUrls::new()),
        1_795_400_000_000_000_000,
    );
    let batches: Vec<Batch> = pool
        .full_blocks()
        .into_iter()
        .map(|id| encoder.batch(&pool.read(id)))
        .collect();
    let lines = batches.iter().flat_map(Batch::documents);
    lines
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect()
}

/// Names of all fields, `a.b.c`, down to what is no object.
fn fields(document: &Value, path: &str, found: &mut BTreeSet<String>) {
    match document {
        Value::Object(inner) => {
            for (name, value) in inner {
                fields(value, &format!("{path}.{name}"), found);
            }
        }
        _ => drop(found.insert(path.to_owned())),
    }
}

#[test]
fn defect_1_no_timestamp_every_document_says_when() {
    let documents = documents_of(&[record(0), record(86_400_000_000_001)]);
    let times: Vec<_> = documents.iter().map(|d| d["@timestamp"].clone()).collect();
    assert_eq!(
        times,
        [
            "2026-11-23T02:13:20.000000000Z",
            "2026-11-24T02:13:20.000000001Z"
        ]
    );
}

/// The ancestor had 143 new fields in each report of three seconds, named after response times and
/// seconds, until the index took no more documents.
#[test]
fn defect_2_values_as_names_no_value_makes_a_field() {
    let mut encoder = IntervalEncoder::new(&plan(), 0, "host");
    let mut after = Vec::new();
    let mut found = BTreeSet::new();
    for sequence in 0..50 {
        let mut interval = interval(sequence);
        for k in 0..100 {
            let us = (sequence + 1) * 7_919 + k * 104_729;
            interval.set.total.latency.record(us, 3);
            interval.set.count_error(
                ErrorKey {
                    outcome: Outcome::Reset,
                    series: 0,
                    message: format!("error {us}"),
                },
                1,
            );
        }
        let mut batch = Batch::new(Stream::Metrics);
        encoder.push(&mut batch, &interval, &ExportCounts::default());
        for document in batch.documents() {
            fields(&serde_json::from_slice(document).unwrap(), "", &mut found);
        }
        after.push(found.len());
    }
    // The histograms of names come after a minute.
    assert_eq!(after[20], after[49], "{after:?}");
    assert!(after[49] <= 160, "{after:?}");
}

#[test]
fn defect_3_json_by_hand_any_error_text_is_a_document() {
    let texts = [
        r#"ConnectionError(MaxRetryError("HTTPConnectionPool(host='shop'): \"refused\""))"#,
        "tab\t, line\n, nul\u{0}, del\u{7f}, separator\u{2028}, \\",
        "\"}}\n{\"create\":{\"_id\":\"stolen\"}}\n{}",
    ];
    let records = texts.map(|text| Record {
        outcome: Outcome::Connect,
        status: 0,
        error: Some(text),
        ..record(0)
    });
    let documents = documents_of(&records);
    let messages: Vec<_> = documents.iter().map(|d| &d["error"]["message"]).collect();
    assert_eq!(messages, texts);
}

#[tokio::test]
async fn defect_4_a_call_per_document_and_no_drain_few_calls_and_nothing_is_left() {
    let server = Server::start().await;
    let runner = Runner::with_records(searchable_plan(&[&server.url]), 5_000);
    let (ended, report) = runner.export().await;
    assert_eq!(ended, Ended::Drained);
    complete(&report, 5_000);
    assert_eq!(server.count(REQUESTS), 5_000);
    let bulks = server.state.lock().unwrap().bulks;
    // A block at a time: 1,000 records of each of two workers here, and three of aggregates.
    assert!(bulks <= 15, "{bulks} calls for 5,007 documents");
}

#[tokio::test]
async fn defect_5_dies_without_a_server_the_run_goes_on_and_the_server_gets_all() {
    let late = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = late.local_addr().unwrap();
    drop(late);
    let url = format!("http://{address}");
    let runner = Runner::with_records(searchable_plan(&[&url]), 2_000);
    let begin = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        Server::on(tokio::net::TcpListener::bind(address).await.unwrap())
    };
    let ((ended, report), server) = tokio::join!(runner.export(), begin);
    assert_eq!(ended, Ended::Drained);
    complete(&report, 2_000);
    assert_eq!(server.count(REQUESTS), 2_000);
}

#[tokio::test]
async fn defect_6_no_run_id_two_runs_of_a_test_are_told_apart() {
    let server = Server::start().await;
    let first = Runner::with_records(searchable_plan(&[&server.url]), 300);
    complete(&first.export().await.1, 300);
    let mut plan = searchable_plan(&[&server.url]);
    plan.run.id = "fedcba9876543210fedcba9876543210".to_owned();
    plan.run.number = 2;
    Runner::with_records(plan.clone(), 200).export().await;
    let state = server.state.lock().unwrap();
    for stream in Stream::ALL {
        for (id, document) in &state.documents[&stream.data_stream("loadtest", "shop-ns")] {
            let run = &document["loadtest"]["run"];
            let of = run["id"].as_str().unwrap();
            assert!(id.starts_with(of), "{id}: {run}");
            let number = if of == plan.run.id { 2 } else { 1 };
            assert_eq!(run["number"], number);
        }
    }
    let of_second = |id: &&String| id.starts_with(&plan.run.id);
    let documents = &state.documents[REQUESTS];
    assert_eq!(documents.len(), 500);
    assert_eq!(documents.keys().filter(of_second).count(), 200);
}
