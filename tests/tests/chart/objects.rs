//! Objects of a release, checked against the API's types to the last field.

use std::collections::BTreeSet;

use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        coordination::v1::Lease,
        core::v1::{ConfigMap, Secret, Service, ServiceAccount},
        networking::v1::NetworkPolicy,
        policy::v1::PodDisruptionBudget,
        rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding},
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

/// One object.
#[derive(Debug)]
pub struct Object(pub Value);

impl Object {
    /// Its kind.
    pub fn kind(&self) -> &str {
        self.0["kind"].as_str().unwrap_or_default()
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.0["metadata"]["name"].as_str().unwrap_or_default()
    }

    /// Its namespace, if it has one.
    pub fn namespace(&self) -> Option<&str> {
        self.0["metadata"]["namespace"].as_str()
    }

    /// What tells it from all others.
    pub fn title(&self) -> String {
        let namespace = self.namespace().unwrap_or_default();
        format!("{} {namespace}/{}", self.kind(), self.name())
    }
}

/// Labels as a set.
pub fn labels(value: &Value) -> BTreeSet<(String, String)> {
    let all = value.as_object().into_iter().flatten();
    all.map(|(key, value)| (key.clone(), value.as_str().unwrap().to_owned()))
        .collect()
}

/// Of the Prometheus operator, as far as the chart uses it; its own definition has far more.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Monitoring<S> {
    #[serde(rename = "apiVersion")]
    api_version: String,
    kind: String,
    metadata: Map<String, Value>,
    spec: S,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rules {
    groups: Vec<Group>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    name: String,
    rules: Vec<Alert>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Alert {
    #[serde(rename = "alert")]
    name: String,
    expr: String,
    #[serde(rename = "for", skip_serializing_if = "Option::is_none")]
    for_: Option<String>,
    labels: Map<String, Value>,
    annotations: Map<String, Value>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Monitor {
    selector: Value,
    endpoints: Vec<Scrape>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Scrape {
    port: String,
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    interval: Option<String>,
}

/// Whether the API server would know every field of an object and take every value.
pub fn strictly(object: &Value) -> Result<(), String> {
    let kind = object["kind"].as_str().unwrap_or_default();
    let expected = match kind {
        "ConfigMap" | "Secret" | "Service" | "ServiceAccount" => "v1",
        "Deployment" => "apps/v1",
        "Lease" => "coordination.k8s.io/v1",
        "NetworkPolicy" => "networking.k8s.io/v1",
        "PodDisruptionBudget" => "policy/v1",
        "CustomResourceDefinition" => "apiextensions.k8s.io/v1",
        "PrometheusRule" | "ServiceMonitor" => "monitoring.coreos.com/v1",
        _ => "rbac.authorization.k8s.io/v1",
    };
    if object["apiVersion"] != expected {
        return Err(format!(
            "apiVersion {} is not {expected}",
            object["apiVersion"]
        ));
    }
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    if name.is_empty() || name.len() > 63 {
        return Err(format!("the name {name:?} has {} characters", name.len()));
    }
    match kind {
        "ConfigMap" => survives::<ConfigMap>(object),
        "Secret" => survives::<Secret>(object),
        "Service" => survives::<Service>(object),
        "ServiceAccount" => survives::<ServiceAccount>(object),
        "Deployment" => survives::<Deployment>(object),
        "Lease" => survives::<Lease>(object),
        "NetworkPolicy" => survives::<NetworkPolicy>(object),
        "PodDisruptionBudget" => survives::<PodDisruptionBudget>(object),
        "Role" => survives::<Role>(object),
        "RoleBinding" => survives::<RoleBinding>(object),
        "ClusterRole" => survives::<ClusterRole>(object),
        "ClusterRoleBinding" => survives::<ClusterRoleBinding>(object),
        "CustomResourceDefinition" => survives::<CustomResourceDefinition>(object),
        "PrometheusRule" => survives::<Monitoring<Rules>>(object),
        "ServiceMonitor" => survives::<Monitoring<Monitor>>(object),
        other => Err(format!("no type for {other}")),
    }
}

/// A field that the type does not know is lost on the way through it.
fn survives<T: Serialize + DeserializeOwned>(object: &Value) -> Result<(), String> {
    let typed: T = serde_json::from_value(object.clone()).map_err(|error| error.to_string())?;
    let after = serde_json::to_value(typed).map_err(|error| error.to_string())?;
    contained(object, &after, "")
}

fn contained(before: &Value, after: &Value, path: &str) -> Result<(), String> {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            before.iter().try_for_each(|(key, value)| {
                let path = format!("{path}.{key}");
                match after.get(key) {
                    Some(found) => contained(value, found, &path),
                    None if value.is_null() => Ok(()),
                    None => Err(format!("{path} is no field of this kind")),
                }
            })
        }
        (Value::Array(before), Value::Array(after)) if before.len() == after.len() => {
            let mut pairs = before.iter().zip(after).enumerate();
            pairs.try_for_each(|(at, (before, after))| {
                contained(before, after, &format!("{path}[{at}]"))
            })
        }
        // Numbers of a CRD's schema are floating-point in its type.
        (Value::Number(before), Value::Number(after)) if before.as_f64() == after.as_f64() => {
            Ok(())
        }
        (before, after) if before == after => Ok(()),
        (before, after) => Err(format!("{path} is {before} and becomes {after}")),
    }
}

#[test]
fn a_misspelt_field_does_not_survive() {
    let object = |field: &str| {
        serde_json::json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"},
            "spec": {"ports": [{"port": 1, field: "x"}]},
        })
    };
    assert_eq!(strictly(&object("name")), Ok(()));
    let problem = strictly(&object("nmae")).unwrap_err();
    assert_eq!(problem, ".spec.ports[0].nmae is no field of this kind");
}
