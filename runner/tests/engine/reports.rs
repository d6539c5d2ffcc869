//! The coordinator's sum is exact, whatever happens to reports and answers.

use std::time::Duration;

use crate::{
    coordinator::Fate,
    harness::{Run, get, plan, rate, scenario, step, task, users},
    target::Target,
};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread")]
async fn lost_reports_and_lost_answers_change_no_count() {
    let target = Target::start().await;
    let tasks = vec![task("only", 1, vec![step(get("/ok"))])];
    let plan = plan(
        target.address,
        vec![scenario(rate("300/s", 4 * SECOND, 50), tasks)],
    );
    let mut run = Run::start(plan).await;
    run.server.fates(|n| match n % 4 {
        0 | 3 => Fate::Delivered,
        1 => Fate::AnswerLost,
        _ => Fate::ReportLost,
    });
    let ended = run.end().await;
    assert_eq!(ended.codes, [Some(0)]);
    assert_eq!(ended.merged.total.requests, 1_200);
    assert_eq!((target.count(), ended.merged.started), (1_200, 1_200));
    let resent = run.server.reports().windows(2).any(|pair| {
        let sequence = |n: usize| pair[n].delta.as_ref().map(|delta| delta.sequence);
        sequence(0).is_some() && sequence(0) == sequence(1) && pair[0].delta == pair[1].delta
    });
    assert!(resent, "an unacknowledged delta is sent again unchanged");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_coordinator_learns_everything() {
    let target = Target::start().await;
    let tasks = vec![task("only", 1, vec![step(get("/ok"))])];
    let plan = plan(
        target.address,
        vec![scenario(rate("300/s", 4 * SECOND, 50), tasks)],
    );
    let mut run = Run::start(plan).await;
    run.server
        .until("some are merged", |i| {
            i.coordinator.merged().total.requests > 300
        })
        .await;
    run.server.restart();
    run.server
        .until("all are merged again", |i| {
            i.coordinator.merged().total.requests > 600
        })
        .await;
    run.server.restart();
    let ended = run.end().await;
    assert_eq!(ended.codes, [Some(0)]);
    assert_eq!(
        (ended.merged.total.requests, target.count()),
        (1_200, 1_200)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn runners_share_a_load_exactly_and_begin_together() {
    let target = Target::start().await;
    let tasks = |path: &str| vec![task("only", 1, vec![step(get(path))])];
    let mut closed = scenario(
        users(7, SECOND),
        tasks("/slow/10?u=$(user.index)&r=$(runner.index)"),
    );
    closed.name = "closed".to_owned();
    let mut plan = plan(
        target.address,
        vec![
            scenario(rate("333/s", SECOND, 30), tasks("/ok?u=$(user.index)")),
            closed,
        ],
    );
    plan.runners = 3;
    let mut run = Run::start(plan).await;
    let ended = run.end().await;
    assert_eq!(ended.codes, [Some(0); 3]);
    assert_eq!((ended.merged.scheduled, ended.merged.started), (333, 333));
    assert_eq!(ended.merged.by_name[0].requests, 333);
    assert_eq!(ended.merged.total.requests, target.count());
    // Seven users over all runners, each with a number of its own.
    let paths = target.by_path();
    let closed: Vec<_> = paths
        .keys()
        .filter(|path| path.starts_with("/slow"))
        .collect();
    assert_eq!(closed.len(), 7, "{closed:?}");
    let view = run
        .server
        .inner
        .lock()
        .unwrap()
        .coordinator
        .view(crate::coordinator::now());
    let skew = view.start_skew_us.unwrap();
    assert!(skew < 100_000, "{skew}");
}
