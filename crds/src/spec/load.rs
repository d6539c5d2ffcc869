//! Loads: the six models. Rates, users and iterations are those of all runners together.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    rule,
    scalar::{Duration, DurationOrZero, Rate, RateOrZero},
};

/// How much load and how long: exactly one member.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::from(rule::LOAD))]
pub struct Load {
    /// Open model: iterations begin at this rate whatever the target does, as visitors do who know
    /// nothing of each other. Latency counts from when an iteration was due.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub constant_rate: Option<ConstantRate>,
    /// Open model whose rate moves in straight lines from stage to stage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ramping_rate: Option<RampingRate>,
    /// Closed model: a fixed number of users, each begins its next iteration when the last has
    /// ended. A slow target is sent less load.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub constant_users: Option<ConstantUsers>,
    /// Closed model whose number of users moves in straight lines from stage to stage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ramping_users: Option<RampingUsers>,
    /// A number of iterations that users share: whoever is free takes the next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shared_iterations: Option<SharedIterations>,
    /// A number of iterations for every user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_user_iterations: Option<PerUserIterations>,
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
    /// Even (default): iterations begin evenly. Poisson: at random with the same rate, as
    /// independent visitors come.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arrivals: Option<Arrivals>,
}

/// Iterations at a rate that moves from stage to stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RampingRate {
    /// Rate at the beginning, such as 50/s; default 0/s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_rate: Option<RateOrZero>,
    /// One after the other, 1 to 32.
    #[schemars(length(min = 1, max = 32))]
    pub stages: Vec<RateStage>,
    /// Most users at once over all runners. When all of them wait for the target, iterations begin
    /// late; that is counted, and the wait is part of their latency. Default: twice the highest
    /// rate per second, at least 10, at most 10000, and never fewer than runners.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_users: Option<i32>,
    /// Even (default): the k-th iteration begins when the rate has summed up to k. Poisson: at
    /// random with the same rate, as independent visitors come.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arrivals: Option<Arrivals>,
}

/// The rate moves in a straight line from where it is to `rate`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RateStage {
    /// For how long, such as 30s; at 0s the rate jumps.
    pub duration: DurationOrZero,
    /// Rate at the end of the stage: 500/s, 30/m, 0/s.
    pub rate: RateOrZero,
}

/// How arrivals are spread. Even (default): evenly. Poisson: at random with the same rate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Arrivals {
    /// Evenly.
    #[default]
    Even,
    /// At random, as independent visitors come.
    Poisson,
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

/// A number of users that moves from stage to stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RampingUsers {
    /// Users at the beginning; default 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub start_users: Option<i32>,
    /// One after the other, 1 to 32. A user that is to leave ends the iteration it is in.
    #[schemars(length(min = 1, max = 32))]
    pub stages: Vec<UserStage>,
}

/// The number of users moves in a straight line from where it is to `users`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UserStage {
    /// For how long, such as 30s; at 0s the number jumps.
    pub duration: DurationOrZero,
    /// Users over all runners at the end of the stage, 0 to 1000000.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub users: i32,
}

/// A number of iterations that users share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SharedIterations {
    /// Users over all runners, 1 to 1000000.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub users: i32,
    /// Iterations of all users together, 1 to 1000000000.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub iterations: i64,
    /// Iterations that have not begun by then never do, which is told; default 10m.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_duration: Option<Duration>,
}

/// A number of iterations for every user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PerUserIterations {
    /// Users over all runners, 1 to 1000000.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub users: i32,
    /// Iterations of each user, 1 to 1000000000.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub iterations: i64,
    /// Iterations that have not begun by then never do, which is told; default 10m.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_duration: Option<Duration>,
}
