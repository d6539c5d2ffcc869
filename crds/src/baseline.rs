//! From a baseline as it is written to tolerances that runs are compared by.

use loadtest_core::{
    baseline::{self, Compared, Delta, Tolerance},
    scalar::ScalarError,
    view::Summary,
};

use crate::{
    problem::{Problem, Stage},
    spec::{self, Baseline},
};

/// The last run that passed.
pub const LAST_PASSED: &str = "LastPassed";

/// Everything that the schema cannot say of a baseline.
pub fn accept(baseline: &Baseline) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut refuse = |path: String, message: String| {
        problems.push(Problem::new(Stage::Acceptance, path, message));
    };
    for (index, tolerance) in baseline.tolerances.iter().enumerate() {
        let path = format!("spec.baseline.tolerances[{index}]");
        if let Err(error) = Compared::parse(&tolerance.metric) {
            refuse(format!("{path}.metric"), error.to_string());
        }
        if let Err(error) = share(&tolerance.worse_by) {
            refuse(format!("{path}.worseBy"), error.to_string());
        }
        let mut before = baseline.tolerances.iter().take(index);
        if before.any(|other| other.metric == tolerance.metric) {
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
                worse_by: share(&written.worse_by).ok()?,
            };
            let words = (written.metric.as_str(), &*written.worse_by);
            Some(baseline::delta(words, tolerance, before, after))
        })
        .collect()
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
