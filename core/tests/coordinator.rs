//! The life of a run, told by the coordinator alone: no clock, no network.
#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use loadtest_core::{
    coordinator::{Coordinator, END_GRACE, Refused, Resume, START_LEAD},
    histogram::TOTAL_DIGITS,
    plan::{
        Arrivals, Connections, Cookies, Files, Load, PauseRange, Plan, RawMode, Request, Results,
        RunIdentity, Scenario, SeriesKey, Step, Target, Task,
    },
    report::{
        Answer, Delta, Desired, EngineReport, EngineState, ExportCounts, ExporterReport,
        ExporterState, GeneratorHealth, RecordCounts,
    },
    series::{Outcome, Sample, SeriesSet},
    template::Template,
    threshold::Threshold,
    verdict::{Reason, Verdict},
    view::{Delivery, Phase},
};

const SECOND: i64 = 1_000_000;
const HASH: &str = "plan";

fn plan(runners: u32, thresholds: &[&str], files: bool) -> Plan {
    let request = Request {
        method: "GET".into(),
        path: Template::literal("/get"),
        timeout: Duration::from_secs(10),
        success: vec!["200-399".parse().unwrap()],
        ..Request::default()
    };
    let pause = PauseRange {
        min: Duration::ZERO,
        max: Duration::from_millis(1),
    };
    Plan {
        run: RunIdentity {
            id: "0".repeat(32),
            namespace: "local".into(),
            test: "t".into(),
            name: "t-1".into(),
            number: 1,
            seed: 1,
        },
        target: Target {
            url: "http://t".into(),
            ..Target::default()
        },
        scenarios: vec![Scenario {
            name: "main".into(),
            start_after: Duration::ZERO,
            load: Load::ConstantRate {
                rate: "100/s".parse().unwrap(),
                duration: Duration::from_secs(10),
                max_users: 100,
                arrivals: Arrivals::Even,
            },
            graceful_stop: Duration::from_secs(5),
            connections: Connections::KeepAlive,
            cookies: Cookies::Iteration,
            tasks: vec![Task {
                name: "task-1".into(),
                weight: 1,
                steps: vec![Step::Request(Box::new(request)), Step::Pause(pause)],
                ..Task::default()
            }],
        }],
        series: vec![SeriesKey {
            scenario: "main".into(),
            name: "GET /get".into(),
            method: "GET".into(),
        }],
        checks: Vec::new(),
        thresholds: thresholds
            .iter()
            .map(|t| Threshold::parse(None, t).unwrap())
            .collect(),
        runners,
        start_timeout: Duration::from_mins(1),
        warm_up: Duration::ZERO,
        max_duration: Duration::from_mins(10),
        results: Results {
            interval: Duration::from_secs(5),
            elasticsearch: None,
            files: files.then_some(Files { raw: RawMode::All }),
            drain_timeout: Duration::from_secs(20),
        },
    }
}

/// An engine as the coordinator sees it.
struct Engine {
    index: u32,
    epoch: u64,
    sequence: u64,
    full: bool,
    produced: u64,
}

impl Engine {
    fn new(index: u32) -> Self {
        Self {
            index,
            epoch: 0,
            sequence: 0,
            full: true,
            produced: 0,
        }
    }

    fn report(&self, state: EngineState, delta: Option<Delta>) -> EngineReport {
        EngineReport {
            incarnation: 0,
            plan_hash: HASH.into(),
            state,
            epoch: self.epoch,
            delta,
            began: None,
            load_ended: None,
            users: 3,
            records: RecordCounts {
                produced: self.produced,
                ..RecordCounts::default()
            },
            health: GeneratorHealth::default(),
            interrupted: false,
            failure: None,
        }
    }

    fn say(&mut self, to: &mut Coordinator, state: EngineState, now: i64) -> Answer {
        let answer = to
            .engine_report(self.index, self.report(state, None), now)
            .unwrap();
        self.epoch = answer.epoch;
        answer
    }

    fn send(
        &mut self,
        to: &mut Coordinator,
        set: SeriesSet,
        state: EngineState,
        now: i64,
    ) -> Answer {
        self.sequence += 1;
        self.produced += set.total.requests;
        let delta = Delta {
            sequence: self.sequence,
            full: self.full,
            set,
            warm_up: Series::default(),
        };
        self.full = false;
        to.engine_report(self.index, self.report(state, Some(delta)), now)
            .unwrap()
    }
}

fn requests(count: u64, latency_us: u64, outcome: Outcome) -> SeriesSet {
    let mut set = SeriesSet {
        scheduled: count,
        started: count,
        ..SeriesSet::default()
    };
    for _ in 0..count {
        let status = if outcome == Outcome::Ok { 200 } else { 500 };
        let sample = Sample {
            outcome,
            status,
            latency_us,
            service_us: latency_us,
            bytes_sent: 10,
            bytes_received: 20,
        };
        set.total.record(&sample, TOTAL_DIGITS);
    }
    set
}

/// Registers all engines and starts the run; returns the start.
fn started(coordinator: &mut Coordinator, engines: &mut [Engine], now: i64) -> i64 {
    for engine in engines.iter_mut() {
        assert_eq!(
            engine.say(coordinator, EngineState::Ready, now).desired,
            Desired::Wait
        );
    }
    let start = coordinator.proposed_start().unwrap();
    assert_eq!(start, now + i64::try_from(START_LEAD.as_micros()).unwrap());
    let unconfirmed = engines[0].say(coordinator, EngineState::Ready, now).desired;
    assert_eq!(
        unconfirmed,
        Desired::Wait,
        "nobody is told before the start is durable"
    );
    coordinator.confirm_start();
    for engine in engines.iter_mut() {
        let desired = engine.say(coordinator, EngineState::Ready, now).desired;
        assert_eq!(desired, Desired::StartAt(start));
    }
    start
}

fn new(plan: Plan) -> Coordinator {
    Coordinator::new(Arc::new(plan), HASH.into(), 7, 0)
}

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
        judged: None,
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

#[test]
fn verdicts_say_the_truth() {
    struct Case {
        thresholds: &'static [&'static str],
        set: SeriesSet,
        verdict: Verdict,
        reason: Reason,
        delivery: Delivery,
    }
    let late = |by_generator, by_target| SeriesSet {
        late_by_generator: by_generator,
        late_by_target: by_target,
        ..requests(1000, 5_000, Outcome::Ok)
    };
    let cases = [
        Case {
            thresholds: &["latency.p99 < 4ms"],
            set: requests(1000, 5_000, Outcome::Ok),
            verdict: Verdict::Failed,
            reason: Reason::ThresholdBreached,
            delivery: Delivery::Delivered,
        },
        Case {
            thresholds: &["latency.p99 < 4ms"],
            set: late(11, 0),
            verdict: Verdict::Invalid,
            reason: Reason::LoadNotDelivered,
            delivery: Delivery::GeneratorLate,
        },
        Case {
            thresholds: &[],
            set: late(10, 500),
            verdict: Verdict::Passed,
            reason: Reason::ThresholdsMet,
            delivery: Delivery::TargetSaturated,
        },
        Case {
            thresholds: &[],
            set: requests(10, 5, Outcome::ConnectRefused),
            verdict: Verdict::Failed,
            reason: Reason::AllRequestsFailed,
            delivery: Delivery::Delivered,
        },
        Case {
            thresholds: &["errors.ratio == 100%"],
            set: requests(10, 5, Outcome::Status),
            verdict: Verdict::Passed,
            reason: Reason::ThresholdsMet,
            delivery: Delivery::Delivered,
        },
        Case {
            thresholds: &["latency.p99 < 4ms"],
            set: SeriesSet::default(),
            verdict: Verdict::Invalid,
            reason: Reason::NoRequests,
            delivery: Delivery::Delivered,
        },
    ];
    for (number, case) in cases.into_iter().enumerate() {
        let mut coordinator = new(plan(1, case.thresholds, false));
        let mut engines = [Engine::new(0)];
        let start = started(&mut coordinator, &mut engines, 0);
        engines[0].send(
            &mut coordinator,
            case.set,
            EngineState::Finished,
            start + 10 * SECOND,
        );
        let view = coordinator.unconfirmed_judgement().unwrap();
        let judgement = view.judgement.as_ref().unwrap();
        assert_eq!(
            (judgement.verdict, &judgement.reason, view.delivery),
            (case.verdict, &case.reason, Some(case.delivery)),
            "case {number}: {}",
            judgement.message
        );
    }
}

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
    engines[0].send(
        &mut coordinator,
        requests(2, 5, Outcome::Ok),
        EngineState::Finished,
        start + 4 * SECOND,
    );
    let view = coordinator.unconfirmed_judgement().unwrap();
    assert_eq!(view.judgement.as_ref().unwrap().verdict, Verdict::Aborted);
    let summary = view.summary.as_ref().unwrap();
    assert_eq!(
        (summary.total.requests, summary.duration),
        (302, Duration::from_secs(3))
    );
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
    let judgement = coordinator
        .unconfirmed_judgement()
        .unwrap()
        .judgement
        .clone()
        .unwrap();
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
    let judgement = coordinator
        .unconfirmed_judgement()
        .unwrap()
        .judgement
        .clone()
        .unwrap();
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
