//! Thresholds: what must hold for a run to pass.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    rule,
    scalar::{Duration, Name},
};

/// Something that must hold for the run to pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Threshold {
    /// Name in status and reports; default: the expression.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub name: Option<String>,
    /// Metric, comparison and value with its unit: `latency.p99 < 250ms`, `errors.ratio < 1%`,
    /// `requests.rate >= 100/s`. Metrics: latency, serviceTime and group (how long groups took) with
    /// p50, p75, p90, p95, p99, p999, mean, min or max; errors.ratio, errors.count, requests.rate,
    /// requests.count, checks.ratio, iterations.count, iterations.rate, delivered.ratio,
    /// bytes.sent, bytes.received.
    #[schemars(length(min = 1, max = 64))]
    pub expr: String,
    /// Look at some of them only: exactly one of request, scenario and group. request is for metrics
    /// of requests: latency, serviceTime, errors, requests and bytes; group is for the metric group;
    /// scenario is for both.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<Selector>,
    /// Stop the whole load as soon as this has not held for a while; the run has failed then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub abort: Option<Abort>,
}

/// Some requests or groups: exactly one member.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::from(rule::SELECTOR))]
pub struct Selector {
    /// Requests of this name, in all scenarios.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub request: Option<String>,
    /// Requests, or groups, of this scenario.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scenario: Option<Name>,
    /// Groups of this name, in all scenarios.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub group: Option<String>,
}

/// When a threshold stops the load.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Abort {
    /// It must not hold over the last seconds, this many, such as 30s; at most 10m, default 10s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Duration>,
    /// Not before this many requests; default 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000_000_000))]
    pub min_requests: Option<i64>,
}
