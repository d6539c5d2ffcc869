//! What to do about a run. Pure and total: the same observation gives the same decision.

use loadtest_crds::Problem;

use super::{
    observe::{JobFacts, Observed},
    pods,
    validate::{Prepared, Validated},
};
use crate::coordination::Loss;

/// What to do about a run.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// Nothing: it is over.
    Rest,
    /// It is being deleted: the answers to its runners come from its absence.
    Forget,
    /// It cannot be carried out: say so, make nothing.
    Refuse(Vec<Problem>),
    /// Something that it needs is not there yet: say so, make nothing, look again.
    Wait(Vec<Problem>),
    /// Coordinate it from now on, `create`: after making its objects.
    Begin {
        /// Its plan.
        prepared: Box<Prepared>,
        /// Whether its objects are to be made.
        create: bool,
    },
    /// It is coordinated: tell the coordinator what the cluster shows.
    Carry,
    /// It is over, but pods are left that nobody tells to end: take them away, keep the Job.
    Halt,
}

/// `validated` is there exactly when the run is neither coordinated nor over.
pub fn decide(observed: &Observed, validated: Option<Validated>) -> Decision {
    let Observed {
        status,
        deleting,
        finished,
        job,
        spec,
        ..
    } = observed;
    if *deleting {
        return Decision::Forget;
    }
    if *finished {
        let halt = job.as_ref().is_some_and(|job| !job.suspended && !job.over);
        return if halt && never_told(observed) {
            Decision::Halt
        } else {
            Decision::Rest
        };
    }
    match validated {
        None => Decision::Carry,
        Some(Validated::Refused(problems)) => Decision::Refuse(problems),
        Some(Validated::Waits(problems)) => Decision::Wait(problems),
        Some(Validated::Accepted(prepared)) => {
            // A Job that was there and is gone was deleted by somebody: runs never restart by
            // themselves. The plan's hash is written after the Job was made.
            let made_before = status
                .as_ref()
                .and_then(|status| status.run.as_ref())
                .is_some_and(|run| run.plan_hash.is_some());
            let cancelled = spec.cancel == Some(true);
            let create = job.is_none() && !made_before && !cancelled;
            Decision::Begin { prepared, create }
        }
    }
}

/// Pods whose engine never ran cannot be told to exit: one that waits for its image would wait for
/// ever. The others exit by themselves.
fn never_told(observed: &Observed) -> bool {
    observed
        .pods
        .iter()
        .filter(|pod| !pods::is_over(pod))
        .any(|pod| pods::is_pending(pod))
}

/// The parts of runners that the cluster shows to be gone.
pub fn losses(observed: &Observed, runners: u32) -> Vec<Loss> {
    let mut losses: Vec<_> = observed
        .pods
        .iter()
        .flat_map(|pod| pods::losses(pod))
        .collect();
    let has_pod = |index: u32| {
        observed
            .pods
            .iter()
            .any(|pod| pods::index(pod) == Some(index))
    };
    for index in (0..runners).filter(|index| !has_pod(*index)) {
        let lost = match &observed.job {
            // Without a Job nobody will make the pod.
            None => true,
            Some(JobFacts { failed, over, .. }) => *over || failed.contains(&index),
        };
        if lost {
            losses.extend(pods::gone(index));
        }
    }
    losses
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, sync::Arc};

    use k8s_openapi::api::core::v1::Pod;
    use kube::core::DynamicObject;
    use loadtest_crds::{LoadTestRunSpec, Stage};
    use serde_json::json;

    use super::*;
    use crate::run::{fixtures, observe::Run};

    fn observed() -> Observed {
        let object: DynamicObject = serde_json::from_value(json!({
            "apiVersion": "loadtest.dev/v1alpha1", "kind": "LoadTestRun",
            "metadata": {"name": "shop-1", "namespace": "perf", "uid": "u", "generation": 1},
        }))
        .unwrap();
        let spec = LoadTestRunSpec::default();
        Observed {
            run: Run::new(&object, &spec),
            spec,
            malformed: None,
            status: None,
            deleting: false,
            finished: false,
            pods: Vec::new(),
            trouble: None,
            job: None,
            found: None,
        }
    }

    fn job() -> JobFacts {
        JobFacts {
            failed: BTreeSet::new(),
            suspended: false,
            over: false,
            created: None,
        }
    }

    fn pod(index: u32, phase: &str) -> Arc<Pod> {
        let annotations = json!({crate::names::COMPLETION_INDEX: index.to_string()});
        let pod = json!({"metadata": {"annotations": annotations}, "status": {"phase": phase}});
        Arc::new(serde_json::from_value(pod).unwrap())
    }

    fn accepted() -> Validated {
        Validated::Accepted(Box::new(fixtures::prepared()))
    }

    fn begin(create: bool) -> Decision {
        Decision::Begin {
            prepared: Box::new(fixtures::prepared()),
            create,
        }
    }

    #[test]
    fn a_new_run_is_made_once() {
        assert_eq!(decide(&observed(), Some(accepted())), begin(true));
        let there = Observed {
            job: Some(job()),
            ..observed()
        };
        assert_eq!(decide(&there, Some(accepted())), begin(false));
    }

    #[test]
    fn a_job_that_was_deleted_is_not_made_again() {
        let status = serde_json::from_value(json!({"run": {
            "number": 1, "id": "i", "planHash": "h", "runnersReady": "0/1",
            "runners": {"expected": 1, "ready": 0, "lost": 0},
        }}));
        let deleted = Observed {
            status: Some(status.unwrap()),
            ..observed()
        };
        assert_eq!(decide(&deleted, Some(accepted())), begin(false));
        assert_eq!(losses(&deleted, 2).len(), 4);
    }

    #[test]
    fn a_run_that_is_cancelled_before_it_began_makes_nothing() {
        let mut cancelled = observed();
        cancelled.spec.cancel = Some(true);
        assert_eq!(decide(&cancelled, Some(accepted())), begin(false));
    }

    #[test]
    fn what_is_refused_makes_nothing() {
        let problems = vec![Problem::new(Stage::Acceptance, "spec", "no")];
        let refused = Some(Validated::Refused(problems.clone()));
        let decision = decide(&observed(), refused);
        assert_eq!(decision, Decision::Refuse(problems.clone()));
        let waits = Some(Validated::Waits(problems.clone()));
        assert_eq!(decide(&observed(), waits), Decision::Wait(problems));
    }

    #[test]
    fn a_coordinated_run_is_carried_on() {
        assert_eq!(decide(&observed(), None), Decision::Carry);
    }

    #[test]
    fn deletion_comes_first() {
        let deleting = Observed {
            deleting: true,
            finished: true,
            ..observed()
        };
        assert_eq!(decide(&deleting, None), Decision::Forget);
    }

    #[test]
    fn a_finished_run_rests_unless_pods_wait_for_ever() {
        let over = Observed {
            finished: true,
            ..observed()
        };
        assert_eq!(decide(&over, None), Decision::Rest);
        let stuck = Observed {
            finished: true,
            pods: vec![pod(0, "Succeeded"), pod(1, "Pending")],
            job: Some(job()),
            ..observed()
        };
        assert_eq!(decide(&stuck, None), Decision::Halt);
        let halted = Observed {
            job: Some(JobFacts {
                suspended: true,
                ..job()
            }),
            ..stuck
        };
        assert_eq!(decide(&halted, None), Decision::Rest);
        let ending = Observed {
            finished: true,
            pods: vec![pod(0, "Running")],
            job: Some(job()),
            ..observed()
        };
        assert_eq!(decide(&ending, None), Decision::Rest);
    }

    #[test]
    fn a_runner_is_lost_when_the_job_controller_gave_it_up() {
        let lost = Observed {
            pods: vec![pod(0, "Running")],
            job: Some(JobFacts {
                failed: [1].into(),
                ..job()
            }),
            ..observed()
        };
        assert_eq!(losses(&lost, 3), pods::gone(1));
        let young = Observed {
            job: Some(job()),
            ..observed()
        };
        assert_eq!(losses(&young, 3), []);
    }
}
