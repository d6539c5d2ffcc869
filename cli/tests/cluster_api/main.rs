//! Cluster commands against a real API server. No operator is there: what it would write into a
//! status the tests write, so that every end of a run can be shown in a moment.
//!
//! Run by `make test-api`.
#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

#[path = "../common/mod.rs"]
mod common;
mod following;
mod starting;

use std::{
    env,
    os::unix::fs::symlink,
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use common::{BINARY, Finished, Place, Started};
use loadtest_tests::{
    cluster::{self, Namespace},
    proxy::Proxy,
    wait,
};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_mins(1);

/// A namespace, and a directory with `kubectl-loadtest` in it.
struct Here {
    namespace: Namespace,
    place: Place,
}

impl Here {
    fn new(purpose: &str) -> Result<Self> {
        let place = Place::new();
        symlink(BINARY, place.path().join("kubectl-loadtest"))?;
        Ok(Self {
            namespace: Namespace::new(purpose)?,
            place,
        })
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.anywhere(args);
        command.args(["-n", self.namespace.name()]);
        command
    }

    /// Without saying which namespace.
    fn anywhere(&self, args: &[&str]) -> Command {
        let mut command = Command::new(self.place.path().join("kubectl-loadtest"));
        command
            .args(args)
            .current_dir(self.place.path())
            .env("KUBECONFIG", cluster::kubeconfig())
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn run(&self, args: &[&str]) -> Finished {
        Started::new(self.command(args)).wait(LIMIT)
    }

    /// The namespace's cluster by way of a proxy.
    fn through(&self, proxy: &Proxy) -> Result<()> {
        self.namespace
            .kubectl(&["create", "serviceaccount", "tester"])?;
        let account = format!("--serviceaccount={}:tester", self.namespace.name());
        let all = [
            "create",
            "rolebinding",
            "all",
            "--clusterrole=cluster-admin",
        ];
        self.namespace
            .kubectl(&[&all[..], &[account.as_str()]].concat())?;
        let token = self.namespace.kubectl(&["create", "token", "tester"])?;
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": proxy.url()}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "users": [{"name": "u", "user": {"token": token.trim()}}],
        });
        self.place.write("through", &kubeconfig.to_string());
        Ok(())
    }

    /// A `LoadTest` that an operator, if there were one, would not start.
    fn test(&self, name: &str) -> Result<()> {
        self.namespace.apply(&manifest(name)).map(drop)
    }

    /// The names of all runs.
    fn runs(&self) -> Result<Vec<String>> {
        let listed = self.namespace.kubectl(&["get", "ltrun", "-o", "name"])?;
        let names = listed.lines().filter_map(|line| line.split_once('/'));
        Ok(names.map(|(_, name)| name.to_owned()).collect())
    }

    /// The only run, once it is there.
    fn only_run(&self) -> Result<String> {
        wait::until("a run", LIMIT, || Ok(self.runs()?.pop()))
    }

    /// Writes what an operator would.
    fn status(&self, run: &str, status: &Value) -> Result<()> {
        let patch = json!({ "status": status }).to_string();
        let args = [
            "patch",
            "ltrun",
            run,
            "--subresource=status",
            "--type=merge",
            "-p",
        ];
        let args = [&args[..], &[patch.as_str()]].concat();
        self.namespace.kubectl(&args).map(drop)
    }

    /// A run that is over.
    fn finished(&self, run: &str, status: &Value) -> Result<()> {
        let of = run.rsplit_once('-').map_or(run, |(test, _)| test);
        let object = json!({
            "apiVersion": "loadtest.dev/v1alpha1",
            "kind": "LoadTestRun",
            "metadata": {"name": run},
            "spec": {"loadTestRef": {"name": of}},
        });
        self.namespace.apply(&object.to_string())?;
        self.status(run, status)
    }
}

fn manifest(name: &str) -> String {
    format!(
        "apiVersion: loadtest.dev/v1alpha1
kind: LoadTest
metadata: {{ name: {name} }}
spec:
  start: Manual
  runToken: once
  target: {{ url: \"http://shop\" }}
  variables: {{ page: a }}
  scenarios:
    - name: main
      load: {{ constantRate: {{ rate: 10/s, duration: 1s }} }}
      tasks: [ {{ steps: [ {{ request: {{ name: \"商品\", url: \"/$(var.page)\" }} }} ] }} ]
"
    )
}

fn latency(p95: &str) -> Value {
    let mut all = json!({"min": "1.00ms", "mean": "2.00ms", "p999": "9.00ms", "max": "9.00ms"});
    for name in ["p50", "p75", "p90", "p95", "p99"] {
        all[name] = json!(p95);
    }
    all
}

/// A status as the operator writes it at the end.
fn over(verdict: &str, requests: i64, p95: &str) -> Value {
    let time = "2026-01-02T03:04:05Z";
    let finished = json!({
        "type": "Finished", "status": "True", "reason": "Tested", "message": "",
        "lastTransitionTime": time,
    });
    json!({
        "phase": "Finished",
        "verdict": verdict,
        "message": format!("the test says {verdict}"),
        "observedGeneration": 1,
        "conditions": [finished],
        "run": {
            "number": 1, "id": "r", "startTime": time, "runnersReady": "1/1",
            "runners": {"expected": 1, "ready": 1, "lost": 0},
        },
        "summary": {
            "duration": "1s", "requests": requests, "failures": 1, "errorRatio": "0.1%",
            "rate": format!("{requests}/s"), "delivered": "100%", "iterations": requests,
            "bytesSent": 1, "bytesReceived": 1,
            "latency": latency(p95), "serviceTime": latency(p95),
            "requestsByName": [{
                "name": "商品", "scenario": "main", "requests": requests, "failures": 1,
                "rate": format!("{requests}/s"), "latency": latency(p95),
            }],
        },
        "thresholds": [{
            "name": "fast", "expr": "latency.p95 < 1s", "observed": p95, "passed": true,
        }],
    })
}

#[test]
#[ignore = "needs an API server: make test-api"]
fn every_verdict_has_its_exit_code() -> Result<()> {
    let here = Here::new("exits")?;
    for (verdict, code) in [
        ("Passed", 0),
        ("Failed", 1),
        ("Error", 3),
        ("Invalid", 4),
        ("Aborted", 130),
    ] {
        let name = format!("shop-{code}");
        let status = over(verdict, 1_000, "5.00ms");
        here.finished(&name, &status)?;
        let table = here.run(&["watch", &name]).exits(code).stdout;
        ensure!(table.contains(&format!("Verdict   {verdict}: ")), "{table}");
        let json: Value = serde_json::from_str(
            &here
                .run(&["watch", &name, "-q", "-o", "json"])
                .exits(code)
                .stdout,
        )?;
        ensure!(
            json["summary"]["latency"] == status["summary"]["latency"],
            "{json}"
        );
    }
    // A test that the operator refuses is a bad manifest, as on this machine.
    let refused = json!({"conditions": [
        {"type": "Accepted", "status": "False", "reason": "InvalidSpec", "message": "no", "lastTransitionTime": "2026-01-02T03:04:05Z"},
        {"type": "Finished", "status": "True", "reason": "InvalidSpec", "message": "no", "lastTransitionTime": "2026-01-02T03:04:05Z"},
    ], "phase": "Finished", "verdict": "Error", "message": "spec.target: no"});
    here.finished("bad-1", &refused)?;
    let said = here.run(&["watch", "bad"]).exits(2).stdout;
    ensure!(said.contains("Verdict   Error: spec.target: no"), "{said}");
    Ok(())
}

#[test]
#[ignore = "needs an API server: make test-api"]
fn two_hundred_tests_fit_a_history() -> Result<()> {
    let here = Here::new("history")?;
    let item = |number: usize| {
        let name = format!("shop-{number:03}");
        let spec = json!({"loadTestRef": {"name": name}});
        json!({"apiVersion": "loadtest.dev/v1alpha1", "kind": "LoadTestRun", "metadata": {"name": format!("{name}-1")}, "spec": spec})
    };
    let items: Vec<_> = (0..200).map(item).collect();
    let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
    here.namespace
        .kubectl_with(&["create", "-f", "-"], &list.to_string())?;
    here.status("shop-007-1", &over("Passed", 1_234, "12.4ms"))?;
    let table = here.run(&["history"]).exits(0).stdout;
    ensure!(table.lines().count() == 201, "{table}");
    let row = table
        .lines()
        .find(|line| line.starts_with("shop-007-1 "))
        .context("no row")?;
    let cells: Vec<_> = row.split_whitespace().collect();
    ensure!(
        cells
            == [
                "shop-007-1",
                "shop-007",
                "Passed",
                "2026-01-02",
                "03:04:05Z",
                "1s",
                "1,234",
                "1234/s",
                "12.4ms",
                "12.4ms",
                "0.1%"
            ],
        "{row}"
    );
    let one = here
        .run(&["history", "shop-007", "-o", "json"])
        .exits(0)
        .stdout;
    let one: Value = serde_json::from_str(&one)?;
    ensure!(
        one.as_array().is_some_and(|all| all.len() == 1) && one[0]["status"]["verdict"] == "Passed",
        "{one}"
    );
    // A test may have no runs yet; a run that is none is a mistake.
    here.test("idle")?;
    for name in ["idle", "ltest/idle"] {
        let said = here.run(&["history", name]).exits(0).stdout;
        ensure!(said.starts_with("no runs in namespace"), "{said}");
    }
    let said = here.run(&["history", "ltrun/idle"]).exits(3).stderr;
    ensure!(
        said.contains("no LoadTestRun or LoadTest with runs named \"ltrun/idle\""),
        "{said}"
    );
    let one = here.run(&["history", "ltrun/shop-007-1"]).exits(0).stdout;
    ensure!(one.lines().count() == 2, "{one}");
    ensure!(
        here.run(&["history", "--limit", "3"])
            .exits(0)
            .stdout
            .lines()
            .count()
            == 4
    );
    Ok(())
}

#[test]
#[ignore = "needs an API server: make test-api"]
fn runs_are_compared_and_reported_by_their_statuses() -> Result<()> {
    let here = Here::new("compare")?;
    here.finished("shop-1", &over("Passed", 1_000, "10.0ms"))?;
    let mut after = over("Failed", 1_500, "12.5ms");
    after["summary"]["errors"] =
        json!([{"type": "status", "request": "商品", "message": "status 503", "count": 1}]);
    after["baseline"] = json!({"run": "shop-0", "regressed": true, "tolerances": [{
        "metric": "latency.p95", "before": "11.0ms", "after": "12.5ms", "change": "+13.6%",
        "worseBy": "10%", "passed": false,
    }]});
    here.finished("shop-2", &after)?;
    let table = here
        .run(&["compare", "shop-1", "ltrun/shop-2"])
        .exits(0)
        .stdout;
    let squeezed: Vec<String> = table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    for line in [
        "shop-1 shop-2 CHANGE",
        "verdict Passed Failed",
        "Aggregated requests 1,000 1,500 +50.0%",
        "p95 10.0ms 12.5ms +25.0%",
        "商品 requests 1,000 1,500 +50.0%",
        "max 9.00ms 9.00ms =",
        "shop-2 beside its baseline shop-0",
        "✗ latency.p95 12.5ms after 11.0ms (+13.6%), 10% is tolerated",
    ] {
        ensure!(
            squeezed.iter().any(|found| found == line),
            "no {line:?} in\n{table}"
        );
    }
    let said = here.run(&["compare", "shop-1", "nobody"]).exits(3).stderr;
    ensure!(
        said.contains("no LoadTestRun or LoadTest with runs named \"nobody\""),
        "{said}"
    );

    let markdown = here
        .run(&["report", "shop-2", "-o", "markdown"])
        .exits(0)
        .stdout;
    ensure!(
        markdown.contains("商品") && markdown.contains("12.5ms"),
        "{markdown}"
    );
    let junit = here.run(&["report", "shop", "-o", "junit"]).exits(0).stdout;
    ensure!(
        junit.contains("latency.p95 &lt; 1s") || junit.contains("latency.p95 &#60; 1s"),
        "{junit}"
    );
    here.run(&["report", "shop-2"]).exits(0);
    let page = std::fs::read_to_string(here.place.path().join("shop-2.html"))?;
    ensure!(page.contains("商品") && page.contains("Failed"));
    let said = here.run(&["report", "shop-2", "-o", "csv"]).exits(3).stderr;
    ensure!(said.contains("shop-2-result"), "{said}");
    let said = here.run(&["logs", "shop-2"]).exits(3).stderr;
    ensure!(said.contains("has no pods"), "{said}");
    Ok(())
}

#[test]
#[ignore = "needs an API server: make test-api"]
fn what_the_cluster_refuses_is_a_sentence_with_its_mend() -> Result<()> {
    let here = Here::new("refused")?;
    let said = here.run(&["run", "shop"]).exits(3).stderr;
    ensure!(
        said.contains("no LoadTest named \"shop\" in namespace") && said.contains("-f FILE"),
        "{said}"
    );
    let said = here.run(&["watch", "shop"]).exits(3).stderr;
    ensure!(
        said.contains("no LoadTestRun or LoadTest with runs named \"shop\""),
        "{said}"
    );
    let said = here
        .run(&["history", "--as", "jane", "--as-group", "devs"])
        .exits(3)
        .stderr;
    ensure!(
        said.starts_with("error: may not list LoadTestRuns: ")
            && said.contains("User \"jane\" cannot list")
            && said.contains("…-view"),
        "{said}"
    );

    here.place.write("run.yaml", &format!(
        "apiVersion: loadtest.dev/v1alpha1\nkind: LoadTestRun\nmetadata: {{ name: once, namespace: {} }}\nspec: {{ loadTestRef: {{ name: shop }} }}\n",
        here.namespace.name()
    ));
    here.run(&["run", "-f", "run.yaml"]).exits(0);
    let said = here.run(&["run", "-f", "run.yaml"]).exits(2).stderr;
    ensure!(
        said.contains("LoadTestRun named \"once\" already") && said.contains("generateName"),
        "{said}"
    );

    let mut nowhere = Command::new(BINARY);
    nowhere
        .args(["cluster", "rerun", "shop", "-n", "no-such"])
        .env("KUBECONFIG", cluster::kubeconfig());
    nowhere.stdout(Stdio::piped()).stderr(Stdio::piped());
    let said = Started::new(nowhere).wait(LIMIT).exits(3).stderr;
    ensure!(said.contains("in namespace \"no-such\""), "{said}");
    Ok(())
}

/// As people call it.
#[test]
#[ignore = "needs an API server: make test-api"]
fn kubectl_finds_the_plugin() -> Result<()> {
    let here = Here::new("kubectl")?;
    here.finished("shop-1", &over("Passed", 1_000, "10.0ms"))?;
    let path = format!("{}:{}", here.place.path().display(), env::var("PATH")?);
    let cache = env::var_os("LOADTEST_CLUSTER_CACHE").map(PathBuf::from);
    let cache = cache.unwrap_or_else(|| loadtest_tests::root().join("target/cluster"));
    let output = Command::new(cache.join("bin/kubectl"))
        .args(["loadtest", "history", "-n", here.namespace.name()])
        .env("PATH", path)
        .env("KUBECONFIG", cluster::kubeconfig())
        .output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success() && said.contains("shop-1"),
        "{output:?}"
    );
    Ok(())
}
