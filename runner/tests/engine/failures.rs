//! Whatever a target does, every request that was begun ends in one record with the right name.

use std::{collections::BTreeMap, time::Duration};

use loadtest_core::{
    plan::{Check, Condition, Step},
    series::SeriesSet,
    template::Template,
};

use crate::{
    harness::{body_contains, errors, get, pause, plan, rate, run, scenario, step, task, users},
    target::Target,
};

const SECOND: Duration = Duration::from_secs(1);

fn by_outcome(set: &SeriesSet) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for ((outcome, _), count) in errors(set) {
        *counts.entry(outcome).or_insert(0) += count;
    }
    counts
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_failure_is_counted_by_its_name() {
    let target = Target::start().await;
    let mut hang = get("/hang");
    hang.timeout = Duration::from_millis(200);
    let mut wrong_body = get("/ok");
    wrong_body.checks = vec![body_contains("in stock")];
    let mut right_body = get("/chunked");
    right_body.checks = vec![
        body_contains("in stock"),
        Check {
            index: 0,
            condition: Condition::Status(vec!["200".parse().unwrap()]),
        },
    ];
    let mut expected = get("/status/404");
    expected.success = vec!["404".parse().unwrap()];
    let requests = [
        get("/garbage"),
        hang,
        get("/reset"),
        get("/cut"),
        get("/status/503"),
        wrong_body,
        right_body,
        expected,
    ];
    // 10 iterations per second: all requests of a second are begun within it.
    let steps: Vec<Step> = requests.into_iter().map(step).collect();
    let load = rate("20/s", SECOND, 20);
    let measured = run(plan(
        target.address,
        vec![scenario(load, vec![task("only", 1, steps)])],
    ))
    .await;
    assert_eq!(measured.total.requests, 160);
    assert_eq!(target.count(), 160);
    let expected = [
        (("protocol", "the answer is not HTTP"), 20),
        (("timeout", "no whole answer within 200ms"), 20),
        (("reset", "connection reset by peer"), 20),
        (
            (
                "reset",
                "the connection was closed inside the body of the answer",
            ),
            20,
        ),
        (("status", "status 503"), 20),
        (("check", "check \"check 0\" failed"), 20),
    ];
    let expected: BTreeMap<_, _> = expected
        .into_iter()
        .map(|((outcome, message), count)| ((outcome.to_owned(), message.to_owned()), count))
        .collect();
    assert_eq!(errors(&measured), expected);
    assert_eq!(measured.checks, [(0, 20), (20, 0), (20, 0)]);
    assert_eq!(measured.total.status_classes, [0, 40, 0, 20, 20]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_target_is_refused_without_spinning() {
    let address = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    let tasks = vec![task("only", 1, vec![step(get("/ok"))])];
    let measured = run(plan(address, vec![scenario(users(4, SECOND), tasks)])).await;
    let requests = measured.total.requests;
    assert!((5..=40).contains(&requests), "{requests}");
    let refused = (
        "connect_refused".to_owned(),
        "connection refused".to_owned(),
    );
    assert_eq!(errors(&measured), BTreeMap::from([(refused, requests)]));
    assert_eq!((measured.connections, measured.total.bytes_sent), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_model_is_refused_at_its_own_pace() {
    let address = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    let tasks = vec![task("only", 1, vec![step(get("/ok"))])];
    let load = rate("200/s", SECOND, 10);
    let measured = run(plan(address, vec![scenario(load, tasks)])).await;
    assert_eq!(
        by_outcome(&measured),
        BTreeMap::from([("connect_refused".to_owned(), 200)])
    );
    assert_eq!((measured.scheduled, measured.started), (200, 200));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_the_server_left_is_replaced() {
    let target = Target::start().await;
    let steps = vec![step(get("/leave"))];
    let measured = run(plan(
        target.address,
        vec![scenario(users(4, SECOND), vec![task("only", 1, steps)])],
    ))
    .await;
    assert_eq!(measured.total.failures, 0, "{:?}", measured.errors);
    assert_eq!(measured.total.requests, target.count());
    assert_eq!(measured.connections, measured.total.requests);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_post_is_not_sent_into_a_connection_that_was_left_long_ago() {
    let target = Target::start().await;
    let mut post = get("/leave");
    post.method = "POST".to_owned();
    post.body = Some(Template::literal("x=1"));
    let steps = vec![step(post), Step::Pause(pause(10, 20))];
    let measured = run(plan(
        target.address,
        vec![scenario(users(4, SECOND), vec![task("only", 1, steps)])],
    ))
    .await;
    assert_eq!(measured.total.failures, 0, "{:?}", measured.errors);
    assert_eq!(measured.total.requests, target.count());
    assert!(measured.total.requests > 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_may_close_after_each_answer() {
    let target = Target::start().await;
    let steps = vec![step(get("/close"))];
    let load = rate("200/s", SECOND, 10);
    let measured = run(plan(
        target.address,
        vec![scenario(load, vec![task("only", 1, steps)])],
    ))
    .await;
    assert_eq!(
        (measured.total.requests, measured.total.failures),
        (200, 0),
        "{:?}",
        measured.errors
    );
    assert_eq!((measured.connections, target.connections()), (200, 200));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_resolved_and_all_its_addresses_are_tried() {
    // The target listens on IPv4 only; the name may have an IPv6 address as well.
    let target = Target::start().await;
    let mut plan = plan(
        target.address,
        vec![scenario(
            rate("50/s", SECOND, 10),
            vec![task("only", 1, vec![step(get("/ok"))])],
        )],
    );
    plan.target.origin.host = "localhost".to_owned();
    let measured = run(plan).await;
    assert_eq!(
        (measured.total.requests, measured.total.failures),
        (50, 0),
        "{:?}",
        measured.errors
    );
}
