//! The names, and the page about them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::Path,
};

use super::*;

#[test]
fn every_metric_has_its_name_and_unit() {
    let metrics = Metrics::new();
    metrics
        .runs
        .get_or_create(&VerdictLabel { verdict: "Passed" })
        .inc();
    metrics
        .reports_refused
        .get_or_create(&RefusedLabel { reason: "token" })
        .inc();
    metrics.start_skew.observe(0.003);
    let text = metrics.render().unwrap();
    for line in [
        "loadtest_runs_total{verdict=\"Passed\"} 1",
        "loadtest_runs_total{verdict=\"Failed\"} 0",
        "loadtest_reports_refused_total{reason=\"token\"} 1",
        "loadtest_start_skew_seconds_count 1",
        "loadtest_active_runs 0",
        "loadtest_leader 0",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}

/// `LOADTEST_BLESS=1 cargo test -p loadtest-operator` writes the page anew.
#[test]
fn the_page_tells_of_every_metric() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let rules = root.join("charts/loadtest-operator/templates/prometheusrule.yaml");
    let page = page(
        &Metrics::new().render().unwrap(),
        &fs::read_to_string(rules).unwrap(),
    );
    let file = root.join("docs/metrics.md");
    if std::env::var_os("LOADTEST_BLESS").is_some() {
        fs::write(&file, &page).unwrap();
    }
    let committed = fs::read_to_string(&file).unwrap_or_default();
    assert!(
        committed == page,
        "docs/metrics.md is stale: LOADTEST_BLESS=1 cargo test -p loadtest-operator --lib metrics"
    );
}

#[derive(Default)]
struct Family {
    kind: String,
    help: String,
    labels: BTreeMap<String, BTreeSet<String>>,
}

fn families(text: &str) -> BTreeMap<String, Family> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut current = String::new();
    for line in text.lines() {
        if let Some((name, help)) = described(line, "# HELP ") {
            name.clone_into(&mut current);
            help.trim_end_matches('.')
                .clone_into(&mut families.entry(name.to_owned()).or_default().help);
        } else if let Some((name, kind)) = described(line, "# TYPE ") {
            kind.clone_into(&mut families.entry(name.to_owned()).or_default().kind);
        } else if let Some((_, rest)) = line.split_once('{') {
            let pairs = rest.split_once('}').unwrap().0;
            let labels = &mut families.get_mut(&current).unwrap().labels;
            for (label, value) in pairs.split(',').filter_map(|pair| pair.split_once('=')) {
                let values = labels.entry(label.to_owned()).or_default();
                values.insert(value.trim_matches('"').to_owned());
            }
        }
    }
    for family in families.values_mut() {
        family.labels.remove("le");
    }
    families
}

fn described<'a>(line: &'a str, prefix: &str) -> Option<(&'a str, &'a str)> {
    line.strip_prefix(prefix)?.split_once(' ')
}

fn page(text: &str, rules: &str) -> String {
    let mut page = "# Metrics and alerts

<!-- Written by the test operator/src/metrics/tests.rs from the code and the chart: change those. -->

The operator serves them on port 8080 at `/metrics`, as OpenMetrics text; each replica its own, and only the
one that holds the lease has runs to tell of. Every series is there from the beginning, at 0. Labels are
closed sets: the number of series does not grow with tests, runs or namespaces.

| metric | type | labels | |
|---|---|---|---|
"
    .to_owned();
    let families = families(text);
    let mut values: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (name, family) in &families {
        let name = match family.kind.as_str() {
            "counter" => format!("{name}_total"),
            _ => name.clone(),
        };
        let labels: Vec<_> = family.labels.keys().map(|l| format!("`{l}`")).collect();
        let (labels, Family { kind, help, .. }) = (labels.join(", "), family);
        writeln!(page, "| `{name}` | {kind} | {labels} | {help} |").unwrap();
        for (label, found) in &family.labels {
            values
                .entry(label.clone())
                .or_default()
                .extend(found.iter().cloned());
        }
    }
    page.push_str("\n## Labels\n\n| label | value | |\n|---|---|---|\n");
    for (label, values) in &values {
        for value in values {
            let meaning = meaning(label, value);
            writeln!(page, "| `{label}` | `{value}` | {meaning} |").unwrap();
        }
    }
    page.push_str(
        "\n## Alerts\n
With `metrics.prometheusRule.enabled` the chart makes them for the Prometheus operator.

| alert | |\n|---|---|\n",
    );
    let alerts = after(rules, "- alert: ");
    let summaries = after(rules, "summary: ");
    assert_eq!(alerts.len(), summaries.len(), "an alert has no summary");
    for (alert, summary) in alerts.iter().zip(summaries) {
        writeln!(page, "| `{alert}` | {summary} |").unwrap();
    }
    page
}

fn after<'a>(text: &'a str, prefix: &str) -> Vec<&'a str> {
    text.lines()
        .filter_map(|line| line.trim().strip_prefix(prefix))
        .collect()
}

fn meaning(label: &str, value: &str) -> &'static str {
    match (label, value) {
        ("controller", "loadtest") => "Of `LoadTest`: is a run due?",
        ("controller", "run") => "Of `LoadTestRun`: plan, Job, coordination, verdict",
        ("verdict", "Passed") => "The load was delivered and all thresholds held",
        ("verdict", "Failed") => "A threshold was breached",
        ("verdict", "Invalid") => "The generator did not deliver the load",
        ("verdict", "Error") => "The infrastructure failed, or the spec was refused",
        ("verdict", "Aborted") => "Somebody cancelled the run",
        ("class", "conflict") => "Somebody else wrote the same object (409)",
        ("class", "forbidden") => "The operator's role, or an admission rule, forbids it (403)",
        ("class", "refused") => "The API server refuses the object (other 4xx)",
        ("class", "api-server") => "The API server failed (5xx)",
        ("class", "connection") => "The API server cannot be reached",
        ("class", "broken") => "An object of the operator's own cannot be read: a defect",
        ("class", "not-yet") => "Something of the cluster is not there yet; no failure",
        ("class", "not-leading") => "The lease ended in the middle; no failure",
        ("reason", "no-token") => "No bearer token",
        ("reason", "no-keys") => "The keys to verify tokens with cannot be had now",
        ("reason", "token") => "The token is not valid",
        ("reason", "identity") => "The token's pod is no runner, or another one",
        ("reason", "not-yet") => {
            "The run is not coordinated yet, as after a takeover; the runner tries again"
        }
        ("reason", "not-leading") => "This replica does not hold the lease; the runner tries again",
        ("reason", "body") => "The report cannot be read, or is too long or too slow",
        ("reason", "plan") => "The report is of another plan, or breaks the protocol",
        _ => panic!("say what {value} of the label {label} means"),
    }
}
