//! Grafana's dashboards.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::{
    assert_grid, committed,
    mappings::{Mapping, Use},
    read,
};

fn dashboards() -> Vec<(String, Value)> {
    let files = committed("grafana");
    assert_eq!(files.len(), 4);
    files
        .into_iter()
        .map(|(file, text)| (file, serde_json::from_str(&text).unwrap()))
        .collect()
}

/// Those on results.
fn of_results() -> Vec<(String, Value)> {
    let mut all = dashboards();
    all.retain(|(file, _)| !file.contains("operator"));
    all
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().unwrap().iter()
}

fn text(value: &Value) -> &str {
    value
        .as_str()
        .unwrap_or_else(|| panic!("{value} is no text"))
}

fn targets(dashboard: &Value) -> impl Iterator<Item = &Value> {
    list(&dashboard["panels"]).flat_map(|panel| list(&panel["targets"]))
}

#[test]
fn every_field_is_in_the_templates_of_the_documents() {
    for (_, dashboard) in of_results() {
        for target in targets(&dashboard) {
            let query = text(&target["query"]);
            let mapping = Mapping::of_query(query);
            mapping.check_query(query);
            for group in list(&target["bucketAggs"]) {
                let usage = match text(&group["type"]) {
                    "terms" => Use::Terms,
                    "date_histogram" => Use::Time,
                    other => panic!("no group {other}"),
                };
                mapping.check(text(&group["field"]), usage);
            }
            for metric in list(&target["metrics"]) {
                let usage = match text(&metric["type"]) {
                    "sum" | "avg" | "percentiles" => Use::Number,
                    "max" | "min" => Use::Extreme,
                    "count" | "bucket_script" | "raw_data" => continue,
                    other => panic!("no metric {other}"),
                };
                mapping.check(text(&metric["field"]), usage);
            }
        }
        for variable in list(&dashboard["templating"]["list"]) {
            if variable["type"] == "query" {
                let look_up: Value = serde_json::from_str(text(&variable["query"])).unwrap();
                let mapping = Mapping::of_query(text(&look_up["query"]));
                mapping.check_query(text(&look_up["query"]));
                mapping.check(text(&look_up["field"]), Use::Terms);
            }
        }
    }
}

#[test]
fn every_name_within_a_dashboard_is_there_once() {
    for (file, dashboard) in dashboards() {
        let variables: BTreeSet<_> = list(&dashboard["templating"]["list"])
            .map(|variable| text(&variable["name"]).to_owned())
            .collect();
        for name in variables_used(&dashboard) {
            let own = name.starts_with("__") || variables.contains(&name);
            assert!(own, "{file} has no variable {name}");
        }
        let mut ids = BTreeSet::new();
        for panel in list(&dashboard["panels"]) {
            assert!(ids.insert(panel["id"].as_u64().unwrap()), "{file}");
            let letters: BTreeSet<_> = list(&panel["targets"]).map(|t| text(&t["refId"])).collect();
            assert_eq!(letters.len(), panel["targets"].as_array().unwrap().len());
            assert_eq!(panel["datasource"]["uid"], "${datasource}");
        }
    }
    for (file, dashboard) in of_results() {
        for target in targets(&dashboard) {
            let names = |kind: &str| {
                list(&target[kind])
                    .map(|one| text(&one["id"]))
                    .collect::<Vec<_>>()
            };
            let (metrics, groups) = (names("metrics"), names("bucketAggs"));
            let unique: BTreeSet<_> = metrics.iter().chain(&groups).collect();
            assert_eq!(
                unique.len(),
                metrics.len() + groups.len(),
                "{file}: {target}"
            );
            let summed = list(&target["metrics"])
                .filter_map(|metric| metric["pipelineVariables"].as_array())
                .flatten()
                .map(|variable| text(&variable["pipelineAgg"]));
            let sorted = list(&target["bucketAggs"])
                .filter_map(|group| group["settings"]["orderBy"].as_str())
                .filter(|by| *by != "_key");
            for id in summed.chain(sorted) {
                assert!(metrics.contains(&id), "{file}: no metric {id}: {target}");
            }
        }
    }
}

/// Names after `$` and within `${}`, without formats.
fn variables_used(dashboard: &Value) -> BTreeSet<String> {
    let text = dashboard.to_string();
    let after = text.split('$').skip(1);
    after
        .map(|rest| {
            let rest = rest.trim_start_matches('{');
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            rest[..end.unwrap()].to_owned()
        })
        .collect()
}

#[test]
fn panels_fill_the_grid() {
    for (file, dashboard) in dashboards() {
        let places: Vec<_> = list(&dashboard["panels"])
            .map(|panel| ["x", "y", "w", "h"].map(|key| panel["gridPos"][key].as_u64().unwrap()))
            .collect();
        assert_grid(&file, 24, &places);
    }
}

/// docs/metrics.md is made from the code, by a test of its own.
#[test]
fn the_operators_dashboard_asks_for_metrics_and_labels_that_exist() {
    let page = read("docs/metrics.md");
    let (_, dashboard) = dashboards()
        .into_iter()
        .find(|(file, _)| file.contains("operator"))
        .unwrap();
    let mut asked = BTreeSet::new();
    for target in targets(&dashboard) {
        let expr = text(&target["expr"]);
        let words = expr.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let metric = words
            .into_iter()
            .find(|word| word.starts_with("loadtest_"))
            .unwrap();
        let family = metric.trim_end_matches("_bucket");
        let row = page
            .lines()
            .find(|line| line.starts_with(&format!("| `{family}` |")))
            .unwrap_or_else(|| panic!("docs/metrics.md has no {family}"));
        let kind = if metric.ends_with("_bucket") {
            "histogram"
        } else if metric.ends_with("_total") {
            "counter"
        } else {
            "gauge"
        };
        assert!(
            row.contains(&format!("| {kind} |")),
            "{metric} is no {kind}"
        );
        let by = expr
            .split("by (")
            .nth(1)
            .map(|rest| rest.split(')').next().unwrap());
        for label in by.into_iter().flat_map(|labels| labels.split(", ")) {
            let known = label == "le" || row.contains(&format!("`{label}`"));
            assert!(known, "{family} has no label {label}");
        }
        asked.insert(family.to_owned());
    }
    // Nothing that the operator tells is left out.
    let told = page
        .lines()
        .filter(|line| line.starts_with("| `loadtest_"))
        .count();
    assert_eq!(asked.len(), told, "{asked:?}");
}
