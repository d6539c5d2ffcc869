//! The end of a run as text for people: the table by name, what was asked, what came of it.

use std::fmt::Write as _;

use console::Style;
use loadtest_core::{
    baseline::Comparison,
    report::ExportCounts,
    scalar::{format_latency, format_rate, format_ratio, format_rounded_duration},
    verdict::Verdict,
    view::{GroupStats, NamedStats, RequestStats, RunView, Summary},
};
use loadtest_crds::status::BaselineRows;

use super::{
    beside,
    grid::{grid, terminal_width},
};

/// The whole text, ending with a newline, with tables that are no wider than the terminal.
pub fn render(view: &RunView) -> String {
    render_within(view, terminal_width())
}

fn render_within(view: &RunView, width: Option<usize>) -> String {
    let mut out = String::new();
    if let Some(summary) = &view.summary {
        requests(&mut out, summary, width);
        groups(&mut out, summary, width);
        thresholds(&mut out, view);
        baseline(&mut out, view);
        checks(&mut out, summary);
        errors(&mut out, summary);
        load(&mut out, view, summary);
    }
    if let Some(export) = &view.export {
        export_line(&mut out, export, &view.export_problem);
    }
    verdict(&mut out, view);
    out
}

/// The table by request name while the run goes on, without a newline at its end; `None` as long as
/// there is nothing in it.
pub fn so_far(view: &RunView) -> Option<String> {
    let summary = view.summary.as_ref().filter(|s| s.total.requests > 0)?;
    let mut out = String::new();
    requests(&mut out, summary, None);
    Some(out.trim_end().to_owned())
}

/// Names longer than this are cut in the table; the files have them whole.
const NAME_WIDTH: usize = 48;

const REQUESTS: [&str; 9] = [
    "Name", "Requests", "Failures", "Rate", "p50", "p90", "p95", "p99", "max",
];

const GROUPS: [&str; 8] = [
    "Group", "Passes", "Failures", "p50", "p90", "p95", "p99", "max",
];

fn requests(out: &mut String, summary: &Summary, width: Option<usize>) {
    let rows: Vec<_> = summary.by_name.iter().map(named_row).collect();
    let total = row("Aggregated".to_owned(), &summary.total);
    grid(out, &REQUESTS, &rows, Some(&total), width);
}

fn groups(out: &mut String, summary: &Summary, width: Option<usize>) {
    if summary.groups.is_empty() {
        return;
    }
    out.push('\n');
    let rows: Vec<_> = summary.groups.iter().map(group_row).collect();
    grid(out, &GROUPS, &rows, None, width);
}

fn named_row(named: &NamedStats) -> [String; 9] {
    // A default name begins with the method already.
    let name = if named.name.starts_with(&named.method) {
        named.name.clone()
    } else {
        format!("{} {}", named.method, named.name)
    };
    row(
        console::truncate_str(&name, NAME_WIDTH, "…").into_owned(),
        &named.stats,
    )
}

fn row(name: String, stats: &RequestStats) -> [String; 9] {
    let took = |micros| time(stats.requests, micros);
    let latency = &stats.latency;
    [
        name,
        grouped(stats.requests),
        failures(stats.failures, stats.error_ratio()),
        format_rate(stats.rate),
        took(latency.p50),
        took(latency.p90),
        took(latency.p95),
        took(latency.p99),
        took(latency.max),
    ]
}

/// A time of so many; of none there is no time.
fn time(of: u64, micros: u64) -> String {
    match of {
        0 => "–".to_owned(),
        _ => format_latency(micros),
    }
}

fn group_row(group: &GroupStats) -> [String; 8] {
    let took = |micros| time(group.count, micros);
    let duration = &group.duration;
    [
        console::truncate_str(&group.name, NAME_WIDTH, "…").into_owned(),
        grouped(group.count),
        failures(group.failures, group.error_ratio()),
        took(duration.p50),
        took(duration.p90),
        took(duration.p95),
        took(duration.p99),
        took(duration.max),
    ]
}

fn failures(count: u64, ratio: f64) -> String {
    match count {
        0 => "0".to_owned(),
        count => format!("{} ({})", grouped(count), format_ratio(ratio)),
    }
}

fn thresholds(out: &mut String, view: &RunView) {
    if view.thresholds.is_empty() {
        return;
    }
    heading(out, "Thresholds");
    let width = view.thresholds.iter().map(|t| t.expr.chars().count()).max();
    let width = width.unwrap_or_default();
    for threshold in &view.thresholds {
        let observed = threshold.observed.as_deref().unwrap_or("nothing");
        let _ = writeln!(
            out,
            "  {} {:width$}  observed {observed}",
            mark(threshold.passed),
            threshold.expr
        );
    }
}

fn baseline(out: &mut String, view: &RunView) {
    match &view.baseline {
        Some(Comparison::Missing { message, .. }) => {
            heading(out, "Baseline");
            let _ = writeln!(out, "  not compared: {message}");
        }
        Some(done @ Comparison::Done { run, .. }) => {
            heading(out, &format!("Beside its baseline {run}"));
            out.push_str(
                &BaselineRows::of(done)
                    .map(|rows| beside::lines(&rows))
                    .unwrap_or_default(),
            );
        }
        None => {}
    }
}

fn checks(out: &mut String, summary: &Summary) {
    if summary.checks.is_empty() {
        return;
    }
    heading(out, "Checks");
    for check in &summary.checks {
        let all = check.passed + check.failed;
        let _ = writeln!(
            out,
            "  {} {}  {} of {}",
            // Nobody knows of a check that nothing was there for.
            if all == 0 {
                "–".to_owned()
            } else {
                mark(check.failed == 0)
            },
            check.name,
            grouped(check.passed),
            grouped(all)
        );
    }
}

fn errors(out: &mut String, summary: &Summary) {
    if summary.errors.is_empty() {
        return;
    }
    heading(out, "Errors");
    let widest = summary.errors.iter().map(|e| grouped(e.count).len()).max();
    let width = widest.unwrap_or_default();
    for error in &summary.errors {
        let _ = writeln!(
            out,
            "  {:>width$} × {}{}{}",
            grouped(error.count),
            error.name,
            if error.name.is_empty() { "" } else { ": " },
            error.message
        );
    }
}

fn load(out: &mut String, view: &RunView, summary: &Summary) {
    let early = match summary.iterations_failed {
        0 => String::new(),
        count => format!(" ({} ended early for want of a value)", grouped(count)),
    };
    let _ = write!(
        out,
        "\nLoad      {} iterations{early} in {}",
        grouped(summary.iterations),
        format_rounded_duration(summary.duration)
    );
    if summary.warm_up_requests > 0 {
        let _ = write!(
            out,
            " after a warm-up of {} requests",
            grouped(summary.warm_up_requests)
        );
    }
    if summary.resent > 0 {
        let _ = write!(out, ", {} sent twice", grouped(summary.resent));
    }
    if let Some(offered) = summary.offered_rate {
        let _ = write!(out, ", {} offered", format_rate(offered));
    }
    if summary.offered_rate.is_some() || summary.delivered < 1.0 {
        let _ = write!(out, ", {} delivered", format_ratio(summary.delivered));
    }
    let _ = writeln!(
        out,
        ", generator CPU {}",
        format_ratio((view.generator.cpu * 100.0).round() / 100.0)
    );
}

fn export_line(out: &mut String, export: &ExportCounts, problem: &str) {
    let _ = write!(
        out,
        "Export    {} produced = {} indexed",
        grouped(export.produced),
        grouped(export.indexed)
    );
    for (count, name) in [
        (export.rejected, "rejected"),
        (export.sampled_out, "sampled out"),
        (export.dropped, "dropped"),
        (export.lost, "lost"),
        (export.pending, "pending"),
    ] {
        if count > 0 {
            let _ = write!(out, " + {} {name}", grouped(count));
        }
    }
    out.push('\n');
    if !export.complete() && !problem.is_empty() {
        let _ = writeln!(out, "          {problem}");
    }
    if export.verified == Some(false) {
        let _ = writeln!(out, "          {MISCOUNTED}");
    }
}

/// What is said of documents that a server confirmed and does not count.
pub const MISCOUNTED: &str =
    "the server itself counts another number of documents than it confirmed";

fn verdict(out: &mut String, view: &RunView) {
    let Some(judgement) = &view.judgement else {
        return;
    };
    let color = match judgement.verdict {
        Verdict::Passed => Style::new().green().bold(),
        Verdict::Failed | Verdict::Error => Style::new().red().bold(),
        Verdict::Invalid | Verdict::Aborted => Style::new().yellow().bold(),
    };
    let _ = writeln!(
        out,
        "Verdict   {}: {}",
        color.apply_to(judgement.verdict.name()),
        judgement.message
    );
}

fn heading(out: &mut String, text: &str) {
    let _ = writeln!(out, "\n{}", Style::new().bold().apply_to(text));
}

/// ✓ or ✗.
pub(super) fn mark(passed: bool) -> String {
    if passed {
        Style::new().green().apply_to("✓").to_string()
    } else {
        Style::new().red().apply_to("✗").to_string()
    }
}

/// A count with thousands apart: `1,234,567`.
pub fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests;
