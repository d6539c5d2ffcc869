//! `JUnit` XML: one test case for each threshold and one for the verdict.

use askama::Template;

use super::files::RunFiles;

#[derive(Template)]
#[template(path = "report.xml")]
struct Suite {
    name: String,
    seconds: String,
    timestamp: Option<String>,
    failures: usize,
    errors: usize,
    cases: Vec<Case>,
}

struct Case {
    name: String,
    problem: Option<Problem>,
}

struct Problem {
    /// `failure`: the target is not good enough; `error`: nobody knows.
    element: &'static str,
    message: String,
    kind: String,
}

/// The whole document.
///
/// # Errors
/// Only when writing to memory fails.
pub fn render(files: &RunFiles) -> askama::Result<String> {
    let status = &files.status;
    let mut cases: Vec<_> = status
        .thresholds
        .iter()
        .map(|row| Case {
            name: clean(&if row.name == row.expr {
                format!("threshold {}", row.expr)
            } else {
                format!("threshold {}: {}", row.name, row.expr)
            }),
            problem: (!row.passed).then(|| Problem {
                element: "failure",
                message: clean(&format!("observed {}", row.observed)),
                kind: "ThresholdBreached".to_owned(),
            }),
        })
        .collect();
    cases.extend(status.baseline.iter().flat_map(|baseline| {
        baseline.tolerances.iter().map(|row| Case {
            name: clean(&format!("{} beside run {}", row.metric, baseline.run)),
            problem: (!row.passed).then(|| Problem {
                element: "failure",
                message: clean(&format!(
                    "{} after {} ({}), {} is tolerated",
                    row.after, row.before, row.change, row.worse_by
                )),
                kind: "Regressed".to_owned(),
            }),
        })
    }));
    cases.push(Case {
        name: "verdict".to_owned(),
        problem: verdict(files),
    });
    let of = |element: &str| {
        let problems = cases.iter().filter_map(|case| case.problem.as_ref());
        problems
            .filter(|problem| problem.element == element)
            .count()
    };
    let start = status.run.as_ref().and_then(|run| run.start_time.as_ref());
    Suite {
        name: clean(&files.test),
        seconds: seconds(files),
        timestamp: start.map(|time| time.0.strftime("%Y-%m-%dT%H:%M:%S").to_string()),
        failures: of("failure"),
        errors: of("error"),
        cases,
    }
    .render()
}

fn verdict(files: &RunFiles) -> Option<Problem> {
    let element = match files.verdict() {
        "Passed" => return None,
        "Failed" => "failure",
        _ => "error",
    };
    Some(Problem {
        element,
        message: clean(files.message()),
        kind: clean(files.verdict()),
    })
}

fn seconds(files: &RunFiles) -> String {
    let summary = files.status.summary.as_ref();
    let load =
        summary.and_then(|summary| loadtest_core::scalar::parse_duration(&summary.duration).ok());
    load.unwrap_or_default().as_secs_f64().to_string()
}

/// XML has no form for most control characters, not even an escaped one.
fn clean(text: &str) -> String {
    let allowed = |c: char| {
        !(c.is_control() && !matches!(c, '\t' | '\n' | '\r')
            || matches!(c, '\u{fffe}' | '\u{ffff}'))
    };
    text.chars()
        .map(|c| if allowed(c) { c } else { '\u{fffd}' })
        .collect()
}
