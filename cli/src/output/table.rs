//! The end of a run as text for people: the table by name, what was asked, what came of it.

use std::fmt::Write as _;

use console::Style;
use loadtest_core::{
    report::ExportCounts,
    scalar::{format_latency, format_rate, format_ratio, format_rounded_duration},
    verdict::Verdict,
    view::{GroupStats, NamedStats, RequestStats, RunView, Summary},
};

/// The whole text, ending with a newline.
pub fn render(view: &RunView) -> String {
    let mut out = String::new();
    if let Some(summary) = &view.summary {
        requests(&mut out, summary);
        groups(&mut out, summary);
        thresholds(&mut out, view);
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

/// Names longer than this are cut in the table; the files have them whole.
const NAME_WIDTH: usize = 48;

const REQUESTS: [&str; 9] = [
    "Name", "Requests", "Failures", "Rate", "p50", "p90", "p95", "p99", "max",
];

const GROUPS: [&str; 8] = [
    "Group", "Passes", "Failures", "p50", "p90", "p95", "p99", "max",
];

fn requests(out: &mut String, summary: &Summary) {
    let rows: Vec<_> = summary.by_name.iter().map(named_row).collect();
    let total = row("Aggregated".to_owned(), &summary.total);
    grid(out, &REQUESTS, &rows, Some(&total));
}

fn groups(out: &mut String, summary: &Summary) {
    if summary.groups.is_empty() {
        return;
    }
    out.push('\n');
    let rows: Vec<_> = summary.groups.iter().map(group_row).collect();
    grid(out, &GROUPS, &rows, None);
}

/// Rows of a name and numbers below their heading, the last one perhaps below a line.
fn grid<const N: usize>(
    out: &mut String,
    columns: &[&str; N],
    rows: &[[String; N]],
    last: Option<&[String; N]>,
) {
    let mut widths = columns.map(str::len);
    for cells in rows.iter().chain(last) {
        for (width, cell) in widths.iter_mut().zip(cells) {
            *width = (*width).max(console::measure_text_width(cell));
        }
    }
    let line = |cells: &[&str]| {
        let padded = cells.iter().zip(widths).enumerate();
        let padded = padded.map(|(index, (cell, width))| {
            let side = match index {
                0 => console::Alignment::Left,
                _ => console::Alignment::Right,
            };
            console::pad_str(cell, width, side, None)
        });
        padded.collect::<Vec<_>>().join("  ")
    };
    let heading = line(columns);
    let rule = "─".repeat(heading.chars().count());
    let _ = writeln!(out, "{}\n{rule}", Style::new().bold().apply_to(heading));
    for cells in rows {
        let _ = writeln!(out, "{}", line(&cells.each_ref().map(String::as_str)));
    }
    if let Some(last) = last {
        let last = line(&last.each_ref().map(String::as_str));
        let _ = writeln!(out, "{rule}\n{last}");
    }
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
    let latency = &stats.latency;
    [
        name,
        grouped(stats.requests),
        failures(stats.failures, stats.error_ratio()),
        format_rate(stats.rate),
        format_latency(latency.p50),
        format_latency(latency.p90),
        format_latency(latency.p95),
        format_latency(latency.p99),
        format_latency(latency.max),
    ]
}

fn group_row(group: &GroupStats) -> [String; 8] {
    let took = |micros: u64| match group.count {
        0 => "–".to_owned(),
        _ => format_latency(micros),
    };
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
            mark(check.failed == 0),
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
}

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

fn mark(passed: bool) -> String {
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
mod tests {
    use std::time::Duration;

    use loadtest_core::{
        report::ExportCounts,
        threshold::ThresholdResult,
        verdict::{Judgement, Reason},
        view::{CheckStats, ErrorStats, Generator, LatencyStats, Phase, RunnerCounts},
    };

    use super::*;

    fn stats(requests: u64, failures: u64) -> RequestStats {
        let latency = LatencyStats {
            p50: 950,
            p90: 12_400,
            p95: 20_000,
            p99: 251_000,
            max: 1_250_000,
            ..LatencyStats::default()
        };
        RequestStats {
            requests,
            failures,
            rate: 61.7,
            latency,
            ..RequestStats::default()
        }
    }

    fn named(method: &str, name: &str, requests: u64, failures: u64) -> NamedStats {
        NamedStats {
            method: method.to_owned(),
            name: name.to_owned(),
            stats: stats(requests, failures),
            ..NamedStats::default()
        }
    }

    fn view() -> RunView {
        RunView {
            phase: Phase::Finished,
            judgement: Some(Judgement {
                verdict: Verdict::Failed,
                reason: Reason::ThresholdBreached,
                message: "threshold latency.p99 < 250ms was breached: 251ms".to_owned(),
            }),
            started: Some(0),
            completed: Some(20_000_000),
            start_skew_us: None,
            runners: RunnerCounts::default(),
            summary: Some(Summary {
                duration: Duration::from_micros(20_000_400),
                warm_up_requests: 200,
                resent: 0,
                total: stats(1_234, 10),
                iterations: 1_000,
                iterations_failed: 0,
                offered_rate: Some(50.0),
                delivered: 1.0,
                by_name: vec![
                    named("GET", "GET /get", 1_224, 0),
                    named("POST", "/delayed", 10, 10),
                ],
                errors: vec![ErrorStats {
                    kind: "status".to_owned(),
                    name: "/delayed".to_owned(),
                    message: "status 503".to_owned(),
                    count: 10,
                }],
                checks: vec![CheckStats {
                    name: "in stock".to_owned(),
                    passed: 9,
                    failed: 1,
                }],
                groups: Vec::new(),
            }),
            progress: None,
            generator: Generator::default(),
            delivery: None,
            thresholds: vec![
                ThresholdResult {
                    name: "fast".to_owned(),
                    expr: "latency.p99 < 250ms".to_owned(),
                    observed: Some("251ms".to_owned()),
                    passed: false,
                    first_breach: None,
                },
                ThresholdResult {
                    name: "checks".to_owned(),
                    expr: "checks.ratio == 100%".to_owned(),
                    observed: None,
                    passed: false,
                    first_breach: None,
                },
            ],
            export: Some(ExportCounts {
                produced: 1_234,
                indexed: 1_200,
                lost: 34,
                ..ExportCounts::default()
            }),
            aggregates: None,
            export_problem: "no server answers".to_owned(),
            notes: Vec::new(),
            baseline: None,
        }
    }

    #[test]
    fn the_whole_answer() {
        console::set_colors_enabled(false);
        let expected = "\
Name            Requests   Failures    Rate    p50     p90     p95    p99    max
────────────────────────────────────────────────────────────────────────────────
GET /get           1,224          0  61.7/s  950us  12.4ms  20.0ms  251ms  1.25s
POST /delayed         10  10 (100%)  61.7/s  950us  12.4ms  20.0ms  251ms  1.25s
────────────────────────────────────────────────────────────────────────────────
Aggregated         1,234  10 (0.81%)  61.7/s  950us  12.4ms  20.0ms  251ms  1.25s
";
        let text = render(&view());
        let lines: Vec<_> = text.lines().collect();
        // The columns are as wide as their widest cell, so compare without the padding.
        let squeeze = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        for (line, wanted) in lines
            .iter()
            .zip(expected.lines())
            .filter(|(l, _)| !l.starts_with('─'))
        {
            assert_eq!(squeeze(line), squeeze(wanted));
        }
        let width = lines[0].chars().count();
        assert!(
            lines[..6].iter().all(|line| line.chars().count() == width),
            "{text}"
        );
        assert_eq!(
            lines[6..],
            [
                "",
                "Thresholds",
                "  ✗ latency.p99 < 250ms   observed 251ms",
                "  ✗ checks.ratio == 100%  observed nothing",
                "",
                "Checks",
                "  ✗ in stock  9 of 10",
                "",
                "Errors",
                "  10 × /delayed: status 503",
                "",
                "Load      1,000 iterations in 20s after a warm-up of 200 requests, 50/s offered, 100% delivered, generator CPU 0%",
                "Export    1,234 produced = 1,200 indexed + 34 lost",
                "          no server answers",
                "Verdict   Failed: threshold latency.p99 < 250ms was breached: 251ms",
            ]
        );
    }

    #[test]
    fn groups_and_iterations_that_ended_early() {
        console::set_colors_enabled(false);
        let mut view = view();
        let group = |name: &str, count, failures| GroupStats {
            name: name.to_owned(),
            count,
            failures,
            duration: stats(count, failures).latency,
            ..GroupStats::default()
        };
        let summary = view.summary.as_mut().unwrap();
        summary.iterations_failed = 7;
        summary.groups = vec![group("checkout", 1_000, 10), group("job until done", 0, 0)];
        let text = render(&view);
        let begin = text.find("Group ").unwrap();
        let lines: Vec<_> = text[begin..].lines().take(4).collect();
        assert_eq!(
            lines,
            [
                "Group           Passes  Failures    p50     p90     p95    p99    max",
                "─────────────────────────────────────────────────────────────────────",
                "checkout         1,000   10 (1%)  950us  12.4ms  20.0ms  251ms  1.25s",
                "job until done       0         0      –       –       –      –      –",
            ]
        );
        let load = "Load      1,000 iterations (7 ended early for want of a value) in 20s after";
        assert!(text.contains(load), "{text}");
    }

    #[test]
    fn counts_are_read_in_threes() {
        let texts = [0, 999, 1_000, 1_234_567].map(grouped);
        assert_eq!(texts, ["0", "999", "1,000", "1,234,567"]);
    }
}
