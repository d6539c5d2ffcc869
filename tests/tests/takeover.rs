//! Two replicas of the operator, and a run that must not notice which of them acts.
//!
//! Run by `make e2e`, after the tests of one replica.
#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, Time};
use loadtest_tests::{
    cluster::{self, Namespace, OPERATOR, OPERATOR_NAMESPACE},
    root, wait,
};
use serde_json::{Value, json};

/// Of a takeover from a leader that was killed: docs and design promise it.
const TAKEOVER: Duration = Duration::from_secs(20);
/// Of one that gave the lease back: it ends its work in 5 s at most, candidates look every 2.5 s at most; the
/// rest is the machine's.
const HANDOVER: Duration = Duration::from_secs(20);
/// So long others wait for one that does not renew.
const LEASE_DURATION: Duration = Duration::from_secs(15);
/// What is waited for whatever is promised: promises are compared with the times in the Lease.
const LIMIT: Duration = Duration::from_mins(1);

const LEASE: &str = "lease/loadtest-operator";
const SLICE: &str = "endpointslice/loadtest-operator-leader";

fn operator(arguments: &[&str]) -> Result<String> {
    cluster::ok(&[&["-n", OPERATOR_NAMESPACE], arguments].concat(), "")
}

fn get(object: &str) -> Result<Value> {
    Ok(serde_json::from_str(&operator(&[
        "get", object, "-o", "json",
    ])?)?)
}

fn scale(replicas: u32) -> Result<()> {
    let replicas = format!("--replicas={replicas}");
    operator(&["scale", OPERATOR, &replicas])?;
    operator(&["rollout", "status", OPERATOR, "--timeout=90s"]).map(drop)
}

/// Two replicas, one again in the end.
struct TwoReplicas;

impl TwoReplicas {
    fn new() -> Result<Self> {
        let guard = Self;
        scale(2)?;
        Ok(guard)
    }
}

impl Drop for TwoReplicas {
    fn drop(&mut self) {
        let _ = scale(1);
    }
}

fn holder() -> Result<String> {
    let lease = get(LEASE)?;
    let holder = lease["spec"]["holderIdentity"].as_str();
    Ok(holder.unwrap_or_default().to_owned())
}

/// Identities are `<pod>_<random>`.
fn pod_of(identity: &str) -> Result<String> {
    let (pod, _) = identity.split_once('_').context("no pod in the identity")?;
    Ok(pod.to_owned())
}

/// The one address that runners are led to, and whose it is.
fn led_to() -> Result<(String, String)> {
    let slice = get(SLICE)?;
    let endpoints = slice["endpoints"].as_array().context("no endpoints")?;
    ensure!(endpoints.len() == 1, "runners are led to {endpoints:?}");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let endpoint = &endpoints[0];
    Ok((
        text(&endpoint["addresses"][0]),
        text(&endpoint["targetRef"]["name"]),
    ))
}

/// A time that the holder wrote into the Lease; its clock is this machine's.
fn time(lease: &Value, field: &str) -> Result<SystemTime> {
    let time: MicroTime = serde_json::from_value(lease["spec"][field].clone())?;
    Ok(SystemTime::from(time.0))
}

/// Waits until another than `before` holds the lease and runners are led to it; who, and when it took it.
fn taken_over_from(before: &str) -> Result<(String, SystemTime)> {
    let (now, acquired) = wait::until("another leader", LIMIT, || {
        let lease = get(LEASE)?;
        let holder = lease["spec"]["holderIdentity"].as_str().unwrap_or_default();
        if holder.is_empty() || holder == before {
            return Ok(None);
        }
        Ok(Some((holder.to_owned(), time(&lease, "acquireTime")?)))
    })?;
    let pod = pod_of(&now)?;
    wait::until("runners to be led to it", LIMIT, || {
        // The kubelet tells the address of a pod that has just begun a moment later.
        let address = operator(&["get", "pod", &pod, "-o", "jsonpath={.status.podIP}"])?;
        // Between two leaders there may be no slice at all.
        let Ok((leads_to, leads_whom)) = led_to() else {
            return Ok(None);
        };
        Ok((!address.is_empty() && leads_to == address && leads_whom == pod).then_some(()))
    })?;
    Ok((now, acquired))
}

/// The next leader after `cause`, which ended the one `before`, if it came within `promised`.
fn next_leader(before: &str, cause: SystemTime, promised: Duration) -> Result<String> {
    let (now, acquired) = taken_over_from(before)?;
    let took = acquired.duration_since(cause)?;
    ensure!(took <= promised, "taken over in {took:?}");
    println!("taken over in {took:?}");
    Ok(now)
}

const ROLE: &str = "role/loadtest-operator-own";

/// What the operator may do with its Lease.
fn allow(verbs: &[&str]) -> Result<()> {
    let role = get(ROLE)?;
    let rules = role["rules"].as_array().context("no rules")?;
    let named = |rule: &Value| rule["resources"][0] == "leases" && rule["resourceNames"].is_array();
    let at = rules
        .iter()
        .position(named)
        .context("no rule for the Lease")?;
    let patch = json!([{"op": "replace", "path": format!("/rules/{at}/verbs"), "value": verbs}]);
    operator(&["patch", ROLE, "--type=json", "-p", &patch.to_string()]).map(drop)
}

/// The Lease may be read and no longer written, until this goes.
struct ReadOnly;

impl ReadOnly {
    fn new() -> Result<Self> {
        let guard = Self;
        allow(&["get"])?;
        Ok(guard)
    }
}

impl Drop for ReadOnly {
    fn drop(&mut self) {
        let _ = allow(&["get", "update"]);
    }
}

const MANIFEST: &str = "apiVersion: loadtest.dev/v1alpha1
kind: LoadTest
metadata: { name: long }
spec:
  target: { url: \"http://httpbin\" }
  scenarios:
    - name: main
      load: { constantRate: { rate: 50/s, duration: 75s } }
      gracefulStop: 5s
      tasks: [ { steps: [ { request: { url: /get } } ] } ]
";

fn under_way(namespace: &Namespace) -> bool {
    let run = namespace.get("loadtestrun/long-1").unwrap_or_default();
    run["status"]["phase"] == "Running"
}

#[test]
#[ignore = "needs a cluster with the operator: make e2e"]
fn a_run_does_not_notice_who_leads() -> Result<()> {
    let _two = TwoReplicas::new()?;
    Namespace::delivered("takeover", |namespace| {
        let first = wait::until("a leader", LIMIT, || {
            let holder = holder()?;
            Ok((!holder.is_empty()).then_some(holder))
        })?;
        namespace.apply(MANIFEST)?;
        let limit = Duration::from_mins(2);
        wait::until("the run to be under way", limit, || {
            Ok(under_way(namespace).then_some(()))
        })?;

        // Killed: nothing is given back.
        let cause = SystemTime::now();
        let killed = std::process::Command::new(root().join("tests/cluster/kill-container"))
            .args([OPERATOR_NAMESPACE, &pod_of(&first)?])
            .status()?;
        ensure!(killed.success(), "the leader could not be killed");
        let second = next_leader(&first, cause, TAKEOVER)?;

        // Deleted as a rollout does it: it gives the lease back.
        let cause = SystemTime::now();
        operator(&["delete", "pod", &pod_of(&second)?, "--wait=false"])?;
        let third = next_leader(&second, cause, HANDOVER)?;

        // Without its Lease the leader stays, and makes it anew.
        operator(&["delete", LEASE])?;
        wait::until("the Lease to be made anew", LIMIT, || {
            let lease = get(LEASE).unwrap_or_default();
            Ok((lease["spec"]["holderIdentity"] == third.as_str()).then_some(()))
        })?;
        ensure!(
            under_way(namespace),
            "the run was over before all that had happened"
        );

        let test = namespace.wait_finished("loadtest/long", limit)?;
        let status = &test["status"];
        ensure!(status["verdict"] == "Passed", "{status}");
        ensure!(
            status["summary"]["requests"] == 3_750,
            "{}",
            status["summary"]
        );
        let children = namespace.kubectl(&["get", "ltrun,job", "-o", "name"])?;
        ensure!(
            children.lines().count() == 2,
            "one run and one Job: {children}"
        );
        Ok(())
    })
}

#[test]
#[ignore = "needs a cluster with the operator: make e2e"]
fn a_leader_that_cannot_renew_ends_before_another_may_act() -> Result<()> {
    // One that is there: a rollout may have ended the last one a moment ago.
    let before = wait::until("a leader", LIMIT, || {
        let holder = holder()?;
        let there = || get(&format!("pod/{}", pod_of(&holder)?)).map(drop);
        Ok((!holder.is_empty() && there().is_ok()).then_some(holder))
    })?;
    let pod = pod_of(&before)?;
    let restarts = || -> Result<u64> {
        let pod = get(&format!("pod/{pod}"))?;
        let count = pod["status"]["containerStatuses"][0]["restartCount"].as_u64();
        count.context("no restartCount")
    };
    let counted = restarts()?;
    let read_only = ReadOnly::new()?;
    wait::until("the process to end", LIMIT, || {
        Ok((restarts()? > counted).then_some(()))
    })?;
    let said = operator(&["logs", &pod, "--previous", "--tail=5"])?;
    ensure!(said.contains("the lease is lost"), "{said}");
    ensure!(holder()? == before, "it gave back what it had lost");
    let finished = "/status/containerStatuses/0/lastState/terminated/finishedAt";
    let finished = get(&format!("pod/{pod}"))?.pointer(finished).cloned();
    let finished: Time = serde_json::from_value(finished.context("no finishedAt")?)?;
    // Its fraction is cut off.
    let ended = SystemTime::from(finished.0) + Duration::from_secs(1);
    let took = ended.duration_since(time(&get(LEASE)?, "renewTime")?)?;
    ensure!(
        took < LEASE_DURATION,
        "ended {took:?} after its last renewal"
    );
    drop(read_only);
    taken_over_from(&before)?;
    operator(&["rollout", "status", OPERATOR, "--timeout=30s"]).map(drop)
}
