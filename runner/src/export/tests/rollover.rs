//! Ids are unique within a backing index only: what was done before a rollover and is repeated
//! after it would be there twice, so the stream is asked first, and believed only when it knows.

use super::{
    runner::{Runner, complete},
    server::{Fault, Partial, Server},
    *,
};
use crate::export::{
    batch::{Batch, Fate, Stream},
    sink::Sink,
};

const REQUESTS: &str = "loadtest-requests-shop-ns";

const DOCUMENTS: u64 = 10;

/// What becomes of ten documents; `suspect`: an exporter before this one may have sent them.
async fn deliver(server: &Server, suspect: bool) -> Fate {
    let plan = searchable_plan(&[&server.url]);
    let settings = plan.results.elasticsearch.unwrap();
    let background = Background::start().unwrap();
    background.hurry();
    let letters = DeadLetters::in_dir(None);
    let elastic = Elastic::new(&settings, "shop-ns", 0, background, letters).unwrap();
    let give_up = GiveUpSwitch::new();
    let mut batch = Batch::new(Stream::Requests);
    batch.suspect = suspect;
    for number in 0..DOCUMENTS {
        batch.push_value(&format!("ab-{number}"), &serde_json::json!({"a": number}));
    }
    let work = async {
        elastic.prepare(give_up.listen()).await;
        elastic.deliver(Arc::new(batch), give_up.listen()).await
    };
    let patience = Duration::from_secs(20);
    let fate = tokio::time::timeout(patience, work).await;
    fate.unwrap_or_else(|_| panic!("never delivered: {}", elastic.problem()))
}

fn there_once(server: &Server) {
    let state = server.state.lock().unwrap();
    assert_eq!(state.doubled, 0, "{:?}", state.sealed);
    assert_eq!(state.documents[REQUESTS].len() as u64, DOCUMENTS);
}

/// That there was one backing index when it was asked says nothing about the next attempt.
#[tokio::test]
async fn a_rollover_between_the_attempts_of_a_request_doubles_nothing() {
    for refusal in [
        Fault::RequestThenRollover(429),
        Fault::RequestThenRollover(403),
        Fault::ItemsThenRollover(503),
    ] {
        let server = Server::start().await;
        server.script([Fault::ResetAfter, refusal]);
        let fate = deliver(&server, false).await;
        let all = Fate {
            indexed: DOCUMENTS,
            retries: 2,
            ..Fate::default()
        };
        assert_eq!(fate, all, "{refusal:?}");
        there_once(&server);
    }
}

#[tokio::test]
async fn an_answer_from_some_of_the_shards_is_not_believed() {
    for partial in [Partial::Refresh, Partial::Search, Partial::TimedOut] {
        let server = Server::start().await;
        server.script([Fault::ResetAfterRollover]);
        server.state.lock().unwrap().partial = [partial; 2].into();
        let fate = deliver(&server, false).await;
        let all = Fate {
            indexed: DOCUMENTS,
            retries: 3,
            ..Fate::default()
        };
        assert_eq!(fate, all, "{partial:?}");
        there_once(&server);
    }
}

/// Without `view_index_metadata` the ids are searched for at once, also where nobody has written.
#[tokio::test]
async fn a_suspect_batch_begins_a_stream_that_may_not_be_looked_at() {
    let server = Server::start().await;
    server.state.lock().unwrap().blind = true;
    for _ in 0..2 {
        let fate = deliver(&server, true).await;
        let all = Fate {
            indexed: DOCUMENTS,
            ..Fate::default()
        };
        assert_eq!(fate, all);
        there_once(&server);
    }
    assert_eq!(server.state.lock().unwrap().bulks, 1);
}

#[tokio::test]
async fn a_lost_answer_before_a_rollover_doubles_nothing() {
    let server = Server::start().await;
    server.script([
        Fault::None,
        Fault::ResetAfterRollover,
        Fault::None,
        Fault::ResetAfterRollover,
        Fault::ResetAfterRollover,
        Fault::None,
        Fault::Truncated,
    ]);
    let runner = Runner::with_records(searchable_plan(&[&server.url]), 12_000);
    let (_, report) = runner.export().await;
    complete(&report, 12_000);
    let state = server.state.lock().unwrap();
    assert!(state.sealed.values().map(Vec::len).sum::<usize>() == 3);
    assert_eq!(state.doubled, 0);
}

/// The same for an exporter that was killed while the answer was on its way.
#[tokio::test]
async fn a_kill_before_a_rollover_doubles_nothing() {
    let server = Server::start().await;
    let runner = Runner::with_records(searchable_plan(&[&server.url]), 6_000);
    for _ in 0..3 {
        server.script([Fault::ResetAfterRollover; 2]);
        let mut exporter = runner.start();
        let quiet = Signals::none();
        let work = exporter.drain.run(&quiet);
        let rolled = async {
            while !server.state.lock().unwrap().faults.is_empty() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::select! {
            ended = work => drop(ended),
            () = rolled => {}
        }
    }
    let (_, report) = runner.export().await;
    complete(&report, 6_000);
    let state = server.state.lock().unwrap();
    assert!(!state.sealed.is_empty());
    assert_eq!(state.doubled, 0);
}
