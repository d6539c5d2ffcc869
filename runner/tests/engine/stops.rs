//! However a load ends, what was begun is accounted for and the engine exits with its report.

use std::time::Duration;

use loadtest_core::{report::EngineState, verdict::Verdict};

use crate::{
    harness::{Run, errors, get, plan, rate, run, scenario, step, task, users},
    target::Target,
};

const SECOND: Duration = Duration::from_secs(1);

pub fn signal(run: &Run, name: &str) {
    let pid = run.pid().to_string();
    let status = std::process::Command::new("kill")
        .args(["-s", name, &pid])
        .status()
        .unwrap();
    assert!(status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn iterations_under_way_may_end_within_graceful_stop() {
    let target = Target::start().await;
    let tasks = vec![task("only", 1, vec![step(get("/slow/1000"))])];
    let load = users(6, Duration::from_millis(1_500));
    let measured = run(plan(target.address, vec![scenario(load, tasks)])).await;
    assert_eq!((measured.total.requests, measured.total.failures), (12, 0));
    assert_eq!(measured.iterations, 12);
    assert_eq!(target.count(), 12);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_graceful_stop_requests_under_way_are_aborted_and_counted() {
    let target = Target::start().await;
    let tasks = vec![task("only", 1, vec![step(get("/hang"))])];
    let mut scenario = scenario(users(6, Duration::from_millis(300)), tasks);
    scenario.graceful_stop = Duration::from_millis(200);
    let measured = run(plan(target.address, vec![scenario])).await;
    assert_eq!((measured.total.requests, measured.iterations), (6, 0));
    assert_eq!(target.count(), 6);
    let aborted = (
        "aborted".to_owned(),
        "stopped while it was under way".to_owned(),
    );
    assert_eq!(errors(&measured).get(&aborted), Some(&6));
    let longest = Duration::from_micros(measured.total.latency.max());
    assert!(longest < 2 * SECOND, "{longest:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_run_stops_at_once_and_loses_no_count() {
    let target = Target::start().await;
    let tasks = vec![task("only", 1, vec![step(get("/slow/20"))])];
    let plan = plan(
        target.address,
        vec![scenario(rate("200/s", 30 * SECOND, 100), tasks)],
    );
    let mut run = Run::start(plan).await;
    run.server
        .until("something is merged", |i| {
            i.coordinator.merged().total.requests > 50
        })
        .await;
    run.server.cancel();
    let ended = run.end().await;
    assert_eq!(ended.codes, [Some(0)]);
    assert_eq!(ended.merged.total.requests, target.count());
    assert_eq!(ended.merged.started, target.count());
    assert_eq!(ended.merged.total.failures, 0, "{:?}", ended.merged.errors);
    let view = run
        .server
        .inner
        .lock()
        .unwrap()
        .coordinator
        .view(crate::coordinator::now());
    assert_eq!(view.judgement.unwrap().verdict, Verdict::Aborted);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminated_engine_lets_iterations_end_and_reports() {
    let target = Target::start().await;
    let tasks = vec![task("only", 1, vec![step(get("/slow/20"))])];
    let plan = plan(
        target.address,
        vec![scenario(users(10, 30 * SECOND), tasks)],
    );
    let mut run = Run::start(plan).await;
    run.server
        .until("something is merged", |i| {
            i.coordinator.merged().total.requests > 50
        })
        .await;
    signal(&run, "TERM");
    let ended = run.end().await;
    assert_eq!(ended.codes, [Some(0)]);
    assert_eq!(ended.merged.total.requests, target.count());
    assert_eq!(ended.merged.total.failures, 0, "{:?}", ended.merged.errors);
    assert_eq!(
        run.server.reports().last().unwrap().state,
        EngineState::Finished
    );
    let inner = run.server.inner.lock().unwrap();
    let view = inner.coordinator.view(crate::coordinator::now());
    let judgement = view.judgement.unwrap();
    assert_eq!(judgement.verdict, Verdict::Error, "{}", judgement.message);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_cuts_off_what_is_under_way() {
    let target = Target::start().await;
    let tasks = vec![task("only", 1, vec![step(get("/hang"))])];
    let mut scenario = scenario(users(3, 30 * SECOND), tasks);
    scenario.graceful_stop = 30 * SECOND;
    let mut run = Run::start(plan(target.address, vec![scenario])).await;
    run.server
        .until("it runs", |i| {
            i.reports.iter().any(|r| r.state == EngineState::Running)
        })
        .await;
    signal(&run, "INT");
    run.server
        .until("it stops", |i| {
            i.reports.iter().any(|r| r.state == EngineState::Stopping)
        })
        .await;
    signal(&run, "INT");
    let ended = run.end().await;
    assert_eq!(ended.codes, [Some(0)]);
    assert_eq!(
        (ended.merged.total.requests, ended.merged.total.failures),
        (3, 3)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_is_terminated_before_the_start_sends_nothing() {
    let target = Target::start().await;
    let tasks = vec![task("only", 1, vec![step(get("/ok"))])];
    let plan = plan(target.address, vec![scenario(users(3, 30 * SECOND), tasks)]);
    let mut run = Run::start(plan).await;
    run.server
        .until("it is registered", |inner| !inner.reports.is_empty())
        .await;
    signal(&run, "TERM");
    let ended = run.end().await;
    assert_eq!(ended.codes, [Some(0)]);
    assert_eq!((ended.merged.total.requests, target.count()), (0, 0));
    assert!(
        run.server
            .reports()
            .iter()
            .all(|report| report.began.is_none())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn max_duration_ends_a_longer_load() {
    let target = Target::start().await;
    let tasks = vec![task("only", 1, vec![step(get("/ok"))])];
    let mut plan = plan(
        target.address,
        vec![scenario(rate("100/s", 30 * SECOND, 10), tasks)],
    );
    plan.max_duration = SECOND;
    let measured = run(plan).await;
    assert_eq!((measured.scheduled, measured.total.requests), (100, 100));
    assert_eq!(target.count(), 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_cannot_be_carried_out_is_reported_with_its_reason() {
    let target = Target::start().await;
    let tasks = vec![task("only", 1, vec![step(get("/ok"))])];
    let plan = plan(
        target.address,
        vec![scenario(users(100_000_000, SECOND), tasks)],
    );
    let mut run = Run::start(plan).await;
    let ended = run.end().await;
    assert_eq!(ended.codes, [Some(1)]);
    let failure = run
        .server
        .reports()
        .last()
        .unwrap()
        .failure
        .clone()
        .unwrap();
    assert!(
        failure.starts_with("this runner needs 100000064 open files"),
        "{failure}"
    );
}
