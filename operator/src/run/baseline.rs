//! The run that another one is compared with. Pure.

use loadtest_core::{baseline::Comparison, report::UnixMicros, verdict::Verdict, view::RunView};
use loadtest_crds::{
    baseline::{self, LAST_PASSED},
    spec::Baseline,
};

/// A run as it may be a baseline.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Candidate {
    /// Name of the `LoadTestRun`.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Name of its `LoadTest`; `None` for a run without one.
    pub test: Option<String>,
    /// `None` while it is not over.
    pub verdict: Option<String>,
    /// When it was over.
    pub completed: Option<UnixMicros>,
}

/// The run that `uid`, a run of `test`, is compared with, or why there is none.
///
/// # Errors
/// What is said instead of a comparison.
pub fn choose<'a>(
    wanted: &str,
    (test, uid): (&str, &str),
    candidates: &'a [Candidate],
) -> Result<&'a Candidate, Comparison> {
    if wanted == LAST_PASSED {
        let passed = candidates.iter().filter(|candidate| {
            candidate.uid != uid
                && candidate.test.as_deref() == Some(test)
                && candidate.verdict.as_deref() == Some(Verdict::Passed.name())
        });
        let last = passed.max_by_key(|candidate| (candidate.completed, &candidate.name));
        return last.ok_or_else(|| {
            let message = format!(
                "no run of LoadTest {test:?} has passed before this one, so there is nothing to compare it with"
            );
            missing("NoBaseline", message)
        });
    }
    let Some(found) = candidates.iter().find(|one| one.name == wanted) else {
        let message = format!(
            "there is no LoadTestRun {wanted:?} in this namespace: name one that there is in spec.baseline.run, or LastPassed"
        );
        return Err(missing("NoBaseline", message));
    };
    if found.uid == uid {
        let message = "this run is the baseline itself".to_owned();
        return Err(missing("IsBaseline", message));
    }
    if found.test.as_deref() != Some(test) {
        let whose = match &found.test {
            Some(other) => format!("of LoadTest {other:?}"),
            None => "of no LoadTest".to_owned(),
        };
        let message = format!(
            "run {wanted} is {whose}: what another test measured says nothing of LoadTest {test:?}"
        );
        return Err(missing("OtherTest", message));
    }
    match found.verdict.as_deref() {
        Some(verdict) if has_numbers(verdict) => Ok(found),
        Some(verdict) => Err(missing(
            "BaselineUnusable",
            format!("the verdict of run {wanted} is {verdict}, so its numbers are no measure"),
        )),
        None => Err(missing(
            "BaselineUnusable",
            format!("run {wanted} is not over yet"),
        )),
    }
}

/// Compares a judged run with its baseline's judged view.
pub fn compare(wanted: &Baseline, name: &str, before: &RunView, after: &RunView) -> Comparison {
    let verdict = after.judgement.as_ref().map(|judgement| judgement.verdict);
    let verdict = verdict.map_or("", Verdict::name);
    if !has_numbers(verdict) {
        let message =
            format!("the verdict of this run is {verdict}, so its numbers are not compared");
        return missing("NotCompared", message);
    }
    match (&before.summary, &after.summary) {
        (Some(before), Some(after)) => Comparison::Done {
            run: name.to_owned(),
            deltas: baseline::compare(&wanted.tolerances, before, after),
        },
        _ => unusable(name, "it has no summary"),
    }
}

/// A baseline whose result is gone or cannot be read.
pub fn unusable(name: &str, why: &str) -> Comparison {
    let message = format!("run {name} cannot be compared with: {why}");
    missing("BaselineUnusable", message)
}

/// A run that was carried out to its end, or stopped by its own thresholds.
fn has_numbers(verdict: &str) -> bool {
    verdict == Verdict::Passed.name() || verdict == Verdict::Failed.name()
}

fn missing(reason: &str, message: String) -> Comparison {
    Comparison::Missing {
        reason: reason.to_owned(),
        message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(name: &str, test: Option<&str>, verdict: Option<&str>, completed: i64) -> Candidate {
        Candidate {
            name: name.to_owned(),
            uid: format!("uid-{name}"),
            test: test.map(str::to_owned),
            verdict: verdict.map(str::to_owned),
            completed: Some(completed),
        }
    }

    fn chosen(wanted: &str, runs: &[Candidate]) -> Result<String, String> {
        match choose(wanted, ("shop", "uid-shop-9"), runs) {
            Ok(found) => Ok(found.name.clone()),
            Err(Comparison::Missing { reason, .. }) => Err(reason),
            Err(done) => panic!("{done:?}"),
        }
    }

    #[test]
    fn the_last_run_of_the_test_that_passed_is_the_baseline() {
        let shop = Some("shop");
        let runs = [
            run("shop-1", shop, Some("Passed"), 10),
            run("shop-10", shop, Some("Passed"), 5),
            run("shop-2", shop, Some("Failed"), 20),
            run("shop-3", shop, None, 0),
            run("cart-1", Some("cart"), Some("Passed"), 99),
            run("alone", None, Some("Passed"), 99),
            run("shop-9", shop, Some("Passed"), 99),
        ];
        assert_eq!(chosen(LAST_PASSED, &runs), Ok("shop-1".to_owned()));
        let none = chosen(LAST_PASSED, &runs[2..]);
        assert_eq!(none, Err("NoBaseline".to_owned()));
        for (wanted, expected) in [
            ("shop-1", Ok("shop-1")),
            ("shop-2", Ok("shop-2")),
            ("shop-3", Err("BaselineUnusable")),
            ("shop-4", Err("NoBaseline")),
            ("cart-1", Err("OtherTest")),
            ("alone", Err("OtherTest")),
            ("shop-9", Err("IsBaseline")),
        ] {
            let expected = expected.map(str::to_owned).map_err(str::to_owned);
            assert_eq!(chosen(wanted, &runs), expected, "{wanted}");
        }
        let aborted = [run("shop-1", shop, Some("Aborted"), 1)];
        assert_eq!(
            chosen("shop-1", &aborted),
            Err("BaselineUnusable".to_owned())
        );
    }
}
