//! From registration to one merged answer, whatever happens to reports and coordinators.

use std::{sync::Arc, time::Duration};

use loadtest_core::{
    coordinator::{Coordinator, Resume},
    report::{Delta, Desired, EngineState, ExportCounts, ExporterReport, ExporterState},
    series::{Outcome, Series, SeriesSet},
    verdict::Verdict,
    view::Phase,
};

use crate::harness::*;

#[test]
fn a_run_goes_from_registration_to_one_merged_answer() {
    let mut coordinator = new(plan(2, &["latency.p99 < 250ms", "errors.ratio < 1%"], true));
    let mut engines = [Engine::new(0), Engine::new(1)];
    assert_eq!(coordinator.view(0).phase, Phase::Starting);
    let start = started(&mut coordinator, &mut engines, SECOND);
    engines[0].send(
        &mut coordinator,
        requests(500, 10_000, Outcome::Ok),
        EngineState::Running,
        start + SECOND,
    );
    engines[1].send(
        &mut coordinator,
        requests(500, 30_000, Outcome::Ok),
        EngineState::Running,
        start + SECOND,
    );
    let view = coordinator.view(start + SECOND);
    assert_eq!(view.phase, Phase::Running);
    assert_eq!(
        (view.runners.expected, view.runners.ready, view.runners.lost),
        (2, 2, 0)
    );
    assert!((view.progress.unwrap().rate - 1000.0).abs() < 1e-6);

    let end = start + 10 * SECOND;
    for engine in &mut engines {
        let answer = engine.send(
            &mut coordinator,
            SeriesSet::default(),
            EngineState::Finished,
            end,
        );
        assert_ne!(
            answer.desired,
            Desired::Exit,
            "nobody exits before the judgement is durable"
        );
    }
    let judged = coordinator.unconfirmed_judgement().unwrap();
    assert_eq!(judged.judgement.as_ref().unwrap().verdict, Verdict::Passed);
    coordinator.confirm_judgement();
    assert_eq!(
        engines[0]
            .say(&mut coordinator, EngineState::Finished, end)
            .desired,
        Desired::Exit
    );

    let exporter = |state, indexed, pending| ExporterReport {
        state,
        requests: ExportCounts {
            produced: 500,
            indexed,
            pending,
            ..ExportCounts::default()
        },
        aggregates: ExportCounts::default(),
        problem: String::new(),
    };
    let answer = coordinator
        .exporter_report(0, exporter(ExporterState::Running, 400, 100), end)
        .unwrap();
    assert!(matches!(answer.desired, Desired::Finish(view) if view.judgement.is_some()));
    let view = coordinator.view(end);
    assert_eq!(view.phase, Phase::Exporting);
    let export = view.export.unwrap();
    assert_eq!(
        (export.produced, export.indexed, export.pending),
        (1000, 400, 600)
    );
    assert!(export.balanced());

    for index in 0..2 {
        coordinator
            .exporter_report(index, exporter(ExporterState::Finished, 500, 0), end)
            .unwrap();
    }
    assert!(coordinator.is_complete());
    coordinator.confirm_completion();
    let answer = coordinator
        .exporter_report(0, exporter(ExporterState::Finished, 500, 0), end)
        .unwrap();
    assert_eq!(answer.desired, Desired::Exit);
    let view = coordinator.view(end + SECOND);
    assert_eq!(view.phase, Phase::Finished);
    assert!(view.export.unwrap().complete());
    let summary = view.summary.unwrap();
    assert_eq!(summary.total.requests, 1000);
    assert_eq!(summary.duration, Duration::from_secs(10));
    assert!((summary.total.rate - 100.0).abs() < 1e-9);
    assert!(
        summary.total.latency.p50.abs_diff(10_000) <= 10,
        "merged, not averaged"
    );
    assert!(summary.total.latency.p99.abs_diff(30_000) <= 30);
}

#[test]
fn progress_shows_the_rate_whatever_the_rhythm_of_reports() {
    let mut coordinator = new(plan(2, &[], false));
    let mut engines = [Engine::new(0), Engine::new(1)];
    let start = started(&mut coordinator, &mut engines, 0);
    // 200/s each, as shards are; reports come early or late, 250 ms apart between the runners.
    let mut last = [start, start];
    for second in 1..=8_i64 {
        for index in 0..2_usize {
            let jitter = [0, 180_000, -150_000, 90_000][(second % 4) as usize];
            let now = start + second * SECOND + [0, SECOND / 4][index] + jitter;
            let count = u64::try_from((now - last[index]) * 200 / SECOND).unwrap();
            last[index] = now;
            let set = requests(count, 5, Outcome::Ok);
            engines[index].send(&mut coordinator, set, EngineState::Running, now);
            let shown = coordinator.view(now).progress.unwrap().rate;
            assert!(
                (399.0..401.0).contains(&shown),
                "{shown}/s in second {second}"
            );
        }
    }
}

#[test]
fn lost_repeated_and_late_reports_change_nothing() {
    let mut coordinator = new(plan(1, &[], false));
    let mut engines = [Engine::new(0)];
    let start = started(&mut coordinator, &mut engines, 0);
    let [mut engine] = engines;
    let first = Delta {
        sequence: 1,
        full: true,
        set: requests(10, 5, Outcome::Ok),
        warm_up: Series::default(),
    };
    let second = Delta {
        sequence: 2,
        full: false,
        set: requests(7, 5, Outcome::Ok),
        warm_up: Series::default(),
    };
    for delta in [&first, &first, &second, &first, &second] {
        let report = engine.report(EngineState::Running, Some(delta.clone()));
        let answer = coordinator.engine_report(0, report, start).unwrap();
        assert_eq!(
            answer.acknowledged,
            Some(delta.sequence.max(answer.acknowledged.unwrap()))
        );
    }
    assert_eq!(coordinator.merged().total.requests, 17);
    engine.epoch = 99;
    let stray = Delta {
        sequence: 3,
        full: false,
        set: requests(1, 5, Outcome::Ok),
        warm_up: Series::default(),
    };
    coordinator
        .engine_report(0, engine.report(EngineState::Running, Some(stray)), start)
        .unwrap();
    assert_eq!(
        coordinator.merged().total.requests,
        17,
        "a delta of another epoch is not merged"
    );
}

#[test]
fn a_successor_asks_for_everything_and_keeps_the_start() {
    let start = 5 * SECOND;
    let known = Resume {
        start: Some(start),
        ..Resume::default()
    };
    let mut successor = Coordinator::resume(
        Arc::new(plan(1, &[], false)),
        HASH.into(),
        8,
        start + SECOND,
        known,
    );
    let mut engine = Engine::new(0);
    engine.epoch = 7;
    // A final report in the old epoch must not end the run: its numbers are not here yet.
    let answer = successor
        .engine_report(
            0,
            engine.report(EngineState::Finished, None),
            start + SECOND,
        )
        .unwrap();
    assert_eq!((answer.epoch, answer.acknowledged), (8, None));
    assert_eq!(answer.desired, Desired::StartAt(start));
    assert!(successor.unconfirmed_judgement().is_none());
    engine.epoch = 8;
    engine.sequence = 41;
    let answer = engine.send(
        &mut successor,
        requests(123, 5, Outcome::Ok),
        EngineState::Finished,
        start + 10 * SECOND,
    );
    assert_eq!(answer.acknowledged, Some(42));
    assert_eq!(successor.merged().total.requests, 123);
    assert!(successor.unconfirmed_judgement().is_some());
}

#[test]
fn a_successor_after_the_judgement_keeps_it() {
    let mut coordinator = new(plan(1, &[], true));
    let mut engines = [Engine::new(0)];
    let start = started(&mut coordinator, &mut engines, 0);
    let end = start + 10 * SECOND;
    engines[0].send(
        &mut coordinator,
        requests(50, 5, Outcome::Ok),
        EngineState::Finished,
        end,
    );
    let judged = coordinator.unconfirmed_judgement().unwrap().clone();
    let known = Resume {
        start: Some(start),
        judged: Some(Box::new(judged.clone())),
        ..Resume::default()
    };
    let mut successor = Coordinator::resume(
        Arc::new(plan(1, &[], true)),
        HASH.into(),
        9,
        end + SECOND,
        known,
    );
    let said = engines[0].say(&mut successor, EngineState::Finished, end + SECOND);
    assert_eq!(
        said.desired,
        Desired::StartAt(start),
        "its epoch is new: everything first"
    );
    let view = successor.view(end + SECOND);
    assert_eq!(view.judgement, judged.judgement);
    assert_eq!(view.summary, judged.summary);
    assert_eq!(view.phase, Phase::Exporting);
}
