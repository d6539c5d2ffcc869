//! `compare`: two runs side by side. Only what both statuses say is set side by side; the change is
//! worked out from what is shown.

use std::collections::BTreeSet;

use loadtest_core::scalar::format_ratio;
use loadtest_crds::status::{Latencies, NameRow, Summary};
use serde::Serialize;

use super::{
    Cluster, ClusterError, Run,
    answer::formatted,
    columns::{Align, Table},
};
use crate::{
    exit::Exit,
    output::{beside, table::grouped, terminal::print},
    run::OutputForm,
};

/// Arguments of `compare`.
#[allow(clippy::doc_markdown)]
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The run to compare with: a LoadTestRun, or a LoadTest, whose last run it then is.
    #[arg(value_name = "A")]
    pub before: String,
    /// The run that is compared.
    #[arg(value_name = "B")]
    pub after: String,
    /// What is printed.
    #[arg(short, long, value_name = "FORM", default_value = "table")]
    pub output: OutputForm,
}

/// Prints both runs and what changed. The exit code says that they could be compared.
///
/// # Errors
/// When one of them is not there or has no results.
pub async fn compare(cluster: &Cluster, args: &Args) -> Result<Exit, ClusterError> {
    let before = cluster.find(&args.before).await?;
    let after = cluster.find(&args.after).await?;
    let rows = rows(summary(&before)?, summary(&after)?);
    print(&match args.output {
        OutputForm::Table => text(&before, &after, &rows),
        form => formatted(
            &serde_json::json!({"a": side(&before), "b": side(&after), "rows": rows}),
            form,
        ),
    })?;
    Ok(Exit::Passed)
}

fn summary(run: &Run) -> Result<&Summary, ClusterError> {
    run.status.summary.as_ref().ok_or_else(|| {
        let message = run
            .status
            .message
            .as_deref()
            .unwrap_or("nobody has begun it");
        ClusterError::Nothing(format!(
            "the run {} has no results to compare: {message}",
            run.name()
        ))
    })
}

fn side(run: &Run) -> serde_json::Value {
    serde_json::json!({
        "name": run.name(),
        "test": run.test(),
        "verdict": run.status.verdict,
        "baseline": run.status.baseline,
    })
}

/// One number of both runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Row {
    /// Request name, or `Aggregated`.
    name: String,
    /// Its scenario, empty for all requests.
    scenario: String,
    metric: &'static str,
    a: String,
    b: String,
    change: String,
}

/// Something of which requests, errors and latencies are known.
#[derive(Clone, Copy)]
struct Figures<'a> {
    requests: i64,
    failures: i64,
    /// As the status has it; of a name it has the counts only.
    errors: Option<&'a str>,
    rate: &'a str,
    latency: &'a Latencies,
}

impl<'a> From<&'a NameRow> for Figures<'a> {
    fn from(row: &'a NameRow) -> Self {
        Self {
            requests: row.requests,
            failures: row.failures,
            errors: None,
            rate: &row.rate,
            latency: &row.latency,
        }
    }
}

impl<'a> From<&'a Summary> for Figures<'a> {
    fn from(summary: &'a Summary) -> Self {
        Self {
            requests: summary.requests,
            failures: summary.failures,
            errors: Some(&summary.error_ratio),
            rate: &summary.rate,
            latency: &summary.latency,
        }
    }
}

fn rows(a: &Summary, b: &Summary) -> Vec<Row> {
    let mut rows = Vec::new();
    side_by_side(
        &mut rows,
        ("Aggregated", ""),
        Some(a.into()),
        Some(b.into()),
    );
    let mut done = BTreeSet::new();
    for row in a.requests_by_name.iter().chain(&b.requests_by_name) {
        let of = (&row.name, &row.scenario);
        if done.insert(of) {
            let (name, scenario) = of;
            side_by_side(&mut rows, (name, scenario), named(a, row), named(b, row));
        }
    }
    rows
}

/// The row of the same request in a run.
fn named<'a>(summary: &'a Summary, row: &NameRow) -> Option<Figures<'a>> {
    let mut rows = summary.requests_by_name.iter();
    let found = rows.find(|other| other.name == row.name && other.scenario == row.scenario);
    found.map(Figures::from)
}

fn side_by_side(
    rows: &mut Vec<Row>,
    (name, scenario): (&str, &str),
    a: Option<Figures<'_>>,
    b: Option<Figures<'_>>,
) {
    let mut add = |metric, text: &dyn Fn(Figures<'_>) -> String, change: String| {
        let shown = |side: Option<Figures<'_>>| side.map_or_else(|| "–".to_owned(), text);
        rows.push(Row {
            name: name.to_owned(),
            scenario: scenario.to_owned(),
            metric,
            a: shown(a),
            b: shown(b),
            change,
        });
    };
    let both = a.zip(b);
    let requests = both.map(|(a, b)| (a.requests as f64, b.requests as f64));
    let count = |figures: Figures<'_>| grouped(u64::try_from(figures.requests).unwrap_or(0));
    add("requests", &count, relative(requests));
    let rates = both.and_then(|(a, b)| Some((rate(a.rate)?, rate(b.rate)?)));
    add("rate", &|figures| figures.rate.to_owned(), relative(rates));
    let ratio = |figures: Figures<'_>| figures.failures as f64 / figures.requests.max(1) as f64;
    let errors = both.map(|(a, b)| (ratio(b) - ratio(a)) * 100.0);
    add(
        "errors",
        &|figures| {
            figures
                .errors
                .map_or_else(|| format_ratio(ratio(figures)), str::to_owned)
        },
        points(errors),
    );
    // Fifty names have room for less than the whole has.
    let shown = |metric: &str| scenario.is_empty() || !["mean", "p90", "max"].contains(&metric);
    for (metric, of) in LATENCIES.into_iter().filter(|(metric, _)| shown(metric)) {
        let micros = both.and_then(|(a, b)| Some((micros(of(a.latency))?, micros(of(b.latency))?)));
        add(
            metric,
            &|figures| of(figures.latency).to_owned(),
            relative(micros),
        );
    }
}

/// Takes one of the latencies.
type Pick = fn(&Latencies) -> &str;

const LATENCIES: [(&str, Pick); 6] = [
    ("mean", |latency| &latency.mean),
    ("p50", |latency| &latency.p50),
    ("p90", |latency| &latency.p90),
    ("p95", |latency| &latency.p95),
    ("p99", |latency| &latency.p99),
    ("max", |latency| &latency.max),
];

/// `199.9/s`.
fn rate(text: &str) -> Option<f64> {
    text.strip_suffix("/s")?.parse().ok()
}

/// `953us`, `12.4ms`, `1.25s`.
fn micros(text: &str) -> Option<f64> {
    let (number, unit) = if let Some(number) = text.strip_suffix("us") {
        (number, 1.0)
    } else if let Some(number) = text.strip_suffix("ms") {
        (number, 1e3)
    } else {
        (text.strip_suffix('s')?, 1e6)
    };
    Some(number.parse::<f64>().ok()? * unit)
}

fn relative(both: Option<(f64, f64)>) -> String {
    match both {
        Some((a, b)) if a.total_cmp(&b).is_eq() => "=".to_owned(),
        Some((a, b)) if a > 0.0 => signed((b - a) / a * 100.0, "%"),
        _ => "–".to_owned(),
    }
}

/// Between two shares, percentage points.
fn points(difference: Option<f64>) -> String {
    match difference {
        Some(0.0) => "=".to_owned(),
        Some(difference) => signed(difference, " points"),
        None => "–".to_owned(),
    }
}

fn signed(value: f64, unit: &str) -> String {
    let decimals = usize::from(value.abs() < 99.95) + usize::from(value.abs() < 0.995);
    format!("{value:+.decimals$}{unit}")
}

fn text(before: &Run, after: &Run, rows: &[Row]) -> String {
    let (a, b) = (before.name(), after.name());
    let mut table = Table::new([
        ("", Align::Left),
        ("", Align::Left),
        (a.as_str(), Align::Right),
        (b.as_str(), Align::Right),
        ("CHANGE", Align::Right),
    ]);
    let verdict = |run: &Run| run.status.verdict.clone().unwrap_or_else(|| "–".to_owned());
    let empty = String::new;
    table.row([
        empty(),
        "verdict".to_owned(),
        verdict(before),
        verdict(after),
        empty(),
    ]);
    let several = rows
        .iter()
        .map(|row| &row.scenario)
        .collect::<BTreeSet<_>>()
        .len()
        > 2;
    let mut last = None;
    for row in rows {
        let of = (&row.scenario, &row.name);
        let name = match last.replace(of) {
            Some(before) if before == of => String::new(),
            _ if several && !row.scenario.is_empty() => format!("{}: {}", row.scenario, row.name),
            _ => row.name.clone(),
        };
        table.row([
            name,
            row.metric.to_owned(),
            row.a.clone(),
            row.b.clone(),
            row.change.clone(),
        ]);
    }
    let mut out = table.to_string();
    // What the run was judged by, beside what it is compared with here.
    if let Some(baseline) = &after.status.baseline {
        let heading = format!("{b} beside its baseline {}", baseline.run);
        out = format!("{out}\n{heading}\n{}", beside::lines(baseline));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_worked_out_from_what_is_shown() {
        assert_eq!(micros("953us"), Some(953.0));
        assert_eq!(micros("1.25s"), Some(1_250_000.0));
        assert_eq!(micros("–"), None);
        for (both, text) in [
            (Some((10.0, 12.5)), "+25.0%"),
            (Some((200.0, 199.9)), "-0.05%"),
            (Some((5.0, 5.0)), "="),
            (Some((1.0, 11.0)), "+1000%"),
            (Some((0.0, 1.0)), "–"),
            (None, "–"),
        ] {
            assert_eq!(relative(both), text);
        }
        assert_eq!(points(Some(1.5)), "+1.5 points");
    }
}
