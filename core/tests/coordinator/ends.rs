//! Runs that end before their time, and those who never come or never go.

use std::time::Duration;

use loadtest_core::{
    coordinator::{Coordinator, END_GRACE, Refused},
    report::{Delta, Desired, EngineReport, EngineState},
    series::{Outcome, Series, SeriesSet},
    verdict::{Reason, Verdict},
    view::Delivery,
};

use loadtest_core::{
    plan::OnLost,
    threshold::{Abort, Threshold},
};

use crate::harness::*;

#[test]
fn runners_that_never_come_end_the_run_in_words() {
    let mut coordinator = new(plan(3, &[], true));
    Engine::new(1).say(&mut coordinator, EngineState::Ready, SECOND);
    coordinator.tick(61 * SECOND);
    let view = coordinator.unconfirmed_judgement().unwrap();
    let judgement = view.judgement.clone().unwrap();
    assert_eq!(
        (judgement.verdict, judgement.reason),
        (Verdict::Error, Reason::StartTimeout)
    );
    assert_eq!(judgement.message, "runners 0, 2 did not register within 1m");
    coordinator.confirm_judgement();
    let answer = Engine::new(1).say(&mut coordinator, EngineState::Ready, 62 * SECOND);
    assert_eq!(answer.desired, Desired::Exit);
    assert!(
        coordinator.is_complete(),
        "nothing was sent, so nothing is exported"
    );
}

/// However the answer of whoever makes the start durable and the cancelling fall together.
#[test]
fn a_run_that_was_cancelled_before_its_start_was_durable_never_begins() {
    for confirmed_all_the_same in [false, true] {
        let mut coordinator = new(plan(1, &[], false));
        let mut engine = Engine::new(0);
        engine.say(&mut coordinator, EngineState::Ready, 0);
        assert!(coordinator.proposed_start().is_some());
        coordinator.cancel(SECOND);
        assert_eq!(coordinator.proposed_start(), None);
        if confirmed_all_the_same {
            assert!(!coordinator.confirm_start());
        }
        assert_eq!(coordinator.start(), None);
        assert_eq!(judgement(&coordinator).verdict, Verdict::Aborted);
        let told = engine.say(&mut coordinator, EngineState::Ready, 2 * SECOND);
        assert_eq!(told.desired, Desired::Stop);
        coordinator.confirm_judgement();
        let told = engine.say(&mut coordinator, EngineState::Ready, 3 * SECOND);
        assert_eq!(told.desired, Desired::Exit);
        assert!(coordinator.is_complete(), "nothing was sent");
    }
}

#[test]
fn a_cancelled_run_is_aborted_with_what_was_measured() {
    let mut coordinator = new(plan(1, &[], false));
    let mut engines = [Engine::new(0)];
    let start = started(&mut coordinator, &mut engines, 0);
    engines[0].send(
        &mut coordinator,
        requests(300, 5, Outcome::Ok),
        EngineState::Running,
        start + 3 * SECOND,
    );
    coordinator.cancel(start + 3 * SECOND);
    coordinator.cancel(start + 9 * SECOND);
    let said = engines[0].say(&mut coordinator, EngineState::Running, start + 3 * SECOND);
    assert_eq!(said.desired, Desired::Stop);
    // The engine hears of it a report later, and its load has gone on until then.
    let report = stopped_at(
        &engines[0],
        start + 4 * SECOND,
        requests(102, 5, Outcome::Ok),
    );
    engines[0].tell(&mut coordinator, report, start + 5 * SECOND);
    let view = coordinator.unconfirmed_judgement().unwrap();
    assert_eq!(view.judgement.as_ref().unwrap().verdict, Verdict::Aborted);
    let summary = view.summary.as_ref().unwrap();
    assert_eq!(
        (summary.total.requests, summary.duration),
        (402, Duration::from_secs(4))
    );
}

/// The final report of an engine whose load was stopped before its end.
fn stopped_at(engine: &Engine, load_ended: i64, set: SeriesSet) -> EngineReport {
    let delta = Delta {
        sequence: engine.sequence + 1,
        full: engine.full,
        set,
        warm_up: Series::default(),
    };
    let mut report = engine.report(EngineState::Finished, Some(delta));
    report.load_ended = Some(load_ended);
    report
}

#[test]
fn the_rate_of_a_stopped_load_is_the_one_that_was_sent() {
    let mut coordinator = new(plan(3, &["requests.rate >= 300/s"], false));
    let mut engines = [0, 1, 2].map(Engine::new);
    let start = started(&mut coordinator, &mut engines, 0);
    for engine in &mut engines {
        let second = requests(100, 5, Outcome::Ok);
        engine.send(
            &mut coordinator,
            second,
            EngineState::Running,
            start + SECOND,
        );
    }
    // One runner is lost after its first report, and the others hear of it one after the other.
    coordinator.lose_engine(2, Reason::RunnerLost, "gone", start + SECOND * 3 / 2);
    for (engine, (load_ended, count)) in engines.iter_mut().zip([(20, 100), (24, 140)]) {
        let at = start + load_ended * SECOND / 10;
        let report = stopped_at(engine, at, requests(count, 5, Outcome::Ok));
        // While they stop, time goes on for the load.
        let view = coordinator.view(at);
        let so_far = view.summary.unwrap().duration.as_micros();
        assert_eq!(so_far, u128::try_from(at - start).unwrap());
        engine.tell(&mut coordinator, report, at + SECOND);
    }
    let view = coordinator.unconfirmed_judgement().unwrap();
    let summary = view.summary.as_ref().unwrap();
    assert_eq!(summary.duration, Duration::from_millis(2_400));
    assert_eq!(summary.total.requests, 540);
    assert!(
        (summary.total.rate - 225.0).abs() < 1e-9,
        "{}",
        summary.total.rate
    );
    assert_eq!(view.thresholds[0].observed.as_deref(), Some("225/s"));
}

#[test]
fn a_lost_runner_stops_the_others_and_is_an_error() {
    let mut coordinator = new(plan(2, &[], true));
    let mut engines = [Engine::new(0), Engine::new(1)];
    let start = started(&mut coordinator, &mut engines, 0);
    engines[1].send(
        &mut coordinator,
        requests(40, 5, Outcome::Ok),
        EngineState::Running,
        start + SECOND,
    );
    let oom = Reason::Cluster("OOMKilled".into());
    coordinator.lose_engine(1, oom.clone(), "runner 1: OOMKilled", start + 2 * SECOND);
    coordinator.lose_exporter(1, start + 2 * SECOND);
    let said = engines[0].say(&mut coordinator, EngineState::Running, start + 2 * SECOND);
    assert_eq!(said.desired, Desired::Stop);
    engines[0].send(
        &mut coordinator,
        requests(60, 5, Outcome::Ok),
        EngineState::Finished,
        start + 3 * SECOND,
    );
    let view = coordinator.unconfirmed_judgement().unwrap();
    let judgement = view.judgement.as_ref().unwrap();
    assert_eq!(
        (judgement.verdict, &judgement.reason),
        (Verdict::Error, &oom)
    );
    assert_eq!(view.summary.as_ref().unwrap().total.requests, 100);
    assert_eq!(view.delivery, Some(Delivery::Incomplete));
    let export = coordinator.view(start + 3 * SECOND).export.unwrap();
    assert_eq!(
        (export.produced, export.lost, export.pending),
        (100, 40, 60)
    );
    assert!(export.balanced());
}

#[test]
fn the_others_go_on_without_a_lost_runner_when_the_test_says_so() {
    let mut plan = plan(2, &["errors.ratio < 1%"], false);
    plan.on_lost = OnLost::Continue;
    let mut coordinator = new(plan);
    let mut engines = [Engine::new(0), Engine::new(1)];
    let start = started(&mut coordinator, &mut engines, 0);
    let early = start + SECOND;
    let few = requests(100, 5, Outcome::Ok);
    engines[1].send(&mut coordinator, few, EngineState::Running, early);
    coordinator.lose_engine(1, Reason::RunnerLost, "runner 1 is gone", early);
    let said = engines[0].say(&mut coordinator, EngineState::Running, early);
    assert_eq!(said.desired, Desired::StartAt(start));
    let end = start + 10 * SECOND;
    let rest = requests(500, 5, Outcome::Ok);
    engines[0].send(&mut coordinator, rest, EngineState::Finished, end);
    let view = coordinator.unconfirmed_judgement().unwrap();
    let judgement = view.judgement.as_ref().unwrap();
    assert_eq!(judgement.verdict, Verdict::Passed);
    assert_eq!(
        judgement.message,
        "the threshold held; but 1 of 2 runners were lost, and with them a part of the load"
    );
    assert_eq!(view.delivery, Some(Delivery::Incomplete));
    // 600 of the 1,000 that the plan asks for.
    let summary = view.summary.as_ref().unwrap();
    assert!(
        (summary.delivered - 0.6).abs() < 1e-9,
        "{}",
        summary.delivered
    );
}

#[test]
fn a_runner_that_a_signal_ended_early_never_makes_a_passed_run() {
    let mut coordinator = new(plan(1, &[], false));
    let mut engines = [Engine::new(0)];
    let start = started(&mut coordinator, &mut engines, 0);
    let mut report = engines[0].report(
        EngineState::Finished,
        Some(Delta {
            sequence: 1,
            full: true,
            set: requests(602, 5, Outcome::Ok),
            warm_up: Series::default(),
        }),
    );
    report.interrupted = true;
    coordinator
        .engine_report(0, report, start + 6 * SECOND)
        .unwrap();
    let view = coordinator.unconfirmed_judgement().unwrap();
    let judgement = view.judgement.as_ref().unwrap();
    assert_eq!(
        (judgement.verdict, &judgement.reason),
        (Verdict::Error, &Reason::RunnerLost)
    );
    assert_eq!(view.summary.as_ref().unwrap().total.requests, 602);
}

#[test]
fn an_engine_that_falls_silent_is_lost_not_awaited_for_ever() {
    let mut coordinator = new(plan(1, &[], false));
    let mut engines = [Engine::new(0)];
    let start = started(&mut coordinator, &mut engines, 0);
    let latest = start + 15 * SECOND + i64::try_from(END_GRACE.as_micros()).unwrap();
    coordinator.tick(latest);
    assert!(coordinator.unconfirmed_judgement().is_none());
    coordinator.tick(latest + 1);
    let judgement = judgement(&coordinator);
    assert_eq!(
        (judgement.verdict, judgement.reason),
        (Verdict::Error, Reason::RunnerLost)
    );
}

#[test]
fn exporters_that_never_end_are_awaited_until_the_drain_deadline() {
    let mut coordinator = new(plan(1, &[], true));
    let mut engines = [Engine::new(0)];
    let start = started(&mut coordinator, &mut engines, 0);
    let end = start + 10 * SECOND;
    engines[0].send(
        &mut coordinator,
        requests(5, 5, Outcome::Ok),
        EngineState::Finished,
        end,
    );
    coordinator.confirm_judgement();
    coordinator.tick(end + 25 * SECOND);
    assert!(!coordinator.is_complete());
    coordinator.tick(end + 25 * SECOND + 1);
    assert!(coordinator.is_complete());
    let export = coordinator.view(end + 26 * SECOND).export.unwrap();
    assert_eq!((export.produced, export.lost, export.pending), (5, 5, 0));
}

#[test]
fn max_duration_ends_a_longer_load_as_an_error() {
    let mut short = plan(1, &[], false);
    short.max_duration = Duration::from_secs(4);
    let mut coordinator = new(short);
    let mut engines = [Engine::new(0)];
    let start = started(&mut coordinator, &mut engines, 0);
    coordinator.tick(start + 4 * SECOND);
    let said = engines[0].say(&mut coordinator, EngineState::Running, start + 4 * SECOND);
    assert_eq!(said.desired, Desired::Stop);
    engines[0].send(
        &mut coordinator,
        requests(5, 5, Outcome::Ok),
        EngineState::Finished,
        start + 5 * SECOND,
    );
    let judgement = judgement(&coordinator);
    assert_eq!(
        (judgement.verdict, judgement.reason),
        (Verdict::Error, Reason::DeadlineExceeded)
    );
}

#[test]
fn strangers_are_refused() {
    let mut coordinator = new(plan(1, &[], false));
    let engine = Engine::new(0);
    let mut other = engine.report(EngineState::Ready, None);
    other.plan_hash = "another".into();
    assert!(matches!(
        coordinator.engine_report(0, other, 0),
        Err(Refused::OtherPlan { runner: 0, .. })
    ));
    let report = engine.report(EngineState::Ready, None);
    assert_eq!(
        coordinator.engine_report(1, report, 0),
        Err(Refused::UnknownRunner(1))
    );
    assert_eq!(coordinator.view(0).runners.ready, 0);
}

#[test]
fn a_breach_that_lasts_stops_the_load_and_fails_the_run() {
    let mut plan = plan(1, &["errors.ratio < 1%", "latency.p99 < 1ms"], false);
    plan.thresholds[0].abort = Some(Abort {
        after: Duration::from_secs(2),
        min_requests: 100,
    });
    let mut coordinator = new(plan);
    let mut engine = Engine::new(0);
    let start = started(&mut coordinator, std::slice::from_mut(&mut engine), 0);
    let going = Desired::StartAt(start);
    let mut send = |coordinator: &mut Coordinator, count, outcome, second| {
        let now = start + second * SECOND;
        let set = requests(count, 5_000, outcome);
        let answer = engine.send(coordinator, set, EngineState::Running, now);
        (
            answer.desired,
            coordinator.view(now).thresholds[0].first_breach,
        )
    };
    // Not long enough; a long good time; too few requests; and then a breach over two seconds that
    // are a hundredth of all requests.
    let steps = [
        (99, Outcome::Status),
        (99_000, Outcome::Ok),
        (5_000, Outcome::Ok),
    ];
    for (second, (count, outcome)) in (1..).zip(steps) {
        let said = send(&mut coordinator, count, outcome, second);
        assert_eq!(said, (going.clone(), None), "second {second}");
    }
    let said = send(&mut coordinator, 1, Outcome::Ok, 5);
    assert_eq!(said, (going.clone(), None));
    let said = send(&mut coordinator, 98, Outcome::Status, 6);
    assert_eq!(said, (going, None));
    let first = Some(start + 7 * SECOND);
    let said = send(&mut coordinator, 10, Outcome::Ok, 7);
    assert_eq!(said, (Desired::Stop, first));
    let end = start + 9 * SECOND;
    let mut report = engine.report(EngineState::Finished, None);
    report.load_ended = Some(start + 8 * SECOND);
    engine.tell(&mut coordinator, report, end);
    let view = coordinator.unconfirmed_judgement().unwrap();
    let judgement = view.judgement.as_ref().unwrap();
    assert_eq!(
        (judgement.verdict, &judgement.reason),
        (Verdict::Failed, &Reason::ThresholdBreached)
    );
    assert_eq!(
        judgement.message,
        "the load was stopped: threshold errors.ratio < 1% was breached over the last 2s: 90.74%"
    );
    let breaches: Vec<_> = view.thresholds.iter().map(|t| t.first_breach).collect();
    assert_eq!(breaches, [first, None], "the second may not stop the run");
    let summary = view.summary.as_ref().unwrap();
    assert_eq!(summary.duration, Duration::from_secs(8));
}

#[test]
fn a_threshold_may_look_at_some_names_only() {
    let mut slow = Threshold::parse(None, "latency.p99 < 4ms").unwrap();
    let mut set = requests(10, 9_000, Outcome::Ok);
    set.by_name = vec![
        requests(9, 9_000, Outcome::Ok).total,
        requests(1, 3_000, Outcome::Ok).total,
    ];
    let mut of = |series| {
        slow.series = Some(series);
        slow.evaluate(&set, Duration::from_secs(1))
    };
    assert!(of(vec![1, 7]).passed);
    assert!(!of(vec![0]).passed);
    assert_eq!(of(vec![7]).observed, None);
}
