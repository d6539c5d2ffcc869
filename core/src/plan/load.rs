//! The shapes of a load.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    scalar::{Rate, duration_text},
    schedule::{Schedule, UserLevels},
};

/// The shape of a load. Rates, users and iterations are those of all runners together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Load {
    /// Open model: iterations begin at fixed times, whatever the target does.
    #[serde(rename_all = "camelCase")]
    ConstantRate {
        /// Iterations begun per time.
        rate: Rate,
        /// For how long.
        #[serde(with = "duration_text")]
        duration: Duration,
        /// Most users at once; beyond it arrivals wait, are late and are counted.
        max_users: u32,
        /// How arrivals are spread.
        arrivals: Arrivals,
    },
    /// Open model whose rate moves in straight lines from stage to stage.
    #[serde(rename_all = "camelCase")]
    RampingRate {
        /// Rate at the beginning.
        start_rate: Rate,
        /// One after the other.
        stages: Vec<RateStage>,
        /// Most users at once; beyond it arrivals wait, are late and are counted.
        max_users: u32,
        /// How arrivals are spread.
        arrivals: Arrivals,
    },
    /// Closed model: users repeat their iterations one after the other.
    #[serde(rename_all = "camelCase")]
    ConstantUsers {
        /// How many.
        users: u32,
        /// For how long.
        #[serde(with = "duration_text")]
        duration: Duration,
    },
    /// Closed model whose number of users moves in straight lines from stage to stage.
    #[serde(rename_all = "camelCase")]
    RampingUsers {
        /// Users at the beginning.
        start_users: u32,
        /// One after the other.
        stages: Vec<UserStage>,
    },
    /// A number of iterations that users share: whoever is free takes the next.
    #[serde(rename_all = "camelCase")]
    SharedIterations {
        /// How many users.
        users: u32,
        /// How many iterations over all users.
        iterations: u64,
        /// Iterations that have not begun by then never do.
        #[serde(with = "duration_text")]
        max_duration: Duration,
    },
    /// A number of iterations for every user.
    #[serde(rename_all = "camelCase")]
    PerUserIterations {
        /// How many users.
        users: u32,
        /// How many iterations of each.
        iterations: u64,
        /// Iterations that have not begun by then never do.
        #[serde(with = "duration_text")]
        max_duration: Duration,
    },
}

/// How the arrivals of an open model are spread.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Arrivals {
    /// Evenly: the `k`-th when the integral of the rate has reached `k`.
    #[default]
    Even,
    /// At random with the same rate, as independent visitors come; repeated by the seed.
    Poisson,
}

/// The rate moves to `rate` within `duration`, at once when that is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RateStage {
    /// How long.
    #[serde(with = "duration_text")]
    pub duration: Duration,
    /// Rate at its end.
    pub rate: Rate,
}

/// The number of users moves to `users` within `duration`, at once when that is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserStage {
    /// How long.
    #[serde(with = "duration_text")]
    pub duration: Duration,
    /// Users at its end.
    pub users: u32,
}

impl Load {
    /// How long new iterations begin, at most.
    pub fn duration(&self) -> Duration {
        match self {
            Self::ConstantRate { duration, .. } | Self::ConstantUsers { duration, .. } => *duration,
            Self::RampingRate { stages, .. } => stages.iter().map(|stage| stage.duration).sum(),
            Self::RampingUsers { stages, .. } => stages.iter().map(|stage| stage.duration).sum(),
            Self::SharedIterations { max_duration, .. }
            | Self::PerUserIterations { max_duration, .. } => *max_duration,
        }
    }

    /// Most users at once.
    pub fn max_users(&self) -> u32 {
        match self {
            Self::ConstantRate { max_users, .. } | Self::RampingRate { max_users, .. } => {
                *max_users
            }
            Self::ConstantUsers { users, .. }
            | Self::SharedIterations { users, .. }
            | Self::PerUserIterations { users, .. } => *users,
            Self::RampingUsers {
                start_users,
                stages,
            } => stages
                .iter()
                .map(|stage| stage.users)
                .fold(*start_users, u32::max),
        }
    }

    /// Whether iterations begin at times of their own, whatever the target does.
    pub fn is_open(&self) -> bool {
        matches!(self, Self::ConstantRate { .. } | Self::RampingRate { .. })
    }

    /// Open models: when arrivals are due, and how they are spread.
    pub fn arrivals(&self) -> Option<(Schedule, Arrivals)> {
        let (Self::ConstantRate { arrivals, .. } | Self::RampingRate { arrivals, .. }) = self
        else {
            return None;
        };
        Some((self.schedule()?, *arrivals))
    }

    /// Open models: when arrivals are due.
    pub fn schedule(&self) -> Option<Schedule> {
        match self {
            Self::ConstantRate { rate, duration, .. } => Some(Schedule::constant(*rate, *duration)),
            Self::RampingRate {
                start_rate, stages, ..
            } => Some(Schedule::ramping(*start_rate, stages)),
            _ => None,
        }
    }

    /// Ramping users: when each user is there.
    pub fn levels(&self) -> Option<UserLevels> {
        match self {
            Self::RampingUsers {
                start_users,
                stages,
            } => Some(UserLevels::new(*start_users, stages)),
            _ => None,
        }
    }

    /// How many iterations are to begin, for the models that say so: open ones and those with a
    /// number of iterations.
    pub fn planned_iterations(&self) -> Option<u64> {
        match self {
            Self::SharedIterations { iterations, .. } => Some(*iterations),
            Self::PerUserIterations {
                users, iterations, ..
            } => Some(u64::from(*users).saturating_mul(*iterations)),
            _ => self.schedule().map(|schedule| schedule.count()),
        }
    }
}
