//! From a baseline as it is written to tolerances that runs are compared by.

use loadtest_core::{
    baseline::{self, Compared, Delta, Subject, Tolerance},
    plan::Plan,
    scalar::ScalarError,
    view::{MAX_GROUPS, MAX_NAMES, Summary},
};

use crate::{
    problem::{Problem, Stage},
    rule,
    spec::{self, Baseline},
};

/// The last run that passed.
pub const LAST_PASSED: &str = "LastPassed";

/// Everything that the schema cannot say of the baseline of a test; what is selected is looked up
/// in its plan, if there is one.
pub fn accept(baseline: &Baseline, plan: Option<&Plan>) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut refuse = |path: String, message: String| {
        problems.push(Problem::new(Stage::Acceptance, path, message));
    };
    for (index, tolerance) in baseline.tolerances.iter().enumerate() {
        let path = format!("spec.baseline.tolerances[{index}]");
        match (Compared::parse(&tolerance.metric), subject(tolerance)) {
            (Err(error), _) => refuse(format!("{path}.metric"), error.to_string()),
            (Ok(_), Err(message)) => refuse(format!("{path}.selector"), message.to_owned()),
            (Ok(metric), Ok(subject)) => {
                let fits = belongs(metric, &subject).map_err(str::to_owned);
                let known = plan.map_or(Ok(()), |plan| is_one_row(&subject, plan));
                if let Err(message) = fits.and(known) {
                    refuse(format!("{path}.selector"), message);
                }
            }
        }
        if let Err(error) = share(&tolerance.worse_by) {
            refuse(format!("{path}.worseBy"), error.to_string());
        }
        let is_same = |other: &spec::Tolerance| {
            other.metric == tolerance.metric && other.selector == tolerance.selector
        };
        if baseline.tolerances.iter().take(index).any(is_same) {
            let message = format!("{} is tolerated twice: leave one out", tolerance.metric);
            refuse(format!("{path}.metric"), message);
        }
    }
    problems
}

/// Compares a run with its baseline. What the operator would have refused is left out.
pub fn compare(tolerances: &[spec::Tolerance], before: &Summary, after: &Summary) -> Vec<Delta> {
    tolerances
        .iter()
        .filter_map(|written| {
            let tolerance = Tolerance {
                metric: Compared::parse(&written.metric).ok()?,
                of: subject(written).ok()?,
                worse_by: share(&written.worse_by).ok()?,
            };
            let words = (written.metric.as_str(), &*written.worse_by);
            Some(baseline::delta(words, &tolerance, before, after))
        })
        .collect()
}

/// What a tolerance is of.
fn subject(tolerance: &spec::Tolerance) -> Result<Subject, &'static str> {
    let Some(selector) = &tolerance.selector else {
        return Ok(Subject::Run);
    };
    match (&selector.request, &selector.group) {
        (Some(request), None) => Ok(Subject::Request(request.clone())),
        (None, Some(group)) => Ok(Subject::Group(group.clone())),
        _ => Err(rule::TOLERANCE_SELECTOR.message()),
    }
}

/// Whether what is selected has such a number.
fn belongs(metric: Compared, subject: &Subject) -> Result<(), &'static str> {
    match (metric.is_of(subject), metric, subject) {
        (true, ..) => Ok(()),
        (_, Compared::Group(_), _) => {
            Err("group.p95 and the other statistics are of one group: name it in selector.group")
        }
        (_, _, Subject::Group(_)) => Err(
            "a group has times only: use group.p95 or another statistic of group, or leave the selector out",
        ),
        _ => Err(
            "checks, iterations and delivery belong to no request: use latency, serviceTime, errors.ratio or requests.rate, or leave the selector out",
        ),
    }
}

/// Whether the results of a plan will have one row of what is selected.
fn is_one_row(subject: &Subject, plan: &Plan) -> Result<(), String> {
    let (kind, name, rows, most): (_, _, Vec<(&str, &str)>, _) = match subject {
        Subject::Run => return Ok(()),
        Subject::Request(name) => {
            let rows = plan.series.iter();
            let rows = rows.map(|key| (key.scenario.as_str(), key.name.as_str()));
            ("request", name, rows.collect(), MAX_NAMES)
        }
        Subject::Group(name) => {
            let rows = plan.groups.iter();
            let rows = rows.map(|key| (key.scenario.as_str(), key.name.as_str()));
            ("group", name, rows.collect(), MAX_GROUPS)
        }
    };
    let scenarios: Vec<&str> = rows
        .iter()
        .filter(|row| row.1 == name)
        .map(|row| row.0)
        .collect();
    match scenarios.as_slice() {
        [] => Err(format!("no {kind} of the test is named {name:?}")),
        [_] if rows.len() > most => Err(format!(
            "the test has {} names of {kind}s, and results have rows of {most} only: give those that need none of their own the same name",
            rows.len()
        )),
        [_] => Ok(()),
        several => Err(format!(
            "a {kind} named {name:?} is in the scenarios {}, and percentiles of several rows cannot be merged: give each a name of its own",
            several.join(", ")
        )),
    }
}

/// A percentage that may be more than 100%, as a share of one.
fn share(text: &str) -> Result<f64, ScalarError> {
    let number = text.strip_suffix('%').and_then(|number| {
        let plain = number.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        number.parse::<f64>().ok().filter(|_| plain)
    });
    number
        .map(|percent| percent / 100.0)
        .ok_or_else(|| ScalarError::Percent(text.to_owned()))
}
