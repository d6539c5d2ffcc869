//! Setup and teardown: once for the whole run, whatever becomes of it.

use std::{net::SocketAddr, time::Duration};

use loadtest_core::{
    plan::{OnMissing, Once, Plan, Request, Step},
    report::EngineState,
};

use crate::{
    coordinator::{Fate, Inner},
    data::feeder,
    harness::{Run, iterations, run_to_end, scenario, step, task, users},
    language::{Language, by_path, named, paths},
    site::{Answer, Site, text},
    stops::signal,
};

/// Requests of what is done once have no row.
fn unrecorded(request: Request) -> Step {
    step(Request {
        series: u32::MAX,
        step: u32::MAX,
        ..request
    })
}

fn plan(address: SocketAddr, load: loadtest_core::plan::Load) -> Plan {
    let say = Language::new(&["tenant", "day"]).setup(&["tenant", "day"]);
    let mut create = say.get("/create");
    "POST".clone_into(&mut create.method);
    create.extracts = vec![say.extract("tenant", "$.tenant", OnMissing::FailIteration)];
    let set_up = [unrecorded(create), say.set("day", "monday")];
    let tear_down = [unrecorded(say.get("/delete/$(setup.tenant)"))];
    let steps = vec![say.go("/work/$(setup.tenant)/$(setup.day)/$(runner.index)")];
    let scenario = scenario(load, vec![task("all", 1, steps)]);
    let mut plan = say.plan(address, scenario, &[]);
    plan.runners = 2;
    plan.once = Some(Box::new(Once {
        flows: named(&[&set_up, &tear_down]),
        setup: Some(0),
        teardown: Some(1),
        ..Once::default()
    }));
    plan
}

async fn site() -> Site {
    Site::plain(|seen| match seen.path.as_str() {
        "/create" => Answer::Bytes(text("201", "", "{\"tenant\":\"t1\"}")),
        _ => Answer::Bytes(text("200", "", "x")),
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_setup_is_done_before_all_and_the_teardown_after_all() {
    let site = site().await;
    let ended = run_to_end(plan(site.address, iterations(4, 5))).await;
    let seen = paths(&site);
    assert_eq!(seen.first().map(String::as_str), Some("/create"));
    assert_eq!(seen.last().map(String::as_str), Some("/delete/t1"));
    let counts = by_path(&site);
    assert_eq!((counts["/create"], counts["/delete/t1"]), (1, 1));
    assert_eq!(
        (counts["/work/t1/monday/0"], counts["/work/t1/monday/1"]),
        (10, 10)
    );
    // They are in no result.
    assert_eq!(
        (ended.merged.total.requests, ended.merged.iterations),
        (20, 20)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn setup_and_teardown_take_rows_as_iterations_of_runner_0_do() {
    let site = site().await;
    let say = Language::default().data(feeder(8));
    let mut plan = say.plan(
        site.address,
        scenario(
            iterations(2, 1),
            vec![task("all", 1, vec![say.go("/work/$(people.id)")])],
        ),
        &[],
    );
    plan.runners = 2;
    plan.once = Some(Box::new(Once {
        flows: named(&[
            &[unrecorded(say.get("/make/$(people.id)"))],
            &[unrecorded(say.get("/remove/$(people.id)"))],
        ]),
        setup: Some(0),
        teardown: Some(1),
        ..Once::default()
    }));
    let ended = run_to_end(plan).await;
    assert_eq!(ended.merged.total.requests, 2);
    let mut seen = paths(&site);
    seen.sort();
    // Runner 0 has the rows 0, 2, 4 and so on.
    assert_eq!(seen, ["/make/0", "/remove/4", "/work/1", "/work/2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_set_up_is_torn_down_when_the_run_is_stopped() {
    let site = site().await;
    let mut run = Run::start(plan(site.address, users(4, Duration::from_mins(1)))).await;
    run.server
        .until("there is load", |_| site.count() > 20)
        .await;
    run.server.cancel();
    let ended = run.end().await;
    assert_eq!(ended.codes, [Some(0); 2]);
    let seen = paths(&site);
    assert_eq!(seen.iter().filter(|path| *path == "/create").count(), 1);
    assert_eq!(seen.last().map(String::as_str), Some("/delete/t1"));
    let states: Vec<_> = run
        .server
        .reports()
        .iter()
        .map(|report| report.state)
        .collect();
    assert!(states.contains(&EngineState::LoadDone));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_setup_that_fails_fails_the_run_and_nothing_is_torn_down() {
    for (status, body, said) in [
        ("503", "{}", "the setup failed: POST /create: status 503"),
        (
            "201",
            "{\"id\":1}",
            "the setup failed: POST /create: no tenant in the answer: $.tenant found nothing",
        ),
    ] {
        let site = Site::plain(move |_| Answer::Bytes(text(status, "", body))).await;
        let mut run = Run::start(plan(site.address, iterations(2, 5))).await;
        let ended = run.end().await;
        assert!(ended.codes.contains(&Some(1)), "{:?}", ended.codes);
        let failures: Vec<_> = run
            .server
            .reports()
            .into_iter()
            .filter_map(|r| r.failure)
            .collect();
        assert!(
            failures.iter().any(|failure| failure == said),
            "{failures:?}"
        );
        assert_eq!(paths(&site), ["/create"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_setup_that_cannot_set_a_value_says_why() {
    let site = site().await;
    let mut plan = plan(site.address, iterations(2, 5));
    let say = Language::new(&["tenant", "day"]).setup(&["tenant", "day"]);
    let set_up = [say.set("day", "$(jwt HS256 key tenant)")];
    if let Some(once) = &mut plan.once {
        once.flows = named(&[&set_up, &[]]);
    }
    let mut run = Run::start(plan).await;
    let ended = run.end().await;
    assert!(ended.codes.contains(&Some(1)), "{:?}", ended.codes);
    let reports = run.server.reports().into_iter();
    let failures: Vec<_> = reports.filter_map(|report| report.failure).collect();
    let said = "the setup failed: a value could not be set: $(jwt): the claims are no JSON object";
    assert!(
        failures.iter().any(|failure| failure == said),
        "{failures:?}"
    );
    assert_eq!(site.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_teardown_that_fails_is_told_and_the_run_is_what_it_was() {
    let site = Site::plain(|seen| match seen.path.as_str() {
        "/create" => Answer::Bytes(text("201", "", "{\"tenant\":\"t1\"}")),
        "/delete/t1" => Answer::Bytes(text("409", "", "busy")),
        _ => Answer::Bytes(text("200", "", "x")),
    })
    .await;
    let mut run = Run::start(plan(site.address, iterations(2, 5))).await;
    let ended = run.end().await;
    assert_eq!(ended.codes, [Some(0); 2]);
    assert_eq!(ended.merged.total.failures, 0);
    let reports = run.server.reports();
    let mut told = reports
        .iter()
        .filter_map(|report| report.teardown_failure.as_deref());
    assert_eq!(
        told.next_back(),
        Some("the teardown failed: GET /delete/$(setup.tenant): status 409")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runner_that_is_told_to_end_tears_down_without_a_coordinator() {
    let site = site().await;
    let mut plan = plan(site.address, users(4, Duration::from_mins(1)));
    plan.runners = 1;
    let mut run = Run::start(plan).await;
    run.server
        .until("there is load", |_| site.count() > 20)
        .await;
    run.server.fates(|_| Fate::ReportLost);
    signal(&run, "TERM");
    let is_torn_down = |_: &Inner| paths(&site).last().is_some_and(|path| path == "/delete/t1");
    run.server.until("the teardown is done", is_torn_down).await;
    run.server.fates(|_| Fate::Delivered);
    let ended = run.end().await;
    assert_eq!(ended.codes, [Some(0)]);
    assert_eq!(by_path(&site)["/delete/t1"], 1);
}

/// A successor of the coordinator knows nothing of the setup but what runner 0 tells it.
#[tokio::test(flavor = "multi_thread")]
async fn a_setup_is_done_once_though_the_coordinator_is_not_the_same() {
    let site = site().await;
    let mut run = Run::start(plan(site.address, iterations(4, 5))).await;
    run.server
        .until("the setup is done", |_| site.count() > 0)
        .await;
    run.server.restart();
    let ended = run.end().await;
    assert_eq!(ended.codes, [Some(0); 2]);
    let counts = by_path(&site);
    assert_eq!((counts["/create"], counts["/delete/t1"]), (1, 1));
    assert_eq!(ended.merged.total.requests, 20);
}
