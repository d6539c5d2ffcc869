//! The `CustomResourceDefinition`s: what kube derives, with what it cannot say put right.

use kube::CustomResourceExt;
use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::{Value, json};

use crate::{
    spec::{LoadTest, LoadTestRun},
    yaml,
};

/// Says who wrote the committed files.
const HEADER: &str = "# Generated from the types of crds/ by `cargo run -p loadtest-crds --bin generate-crds`; a test keeps it true.\n";

/// The definition of `LoadTest`.
pub fn load_test() -> Value {
    let definition = LoadTest::crd();
    put_right(
        serde_json::to_value(definition).unwrap_or_default(),
        "What is run, and when.",
    )
}

/// The definition of `LoadTestRun`.
pub fn load_test_run() -> Value {
    let definition = LoadTestRun::crd();
    put_right(
        serde_json::to_value(definition).unwrap_or_default(),
        "What this run is a run of.",
    )
}

/// Schema of a definition's only version.
pub fn schema(definition: &Value) -> &Value {
    const SCHEMA: &str = "/spec/versions/0/schema/openAPIV3Schema";
    definition.pointer(SCHEMA).unwrap_or(&Value::Null)
}

/// Schema of any type, in the form of the others.
pub(crate) fn schema_of<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::openapi3().with(|settings| settings.inline_subschemas = true);
    let schema = settings.into_generator().into_root_schema_for::<T>();
    let mut schema = serde_json::to_value(schema).unwrap_or_default();
    walk(&mut schema);
    schema
}

/// Name and text of each committed file.
pub fn files() -> [(&'static str, String); 2] {
    [
        ("loadtests.loadtest.dev.yaml", load_test()),
        ("loadtestruns.loadtest.dev.yaml", load_test_run()),
    ]
    .map(|(name, definition)| (name, format!("{HEADER}{}", yaml::to_string(&definition))))
}

fn put_right(mut definition: Value, spec: &str) -> Value {
    let Some(schema) = definition.pointer_mut("/spec/versions/0/schema/openAPIV3Schema") else {
        return definition;
    };
    walk(schema);
    if let Some(description) = schema.pointer_mut("/properties/spec/description") {
        *description = json!(spec);
    }
    if let Some(Value::Object(status)) = schema.pointer_mut("/properties/status") {
        status.insert(
            "description".to_owned(),
            json!("What became of it; written by the operator."),
        );
        // kstatus takes an object without a status for one that is up to date.
        status.insert("default".to_owned(), json!({ "observedGeneration": -1 }));
    }
    definition
}

/// Visits a schema and all schemas within it.
fn walk(schema: &mut Value) {
    let Value::Object(members) = schema else {
        return;
    };
    // An absent field is left out; `field: null` is a mistake that should be told.
    members.remove("nullable");
    if let Some(Value::Array(values)) = members.get_mut("enum") {
        values.retain(|value| !value.is_null());
    }
    for bound in ["minimum", "maximum"] {
        if let Some(value) = members.get_mut(bound)
            && let Some(number) = value.as_f64()
        {
            *value = json!(number as i64);
        }
    }
    if let Some(Value::String(description)) = members.get_mut("description") {
        *description = for_explain(description);
    }
    if let Some(Value::Object(properties)) = members.get_mut("properties") {
        properties.values_mut().for_each(walk);
    }
    for inner in ["items", "additionalProperties"] {
        if let Some(inner) = members.get_mut(inner) {
            walk(inner);
        }
    }
}

/// Documentation comments as `kubectl explain` should print them: it wraps lines itself and shows
/// backticks as they are.
fn for_explain(text: &str) -> String {
    let paragraphs: Vec<_> = text
        .split("\n\n")
        .map(|paragraph| paragraph.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    paragraphs.join("\n\n").replace('`', "")
}
