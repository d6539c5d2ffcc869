//! A run at each of its phases.

use std::time::Duration;

use loadtest_core::{
    plan::RunIdentity,
    report::ExportCounts,
    threshold::ThresholdResult,
    verdict::{Judgement, Reason, Verdict},
    view::{
        CheckStats, Delivery, ErrorStats, Generator, GroupStats, LatencyStats, NamedStats, Phase,
        Progress, RequestStats, RunView, RunnerCounts, Summary,
    },
};
use loadtest_crds::{
    LoadTestRunStatus, LoadTestStatus,
    status::{
        Condition, Facts, LastRunFacts, Next, TestFacts, load_test_status, run_status, time_of,
    },
};

pub(crate) const SECOND: i64 = 1_000_000;
pub(crate) const START: i64 = 1_764_000_000 * SECOND;

pub(crate) fn identity() -> RunIdentity {
    RunIdentity {
        id: "0123456789abcdef0123456789abcdef".to_owned(),
        namespace: "perf".to_owned(),
        test: "shop".to_owned(),
        name: "shop-4".to_owned(),
        number: 4,
        seed: 7,
    }
}

pub(crate) fn stats(requests: u64) -> RequestStats {
    let latency = LatencyStats {
        min: 953,
        mean: 12_412.0,
        p50: 11_000,
        p75: 13_000,
        p90: 20_000,
        p95: 25_040,
        p99: 101_000,
        p999: 1_250_000,
        max: 2_000_000,
    };
    RequestStats {
        requests,
        failures: requests / 400,
        rate: 199.94,
        bytes_sent: 1_000,
        bytes_received: 2_000,
        latency,
        service_time: latency,
    }
}

pub(crate) fn view(phase: Phase) -> RunView {
    let began = !matches!(phase, Phase::Pending | Phase::Starting);
    RunView {
        phase,
        judgement: matches!(phase, Phase::Exporting | Phase::Finished).then(|| Judgement {
            verdict: Verdict::Passed,
            reason: Reason::ThresholdsMet,
            message: "all 1 thresholds hold".to_owned(),
        }),
        started: began.then_some(START + 300_000),
        completed: (phase == Phase::Finished).then_some(START + 31 * SECOND),
        start_skew_us: began.then_some(3_012),
        runners: RunnerCounts {
            expected: 2,
            ready: if began { 2 } else { 1 },
            lost: 0,
        },
        summary: began.then(|| Summary {
            duration: Duration::from_millis(30_040),
            warm_up_requests: 0,
            resent: 0,
            total: stats(4_000),
            iterations: 4_000,
            iterations_failed: 3,
            offered_rate: Some(200.0),
            delivered: 1.0,
            by_name: vec![NamedStats {
                scenario: "main".to_owned(),
                name: "GET /get".to_owned(),
                method: "GET".to_owned(),
                stats: stats(4_000),
            }],
            errors: vec![ErrorStats {
                kind: "status".to_owned(),
                name: "GET /get".to_owned(),
                message: "500".to_owned(),
                count: 10,
            }],
            checks: vec![CheckStats {
                name: "ok".to_owned(),
                passed: 3_990,
                failed: 10,
            }],
            checks_ratio: Some(0.9975),
            groups: vec![GroupStats {
                scenario: "main".to_owned(),
                name: "checkout".to_owned(),
                count: 1_000,
                failures: 3,
                duration: stats(1_000).latency,
            }],
        }),
        progress: (phase == Phase::Running).then_some(Progress {
            elapsed: Duration::from_millis(12_040),
            rate: 200.1,
            p95: 25_040,
            users: 7,
            updated: START + 12 * SECOND,
            ..Progress::default()
        }),
        delivery: matches!(phase, Phase::Exporting | Phase::Finished)
            .then_some(Delivery::Delivered),
        generator: Generator {
            cpu: 0.123,
            ..Generator::default()
        },
        thresholds: vec![ThresholdResult {
            name: "fast".to_owned(),
            expr: "latency.p99 < 250ms".to_owned(),
            observed: Some("101ms".to_owned()),
            passed: true,
            first_breach: None,
        }],
        export: began.then_some(ExportCounts {
            produced: 4_000,
            indexed: 4_000,
            verified: Some(true),
            ..ExportCounts::default()
        }),
        aggregates: began.then_some(ExportCounts {
            produced: 12,
            indexed: 12,
            ..ExportCounts::default()
        }),
        export_problem: String::new(),
        notes: Vec::new(),
        baseline: None,
    }
}

pub(crate) fn status_at(view: &RunView, previous: &[Condition], second: i64) -> LoadTestRunStatus {
    let identity = identity();
    let facts = Facts {
        identity: &identity,
        plan_hash: Some("abc"),
        generation: 3,
        previous,
        note: None,
        now: time_of(START + second * SECOND),
    };
    run_status(view, &facts)
}

/// `Accepted=True(Accepted)` for every condition.
pub(crate) fn short(conditions: &[Condition]) -> Vec<String> {
    conditions
        .iter()
        .map(|c| format!("{}={:?}({})", c.kind, c.status, c.reason))
        .collect()
}

/// The status of a test of this generation whose only run, made of generation 7, has this status.
pub(crate) fn test_of(generation: i64, run: &LoadTestRunStatus) -> LoadTestStatus {
    load_test_status(&TestFacts {
        generation,
        problems: &[],
        last: Some(LastRunFacts {
            name: "shop-4",
            number: 4,
            run_key: "v1:abc",
            generation: 7,
            status: Some(run),
        }),
        next: Next::Nothing,
        next_schedule: None,
        previous: &[],
        now: time_of(START),
    })
}
