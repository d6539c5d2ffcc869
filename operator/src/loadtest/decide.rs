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
    /// The annotation: the number of that run.
    pub last_run_number: Option<i64>,
    /// The highest number that annotation and status know of: an older operator noted none.
    pub known_number: Option<i64>,
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
    /// Write this into the annotations.
    pub note_run: Option<RunNote>,
    /// Write this time of the schedule into the annotation.
    pub note_scheduled: Option<UnixMicros>,
    /// What to say of the future.
    pub next: Next,
}

/// The last run that there was, as it is noted where it survives the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunNote {
    /// Key of what it was made from.
    pub key: String,
    /// Its number.
    pub number: i64,
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
    let note_run = note(facts, last).filter(|_| !facts.deleting);
    let last_scheduled = facts.runs.iter().filter_map(|run| run.scheduled).max();
    let noted = facts.schedule.as_ref().and_then(|schedule| schedule.noted);
    let note_scheduled = last_scheduled.filter(|last| noted < Some(*last) && !facts.deleting);
    let nothing = |next| Decision {
        create: None,
        cancel: Vec::new(),
        note_run: note_run.clone(),
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

/// What is not noted yet of the last run. What is noted never goes back to an older one, which is the
/// last when a newer was deleted: its key would ask for that again.
fn note(facts: &Facts, last: Option<&RunFact>) -> Option<RunNote> {
    let last = last?;
    let (key, number) = match (&facts.last_run_key, facts.known_number) {
        (Some(noted), Some(known)) if last.number < known => (noted, known),
        _ => (&last.run_key, last.number),
    };
    let noted = facts.last_run_key.as_ref() == Some(key) && facts.last_run_number == Some(number);
    (!noted).then(|| RunNote {
        key: key.clone(),
        number,
    })
}

/// An edit that changes what a run does moves generation and key. The key alone may move when a
/// new operator computes it otherwise; the annotation alone is all that is left of a test that was
/// restored from a backup without its runs.
fn is_asked(facts: &Facts, last: Option<&RunFact>) -> bool {
    let asked = facts.last_run_key.as_ref() != Some(&facts.run_key);
    let other = |run: &RunFact| {
        // Of one that is older than the noted one the key says nothing.
        let is_last = facts.known_number.is_none_or(|known| known <= run.number);
        run.generation < facts.generation && !(is_last && run.run_key == facts.run_key)
    };
    asked && last.is_none_or(other)
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
            last_run_number: last.map(|run| run.number),
            known_number: last.map(|run| run.number),
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
            last_run_number: Some(2),
            known_number: Some(2),
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
                    note_run: None,
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
        let note = |key: &str, number| {
            let key = key.to_owned();
            Some(RunNote { key, number })
        };
        assert_eq!(decide(&noted).note_run, None);
        noted.last_run_key = Some("a".into());
        assert_eq!(decide(&noted).note_run, note("b", 2));
        noted.last_run_number = Some(1);
        noted.known_number = Some(1);
        assert_eq!(decide(&noted).note_run, note("b", 2));
    }

    #[test]
    fn the_annotation_never_goes_back_to_an_older_run() {
        let mut left = facts("b", 2, &[run(1, "a", 1, true)]);
        left.last_run_key = Some("b".into());
        left.last_run_number = Some(2);
        left.known_number = Some(2);
        let nothing = decide(&left);
        assert_eq!((nothing.note_run, nothing.create), (None, None));
        // An operator that kept no number left it in the status.
        left.last_run_number = None;
        let key = "b".to_owned();
        assert_eq!(decide(&left).note_run, Some(RunNote { key, number: 2 }));
        assert_eq!(decide(&left).create, None);
        // The edit back to what the one that is left was made from asks for a run.
        left.run_key = "a".to_owned();
        left.generation = 3;
        left.next_number = 3;
        assert_eq!(decide(&left).create.map(|create| create.number), Some(3));
    }
}
