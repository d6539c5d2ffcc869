//! The end of a run as text, and as an exit code.

use std::{fmt::Write as _, io::Read as _};

use flate2::read::GzDecoder;
use k8s_openapi::api::core::v1::ConfigMap;
use loadtest_core::{
    report::ExportCounts,
    scalar::format_ratio,
    verdict::{Judgement, Verdict},
    view::RunView,
};
use loadtest_crds::{
    LoadTestRunStatus, names,
    status::{Export, NameRow, Summary},
    yaml,
};
use serde_json::Value;

use super::{Cluster, ClusterError, Run, columns::Table};
use crate::{
    exit::Exit,
    output::{
        beside,
        table::{self, grouped},
        terminal::print,
    },
    run::OutputForm,
};

/// Most of what a `ConfigMap` unpacks to.
const MAX_UNPACKED: u64 = 32 << 20;

/// Prints a run that is over and answers as a local run of the same test would.
///
/// # Errors
/// When its result cannot be read.
pub async fn give(cluster: &Cluster, run: &Run, form: OutputForm) -> Result<Exit, ClusterError> {
    if form == OutputForm::Table {
        let view = judged(cluster, run).await;
        print(&format!(
            "\n{}Run       {}/{}\n",
            text(&run.status, view),
            cluster.namespace,
            run.name()
        ))?;
    } else {
        let status = serde_json::to_value(&run.status).unwrap_or_default();
        print(&formatted(&status, form))?;
    }
    Ok(exit_of(run))
}

/// The same number that `loadtest run` answers: a test that the operator refuses is a bad manifest.
pub fn exit_of(run: &Run) -> Exit {
    if run.is_refused() {
        return Exit::Usage;
    }
    let verdict = run.status.verdict.as_deref();
    verdict_of(verdict).map_or(Exit::Error, Exit::from)
}

/// A verdict by its word.
fn verdict_of(word: Option<&str>) -> Option<Verdict> {
    [
        Verdict::Passed,
        Verdict::Failed,
        Verdict::Invalid,
        Verdict::Error,
        Verdict::Aborted,
    ]
    .into_iter()
    .find(|verdict| Some(verdict.name()) == word)
}

/// A value as JSON or YAML.
pub fn formatted(value: &Value, form: OutputForm) -> String {
    match form {
        OutputForm::Yaml => yaml::to_string(value),
        OutputForm::Json | OutputForm::Table => format!("{value:#}\n"),
    }
}

/// The view that the run was judged by; `None` when it is not there, may not be read, or was written
/// by another version: the status has its numbers as text.
pub async fn judged(cluster: &Cluster, run: &Run) -> Option<RunView> {
    let map = cluster.config_map(&names::result_name(&run.name())).await;
    let bytes = unpack(&map.ok()??, names::KEY_VIEW)?;
    serde_json::from_slice(&bytes).ok()
}

/// A packed member of a `ConfigMap`.
pub fn unpack(map: &ConfigMap, key: &str) -> Option<Vec<u8>> {
    let packed = map.binary_data.as_ref()?.get(key)?;
    let mut bytes = Vec::new();
    let mut from = GzDecoder::new(packed.0.as_slice()).take(MAX_UNPACKED);
    from.read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// The whole text, as after a local run. The judged view is of the end of the load; what became of
/// documents since then, and the last word, are in the status.
pub fn text(status: &LoadTestRunStatus, view: Option<RunView>) -> String {
    let Some(mut view) = view.filter(|_| status.summary.is_some()) else {
        return of_status(status);
    };
    if let Some(export) = &status.export {
        view.export = Some(counts(export));
        view.export_problem = export.problem.clone().unwrap_or_default();
    }
    if let (Some(judgement), Some(verdict)) =
        (&view.judgement, verdict_of(status.verdict.as_deref()))
    {
        view.judgement = Some(Judgement {
            verdict,
            message: status.message.clone().unwrap_or_default(),
            ..judgement.clone()
        });
    }
    table::render(&view)
}

fn counts(export: &Export) -> ExportCounts {
    let count = |value: i64| u64::try_from(value).unwrap_or(0);
    ExportCounts {
        produced: count(export.produced),
        indexed: count(export.indexed),
        rejected: count(export.rejected),
        sampled_out: count(export.sampled_out),
        dropped: count(export.dropped),
        lost: count(export.lost),
        pending: count(export.pending),
        verified: export.verified,
        ..ExportCounts::default()
    }
}

/// As [`table::render`], of texts that are ready to be read.
fn of_status(status: &LoadTestRunStatus) -> String {
    let mut out = String::new();
    if let Some(summary) = &status.summary {
        out.push_str(&requests(summary));
        if !summary.groups.is_empty() {
            let _ = write!(out, "\n{}", groups(summary));
        }
        out.push_str(&lists(status, summary));
        out.push_str(&load(status, summary));
    }
    if let Some(export) = &status.export {
        out.push_str(&exported(export));
    }
    if let Some(verdict) = &status.verdict {
        let message = status.message.as_deref().unwrap_or_default();
        let _ = writeln!(out, "Verdict   {verdict}: {message}");
    }
    out
}

fn requests(summary: &Summary) -> String {
    let numbers = [
        "Requests", "Failures", "Rate", "p50", "p90", "p95", "p99", "max",
    ];
    let mut table = Table::of_numbers("Name", &numbers);
    let row = |row: &NameRow| {
        let latency = &row.latency;
        [
            row.name.clone(),
            count(row.requests),
            failures(row.failures, row.requests),
            row.rate.clone(),
            latency.p50.clone(),
            latency.p90.clone(),
            latency.p95.clone(),
            latency.p99.clone(),
            latency.max.clone(),
        ]
    };
    for named in &summary.requests_by_name {
        table.row(row(named));
    }
    table.row(row(&NameRow {
        name: "Aggregated".to_owned(),
        scenario: String::new(),
        requests: summary.requests,
        failures: summary.failures,
        rate: summary.rate.clone(),
        latency: summary.latency.clone(),
    }));
    table.to_string()
}

fn groups(summary: &Summary) -> Table {
    let numbers = ["Passes", "Failures", "p50", "p90", "p95", "p99", "max"];
    let mut table = Table::of_numbers("Group", &numbers);
    for group in &summary.groups {
        let took = &group.duration;
        table.row([
            group.name.clone(),
            count(group.count),
            failures(group.failures, group.count),
            took.p50.clone(),
            took.p90.clone(),
            took.p95.clone(),
            took.p99.clone(),
            took.max.clone(),
        ]);
    }
    table
}

fn lists(status: &LoadTestRunStatus, summary: &Summary) -> String {
    let mark = |passed: bool| if passed { "✓" } else { "✗" };
    let thresholds = status.thresholds.iter().map(|row| {
        format!(
            "  {} {}  observed {}",
            mark(row.passed),
            row.expr,
            row.observed
        )
    });
    let checks = summary.checks.iter().map(|row| {
        let all = row.passed + row.failed;
        let passed = count(row.passed);
        format!(
            "  {} {}  {passed} of {}",
            if all == 0 {
                "–"
            } else {
                mark(row.failed == 0)
            },
            row.name,
            count(all)
        )
    });
    let errors = summary.errors.iter().map(|row| {
        let name = Some(row.request.as_str()).filter(|name| !name.is_empty());
        let name = name.map(|name| format!("{name}: ")).unwrap_or_default();
        format!("  {} × {name}{}", count(row.count), row.message)
    });
    let baseline = status.baseline.as_ref();
    let beside = baseline.map(|baseline| format!("Beside its baseline {}", baseline.run));
    let deltas = baseline.map(beside::lines).unwrap_or_default();
    let sections: [(&str, Vec<String>); 4] = [
        ("Thresholds", thresholds.collect()),
        (
            beside.as_deref().unwrap_or_default(),
            deltas.lines().map(str::to_owned).collect(),
        ),
        ("Checks", checks.collect()),
        ("Errors", errors.collect()),
    ];
    let mut out = String::new();
    for (heading, lines) in sections.iter().filter(|(_, lines)| !lines.is_empty()) {
        let _ = writeln!(out, "\n{heading}\n{}", lines.join("\n"));
    }
    out
}

fn load(status: &LoadTestRunStatus, summary: &Summary) -> String {
    let mut line = format!(
        "\nLoad      {} iterations in {}",
        count(summary.iterations),
        summary.duration
    );
    if let Some(warm_up) = summary.warm_up_requests {
        let _ = write!(line, " after a warm-up of {} requests", count(warm_up));
    }
    if let Some(offered) = &summary.offered {
        let _ = write!(line, ", {offered} offered");
    }
    let _ = write!(line, ", {} delivered", summary.delivered);
    if let Some(generator) = &status.generator {
        let _ = write!(line, ", generator CPU {}", generator.cpu);
    }
    line + "\n"
}

fn exported(export: &Export) -> String {
    let mut line = format!(
        "Export    {} produced = {} indexed",
        count(export.produced),
        count(export.indexed)
    );
    for (number, name) in [
        (export.rejected, "rejected"),
        (export.sampled_out, "sampled out"),
        (export.dropped, "dropped"),
        (export.lost, "lost"),
        (export.pending, "pending"),
    ] {
        if number > 0 {
            let _ = write!(line, " + {} {name}", count(number));
        }
    }
    line.push('\n');
    let miscounted = (export.verified == Some(false)).then_some(table::MISCOUNTED);
    for problem in export.problem.as_deref().into_iter().chain(miscounted) {
        let _ = writeln!(line, "          {problem}");
    }
    line
}

/// As in the table of a local run: the share beside the count, if there is one.
fn failures(failed: i64, of: i64) -> String {
    match failed {
        0 => count(0),
        _ => format!(
            "{} ({})",
            count(failed),
            format_ratio(failed as f64 / of.max(1) as f64)
        ),
    }
}

fn count(value: i64) -> String {
    grouped(u64::try_from(value).unwrap_or(0))
}
