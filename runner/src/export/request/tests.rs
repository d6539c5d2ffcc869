use std::{collections::BTreeMap, time::Duration};

use loadtest_core::{
    plan::{Check, Condition, Step},
    template::{Segment, Slot, Template},
};
use proptest::prelude::*;

use super::*;
use crate::{
    export::{templates::tests::assert_mapped, tests::plan},
    pool::{
        Anchor, Pool, PoolOptions,
        tests::{Scratch, any_record, record, with_text},
    },
};

const WALL_NS: i64 = 1_795_400_000_123_456_789;

/// The documents of records, each as (action, document).
fn encode(plan: &Plan, records: &[Record<'_>]) -> Vec<(Value, Value)> {
    encode_with(plan, &StepUrls::new(), records)
}

fn encode_with(plan: &Plan, urls: &StepUrls, records: &[Record<'_>]) -> Vec<(Value, Value)> {
    let scratch = Scratch::new();
    let anchor = Anchor {
        wall_ns: WALL_NS,
        mono_ns: 0,
    };
    let options = PoolOptions {
        workers: 2,
        blocks_per_worker: 8,
        anchor,
    };
    let pool = Pool::create(&scratch.0, options).unwrap();
    let mut writer = pool.writer(1);
    for record in records {
        writer.record(record);
    }
    drop(writer);
    let mut encoder = RequestEncoder::new(plan, 3, ("host \"1\"", urls), WALL_NS);
    let mut documents = Vec::new();
    for id in pool.full_blocks() {
        let batch = encoder.batch(&pool.read(id));
        for item in 0..batch.len() as u32 {
            let text = std::str::from_utf8(batch.action(item)).unwrap();
            let lines: Vec<Value> = text
                .lines()
                .map(|line| serde_json::from_str(line).unwrap())
                .collect();
            let [action, document] = lines.as_slice() else {
                panic!("two lines: {text}")
            };
            documents.push((action.clone(), document.clone()));
        }
    }
    documents
}

/// A plan in which every text is `text`.
fn hostile(text: &str) -> Plan {
    let mut plan = plan();
    plan.run.test = text.to_owned();
    plan.run.name = text.to_owned();
    plan.target.origin.host = text.to_owned();
    plan.checks = vec![text.to_owned(), "second".to_owned()];
    plan.series[0].name = text.to_owned();
    let scenario = &mut plan.scenarios[0];
    scenario.name = text.to_owned();
    scenario.tasks[0].name = text.to_owned();
    let Step::Request(request) = &mut scenario.tasks[0].steps[0] else {
        panic!("a request")
    };
    request.labels = BTreeMap::from([("page".to_owned(), text.to_owned())]);
    let contains = |index| Check {
        index,
        condition: Condition::MaxLatency(Duration::ZERO),
    };
    request.checks = vec![contains(0), contains(1)];
    request.path = Template {
        segments: vec![
            Segment::Text("/p".to_owned()),
            Segment::Slot(Slot::UserIndex),
        ],
    };
    plan
}

#[test]
fn a_document_says_what_happened() {
    let mut plan = hostile("shop");
    let Step::Request(request) = &mut plan.scenarios[0].tasks[0].steps[0] else {
        panic!()
    };
    request.path = Template::literal("/buy?q=1&token=abc");
    let failed = Record {
        late_us: 1_500,
        dns_us: 20,
        connect_us: 300,
        tls_us: 900,
        send_us: 10,
        wait_us: 2_000,
        receive_us: 5,
        status: 503,
        outcome: Outcome::Check,
        failed_checks: 0b11,
        reused: false,
        sequence: 7,
        ..record(1_000_000_000)
    };
    let trace = trace_id(run_number(&plan.run.id), 0, 1, 2);
    let documents = encode(&plan, &[failed]);
    let id = format!("{}-0003-00-000000000001", plan.run.id);
    assert_eq!(documents[0].0, json!({"create": {"_id": id}}));
    let expected = json!({
        "@timestamp": "2026-11-23T02:13:21.123456789Z",
        "event": {"id": id, "outcome": "failure", "duration": 2_015_000},
        "orchestrator": {"namespace": "shop-ns"},
        "host": {"name": "host \"1\""},
        "labels": {"page": "shop"},
        "url": {
            "scheme": "http", "domain": "shop", "port": 80,
            "path": "/buy", "query": "q=1&token=REDACTED",
        },
        "http": {
            "request": {"method": "GET", "bytes": 100},
            "response": {"status_code": 503, "bytes": 200},
        },
        "trace": {"id": format!("{trace:032x}")},
        "span": {"id": format!("{:016x}", span_id(trace, 0, 7))},
        "error": {"type": "check", "message": "check \"shop\", \"second\" failed"},
        "loadtest": {
            "schema": 1,
            "doc": "request",
            "test": {"name": "shop"},
            "run": {"id": plan.run.id, "name": "shop", "number": 1},
            "runner": {"index": 3},
            "scenario": {"name": "shop"},
            "task": {"name": "shop"},
            "stage": "load",
            "request": {
                "name": "shop", "step": 0, "user": 1, "iteration": 2, "outcome": "check",
                "connection_reused": false,
                "scheduled": "2026-11-23T02:13:21.120736789Z",
                "time": {
                    "total_us": 2_015, "from_schedule_us": 4_735, "scheduled_delay_us": 1_500,
                    "dns_us": 20, "connect_us": 300, "tls_us": 900, "send_us": 10, "wait_us": 2_000,
                    "receive_us": 5,
                },
            },
            "check": {"failed_names": ["shop", "second"]},
        },
    });
    assert_eq!(documents[0].1, expected);
}

#[test]
fn ids_rise_and_tell_workers_apart() {
    let documents = encode(&plan(), &[record(5), record(3), record(4)]);
    let ids: Vec<_> = documents
        .iter()
        .map(|(action, _)| action["create"]["_id"].clone())
        .collect();
    let prefix = plan().run.id;
    assert_eq!(
        ids,
        ["000000000001", "000000000101", "000000000201"]
            .map(|tail| json!(format!("{prefix}-0003-00-{tail}")))
    );
}

#[test]
fn an_unknown_step_is_still_a_document() {
    let documents = encode(
        &plan(),
        &[Record {
            step: 77,
            ..record(1)
        }],
    );
    assert_eq!(documents[0].1["loadtest"]["request"]["name"], "(unknown)");
    assert_mapped(Stream::Requests, &documents[0].1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn hostile_texts_and_numbers_make_valid_documents(
        text in ".{0,40}|[\"\\\\\u{0}-\u{1f}\u{2028}<>&'`$]{1,20}",
        records in prop::collection::vec(any_record(), 1..10),
    ) {
        let plan = hostile(&text);
        let records: Vec<_> = records.iter().map(with_text).map(|record| Record {
            step: 0, sent_ns: record.sent_ns >> 8, ..record
        }).collect();
        let documents = encode(&plan, &records);
        prop_assert_eq!(documents.len(), records.len());
        for ((_, document), record) in documents.iter().zip(&records) {
            assert_mapped(Stream::Requests, document);
            let loadtest = &document["loadtest"];
            prop_assert_eq!(&loadtest["scenario"]["name"], &json!(text));
            prop_assert_eq!(&document["labels"]["page"], &json!(text));
            let time = &loadtest["request"]["time"];
            prop_assert_eq!(&time["from_schedule_us"], &json!(record.latency_us()));
            prop_assert_eq!(&time["total_us"], &json!(record.service_us()));
            if record.outcome == Outcome::Ok {
                prop_assert!(document.get("error").is_none());
            } else if let Some(text) = record.error.filter(|text| text.len() <= 1_024) {
                prop_assert_eq!(&document["error"]["message"], &json!(text));
            }
        }
    }
}

#[test]
fn a_step_of_a_step_kind_has_the_url_that_its_kind_gave_or_none() {
    let url_of = |said: Option<&str>| {
        let urls = StepUrls::from([(0, said.map(str::to_owned))]);
        let (_, document) = encode_with(&plan(), &urls, &[record(0)]).remove(0);
        assert_mapped(Stream::Requests, &document);
        document.get("url").cloned()
    };
    assert_eq!(url_of(None), None);
    for (said, url) in [
        (
            "ws://chat.svc:9000/room/$(user.index)?token=x&b=1#top",
            json!({
                "scheme": "ws", "domain": "chat.svc", "port": 9_000,
                "path": "/room/$(user.index)", "query": "token=REDACTED&b=1",
            }),
        ),
        (
            "amqp://ann:pass@[::1]:5672",
            json!({"scheme": "amqp", "domain": "[::1]", "port": 5_672}),
        ),
        (
            "grpc://$(rows.host)?x",
            json!({"scheme": "grpc", "domain": "$(rows.host)", "query": "x", "path": ""}),
        ),
        (
            "wss://h:port/",
            json!({"scheme": "wss", "domain": "h:port", "path": "/"}),
        ),
        ("queue orders", json!({"path": "queue orders"})),
        ("", json!({})),
    ] {
        assert_eq!(url_of(Some(said)), Some(url), "{said}");
    }
}
