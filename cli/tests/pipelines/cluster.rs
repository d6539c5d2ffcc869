//! What the samples do in a cluster, against a real API server; the test plays the operator.

use std::{
    fs,
    os::unix::fs::symlink,
    process::{Command, Output, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use loadtest_crds::yaml;
use loadtest_tests::{
    cluster::{self, Namespace},
    root, wait,
};
use serde_json::{Value, json};

use crate::{
    GITHUB, GITLAB, cases,
    common::BINARY,
    jobs::{Machine, Steps, assert_codes, github, gitlab},
};

const LIMIT: Duration = Duration::from_mins(1);

/// Ends the next run of a namespace with a verdict, as the operator would.
fn next_run_ends(namespace: &Namespace, verdict: &str) -> Result<String> {
    let name = wait::until("a run", LIMIT, || {
        let runs = namespace.kubectl(&["get", "ltrun", "-o", "json"])?;
        let runs: Value = serde_json::from_str(&runs)?;
        let runs = runs["items"].as_array().context("no list")?;
        let open = runs.iter().find(|run| run["status"]["verdict"].is_null());
        Ok(open.and_then(|run| Some(run["metadata"]["name"].as_str()?.to_owned())))
    })?;
    let now = "2026-01-02T03:04:05Z";
    let passed = verdict == "Passed";
    let mut latency = json!({"min": "1.00ms", "mean": "2.00ms", "p999": "9.00ms", "max": "9.00ms"});
    for quantile in ["p50", "p75", "p90", "p95", "p99"] {
        latency[quantile] = json!("5.00ms");
    }
    let status = json!({
        "phase": "Finished", "verdict": verdict, "message": "played", "observedGeneration": 1,
        "conditions": [{
            "type": "Finished", "status": "True", "reason": "Tested", "message": "", "lastTransitionTime": now,
        }],
        "run": {
            "number": 1, "id": "r", "startTime": now, "runnersReady": "1/1",
            "runners": {"expected": 1, "ready": 1, "lost": 0},
        },
        "summary": {
            "duration": "5s", "requests": 500, "failures": 0, "errorRatio": "0%", "rate": "100/s",
            "delivered": "100%", "iterations": 500, "bytesSent": 1, "bytesReceived": 1,
            "latency": latency, "serviceTime": latency, "requestsByName": [],
        },
        "thresholds": [{
            "name": "fast", "expr": "latency.p95 < 1s", "observed": "5.00ms", "passed": passed,
        }],
    });
    let patch = json!({ "status": status }).to_string();
    namespace.kubectl(&[
        "patch",
        "ltrun",
        &name,
        "--subresource=status",
        "--type=merge",
        "-p",
        &patch,
    ])?;
    Ok(name)
}

/// Does something that starts a run, which ends with a verdict meanwhile.
fn while_played<T: Send>(
    namespace: &Namespace,
    verdict: &str,
    job: impl FnOnce() -> T + Send,
) -> Result<T> {
    thread::scope(|scope| {
        let job = scope.spawn(job);
        let played = next_run_ends(namespace, verdict);
        let done = job
            .join()
            .map_err(|_| anyhow::anyhow!("the job panicked"))?;
        played.map(|_| done)
    })
}

/// A kubeconfig for a namespace, and `kubectl` for a machine.
fn reaches(machine: &mut Machine, namespace: &Namespace) -> Result<String> {
    let file = machine.place.path().join("kubeconfig");
    fs::copy(cluster::kubeconfig(), &file)?;
    let kubectl = root().join("target/cluster/bin/kubectl");
    let set = Command::new(&kubectl)
        .args([
            "config",
            "set-context",
            "--current",
            "--namespace",
            namespace.name(),
        ])
        .env("KUBECONFIG", &file)
        .output()?;
    ensure!(set.status.success(), "{set:?}");
    symlink(kubectl, machine.place.path().join("temp/kubectl"))?;
    Ok(fs::read_to_string(&file)?)
}

#[test]
#[ignore = "needs an API server: make test-api"]
fn github_actions_in_a_cluster() -> Result<()> {
    let namespace = Namespace::new("github")?;
    let run = |verdict: &str| -> Result<(Machine, Steps)> {
        let mut machine = Machine::new(&[]);
        let kubeconfig = reaches(&mut machine, &namespace)?;
        let steps = while_played(&namespace, verdict, || {
            let given = [
                ("vars.LOADTEST_TARGET", "http://shop-of-ci:8080"),
                ("secrets.LOADTEST_KUBECONFIG", kubeconfig.as_str()),
            ];
            github(&mut machine, GITHUB, "in-cluster", &given)
        })?;
        Ok((machine, steps))
    };
    let (machine, steps) = run("Passed")?;
    let names = ["Kubeconfig", "Install the plugin", "Load test", "Reports"];
    assert_codes(&steps, &names.map(|name| (name, 0)));
    ensure!(cases(&machine.read("results/junit.xml")) == (2, 0));
    ensure!(machine.read("results/report.html").contains("Passed"));
    ensure!(machine.read("summary").contains("Passed"));
    let runs = namespace.kubectl(&["get", "ltrun", "-o", "json"])?;
    ensure!(runs.contains("http://shop-of-ci:8080"), "{runs}");

    let (machine, steps) = run("Failed")?;
    assert_codes(
        &steps,
        &names.map(|name| (name, i32::from(name == "Load test"))),
    );
    ensure!(cases(&machine.read("results/junit.xml")) == (2, 2));
    Ok(())
}

#[test]
#[ignore = "needs an API server: make test-api"]
fn gitlab_in_a_cluster() -> Result<()> {
    let namespace = Namespace::new("gitlab")?;
    let mut machine = Machine::new(&[("TARGET", "http://shop-of-ci:8080")]);
    reaches(&mut machine, &namespace)?;
    machine.set(
        "KUBECONFIG",
        &machine
            .place
            .path()
            .join("kubeconfig")
            .display()
            .to_string(),
    );
    let (machine, steps) = while_played(&namespace, "Passed", || {
        let steps = gitlab(&mut machine, GITLAB, "in-cluster");
        (machine, steps)
    })?;
    assert_codes(&steps, &[("script", 0), ("after_script", 0)]);
    ensure!(cases(&machine.read("results/junit.xml")) == (2, 0));
    Ok(())
}

/// The objects of a file of `examples/gitops`, by kind.
fn object(file: &str, kind: &str) -> Result<Value> {
    let text = fs::read_to_string(root().join("examples/gitops").join(file))?;
    let documents = yaml::parse(&text).map_err(|problem| anyhow::anyhow!("{file}: {problem:?}"))?;
    let mut objects = documents.iter().map(yaml::Node::to_json);
    let found = objects.find(|object| object["kind"] == kind);
    found.with_context(|| format!("no {kind} in {file}"))
}

/// A command line of ours, with the rights of the pods that it is for.
fn as_pipeline(namespace: &Namespace, words: &[&str]) -> Output {
    let account = format!(
        "system:serviceaccount:{}:loadtest-pipeline",
        namespace.name()
    );
    Command::new(BINARY)
        .args(words)
        .args(["-n", namespace.name(), "--as", &account])
        .env("KUBECONFIG", cluster::kubeconfig())
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

#[test]
#[ignore = "needs an API server: make test-api"]
fn rollouts_and_flagger_run_a_test_with_the_rights_that_they_are_given() -> Result<()> {
    let namespace = Namespace::new("rollouts")?;
    let read = |file: &str| fs::read_to_string(root().join(file)).context(file.to_owned());
    namespace.apply(&read("examples/gitops/pipeline-rights.yaml")?)?;
    namespace.apply(&read("examples/ci/loadtest.yaml")?)?;

    let template = object("argo-rollouts.yaml", "AnalysisTemplate")?;
    let job = &template["spec"]["metrics"][0]["provider"]["job"]["spec"];
    let arguments = job["template"]["spec"]["containers"][0]["args"]
        .as_array()
        .context("args")?;
    let words: Vec<_> = arguments
        .iter()
        .map(|word| {
            word.as_str()
                .unwrap()
                .replace("{{args.target}}", "http://shop-canary:8080")
        })
        .collect();
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    for (verdict, code) in [("Passed", 0), ("Failed", 1), ("Invalid", 4)] {
        let output = while_played(&namespace, verdict, || as_pipeline(&namespace, &words))?;
        ensure!(output.status.code() == Some(code), "{verdict}: {output:?}");
    }
    let report = as_pipeline(
        &namespace,
        &["cluster", "report", "ltest/shop", "-o", "junit"],
    );
    ensure!(report.status.success(), "{report:?}");

    let canary = object("flagger.yaml", "Canary")?;
    let hook = &canary["spec"]["analysis"]["webhooks"][0]["metadata"];
    let words: Vec<_> = hook["cmd"].as_str().context("cmd")?.split(' ').collect();
    ensure!(words[0] == "loadtest" && hook["type"] == "bash", "{hook}");
    let output = while_played(&namespace, "Passed", || {
        as_pipeline(&namespace, &words[1..])
    })?;
    ensure!(output.status.success(), "{output:?}");

    // As Rollouts makes it; the strictest Pod Security, which only warns of a Job, has nothing to warn of.
    let job = json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "analysis"}, "spec": job,
    });
    let arguments = [
        "-n",
        namespace.name(),
        "apply",
        "--server-side",
        "--validate=strict",
        "--dry-run=server",
        "-f",
        "-",
    ];
    let label = "pod-security.kubernetes.io/warn=restricted";
    cluster::ok(&["label", "namespace", namespace.name(), label], "")?;
    let output = cluster::kubectl(&arguments, &job.to_string())?;
    ensure!(
        output.status.success() && output.stderr.is_empty(),
        "{output:?}"
    );
    Ok(())
}
