//! The page: one file that needs nothing else, for any screen and for paper.
//!
//! Names come from manifests and answers, so they may be anything: the template escapes each of
//! them, and the page's own policy lets no script run but the one that is in it.

use askama::Template;
use base64::Engine as _;
use loadtest_core::{plan::Plan, scalar::format_duration};
use loadtest_crds::status::{
    BaselineRows, Durations, Export, Generator, Latencies, LoadTestRunStatus, Summary,
};
use sha2::{Digest as _, Sha256};

use super::{chart::Figure, figures, files::RunFiles, load, samples::Sample};
use crate::output::table::grouped;

const STYLE: &str = include_str!("../../templates/report.css");
const SCRIPT: &str = include_str!("../../templates/report.js");

/// What is shown where there is nothing.
pub(super) const NOTHING: &str = "–";

#[derive(Template)]
#[template(path = "report.html")]
struct Page<'a> {
    version: &'static str,
    style: &'static str,
    script: &'static str,
    script_hash: String,
    test: &'a str,
    verdict: &'a str,
    tone: &'static str,
    sign: &'static str,
    message: &'a str,
    subtitle: String,
    notes: &'a [String],
    tiles: Vec<Fact>,
    thresholds: Vec<Threshold<'a>>,
    baseline: Option<&'a BaselineRows>,
    figures: Vec<Figure>,
    tables: Vec<Table>,
    lists: Vec<List>,
}

struct Fact {
    name: &'static str,
    value: String,
    /// Beside it, smaller; often empty.
    aside: String,
}

struct Threshold<'a> {
    name: &'a str,
    expr: &'a str,
    observed: &'a str,
    passed: bool,
    first_breach: String,
}

/// A table of results.
#[derive(Default)]
struct Table {
    id: &'static str,
    title: &'static str,
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
    total: Vec<String>,
    note: &'static str,
    /// What the server said, beside the rows.
    samples: Vec<Vec<Sample>>,
}

struct Column {
    name: &'static str,
    /// Words, not numbers.
    text: bool,
}

impl Table {
    /// How many columns of words there are; they come first.
    fn texts(&self) -> usize {
        self.columns.iter().filter(|column| column.text).count()
    }

    fn samples_of(&self, row: usize) -> &[Sample] {
        self.samples.get(row).map_or(&[], Vec::as_slice)
    }
}

struct List {
    id: &'static str,
    title: &'static str,
    facts: Vec<Fact>,
    /// Values are words, each on a line of its own.
    words: bool,
    text: String,
}

/// The whole page.
///
/// # Errors
/// Only when writing to memory fails.
pub fn render(files: &RunFiles) -> askama::Result<String> {
    let status = &files.status;
    let (tone, sign) = match files.verdict() {
        "Passed" => ("good", "✓"),
        "Failed" | "Error" => ("bad", "✗"),
        _ => ("warn", "!"),
    };
    let summary = status.summary.as_ref();
    Page {
        version: env!("CARGO_PKG_VERSION"),
        style: STYLE,
        script: SCRIPT,
        script_hash: base64::engine::general_purpose::STANDARD.encode(Sha256::digest(SCRIPT)),
        test: &files.test,
        verdict: files.verdict(),
        tone,
        sign,
        message: files.message(),
        subtitle: subtitle(files),
        notes: &files.notes,
        tiles: summary.map(tiles).unwrap_or_default(),
        thresholds: thresholds(status),
        baseline: status.baseline.as_ref(),
        figures: figures::all(&files.course, files.plan.as_ref()),
        tables: summary
            .map(|summary| tables(summary, files))
            .unwrap_or_default(),
        lists: lists(files),
    }
    .render()
}

/// When and where.
pub(super) fn subtitle(files: &RunFiles) -> String {
    let mut parts = Vec::new();
    if let Some(run) = &files.status.run {
        if let Some(start) = &run.start_time {
            parts.push(start.0.strftime("%Y-%m-%d %H:%M:%S UTC").to_string());
        }
        if let Some(summary) = &files.status.summary {
            parts.push(format!("{} of load", summary.duration));
        }
        let runners = run.runners.expected;
        parts.push(format!(
            "{runners} runner{}",
            if runners == 1 { "" } else { "s" }
        ));
    }
    if let Some(plan) = &files.plan {
        parts.push(format!("target {}", plan.target.url));
    }
    parts.join(" · ")
}

fn count(number: i64) -> String {
    u64::try_from(number).map_or_else(|_| number.to_string(), grouped)
}

fn fact(name: &'static str, value: impl Into<String>) -> Fact {
    Fact {
        name,
        value: value.into(),
        aside: String::new(),
    }
}

fn tiles(summary: &Summary) -> Vec<Fact> {
    vec![
        fact("Requests", count(summary.requests)),
        fact("Rate", &*summary.rate),
        Fact {
            aside: count(summary.failures),
            ..fact("Failed", &*summary.error_ratio)
        },
        fact("p50", &*summary.latency.p50),
        fact("p95", &*summary.latency.p95),
        fact("p99", &*summary.latency.p99),
        fact("Delivered", &*summary.delivered),
    ]
}

fn thresholds(status: &LoadTestRunStatus) -> Vec<Threshold<'_>> {
    let rows = status.thresholds.iter();
    rows.map(|row| Threshold {
        name: &row.name,
        expr: &row.expr,
        observed: &row.observed,
        passed: row.passed,
        first_breach: row
            .first_breach
            .as_ref()
            .map_or_else(|| NOTHING.to_owned(), |time| time.0.to_string()),
    })
    .collect()
}

fn columns(texts: &[&'static str], numbers: &[&'static str]) -> Vec<Column> {
    let column = |text| move |name: &&'static str| Column { name, text };
    texts
        .iter()
        .map(column(true))
        .chain(numbers.iter().map(column(false)))
        .collect()
}

fn tables(summary: &Summary, files: &RunFiles) -> Vec<Table> {
    let mut tables = vec![by_name(summary), percentiles(summary)];
    if !summary.groups.is_empty() {
        tables.push(groups(summary));
    }
    if !summary.errors.is_empty() {
        tables.push(errors(summary, files));
    }
    if !summary.checks.is_empty() {
        tables.push(Table {
            id: "checks",
            title: "Checks",
            columns: columns(&["Check"], &["Held", "Did not hold"]),
            rows: summary
                .checks
                .iter()
                .map(|check| vec![check.name.clone(), count(check.passed), count(check.failed)])
                .collect(),
            ..Table::default()
        });
    }
    tables
}

fn by_name(summary: &Summary) -> Table {
    let cells =
        |name: &str, scenario: &str, requests, failures, rate: &str, latency: &Latencies| {
            let mut row = vec![
                name.to_owned(),
                scenario.to_owned(),
                count(requests),
                count(failures),
                rate.to_owned(),
            ];
            let Latencies {
                p50,
                p90,
                p95,
                p99,
                max,
                ..
            } = latency;
            row.extend([p50, p90, p95, p99, max].map(Clone::clone));
            row
        };
    Table {
        id: "requests",
        title: "Requests by name",
        columns: columns(
            &["Name", "Scenario"],
            &[
                "Requests", "Failed", "Rate", "p50", "p90", "p95", "p99", "max",
            ],
        ),
        rows: summary
            .requests_by_name
            .iter()
            .map(|r| {
                cells(
                    &r.name,
                    &r.scenario,
                    r.requests,
                    r.failures,
                    &r.rate,
                    &r.latency,
                )
            })
            .collect(),
        total: cells(
            "All",
            "",
            summary.requests,
            summary.failures,
            &summary.rate,
            &summary.latency,
        ),
        ..Table::default()
    }
}

fn percentiles(summary: &Summary) -> Table {
    let row = |name: &str, times: &Latencies| {
        let Latencies {
            min,
            mean,
            p50,
            p75,
            p90,
            p95,
            p99,
            p999,
            max,
        } = times;
        std::iter::once(name.to_owned())
            .chain([min, mean, p50, p75, p90, p95, p99, p999, max].map(Clone::clone))
            .collect()
    };
    Table {
        id: "percentiles",
        title: "Latency and service time",
        columns: columns(
            &["All requests"],
            &[
                "min", "mean", "p50", "p75", "p90", "p95", "p99", "p99.9", "max",
            ],
        ),
        rows: vec![
            row("Latency, from the intended start", &summary.latency),
            row("Service time, from the send", &summary.service_time),
        ],
        ..Table::default()
    }
}

fn groups(summary: &Summary) -> Table {
    let rows = summary.groups.iter().map(|group| {
        let Durations {
            p50,
            p90,
            p95,
            p99,
            max,
        } = &group.duration;
        let mut row = vec![
            group.name.clone(),
            group.scenario.clone(),
            count(group.count),
            count(group.failures),
        ];
        row.extend([p50, p90, p95, p99, max].map(Clone::clone));
        row
    });
    Table {
        id: "groups",
        title: "Groups of steps",
        columns: columns(
            &["Group", "Scenario"],
            &["Passes", "Failed", "p50", "p90", "p95", "p99", "max"],
        ),
        rows: rows.collect(),
        note: "From the moment the first step was due to the end of the last, pauses included.",
        ..Table::default()
    }
}

fn errors(summary: &Summary, files: &RunFiles) -> Table {
    let rows = summary.errors.iter().map(|error| {
        vec![
            error.message.clone(),
            error.kind.clone(),
            error.request.clone(),
            count(error.count),
        ]
    });
    Table {
        id: "errors",
        title: "Errors",
        columns: columns(&["Message", "Kind", "Request"], &["Count"]),
        rows: rows.collect(),
        samples: files.samples.clone(),
        ..Table::default()
    }
}

fn lists(files: &RunFiles) -> Vec<List> {
    let status = &files.status;
    let mut lists = Vec::new();
    if let Some(generator) = &status.generator {
        lists.push(health(generator, status));
    }
    if let Some(export) = &status.export {
        lists.push(accounting(export));
    }
    if files.plan_text.is_some() {
        lists.push(List {
            id: "plan",
            title: "The plan",
            facts: files.plan.as_ref().map(plan).unwrap_or_default(),
            words: true,
            text: files.plan_text.clone().unwrap_or_default(),
        });
    }
    lists
}

fn health(generator: &Generator, status: &LoadTestRunStatus) -> List {
    let saturated = if generator.saturated {
        "yes: the numbers may speak of it and not of the target"
    } else {
        "no"
    };
    let mut facts = vec![
        fact("At its limit", saturated),
        fact("Highest CPU", &*generator.cpu),
        fact("Late starts", count(generator.late_starts)),
        fact("Latest start", &*generator.worst_lateness),
        fact("Throttled", &*generator.throttled),
    ];
    if let Some(run) = &status.run {
        facts.push(fact("Runners", &*run.runners_ready));
        facts.push(fact(
            "Start skew",
            run.start_skew.as_deref().unwrap_or(NOTHING),
        ));
    }
    if let Some(summary) = &status.summary {
        facts.push(fact("Iterations", count(summary.iterations)));
        if let Some(failed) = summary.iterations_failed {
            facts.push(fact("Iterations cut short", count(failed)));
        }
        facts.push(fact(
            "Offered",
            summary.offered.as_deref().unwrap_or(NOTHING),
        ));
        facts.push(fact("Delivered", &*summary.delivered));
        if let Some(warm_up) = summary.warm_up_requests {
            facts.push(fact("Requests of the warm-up", count(warm_up)));
        }
        if let Some(resent) = summary.resent {
            facts.push(fact("Sent twice", count(resent)));
        }
        facts.push(fact("Bytes sent", count(summary.bytes_sent)));
        facts.push(fact("Bytes received", count(summary.bytes_received)));
    }
    List {
        id: "load",
        title: "Load and generator",
        facts,
        words: false,
        text: String::new(),
    }
}

fn accounting(export: &Export) -> List {
    let verified = match export.verified {
        Some(true) => "yes",
        Some(false) => "no: the server counts another number",
        None => "not known",
    };
    let mut facts = vec![
        fact("Produced", count(export.produced)),
        fact("Indexed", count(export.indexed)),
        fact("Rejected", count(export.rejected)),
        fact("Sampled out", count(export.sampled_out)),
        fact("Dropped", count(export.dropped)),
        fact("Lost", count(export.lost)),
        fact("Pending", count(export.pending)),
        fact("Deliveries repeated", count(export.retries)),
        fact("Verified by the server", verified),
    ];
    if let Some(problem) = &export.problem {
        facts.push(fact("Problem", &**problem));
    }
    List {
        id: "export",
        title: "Export: one document for each request",
        facts,
        words: false,
        text: String::new(),
    }
}

fn plan(plan: &Plan) -> Vec<Fact> {
    let mut facts = vec![
        fact("Test", &*plan.run.test),
        fact("Run", format!("{} ({})", plan.run.name, plan.run.id)),
        fact("Target", &*plan.target.url),
        fact("Seed", plan.run.seed.to_string()),
    ];
    for scenario in load::scenarios(plan) {
        let load::ScenarioRow { name, load, tasks } = scenario;
        facts.push(fact("Scenario", format!("{name}: {load}; tasks: {tasks}")));
    }
    if !plan.warm_up.is_zero() {
        facts.push(fact("Warm-up", format_duration(plan.warm_up)));
    }
    facts.push(fact("Longest load", format_duration(plan.max_duration)));
    facts
}
