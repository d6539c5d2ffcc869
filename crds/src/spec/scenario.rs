//! Scenarios: how much load, and what its users do.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Step;
use crate::{
    rule,
    scalar::{Duration, DurationOrZero, Name, Rate},
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
    /// How much load and how long: exactly one of constantRate and constantUsers.
    pub load: Load,
    /// How long iterations that are under way at the end may take, such as 10s; default 30s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub graceful_stop: Option<DurationOrZero>,
    /// What users do, 1 to 16 tasks. Each iteration runs one of them, chosen by weight.
    #[schemars(length(min = 1, max = 16))]
    pub tasks: Vec<Task>,
}

/// How much load and how long: exactly one member.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::from(rule::LOAD))]
pub struct Load {
    /// Open model: iterations begin at this rate whatever the target does, as visitors do who know
    /// nothing of each other. Latency counts from when an iteration was due.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub constant_rate: Option<ConstantRate>,
    /// Closed model: a fixed number of users, each begins its next iteration when the last has
    /// ended. A slow target is sent less load.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub constant_users: Option<ConstantUsers>,
}

/// Iterations at a fixed rate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConstantRate {
    /// Iterations begun per second or minute over all runners: 200/s, 30/m.
    pub rate: Rate,
    /// For how long, such as 1m30s.
    pub duration: Duration,
    /// Most users at once over all runners. When all of them wait for the target, iterations begin
    /// late; that is counted, and the wait is part of their latency. Default: twice the rate per
    /// second, at least 10, at most 10000, and never fewer than runners.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_users: Option<i32>,
}

/// A fixed number of users.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConstantUsers {
    /// Users over all runners, 1 to 1000000.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub users: i32,
    /// For how long, such as 1m30s.
    pub duration: Duration,
}

/// A list of steps; one pass is an iteration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Task {
    /// Name, unique within the scenario; default task-1, task-2 and so on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Name>,
    /// How often it runs in comparison with the other tasks of the scenario; default 1. The shares
    /// are exact: weights 3 and 1 give three of every four iterations to the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 10_000))]
    pub weight: Option<i32>,
    /// How long a user of constantUsers waits after each iteration, drawn evenly from the range;
    /// default: not at all. constantRate has no use for it and refuses it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub think_time: Option<Pause>,
    /// What is done, in order: 1 to 32 steps, each exactly one of request and pause.
    #[schemars(length(min = 1, max = 32))]
    pub steps: Vec<Step>,
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
