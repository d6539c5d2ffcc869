//! The main job in a real cluster: from `kubectl apply` to the verdict, counted by three witnesses
//! (the status, the search server, the target's own access log).
//!
//! Run by `make e2e`, which installs the operator by Helm from our images.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use loadtest_core::scalar::format_latency;
use loadtest_tests::{
    cluster::{self, Namespace, OPERATOR, OPERATOR_NAMESPACE},
    root,
    search::Search,
    wait,
};
use serde_json::Value;

const RUN_LIMIT: Duration = Duration::from_mins(4);

/// `examples/httpbin.yaml`, or a smaller test of the same shape.
fn example(file: &str) -> Result<String> {
    std::fs::read_to_string(root().join("examples").join(file)).context(file.to_owned())
}

/// A `LoadTest` at `rate` for `seconds`, without export unless `results` says so.
fn manifest(name: &str, rate: &str, seconds: u32, more: &str) -> String {
    format!(
        "apiVersion: loadtest.dev/v1alpha1
kind: LoadTest
metadata: {{ name: {name} }}
spec:
  target: {{ url: \"http://httpbin\" }}
  scenarios:
    - name: main
      load: {{ constantRate: {{ rate: {rate}, duration: {seconds}s }} }}
      gracefulStop: 5s
      tasks: [ {{ steps: [ {{ request: {{ url: /get }} }} ] }} ]
{more}"
    )
}

const TO_SEARCH: &str =
    "  results: { elasticsearch: { urls: [\"http://search:9200\"], drainTimeout: 60s } }\n";

/// Lines of the target's own access log with this run's User-Agent.
fn access_log_lines(namespace: &Namespace, run_id: &str) -> Result<usize> {
    let log = namespace.kubectl(&["logs", "deployment/httpbin", "--tail=-1"])?;
    let agent = format!("run/{run_id}\"");
    Ok(log.lines().filter(|line| line.contains(&agent)).count())
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn number(value: &Value, pointer: &str) -> Result<u64> {
    value
        .pointer(pointer)
        .and_then(Value::as_u64)
        .with_context(|| format!("no {pointer} in {value}"))
}

fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    object["status"]["conditions"]
        .as_array()?
        .iter()
        .find(|c| c["type"] == kind)
}

fn is(object: &Value, kind: &str, status: &str, reason: &str) -> Result<()> {
    let found = condition(object, kind).with_context(|| format!("no condition {kind}"))?;
    ensure!(
        found["status"] == status && found["reason"] == reason,
        "{kind} should be {status} because of {reason}: {found}"
    );
    Ok(())
}

#[test]
#[ignore = "needs a cluster with the operator: make e2e"]
fn a_load_test_goes_from_apply_to_one_exact_answer() -> Result<()> {
    Namespace::with_target("main")?.explain(|namespace| {
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
fn exact_counts(namespace: &Namespace, run: &Value) -> Result<()> {
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

#[test]
#[ignore = "needs a cluster with the operator: make e2e"]
fn an_operator_killed_in_mid_run_does_no_harm() -> Result<()> {
    Namespace::with_target("restart")?.explain(|namespace| {
        namespace.apply(&manifest("restart", "100/s", 25, TO_SEARCH))?;
        wait::until("the run to be under way", RUN_LIMIT, || {
            let run = namespace.get("loadtestrun/restart-1").unwrap_or_default();
            Ok((text(&run, "/status/phase") == "Running").then_some(()))
        })?;
        let in_operator = ["-n", OPERATOR_NAMESPACE];
        let kill = [
            "delete",
            "pod",
            "-l",
            "app.kubernetes.io/name=loadtest-operator",
        ];
        cluster::ok(
            &[&in_operator[..], &kill, &["--force", "--grace-period=0"]].concat(),
            "",
        )?;
        let rollout = ["rollout", "status", OPERATOR, "--timeout=90s"];
        cluster::ok(&[&in_operator[..], &rollout].concat(), "")?;
        let test = namespace.wait_finished("loadtest/restart", RUN_LIMIT)?;
        ensure!(
            text(&test, "/status/verdict") == "Passed",
            "{}",
            test["status"]
        );
        let run = namespace.get("loadtestrun/restart-1")?;
        ensure!(
            number(&run, "/status/summary/requests")? == 2_500,
            "{}",
            run["status"]["summary"]
        );
        exact_counts(namespace, &run)?;
        let runs = namespace.kubectl(&["get", "ltrun,job", "-o", "name"])?;
        ensure!(runs.lines().count() == 2, "one run and one job: {runs}");
        Ok(())
    })
}

#[test]
#[ignore = "needs a cluster with the operator: make e2e"]
fn a_breached_threshold_fails_the_run() -> Result<()> {
    Namespace::with_target("failed")?.explain(|namespace| {
        let thresholds =
            "  thresholds: [ { expr: latency.p50 < 1us }, { expr: errors.ratio < 1% } ]\n";
        namespace.apply(&manifest("strict", "20/s", 5, thresholds))?;
        let test = namespace.wait_finished("loadtest/strict", RUN_LIMIT)?;
        ensure!(
            text(&test, "/status/verdict") == "Failed",
            "{}",
            test["status"]
        );
        ensure!(
            number(&test, "/status/summary/requests")? == 100,
            "{}",
            test["status"]["summary"]
        );
        is(&test, "Succeeded", "False", "ThresholdBreached")?;
        is(&test, "Stalled", "True", "Failed")?;
        let passed: Vec<_> = test["status"]["thresholds"]
            .as_array()
            .context("no thresholds")?
            .iter()
            .map(|threshold| threshold["passed"].as_bool())
            .collect();
        ensure!(
            passed == [Some(false), Some(true)],
            "{}",
            test["status"]["thresholds"]
        );
        Ok(())
    })
}

#[test]
#[ignore = "needs a cluster with the operator: make e2e"]
fn what_the_operator_cannot_accept_is_said_and_starts_nothing() -> Result<()> {
    Namespace::new("refused")?.explain(|namespace| {
        let wrong = manifest("typo", "20/s", 5, "").replace("/get", "/item/$(var.id)");
        namespace.apply(&wrong)?;
        namespace.kubectl(&[
            "wait",
            "--for=condition=Accepted=False",
            "ltest/typo",
            "--timeout=30s",
        ])?;
        let test = namespace.get("loadtest/typo")?;
        let said = condition(&test, "Accepted").context("no condition")?["message"].to_string();
        ensure!(said.contains("$(var.id)"), "{said}");
        let stalled = condition(&test, "Stalled").context("no condition Stalled")?;
        ensure!(stalled["status"] == "True", "{stalled}");
        let children = namespace.kubectl(&["get", "ltrun,job,pod", "-o", "name"])?;
        ensure!(children.is_empty(), "nothing may be started: {children}");
        // Mended, it runs.
        namespace.apply(&manifest("typo", "20/s", 3, ""))?;
        let run = wait::until("the run", Duration::from_secs(30), || {
            Ok(namespace.get("loadtestrun/typo-1").ok())
        })?;
        ensure!(text(&run, "/metadata/name") == "typo-1");
        Ok(())
    })
}

#[test]
#[ignore = "needs a cluster with the operator: make e2e"]
fn a_missing_target_is_a_failed_run_that_says_why() -> Result<()> {
    Namespace::new("absent")?.explain(|namespace| {
        namespace.apply(&manifest("absent", "10/s", 4, ""))?;
        let test = namespace.wait_finished("loadtest/absent", RUN_LIMIT)?;
        ensure!(
            text(&test, "/status/verdict") == "Failed",
            "{}",
            test["status"]
        );
        is(&test, "Succeeded", "False", "AllRequestsFailed")?;
        let summary = &test["status"]["summary"];
        ensure!(
            summary["requests"] == 40 && summary["failures"] == 40,
            "{summary}"
        );
        ensure!(
            summary["errors"][0]["type"] == "dns",
            "{}",
            summary["errors"]
        );
        Ok(())
    })
}

#[test]
#[ignore = "needs a cluster with the operator: make e2e"]
fn an_absent_search_server_does_not_change_the_verdict() -> Result<()> {
    Namespace::with_target("nosearch")?.explain(|namespace| {
        let results =
            "  results: { elasticsearch: { urls: [\"http://nowhere:9200\"], drainTimeout: 5s } }\n";
        namespace.apply(&manifest("nosearch", "50/s", 6, results))?;
        let test = namespace.wait_finished("loadtest/nosearch", RUN_LIMIT)?;
        ensure!(
            text(&test, "/status/verdict") == "Passed",
            "{}",
            test["status"]
        );
        ensure!(
            number(&test, "/status/summary/requests")? == 300,
            "{}",
            test["status"]["summary"]
        );
        is(&test, "ResultsExported", "False", "ExportIncomplete")?;
        let export = &test["status"]["export"];
        let count = |key: &str| export[key].as_u64().unwrap_or_default();
        ensure!(
            count("produced") == 300 && count("indexed") == 0,
            "{export}"
        );
        let named = count("rejected") + count("sampledOut") + count("dropped") + count("lost");
        ensure!(
            named + count("pending") == 300 && count("pending") == 0,
            "{export}"
        );
        Ok(())
    })
}

#[test]
#[ignore = "needs a cluster with the operator: make e2e"]
fn an_image_that_does_not_exist_is_an_error_in_the_kubelets_words() -> Result<()> {
    Namespace::with_target("image")?.explain(|namespace| {
        let template = "  runners:
    count: 1
    startTimeout: 20s
    template: { spec: { containers: [ { name: runner, image: \"cluster.local/absent:1\" } ] } }
";
        namespace.apply(&manifest("image", "10/s", 4, template))?;
        let test = namespace.wait_finished("loadtest/image", RUN_LIMIT)?;
        ensure!(
            text(&test, "/status/verdict") == "Error",
            "{}",
            test["status"]
        );
        is(&test, "Succeeded", "False", "ImagePullFailed")?;
        ensure!(
            text(&test, "/status/message").contains("cluster.local/absent:1"),
            "{}",
            test["status"]
        );
        Ok(())
    })
}

#[test]
#[ignore = "needs a cluster with the operator: make e2e"]
fn a_cancelled_run_is_aborted_with_what_ran() -> Result<()> {
    Namespace::with_target("cancel")?.explain(|namespace| {
        namespace.apply(&manifest("cancel", "50/s", 120, TO_SEARCH))?;
        wait::until("requests", RUN_LIMIT, || {
            let run = namespace.get("loadtestrun/cancel-1").unwrap_or_default();
            Ok((run["status"]["summary"]["requests"].as_u64().unwrap_or(0) > 50).then_some(()))
        })?;
        let cancel = r#"{"spec":{"cancel":true}}"#;
        namespace.kubectl(&["patch", "ltrun", "cancel-1", "--type=merge", "-p", cancel])?;
        let test = namespace.wait_finished("loadtest/cancel", Duration::from_mins(1))?;
        ensure!(
            text(&test, "/status/verdict") == "Aborted",
            "{}",
            test["status"]
        );
        is(&test, "Succeeded", "False", "CancelRequested")?;
        let run = namespace.get("loadtestrun/cancel-1")?;
        let requests = number(&run, "/status/summary/requests")?;
        let export = &run["status"]["export"];
        ensure!(
            export["produced"] == requests && export["indexed"] == requests,
            "{export}"
        );
        Ok(())
    })
}

#[test]
#[ignore = "needs a cluster with the operator: make e2e"]
fn deleting_the_test_in_mid_run_leaves_nothing() -> Result<()> {
    Namespace::with_target("delete")?.explain(|namespace| {
        namespace.apply(&manifest("gone", "20/s", 300, ""))?;
        wait::until("the run to be under way", RUN_LIMIT, || {
            let run = namespace.get("loadtestrun/gone-1").unwrap_or_default();
            Ok((text(&run, "/status/phase") == "Running").then_some(()))
        })?;
        namespace.kubectl(&["delete", "ltest", "gone", "--timeout=30s"])?;
        wait::until("all children to be gone", Duration::from_secs(90), || {
            let left = namespace.kubectl(&[
                "get",
                "ltest,ltrun,job,pod",
                "-l",
                "loadtest.dev/test=gone",
                "-o",
                "name",
            ])?;
            Ok(left.is_empty().then_some(()))
        })?;
        Ok(())
    })
}

#[test]
#[ignore = "needs a cluster with the operator: make e2e"]
fn deleting_the_namespace_in_mid_run_waits_for_nobody() -> Result<()> {
    let namespace = Namespace::with_target("nsgone")?;
    namespace.explain(|namespace| {
        // The pods' grace period is minutes: it must not be what ends them.
        namespace.apply(&manifest("gone", "20/s", 300, ""))?;
        wait::until("the run to be under way", RUN_LIMIT, || {
            let run = namespace.get("loadtestrun/gone-1").unwrap_or_default();
            Ok((text(&run, "/status/phase") == "Running").then_some(()))
        })?;
        cluster::ok(
            &["delete", "namespace", namespace.name(), "--timeout=60s"],
            "",
        )?;
        Ok(())
    })
}
