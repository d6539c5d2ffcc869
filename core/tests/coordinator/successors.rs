//! Coordinators that come late to a load: what they wait for, and what they do not judge by.

use std::{sync::Arc, time::Duration};

use loadtest_core::{
    coordinator::{Coordinator, END_GRACE, EarlyEnd, Resume, STOP_PATIENCE},
    plan::{Load, Plan},
    report::{Desired, EngineState, micros},
    series::{Outcome, SeriesSet},
    threshold::Abort,
    verdict::{Reason, Verdict},
};

use crate::harness::*;

const START: i64 = 5 * SECOND;

/// A plan of a load that lasts so many seconds, and `gracefulStop` 5 s.
fn lasting(seconds: u64, runners: u32, thresholds: &[&str]) -> Plan {
    let mut plan = plan(runners, thresholds, false);
    for scenario in &mut plan.scenarios {
        if let Load::ConstantRate { duration, .. } = &mut scenario.load {
            *duration = Duration::from_secs(seconds);
        }
    }
    plan
}

fn successor(plan: Plan, now: i64) -> Coordinator {
    let known = Resume {
        start: Some(START),
        ..Resume::default()
    };
    Coordinator::resume(Arc::new(plan), HASH.into(), 8, now, known)
}

/// An engine says that it is sending load, and when it began.
fn runs_since(engine: &mut Engine, to: &mut Coordinator, began: i64, now: i64) -> Desired {
    let mut report = engine.report(EngineState::Running, None);
    report.began = Some(began);
    engine.tell(to, report, now).desired
}

#[test]
fn engines_that_begin_late_have_time_for_the_whole_load() {
    // The only coordinator died after the start was durable and before an engine was told, and the
    // next one comes four minutes later: two minutes after the load of 2m was to end.
    let late = START + 240 * SECOND;
    let mut successor = successor(lasting(120, 2, &[]), late);
    let mut engines = [Engine::new(0), Engine::new(1)];
    for engine in &mut engines {
        let answer = engine.say(&mut successor, EngineState::Ready, late);
        assert_eq!(answer.desired, Desired::StartAt(START));
    }
    let began = late + SECOND;
    let latest = began + 125 * SECOND + micros(END_GRACE);
    for now in [began, late + micros(END_GRACE) + SECOND, latest] {
        for engine in &mut engines {
            let desired = runs_since(engine, &mut successor, began, now);
            assert_eq!(desired, Desired::StartAt(START), "at {now}");
        }
    }
    assert_eq!(successor.view(latest).runners.lost, 0);
    assert!(successor.unconfirmed_judgement().is_none());
    successor.tick(latest + 1);
    let judgement = judgement(&successor);
    assert_eq!(
        (judgement.verdict, judgement.reason),
        (Verdict::Error, Reason::RunnerLost)
    );
    assert_eq!(judgement.message, "runner 0 made no final report");
}

#[test]
fn an_engine_that_never_begins_is_lost_in_the_time_that_it_has_to_find_a_successor() {
    let late = START + 240 * SECOND;
    let mut successor = successor(lasting(120, 2, &[]), late);
    let mut engines = [Engine::new(0), Engine::new(1)];
    engines[1].say(&mut successor, EngineState::Ready, late);
    runs_since(&mut engines[0], &mut successor, late, late);
    let latest = late + micros(END_GRACE);
    successor.tick(latest);
    assert_eq!(successor.view(latest).runners.lost, 0);
    successor.tick(latest + 1);
    assert_eq!(successor.view(latest).runners.lost, 1);
    let desired = runs_since(&mut engines[0], &mut successor, late, latest + 2);
    assert_eq!(desired, Desired::Stop);
}

#[test]
fn no_engine_can_put_its_end_off() {
    let mut coordinator = new(lasting(120, 1, &[]));
    let mut engine = Engine::new(0);
    let start = started(&mut coordinator, std::slice::from_mut(&mut engine), 0);
    // It cannot have begun after it said so, and it begins once.
    for (now, began) in [(start + SECOND, i64::MAX), (start + 9 * SECOND, i64::MAX)] {
        runs_since(&mut engine, &mut coordinator, began, now);
    }
    let latest = start + SECOND + 125 * SECOND + micros(END_GRACE);
    coordinator.tick(latest);
    assert!(coordinator.unconfirmed_judgement().is_none());
    coordinator.tick(latest + 1);
    assert_eq!(judgement(&coordinator).reason, Reason::RunnerLost);
}

/// A plan of a minute that stops when less than 100/s were sent over ten seconds.
fn of_a_rate(runners: u32) -> Plan {
    let mut plan = lasting(60, runners, &["requests.rate >= 100/s"]);
    plan.thresholds[0].abort = Some(Abort {
        after: Duration::from_secs(10),
        min_requests: 100,
    });
    plan
}

/// A second of each of two engines; what the last one is to do then.
fn second(to: &mut Coordinator, engines: &mut [Engine; 2], each: u64, now: i64) -> Desired {
    let [first, last] = engines;
    send(first, to, each, now);
    send(last, to, each, now)
}

fn send(engine: &mut Engine, to: &mut Coordinator, count: u64, now: i64) -> Desired {
    let set = requests(count, 5, Outcome::Ok);
    engine.send(to, set, EngineState::Running, now).desired
}

/// Two engines that have heard of the successor.
fn found() -> [Engine; 2] {
    [0, 1].map(|index| Engine {
        epoch: 8,
        ..Engine::new(index)
    })
}

#[test]
fn a_successor_does_not_take_the_seconds_before_it_for_silence() {
    let mut successor = successor(of_a_rate(2), START + 30 * SECOND);
    let mut engines = found();
    let mut at = |second_of_load: i64, each| {
        let now = START + second_of_load * SECOND;
        second(&mut successor, &mut engines, each, now)
    };
    // Their whole past first, then 200/s as before.
    assert_eq!(at(31, 3_100), Desired::StartAt(START));
    for now in 32..=45 {
        assert_eq!(at(now, 100), Desired::StartAt(START), "second {now}");
    }
    // A rate that really falls stops the load all the same, once seven of ten seconds had 40/s.
    for now in 46..=51 {
        assert_eq!(at(now, 20), Desired::StartAt(START), "second {now}");
    }
    assert_eq!(at(52, 20), Desired::Stop);
    let breach = START + 52 * SECOND;
    let first = successor.view(breach).thresholds[0].first_breach;
    assert_eq!(first, Some(breach));
}

#[test]
fn a_successor_waits_for_the_last_runner_that_finds_it() {
    let mut successor = successor(of_a_rate(2), START + 30 * SECOND);
    let [mut first, mut last] = found();
    for now in 31..=43 {
        let said = send(&mut first, &mut successor, 60, START + now * SECOND);
        assert_eq!(said, Desired::StartAt(START), "second {now}");
    }
    // The last one tells its past in second 44. That they send 30/s from there on is known when ten
    // seconds of both are.
    let stopped = (44..=60).find(|now| {
        let at = START + now * SECOND;
        send(&mut last, &mut successor, 15, at);
        send(&mut first, &mut successor, 15, at) == Desired::Stop
    });
    assert_eq!(stopped, Some(55));
}

#[test]
fn a_runner_with_nothing_to_do_keeps_no_threshold_from_stopping_the_load() {
    let mut successor = successor(of_a_rate(2), START + 30 * SECOND);
    let [mut busy, mut idle] = found();
    let stopped = (31..=60).find(|now| {
        let at = START + now * SECOND;
        idle.say(&mut successor, EngineState::Running, at);
        send(&mut busy, &mut successor, 20, at) == Desired::Stop
    });
    // Ten seconds after the first delta that was not a whole past.
    assert_eq!(stopped, Some(42));
}

#[test]
fn a_first_delta_that_came_late_is_no_slow_load() {
    let mut coordinator = new(of_a_rate(2));
    let mut engines = [Engine::new(0), Engine::new(1)];
    let start = started(&mut coordinator, &mut engines, 0);
    // Nobody was heard for eight seconds of 200/s.
    for now in 8..=20 {
        let each = if now == 8 { 800 } else { 100 };
        let desired = second(&mut coordinator, &mut engines, each, start + now * SECOND);
        assert_eq!(desired, Desired::StartAt(start), "second {now}");
    }
    // What is no part of a window is a part of the result.
    for engine in &mut engines {
        let end = start + 60 * SECOND;
        engine.send(
            &mut coordinator,
            SeriesSet::default(),
            EngineState::Finished,
            end,
        );
    }
    assert_eq!(coordinator.merged().total.requests, 4_000);
}

#[test]
fn engines_that_began_late_are_not_judged_by_the_time_before() {
    let mut coordinator = new(of_a_rate(2));
    let mut engines = [Engine::new(0), Engine::new(1)];
    let start = started(&mut coordinator, &mut engines, 0);
    // Their start was four seconds in the past when they heard of it.
    let began = start + 4 * SECOND;
    for engine in &mut engines {
        runs_since(engine, &mut coordinator, began, began);
    }
    for now in 5..=20 {
        let desired = second(&mut coordinator, &mut engines, 60, start + now * SECOND);
        assert_eq!(desired, Desired::StartAt(start), "second {now}");
    }
}

/// When the breach below is seen: what came before the first report is in no window.
const BREACH: i64 = START + 2 * SECOND;

/// A load of which all requests fail, just when a threshold stops it.
fn breached() -> (Plan, Coordinator, Engine) {
    let mut plan = lasting(60, 1, &["errors.ratio < 1%"]);
    plan.thresholds[0].abort = Some(Abort {
        after: Duration::from_secs(1),
        min_requests: 1,
    });
    let mut coordinator = successor(plan.clone(), START);
    let [mut engine, _] = found();
    for now in [START, START + SECOND, BREACH] {
        let delta = engine.delta(requests(10, 5, Outcome::Status));
        let report = engine.report(EngineState::Running, Some(delta));
        let answer = coordinator.engine_report(0, report, now).unwrap();
        assert_eq!(answer.desired, Desired::StartAt(START));
    }
    (plan, coordinator, engine)
}

#[test]
fn nobody_is_told_to_stop_before_a_successor_would_know_why() {
    let (_, mut coordinator, engine) = breached();
    let at = |coordinator: &mut Coordinator, now| {
        let report = engine.report(EngineState::Running, None);
        coordinator.engine_report(0, report, now).unwrap().desired
    };
    let late = BREACH + micros(STOP_PATIENCE);
    assert_eq!(at(&mut coordinator, late - 1), Desired::StartAt(START));
    // The load must end also when nobody can write down why.
    assert_eq!(at(&mut coordinator, late), Desired::Stop);

    let (_, mut coordinator, _) = breached();
    coordinator.confirm_early_end();
    assert_eq!(coordinator.unconfirmed_early_end(), None);
    assert_eq!(at(&mut coordinator, BREACH), Desired::Stop);
}

#[test]
fn a_breach_outlives_the_coordinator_that_saw_it() {
    let (plan, coordinator, _) = breached();
    let end = coordinator.unconfirmed_early_end().unwrap();
    let end: EarlyEnd = serde_json::from_str(&serde_json::to_string(&end).unwrap()).unwrap();
    let known = Resume {
        start: Some(START),
        early_end: Some(end),
        judged: None,
    };
    let now = START + 3 * SECOND;
    let mut successor = Coordinator::resume(Arc::new(plan), HASH.into(), 9, now, known);
    assert_eq!(successor.unconfirmed_early_end(), None);
    // By now the target has recovered, and all in all the threshold would hold.
    let mut engine = Engine {
        epoch: 9,
        ..Engine::new(0)
    };
    let mut all = requests(30, 5, Outcome::Status);
    all.merge(&requests(9_980, 5, Outcome::Ok));
    let answer = engine.send(&mut successor, all, EngineState::Running, now);
    assert_eq!(answer.desired, Desired::Stop);
    engine.say(&mut successor, EngineState::Finished, now + SECOND);
    let view = successor.unconfirmed_judgement().unwrap();
    let judgement = view.judgement.as_ref().unwrap();
    assert_eq!(
        (judgement.verdict, &judgement.reason),
        (Verdict::Failed, &Reason::ThresholdBreached)
    );
    assert_eq!(view.thresholds[0].first_breach, Some(BREACH));
}
