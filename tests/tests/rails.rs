//! Guard rails, the queue, and what runs are called: the operator as a process in front of the real API
//! server. Its runs wait for a node that never comes, so they are under way as long as a test wants.
//!
//! Run by `make test-api`.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use loadtest_tests::{
    cluster::{self, Namespace, OperatorAway},
    operator::{Installation, Operator},
    proxy::Proxy,
    wait,
};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_mins(1);

/// One at a time: each sends the installed operator away and fetches it back.
static ALONE: Mutex<()> = Mutex::new(());

fn spec(url: &str, users: u32, start_timeout: &str) -> Value {
    json!({
        "target": {"url": url},
        "scenarios": [{
            "name": "main",
            // A namespace that is deleted waits for the time that its pods have.
            "gracefulStop": "1s",
            "load": {"constantUsers": {"users": users, "duration": "5s"}},
            "tasks": [{"steps": [{"request": {"url": "/"}}]}],
        }],
        "runners": {
            "startTimeout": start_timeout,
            "template": {"spec": {"nodeSelector": {"example.com/no": "node"}}},
        },
    })
}

fn run(name: &str, spec: &Value) -> String {
    json!({
        "apiVersion": "loadtest.dev/v1alpha1", "kind": "LoadTestRun",
        "metadata": {"name": name}, "spec": {"test": spec},
    })
    .to_string()
}

fn test(name: &str, spec: &Value) -> String {
    json!({
        "apiVersion": "loadtest.dev/v1alpha1", "kind": "LoadTest",
        "metadata": {"name": name}, "spec": spec,
    })
    .to_string()
}

fn condition(object: &Value, kind: &str) -> Value {
    let all = object["status"]["conditions"].as_array();
    let found = all.and_then(|all| all.iter().find(|c| c["type"] == kind));
    found.cloned().unwrap_or_default()
}

/// Waits until an object is as it should be.
fn becomes(
    namespace: &Namespace,
    object: &str,
    what: &str,
    is: impl Fn(&Value) -> bool,
) -> Result<Value> {
    let mut last = Value::Null;
    let found = wait::until(&format!("{object}: {what}"), LIMIT, || {
        last = namespace.get(object)?;
        Ok(is(&last).then(|| last.clone()))
    });
    found.with_context(|| last["status"].to_string())
}

fn is_queued(object: &Value, place: u32) -> bool {
    let message = object["status"]["message"].as_str().unwrap_or_default();
    object["status"]["phase"] == "Pending"
        && condition(object, "Started")["reason"] == "Queued"
        && condition(object, "Reconciling")["status"] == "True"
        && message.starts_with(&format!(
            "waits at place {place} of the queue: 2 runs are under way"
        ))
}

fn jobs(namespace: &Namespace) -> Result<String> {
    let names = "jsonpath={.items[*].metadata.name}";
    namespace.kubectl(&["get", "jobs", "--sort-by=.metadata.name", "-o", names])
}

fn cancel(namespace: &Namespace, run: &str) -> Result<()> {
    let patch = r#"{"spec":{"cancel":true}}"#;
    namespace
        .kubectl(&["patch", "ltrun", run, "--type=merge", "-p", patch])
        .map(drop)
}

const RAILS: &str = "maxConcurrentRuns: 2
limits: { maxUsers: 10, targetHosts: [nowhere] }
resultProfiles: { small: { urls: [\"http://es:9200\"] } }
";

#[test]
#[ignore = "needs an API server: make test-api"]
fn runs_wait_for_their_turn_and_what_exceeds_is_refused() -> Result<()> {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let _away = OperatorAway::new()?;
    let namespace = Namespace::new("rails")?;
    let installation = Installation::new(namespace.name(), false)?;
    let proxy = Proxy::new()?;
    let start = || installation.start_with(&proxy.url(), RAILS);
    let mut operator = start()?;
    let result = refused(&namespace).and_then(|()| {
        queued(&namespace, || {
            // Killed: nothing is left of it but what is in the cluster.
            installation.free_lease()?;
            operator = start()?;
            operator.coordination()?;
            wait::until("both runs to be resumed", LIMIT, || {
                Ok((operator.metric("loadtest_active_runs")? >= 2.0).then_some(()))
            })
        })
    });
    result.with_context(|| operator.log())
}

fn refused(namespace: &Namespace) -> Result<()> {
    namespace.apply(&test("big", &spec("http://nowhere", 11, "5m")))?;
    let big = becomes(namespace, "ltest/big", "refused", |test| {
        condition(test, "Accepted")["status"] == "False"
    })?;
    let said = condition(&big, "Accepted")["message"].clone();
    ensure!(
        said == "spec.scenarios: have 11 users together, at most 10 are allowed by limits.maxUsers of the operator's configuration: lower users or maxUsers",
        "{said}"
    );
    let mut elsewhere = spec("http://somewhere", 1, "5m");
    elsewhere["results"] = json!({"elasticsearch": {"profile": "large"}});
    namespace.apply(&run("elsewhere", &elsewhere))?;
    let elsewhere = becomes(namespace, "ltrun/elsewhere", "refused", |run| {
        run["status"]["verdict"] == "Error"
    })?;
    let said = elsewhere["status"]["message"].as_str().unwrap_or_default();
    for words in [
        "spec.test.results.elasticsearch.profile: the operator's configuration has no result profile \"large\": it has small",
        "and one more problem",
    ] {
        ensure!(said.contains(words), "{said}");
    }
    let runs = namespace.kubectl(&["get", "ltrun", "-o", "name"])?;
    ensure!(
        runs.lines().count() == 1,
        "no run of the refused test: {runs}"
    );
    Ok(())
}

fn queued(namespace: &Namespace, restart: impl FnOnce() -> Result<()>) -> Result<()> {
    let spec = spec("http://nowhere", 1, "5m");
    for name in ["a", "b", "c", "d"] {
        namespace.apply(&run(name, &spec))?;
    }
    for name in ["a", "b"] {
        becomes(namespace, &format!("ltrun/{name}"), "under way", |run| {
            run["status"]["phase"] == "Starting"
        })?;
    }
    becomes(namespace, "ltrun/c", "first in the queue", |run| {
        is_queued(run, 1)
    })?;
    becomes(namespace, "ltrun/d", "second in the queue", |run| {
        is_queued(run, 2)
    })?;
    restart()?;
    ensure!(jobs(namespace)? == "a b", "{}", jobs(namespace)?);
    cancel(namespace, "c")?;
    let c = becomes(namespace, "ltrun/c", "over", |run| {
        condition(run, "Finished")["status"] == "True"
    })?;
    ensure!(c["status"]["verdict"] == "Aborted", "{}", c["status"]);
    becomes(namespace, "ltrun/d", "first in the queue", |run| {
        is_queued(run, 1)
    })?;
    cancel(namespace, "a")?;
    becomes(namespace, "ltrun/d", "under way", |run| {
        run["status"]["phase"] == "Starting"
    })?;
    ensure!(jobs(namespace)? == "a b d", "{}", jobs(namespace)?);
    Ok(())
}

#[test]
#[ignore = "needs an API server: make test-api"]
fn a_run_that_waited_too_long_for_the_operator_is_judged_at_once() -> Result<()> {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let _away = OperatorAway::new()?;
    let (home, namespace) = (Namespace::new("home")?, Namespace::new("late")?);
    let installation = Installation::new(home.name(), true)?;
    namespace.apply(&run("late", &spec("http://nowhere", 1, "1s")))?;
    let applied = Instant::now();
    wait::until("the run to be older than its startTimeout", LIMIT, || {
        Ok((applied.elapsed() > Duration::from_secs(1)).then_some(()))
    })?;
    let proxy = Proxy::new()?;
    let operator = installation.start(&proxy.url())?;
    operator.coordination()?;
    let judged = judged_late(&namespace).and_then(|()| ends_quietly(&namespace, &operator));
    judged.with_context(|| operator.log())
}

fn judged_late(namespace: &Namespace) -> Result<()> {
    let late = becomes(namespace, "ltrun/late", "over", |run| {
        condition(run, "Finished")["status"] == "True"
    })?;
    let succeeded = condition(&late, "Succeeded");
    ensure!(succeeded["reason"] == "StartTimeout", "{succeeded}");
    let said = late["status"]["message"].as_str().unwrap_or_default();
    ensure!(
        said.contains("could not be made within startTimeout 1s"),
        "{said}"
    );
    ensure!(jobs(namespace)?.is_empty(), "{}", jobs(namespace)?);
    Ok(())
}

/// Deletes a namespace in which a test runs, and another is about to.
fn ends_quietly(namespace: &Namespace, operator: &Operator) -> Result<()> {
    namespace.apply(&test("shop", &spec("http://nowhere", 1, "5m")))?;
    becomes(namespace, "ltrun/shop-1", "under way", |run| {
        run["status"]["phase"] == "Starting"
    })?;
    let delete = ["delete", "namespace", namespace.name(), "--wait=false"];
    cluster::ok(&delete, "")?;
    wait::until("everything in it to go", LIMIT, || {
        let left = namespace.kubectl(&["get", "ltest,ltrun,jobs,pods", "-o", "name"])?;
        Ok(left.is_empty().then_some(()))
    })?;
    wait::until("the run to be forgotten", LIMIT, || {
        Ok((operator.metric("loadtest_active_runs")? == 0.0).then_some(()))
    })?;
    let log = operator.log();
    let loud: Vec<_> = log
        .lines()
        .filter(|line| line.contains(" WARN ") || line.contains("ERROR"))
        .collect();
    ensure!(loud.is_empty(), "{loud:#?}");
    Ok(())
}

#[test]
#[ignore = "needs an API server: make test-api"]
fn runs_are_numbered_by_their_test_whatever_others_are_called() -> Result<()> {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let _away = OperatorAway::new()?;
    let namespace = Namespace::new("numbers")?;
    let installation = Installation::new(namespace.name(), false)?;
    let proxy = Proxy::new()?;
    let operator = installation.start(&proxy.url())?;
    numbered(&namespace).with_context(|| operator.log())
}

fn numbered(namespace: &Namespace) -> Result<()> {
    let spec = spec("http://nowhere", 1, "5m");
    // As `generateName: shop-` may end, and one whose name is in the way.
    for name in ["shop-24567", "shop-2"] {
        namespace.apply(&run(name, &spec))?;
    }
    namespace.apply(&test("shop", &spec))?;
    let under_way = |name: &str, number: u64| -> Result<()> {
        let run = wait::until(name, LIMIT, || {
            let run = namespace.get(&format!("ltrun/{name}")).ok();
            Ok(run.filter(|run| run["status"]["phase"] == "Starting"))
        })?;
        ensure!(run["spec"]["number"] == number, "{}", run["spec"]);
        Ok(())
    };
    under_way("shop-1", 1)?;
    cancel(namespace, "shop-1")?;
    let again = r#"{"spec":{"runToken":"again"}}"#;
    namespace.kubectl(&["patch", "ltest", "shop", "--type=merge", "-p", again])?;
    under_way("shop-3", 3)?;
    let shown = namespace.get("ltest/shop")?["status"]["lastRun"].clone();
    ensure!(shown["number"] == 3 && shown["name"] == "shop-3", "{shown}");
    Ok(())
}
