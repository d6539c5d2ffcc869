//! Scenarios: a load, and what its users do.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Load, Step};
use crate::{
    rule,
    scalar::{Duration, DurationOrZero, Name},
};

/// A named load and the tasks that its users do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Scenario {
    /// Unique name, at most 52 characters of a-z, 0-9 and -.
    pub name: Name,
    /// Begin this long after the start of the run, such as 30s; default 0s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_after: Option<DurationOrZero>,
    /// How much load and how long: exactly one of the six models.
    pub load: Load,
    /// How long iterations that are under way at the end may take, such as 10s; default 30s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub graceful_stop: Option<DurationOrZero>,
    /// How long a user keeps a connection. KeepAlive (default): as long as the server does.
    /// PerIteration: closed after each iteration, so that every iteration is a new visitor.
    /// PerRequest: closed after each request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections: Option<Connections>,
    /// How long a user keeps the cookies that it is given. Iteration (default): forgotten after
    /// each iteration. User, the default beside onStart: kept for the user's life. Off: never kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cookies: Option<Cookies>,
    /// Name of a flow that each user does once before its first iteration, such as a login. Its
    /// requests are recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_start: Option<Name>,
    /// Name of a flow that each user does once after its last iteration, such as a logout, within
    /// gracefulStop. Its requests are recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_stop: Option<Name>,
    /// What users do, 1 to 16 tasks. Each iteration runs one of them, chosen by weight.
    #[schemars(length(min = 1, max = 16))]
    pub tasks: Vec<Task>,
}

/// How long a user keeps a connection. KeepAlive (default): as long as the server does.
/// PerIteration: closed after each iteration, so that every iteration is a new visitor. PerRequest:
/// closed after each request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Connections {
    /// As long as the server does.
    #[default]
    KeepAlive,
    /// Closed after each iteration.
    PerIteration,
    /// Closed after each request.
    PerRequest,
}

/// How long a user keeps the cookies that it is given. Iteration (default): forgotten after each
/// iteration. User, the default beside onStart: kept for the user's life. Off: never kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Cookies {
    /// Forgotten after each iteration.
    Iteration,
    /// Kept for the user's life.
    User,
    /// Never kept.
    Off,
}

/// What is done in an iteration: exactly one of steps and flow.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::from(rule::TASK))]
pub struct Task {
    /// Name, unique within the scenario; default task-1, task-2 and so on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Name>,
    /// How often it runs in comparison with the other tasks of the scenario; default 1. The shares
    /// are exact: weights 3 and 1 give three of every four iterations to the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 10_000))]
    pub weight: Option<i32>,
    /// How long a user waits after each iteration, drawn evenly from the range; default: not at
    /// all. constantRate and rampingRate have no use for it and refuse it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub think_time: Option<Pause>,
    /// Instead of thinkTime: from the start of an iteration to the start of the user's next one,
    /// such as 5s; at once when the iteration took longer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pacing: Option<Duration>,
    /// What is done, in order: 1 to 32 steps, each exactly one of request, pause, set, call, group,
    /// repeat, parallel and custom. One pass is an iteration.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32))]
    pub steps: Option<Vec<Step>>,
    /// Instead of steps: name of the flow in spec.flows that is done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flow: Option<Name>,
}

/// A wait, drawn evenly from the range.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Pause {
    /// Shortest, such as 500ms.
    pub min: DurationOrZero,
    /// Longest, such as 1s; not below min.
    pub max: Duration,
}
