//! Runs that are set beside an earlier one.

use loadtest_core::{
    baseline::{Comparison, Delta},
    coordinator::Coordinator,
    report::{Desired, EngineState},
    series::Outcome,
    verdict::{Reason, Verdict},
};

use crate::harness::*;

fn comparison(regressed: bool) -> Comparison {
    Comparison::Done {
        run: "t-0".to_owned(),
        deltas: vec![Delta {
            metric: "latency.p99".to_owned(),
            before: Some("4.00ms".to_owned()),
            after: Some("5.00ms".to_owned()),
            change: Some("+25%".to_owned()),
            worse_by: "10%".to_owned(),
            regressed,
        }],
    }
}

/// A run that is judged, and nobody knows yet.
fn judged(thresholds: &[&str]) -> (Coordinator, Engine) {
    let mut coordinator = new(plan(1, thresholds, true));
    let mut engine = Engine::new(0);
    let start = started(&mut coordinator, std::slice::from_mut(&mut engine), 0);
    let set = requests(1_000, 5_000, Outcome::Ok);
    let end = start + 10 * SECOND;
    engine.send(&mut coordinator, set, EngineState::Finished, end);
    (coordinator, engine)
}

#[test]
fn a_run_that_passed_and_got_worse_has_failed_before_anybody_is_told() {
    let (mut coordinator, mut engine) = judged(&["latency.p99 < 1s"]);
    coordinator.compare(comparison(true));
    let said = judgement(&coordinator);
    assert_eq!(
        (said.verdict, said.reason),
        (Verdict::Failed, Reason::Regressed)
    );
    assert_eq!(
        said.message,
        "latency.p99 got worse than in run t-0 by more than 10%: 5.00ms after 4.00ms (+25%); the threshold held"
    );
    // Once: a reconcile that was cut off compares again.
    coordinator.compare(comparison(false));
    assert_eq!(judgement(&coordinator).verdict, Verdict::Failed);
    coordinator.confirm_judgement();
    let answer = engine.say(&mut coordinator, EngineState::Finished, 20 * SECOND);
    assert_eq!(answer.desired, Desired::Exit);
    let view = coordinator.view(20 * SECOND);
    assert_eq!(view.judgement.unwrap().reason, Reason::Regressed);
    assert_eq!(view.baseline, Some(comparison(true)));
}

#[test]
fn any_other_verdict_stands() {
    let missing = Comparison::Missing {
        reason: "NoBaseline".to_owned(),
        message: String::new(),
    };
    for (threshold, compared, verdict, reason) in [
        (
            "latency.p99 < 1s",
            comparison(false),
            Verdict::Passed,
            Reason::ThresholdsMet,
        ),
        (
            "latency.p99 < 1s",
            missing,
            Verdict::Passed,
            Reason::ThresholdsMet,
        ),
        (
            "latency.p99 < 1ms",
            comparison(true),
            Verdict::Failed,
            Reason::ThresholdBreached,
        ),
    ] {
        let (mut coordinator, _) = judged(&[threshold]);
        coordinator.compare(compared.clone());
        let said = judgement(&coordinator);
        assert_eq!(
            (said.verdict, said.reason),
            (verdict, reason),
            "{compared:?}"
        );
        assert_eq!(coordinator.view(0).baseline, Some(compared));
    }
    // What is durable does not change.
    let (mut coordinator, _) = judged(&[]);
    coordinator.confirm_judgement();
    coordinator.compare(comparison(true));
    assert_eq!(coordinator.view(0).baseline, None);
}
