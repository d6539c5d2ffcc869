//! The `CustomResourceDefinition`s: what kube derives, with what it cannot say put right.

use kube::CustomResourceExt;
use serde_json::Value;

use crate::spec::{LoadTest, LoadTestRun};

/// The definition of `LoadTest`.
pub fn load_test() -> Value {
    serde_json::to_value(LoadTest::crd()).unwrap_or_default()
}

/// The definition of `LoadTestRun`.
pub fn load_test_run() -> Value {
    serde_json::to_value(LoadTestRun::crd()).unwrap_or_default()
}

/// Schema of a definition's only version.
pub fn schema(definition: &Value) -> &Value {
    &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
}
