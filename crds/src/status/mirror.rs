//! The status of a `LoadTest`: the mirror of its last run.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use loadtest_core::view::Phase;

use super::{
    Condition, ConditionStatus, LastRun, LoadTestRunStatus, LoadTestStatus, Observed,
    convert::refusal, kind, merge_conditions, rows,
};
use crate::problem::Problem;

/// What the operator knows of a `LoadTest`.
#[derive(Debug, Clone)]
pub struct TestFacts<'a> {
    /// Its generation.
    pub generation: i64,
    /// Why its spec was refused; empty when it was not.
    pub problems: &'a [Problem],
    /// The last run, if there is one.
    pub last: Option<LastRunFacts<'a>>,
    /// What comes next.
    pub next: Next,
    /// When the schedule, if there is one, starts the next run.
    pub next_schedule: Option<Time>,
    /// Conditions as they were written last.
    pub previous: &'a [Condition],
    /// The time.
    pub now: Time,
}

/// The last run of a `LoadTest`.
#[derive(Debug, Clone)]
pub struct LastRunFacts<'a> {
    /// Name of the `LoadTestRun`.
    pub name: &'a str,
    /// Its number.
    pub number: i64,
    /// What it was made from.
    pub run_key: &'a str,
    /// Generation of the `LoadTest` that it was made from.
    pub generation: i64,
    /// Its status, if it has one yet.
    pub status: Option<&'a LoadTestRunStatus>,
}

/// What comes next for a `LoadTest`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Nothing, until somebody edits it.
    Nothing,
    /// A run, as soon as the one under way has ended or at once.
    Run,
    /// Nothing: `start: Manual`.
    Manual,
    /// Nothing: `suspend: true`.
    Suspended,
    /// A run when the schedule says so.
    Scheduled,
}

/// The status of a `LoadTest`.
pub fn load_test_status(facts: &TestFacts<'_>) -> LoadTestStatus {
    let last_run = facts.last.as_ref().map(last_run);
    let result = if facts.problems.is_empty() {
        match &facts.last {
            Some(last) => mirror(last, facts),
            None => waiting(facts),
        }
    } else {
        refused(facts)
    };
    LoadTestStatus {
        last_run,
        next_schedule_time: facts.next_schedule.clone(),
        result,
    }
}

fn last_run(last: &LastRunFacts<'_>) -> LastRun {
    let run = last.status.and_then(|status| status.run.as_ref());
    LastRun {
        name: last.name.to_owned(),
        number: last.number,
        verdict: last.status.and_then(|status| status.verdict.clone()),
        start_time: run.and_then(|run| run.start_time.clone()),
        completion_time: run.and_then(|run| run.completion_time.clone()),
        run_key: Some(last.run_key.to_owned()),
    }
}

fn refused(facts: &TestFacts<'_>) -> LoadTestRunStatus {
    let message = refusal(facts.problems);
    LoadTestRunStatus {
        observed_generation: Some(facts.generation),
        phase: Some(Phase::Finished.name().to_owned()),
        verdict: Some("Error".to_owned()),
        conditions: merge_conditions(
            facts.previous,
            rows::refused_conditions(facts.generation, &message),
            &facts.now,
        ),
        message: Some(message),
        ..LoadTestRunStatus::default()
    }
}

/// No run yet.
fn waiting(facts: &TestFacts<'_>) -> LoadTestRunStatus {
    let (reason, message) = match facts.next {
        Next::Nothing | Next::Run => ("Pending", "a run is about to be created"),
        Next::Manual => (
            "Manual",
            "start is Manual: create a LoadTestRun to run this test",
        ),
        Next::Suspended => ("Suspended", "suspend is true: no run is started"),
        Next::Scheduled => ("Scheduled", "waits for the time of its schedule"),
    };
    let coming = matches!(facts.next, Next::Nothing | Next::Run);
    let one = |kind, status, reason: &str, message: &str| Observed {
        kind,
        status,
        reason: reason.to_owned(),
        message: message.to_owned(),
        generation: facts.generation,
    };
    let observed = vec![
        one(
            kind::ACCEPTED,
            ConditionStatus::True,
            "Accepted",
            "the test was understood",
        ),
        one(kind::STARTED, ConditionStatus::False, reason, message),
        one(kind::FINISHED, ConditionStatus::False, reason, message),
        one(kind::SUCCEEDED, ConditionStatus::Unknown, reason, message),
        one(kind::RECONCILING, coming.into(), reason, message),
        one(kind::STALLED, ConditionStatus::False, reason, ""),
    ];
    LoadTestRunStatus {
        observed_generation: Some(facts.generation),
        phase: Some(Phase::Pending.name().to_owned()),
        message: Some(message.to_owned()),
        conditions: merge_conditions(facts.previous, observed, &facts.now),
        ..LoadTestRunStatus::default()
    }
}

/// The last run's status. Its conditions keep the generation that the run was made from, so that
/// who waits for the present one is not told of an older; Accepted, Reconciling and Stalled speak
/// of the present one.
fn mirror(last: &LastRunFacts<'_>, facts: &TestFacts<'_>) -> LoadTestRunStatus {
    let Some(status) = last.status.filter(|status| status.phase.is_some()) else {
        return waiting(&TestFacts {
            next: Next::Run,
            last: None,
            ..facts.clone()
        });
    };
    let queued = facts.next == Next::Run && status.verdict.is_some();
    let mut observed: Vec<_> = status
        .conditions
        .iter()
        .filter_map(|condition| {
            let kind = KINDS.into_iter().find(|kind| *kind == condition.kind)?;
            let own = [kind::ACCEPTED, kind::RECONCILING, kind::STALLED].contains(&kind);
            Some(Observed {
                kind,
                status: condition.status,
                reason: condition.reason.clone(),
                message: condition.message.clone(),
                generation: if own {
                    facts.generation
                } else {
                    last.generation
                },
            })
        })
        .collect();
    for condition in &mut observed {
        match condition.kind {
            // What the cluster lacked for the present spec is said here, too.
            kind::ACCEPTED
                if condition.status == ConditionStatus::False
                    && last.generation == facts.generation => {}
            kind::ACCEPTED => {
                condition.status = ConditionStatus::True;
                "Accepted".clone_into(&mut condition.reason);
                "the test was understood".clone_into(&mut condition.message);
            }
            kind::RECONCILING if queued => {
                condition.status = ConditionStatus::True;
                "Pending".clone_into(&mut condition.reason);
                "a run is about to be created".clone_into(&mut condition.message);
            }
            // A test that will run again by itself is as it should be, whatever the last run said.
            kind::STALLED if facts.next == Next::Scheduled => {
                condition.status = ConditionStatus::False;
                "Scheduled".clone_into(&mut condition.reason);
            }
            kind::STALLED if queued => {
                condition.status = ConditionStatus::False;
                "Pending".clone_into(&mut condition.reason);
                condition.message.clear();
            }
            _ => {}
        }
    }
    LoadTestRunStatus {
        observed_generation: Some(facts.generation),
        conditions: merge_conditions(facts.previous, observed, &facts.now),
        ..status.clone()
    }
}

const KINDS: [&str; 9] = [
    kind::ACCEPTED,
    kind::STARTED,
    kind::FINISHED,
    kind::SUCCEEDED,
    kind::LOAD_DELIVERED,
    kind::RESULTS_EXPORTED,
    kind::REGRESSED,
    kind::RECONCILING,
    kind::STALLED,
];
