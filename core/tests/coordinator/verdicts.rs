//! What a run comes to.

use std::time::Duration;

use loadtest_core::{
    coordinator::Coordinator,
    plan::{Load, OnLost, Plan},
    report::{Delta, EngineReport, EngineState},
    series::{ErrorKey, Outcome, Series, SeriesSet},
    verdict::{Reason, Verdict},
    view::Delivery,
};

use crate::harness::*;

/// So many of 1,000 arrivals were late.
fn late(by_generator: u64, by_target: u64) -> SeriesSet {
    SeriesSet {
        late_by_generator: by_generator,
        late_by_target: by_target,
        ..requests(1000, 5_000, Outcome::Ok)
    }
}

/// So many of 1,000 requests could not be made.
fn failing(count: u64) -> SeriesSet {
    let mut set = requests(1000 - count, 5_000, Outcome::Ok);
    set.merge(&requests(count, 5, Outcome::LocalPorts));
    let key = ErrorKey {
        outcome: Outcome::LocalPorts,
        series: 0,
        message: "cannot assign requested address".to_owned(),
    };
    set.count_error(key, count);
    set
}

#[test]
fn verdicts_say_the_truth() {
    let cases: [(&[&str], SeriesSet, Verdict, Reason, Delivery); 9] = [
        (
            &["latency.p99 < 4ms"],
            requests(1000, 5_000, Outcome::Ok),
            Verdict::Failed,
            Reason::ThresholdBreached,
            Delivery::Delivered,
        ),
        (
            &["latency.p99 < 4ms"],
            late(11, 0),
            Verdict::Invalid,
            Reason::LoadNotDelivered,
            Delivery::GeneratorLate,
        ),
        (
            &["errors.ratio < 1%"],
            failing(11),
            Verdict::Invalid,
            Reason::LoadNotDelivered,
            Delivery::GeneratorExhausted,
        ),
        (
            &[],
            failing(10),
            Verdict::Passed,
            Reason::ThresholdsMet,
            Delivery::Delivered,
        ),
        (
            &["delivered.ratio == 100%"],
            SeriesSet {
                scheduled: 1001,
                ..requests(1000, 5_000, Outcome::Ok)
            },
            Verdict::Failed,
            Reason::ThresholdBreached,
            Delivery::TargetSaturated,
        ),
        (
            &[],
            late(10, 500),
            Verdict::Passed,
            Reason::ThresholdsMet,
            Delivery::TargetSaturated,
        ),
        (
            &[],
            requests(10, 5, Outcome::ConnectRefused),
            Verdict::Failed,
            Reason::AllRequestsFailed,
            Delivery::Delivered,
        ),
        (
            &["errors.ratio == 100%"],
            requests(10, 5, Outcome::Status),
            Verdict::Passed,
            Reason::ThresholdsMet,
            Delivery::Delivered,
        ),
        (
            &["latency.p99 < 4ms"],
            SeriesSet::default(),
            Verdict::Invalid,
            Reason::NoRequests,
            Delivery::Delivered,
        ),
    ];
    for (number, (thresholds, set, verdict, reason, delivery)) in cases.into_iter().enumerate() {
        let mut coordinator = new(plan(1, thresholds, false));
        let mut engines = [Engine::new(0)];
        let start = started(&mut coordinator, &mut engines, 0);
        let end = start + 10 * SECOND;
        engines[0].send(&mut coordinator, set, EngineState::Finished, end);
        let view = coordinator.unconfirmed_judgement().unwrap();
        let judgement = view.judgement.as_ref().unwrap();
        assert_eq!(
            (judgement.verdict, &judgement.reason, view.delivery),
            (verdict, &reason, Some(delivery)),
            "case {number}: {}",
            judgement.message
        );
    }
}

/// A plan of ten iterations that two users share, within a minute, after a warm-up of a second.
fn plan_of_iterations() -> Plan {
    let mut plan = plan(1, &[], false);
    plan.warm_up = Duration::from_secs(1);
    for scenario in &mut plan.scenarios {
        scenario.load = Load::SharedIterations {
            users: 2,
            iterations: 10,
            max_duration: Duration::from_mins(1),
        };
    }
    plan
}

#[test]
fn a_number_of_iterations_lasts_as_long_as_it_takes() {
    let mut coordinator = new(plan_of_iterations());
    let mut engine = Engine::new(0);
    let start = started(&mut coordinator, std::slice::from_mut(&mut engine), 0);
    let mut warm_up = Series::default();
    warm_up.merge(&requests(4, 9_000, Outcome::Ok).total);
    let mut report = engine.report(EngineState::Finished, None);
    report.load_ended = Some(start + 5 * SECOND);
    report.delta = Some(Delta {
        sequence: 1,
        full: true,
        set: requests(6, 5_000, Outcome::Ok),
        warm_up,
    });
    coordinator
        .engine_report(0, report, start + 7 * SECOND)
        .unwrap();
    let view = coordinator.unconfirmed_judgement().unwrap();
    let summary = view.summary.as_ref().unwrap();
    assert_eq!(summary.duration, Duration::from_secs(4));
    assert_eq!((summary.total.requests, summary.warm_up_requests), (6, 4));
    assert_eq!(summary.total.latency.max, 5_000);
    assert_eq!(view.delivery, Some(Delivery::Delivered));
    assert_eq!(view.judgement.as_ref().unwrap().verdict, Verdict::Passed);
}

#[test]
fn iterations_that_never_began_are_told() {
    let mut coordinator = new(plan_of_iterations());
    let mut engine = Engine::new(0);
    let start = started(&mut coordinator, std::slice::from_mut(&mut engine), 0);
    let set = SeriesSet {
        scheduled: 10,
        ..requests(7, 5_000, Outcome::Ok)
    };
    let end = start + 60 * SECOND;
    engine.send(&mut coordinator, set, EngineState::Finished, end);
    let view = coordinator.unconfirmed_judgement().unwrap();
    assert_eq!(view.delivery, Some(Delivery::OutOfTime));
    let judgement = view.judgement.as_ref().unwrap();
    assert_eq!(judgement.verdict, Verdict::Passed);
    assert!(
        judgement
            .message
            .ends_with("when their maxDuration was over"),
        "{}",
        judgement.message
    );
}

#[test]
fn a_throttled_generator_is_said_to_be_saturated() {
    let mut coordinator = new(plan(1, &[], false));
    let mut engine = Engine::new(0);
    let start = started(&mut coordinator, std::slice::from_mut(&mut engine), 0);
    let mut report = engine.report(EngineState::Running, None);
    report.health.throttled_max = 0.09;
    let saturated = |coordinator: &mut Coordinator, report: &EngineReport| {
        coordinator
            .engine_report(0, report.clone(), start + SECOND)
            .unwrap();
        coordinator.view(start + SECOND).generator.saturated
    };
    assert!(!saturated(&mut coordinator, &report));
    report.health.throttled_max = 0.1;
    assert!(saturated(&mut coordinator, &report));
}

/// A run of two that goes on without the second, which was lost before its first report; what the
/// first one measured.
fn without_one(set: SeriesSet) -> Coordinator {
    let mut plan = plan(2, &["latency.p99 < 250ms"], false);
    plan.on_lost = OnLost::Continue;
    let mut coordinator = new(plan);
    let mut engines = [Engine::new(0), Engine::new(1)];
    let start = started(&mut coordinator, &mut engines, 0);
    coordinator.lose_engine(1, Reason::RunnerLost, "runner 1 was evicted", start);
    let end = start + 10 * SECOND;
    engines[0].send(&mut coordinator, set, EngineState::Finished, end);
    coordinator
}

#[test]
fn a_lost_runner_hides_no_generator_that_was_late() {
    let late = |by_generator| SeriesSet {
        late_by_generator: by_generator,
        ..requests(500, 5_000, Outcome::Ok)
    };
    let exhausted = || {
        let mut set = failing(11);
        set.late_by_target = 7;
        set
    };
    let invalid = (Verdict::Invalid, Reason::LoadNotDelivered);
    let passed = (Verdict::Passed, Reason::ThresholdsMet);
    let cases = [
        (late(150), &invalid, Delivery::GeneratorLate),
        // Of what was due on the runner that is left, not of what the plan asked of both.
        (late(6), &invalid, Delivery::GeneratorLate),
        (late(5), &passed, Delivery::Incomplete),
        (exhausted(), &invalid, Delivery::GeneratorExhausted),
    ];
    for (set, (verdict, reason), delivery) in cases {
        let late = set.late_by_generator;
        let coordinator = without_one(set);
        let view = coordinator.unconfirmed_judgement().unwrap();
        let judgement = judgement(&coordinator);
        assert_eq!(
            (judgement.verdict, &judgement.reason, view.delivery),
            (*verdict, reason, Some(delivery)),
            "{late} late: {}",
            judgement.message
        );
        if delivery == Delivery::GeneratorLate {
            let said = format!("{late} of 500 arrivals began late because of the generator");
            assert!(
                judgement.message.starts_with(&said),
                "{}",
                judgement.message
            );
        }
    }
}

#[test]
fn a_load_that_somebody_ended_is_incomplete_whatever_its_generator_did() {
    let mut coordinator = new(plan(1, &[], false));
    let mut engine = Engine::new(0);
    let start = started(&mut coordinator, std::slice::from_mut(&mut engine), 0);
    coordinator.cancel(start + 5 * SECOND);
    let end = start + 6 * SECOND;
    engine.send(&mut coordinator, late(900, 0), EngineState::Finished, end);
    let view = coordinator.unconfirmed_judgement().unwrap();
    assert_eq!(view.delivery, Some(Delivery::Incomplete));
    assert_eq!(judgement(&coordinator).verdict, Verdict::Aborted);
}
