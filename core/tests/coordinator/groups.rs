//! Groups of steps: what is told of them, and what may be asked of them.

use std::time::Duration;

use loadtest_core::{
    histogram::NAME_DIGITS,
    plan::{GroupKey, Plan},
    report::EngineState,
    series::{GroupSeries, Outcome, SeriesSet},
    threshold::Abort,
    verdict::{Reason, Verdict},
    view::MAX_GROUPS,
};

use crate::harness::*;

fn plan_of(groups: &[&str], thresholds: &[&str]) -> Plan {
    let key = |name: &&str| GroupKey {
        scenario: "main".to_owned(),
        name: (*name).to_owned(),
    };
    Plan {
        groups: groups.iter().map(key).collect(),
        ..plan(1, thresholds, false)
    }
}

/// So many passes of so many milliseconds through each group, the first of each failed.
fn passes(groups: &[(u64, u64)]) -> SeriesSet {
    let of = |(count, millis): &(u64, u64)| {
        let mut group = GroupSeries::default();
        for pass in 0..*count {
            group.record(pass == 0, millis * 1_000, NAME_DIGITS);
        }
        group
    };
    SeriesSet {
        groups: groups.iter().map(of).collect(),
        iterations: 10,
        iterations_failed: 2,
        ..requests(10, 5, Outcome::Ok)
    }
}

#[test]
fn groups_have_rows_of_their_own_also_those_that_were_never_done() {
    let mut coordinator = new(plan_of(&["browse", "checkout", "job until done"], &[]));
    let mut engines = [Engine::new(0)];
    let start = started(&mut coordinator, &mut engines, 0);
    for second in 1..=2 {
        let set = passes(&[(5, 10), (3, 700)]);
        engines[0].send(
            &mut coordinator,
            set,
            EngineState::Running,
            start + second * SECOND,
        );
    }
    let summary = coordinator.view(start + 2 * SECOND).summary.unwrap();
    assert_eq!((summary.iterations, summary.iterations_failed), (20, 4));
    let rows: Vec<_> = summary
        .groups
        .iter()
        .map(|row| {
            (
                row.name.as_str(),
                row.count,
                row.failures,
                row.duration.max / 1_000,
            )
        })
        .collect();
    assert_eq!(
        rows,
        [
            ("browse", 10, 2, 10),
            ("checkout", 6, 2, 700),
            ("job until done", 0, 0, 0)
        ]
    );

    let many = vec!["g"; MAX_GROUPS + 1];
    let mut coordinator = new(plan_of(&many, &[]));
    let start = started(&mut coordinator, &mut [Engine::new(0)], 0);
    let summary = coordinator.view(start + SECOND).summary.unwrap();
    assert_eq!(summary.groups.len(), MAX_GROUPS);
}

#[test]
fn a_threshold_may_ask_how_long_a_group_took() {
    let asked = [
        "group.p95 < 2s",
        "group.max < 1s",
        "group.mean > 1ms",
        "group.p50 < 1h",
    ];
    let mut plan = plan_of(&["browse", "checkout", "never"], &asked);
    plan.thresholds[0].groups = Some(vec![1]);
    plan.thresholds[1].groups = Some(vec![0]);
    plan.thresholds[3].groups = Some(vec![2]);
    let mut coordinator = new(plan);
    let mut engines = [Engine::new(0)];
    let start = started(&mut coordinator, &mut engines, 0);
    let set = passes(&[(100, 10), (100, 3_000)]);
    engines[0].send(
        &mut coordinator,
        set,
        EngineState::Finished,
        start + 10 * SECOND,
    );
    let judged = coordinator.unconfirmed_judgement().unwrap();
    let seen: Vec<_> = judged
        .thresholds
        .iter()
        .map(|result| {
            (
                result.observed.as_deref().unwrap_or("nothing"),
                result.passed,
            )
        })
        .collect();
    let expected = [
        ("3.00s", false),
        ("10.0ms", true),
        ("1.50s", true),
        ("nothing", false),
    ];
    assert_eq!(seen, expected);
    let judgement = judged.judgement.as_ref().unwrap();
    assert_eq!(
        judgement.message,
        "threshold group.p95 < 2s was breached: 3.00s (and 1 more)"
    );
}

#[test]
fn a_group_that_is_slow_for_a_while_may_stop_the_load() {
    let mut plan = plan_of(&["browse", "checkout"], &["group.p95 < 2s"]);
    plan.thresholds[0].groups = Some(vec![1]);
    plan.thresholds[0].abort = Some(Abort {
        after: Duration::from_secs(3),
        min_requests: 10,
    });
    let mut coordinator = new(plan);
    let mut engines = [Engine::new(0)];
    let start = started(&mut coordinator, &mut engines, 0);
    let mut second = |second: i64, checkout: (u64, u64)| {
        let set = passes(&[(50, 9_000), checkout]);
        let now = start + second * SECOND;
        engines[0].send(&mut coordinator, set, EngineState::Running, now);
        let stopped = coordinator.view(now).thresholds[0].first_breach;
        stopped.map(|at| (at - start) / SECOND)
    };
    // Slow passes, but too few of them in any three seconds; then enough.
    assert_eq!((1..=6).find_map(|at| second(at, (2, 5_000))), None);
    assert_eq!((7..=9).find_map(|at| second(at, (20, 5_000))), Some(7));
    engines[0].send(
        &mut coordinator,
        SeriesSet::default(),
        EngineState::Finished,
        start + 10 * SECOND,
    );
    let judgement = judgement(&coordinator);
    assert_eq!(
        (judgement.verdict, judgement.reason),
        (Verdict::Failed, Reason::ThresholdBreached)
    );
    let said =
        "the load was stopped: threshold group.p95 < 2s was breached over the last 3s: 5.00s";
    assert_eq!(judgement.message, said);
}
