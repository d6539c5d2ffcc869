//! Labels, annotations and the run key: how objects of a test know each other.

use loadtest_core::identity;
use serde_json::{Map, Value};

/// API group.
pub const GROUP: &str = "loadtest.dev";
/// API version.
pub const VERSION: &str = "v1alpha1";

/// Label of all objects of a test: its name.
pub const LABEL_TEST: &str = "loadtest.dev/test";
/// Label of all objects of a run: its name.
pub const LABEL_RUN: &str = "loadtest.dev/run";
/// Label of a runner's pod: its index.
pub const LABEL_INDEX: &str = "loadtest.dev/index";
/// Annotation of a run: the key of what it was made from.
pub const ANNOTATION_RUN_KEY: &str = "loadtest.dev/run-key";
/// Annotation of a run: generation of the `LoadTest` that it was made from.
pub const ANNOTATION_TEST_GENERATION: &str = "loadtest.dev/test-generation";
/// Annotation of a `LoadTest`: key of its last run, so that one that is restored from a backup
/// without its runs does not fire.
pub const ANNOTATION_LAST_RUN_KEY: &str = "loadtest.dev/last-run-key";
/// Annotation of a run that a schedule made, and of the `LoadTest` of its last one: when it was due,
/// in microseconds since 1970.
pub const ANNOTATION_SCHEDULED: &str = "loadtest.dev/scheduled";
/// Annotation of a run that limits of the operator's configuration may have kept waiting: when it
/// was let go, in microseconds since 1970. Its objects are made after that.
pub const ANNOTATION_ADMITTED: &str = "loadtest.dev/admitted";
/// Annotation of a plan's `ConfigMap`: the hash that runners verify.
pub const ANNOTATION_PLAN_HASH: &str = "loadtest.dev/plan-hash";

/// Container of a runner's engine.
pub const CONTAINER_ENGINE: &str = "runner";
/// Container of a runner's exporter.
pub const CONTAINER_EXPORTER: &str = "exporter";

/// Key of the plan in its `ConfigMap`: JSON, gzip.
pub const KEY_PLAN: &str = "plan.json.gz";
/// Key of the judged view in the result's `ConfigMap`: JSON, gzip.
pub const KEY_VIEW: &str = "view.json.gz";

/// Fields of a `LoadTest`'s spec that say when it runs and not what a run does.
pub const NOT_RUN_RELEVANT: [&str; 5] = ["start", "suspend", "schedule", "cleanup", "baseline"];

/// The key of what a run is made from: another key asks for another run.
///
/// `spec` is the raw JSON of `LoadTest.spec` as the user wrote it, `runToken` included, never the
/// typed struct: a new version of these types must not make a test run again.
pub fn run_key_of(spec: &Value) -> String {
    let relevant: Map<String, Value> = spec
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(name, _)| !NOT_RUN_RELEVANT.contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    identity::run_key(&Value::Object(relevant))
}

/// Name of run `number` of a test.
pub fn run_name(test: &str, number: i64) -> String {
    format!("{test}-{number}")
}

/// Name of the `ConfigMap` with a run's plan.
pub fn plan_name(run: &str) -> String {
    format!("{run}-plan")
}

/// Name of the `ConfigMap` with a run's result.
pub fn result_name(run: &str) -> String {
    format!("{run}-result")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_run_key_covers_what_a_run_does_and_the_token() {
        let spec = json!({ "target": { "url": "http://a" }, "scenarios": [] });
        let key = run_key_of(&spec);
        let with = |name: &str, value: Value| {
            let mut spec = spec.clone();
            spec[name] = value;
            run_key_of(&spec)
        };
        assert_eq!(
            key,
            run_key_of(&json!({ "scenarios": [], "target": { "url": "http://a" } }))
        );
        assert_eq!(key, with("suspend", json!(true)));
        assert_eq!(key, with("start", json!("Manual")));
        assert_eq!(key, with("schedule", json!({ "cron": "@daily" })));
        assert_eq!(key, with("cleanup", json!({ "keepRuns": 3 })));
        assert_eq!(key, with("baseline", json!({ "run": "LastPassed" })));
        assert_ne!(key, with("runToken", json!(1)));
        assert_ne!(with("runToken", json!(1)), with("runToken", json!("1")));
        assert_ne!(key, with("maxDuration", json!("1m")));
        assert!(key.starts_with("v1:"), "{key}");
    }
}
