//! What was asked for, in words.

use loadtest_core::{
    plan::{Arrivals, Load, Plan, Scenario},
    scalar::format_duration,
};

/// A scenario in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScenarioRow {
    /// Name.
    pub name: String,
    /// Its load.
    pub load: String,
    /// Its tasks, with weights.
    pub tasks: String,
}

/// Every scenario of a plan.
pub fn scenarios(plan: &Plan) -> Vec<ScenarioRow> {
    plan.scenarios
        .iter()
        .map(|scenario| ScenarioRow {
            name: scenario.name.clone(),
            load: when(scenario),
            tasks: tasks(scenario),
        })
        .collect()
}

fn tasks(scenario: &Scenario) -> String {
    if let [only] = scenario.tasks.as_slice() {
        return only.name.clone();
    }
    let tasks = scenario.tasks.iter();
    tasks
        .map(|task| format!("{} × {}", task.weight, task.name))
        .collect::<Vec<_>>()
        .join(", ")
}

fn when(scenario: &Scenario) -> String {
    let load = in_words(&scenario.load);
    if scenario.start_after.is_zero() {
        load
    } else {
        format!(
            "{load}, begins after {}",
            format_duration(scenario.start_after)
        )
    }
}

/// A load in words: `200/s for 1m`.
pub fn in_words(load: &Load) -> String {
    let random = |arrivals: &Arrivals| match arrivals {
        Arrivals::Even => "",
        Arrivals::Poisson => ", at random times",
    };
    match load {
        Load::ConstantRate {
            rate,
            duration,
            max_users,
            arrivals,
        } => format!(
            "{rate} for {}, at most {max_users} users{}",
            format_duration(*duration),
            random(arrivals)
        ),
        Load::RampingRate {
            start_rate,
            stages,
            max_users,
            arrivals,
        } => {
            let steps = stages
                .iter()
                .map(|stage| format!(" → {} in {}", stage.rate, format_duration(stage.duration)));
            format!(
                "{start_rate}{}, at most {max_users} users{}",
                steps.collect::<String>(),
                random(arrivals)
            )
        }
        Load::ConstantUsers { users, duration } => {
            format!("{users} users for {}", format_duration(*duration))
        }
        Load::RampingUsers {
            start_users,
            stages,
        } => {
            let steps = stages
                .iter()
                .map(|stage| format!(" → {} in {}", stage.users, format_duration(stage.duration)));
            format!("{start_users} users{}", steps.collect::<String>())
        }
        Load::SharedIterations {
            users,
            iterations,
            max_duration,
        } => format!(
            "{iterations} iterations shared by {users} users, within {}",
            format_duration(*max_duration)
        ),
        Load::PerUserIterations {
            users,
            iterations,
            max_duration,
        } => format!(
            "{iterations} iterations of each of {users} users, within {}",
            format_duration(*max_duration)
        ),
    }
}
