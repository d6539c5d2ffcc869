//! Runs that are compared with a baseline, and runs that wait for others.

use loadtest_core::{
    baseline::{Comparison, Delta},
    view::Phase,
};
use loadtest_crds::status::{Facts, queued_run_status, time_of};
use serde_json::json;

use crate::fixtures::{START, identity, short, status_at, test_of, view};

fn delta(regressed: bool) -> Delta {
    Delta {
        metric: "latency.p99".to_owned(),
        before: Some("80.0ms".to_owned()),
        after: Some("101ms".to_owned()),
        change: Some("+26.25%".to_owned()),
        worse_by: "10%".to_owned(),
        regressed,
    }
}

#[test]
fn a_comparison_is_told_in_rows_and_in_a_condition_of_its_own() {
    let status = |comparison| {
        let mut view = view(Phase::Finished);
        view.baseline = comparison;
        status_at(&view, &[], 0)
    };
    let done = |regressed| Comparison::Done {
        run: "shop-2".to_owned(),
        deltas: vec![delta(regressed)],
    };
    let told = |comparison| {
        let conditions = status(comparison).conditions;
        let found = conditions.iter().find(|c| c.kind == "Regressed").cloned();
        found.map(|c| (short(std::slice::from_ref(&c))[0].clone(), c.message))
    };
    assert_eq!(told(None), None);
    let worse = told(Some(done(true))).unwrap();
    assert_eq!(worse.0, "Regressed=True(Regressed)");
    assert_eq!(
        worse.1,
        "latency.p99 got worse than in run shop-2 by more than 10%: 101ms after 80.0ms (+26.25%)"
    );
    let held = told(Some(done(false))).unwrap();
    assert_eq!(held.0, "Regressed=False(WithinTolerances)");
    let missing = Comparison::Missing {
        reason: "NoBaseline".to_owned(),
        message: "there is none".to_owned(),
    };
    let unknown = told(Some(missing.clone())).unwrap();
    assert_eq!(unknown.0, "Regressed=Unknown(NoBaseline)");
    assert_eq!(status(Some(missing)).baseline, None);
    let rows = serde_json::to_value(status(Some(done(true))).baseline).unwrap();
    assert_eq!(
        rows,
        json!({"run": "shop-2", "regressed": true, "tolerances": [{
            "metric": "latency.p99", "before": "80.0ms", "after": "101ms",
            "change": "+26.25%", "worseBy": "10%", "passed": false,
        }]})
    );
}

#[test]
fn a_run_that_waits_for_others_is_in_progress_and_so_is_its_test() {
    let facts = Facts {
        identity: &identity(),
        plan_hash: None,
        generation: 1,
        previous: &[],
        note: None,
        now: time_of(START),
    };
    let run = queued_run_status("waits at place 1 of the queue", &facts);
    let expected = [
        "Accepted=True(Accepted)",
        "Started=False(Queued)",
        "Finished=False(Queued)",
        "Succeeded=Unknown(Queued)",
        "Reconciling=True(Queued)",
        "Stalled=False(Queued)",
    ];
    assert_eq!(short(&run.conditions), expected);
    assert_eq!(
        (run.phase.as_deref(), run.verdict.as_deref()),
        (Some("Pending"), None)
    );
    let test = test_of(7, &run);
    assert_eq!(short(&test.result.conditions), expected);
    assert_eq!(test.result.message, run.message);
}
