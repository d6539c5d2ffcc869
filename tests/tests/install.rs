//! The chart on a real cluster: for one namespace with Roles only, installed, upgraded and rolled back in
//! mid-run, and uninstalled without a trace; and what becomes of its CRDs.
//!
//! Run by `make e2e`.
#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{self, Command, Output},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use loadtest_tests::{
    cluster::{self, Namespace, OPERATOR, OPERATOR_NAMESPACE},
    root, wait,
};
use serde_json::Value;

const RELEASE: &str = "mine";
const LIMIT: Duration = Duration::from_mins(2);

fn helm(arguments: &[&str]) -> Result<String> {
    let Output {
        status,
        stdout,
        stderr,
    } = Command::new(root().join("tests/cluster/helm"))
        .args(arguments)
        .current_dir(root())
        .output()?;
    let said = String::from_utf8_lossy(&stderr).into_owned();
    ensure!(status.success(), "helm {}: {said}", arguments.join(" "));
    Ok(String::from_utf8(stdout)?)
}

/// The operator of all namespaces would run our tests too: it is away while this lives.
struct Alone;

impl Alone {
    fn new() -> Result<Self> {
        let guard = Self;
        end_operator()?;
        Ok(guard)
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        let _ = scale("1");
        let rollout = ["rollout", "status", OPERATOR, "--timeout=90s"];
        let _ = cluster::ok(&[&["-n", OPERATOR_NAMESPACE], &rollout[..]].concat(), "");
    }
}

fn scale(replicas: &str) -> Result<String> {
    let replicas = format!("--replicas={replicas}");
    cluster::ok(
        &["-n", OPERATOR_NAMESPACE, "scale", OPERATOR, &replicas],
        "",
    )
}

/// Ends the operator of all namespaces and waits until it is gone.
fn end_operator() -> Result<()> {
    scale("0")?;
    let pods = ["-n", OPERATOR_NAMESPACE, "get", "pods", "-o", "name"];
    wait::until("the operator to end", LIMIT, || {
        Ok(cluster::ok(&pods, "")?.is_empty().then_some(()))
    })
}

/// Names of what Helm makes for a release, of every kind that the chart has.
fn made(namespace: &Namespace) -> Result<String> {
    let kinds = "deployment,replicaset,pod,service,endpointslice,lease,secret,serviceaccount,role,\
                 rolebinding,poddisruptionbudget,networkpolicy";
    let label = format!("app.kubernetes.io/instance={RELEASE}");
    namespace.kubectl(&["get", kinds, "-l", &label, "-o", "name"])
}

fn under_way(namespace: &Namespace) -> bool {
    let run = namespace.get("loadtestrun/installed-1").unwrap_or_default();
    run["status"]["phase"] == "Running"
}

const MANIFEST: &str = "apiVersion: loadtest.dev/v1alpha1
kind: LoadTest
metadata: { name: installed }
spec:
  target: { url: \"http://httpbin\" }
  scenarios:
    - name: main
      load: { constantRate: { rate: 50/s, duration: 75s } }
      gracefulStop: 5s
      tasks: [ { steps: [ { request: { url: /get } } ] } ]
";

#[test]
#[ignore = "needs a cluster with the operator: make e2e"]
fn a_release_for_one_namespace_comes_changes_and_goes() -> Result<()> {
    let _alone = Alone::new()?;
    Namespace::delivered("install", |namespace| {
        let watch = format!("watchNamespace={}", namespace.name());
        let chart = ["charts/loadtest-operator", "--namespace", namespace.name()];
        let values = ["--values", "tests/values.yaml", "--set", &watch];
        let more = ["--set", "crds.install=false,networkPolicy.enabled=true"];
        let wait = ["--wait", "--timeout", "120s"];
        let parts = [&chart[..], &values, &more, &wait].concat();
        let said = helm(&[&["install", RELEASE], &parts[..]].concat())?;
        ensure!(
            said.contains("quickstart"),
            "the notes show no first test: {said}"
        );
        let bound = cluster::ok(&["get", "clusterrole,clusterrolebinding", "-o", "name"], "")?;
        ensure!(!bound.contains(RELEASE), "more than Roles: {bound}");

        namespace.apply(MANIFEST)?;
        wait::until("the run to be under way", LIMIT, || {
            Ok(under_way(namespace).then_some(()))
        })?;
        let change = ["--set", "podAnnotations.revision=two,replicas=2"];
        helm(&[&["upgrade", RELEASE], &parts[..], &change].concat())?;
        let rollback = ["rollback", RELEASE, "1", "--namespace", namespace.name()];
        helm(&[&rollback[..], &wait].concat())?;
        ensure!(
            under_way(namespace),
            "the run was over before the rollback was"
        );

        let test = namespace.wait_finished("loadtest/installed", LIMIT)?;
        let status: &Value = &test["status"];
        ensure!(status["verdict"] == "Passed", "{status}");
        ensure!(
            status["summary"]["requests"] == 3_750,
            "{}",
            status["summary"]
        );

        let before = made(namespace)?;
        ensure!(
            before.contains("lease"),
            "what Helm makes is not found: {before}"
        );
        helm(&[
            "uninstall",
            RELEASE,
            "--namespace",
            namespace.name(),
            "--wait",
        ])?;
        wait::until("all of the release to be gone", LIMIT, || {
            let slice = "endpointslice/mine-loadtest-operator-leader";
            let slice = namespace.kubectl(&["get", slice, "--ignore-not-found", "-o", "name"])?;
            Ok((made(namespace)?.is_empty() && slice.is_empty()).then_some(()))
        })?;
        let kept = namespace
            .get("loadtest/installed")
            .context("tests must stay")?;
        ensure!(kept["status"]["verdict"] == "Passed", "{}", kept["status"]);
        Ok(())
    })
}

/// The release that `tests/environment.sh` installs, as it installs it.
const MAIN: [&str; 4] = ["loadtest", "--namespace", OPERATOR_NAMESPACE, "--wait"];

fn install_main(chart: &str) -> Result<String> {
    let more = [
        "--install",
        "--take-ownership",
        "--values",
        "tests/values.yaml",
        chart,
    ];
    helm(&[&["upgrade"], &MAIN[..], &more].concat())
}

/// The main release is there again, unchanged, when this goes.
struct MainRelease;

impl Drop for MainRelease {
    fn drop(&mut self) {
        let _ = install_main("charts/loadtest-operator");
    }
}

/// A later version of the chart: its `LoadTest` has one category more.
struct LaterChart(PathBuf);

impl LaterChart {
    fn new() -> Result<Self> {
        let folder = env::temp_dir().join(format!("loadtest-chart-{}", process::id()));
        let later = Self(folder);
        copy(&root().join("charts/loadtest-operator"), &later.0)?;
        let file = later.0.join("files/crds/loadtests.loadtest.dev.yaml");
        let text = fs::read_to_string(&file)?;
        let category = "    - loadtesting\n";
        ensure!(text.contains(category), "no category in {}", file.display());
        let changed = text.replacen(category, &format!("{category}    - later\n"), 1);
        fs::write(file, changed)?;
        Ok(later)
    }
}

impl Drop for LaterChart {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}

#[test]
#[ignore = "needs a cluster with the operator: make e2e"]
fn crds_follow_the_release_and_outlive_it() -> Result<()> {
    let crd = "crd/loadtests.loadtest.dev";
    let path = "-o=jsonpath={.spec.names.categories}";
    let categories = || cluster::ok(&["get", crd, path], "");
    let namespace = Namespace::new("kept")?;
    let suspended = MANIFEST.replace("spec:\n", "spec:\n  suspend: true\n");
    namespace.apply(&suspended)?;

    let main = MainRelease;
    let later = LaterChart::new()?;
    install_main(&later.0.display().to_string())?;
    ensure!(
        categories()? == r#"["loadtesting","later"]"#,
        "{}",
        categories()?
    );
    helm(&[&["rollback"], &MAIN[..]].concat())?;
    ensure!(categories()? == r#"["loadtesting"]"#, "{}", categories()?);

    // One that still ends while its roles go asks for what it may no longer do: rights.rs would see it.
    end_operator()?;
    helm(&[&["uninstall"], &MAIN[..]].concat())?;
    let kept = namespace
        .get("loadtest/installed")
        .context("tests must stay")?;
    let uid = kept["metadata"]["uid"].clone();
    install_main("charts/loadtest-operator")?;
    // And the operator that comes back goes on with them.
    let change = r#"{"spec":{"runToken":"2"}}"#;
    namespace.kubectl(&["patch", "ltest", "installed", "--type=merge", "-p", change])?;
    wait::until("the test to be looked at", LIMIT, || {
        let test = namespace.get("loadtest/installed")?;
        ensure!(test["metadata"]["uid"] == uid, "it was made anew");
        Ok((test["status"]["observedGeneration"] == 2).then_some(()))
    })?;
    drop(main);
    Ok(())
}
