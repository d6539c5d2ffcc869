//! What of a test's runs is deleted, and when. Pure and total.

use std::time::Duration;

use loadtest_core::{
    report::{UnixMicros, micros},
    scalar::parse_duration,
};
use loadtest_crds::spec::{CleanJobs, Cleanup};

use super::decide::RunFact;

/// How many finished runs are kept when the test does not say.
const DEFAULT_KEEP: usize = 10;

/// When Jobs are deleted when the test does not say.
const DEFAULT_AFTER: Duration = Duration::from_hours(1);

/// What to delete now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Upkeep {
    /// Runs that are too many, by number.
    pub runs: Vec<i64>,
    /// Runs whose Jobs have been kept long enough, by number.
    pub jobs: Vec<i64>,
    /// When there is more to do.
    pub next: Option<UnixMicros>,
}

/// Decides.
///
/// The `baseline`, by number, is kept however old it is: runs to come are compared with it.
pub fn upkeep(
    cleanup: Option<&Cleanup>,
    baseline: Option<i64>,
    runs: &[RunFact],
    now: UnixMicros,
) -> Upkeep {
    let mut finished: Vec<_> = runs.iter().filter(|run| run.finished).collect();
    finished.sort_by_key(|run| std::cmp::Reverse(run.number));
    let keep = cleanup.and_then(|cleanup| usize::try_from(cleanup.keep_runs?).ok());
    let kept = keep.unwrap_or(DEFAULT_KEEP).max(1).min(finished.len());
    let (kept, surplus) = finished.split_at(kept);
    let which = cleanup.and_then(|cleanup| cleanup.jobs).unwrap_or_default();
    let after = cleanup.and_then(|cleanup| parse_duration(cleanup.after.as_deref()?).ok());
    let after = micros(after.unwrap_or(DEFAULT_AFTER));
    let due = |run: &&&RunFact| {
        let wanted = match which {
            CleanJobs::OnSuccess => run.passed,
            CleanJobs::Always => true,
            CleanJobs::Never => false,
        };
        wanted && run.has_pods
    };
    let times: Vec<_> = kept
        .iter()
        .filter(due)
        .filter_map(|run| Some((run.number, run.completed? + after)))
        .collect();
    Upkeep {
        runs: surplus
            .iter()
            .map(|run| run.number)
            .filter(|number| baseline != Some(*number))
            .collect(),
        jobs: times
            .iter()
            .filter(|(_, at)| *at <= now)
            .map(|(run, _)| *run)
            .collect(),
        next: times.iter().map(|(_, at)| *at).filter(|at| *at > now).min(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000_000;

    fn run(number: i64, passed: bool, completed: i64) -> RunFact {
        RunFact {
            number,
            finished: true,
            passed,
            completed: Some(completed),
            has_pods: true,
            ..RunFact::default()
        }
    }

    #[test]
    fn the_last_runs_are_kept() {
        let cleanup = Cleanup {
            keep_runs: Some(2),
            ..Cleanup::default()
        };
        let mut runs: Vec<_> = (1..=4).map(|number| run(number, true, 0)).collect();
        runs[3].finished = false;
        assert_eq!(upkeep(Some(&cleanup), None, &runs, 0).runs, [1]);
        let kept = upkeep(Some(&cleanup), Some(1), &runs, 0).runs;
        assert_eq!(kept, Vec::<i64>::new());
        assert_eq!(upkeep(None, None, &runs, 0).runs, Vec::<i64>::new());
        let many: Vec<_> = (1..=12).map(|number| run(number, true, 0)).collect();
        assert_eq!(upkeep(None, None, &many, 0).runs, [2, 1]);
    }

    #[test]
    fn jobs_go_when_their_time_has_come() {
        let gone = RunFact {
            has_pods: false,
            ..run(3, true, 0)
        };
        let runs = [
            run(1, true, 0),
            run(2, false, 0),
            gone,
            run(4, true, HOUR / 2),
        ];
        let with = |jobs, after: Option<&str>, now| {
            let after = after.map(|text| serde_json::from_value(text.into()).unwrap());
            let cleanup = Cleanup {
                jobs,
                after,
                keep_runs: None,
            };
            let upkeep = upkeep(Some(&cleanup), None, &runs, now);
            (upkeep.jobs, upkeep.next)
        };
        assert_eq!(with(None, None, HOUR - 1), (vec![], Some(HOUR)));
        assert_eq!(with(None, None, HOUR), (vec![1], Some(HOUR * 3 / 2)));
        let always = Some(CleanJobs::Always);
        assert_eq!(with(always, Some("0s"), HOUR), (vec![4, 2, 1], None));
        assert_eq!(with(Some(CleanJobs::Never), None, 9 * HOUR), (vec![], None));
    }
}
