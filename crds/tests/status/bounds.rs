//! A status stays small and within its schema, whatever a test does.

use std::time::Duration;

use loadtest_core::{
    baseline::{Comparison, Delta},
    report::ExportCounts,
    threshold::ThresholdResult,
    verdict::{Judgement, Reason, Verdict},
    view::{
        CheckStats, ErrorStats, GroupStats, LatencyStats, MAX_CHECKS, MAX_ERRORS, MAX_GROUPS,
        MAX_NAMES, NamedStats, Phase, RequestStats, RunView, Summary,
    },
};
use loadtest_crds::status::{LastRunFacts, Next, TestFacts, load_test_status, time_of};
use serde_json::Value;

use crate::fixtures::{START, status_at, view};

/// A view in which everything is as large as it can be.
fn worst(letter: &str) -> RunView {
    let long = |length: usize| letter.repeat(length);
    // As wide as i64::MAX, and sums of it do not overflow.
    let huge = u64::MAX / 16;
    let mut worst = view(Phase::Finished);
    let largest = LatencyStats {
        min: 9_999_999_999_999,
        mean: 9_999_999_999_999.0,
        p50: 9_999_999_999_999,
        p75: 9_999_999_999_999,
        p90: 9_999_999_999_999,
        p95: 9_999_999_999_999,
        p99: 9_999_999_999_999,
        p999: 9_999_999_999_999,
        max: 9_999_999_999_999,
    };
    let total = RequestStats {
        requests: huge,
        failures: huge,
        rate: 123_456_789.123,
        bytes_sent: huge,
        bytes_received: huge,
        latency: largest,
        service_time: largest,
    };
    worst.judgement = Some(Judgement {
        verdict: Verdict::Invalid,
        reason: Reason::Cluster(long(5_000)),
        message: long(5_000),
    });
    worst.summary = Some(Summary {
        duration: Duration::from_micros(86_399_999_999_999),
        warm_up_requests: huge,
        resent: huge,
        total: total.clone(),
        iterations: huge,
        iterations_failed: huge,
        offered_rate: Some(123_456_789.1),
        delivered: 0.99,
        by_name: vec![
            NamedStats {
                scenario: "x".repeat(52),
                name: long(500),
                method: "OPTIONS".to_owned(),
                stats: total
            };
            MAX_NAMES + 1
        ],
        errors: vec![
            ErrorStats {
                kind: "connect_refused".to_owned(),
                name: long(500),
                message: long(5_000),
                count: huge
            };
            MAX_ERRORS
        ],
        checks: vec![
            CheckStats {
                name: long(2_000),
                passed: huge,
                failed: huge
            };
            MAX_CHECKS
        ],
        checks_ratio: Some(0.123),
        groups: vec![
            GroupStats {
                scenario: "x".repeat(52),
                name: long(500),
                count: huge,
                failures: huge,
                duration: largest,
            };
            MAX_GROUPS
        ],
    });
    worst.thresholds = vec![
        ThresholdResult {
            name: long(64),
            expr: "x".repeat(64),
            observed: Some("123456789012.1/s".to_owned()),
            passed: false,
            first_breach: Some(1_795_400_000_000_000),
        };
        64
    ];
    worst.export = Some(ExportCounts {
        produced: huge,
        indexed: huge,
        rejected: huge,
        sampled_out: huge,
        dropped: huge,
        lost: huge,
        pending: huge,
        retries: huge,
        verified: None,
    });
    worst.export_problem = long(5_000);
    worst.notes = vec![long(5_000); 9];
    worst.baseline = Some(worst_comparison());
    worst
}

fn worst_comparison() -> Comparison {
    Comparison::Done {
        run: "x".repeat(58),
        deltas: vec![
            Delta {
                metric: format!("serviceTime.mean of {}", "\u{7}".repeat(1024)),
                before: Some("123456789012.1/s".to_owned()),
                after: Some("123456789012.1/s".to_owned()),
                change: Some("+12345678901234.12 points".to_owned()),
                worse_by: "999.9999%".to_owned(),
                regressed: true,
            };
            8
        ],
    }
}

#[test]
fn no_status_is_larger_than_64_kib() {
    for letter in ["x", "\"", "\\", "\u{7}", "é", "𝄞"] {
        let run = status_at(&worst(letter), &[], 0);
        let status = load_test_status(&TestFacts {
            generation: i64::MAX,
            problems: &[],
            last: Some(LastRunFacts {
                name: &"x".repeat(58),
                number: 99_999,
                run_key: &"x".repeat(35),
                generation: i64::MAX,
                status: Some(&run),
            }),
            next: Next::Nothing,
            next_schedule: None,
            previous: &[],
            now: time_of(START),
        });
        let size = serde_json::to_vec(&status).unwrap().len();
        assert!(size < 64 << 10, "{letter:?}: {size} bytes");
        assert!(
            size > 40 << 10,
            "{letter:?}: {size} bytes are no worst case"
        );
    }
}

#[test]
fn every_status_fits_its_schema() {
    let schema = loadtest_crds::crd::load_test_run();
    let schema = &loadtest_crds::crd::schema(&schema)["properties"]["status"];
    let mut statuses = vec![
        status_at(&worst("é"), &[], 0),
        status_at(&worst("x"), &[], 0),
    ];
    for phase in [
        Phase::Pending,
        Phase::Starting,
        Phase::Running,
        Phase::Stopping,
        Phase::Exporting,
        Phase::Finished,
    ] {
        statuses.push(status_at(&view(phase), &[], 0));
    }
    for status in statuses {
        let value: Value = serde_json::to_value(&status).unwrap();
        assert_eq!(loadtest_crds::validate::against_schema(&value, schema), []);
    }
}
