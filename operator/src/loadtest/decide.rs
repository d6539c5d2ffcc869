//! Whether a run of a `LoadTest` is due. Pure and total.

use loadtest_crds::{spec::Start, status::Next};

/// What decides.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// Somebody deletes the test.
    pub deleting: bool,
    /// The spec cannot be carried out.
    pub refused: bool,
    /// `spec.start`.
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
    /// Highest number that any run with a name like ours has or had.
    pub highest: i64,
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
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Create the run of this number now.
    pub create: Option<i64>,
    /// Write this key into the annotation.
    pub note_key: Option<String>,
    /// What to say of the future.
    pub next: Next,
}

/// Decides.
pub fn decide(facts: &Facts) -> Decision {
    let last = facts.runs.iter().max_by_key(|run| run.number);
    let note_key = last
        .map(|run| run.run_key.clone())
        .filter(|key| facts.last_run_key.as_ref() != Some(key) && !facts.deleting);
    let nothing = |next| Decision {
        create: None,
        note_key: note_key.clone(),
        next,
    };
    if facts.deleting || facts.refused {
        return nothing(Next::Nothing);
    }
    if facts.suspend {
        return nothing(Next::Suspended);
    }
    if facts.start == Start::Manual {
        return nothing(Next::Manual);
    }
    if !is_due(facts, last) {
        return nothing(Next::Nothing);
    }
    // A run under way is never cut short by an edit.
    let busy = facts.runs.iter().any(|run| !run.finished);
    let create = (!busy).then_some(facts.highest + 1);
    Decision {
        create,
        note_key,
        next: Next::Run,
    }
}

/// An edit that changes what a run does moves generation and key. The key alone may move when a
/// new operator computes it otherwise; the annotation alone is all that is left of a test that was
/// restored from a backup without its runs.
fn is_due(facts: &Facts, last: Option<&RunFact>) -> bool {
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
        }
    }

    fn facts(run_key: &str, generation: i64, runs: &[RunFact]) -> Facts {
        let last = runs.iter().max_by_key(|run| run.number);
        Facts {
            generation,
            run_key: run_key.to_owned(),
            last_run_key: last.map(|run| run.run_key.clone()),
            highest: last.map_or(0, |run| run.number),
            runs: runs.to_vec(),
            ..Facts::default()
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
            highest: 7,
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
            assert_eq!((decision.create, decision.next), (create, next), "{case}");
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
                    note_key: None,
                    next
                }
            );
        }
    }

    #[test]
    fn the_annotation_follows_the_last_run() {
        let mut noted = facts("b", 2, &[run(1, "a", 1, true), run(2, "b", 2, false)]);
        assert_eq!(decide(&noted).note_key, None);
        noted.last_run_key = Some("a".into());
        assert_eq!(decide(&noted).note_key, Some("b".into()));
    }
}
