//! Plans that make no sense end in time, in bounded memory, with every arrival accounted for.

use std::time::{Duration, Instant};

use loadtest_core::{
    plan::{Load, Plan},
    report::EngineState,
};

use crate::{
    harness::{get, pause, plan, rate, scenario, step, task, users},
    measure::{Measured, measure, measure_while},
    witness::{Service, Witness, path},
};

const MIB: u64 = 1 << 20;
const YEAR: Duration = Duration::from_hours(365 * 24);
const SECOND: Duration = Duration::from_secs(1);

fn with(target: &Witness, load: Load) -> Plan {
    let steps = vec![step(get(&path(0)))];
    plan(
        target.address,
        vec![scenario(load, vec![task("only", 1, steps)])],
    )
}

/// The run ends soon after its load; what came is what was counted.
async fn ends(target: &Witness, plan: Plan) -> Measured {
    let load = plan.load_duration();
    let begun = Instant::now();
    let measured = measure(plan).await;
    let took = begun.elapsed();
    assert!(took < load + Duration::from_secs(15), "{took:?}");
    assert_eq!(measured.requests.len(), target.log().len());
    assert_eq!(measured.merged.total.failures, 0);
    let peak = measured.process.peak_rss / MIB;
    assert!(peak < 100, "{peak} MiB");
    measured
}

#[tokio::test(flavor = "multi_thread")]
async fn loads_of_nothing_end_at_once() {
    let target = Witness::start(Service::AtOnce);
    let nobody = with(&target, users(0, SECOND / 5));
    let no_time = with(&target, rate("100/s", Duration::ZERO, 10));
    let mut over = with(&target, rate("100/s", SECOND, 10));
    over.max_duration = Duration::ZERO;
    let mut later = with(&target, users(2, SECOND));
    later.scenarios[0].start_after = YEAR;
    later.max_duration = SECOND / 10;
    let (nobody, no_time, over, later) = tokio::join!(
        ends(&target, nobody),
        ends(&target, no_time),
        ends(&target, over),
        ends(&target, later),
    );
    for measured in [nobody, no_time, over, later] {
        let merged = &measured.merged;
        assert_eq!((merged.total.requests, merged.scheduled), (0, 0));
        let reports = measured.run.server.reports();
        assert_eq!(reports.last().unwrap().state, EngineState::Finished);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_year_can_be_cut_short_and_arrivals_have_a_user_at_least() {
    let (short, alone) = (
        Witness::start(Service::AtOnce),
        Witness::start(Service::AtOnce),
    );
    let mut year = with(&short, rate("50/s", YEAR, 10));
    year.max_duration = SECOND;
    year.scenarios[0].graceful_stop = YEAR;
    let nobody = with(&alone, rate("50/s", SECOND, 0));
    let (year, nobody) = tokio::join!(ends(&short, year), ends(&alone, nobody));
    for measured in [year, nobody] {
        let merged = &measured.merged;
        assert_eq!((merged.scheduled, merged.started), (50, 50));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_of_a_year_obeys_when_it_is_cancelled() {
    let target = Witness::start(Service::AtOnce);
    let mut plan = with(&target, users(2, YEAR));
    plan.max_duration = YEAR;
    plan.scenarios[0].tasks[0].think_time = Some(pause(5, 10));
    let mut cancelled = None;
    let measured = measure_while(plan, async |run| {
        run.server
            .until("something is merged", |inner| {
                inner.coordinator.merged().total.requests > 20
            })
            .await;
        run.server.cancel();
        cancelled = Some(Instant::now());
    })
    .await;
    assert!(cancelled.unwrap().elapsed() < 10 * SECOND);
    assert_eq!(measured.requests.len(), target.log().len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_beyond_all_machines_is_counted_not_collected() {
    let target = Witness::start(Service::AtOnce);
    let measured = ends(&target, with(&target, rate("999999999/s", SECOND, 4))).await;
    let merged = &measured.merged;
    assert_eq!(merged.scheduled, 999_999_999);
    assert_eq!(merged.started, measured.requests.len() as u64);
    // The target is loaded all the same.
    assert!(merged.started > 100, "{}", merged.started);
}
