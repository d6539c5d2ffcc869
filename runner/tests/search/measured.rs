//! What a run measured: always the same, so that the truth is known.

use std::time::Duration;

use loadtest_core::{
    identity,
    plan::{
        Check, Condition, Connections, Cookies, DEFAULT_DATA_STREAM_PREFIX, DEFAULT_SPOOL_LIMIT,
        Elasticsearch, Flavor, Flows, GroupKey, Inputs, Load, OnLost, Origin, PauseRange, Plan,
        RawMode, Request, Results, RunIdentity, Scenario, Scheme, SeriesKey, Step, Target, Task,
    },
    report::{ExportCounts, GeneratorHealth, RecordCounts},
    series::{ErrorKey, GroupSeries, Outcome, Sample, Series, SeriesSet},
    template::Template,
    threshold::ThresholdResult,
    verdict::{Judgement, Reason, Verdict},
    view::{Delivery, Generator, Phase, RunView, RunnerCounts, Summary},
};
use loadtest_runner::pool::{Interval, Record, Stage};

/// Requests of a run.
pub const RECORDS: u64 = 10_000;
/// When it began, Unix nanoseconds.
pub const WALL_NS: i64 = 1_795_400_000_000_000_000;

/// Request `k` took `k` times 100 µs in all and is one of two names; every tenth failed.
pub fn record(k: u64) -> Record<'static> {
    let failed = k % 10 == 3;
    Record {
        sent_ns: k * 1_000_000,
        late_us: 50,
        dns_us: 0,
        tls_us: 0,
        connect_us: 0,
        send_us: 20,
        wait_us: (k * 100) as u32,
        receive_us: 30,
        step: (k % 2) as u32,
        user: (k % 64) as u32,
        iteration: (k / 64) as u32,
        sequence: 0,
        status: if failed { 503 } else { 200 },
        outcome: if failed { Outcome::Status } else { Outcome::Ok },
        failed_checks: u64::from(k % 100 == 7),
        bytes_sent: 120,
        bytes_received: 400,
        reused: k >= 64,
        warm_up: false,
        error: (k % 1_000 == 13).then_some("it said: \"no\"\n\u{1}"),
    }
}

pub fn request(step: u32, path: &str) -> Step {
    Step::Request(Box::new(Request {
        step,
        series: step,
        method: "GET".to_owned(),
        path: Template::literal(path),
        timeout: Duration::from_secs(1),
        labels: [("page".to_owned(), "a \"quoted\" page".to_owned())].into(),
        checks: vec![Check {
            index: 0,
            condition: Condition::BodyContains(Template::literal("x")),
        }],
        ..Request::default()
    }))
}

pub fn plan(url: &str, namespace: &str) -> Plan {
    let pause = PauseRange {
        min: Duration::ZERO,
        max: Duration::ZERO,
    };
    let task = Task {
        name: "browse".to_owned(),
        weight: 1,
        think_time: Some(pause),
        steps: vec![request(0, "/get?token=geheim"), request(1, "/buy")],
        ..Task::default()
    };
    let scenario = Scenario {
        name: "shop".to_owned(),
        start_after: Duration::ZERO,
        load: Load::ConstantUsers {
            users: 64,
            duration: Duration::from_secs(10),
        },
        graceful_stop: Duration::ZERO,
        connections: Connections::KeepAlive,
        cookies: Cookies::Iteration,
        tasks: vec![task],
        flows: Flows::default(),
    };
    let series = |name: &str| SeriesKey {
        scenario: "shop".to_owned(),
        name: name.to_owned(),
        method: "GET".to_owned(),
    };
    Plan {
        run: RunIdentity {
            id: identity::run_id(namespace),
            namespace: namespace.to_owned(),
            test: "shop".to_owned(),
            name: "shop-1".to_owned(),
            number: 1,
            seed: 1,
        },
        target: Target {
            url: "http://shop".to_owned(),
            origin: Origin {
                scheme: Scheme::Http,
                host: "shop".to_owned(),
                port: 80,
            },
            ..Target::default()
        },
        scenarios: vec![scenario],
        series: vec![series("GET /get"), series("GET /buy")],
        checks: vec!["in stock".to_owned()],
        groups: vec![GroupKey {
            scenario: "shop".to_owned(),
            name: "browse".to_owned(),
        }],
        inputs: Inputs::default(),
        once: None,
        thresholds: Vec::new(),
        runners: 1,
        on_lost: OnLost::Fail,
        start_timeout: Duration::from_secs(10),
        warm_up: Duration::ZERO,
        max_duration: Duration::from_mins(1),
        results: Results {
            interval: Duration::from_secs(5),
            elasticsearch: Some(Elasticsearch {
                urls: vec![url.to_owned()],
                flavor: Flavor::Auto,
                data_stream_prefix: DEFAULT_DATA_STREAM_PREFIX.to_owned(),
                manage_templates: true,
                auth: None,
                ca_file: None,
                client_certificate: None,
                raw: RawMode::All,
            }),
            files: None,
            drain_timeout: Duration::from_mins(3),
            spool_limit: DEFAULT_SPOOL_LIMIT,
            samples: true,
        },
    }
}

/// What the engine measured in one of ten intervals of one second.
pub fn interval(sequence: u64) -> Interval {
    let mut set = SeriesSet {
        by_name: vec![Series::default(); 2],
        ..SeriesSet::default()
    };
    set.checks = vec![(990, 10)];
    set.groups = vec![GroupSeries::default()];
    (1..=20).for_each(|k| set.groups[0].record(k == 20, k * 1_000, 2));
    (set.iterations, set.iterations_failed) = (500, 50);
    for k in sequence * RECORDS / 10..(sequence + 1) * RECORDS / 10 {
        let record = record(k);
        let sample = Sample {
            outcome: record.outcome,
            status: record.status,
            latency_us: record.latency_us(),
            service_us: record.service_us(),
            bytes_sent: record.bytes_sent.into(),
            bytes_received: record.bytes_received.into(),
        };
        set.total.record(&sample, 3);
        set.by_name[record.step as usize].record(&sample, 2);
        if record.outcome != Outcome::Ok {
            let message = "status 503".to_owned();
            let outcome = record.outcome;
            set.count_error(
                ErrorKey {
                    outcome,
                    series: record.step,
                    message,
                },
                1,
            );
        }
    }
    let start_us = WALL_NS / 1_000 + sequence.cast_signed() * 1_000_000;
    Interval {
        sequence,
        start_us,
        end_us: start_us + 1_000_000,
        partial: sequence == 0,
        stage: Stage::Load,
        set,
        users: 64,
        records: RecordCounts {
            produced: (sequence + 1) * 1_000,
            ..RecordCounts::default()
        },
        health: GeneratorHealth {
            cpu: 0.5,
            ..GeneratorHealth::default()
        },
    }
}

pub fn view(plan: &Plan) -> RunView {
    let mut set = SeriesSet::default();
    (0..10).for_each(|sequence| set.merge(&interval(sequence).set));
    let started = WALL_NS / 1_000;
    RunView {
        phase: Phase::Exporting,
        judgement: Some(Judgement {
            verdict: Verdict::Failed,
            reason: Reason::ThresholdBreached,
            message: "latency.p99 < 1ms was breached".to_owned(),
        }),
        started: Some(started),
        completed: Some(started + 10_000_000),
        start_skew_us: None,
        delivery: Some(Delivery::Delivered),
        runners: RunnerCounts {
            expected: 1,
            ready: 1,
            lost: 0,
        },
        summary: Some(Summary::new(
            plan,
            &set,
            0,
            Duration::from_secs(10),
            Some(100.0),
        )),
        progress: None,
        generator: Generator::default(),
        thresholds: vec![ThresholdResult {
            name: "fast".to_owned(),
            expr: "latency.p99 < 1ms".to_owned(),
            observed: Some("990ms".to_owned()),
            passed: false,
            first_breach: None,
        }],
        export: Some(ExportCounts::default()),
        aggregates: None,
        export_problem: String::new(),
        notes: Vec::new(),
        baseline: None,
    }
}
