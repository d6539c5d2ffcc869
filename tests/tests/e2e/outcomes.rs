//! Outcomes of `docs/failure-modes.md` that `ends.rs` does not show, each within its bound.

use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use loadtest_tests::{
    cluster::{self, Namespace, OPERATOR, OPERATOR_NAMESPACE, OperatorAway},
    wait,
};
use serde_json::Value;

use crate::common::{RUN_LIMIT, access_log_lines, condition, is, manifest, number, text};

/// `gracefulStop` of every manifest here.
const GRACEFUL_STOP: Duration = Duration::from_secs(5);
/// From the last report, or from what ended the run, to `Finished`.
const TO_SAY_IT: Duration = Duration::from_secs(5);
/// From the loss of a runner to `Finished`, where nobody is left to stop gracefully.
const LOSS: Duration = Duration::from_secs(10);
/// From `startTimeout` to `Finished`.
const AFTER_START_TIMEOUT: Duration = Duration::from_secs(15);

/// What is waited for whatever is promised: bounds are compared with the times that the run tells.
const PATIENCE: Duration = Duration::from_mins(1);
/// What a busy machine may add to a bound.
const ROOM: Duration = Duration::from_secs(5);

/// The run was over within `bound` of its cause.
fn within(test: &Value, cause: SystemTime, bound: Duration) -> Result<()> {
    let completed = test["status"]["run"]["completionTime"].clone();
    let completed: Time = serde_json::from_value(completed)?;
    let latest = cause + bound + ROOM;
    ensure!(
        SystemTime::from(completed.0) <= latest,
        "not within {bound:?}: {}",
        test["status"]
    );
    Ok(())
}

fn engine(resources: &str) -> String {
    format!(
        "  runners: {{ template: {{ spec: {{ containers: [ {{ name: runner, resources: {resources} }} ] }} }} }}\n"
    )
}

fn ends(test: &Value, verdict: &str, reason: &str) -> Result<()> {
    ensure!(
        text(test, "/status/verdict") == verdict,
        "{}",
        test["status"]
    );
    let status = if verdict == "Passed" { "True" } else { "False" };
    is(test, "Succeeded", status, reason)
}

fn says(test: &Value, words: &str) -> Result<()> {
    let message = text(test, "/status/message");
    ensure!(message.contains(words), "no {words:?} in {message:?}");
    Ok(())
}

/// Waits until more than `least` requests of the run are in its status.
fn under_way(namespace: &Namespace, run: &str, least: u64) -> Result<()> {
    wait::until("requests", RUN_LIMIT, || {
        let run = namespace.get(&format!("ltrun/{run}")).unwrap_or_default();
        let requests = run["status"]["summary"]["requests"].as_u64();
        Ok((requests.unwrap_or(0) > least).then_some(()))
    })
}

fn pod_of(namespace: &Namespace, run: &str) -> Result<String> {
    let label = format!("loadtest.dev/run={run}");
    let names = namespace.kubectl(&["get", "pod", "-l", &label, "-o", "name"])?;
    let name = names.trim().strip_prefix("pod/").context("no pod")?;
    Ok(name.to_owned())
}

#[test]
#[ignore = "needs a cluster with the operator: make e2e"]
fn a_generator_that_cannot_keep_up_makes_an_open_model_invalid_and_a_closed_one_warn() -> Result<()>
{
    Namespace::with_target("slow")?.explain(|namespace| {
        let little = engine("{ limits: { cpu: 50m } }");
        namespace.apply(&manifest("open", "4000/s", 6, &little))?;
        let test = namespace.wait_finished("ltest/open", RUN_LIMIT)?;
        ends(&test, "Invalid", "LoadNotDelivered")?;
        is(&test, "LoadDelivered", "False", "LoadNotDelivered")?;
        says(&test, "began late because of the generator")?;
        let closed = manifest("closed", "1/s", 6, &little)
            .replace("constantRate: { rate: 1/s,", "constantUsers: { users: 20,");
        namespace.apply(&closed)?;
        let test = namespace.wait_finished("ltest/closed", RUN_LIMIT)?;
        ends(&test, "Passed", "ThresholdsMet")?;
        ensure!(
            test["status"]["generator"]["saturated"] == true,
            "{}",
            test["status"]
        );
        says(&test, "the generator's CPU was full")
    })
}

#[test]
#[ignore = "needs a cluster with the operator: make e2e"]
fn users_that_all_wait_for_the_target_are_told_and_thresholds_decide() -> Result<()> {
    Namespace::delivered("busy", |namespace| {
        let busy = |name: &str, more: &str| {
            manifest(name, "20/s", 5, more)
                .replace("duration: 5s", "duration: 5s, maxUsers: 5")
                .replace("/get", "/delay/1")
        };
        namespace.apply(&busy("told", ""))?;
        let test = namespace.wait_finished("ltest/told", RUN_LIMIT)?;
        ends(&test, "Passed", "ThresholdsMet")?;
        is(&test, "LoadDelivered", "False", "TargetSaturated")?;
        says(&test, "all users were busy waiting for the target")?;
        let strict = "  thresholds: [ { expr: delivered.ratio >= 99% } ]\n";
        namespace.apply(&busy("judged", strict))?;
        let test = namespace.wait_finished("ltest/judged", RUN_LIMIT)?;
        ends(&test, "Failed", "ThresholdBreached")?;
        says(&test, "delivered.ratio >= 99%")
    })
}

#[test]
#[ignore = "needs a cluster with the operator: make e2e"]
fn what_keeps_pods_from_starting_is_said_in_the_clusters_words() -> Result<()> {
    Namespace::with_target("never")?.explain(|namespace| {
        let timeout = Duration::from_secs(10);
        let with = |pod: &str| format!("  runners: {{ startTimeout: 10s, template: {{ spec: {pod} }} }}\n");
        let cpu = "{ containers: [ { name: runner, resources: { requests: { cpu: 900 }, limits: { cpu: 900 } } } ] }";
        let authority = "{ url: \"https://httpbin\", tls: { caRef: { configMap: { name: nowhere, key: ca.pem } } } }";
        let cases = [
            ("large", manifest("large", "5/s", 3, &with(cpu)), "Unschedulable", "Insufficient cpu"),
            (
                "account",
                manifest("account", "5/s", 3, &with("{ serviceAccountName: nobody }")),
                "ServiceAccountMissing",
                "\"nobody\" not found",
            ),
            (
                "volume",
                manifest("volume", "5/s", 3, "  runners: { startTimeout: 10s }\n")
                    .replace("{ url: \"http://httpbin\" }", authority),
                "FailedMount",
                "configmap \"nowhere\" not found",
            ),
        ];
        let begun = Instant::now();
        for (_, yaml, ..) in &cases {
            namespace.apply(yaml)?;
        }
        for (name, _, reason, words) in &cases {
            let left = (timeout + AFTER_START_TIMEOUT).saturating_sub(begun.elapsed());
            let test = namespace.wait_finished(&format!("ltest/{name}"), left)?;
            ends(&test, "Error", reason)?;
            says(&test, words)?;
        }
        // No waiting for what time does not heal.
        namespace.kubectl(&["create", "quota", "none", "--hard=pods=1"])?;
        wait::until("the quota to be counted", Duration::from_secs(20), || {
            let quota = namespace.get("quota/none")?;
            Ok(quota["status"]["used"]["pods"].is_string().then_some(()))
        })?;
        let cause = SystemTime::now();
        namespace.apply(&manifest("quota", "5/s", 3, ""))?;
        let test = namespace.wait_finished("ltest/quota", PATIENCE)?;
        within(&test, cause, TO_SAY_IT)?;
        ends(&test, "Error", "QuotaExceeded")?;
        says(&test, "exceeded quota: none")
    })
}

#[test]
#[ignore = "needs a cluster with the operator: make e2e"]
fn a_runner_that_the_cluster_ends_is_an_error_with_the_clusters_reason() -> Result<()> {
    Namespace::with_target("ended")?.explain(|namespace| {
        namespace.apply(&manifest("killed", "20/s", 300, ""))?;
        under_way(namespace, "killed-1", 20)?;
        let pod = pod_of(namespace, "killed-1")?;
        let cause = SystemTime::now();
        cluster::kill_container(namespace.name(), &pod, "runner")?;
        let test = namespace.wait_finished("ltest/killed", PATIENCE)?;
        within(&test, cause, LOSS)?;
        ends(&test, "Error", "RunnerLost")?;
        says(&test, "runner 0 was killed by signal 9")?;
        ensure!(
            number(&test, "/status/summary/requests")? > 20,
            "{}",
            test["status"]
        );

        namespace.apply(&manifest("evicted", "20/s", 300, ""))?;
        under_way(namespace, "evicted-1", 20)?;
        let pod = pod_of(namespace, "evicted-1")?;
        let eviction = serde_json::json!({
            "apiVersion": "policy/v1", "kind": "Eviction",
            "metadata": {"name": pod, "namespace": namespace.name()},
        });
        let path = format!(
            "/api/v1/namespaces/{}/pods/{pod}/eviction",
            namespace.name()
        );
        namespace.kubectl_with(
            &["create", "--raw", &path, "-f", "-"],
            &eviction.to_string(),
        )?;
        let test = namespace.wait_finished("ltest/evicted", GRACEFUL_STOP + LOSS)?;
        ends(&test, "Error", "RunnerLost")?;
        says(
            &test,
            "runner 0 was ended by the cluster: Eviction API: evicting",
        )?;

        // The engine keeps the whole body for the check: more than it may have.
        let large = manifest(
            "oom",
            "5/s",
            60,
            &engine("{ requests: { memory: 24Mi }, limits: { memory: 24Mi } }"),
        )
        .replace(
            "constantRate: { rate: 5/s,",
            "constantUsers: { users: 3000,",
        )
        .replace(
            "{ url: /get }",
            "{ url: \"/drip?numbytes=1000000&duration=0\", checks: [ { bodyContains: x } ] }",
        );
        namespace.apply(&large)?;
        let test = namespace.wait_finished("ltest/oom", RUN_LIMIT)?;
        ends(&test, "Error", "OOMKilled")?;
        says(&test, "used more memory than its limit")
    })
}

#[test]
#[ignore = "needs a cluster with the operator: make e2e"]
fn a_job_deleted_by_hand_ends_its_run() -> Result<()> {
    Namespace::with_target("nojob")?.explain(|namespace| {
        namespace.apply(&manifest("nojob", "20/s", 300, ""))?;
        under_way(namespace, "nojob-1", 20)?;
        let cause = SystemTime::now();
        namespace.kubectl(&["delete", "job", "nojob-1", "--wait=false"])?;
        let test = namespace.wait_finished("ltest/nojob", PATIENCE)?;
        within(&test, cause, GRACEFUL_STOP + TO_SAY_IT)?;
        ends(&test, "Error", "RunnerLost")?;
        wait::until("its pods to go", Duration::from_secs(30), || {
            let left =
                namespace.kubectl(&["get", "job,pod", "-l", "loadtest.dev/run", "-o", "name"])?;
            Ok(left.is_empty().then_some(()))
        })
    })
}

#[test]
#[ignore = "needs a cluster with the operator: make e2e"]
fn a_load_beyond_its_max_duration_is_stopped() -> Result<()> {
    Namespace::with_target("deadline")?.explain(|namespace| {
        namespace.apply(&manifest("deadline", "20/s", 300, "  maxDuration: 5s\n"))?;
        wait::until("the load to begin", RUN_LIMIT, || {
            let run = namespace.get("ltrun/deadline-1").unwrap_or_default();
            Ok((text(&run, "/status/phase") == "Running").then_some(()))
        })?;
        let bound = Duration::from_secs(5) + GRACEFUL_STOP + TO_SAY_IT;
        let test = namespace.wait_finished("ltest/deadline", bound)?;
        ends(&test, "Error", "DeadlineExceeded")?;
        let requests = number(&test, "/status/summary/requests")?;
        ensure!(
            (95..200).contains(&requests),
            "{requests} requests in 5 s at 20/s"
        );
        Ok(())
    })
}

#[test]
#[ignore = "needs a cluster with the operator: make e2e"]
fn an_operator_that_was_away_for_the_rest_of_the_load_answers_as_if_it_were_there() -> Result<()> {
    Namespace::delivered("away", |namespace| {
        namespace.apply(&manifest("away", "20/s", 15, ""))?;
        let run = wait::until("the start to be told", RUN_LIMIT, || {
            let run = namespace.get("ltrun/away-1").unwrap_or_default();
            Ok((text(&run, "/status/phase") == "Running").then_some(run))
        })?;
        let away = OperatorAway::new()?;
        wait::until("the whole load at the target", RUN_LIMIT, || {
            let seen = access_log_lines(namespace, text(&run, "/status/run/id"))?;
            Ok((seen == 300).then_some(()))
        })?;
        drop(away);
        let rollout = [
            "-n",
            OPERATOR_NAMESPACE,
            "rollout",
            "status",
            OPERATOR,
            "--timeout=60s",
        ];
        cluster::ok(&rollout, "")?;
        let test = namespace.wait_finished("ltest/away", Duration::from_secs(20))?;
        ends(&test, "Passed", "ThresholdsMet")?;
        ensure!(
            number(&test, "/status/summary/requests")? == 300,
            "{}",
            test["status"]["summary"]
        );
        let lost = condition(&test, "LoadDelivered").context("no LoadDelivered")?;
        ensure!(lost["status"] == "True", "{lost}");
        Ok(())
    })
}

/// The node's kubelet says nothing, as if the node were gone, until this goes.
struct SilentNode;

impl SilentNode {
    fn new() -> Result<Self> {
        let guard = Self;
        Self::kubelet("-STOP")?;
        Ok(guard)
    }

    fn kubelet(signal: &str) -> Result<()> {
        cluster::on_node(&[
            "sh",
            "-c",
            &format!("kill {signal} $(pgrep -o -f 'kube kubelet ')"),
        ])
    }
}

impl Drop for SilentNode {
    fn drop(&mut self) {
        let _ = Self::kubelet("-CONT");
        let _ = cluster::ok(
            &[
                "wait",
                "--for=condition=Ready",
                "node",
                "--all",
                "--timeout=60s",
            ],
            "",
        );
    }
}

#[test]
#[ignore = "needs a cluster with the operator: make e2e"]
fn a_lost_node_ends_the_run_soon_after_the_node_controller_says_so() -> Result<()> {
    Namespace::with_target("node")?.explain(|namespace| {
        // Kubernetes' own patience, five minutes, is the template's to change.
        let impatient = "  runners: { template: { spec: { tolerations: [
    { key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 0 } ] } } }
";
        namespace.apply(&manifest("node", "20/s", 600, impatient))?;
        under_way(namespace, "node-1", 20)?;
        let pod = pod_of(namespace, "node-1")?;
        let node = SilentNode::new()?;
        cluster::kill_container(namespace.name(), &pod, "runner")?;
        wait::until("the node controller", Duration::from_mins(2), || {
            let pod = namespace.get(&format!("pod/{pod}"))?;
            Ok(pod["metadata"]["deletionTimestamp"].is_string().then_some(()))
        })?;
        let test = namespace.wait_finished("ltest/node", Duration::from_mins(1))?;
        ends(&test, "Error", "RunnerLost")?;
        says(&test, "runner 0 was ended by the cluster: Taint manager")?;
        ensure!(number(&test, "/status/summary/requests")? > 20, "{}", test["status"]);
        drop(node);
        Ok(())
    })
}
