//! Markdown, for summaries of pipelines and for comments.

use std::fmt::Write as _;

use loadtest_crds::status::{ErrorRow, Export, Summary};

use crate::output::table::MISCOUNTED;

use super::{files::RunFiles, html::subtitle, samples::Sample};

/// The whole text.
pub fn render(files: &RunFiles) -> String {
    let status = &files.status;
    let mut out = String::new();
    let sign = match files.verdict() {
        "Passed" => "✅",
        "Failed" | "Error" => "❌",
        _ => "⚠️",
    };
    let _ = writeln!(
        out,
        "## {sign} {}: {}\n\n{}\n\n{}",
        escaped(&files.test),
        escaped(files.verdict()),
        escaped(files.message()),
        escaped(&subtitle(files))
    );
    for note in &files.notes {
        let _ = writeln!(out, "\n> {}", escaped(note));
    }
    if !status.thresholds.is_empty() {
        let rows = status.thresholds.iter().map(|row| {
            let result = if row.passed {
                "✅ held"
            } else {
                "❌ breached"
            };
            let name = if row.name == row.expr { "" } else { &row.name };
            vec![
                result.to_owned(),
                row.expr.clone(),
                name.to_owned(),
                row.observed.clone(),
            ]
        });
        table(&mut out, &["", "Threshold", "Name", "Observed"], rows);
    }
    if let Some(baseline) = &status.baseline {
        let rows = baseline.tolerances.iter().map(|row| {
            let result = if row.passed { "✅ held" } else { "❌ worse" };
            vec![
                result.to_owned(),
                row.metric.clone(),
                row.before.clone(),
                row.after.clone(),
                row.change.clone(),
                row.worse_by.clone(),
            ]
        });
        let head = [
            "",
            "Metric",
            &baseline.run,
            "This run",
            "Change",
            "Tolerated",
        ];
        table(&mut out, &head, rows);
    }
    if let Some(summary) = &status.summary {
        results(&mut out, summary, files);
    }
    if let Some(export) = &status.export {
        accounting(&mut out, export);
    }
    out
}

fn results(out: &mut String, summary: &Summary, files: &RunFiles) {
    let all = [
        "**All**".to_owned(),
        summary.requests.to_string(),
        format!("{} ({})", summary.failures, summary.error_ratio),
        summary.rate.clone(),
    ];
    let rows = summary.requests_by_name.iter().map(|row| {
        let counts = [
            row.requests.to_string(),
            row.failures.to_string(),
            row.rate.clone(),
        ];
        let latency = &row.latency;
        std::iter::once(row.name.clone())
            .chain(counts)
            .chain([&latency.p50, &latency.p95, &latency.p99, &latency.max].map(Clone::clone))
            .collect()
    });
    let latency = &summary.latency;
    let total = all
        .into_iter()
        .chain([&latency.p50, &latency.p95, &latency.p99, &latency.max].map(Clone::clone))
        .collect();
    let columns = [
        "Request", "Requests", "Failed", "Rate", "p50", "p95", "p99", "max",
    ];
    table(out, &columns, rows.chain([total]));
    if !summary.groups.is_empty() {
        let rows = summary.groups.iter().map(|group| {
            let counts = [group.count.to_string(), group.failures.to_string()];
            let times = &group.duration;
            std::iter::once(group.name.clone())
                .chain(counts)
                .chain([&times.p50, &times.p95, &times.p99, &times.max].map(Clone::clone))
                .collect()
        });
        table(
            out,
            &["Group", "Passes", "Failed", "p50", "p95", "p99", "max"],
            rows,
        );
    }
    if !summary.errors.is_empty() {
        let rows = summary.errors.iter().map(|error| {
            vec![
                error.message.clone(),
                error.kind.clone(),
                error.request.clone(),
                error.count.to_string(),
            ]
        });
        table(out, &["Error", "Kind", "Request", "Count"], rows);
        for (error, samples) in summary.errors.iter().zip(&files.samples) {
            said(out, error, samples);
        }
    }
    if !summary.checks.is_empty() {
        let rows = summary.checks.iter().map(|check| {
            vec![
                check.name.clone(),
                check.passed.to_string(),
                check.failed.to_string(),
            ]
        });
        table(out, &["Check", "Held", "Did not hold"], rows);
    }
}

/// What the server said at a kind of failure, collapsed.
fn said(out: &mut String, error: &ErrorRow, samples: &[Sample]) {
    if samples.is_empty() {
        return;
    }
    let _ = writeln!(
        out,
        "\n<details><summary>What the server said ({})</summary>\n\n{}: {}",
        samples.len(),
        escaped(&error.request),
        escaped(&error.message)
    );
    for sample in samples {
        let (request, circumstances) = (escaped(&sample.request), escaped(&sample.circumstances));
        let _ = writeln!(out, "\n**{request}**  \n{circumstances}");
        if !sample.body.is_empty() {
            let fence = fence(&sample.body);
            let _ = writeln!(out, "\n{fence}text\n{}\n{fence}", sample.body);
        }
        if !sample.note.is_empty() {
            let _ = writeln!(out, "\n{}", escaped(&sample.note));
        }
    }
    let _ = writeln!(out, "\n</details>");
}

/// A fence that no line of the text ends.
fn fence(text: &str) -> String {
    let runs = text.split(|c| c != '`').map(str::len);
    "`".repeat(runs.max().unwrap_or(0).max(2) + 1)
}

fn accounting(out: &mut String, export: &Export) {
    let _ = writeln!(
        out,
        "\nExport: {} produced = {} indexed + {} rejected + {} sampled out + {} dropped + {} lost + {} pending",
        export.produced,
        export.indexed,
        export.rejected,
        export.sampled_out,
        export.dropped,
        export.lost,
        export.pending
    );
    if let Some(problem) = &export.problem {
        let _ = writeln!(out, "\n> {}", escaped(problem));
    }
    if export.verified == Some(false) {
        let _ = writeln!(out, "\n> {MISCOUNTED}");
    }
}

fn table(out: &mut String, columns: &[&str], rows: impl IntoIterator<Item = Vec<String>>) {
    let _ = writeln!(
        out,
        "\n| {} |\n|{}",
        columns.join(" | "),
        "---|".repeat(columns.len())
    );
    for row in rows {
        let cells: Vec<_> = row
            .iter()
            .map(|cell| {
                if cell == "**All**" {
                    cell.clone()
                } else {
                    escaped(cell)
                }
            })
            .collect();
        let _ = writeln!(out, "| {} |", cells.join(" | "));
    }
}

/// Text that is shown as it is: no name can end a cell, make a link or an element.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\r' | '\t' => out.push(' '),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '~' | '!' => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
    }
    out
}
