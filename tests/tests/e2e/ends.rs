//! Runs that do not go as planned: each ends with its verdict, in its time, and leaves nothing.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use loadtest_tests::{
    cluster::{self, Namespace, OPERATOR, OPERATOR_NAMESPACE},
    wait,
};

use crate::common::{RUN_LIMIT, TO_SEARCH, condition, is, manifest, number, text};
use crate::main_job::exact_counts;

#[test]
#[ignore = "needs a cluster with the operator: make e2e"]
fn an_operator_killed_in_mid_run_does_no_harm() -> Result<()> {
    Namespace::delivered("restart", |namespace| {
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
    Namespace::delivered("failed", |namespace| {
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
    Namespace::delivered("absent", |namespace| {
        let nowhere = manifest("absent", "10/s", 4, "").replace("http://httpbin", "http://nowhere");
        namespace.apply(&nowhere)?;
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
    Namespace::delivered("nosearch", |namespace| {
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
        let test = namespace.wait_finished("loadtest/image", Duration::from_secs(35))?;
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
        let test = namespace.wait_finished("loadtest/cancel", Duration::from_secs(20))?;
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

/// Deletes runner 1 of a run of two that is under way.
fn lose_a_runner(namespace: &Namespace, test: &str) -> Result<()> {
    let run = format!("{test}-1");
    wait::until("requests", RUN_LIMIT, || {
        let run = namespace
            .get(&format!("loadtestrun/{run}"))
            .unwrap_or_default();
        Ok((run["status"]["summary"]["requests"].as_u64().unwrap_or(0) > 50).then_some(()))
    })?;
    let pods = format!("loadtest.dev/run={run},batch.kubernetes.io/job-completion-index=1");
    namespace.kubectl(&["delete", "pod", "-l", &pods, "--wait=false"])?;
    Ok(())
}

#[test]
#[ignore = "needs a cluster with the operator: make e2e"]
fn a_lost_runner_ends_the_run_unless_the_others_may_go_on() -> Result<()> {
    Namespace::delivered("lost", |namespace| {
        let two = |more: &str| format!("  runners: {{ count: 2{more} }}\n");
        namespace.apply(&manifest("fail", "50/s", 120, &two("")))?;
        lose_a_runner(namespace, "fail")?;
        let test = namespace.wait_finished("loadtest/fail", Duration::from_secs(15))?;
        ensure!(
            text(&test, "/status/verdict") == "Error",
            "{}",
            test["status"]
        );
        is(&test, "Succeeded", "False", "RunnerLost")?;
        is(&test, "LoadDelivered", "False", "RunnerLost")?;

        let go_on = two(", onLost: Continue");
        namespace.apply(&manifest("go-on", "50/s", 12, &go_on))?;
        lose_a_runner(namespace, "go-on")?;
        let test = namespace.wait_finished("loadtest/go-on", RUN_LIMIT)?;
        ensure!(
            text(&test, "/status/verdict") == "Passed",
            "{}",
            test["status"]
        );
        let condition = condition(&test, "LoadDelivered").context("no LoadDelivered")?;
        ensure!(condition["status"] == "False", "{condition}");
        let requests = number(&test, "/status/summary/requests")?;
        ensure!((300..600).contains(&requests), "{requests} of 600");
        let message = text(&test, "/status/message");
        ensure!(message.contains("1 of 2 runners were lost"), "{message}");
        Ok(())
    })
}
