//! From what is known of a run to its status. This is the only place where numbers become text.

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use loadtest_core::{
    baseline::Comparison,
    plan::RunIdentity,
    report::{ExportCounts, UnixMicros},
    scalar::{format_latency, format_rate, format_ratio, format_rounded_duration},
    view::{LatencyStats, Phase, RunView, Summary as Measured},
};

use super::{
    BaselineRow, BaselineRows, CheckRow, Condition, Durations, ErrorRow, Export, Generator,
    GroupRow, Latencies, LoadTestRunStatus, NameRow, Progress, RunFacts, RunnerRow, Summary,
    ThresholdRow, merge_conditions, rows,
};
use crate::problem::Problem;

/// Longest name in a status, in bytes of JSON.
const MAX_NAME: usize = 96;
/// The same of groups and thresholds, of which there may be many.
const MAX_SHORT_NAME: usize = 64;
/// Longest message in a status, in bytes of JSON.
pub(super) const MAX_MESSAGE: usize = 512;
/// The same of each kind of failure, of which there are ten.
const MAX_ERROR: usize = 288;
/// What is read where nothing was observed.
const NOTHING: &str = "–";

/// What a status says besides the view.
#[derive(Debug, Clone)]
pub struct Facts<'a> {
    /// Which run.
    pub identity: &'a RunIdentity,
    /// Hash of its plan, once there is one.
    pub plan_hash: Option<&'a str>,
    /// Generation of the object that the run was made from.
    pub generation: i64,
    /// Conditions as they were written last.
    pub previous: &'a [Condition],
    /// What to say while the run is active instead of the phase's own sentence, such as why pods
    /// do not start.
    pub note: Option<&'a str>,
    /// The time.
    pub now: Time,
}

/// The status of a run.
pub fn run_status(view: &RunView, facts: &Facts<'_>) -> LoadTestRunStatus {
    let finished = view.phase == Phase::Finished;
    let message = rows::message(view, facts.note);
    LoadTestRunStatus {
        observed_generation: Some(facts.generation),
        phase: Some(view.phase.name().to_owned()),
        verdict: view
            .judgement
            .as_ref()
            .filter(|_| finished)
            .map(|judgement| judgement.verdict.name().to_owned()),
        run: Some(run_facts(view, facts)),
        summary: view.summary.as_ref().map(summary),
        progress: view.progress.as_ref().filter(|_| !finished).map(progress),
        generator: view.started.map(|_| generator(view)),
        thresholds: view.thresholds.iter().map(threshold).collect(),
        baseline: view.baseline.as_ref().and_then(BaselineRows::of),
        export: view
            .export
            .as_ref()
            .map(|counts| export(counts, &view.export_problem)),
        conditions: merge_conditions(
            facts.previous,
            rows::run_conditions(view, facts.generation, &message),
            &facts.now,
        ),
        message: Some(message),
    }
}

/// The status of a run whose test was refused: it is over before anything was made.
pub fn refused_run_status(problems: &[Problem], facts: &Facts<'_>) -> LoadTestRunStatus {
    let message = refusal(problems);
    LoadTestRunStatus {
        observed_generation: Some(facts.generation),
        phase: Some(Phase::Finished.name().to_owned()),
        verdict: Some("Error".to_owned()),
        run: Some(RunFacts {
            number: facts.identity.number,
            id: facts.identity.id.clone(),
            runners_ready: "0/0".to_owned(),
            ..RunFacts::default()
        }),
        conditions: merge_conditions(
            facts.previous,
            rows::refused_conditions(facts.generation, &message),
            &facts.now,
        ),
        message: Some(message),
        ..LoadTestRunStatus::default()
    }
}

/// The status of a run that waits for something of the cluster: nothing was made, and nothing is
/// over.
pub fn waiting_run_status(problems: &[Problem], facts: &Facts<'_>) -> LoadTestRunStatus {
    let message = refusal(problems);
    let refused = refused_run_status(problems, facts);
    LoadTestRunStatus {
        phase: Some(Phase::Pending.name().to_owned()),
        verdict: None,
        conditions: merge_conditions(
            facts.previous,
            rows::waiting_conditions(facts.generation, &message),
            &facts.now,
        ),
        ..refused
    }
}

/// The status of a run that waits for others to end: it was understood, and nothing was made.
pub fn queued_run_status(message: &str, facts: &Facts<'_>) -> LoadTestRunStatus {
    let message = cut(message, MAX_MESSAGE);
    let refused = refused_run_status(&[], facts);
    LoadTestRunStatus {
        phase: Some(Phase::Pending.name().to_owned()),
        verdict: None,
        conditions: merge_conditions(
            facts.previous,
            rows::queued_conditions(facts.generation, &message),
            &facts.now,
        ),
        message: Some(message),
        ..refused
    }
}

/// The problems as one sentence: the first with its place, and how many more there are.
pub fn refusal(problems: &[Problem]) -> String {
    let first = problems.first().map_or_else(String::new, Problem::sentence);
    let message = match problems.len() {
        0 | 1 => first,
        2 => format!("{first} (and one more problem)"),
        more => format!("{first} (and {} more problems)", more - 1),
    };
    cut(&message, MAX_MESSAGE)
}

/// A moment as it is written in a status: whole seconds, so that what is read back is equal.
pub fn time_of(micros: UnixMicros) -> Time {
    Time(Timestamp::from_second(micros.div_euclid(1_000_000)).unwrap_or(Timestamp::UNIX_EPOCH))
}

fn run_facts(view: &RunView, facts: &Facts<'_>) -> RunFacts {
    let runners = RunnerRow {
        expected: int(view.runners.expected),
        ready: int(view.runners.ready),
        lost: int(view.runners.lost),
    };
    RunFacts {
        number: facts.identity.number,
        id: facts.identity.id.clone(),
        plan_hash: facts.plan_hash.map(str::to_owned),
        start_time: view.started.map(time_of),
        completion_time: view.completed.map(time_of),
        start_skew: view.start_skew_us.map(format_latency),
        runners,
        runners_ready: format!("{}/{}", runners.ready, runners.expected),
    }
}

fn summary(measured: &Measured) -> Summary {
    let total = &measured.total;
    Summary {
        duration: format_rounded_duration(measured.duration),
        resent: (measured.resent > 0).then(|| count(measured.resent)),
        warm_up_requests: (measured.warm_up_requests > 0).then(|| count(measured.warm_up_requests)),
        requests: count(total.requests),
        failures: count(total.failures),
        error_ratio: format_ratio(total.error_ratio()),
        rate: format_rate(total.rate),
        offered: measured.offered_rate.map(format_rate),
        delivered: format_ratio(measured.delivered),
        iterations: count(measured.iterations),
        iterations_failed: (measured.iterations_failed > 0)
            .then(|| count(measured.iterations_failed)),
        bytes_sent: count(total.bytes_sent),
        bytes_received: count(total.bytes_received),
        latency: latencies(&total.latency, total.requests),
        service_time: latencies(&total.service_time, total.requests),
        requests_by_name: measured
            .by_name
            .iter()
            .map(|row| NameRow {
                name: cut(&row.name, MAX_NAME),
                scenario: cut(&row.scenario, MAX_NAME),
                requests: count(row.stats.requests),
                failures: count(row.stats.failures),
                rate: format_rate(row.stats.rate),
                latency: latencies(&row.stats.latency, row.stats.requests),
            })
            .collect(),
        errors: measured
            .errors
            .iter()
            .map(|row| ErrorRow::new(&row.kind, &row.name, &row.message, row.count))
            .collect(),
        checks: measured
            .checks
            .iter()
            .map(|row| CheckRow {
                name: cut(&row.name, MAX_NAME),
                passed: count(row.passed),
                failed: count(row.failed),
            })
            .collect(),
        groups: measured
            .groups
            .iter()
            .map(|row| GroupRow {
                name: cut(&row.name, MAX_SHORT_NAME),
                scenario: cut(&row.scenario, MAX_NAME),
                count: count(row.count),
                failures: count(row.failures),
                duration: durations(&row.duration, row.count),
            })
            .collect(),
    }
}

fn latencies(stats: &LatencyStats, requests: u64) -> Latencies {
    let text = |micros: u64| {
        if requests == 0 {
            NOTHING.to_owned()
        } else {
            format_latency(micros)
        }
    };
    Latencies {
        min: text(stats.min),
        mean: text(stats.mean.round() as u64),
        p50: text(stats.p50),
        p75: text(stats.p75),
        p90: text(stats.p90),
        p95: text(stats.p95),
        p99: text(stats.p99),
        p999: text(stats.p999),
        max: text(stats.max),
    }
}

/// Fewer than of requests: a status must stay small.
fn durations(stats: &LatencyStats, passes: u64) -> Durations {
    let Latencies {
        p50,
        p90,
        p95,
        p99,
        max,
        ..
    } = latencies(stats, passes);
    Durations {
        p50,
        p90,
        p95,
        p99,
        max,
    }
}

fn progress(progress: &loadtest_core::view::Progress) -> Progress {
    Progress {
        elapsed: format_rounded_duration(progress.elapsed),
        rate: format_rate(progress.rate),
        p95: if progress.rate > 0.0 {
            format_latency(progress.p95)
        } else {
            NOTHING.to_owned()
        },
        error_ratio: format_ratio(progress.error_ratio),
        users: int(progress.users),
        updated_at: Some(time_of(progress.updated)),
    }
}

fn generator(view: &RunView) -> Generator {
    let generator = &view.generator;
    Generator {
        saturated: generator.saturated,
        cpu: format_ratio(generator.cpu),
        late_starts: count(generator.late_starts),
        worst_lateness: format_latency(generator.worst_lateness_us),
        throttled: format_latency(generator.throttled_us),
    }
}

fn threshold(result: &loadtest_core::threshold::ThresholdResult) -> ThresholdRow {
    ThresholdRow {
        name: cut(&result.name, MAX_SHORT_NAME),
        expr: cut(&result.expr, MAX_NAME),
        observed: result
            .observed
            .clone()
            .unwrap_or_else(|| NOTHING.to_owned()),
        passed: result.passed,
        first_breach: result.first_breach.map(time_of),
    }
}

impl ErrorRow {
    /// With texts that are cut where they are too long for a status.
    pub fn new(kind: &str, request: &str, message: &str, of: u64) -> Self {
        Self {
            kind: kind.to_owned(),
            request: cut(request, MAX_NAME),
            message: cut(message, MAX_ERROR),
            count: count(of),
        }
    }

    /// Whether both count the same kind of failure.
    pub fn is_like(&self, other: &Self) -> bool {
        (&self.kind, &self.request, &self.message) == (&other.kind, &other.request, &other.message)
    }
}

impl BaselineRows {
    /// As the status shows a comparison; `None` if there was nothing to compare with.
    pub fn of(comparison: &Comparison) -> Option<Self> {
        let Comparison::Done { run, deltas } = comparison else {
            return None;
        };
        let text = |value: &Option<String>| value.clone().unwrap_or_else(|| NOTHING.to_owned());
        Some(Self {
            run: run.clone(),
            regressed: comparison.regressed().next().is_some(),
            tolerances: deltas
                .iter()
                .map(|delta| BaselineRow {
                    metric: cut(&delta.metric, MAX_SHORT_NAME),
                    before: text(&delta.before),
                    after: text(&delta.after),
                    change: text(&delta.change),
                    worse_by: delta.worse_by.clone(),
                    passed: !delta.regressed,
                })
                .collect(),
        })
    }
}

fn export(counts: &ExportCounts, problem: &str) -> Export {
    Export {
        produced: count(counts.produced),
        indexed: count(counts.indexed),
        rejected: count(counts.rejected),
        sampled_out: count(counts.sampled_out),
        dropped: count(counts.dropped),
        lost: count(counts.lost),
        pending: count(counts.pending),
        retries: count(counts.retries),
        verified: counts.verified,
        problem: (!problem.is_empty()).then(|| cut(problem, MAX_MESSAGE)),
    }
}

fn count(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn int(value: u32) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

/// Text of at most `bytes` bytes as JSON, with `…` where it was cut; control characters, which
/// JSON would blow up to six bytes, become spaces.
pub(super) fn cut(text: &str, bytes: usize) -> String {
    const MARK: char = '…';
    let mut out = String::new();
    let mut used = 0;
    // Where the text must end so that the mark still fits.
    let mut fits = 0;
    for character in text.chars() {
        let character = if character.is_control() {
            ' '
        } else {
            character
        };
        used += if matches!(character, '"' | '\\') {
            2
        } else {
            character.len_utf8()
        };
        if used > bytes {
            out.truncate(fits);
            out.push(MARK);
            return out;
        }
        out.push(character);
        if used + MARK.len_utf8() <= bytes {
            fits = out.len();
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cut_counts_bytes_of_json_and_marks_the_cut() {
        assert_eq!(cut("short", 96), "short");
        assert_eq!(cut("a\nb", 96), "a b");
        assert_eq!(cut(&"x".repeat(97), 96), format!("{}…", "x".repeat(93)));
        assert_eq!(cut(&"x".repeat(96), 96), "x".repeat(96));
        for text in ["é".repeat(200), "\"".repeat(200), "\u{1}𝄞\\".repeat(99)] {
            let json = serde_json::to_string(&cut(&text, 96)).unwrap();
            assert!(json.len() <= 98, "{json}");
            assert!(json.ends_with("…\""));
        }
    }
}
