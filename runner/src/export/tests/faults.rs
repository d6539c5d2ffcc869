//! Nothing is lost without a name, nothing is there twice, the law holds: whatever the server does.

use loadtest_core::plan::{Auth, Files, RawMode};
use serde_json::Value;

use super::{
    runner::{Exporter, Runner, complete, lines_of},
    server::{Fault, Partial, Server},
    *,
};
use crate::{
    export::{batch::Stream, templates::tests::assert_mapped},
    pool::{
        Anchor, PoolOptions,
        tests::{Scratch, record},
    },
};

const REQUESTS: &str = "loadtest-requests-shop-ns";
const METRICS: &str = "loadtest-metrics-shop-ns";
const RUNS: &str = "loadtest-runs-shop-ns";

#[tokio::test]
async fn every_document_arrives_in_its_stream_and_mapping() {
    let server = Server::start().await;
    let runner = Runner::with_records(searchable_plan(&[&server.url]), 5_000);
    let (ended, report) = runner.export().await;
    assert_eq!(ended, Ended::Drained);
    complete(&report, 5_000);
    assert_eq!(server.count(REQUESTS), 5_000);
    // Totals and one name in each of three intervals, and the name's histograms once.
    assert_eq!(server.count(METRICS), 3 * 2 + 1);
    assert_eq!(server.count(RUNS), 2);
    assert_eq!(report.aggregates.indexed, 9);
    let state = server.state.lock().unwrap();
    assert_eq!(state.repeats, 0);
    for (stream, name) in [
        (Stream::Requests, REQUESTS),
        (Stream::Metrics, METRICS),
        (Stream::Runs, RUNS),
    ] {
        for (id, document) in &state.documents[name] {
            assert_mapped(stream, document);
            assert_eq!(document["event"]["id"], Value::from(id.as_str()));
        }
    }
    let minute = state.documents[METRICS]
        .values()
        .find(|document| document["loadtest"]["doc"] == "histogram")
        .unwrap();
    let counts = minute["loadtest"]["latency"]["histogram_us"]["counts"]
        .as_array()
        .unwrap();
    assert_eq!(
        counts
            .iter()
            .map(|count| count.as_u64().unwrap())
            .sum::<u64>(),
        300
    );
}

#[tokio::test]
async fn a_sampled_document_says_how_many_it_stands_for() {
    let server = Server::start().await;
    let mut plan = searchable_plan(&[&server.url]);
    plan.results.elasticsearch.as_mut().unwrap().raw = RawMode::Sample {
        per_million: 100_000,
        slower_than: None,
    };
    let runner = Runner::with_records(plan, 1_000);
    complete(&runner.export().await.1, 1_000);
    let state = server.state.lock().unwrap();
    for document in state.documents[REQUESTS].values() {
        assert_mapped(Stream::Requests, document);
        let failed = document["event"]["outcome"] == "failure";
        let weight = if failed { 1.0 } else { 10.0 };
        assert_eq!(document["loadtest"]["weight"], weight);
    }
}

#[tokio::test]
async fn no_fault_loses_or_doubles_a_document() {
    let faults: [&[Fault]; 8] = [
        &[Fault::Items(429), Fault::Items(503)],
        &[
            Fault::Request(429),
            Fault::Request(503),
            Fault::Request(502),
        ],
        &[Fault::ResetBefore, Fault::None, Fault::ResetBefore],
        &[Fault::ResetAfter, Fault::None, Fault::ResetAfter],
        &[Fault::Truncated, Fault::Truncated],
        &[Fault::Drip, Fault::Drip, Fault::Items(429), Fault::Drip],
        &[
            Fault::None,
            Fault::Request(500),
            Fault::Items(500),
            Fault::ResetAfter,
        ],
        &[Fault::Request(403), Fault::Request(404)],
    ];
    for script in faults {
        let server = Server::start().await;
        server.script(script.iter().copied());
        let runner = Runner::with_records(searchable_plan(&[&server.url]), 6_000);
        let (ended, report) = runner.export().await;
        assert_eq!(ended, Ended::Drained, "{script:?}");
        complete(&report, 6_000);
        assert!(
            report.requests.retries + report.aggregates.retries > 0,
            "{script:?}"
        );
        assert_eq!(
            (server.count(REQUESTS), server.count(METRICS)),
            (6_000, 7),
            "{script:?}"
        );
    }
}

/// A count of some of the shards is no sign that documents are missing, nor that they are there.
#[tokio::test]
async fn a_count_of_some_of_the_shards_verifies_nothing() {
    for partial in [Partial::Refresh, Partial::Search] {
        let server = Server::start().await;
        server.state.lock().unwrap().partial = [partial; 10].into();
        let runner = Runner::with_records(searchable_plan(&[&server.url]), 10);
        let (_, report) = runner.export().await;
        assert_eq!(report.requests.indexed, 10);
        let verified = (report.requests.verified, report.aggregates.verified);
        assert_eq!(verified, (None, None), "{partial:?}");
    }
}

/// A lost answer is no doubt about documents.
#[tokio::test]
async fn a_count_that_fails_is_asked_for_again() {
    for partial in [Partial::Refresh, Partial::Search] {
        let server = Server::start().await;
        server.state.lock().unwrap().partial = [partial; 4].into();
        let runner = Runner::with_records(searchable_plan(&[&server.url]), 10);
        let (_, report) = runner.export().await;
        let verified = (report.requests.verified, report.aggregates.verified);
        assert_eq!(verified, (Some(true), Some(true)), "{partial:?}");
    }
}

/// A right that is missing speaks of the server, not of the document: it may come.
#[tokio::test]
async fn documents_wait_for_a_right_that_is_missing() {
    let server = Server::start().await;
    server.script([Fault::Items(403), Fault::Items(403), Fault::Items(401)]);
    let runner = Runner::with_records(searchable_plan(&[&server.url]), 3_000);
    let (_, report) = runner.export().await;
    complete(&report, 3_000);
}

#[tokio::test]
async fn a_refused_document_is_named_and_counted() {
    let server = Server::start().await;
    let runner = Runner::with_records(searchable_plan(&[&server.url]), 3_000);
    server.script([Fault::None, Fault::None, Fault::Rejected, Fault::Rejected]);
    let (_, report) = runner.export().await;
    let rejected = report.requests.rejected + report.aggregates.rejected;
    assert_eq!(rejected, 2, "{report:?}");
    assert_eq!(server.count(REQUESTS) as u64, report.requests.indexed);
    assert!(
        report.problem.contains("400 some_exception: because"),
        "{}",
        report.problem
    );
    let letters = std::fs::read_to_string(runner.scratch.0.join("dead-letters.ndjson")).unwrap();
    let letters: Vec<Value> = letters
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(letters.len(), 2);
    for letter in letters {
        assert_eq!(letter["id"], letter["document"]["event"]["id"]);
        assert_eq!(letter["reason"], "400 some_exception: because");
        assert!(letter["stream"].is_string());
    }
}

#[tokio::test]
async fn too_large_requests_are_halved_until_they_fit() {
    let server = Server::start().await;
    server.state.lock().unwrap().limit = Some(100_000);
    let runner = Runner::with_records(searchable_plan(&[&server.url]), 4_000);
    let (_, report) = runner.export().await;
    complete(&report, 4_000);
    assert_eq!(server.count(REQUESTS), 4_000);
}

/// Seen on a real server: a bulk request that alone exceeds `indexing_pressure.memory.limit` is
/// answered 429 for ever.
#[tokio::test]
async fn a_server_that_is_busy_with_one_request_gets_smaller_ones() {
    let server = Server::start().await;
    server.state.lock().unwrap().busy_above = Some(400_000);
    let runner = Runner::with_records(searchable_plan(&[&server.url]), 4_000);
    let (_, report) = runner.export().await;
    complete(&report, 4_000);
    assert_eq!(server.count(REQUESTS), 4_000);
}

#[tokio::test]
async fn a_rotated_secret_is_read_again() {
    let server = Server::start().await;
    server.state.lock().unwrap().authorization = Some("ApiKey new".to_owned());
    let mut plan = searchable_plan(&[&server.url]);
    let scratch = Scratch::new();
    let key_file = scratch.0.join("key");
    std::fs::write(&key_file, "old\n").unwrap();
    let auth = Auth::ApiKey {
        key_file: key_file.display().to_string(),
    };
    plan.results.elasticsearch.as_mut().unwrap().auth = Some(auth);
    let runner = Runner::with_records(plan, 3_000);
    let rotate = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        std::fs::write(&key_file, "new\n").unwrap();
    };
    let ((_, report), ()) = tokio::join!(runner.export(), rotate);
    complete(&report, 3_000);
}

#[tokio::test]
async fn a_server_that_comes_late_gets_everything() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let runner = Runner::with_records(searchable_plan(&[&format!("http://{address}")]), 3_000);
    let late = async {
        tokio::time::sleep(Duration::from_millis(700)).await;
        Server::on(tokio::net::TcpListener::bind(address).await.unwrap())
    };
    let ((_, report), server) = tokio::join!(runner.export(), late);
    complete(&report, 3_000);
    assert_eq!(server.count(REQUESTS), 3_000);
}

#[tokio::test]
async fn a_dead_node_is_passed_over() {
    let server = Server::start().await;
    let runner = Runner::with_records(searchable_plan(&["http://127.0.0.1:1", &server.url]), 3_000);
    let (_, report) = runner.export().await;
    complete(&report, 3_000);
}

#[tokio::test]
async fn a_server_that_never_comes_costs_every_document_its_name() {
    let mut plan = searchable_plan(&["http://127.0.0.1:1"]);
    plan.results.drain_timeout = Duration::from_millis(600);
    plan.results.files = Some(Files { raw: RawMode::All });
    let runner = Runner::with_records(plan, 5_000);
    let (ended, report) = runner.export().await;
    assert_eq!(ended, Ended::GivenUp);
    assert_eq!((report.requests.lost, report.requests.indexed), (5_000, 0));
    assert_eq!((report.aggregates.lost, report.aggregates.produced), (8, 8));
    assert!(
        report.problem.contains("5008 documents were given up"),
        "{}",
        report.problem
    );
    assert!(
        report.problem.contains("http://127.0.0.1:1"),
        "{}",
        report.problem
    );
    // The files have what the server never took.
    assert_eq!(
        lines_of(&runner.out().join("requests.ndjson.gz")).len(),
        5_000
    );
}

#[tokio::test]
async fn a_server_that_hangs_up_in_the_middle_leaves_an_exact_account() {
    let server = Server::start().await;
    let mut plan = searchable_plan(&[&server.url]);
    plan.results.drain_timeout = Duration::from_secs(5);
    let runner = Runner::with_records(plan, 6_000);
    let answered = [Fault::None; 4];
    server.script(
        answered
            .into_iter()
            .chain(std::iter::repeat_n(Fault::Request(503), 1_000)),
    );
    let (ended, report) = runner.export().await;
    assert_eq!(ended, Ended::GivenUp);
    assert_eq!(server.count(REQUESTS) as u64, report.requests.indexed);
    assert_eq!(report.requests.indexed + report.requests.lost, 6_000);
    assert!(
        report.requests.lost > 0 && report.requests.indexed > 0,
        "{report:?}"
    );
}

#[tokio::test]
async fn servers_without_histogram_fields_get_templates_without_them() {
    let server = Server::start().await;
    server.state.lock().unwrap().histograms = false;
    let runner = Runner::with_records(searchable_plan(&[&server.url]), 10);
    let (_, report) = runner.export().await;
    complete(&report, 10);
    let state = server.state.lock().unwrap();
    assert!(
        state.templates["loadtest-metrics"]
            .to_string()
            .contains(r#""enabled":false"#)
    );
}

#[tokio::test]
async fn servers_without_data_streams_or_their_lifecycle_get_templates_without_them() {
    for unknown in [&["lifecycle"][..], &["lifecycle", "data_stream"]] {
        let server = Server::start().await;
        server.state.lock().unwrap().unknown = unknown;
        let runner = Runner::with_records(searchable_plan(&[&server.url]), 10);
        complete(&runner.export().await.1, 10);
        let state = server.state.lock().unwrap();
        for template in state.templates.values() {
            assert!(template["template"].get("lifecycle").is_none());
            let in_streams = !unknown.contains(&"data_stream");
            assert_eq!(template.get("data_stream").is_some(), in_streams);
        }
    }
}

#[tokio::test]
async fn a_later_template_on_the_server_is_left_alone() {
    let server = Server::start().await;
    let theirs = serde_json::json!({"version": 99, "_meta": {"managed_by": "platform"}});
    for stream in Stream::ALL {
        server
            .state
            .lock()
            .unwrap()
            .templates
            .insert(stream.template_name("loadtest"), theirs.clone());
    }
    let runner = Runner::with_records(searchable_plan(&[&server.url]), 10);
    complete(&runner.export().await.1, 10);
    assert!(
        server
            .state
            .lock()
            .unwrap()
            .templates
            .values()
            .all(|template| *template == theirs)
    );
}

/// An exporter that is killed at any moment and started again: the drain is dropped wherever it
/// stands, as SIGKILL would leave it.
#[tokio::test]
async fn kills_at_any_moment_lose_and_double_nothing() {
    for round in 0..5_u64 {
        let server = Server::start().await;
        server.script([
            Fault::None,
            Fault::Items(429),
            Fault::ResetAfter,
            Fault::Truncated,
        ]);
        let mut plan = searchable_plan(&[&server.url]);
        plan.results.files = Some(Files { raw: RawMode::All });
        let runner = Runner::with_records(plan, 5_000);
        for kill in 0..3 {
            let mut exporter = runner.start();
            let moment = Duration::from_millis(10 + round * 41 + kill * 23);
            let _ = tokio::time::timeout(moment, exporter.drain.run(&Signals::none())).await;
        }
        let (_, report) = runner.export().await;
        complete(&report, 5_000);
        assert_eq!(
            (server.count(REQUESTS), server.count(METRICS)),
            (5_000, 7),
            "round {round}"
        );
        assert_eq!(report.aggregates.indexed, 9, "round {round}");
        let requests = lines_of(&runner.out().join("requests.ndjson.gz"));
        let ids: std::collections::BTreeSet<_> = requests
            .iter()
            .map(|line| line["event"]["id"].as_str().unwrap())
            .collect();
        assert_eq!((requests.len(), ids.len()), (5_000, 5_000), "round {round}");
        let intervals = std::fs::read_to_string(runner.out().join("intervals.ndjson")).unwrap();
        assert_eq!(intervals.lines().count(), 7, "round {round}");
    }
}

#[tokio::test]
async fn files_alone_are_a_sink() {
    let runner = Runner::with_records(files_plan(), 5_000);
    let (ended, report) = runner.export().await;
    assert_eq!(ended, Ended::Drained);
    assert_eq!(
        (report.requests.produced, report.requests.indexed),
        (5_000, 5_000)
    );
    assert_eq!(
        (report.aggregates.indexed, report.problem.as_str()),
        (7, "")
    );
    let requests = lines_of(&runner.out().join("requests.ndjson.gz"));
    assert_eq!(requests.len(), 5_000);
    assert_eq!(requests[3]["loadtest"]["doc"], "request");
}

#[tokio::test]
async fn an_engine_that_was_killed_leaves_what_it_had_measured() {
    let runner = Runner::with_records(files_plan(), 0);
    let (ended, _) = runner.export().await;
    assert_eq!(ended, Ended::Drained);

    let scratch = Scratch::new();
    let anchor = Anchor {
        wall_ns: 0,
        mono_ns: 0,
    };
    let options = PoolOptions {
        workers: 1,
        blocks_per_worker: 4,
        anchor,
    };
    let pool = Pool::create(&scratch.0, options).unwrap();
    let mut writer = pool.writer(0);
    for k in 0..100 {
        writer.record(&record(k));
    }
    pool.release_engine_lock();
    let runner = Runner {
        scratch,
        plan: files_plan(),
        pool,
    };
    let (_, report) = runner.export().await;
    assert_eq!(
        (report.requests.produced, report.requests.indexed),
        (100, 100)
    );
    assert!(!runner.pool.finished());
    std::mem::forget(writer);
}

#[tokio::test]
async fn the_first_signal_waits_for_the_engine_the_second_does_not() {
    let scratch = Scratch::new();
    let anchor = Anchor {
        wall_ns: 0,
        mono_ns: 0,
    };
    let options = PoolOptions {
        workers: 1,
        blocks_per_worker: 4,
        anchor,
    };
    let pool = Pool::create(&scratch.0, options).unwrap();
    let mut writer = pool.writer(0);
    writer.record(&record(1));
    let runner = Runner {
        scratch,
        plan: files_plan(),
        pool,
    };
    let Exporter {
        mut drain, account, ..
    } = runner.start();
    let signals = Signals::none();
    signals.raise();
    let waited = tokio::time::timeout(Duration::from_millis(300), drain.run(&signals)).await;
    assert!(waited.is_err(), "the engine still measures");
    signals.raise();
    let ended = drain.run(&signals).await.unwrap();
    drain.abandon_rest(ended);
    assert_eq!(ended, Ended::GivenUp);
    let requests = account.report().requests;
    assert_eq!(
        (requests.produced, requests.lost, requests.pending),
        (1, 1, 0)
    );
}
