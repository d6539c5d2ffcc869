//! The objects of a run: the plan's `ConfigMap`, one Indexed Job, and the result's `ConfigMap`.
//! Pure: the same run gives the same objects.

use std::{io::Write as _, time::Duration};

use flate2::{Compression, write::GzEncoder};
use k8s_openapi::{
    ByteString,
    api::core::v1::{ConfigMap, Pod},
    apimachinery::pkg::apis::meta::v1::OwnerReference,
};
use kube::api::ObjectMeta;
use loadtest_core::{
    coordinator::{DRAIN_GRACE, END_GRACE, SETUP_GRACE, TEARDOWN_GRACE},
    plan::Plan,
    view::RunView,
};
use loadtest_crds::TestSpec;
use serde_json::{Value, json};

use super::{
    observe::Run,
    template,
    validate::Prepared,
    volumes::{self, FILES_DIR, POOL_DIR, SPOOL_DIR, TOKEN_DIR},
};
use crate::{error::Error, names, settings::Settings};

/// "Distroless" images made this user customary.
const NONROOT: i64 = 65_532;

/// Beyond gracefulStop and drainTimeout: for two final reports and their answers.
const TERMINATION_MARGIN: Duration = Duration::from_secs(15);

/// Beyond everything that a run may take: the backstop deletes pods, so it must never be what ends
/// a run that an operator watches.
const BACKSTOP_MARGIN: Duration = Duration::from_mins(10);

/// What is needed to make the objects of a run.
#[derive(Debug, Clone, Copy)]
pub struct Blueprint<'a> {
    /// The run.
    pub run: &'a Run,
    /// Its plan.
    pub prepared: &'a Prepared,
    /// What it was made from.
    pub spec: &'a TestSpec,
    /// The installation.
    pub settings: &'a Settings,
    /// What runners trust, PEM.
    pub ca: &'a str,
}

/// Objects that are to be applied, in this order: the Job's pods mount the `ConfigMap`.
#[derive(Debug, Clone, PartialEq)]
pub struct Resources {
    /// Holds the plan.
    pub plan: ConfigMap,
    /// As the Job controller would make it, to learn at once what the API server thinks of it.
    pub trial_pod: Value,
    /// Makes the runners.
    pub job: Value,
}

impl Blueprint<'_> {
    /// All objects.
    ///
    /// # Errors
    /// When the plan cannot be packed.
    pub fn resources(self) -> Result<Resources, Error> {
        let template = self.pod_template();
        Ok(Resources {
            plan: self.plan_config_map()?,
            trial_pod: self.trial_pod(&template),
            job: self.job(&template),
        })
    }

    fn plan_config_map(self) -> Result<ConfigMap, Error> {
        let Prepared {
            plan: _,
            bytes,
            hash,
        } = self.prepared;
        let mut metadata = metadata(self.run, &names::plan(&self.run.name));
        metadata.annotations = Some([(names::PLAN_HASH.to_owned(), hash.clone())].into());
        Ok(ConfigMap {
            metadata,
            immutable: Some(true),
            data: Some([(names::CA_KEY.to_owned(), self.ca.to_owned())].into()),
            binary_data: Some([(names::PLAN_KEY.to_owned(), ByteString(gzip(bytes)?))].into()),
        })
    }

    fn job(self, template: &Value) -> Value {
        let plan = &*self.prepared.plan;
        json!({
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": json_of(&metadata(self.run, &self.run.name)),
            "spec": {
                "completionMode": "Indexed",
                "completions": plan.runners,
                "parallelism": plan.runners,
                // A runner that ended is never replaced: its part of the load is gone.
                "backoffLimitPerIndex": 0,
                "podReplacementPolicy": "Failed",
                "podFailurePolicy": {"rules": [{
                    // Ignore would make the Job controller start an evicted runner anew.
                    "action": "FailIndex",
                    "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
                }]},
                "activeDeadlineSeconds": backstop(plan).as_secs(),
                "template": template,
            },
        })
    }

    fn trial_pod(self, template: &Value) -> Value {
        let mut pod = template.clone();
        let name = format!("{}-trial", self.run.name);
        let identity = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": self.run.namespace},
        });
        template::merge(&mut pod, &identity);
        pod
    }

    /// Ours, then what the user wants otherwise, then what the operator finds its pods by.
    fn pod_template(self) -> Value {
        let mut template = json!({"metadata": {}, "spec": self.pod_spec()});
        let written = self
            .spec
            .runners
            .as_ref()
            .and_then(|runners| runners.template.as_ref());
        if let Some(written) = written {
            template::merge(&mut template, &Value::Object(written.0.clone()));
        }
        let mut labels = json_of(&metadata(self.run, &self.run.name).labels);
        template::merge(
            &mut labels,
            &json!({"app.kubernetes.io/component": "runner"}),
        );
        let ours = json!({
            "metadata": {
                "labels": labels,
                "annotations": {names::RUN_ID: self.run.id},
            },
            "spec": {"restartPolicy": "Never"},
        });
        template::merge(&mut template, &ours);
        name_image(&mut template);
        // Not ours to insist on: who asks for a node to be drained may say so in the template.
        let mut annotations = json!({
            "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
            "karpenter.sh/do-not-disrupt": "true",
        });
        if let Some(set) = template.pointer_mut("/metadata/annotations") {
            template::merge(&mut annotations, set);
            *set = annotations;
        }
        template
    }

    fn pod_spec(self) -> Value {
        let runner = &self.settings.runner;
        let plan = &*self.prepared.plan;
        let mut spec = json!({
            "restartPolicy": "Never",
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "terminationGracePeriodSeconds": grace(plan).as_secs(),
            "securityContext": {
                "runAsNonRoot": true,
                "runAsUser": NONROOT,
                "runAsGroup": NONROOT,
                "fsGroup": NONROOT,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "topologySpreadConstraints": [{
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": {names::RUN_LABEL: self.run.name}},
            }],
            "containers": [self.container(names::ENGINE_CONTAINER, "engine")],
            "volumes": volumes::volumes(self),
        });
        if plan.results.exports() {
            let mut exporter = self.container(names::EXPORTER_CONTAINER, "export");
            let own = json!({
                "restartPolicy": "Always",
                "env": [{"name": "LOADTEST_SPOOL", "value": SPOOL_DIR}],
                "volumeMounts": [{"name": "spool", "mountPath": SPOOL_DIR}],
            });
            template::merge(&mut exporter, &own);
            template::merge(&mut spec, &json!({"initContainers": [exporter]}));
        }
        if !runner.pull_secrets.is_empty() {
            let names: Vec<_> = runner
                .pull_secrets
                .iter()
                .map(|n| json!({"name": n}))
                .collect();
            template::merge(&mut spec, &json!({"imagePullSecrets": names}));
        }
        spec
    }

    fn container(self, name: &str, command: &str) -> Value {
        let runner = &self.settings.runner;
        let exporter = name == names::EXPORTER_CONTAINER;
        let resources = if exporter {
            &runner.exporter_resources
        } else {
            &runner.resources
        };
        let index = format!("metadata.annotations['{}']", names::COMPLETION_INDEX);
        let mut container = json!({
            "name": name,
            "image": runner.image,
            "args": [command],
            "env": [
                {"name": "LOADTEST_PLAN", "value": format!("{FILES_DIR}/{}", names::PLAN_KEY)},
                {"name": "LOADTEST_PLAN_HASH", "value": self.prepared.hash},
                {"name": "LOADTEST_INDEX", "valueFrom": {"fieldRef": {"fieldPath": index}}},
                {"name": "LOADTEST_POOL", "value": POOL_DIR},
                {"name": "LOADTEST_CONTROL", "value": self.settings.control.url},
                {"name": "LOADTEST_CONTROL_CA", "value": format!("{FILES_DIR}/{}", names::CA_KEY)},
                {"name": "LOADTEST_TOKEN_FILE", "value": format!("{TOKEN_DIR}/token")},
                // Lines of the log become the kubelet's message, and so the run's.
                {"name": "NO_COLOR", "value": "1"},
            ],
            "resources": json_of(resources),
            "securityContext": {
                "allowPrivilegeEscalation": false,
                "readOnlyRootFilesystem": true,
                "capabilities": {"drop": ["ALL"]},
            },
            "terminationMessagePolicy": "FallbackToLogsOnError",
            "volumeMounts": [
                {
                    "name": if exporter { "exporter-files" } else { "files" },
                    "mountPath": FILES_DIR,
                    "readOnly": true,
                },
                {"name": "pool", "mountPath": POOL_DIR},
                {"name": "token", "mountPath": TOKEN_DIR, "readOnly": true},
            ],
        });
        if let Some(policy) = &runner.pull_policy {
            template::merge(&mut container, &json!({"imagePullPolicy": policy}));
        }
        container
    }
}

/// Tells the engine its image, whoever chose it: a runner that does not know a step kind says which
/// one it is.
fn name_image(template: &mut Value) {
    let containers = template.pointer_mut("/spec/containers");
    let mut containers = containers
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten();
    let engine = containers.find(|container| container["name"] == names::ENGINE_CONTAINER);
    if let Some(engine) = engine {
        let image = engine["image"].clone();
        let named = json!({"env": [{"name": "LOADTEST_IMAGE", "value": image}]});
        template::merge(engine, &named);
    }
}

/// The judged view, kept where it survives the operator.
///
/// # Errors
/// When it cannot be packed.
pub fn result_config_map(run: &Run, view: &RunView) -> Result<ConfigMap, Error> {
    let json = serde_json::to_vec(view).map_err(|e| Error::broken("the judged view", e))?;
    Ok(ConfigMap {
        metadata: metadata(run, &names::result(&run.name)),
        binary_data: Some([(names::VIEW_KEY.to_owned(), ByteString(gzip(&json)?))].into()),
        ..ConfigMap::default()
    })
}

/// Whether a pod belongs to a run.
pub fn is_pod_of(pod: &Pod, run: &Run) -> bool {
    let annotations = pod.metadata.annotations.as_ref();
    pod.metadata.namespace.as_deref() == Some(&run.namespace)
        && annotations
            .and_then(|all| all.get(names::RUN_ID))
            .is_some_and(|id| *id == run.id)
}

fn metadata(run: &Run, name: &str) -> ObjectMeta {
    let labels = [
        ("app.kubernetes.io/name", "loadtest"),
        ("app.kubernetes.io/instance", run.name.as_str()),
        (names::MANAGED_BY_LABEL, names::MANAGER),
        (names::TEST_LABEL, run.test.as_str()),
        (names::RUN_LABEL, run.name.as_str()),
    ];
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some(run.namespace.clone()),
        labels: Some(
            labels
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect(),
        ),
        owner_references: Some(vec![OwnerReference {
            api_version: run.api_version.clone(),
            kind: run.kind.clone(),
            name: run.name.clone(),
            uid: run.uid.clone(),
            controller: Some(true),
            block_owner_deletion: None,
        }]),
        ..ObjectMeta::default()
    }
}

/// How long a pod may take to end. Not longer than it needs: a namespace that is deleted waits half of it
/// for a pod that never got a node.
fn grace(plan: &Plan) -> Duration {
    let teardown = plan.once.as_ref().and_then(|once| once.teardown);
    let drain = if plan.results.exports() {
        plan.results.drain_timeout
    } else {
        Duration::ZERO
    };
    plan.graceful_stop()
        + teardown.map_or(Duration::ZERO, |_| TEARDOWN_GRACE)
        + drain
        + TERMINATION_MARGIN
}

fn backstop(plan: &Plan) -> Duration {
    let once = plan.once.as_deref();
    let of = |flow: Option<u32>, time| flow.map_or(Duration::ZERO, |_| time);
    of(
        once.and_then(|once| once.setup),
        plan.start_timeout + SETUP_GRACE,
    ) + of(once.and_then(|once| once.teardown), TEARDOWN_GRACE)
        + plan.start_timeout
        + plan.max_duration
        + plan.graceful_stop()
        + END_GRACE
        + plan.results.drain_timeout
        + DRAIN_GRACE
        + BACKSTOP_MARGIN
}

fn json_of<T: serde::Serialize>(value: &T) -> Value {
    // Kubernetes types have string keys only, so this cannot fail.
    serde_json::to_value(value).unwrap_or_default()
}

fn gzip(bytes: &[u8]) -> Result<Vec<u8>, Error> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder
        .write_all(bytes)
        .and_then(|()| encoder.finish())
        .map_err(|error| Error::broken("gzip", error))
}

#[cfg(test)]
mod tests;
