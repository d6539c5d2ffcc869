//! A namespace with its own operator behind its own proxy, and what is in it in the end.

use std::time::Duration;

use anyhow::{Context as _, Result};
use loadtest_tests::{
    api::Api,
    cluster::Namespace,
    operator::{Installation, Operator},
    proxy::Proxy,
    wait,
};
use serde_json::{Value, json};

/// Its pods fit no node, so it goes from nothing to its verdict in `startTimeout`; within that an operator
/// that was killed must have made its Job, with many others at once on a busy machine.
fn manifest() -> Value {
    json!({
        "apiVersion": "loadtest.dev/v1alpha1", "kind": "LoadTest", "metadata": {"name": "shop"},
        "spec": {
            "target": {"url": "http://nowhere"},
            "scenarios": [{
                "name": "main",
                "load": {"constantRate": {"rate": "1/s", "duration": "5s"}},
                "tasks": [{"steps": [{"request": {"url": "/"}}]}],
            }],
            "runners": {
                "startTimeout": "25s",
                "template": {"spec": {"nodeSelector": {"example.com/no": "node"}}},
            },
        },
    })
}

const OURS: &str = "/apis/loadtest.dev/v1alpha1";

pub struct World {
    namespace: Namespace,
    pub installation: Installation,
    pub proxy: Proxy,
}

impl World {
    pub fn new(purpose: &str) -> Result<Self> {
        let namespace = Namespace::new(purpose)?;
        let installation = Installation::new(namespace.name(), false)?;
        Ok(Self {
            installation,
            namespace,
            proxy: Proxy::new()?,
        })
    }

    pub fn apply(&self) -> Result<()> {
        let path = format!("{OURS}/namespaces/{}/loadtests", self.namespace.name());
        Api::of_cluster()?.create(&path, &manifest()).map(drop)
    }

    pub fn start(&self) -> Result<Operator> {
        self.installation.start(&self.proxy.url())
    }

    /// An object or a list in the namespace, of this API.
    fn get(&self, api: &str, what: &str) -> Result<Option<Value>> {
        let name = self.namespace.name();
        Api::of_cluster()?.get(&format!("{api}/namespaces/{name}/{what}"))
    }

    pub fn is_finished(&self) -> Result<bool> {
        let test = self.get(OURS, "loadtests/shop")?;
        Ok(test.is_some_and(|test| test["status"]["phase"] == "Finished"))
    }

    /// Waits for the verdict, and until the operator that runs now has looked at test and run; a process
    /// that ends is started anew, as the kubelet does it.
    pub fn wait_finished(&self, operator: &mut Operator) -> Result<()> {
        let mut before = String::new();
        wait::until("the verdict", Duration::from_mins(3), || {
            if operator.has_ended()? {
                before.push_str(&operator.log());
                self.installation.free_lease()?;
                *operator = self.start()?;
            }
            let looked = || operator.metric("loadtest_reconciles_total");
            let over = self.is_finished()? && looked().is_ok_and(|times| times >= 2.0);
            Ok(over.then_some(()))
        })
        .with_context(|| format!("{before}\n{}", operator.log()))
    }

    /// Changes both roots in a way that means nothing to the operator.
    pub fn nudge(&self, round: u32) -> Result<()> {
        let annotation = format!("example.com/round={round}");
        let arguments = [
            "annotate",
            "--overwrite",
            "ltest/shop",
            "ltrun/shop-1",
            &annotation,
        ];
        self.namespace.kubectl(&arguments).map(drop)
    }

    /// What is in it when it is `settled`, or half a minute later: the Job's own controller has its part to do
    /// after the verdict, in its own time.
    pub fn objects_when(&self, settled: impl Fn(&Value) -> bool) -> Result<Value> {
        let mut objects = self.objects()?;
        let _ = wait::until("it to be settled", Duration::from_secs(30), || {
            let so = settled(&objects);
            if !so {
                objects = self.objects()?;
            }
            Ok(so.then_some(()))
        });
        Ok(objects)
    }

    /// Everything that is in the namespace, without what differs from one world to the next.
    fn objects(&self) -> Result<Value> {
        let mut objects = Vec::new();
        for (api, kind) in [
            (OURS, "loadtests"),
            (OURS, "loadtestruns"),
            ("/apis/batch/v1", "jobs"),
            ("/api/v1", "configmaps"),
        ] {
            let list = self.get(api, kind)?.context("no list")?;
            let items = list["items"].as_array().context("no items")?;
            let ours = items
                .iter()
                .filter(|item| item["metadata"]["name"] != "kube-root-ca.crt");
            objects.extend(ours.map(plain));
        }
        Ok(objects.into())
    }
}

/// Fields whose values are the time, random, of the namespace, or Kubernetes' own count of pods that come
/// and go, by name.
const PASSING: [&str; 22] = [
    "uid",
    "resourceVersion",
    "creationTimestamp",
    "managedFields",
    "namespace",
    "lastTransitionTime",
    "lastProbeTime",
    "startTime",
    "completionTime",
    "id",
    "planHash",
    "binaryData",
    "ca.crt",
    "loadtest.dev/run-id",
    "loadtest.dev/plan-hash",
    "batch.kubernetes.io/controller-uid",
    "controller-uid",
    "args",
    "env",
    "kubectl.kubernetes.io/last-applied-configuration",
    "ready",
    "terminating",
];

/// Whether the Job's own controller has done what the operator told it in the end.
pub fn is_suspended(objects: &Value) -> bool {
    let mut objects = objects.as_array().into_iter().flatten();
    objects.any(|object| {
        let conditions = object["spec"]["suspend"] == true;
        let conditions = conditions.then(|| object["status"]["conditions"].as_array());
        let mut conditions = conditions.flatten().into_iter().flatten();
        conditions.any(|found| found["type"] == "Suspended" && found["status"] == "True")
    })
}

fn plain(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields
                .iter()
                .filter(|(name, _)| !PASSING.contains(&name.as_str()));
            kept.map(|(name, value)| (name.clone(), plain(value)))
                .collect()
        }
        Value::Array(items) => items.iter().map(plain).collect(),
        other => other.clone(),
    }
}

/// Where two values differ, as paths with both.
pub fn difference(expected: &Value, found: &Value) -> Value {
    match (expected, found) {
        (Value::Object(left), Value::Object(right)) => {
            let names = left
                .keys()
                .chain(right.keys().filter(|name| !left.contains_key(*name)));
            let differing = names.filter_map(|name| {
                let one = left.get(name).unwrap_or(&Value::Null);
                let other = right.get(name).unwrap_or(&Value::Null);
                (one != other).then(|| (name.clone(), difference(one, other)))
            });
            differing.collect()
        }
        (Value::Array(left), Value::Array(right)) if left.len() == right.len() => {
            let pairs = left.iter().zip(right).enumerate();
            let differing = pairs.filter(|(_, (one, other))| one != other);
            let named =
                differing.map(|(at, (one, other))| (at.to_string(), difference(one, other)));
            Value::Object(named.collect())
        }
        _ => json!({"expected": expected, "found": found}),
    }
}
