//! Loads: the six models with their defaults, and what cannot be meant.

use std::time::Duration;

use loadtest_core::{
    plan::{Arrivals, Load, RateStage, UserStage},
    scalar::Rate,
};

use super::{Builder, DEFAULT_ITERATIONS_DURATION};
use crate::{
    rule,
    spec::{self, ConstantRate, RampingRate, RampingUsers},
};

/// Fewest and most users that an open model gets when `maxUsers` does not say.
const DEFAULT_MAX_USERS: (u64, u64) = (10, 10_000);

/// Stands in for a duration that was refused, so that nothing else is said of it.
const STAND_IN: Duration = Duration::from_mins(1);

/// The name of a model as people write it.
pub(super) fn model(load: &Load) -> &'static str {
    match load {
        Load::ConstantRate { .. } => "constantRate",
        Load::RampingRate { .. } => "rampingRate",
        Load::ConstantUsers { .. } => "constantUsers",
        Load::RampingUsers { .. } => "rampingUsers",
        Load::SharedIterations { .. } => "sharedIterations",
        Load::PerUserIterations { .. } => "perUserIterations",
    }
}

impl Builder<'_> {
    pub(super) fn load(&mut self, path: &str, load: &spec::Load) -> Load {
        let spec::Load {
            constant_rate,
            ramping_rate,
            constant_users,
            ramping_users,
            shared_iterations,
            per_user_iterations,
        } = load;
        let at = |model: &str| format!("{path}.{model}");
        let models = [
            constant_rate
                .as_ref()
                .map(|load| self.constant_rate(&at("constantRate"), load)),
            ramping_rate
                .as_ref()
                .map(|load| self.ramping_rate(&at("rampingRate"), load)),
            constant_users.as_ref().map(|load| Load::ConstantUsers {
                users: self.users(&at("constantUsers.users"), load.users),
                duration: self.load_duration(&at("constantUsers.duration"), &load.duration),
            }),
            ramping_users
                .as_ref()
                .map(|load| self.ramping_users(&at("rampingUsers"), load)),
            shared_iterations
                .as_ref()
                .map(|load| Load::SharedIterations {
                    users: self.users(&at("sharedIterations.users"), load.users),
                    iterations: self
                        .iterations(&at("sharedIterations.iterations"), load.iterations),
                    max_duration: self.iterations_duration(
                        &at("sharedIterations.maxDuration"),
                        load.max_duration.as_deref(),
                    ),
                }),
            per_user_iterations
                .as_ref()
                .map(|load| Load::PerUserIterations {
                    users: self.users(&at("perUserIterations.users"), load.users),
                    iterations: self
                        .iterations(&at("perUserIterations.iterations"), load.iterations),
                    max_duration: self.iterations_duration(
                        &at("perUserIterations.maxDuration"),
                        load.max_duration.as_deref(),
                    ),
                }),
        ];
        let mut models = models.into_iter().flatten();
        if let (Some(load), None) = (models.next(), models.next()) {
            return load;
        }
        self.problem(path, rule::LOAD.message());
        // Stands in for a load that was refused; no plan with it is ever handed out.
        Load::ConstantUsers {
            users: 0,
            duration: Duration::ZERO,
        }
    }

    fn constant_rate(&mut self, path: &str, open: &ConstantRate) -> Load {
        let rate = self.rate(&format!("{path}.rate"), &open.rate);
        if rate.events == 0 {
            self.problem(&format!("{path}.rate"), "a rate of zero sends nothing");
        }
        Load::ConstantRate {
            rate,
            duration: self.load_duration(&format!("{path}.duration"), &open.duration),
            max_users: self.max_users(path, open.max_users, rate),
            arrivals: arrivals(open.arrivals),
        }
    }

    fn ramping_rate(&mut self, path: &str, open: &RampingRate) -> Load {
        let start_rate = match &open.start_rate {
            Some(rate) => self.rate(&format!("{path}.startRate"), rate),
            None => Rate {
                events: 0,
                per: Duration::from_secs(1),
            },
        };
        let mut stages = Vec::with_capacity(open.stages.len());
        for (index, stage) in open.stages.iter().enumerate() {
            let path = format!("{path}.stages[{index}]");
            stages.push(RateStage {
                duration: self.duration(
                    &format!("{path}.duration"),
                    Some(&stage.duration),
                    STAND_IN,
                ),
                rate: self.rate(&format!("{path}.rate"), &stage.rate),
            });
        }
        let peak = stages.iter().map(|stage| stage.rate).fold(start_rate, max);
        let load = Load::RampingRate {
            max_users: self.max_users(path, open.max_users, peak),
            arrivals: arrivals(open.arrivals),
            start_rate,
            stages,
        };
        self.stages(path, &load, load.planned_iterations() == Some(0));
        load
    }

    fn ramping_users(&mut self, path: &str, closed: &RampingUsers) -> Load {
        let start_users = closed.start_users.unwrap_or(0);
        let mut stages = Vec::with_capacity(closed.stages.len());
        for (index, stage) in closed.stages.iter().enumerate() {
            let path = format!("{path}.stages[{index}].duration");
            stages.push(UserStage {
                duration: self.duration(&path, Some(&stage.duration), STAND_IN),
                users: u32::try_from(stage.users).unwrap_or(0),
            });
        }
        let load = Load::RampingUsers {
            start_users: u32::try_from(start_users).unwrap_or(0),
            stages,
        };
        let nobody = load
            .levels()
            .is_some_and(|levels| levels.next_presence(0, 0).is_none());
        self.stages(path, &load, nobody);
        load
    }

    /// What must be true of stages as a whole.
    fn stages(&mut self, path: &str, load: &Load, nothing: bool) {
        let path = format!("{path}.stages");
        if load.duration().is_zero() {
            self.problem(
                &path,
                "all durations are 0s: a load of no length sends nothing",
            );
        } else if nothing {
            self.problem(
                &path,
                "are all zero: a load that stays at zero sends nothing",
            );
        }
    }

    fn rate(&mut self, path: &str, text: &str) -> Rate {
        text.parse().unwrap_or_else(|error| {
            self.problem(path, error);
            Rate {
                events: 1,
                per: Duration::from_secs(1),
            }
        })
    }

    fn users(&mut self, path: &str, users: i32) -> u32 {
        let users = u32::try_from(users).unwrap_or(0);
        if users == 0 {
            self.problem(path, "at least one user is needed");
        }
        users
    }

    fn iterations(&mut self, path: &str, iterations: i64) -> u64 {
        let iterations = u64::try_from(iterations).unwrap_or(0);
        if iterations == 0 {
            self.problem(path, "at least one iteration is needed");
        }
        iterations
    }

    /// Arrivals are dealt out to the runners beforehand: those of a runner without users would
    /// never begin.
    fn max_users(&mut self, path: &str, users: Option<i32>, peak: Rate) -> u32 {
        let Some(users) = users else {
            return default_max_users(peak).max(self.runners);
        };
        let users = u32::try_from(users).unwrap_or(0);
        if users < self.runners {
            let message = format!(
                "{users} users cannot be shared by {} runners: every runner needs at least one",
                self.runners
            );
            self.problem(&format!("{path}.maxUsers"), message);
        }
        users
    }

    fn load_duration(&mut self, path: &str, text: &str) -> Duration {
        let duration = self.duration(path, Some(text), STAND_IN);
        if duration.is_zero() {
            self.problem(path, "a load of no length sends nothing");
        }
        duration
    }

    fn iterations_duration(&mut self, path: &str, text: Option<&str>) -> Duration {
        text.map_or(DEFAULT_ITERATIONS_DURATION, |text| {
            self.load_duration(path, text)
        })
    }
}

fn arrivals(arrivals: Option<spec::Arrivals>) -> Arrivals {
    match arrivals.unwrap_or_default() {
        spec::Arrivals::Even => Arrivals::Even,
        spec::Arrivals::Poisson => Arrivals::Poisson,
    }
}

fn max(one: Rate, other: Rate) -> Rate {
    if other.per_minute() > one.per_minute() {
        other
    } else {
        one
    }
}

fn default_max_users(rate: Rate) -> u32 {
    let (fewest, most) = DEFAULT_MAX_USERS;
    let twice = (u128::from(rate.events) * 2).div_ceil(u128::from(rate.per.as_secs().max(1)));
    u32::try_from(twice.clamp(u128::from(fewest), u128::from(most))).unwrap_or(u32::MAX)
}
