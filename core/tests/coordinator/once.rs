//! What is done once for the whole run, data that ends, and what is told of both.

use std::{collections::BTreeMap, sync::Arc};

use loadtest_core::{
    coordinator::{Coordinator, END_GRACE, Resume, TEARDOWN_GRACE},
    plan::{
        DataFormat, DataOrder, DataScope, DataShare, DataSource, Feeder, OnExhausted, OnLost, Once,
        Plan, Step,
    },
    report::{Desired, EngineReport, EngineState, micros},
    series::{Outcome, SeriesSet},
    template::{Escape, Expression, Segment, Source},
    verdict::{Reason, Verdict},
    view::{Delivery, Phase},
};

use crate::harness::*;

fn plan_with(setup: bool, teardown: bool, runners: u32) -> Plan {
    let once = Once {
        setup: setup.then_some(0),
        teardown: teardown.then_some(1),
        ..Once::default()
    };
    Plan {
        once: Some(Box::new(once)),
        ..plan(runners, &[], false)
    }
}

fn values() -> BTreeMap<String, String> {
    BTreeMap::from([("tenant".to_owned(), "t-7".to_owned())])
}

/// A run of two whose setup has ended and whose start is set.
fn begun(plan: Plan) -> (Coordinator, [Engine; 2], i64) {
    let mut coordinator = new(plan);
    let [mut first, mut second] = [Engine::new(0), Engine::new(1)];
    second.say(&mut coordinator, EngineState::Ready, 0);
    first.say(&mut coordinator, EngineState::Ready, 0);
    first.setup = Some(values());
    first.say(&mut coordinator, EngineState::Ready, SECOND);
    let start = coordinator.proposed_start().unwrap();
    coordinator.confirm_start();
    (coordinator, [first, second], start)
}

#[test]
fn the_setup_comes_before_the_start_and_everybody_gets_its_values() {
    let mut coordinator = new(plan_with(true, false, 2));
    let [mut first, mut second] = [Engine::new(0), Engine::new(1)];
    let alone = first.say(&mut coordinator, EngineState::Ready, 0);
    assert_eq!(alone.desired, Desired::Wait, "not before all are here");
    let other = second.say(&mut coordinator, EngineState::Ready, SECOND);
    assert_eq!((other.desired, other.setup), (Desired::Wait, None));
    for now in [2, 3] {
        let told = first.say(&mut coordinator, EngineState::Ready, now * SECOND);
        assert_eq!(told.desired, Desired::SetUp);
        assert_eq!(coordinator.proposed_start(), None);
    }
    assert_eq!(
        coordinator.view(3 * SECOND).notes,
        ["runner 0 is doing the setup"]
    );

    first.setup = Some(values());
    let told = first.say(&mut coordinator, EngineState::Ready, 9 * SECOND);
    assert_eq!(told.desired, Desired::Wait, "the start is not durable yet");
    let start = coordinator.proposed_start().unwrap();
    assert!(start > 9 * SECOND);
    coordinator.confirm_start();
    let told = second.say(&mut coordinator, EngineState::Ready, 10 * SECOND);
    assert_eq!(told.desired, Desired::StartAt(start));
    assert_eq!(told.setup, Some(values()));
    let told = first.say(&mut coordinator, EngineState::Ready, 10 * SECOND);
    assert_eq!(
        (told.desired, told.setup),
        (Desired::StartAt(start), Some(values()))
    );
    let told = second.say(&mut coordinator, EngineState::Running, start + SECOND);
    assert_eq!(told.setup, None, "it has begun");
    assert!(coordinator.view(start).notes.is_empty());
}

#[test]
fn a_setup_that_never_ends_is_an_error_and_its_time_counts_from_its_beginning() {
    let mut coordinator = new(plan_with(true, true, 2));
    let [mut first, mut second] = [Engine::new(0), Engine::new(1)];
    first.say(&mut coordinator, EngineState::Ready, 0);
    // Registration may take a minute, and does.
    second.say(&mut coordinator, EngineState::Ready, 59 * SECOND);
    coordinator.tick(124 * SECOND);
    assert!(coordinator.unconfirmed_judgement().is_none());
    coordinator.tick(125 * SECOND);
    let judgement = judgement(&coordinator);
    assert_eq!(
        (judgement.verdict, judgement.reason),
        (Verdict::Error, Reason::StartTimeout)
    );
    let said = "the setup did not end within startTimeout 1m: see the log of runner 0, or raise spec.runners.startTimeout";
    assert_eq!(judgement.message, said);
    coordinator.confirm_judgement();
    let told = first.say(&mut coordinator, EngineState::Ready, 126 * SECOND);
    assert_eq!(told.desired, Desired::Exit);
}

#[test]
fn a_setup_that_fails_ends_the_run_with_its_words() {
    let mut coordinator = new(plan_with(true, true, 1));
    let mut first = Engine::new(0);
    first.say(&mut coordinator, EngineState::Ready, 0);
    let report = EngineReport {
        failure: Some("the setup failed: POST /tenants: status 503".to_owned()),
        ..first.report(EngineState::Finished, None)
    };
    first.tell(&mut coordinator, report, SECOND);
    let judgement = judgement(&coordinator);
    assert_eq!(
        (judgement.verdict, judgement.reason),
        (Verdict::Error, Reason::RunnerFailed)
    );
    assert_eq!(
        judgement.message,
        "the setup failed: POST /tenants: status 503"
    );
}

#[test]
fn a_successor_works_from_what_reports_say() {
    let plan = Arc::new(plan_with(true, false, 2));
    let successor = |now, start| {
        let known = Resume {
            start,
            ..Resume::default()
        };
        Coordinator::resume(Arc::clone(&plan), HASH.into(), 8, now, known)
    };
    let [mut first, mut second] = [Engine::new(0), Engine::new(1)];

    // It comes during the setup: runner 0 is told to do what it does already.
    let mut during = successor(50 * SECOND, None);
    second.say(&mut during, EngineState::Ready, 50 * SECOND);
    let told = first.say(&mut during, EngineState::Ready, 50 * SECOND);
    assert_eq!(told.desired, Desired::SetUp);
    first.setup = Some(values());
    first.say(&mut during, EngineState::Ready, 51 * SECOND);
    assert!(during.proposed_start().is_some());

    // It comes between the start and the news of it: nobody begins without the values.
    let start = 60 * SECOND;
    let mut after = successor(58 * SECOND, Some(start));
    let told = second.say(&mut after, EngineState::Ready, 58 * SECOND);
    assert_eq!((told.desired, told.setup), (Desired::Wait, None));
    first.say(&mut after, EngineState::Ready, 59 * SECOND);
    let told = second.say(&mut after, EngineState::Ready, 59 * SECOND);
    assert_eq!(
        (told.desired, told.setup),
        (Desired::StartAt(start), Some(values()))
    );
}

#[test]
fn the_teardown_waits_for_all_others_and_the_judgement_for_the_teardown() {
    let (mut coordinator, [mut first, mut second], start) = begun(plan_with(true, true, 2));
    let set = requests(50, 5, Outcome::Ok);
    let end = start + 10 * SECOND;
    first.send(&mut coordinator, set.clone(), EngineState::LoadDone, end);
    let told = first.say(&mut coordinator, EngineState::LoadDone, end);
    assert_eq!(
        told.desired,
        Desired::StartAt(start),
        "runner 1 still sends load"
    );
    second.send(&mut coordinator, set, EngineState::Finished, end + SECOND);
    assert!(coordinator.unconfirmed_judgement().is_none());
    let told = first.say(&mut coordinator, EngineState::LoadDone, end + SECOND);
    assert_eq!(told.desired, Desired::TearDown);
    let view = coordinator.view(end + SECOND);
    assert_eq!(view.phase, Phase::Stopping);
    assert_eq!(view.notes, ["runner 0 is doing the teardown"]);

    let told = EngineReport {
        teardown_failure: Some("DELETE /tenants/t-7: status 500".to_owned()),
        ..first.report(EngineState::Finished, None)
    };
    first.tell(&mut coordinator, told, end + 3 * SECOND);
    let judged = coordinator.unconfirmed_judgement().unwrap();
    let judgement = judged.judgement.as_ref().unwrap();
    assert_eq!(
        judgement.verdict,
        Verdict::Passed,
        "the run was what it was"
    );
    assert_eq!(
        judgement.message,
        "the load was sent; no thresholds are set; the teardown failed: DELETE /tenants/t-7: status 500"
    );
    assert_eq!(judged.summary.as_ref().unwrap().total.requests, 100);
}

#[test]
fn a_teardown_has_its_own_time_and_a_lost_runner_does_not_keep_it_waiting() {
    let mut plan = plan_with(true, true, 2);
    plan.on_lost = OnLost::Continue;
    let (mut coordinator, [mut first, _], start) = begun(plan);
    first.send(
        &mut coordinator,
        requests(50, 5, Outcome::Ok),
        EngineState::LoadDone,
        start + 10 * SECOND,
    );
    let latest = start + 15 * SECOND + micros(END_GRACE);
    coordinator.tick(latest + 1);
    let told = first.say(&mut coordinator, EngineState::LoadDone, latest + 1);
    assert_eq!(told.desired, Desired::TearDown, "runner 1 is lost by now");
    coordinator.tick(latest + micros(TEARDOWN_GRACE));
    assert!(coordinator.unconfirmed_judgement().is_none());
    coordinator.tick(latest + micros(TEARDOWN_GRACE) + 1);
    let judgement = judgement(&coordinator);
    assert_eq!(judgement.reason, Reason::RunnerLost);
    assert_eq!(
        judgement.message,
        "runner 0 made no final report; the teardown was not seen to end, since runner 0 was lost"
    );
}

#[test]
fn what_was_set_up_is_torn_down_even_when_the_load_never_began() {
    let answers = |report_later: bool| {
        let mut coordinator = new(plan_with(true, true, 2));
        let [mut first, mut second] = [Engine::new(0), Engine::new(1)];
        second.say(&mut coordinator, EngineState::Ready, 0);
        first.setup = Some(values());
        first.say(&mut coordinator, EngineState::Ready, SECOND);
        coordinator.cancel(SECOND);
        assert!(coordinator.unconfirmed_judgement().is_none());
        let told = first.say(&mut coordinator, EngineState::Ready, 2 * SECOND);
        assert_eq!(told.desired, Desired::Stop);
        if report_later {
            let told = first.say(&mut coordinator, EngineState::LoadDone, 3 * SECOND);
            assert_eq!(told.desired, Desired::TearDown);
            first.say(&mut coordinator, EngineState::Finished, 4 * SECOND);
        } else {
            coordinator.tick(SECOND + micros(TEARDOWN_GRACE) + 1);
        }
        judgement(&coordinator)
    };
    for report_later in [true, false] {
        let judgement = answers(report_later);
        assert_eq!(judgement.verdict, Verdict::Aborted);
        assert_eq!(judgement.message, "the run was cancelled");
    }
}

#[test]
fn data_that_ran_out_is_told_and_is_not_load_that_is_missing() {
    let mut plan = plan(2, &["errors.ratio < 1%"], false);
    plan.inputs.data.push(Feeder {
        name: "products".to_owned(),
        source: DataSource::Inline(String::new()),
        format: DataFormat::Csv,
        order: DataOrder::Sequential,
        share: DataShare::Split,
        scope: DataScope::Iteration,
        on_exhausted: OnExhausted::Stop,
        sha256: None,
    });
    // Only the first of two scenarios takes its rows.
    let mut other = plan.scenarios[0].clone();
    "other".clone_into(&mut other.name);
    if let Step::Request(request) = &mut plan.scenarios[0].tasks[0].steps[0] {
        let source = Source::Data {
            feeder: 0,
            name: "products".to_owned(),
            column: "sku".to_owned(),
        };
        let escape = Escape::Url;
        let sku = Segment::Expression(Box::new(Expression { source, escape }));
        request.path.segments.push(sku);
    }
    plan.scenarios.push(other);
    let mut coordinator = new(plan);
    let mut engines = [Engine::new(0), Engine::new(1)];
    let start = started(&mut coordinator, &mut engines, 0);
    let mut set = requests(50, 5, Outcome::Ok);
    set.scheduled = 80;
    let exhausted = |engine: &Engine, state| EngineReport {
        exhausted: vec![0],
        ..engine.report(state, None)
    };
    engines[0].send(
        &mut coordinator,
        set.clone(),
        EngineState::Running,
        start + SECOND,
    );
    let report = exhausted(&engines[0], EngineState::Running);
    coordinator
        .engine_report(0, report, start + SECOND)
        .unwrap();
    let one = "data \"products\" ran out of rows on 1 of 2 runners: scenario main ended early";
    assert_eq!(coordinator.view(start + SECOND).notes, [one]);
    engines[1].send(&mut coordinator, set, EngineState::Running, start + SECOND);
    for engine in &mut engines {
        engine.send(
            &mut coordinator,
            SeriesSet::default(),
            EngineState::Running,
            start + SECOND,
        );
        let report = exhausted(engine, EngineState::Finished);
        coordinator
            .engine_report(engine.index, report, start + 2 * SECOND)
            .unwrap();
    }
    let judged = coordinator.unconfirmed_judgement().unwrap();
    assert_eq!(judged.delivery, Some(Delivery::Delivered));
    let judgement = judged.judgement.as_ref().unwrap();
    assert_eq!(judgement.verdict, Verdict::Passed);
    let said = "the threshold held; data \"products\" ran out of rows: scenario main ended early";
    assert_eq!(judgement.message, said);
}
