//! The main job: counted by three witnesses (the status, the search server, the target's own access
//! log).

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use loadtest_core::scalar::format_latency;
use loadtest_tests::{cluster::Namespace, search::Search, wait};
use serde_json::Value;

use crate::common::{RUN_LIMIT, access_log_lines, example, is, number, text};

#[test]
#[ignore = "needs a cluster with the operator: make e2e"]
fn a_load_test_goes_from_apply_to_one_exact_answer() -> Result<()> {
    Namespace::delivered("main", |namespace| {
        let applied = namespace.apply(&example("httpbin.yaml")?)?;
        ensure!(
            applied.contains("loadtest.loadtest.dev/httpbin created"),
            "{applied}"
        );
        let phases = follow_phases(namespace, "loadtestrun/httpbin-1")?;
        let seen: Vec<&str> = phases.iter().map(String::as_str).collect();
        let order = [
            "Pending",
            "Starting",
            "Running",
            "Stopping",
            "Exporting",
            "Finished",
        ];
        let positions: Vec<_> = seen
            .iter()
            .map(|phase| order.iter().position(|o| o == phase))
            .collect();
        ensure!(
            positions.is_sorted() && !positions.contains(&None),
            "phases went {seen:?}"
        );
        ensure!(
            seen.contains(&"Running") && seen.last() == Some(&"Finished"),
            "phases went {seen:?}"
        );

        let test = namespace.wait_finished("loadtest/httpbin", RUN_LIMIT)?;
        let run = namespace.get("loadtestrun/httpbin-1")?;
        ensure!(
            text(&run, "/status/verdict") == "Passed",
            "{}",
            run["status"]
        );
        ensure!(
            test["status"]["summary"] == run["status"]["summary"],
            "the test mirrors its run"
        );
        exact_counts(namespace, &run)?;
        interval_documents_cover(&run)?;
        printer_columns(namespace, &test)?;

        let again = namespace.apply(&example("httpbin.yaml")?)?;
        ensure!(again.contains("unchanged"), "{again}");
        let token = r#"{"spec":{"runToken":"again"}}"#;
        namespace.kubectl(&["patch", "ltest", "httpbin", "--type=merge", "-p", token])?;
        wait::until("run 2", Duration::from_secs(30), || {
            Ok(namespace.get("loadtestrun/httpbin-2").ok())
        })?;
        let runs = namespace.kubectl(&["get", "ltrun", "-o", "name"])?;
        ensure!(
            runs.lines().count() == 2,
            "applying again must start nothing: {runs}"
        );
        namespace.kubectl(&[
            "wait",
            "--for=condition=Finished",
            "ltrun/httpbin-2",
            "--timeout=240s",
        ])?;
        exact_counts(namespace, &namespace.get("loadtestrun/httpbin-2")?)
    })
}

/// Every phase that the run shows until it is finished.
fn follow_phases(namespace: &Namespace, run: &str) -> Result<Vec<String>> {
    let deadline = Instant::now() + RUN_LIMIT;
    let mut phases: Vec<String> = Vec::new();
    while phases.last().is_none_or(|phase| phase != "Finished") {
        ensure!(
            Instant::now() < deadline,
            "the run went {phases:?} and no further"
        );
        if let Ok(phase) = namespace.kubectl(&["get", run, "-o", "jsonpath={.status.phase}"])
            && !phase.is_empty()
            && phases.last() != Some(&phase)
        {
            phases.push(phase);
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    Ok(phases)
}

/// status = documents in the search server = lines of the target's access log, and percentiles
/// within the histogram's precision of those over all raw documents.
pub fn exact_counts(namespace: &Namespace, run: &Value) -> Result<()> {
    let id = text(run, "/status/run/id");
    let requests = number(run, "/status/summary/requests")?;
    ensure!(requests > 500, "only {requests} requests");
    let stream = format!("loadtest-requests-{}", namespace.name());
    let documents = Search::connect()?.documents(&stream, id)?;
    ensure!(
        documents.len() as u64 == requests,
        "{} documents, {requests} in status",
        documents.len()
    );
    let ids: BTreeSet<_> = documents
        .iter()
        .map(|document| document["_id"].as_str())
        .collect();
    ensure!(ids.len() == documents.len(), "an id came twice");
    // The kubelet writes the target's log a moment after the answer.
    wait::until("the access log", Duration::from_secs(20), || {
        let lines = access_log_lines(namespace, id)? as u64;
        ensure!(
            lines <= requests,
            "{lines} lines in the access log, {requests} in status"
        );
        Ok((lines == requests).then_some(()))
    })?;
    let export = &run["status"]["export"];
    ensure!(
        export["produced"] == requests && export["indexed"] == requests,
        "{export}"
    );
    is(run, "ResultsExported", "True", "Exported")?;
    percentiles(run, &documents)
}

fn percentiles(run: &Value, documents: &[Value]) -> Result<()> {
    let mut micros: Vec<u64> = documents
        .iter()
        .map(|d| number(d, "/_source/loadtest/request/time/from_schedule_us"))
        .collect::<Result<_>>()?;
    micros.sort_unstable();
    for (name, quantile) in [
        ("p50", 0.5),
        ("p90", 0.9),
        ("p95", 0.95),
        ("p99", 0.99),
        ("max", 1.0),
    ] {
        let rank = ((quantile * micros.len() as f64).ceil() as usize).max(1) - 1;
        let exact = micros[rank];
        let said = text(run, &format!("/status/summary/latency/{name}"));
        // Three digits in the histogram and three in the text: the text of a neighbour at most.
        let near: Vec<String> = [0.998, 0.999, 1.0, 1.001, 1.002]
            .iter()
            .map(|factor| format_latency((exact as f64 * factor).round() as u64))
            .collect();
        ensure!(
            near.iter().any(|text| text == said),
            "{name} is {said} in status, {exact} us in documents"
        );
    }
    Ok(())
}

/// Interval documents of every runner add up to the summary and leave no gap.
fn interval_documents_cover(run: &Value) -> Result<()> {
    let namespace = text(run, "/metadata/namespace");
    let id = text(run, "/status/run/id");
    let all = Search::connect()?.documents(&format!("loadtest-metrics-{namespace}"), id)?;
    let totals: Vec<&Value> = all
        .iter()
        .map(|d| &d["_source"])
        .filter(|d| text(d, "/loadtest/scope") == "total")
        .collect();
    let sum: u64 = totals
        .iter()
        .map(|d| number(d, "/loadtest/requests/count"))
        .sum::<Result<u64>>()?;
    ensure!(
        sum == number(run, "/status/summary/requests")?,
        "interval documents add up to {sum}"
    );
    for runner in 0..2 {
        let mut bounds: Vec<(&str, &str)> = totals
            .iter()
            .filter(|d| d["loadtest"]["runner"]["index"] == runner)
            .map(|d| {
                (
                    text(d, "/loadtest/interval/start"),
                    text(d, "/loadtest/interval/end"),
                )
            })
            .collect();
        bounds.sort_unstable();
        ensure!(
            bounds.len() >= 2,
            "runner {runner} has {} interval documents",
            bounds.len()
        );
        ensure!(
            bounds.windows(2).all(|pair| pair[0].1 == pair[1].0),
            "intervals of runner {runner} leave gaps: {bounds:?}"
        );
    }
    Ok(())
}

fn printer_columns(namespace: &Namespace, test: &Value) -> Result<()> {
    let table = namespace.kubectl(&["get", "ltest"])?;
    let (head, row) = table.split_once('\n').context("no table")?;
    let columns: Vec<&str> = head.split_whitespace().collect();
    ensure!(
        columns
            == [
                "NAME", "PHASE", "VERDICT", "RPS", "P95", "ERRORS", "RUNNERS", "AGE"
            ],
        "{table}"
    );
    let cells: Vec<&str> = row.split_whitespace().collect();
    let p95 = text(test, "/status/summary/latency/p95");
    let rate = text(test, "/status/summary/rate");
    ensure!(
        cells[..7] == ["httpbin", "Finished", "Passed", rate, p95, "0%", "2/2"],
        "{table}"
    );
    Ok(())
}
