//! `LoadTest` and `LoadTestRun` as they are stored.
//!
//! Both are watched without their types: one object that an older or newer version wrote must
//! never stop the watch of all others, and the run key is made of the user's own JSON.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Api, Client, Resource, ResourceExt,
    core::{ApiResource, DynamicObject},
    runtime::reflector::ObjectRef,
};
use loadtest_core::identity;
use loadtest_crds::{LoadTest, LoadTestRun, status::kind};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// The two kinds as the API server names them.
#[derive(Debug, Clone)]
pub struct Kinds {
    /// `LoadTest`.
    pub test: ApiResource,
    /// `LoadTestRun`.
    pub run: ApiResource,
}

impl Default for Kinds {
    fn default() -> Self {
        Self {
            test: ApiResource::erase::<LoadTest>(&()),
            run: ApiResource::erase::<LoadTestRun>(&()),
        }
    }
}

impl Kinds {
    /// A run by name.
    pub fn run_ref(&self, name: &str, namespace: &str) -> ObjectRef<DynamicObject> {
        ObjectRef::new_with(name, self.run.clone()).within(namespace)
    }

    /// A test by name.
    pub fn test_ref(&self, name: &str, namespace: &str) -> ObjectRef<DynamicObject> {
        ObjectRef::new_with(name, self.test.clone()).within(namespace)
    }

    /// Runs of a namespace.
    pub fn runs(&self, client: &Client, namespace: &str) -> Api<DynamicObject> {
        Api::namespaced_with(client.clone(), namespace, &self.run)
    }

    /// Tests of a namespace.
    pub fn tests(&self, client: &Client, namespace: &str) -> Api<DynamicObject> {
        Api::namespaced_with(client.clone(), namespace, &self.test)
    }
}

/// The id of a run.
pub fn run_id(run: &DynamicObject) -> String {
    identity::run_id(&run.uid().unwrap_or_default())
}

/// Whether a run, or the last run of a test, is over.
pub fn is_finished(object: &DynamicObject) -> bool {
    condition(object, kind::FINISHED)
        .and_then(|c| c.get("status"))
        .is_some_and(|s| s == "True")
}

fn condition<'a>(object: &'a DynamicObject, kind: &str) -> Option<&'a Value> {
    object
        .data
        .pointer("/status/conditions")?
        .as_array()?
        .iter()
        .find(|condition| condition.get("type").is_some_and(|found| found == kind))
}

/// A part of an object as its type.
///
/// # Errors
/// When it is not of this version.
pub fn part<T: DeserializeOwned>(
    object: &DynamicObject,
    name: &str,
) -> Result<Option<T>, serde_json::Error> {
    match object.data.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => T::deserialize(value).map(Some),
    }
}

/// The owner that made an object, if it is of this kind.
pub fn owner(object: &DynamicObject, kind: &str) -> Option<(String, String)> {
    let owner = object
        .owner_references()
        .iter()
        .find(|owner| owner.controller == Some(true) && owner.kind == kind)?;
    Some((owner.name.clone(), owner.uid.clone()))
}

/// What is applied to a root: metadata and status, never its spec.
///
/// With the uid: an object that was deleted and made anew must not get what was meant for the old
/// one.
pub fn applied(
    kind: &ApiResource,
    name: &str,
    uid: &str,
    metadata: &Value,
    status: Option<Value>,
) -> Value {
    let mut body = json!({"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata});
    if let Some(metadata) = body.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("name".to_owned(), json!(name));
        metadata.insert("uid".to_owned(), json!(uid));
    }
    if let (Some(status), Some(body)) = (status, body.as_object_mut()) {
        body.insert("status".to_owned(), status);
    }
    body
}

/// What events are about.
pub fn reference(object: &DynamicObject, kind: &ApiResource) -> ObjectReference {
    object.object_ref(kind)
}
