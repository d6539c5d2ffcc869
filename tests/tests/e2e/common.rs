//! What the tests share: manifests, and looking into what came of them.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use loadtest_tests::{cluster::Namespace, root};
use serde_json::Value;

pub const RUN_LIMIT: Duration = Duration::from_mins(4);

/// `examples/httpbin.yaml`, or a smaller test of the same shape.
pub fn example(file: &str) -> Result<String> {
    std::fs::read_to_string(root().join("examples").join(file)).context(file.to_owned())
}

/// A `LoadTest` at `rate` for `seconds`, without export unless `results` says so.
pub fn manifest(name: &str, rate: &str, seconds: u32, more: &str) -> String {
    format!(
        "apiVersion: loadtest.dev/v1alpha1
kind: LoadTest
metadata: {{ name: {name} }}
spec:
  target: {{ url: \"http://httpbin\" }}
  scenarios:
    - name: main
      load: {{ constantRate: {{ rate: {rate}, duration: {seconds}s }} }}
      gracefulStop: 5s
      tasks: [ {{ steps: [ {{ request: {{ url: /get }} }} ] }} ]
{more}"
    )
}

pub const TO_SEARCH: &str =
    "  results: { elasticsearch: { urls: [\"http://search:9200\"], drainTimeout: 60s } }\n";

/// Lines of the target's own access log with this run's User-Agent.
pub fn access_log_lines(namespace: &Namespace, run_id: &str) -> Result<usize> {
    let log = namespace.kubectl(&["logs", "deployment/httpbin", "--tail=-1"])?;
    let agent = format!("run/{run_id}\"");
    Ok(log.lines().filter(|line| line.contains(&agent)).count())
}

pub fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

pub fn number(value: &Value, pointer: &str) -> Result<u64> {
    value
        .pointer(pointer)
        .and_then(Value::as_u64)
        .with_context(|| format!("no {pointer} in {value}"))
}

pub fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    object["status"]["conditions"]
        .as_array()?
        .iter()
        .find(|c| c["type"] == kind)
}

pub fn is(object: &Value, kind: &str, status: &str, reason: &str) -> Result<()> {
    let found = condition(object, kind).with_context(|| format!("no condition {kind}"))?;
    ensure!(
        found["status"] == status && found["reason"] == reason,
        "{kind} should be {status} because of {reason}: {found}"
    );
    Ok(())
}
