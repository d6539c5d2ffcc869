//! Whether a run of a `LoadTest` is due. Pure and total.

use loadtest_core::report::UnixMicros;
use loadtest_crds::{
    spec::{ConcurrencyPolicy, Start},
    status::Next,
};

/// What decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Somebody deletes the test.
    pub deleting: bool,
    /// The spec cannot be carried out.
    pub refused: bool,
    /// `spec.start`, or what it means to leave it out.
    pub start: Start,
    /// `spec.suspend`.
    pub suspend: bool,
    /// Generation of the test.
    pub generation: i64,
    /// Key of what the test asks for now.
    pub run_key: String,
    /// The annotation: the key of the last run, even if that was deleted.
    pub last_run_key: Option<String>,
    /// Runs of this test.
    pub runs: Vec<RunFact>,
    /// Number of the next run.
    pub next_number: i64,
    /// `spec.schedule`.
    pub schedule: Option<ScheduleFact>,
}

/// What a schedule asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScheduleFact {
    /// The last of its times that has passed without a run, unless its deadline has, too.
    pub due: Option<UnixMicros>,
    /// `concurrencyPolicy`.
    pub policy: ConcurrencyPolicy,
    /// The annotation: the last of its times that had a run, even if that was deleted.
    pub noted: Option<UnixMicros>,
}

/// A run of the test.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunFact {
    /// Its number.
    pub number: i64,
    /// Key of what it was made from.
    pub run_key: String,
    /// Generation of the test that it was made from.
    pub generation: i64,
    /// It is over.
    pub finished: bool,
    /// The time of the schedule that it was made for.
    pub scheduled: Option<UnixMicros>,
    /// It passed.
    pub passed: bool,
    /// When it was over.
    pub completed: Option<UnixMicros>,
    /// Its pods are still there.
    pub has_pods: bool,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Create a run now.
    pub create: Option<Create>,
    /// Stop these runs, so that the one that is due may begin.
    pub cancel: Vec<i64>,
    /// Write this key into the annotation.
    pub note_key: Option<String>,
    /// Write this time of the schedule into the annotation.
    pub note_scheduled: Option<UnixMicros>,
    /// What to say of the future.
    pub next: Next,
}

/// A run to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Create {
    /// Its number.
    pub number: i64,
    /// The time of the schedule that it is made for.
    pub scheduled: Option<UnixMicros>,
}

/// Decides.
pub fn decide(facts: &Facts) -> Decision {
    let last = facts.runs.iter().max_by_key(|run| run.number);
    let note_key = last
        .map(|run| run.run_key.clone())
        .filter(|key| facts.last_run_key.as_ref() != Some(key) && !facts.deleting);
    let last_scheduled = facts.runs.iter().filter_map(|run| run.scheduled).max();
    let noted = facts.schedule.as_ref().and_then(|schedule| schedule.noted);
    let note_scheduled = last_scheduled.filter(|last| noted < Some(*last) && !facts.deleting);
    let nothing = |next| Decision {
        create: None,
        cancel: Vec::new(),
        note_key: note_key.clone(),
        note_scheduled,
        next,
    };
    if facts.deleting || facts.refused {
        return nothing(Next::Nothing);
    }
    if facts.suspend {
        return nothing(Next::Suspended);
    }
    let scheduled = facts.schedule.as_ref().and_then(|schedule| schedule.due);
    let asked = facts.start == Start::OnApply && is_asked(facts, last);
    if !asked && scheduled.is_none() {
        return nothing(match (&facts.schedule, facts.start) {
            (Some(_), _) => Next::Scheduled,
            (None, Start::Manual) => Next::Manual,
            (None, Start::OnApply) => Next::Nothing,
        });
    }
    // A run under way is never cut short by an edit, only by a schedule that says so.
    let busy: Vec<_> = facts.runs.iter().filter(|run| !run.finished).collect();
    let replace = scheduled.is_some()
        && facts.schedule.as_ref().map(|schedule| schedule.policy)
            == Some(ConcurrencyPolicy::Replace);
    Decision {
        create: busy.is_empty().then_some(Create {
            number: facts.next_number,
            scheduled,
        }),
        cancel: if replace {
            busy.iter().map(|run| run.number).collect()
        } else {
            Vec::new()
        },
        next: Next::Run,
        ..nothing(Next::Run)
    }
}

/// An edit that changes what a run does moves generation and key. The key alone may move when a
/// new operator computes it otherwise; the annotation alone is all that is left of a test that was
/// restored from a backup without its runs.
fn is_asked(facts: &Facts, last: Option<&RunFact>) -> bool {
    let asked = facts.last_run_key.as_ref() != Some(&facts.run_key);
    asked
        && last.is_none_or(|run| run.run_key != facts.run_key && run.generation < facts.generation)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(number: i64, run_key: &str, generation: i64, finished: bool) -> RunFact {
        RunFact {
            number,
            run_key: run_key.to_owned(),
            generation,
            finished,
            ..RunFact::default()
        }
    }

    fn facts(run_key: &str, generation: i64, runs: &[RunFact]) -> Facts {
        let last = runs.iter().max_by_key(|run| run.number);
        Facts {
            deleting: false,
            refused: false,
            start: Start::OnApply,
            suspend: false,
            generation,
            run_key: run_key.to_owned(),
            last_run_key: last.map(|run| run.run_key.clone()),
            next_number: last.map_or(1, |run| run.number + 1),
            runs: runs.to_vec(),
            schedule: None,
        }
    }

    #[test]
    fn when_a_run_starts() {
        let done = run(1, "a", 1, true);
        let busy = run(1, "a", 1, false);
        let restored = Facts {
            last_run_key: Some("a".into()),
            ..facts("a", 1, &[])
        };
        let unnoted = Facts {
            last_run_key: None,
            ..facts("a", 1, std::slice::from_ref(&done))
        };
        let pruned = Facts {
            last_run_key: Some("b".into()),
            ..facts("b", 3, std::slice::from_ref(&done))
        };
        let foreign = Facts {
            next_number: 8,
            ..facts("a", 1, &[])
        };
        let one = std::slice::from_ref(&done);
        for (case, facts, create, next) in [
            (
                "applied for the first time",
                facts("a", 1, &[]),
                Some(1),
                Next::Run,
            ),
            ("applied again", facts("a", 1, one), None, Next::Nothing),
            (
                "edited where it changes nothing",
                facts("a", 2, one),
                None,
                Next::Nothing,
            ),
            ("edited", facts("b", 2, one), Some(2), Next::Run),
            (
                "edited back",
                facts("a", 3, &[done.clone(), run(2, "b", 2, true)]),
                Some(3),
                Next::Run,
            ),
            (
                "edited during a run",
                facts("b", 2, &[busy]),
                None,
                Next::Run,
            ),
            (
                "edited back during a run",
                facts("a", 3, &[run(1, "a", 1, false)]),
                None,
                Next::Nothing,
            ),
            (
                "key computed otherwise by a new operator",
                facts("b", 1, one),
                None,
                Next::Nothing,
            ),
            ("restored without its runs", restored, None, Next::Nothing),
            (
                "killed between run and annotation",
                unnoted,
                None,
                Next::Nothing,
            ),
            ("last run deleted by hand", pruned, None, Next::Nothing),
            ("the name is taken", foreign, Some(8), Next::Run),
        ] {
            let decision = decide(&facts);
            let number = decision.create.map(|create| create.number);
            assert_eq!((number, decision.next), (create, next), "{case}");
        }
    }

    #[test]
    fn what_keeps_a_due_run_from_starting() {
        let due = facts("a", 1, &[]);
        for (facts, next) in [
            (
                Facts {
                    suspend: true,
                    ..due.clone()
                },
                Next::Suspended,
            ),
            (
                Facts {
                    start: Start::Manual,
                    ..due.clone()
                },
                Next::Manual,
            ),
            (
                Facts {
                    refused: true,
                    ..due.clone()
                },
                Next::Nothing,
            ),
            (
                Facts {
                    deleting: true,
                    ..due.clone()
                },
                Next::Nothing,
            ),
        ] {
            assert_eq!(
                decide(&facts),
                Decision {
                    create: None,
                    cancel: Vec::new(),
                    note_key: None,
                    note_scheduled: None,
                    next
                }
            );
        }
    }

    #[test]
    fn a_schedule_starts_runs_at_its_times() {
        let scheduled = |due, policy, runs: &[RunFact]| Facts {
            start: Start::Manual,
            schedule: Some(ScheduleFact {
                due,
                policy,
                noted: Some(5),
            }),
            ..facts("a", 1, runs)
        };
        let busy = [run(1, "a", 1, false)];
        let done = [RunFact {
            scheduled: Some(7),
            ..run(1, "a", 1, true)
        }];
        let policy = ConcurrencyPolicy::Forbid;
        let decision = decide(&scheduled(None, policy, &done));
        assert_eq!((decision.create, decision.next), (None, Next::Scheduled));
        assert_eq!(decision.note_scheduled, Some(7));
        let decision = decide(&scheduled(Some(9), policy, &done));
        let second = Create {
            number: 2,
            scheduled: Some(9),
        };
        assert_eq!(decision.create, Some(second));
        let decision = decide(&scheduled(Some(9), policy, &busy));
        assert_eq!((decision.create, decision.cancel), (None, Vec::new()));
        let decision = decide(&scheduled(Some(9), ConcurrencyPolicy::Replace, &busy));
        assert_eq!((decision.create, decision.cancel), (None, vec![1]));
        let suspended = Facts {
            suspend: true,
            ..scheduled(Some(9), policy, &done)
        };
        assert_eq!(decide(&suspended).create, None);
        // Nobody is cut short by an edit, whatever the policy.
        let edited = Facts {
            start: Start::OnApply,
            generation: 2,
            run_key: "b".to_owned(),
            ..scheduled(None, ConcurrencyPolicy::Replace, &busy)
        };
        assert_eq!(decide(&edited).cancel, Vec::<i64>::new());
        assert_eq!(decide(&edited).next, Next::Run);
    }

    #[test]
    fn the_annotation_follows_the_last_run() {
        let mut noted = facts("b", 2, &[run(1, "a", 1, true), run(2, "b", 2, false)]);
        assert_eq!(decide(&noted).note_key, None);
        noted.last_run_key = Some("a".into());
        assert_eq!(decide(&noted).note_key, Some("b".into()));
    }
}
