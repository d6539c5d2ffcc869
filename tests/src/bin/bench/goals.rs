//! The goals, and whether they are met.

use crate::{
    Results,
    clients::Job,
    engine::{ExportCost, GROWTH_RATE, Memory, Punctuality, UserMemory},
    pairs::Compared,
    statistics::Spread,
};

pub const MIB: f64 = 1_048_576.0;

/// The time that the goal for growing memory speaks of.
const GROWTH_SECONDS: f64 = 600.0;

/// A line of the first table.
pub struct Goal {
    pub what: String,
    pub asked: String,
    pub measured: String,
    pub verdict: String,
}

/// Whether a number is at most what was asked for, and by how much not.
fn at_most(number: f64, limit: f64) -> String {
    let times = number / limit;
    if times <= 1.0 {
        "met".to_owned()
    } else if times < 2.0 {
        format!("**missed** by {:.0} %", (times - 1.0) * 100.0)
    } else {
        format!("**missed**: {times:.1} times as much")
    }
}

/// All of them, in the order in which they were measured.
pub fn goals(results: &Results) -> Vec<Goal> {
    let mut goals: Vec<Goal> = results.compared.iter().map(compared_goal).collect();
    goals.extend(results.export.iter().flat_map(export_goals));
    goals.extend(results.punctuality.iter().map(punctuality_goal));
    goals.extend(results.users.iter().flat_map(user_goals));
    goals.extend(results.growth.iter().map(growth_goal));
    goals
}

fn compared_goal(compared: &Compared) -> Goal {
    let ratio = compared.ratio;
    let verdict = match compared.comparison.goal {
        None => String::new(),
        Some(goal) if compared.is_undecided(goal) => {
            format!(
                "no verdict: chance makes {:.0} % here",
                compared.noise.median * 100.0
            )
        }
        Some(goal) if ratio.median >= goal => "met".to_owned(),
        Some(goal) => format!("**missed** by {:.0} %", (1.0 - ratio.median / goal) * 100.0),
    };
    Goal {
        what: format!(
            "requests per CPU second, ours over {}",
            compared.comparison.what
        ),
        asked: compared
            .comparison
            .goal
            .map(|goal| format!("≥ {goal:.2}"))
            .unwrap_or_default(),
        measured: format!(
            "{:.2} ({:.2} to {:.2})",
            ratio.median, ratio.lowest, ratio.highest
        ),
        verdict,
    }
}

fn export_goals(cost: &ExportCost) -> [Goal; 2] {
    let goal = |what: &str, limit: f64, spread: Spread| Goal {
        what: format!(
            "{what}, export on over off, at {} requests per second (60 % load)",
            thousands(cost.rate)
        ),
        asked: format!("≤ {limit:.2}"),
        measured: format!(
            "{:.2} ({:.2} to {:.2})",
            spread.median, spread.lowest, spread.highest
        ),
        verdict: at_most(spread.median, limit),
    };
    [
        goal("CPU of the engine per request", 1.03, cost.cpu),
        goal(
            "99th percentile of the latency, engine and exporter on one core",
            1.10,
            cost.p99,
        ),
    ]
}

fn punctuality_goal(punctuality: &Punctuality) -> Goal {
    let Punctuality {
        rate, median, p99, ..
    } = punctuality;
    let worse = if median / 100.0 > p99 / 250.0 {
        at_most(*median, 100.0)
    } else {
        at_most(*p99, 250.0)
    };
    Goal {
        what: format!(
            "requests sent after their due time, {} per second",
            thousands(*rate)
        ),
        asked: "half ≤ 100 µs, 99 % ≤ 250 µs".to_owned(),
        measured: format!("half ≤ {median:.0} µs, 99 % ≤ {p99:.0} µs"),
        verdict: worse,
    }
}

fn user_goals(memory: &UserMemory) -> Vec<Goal> {
    let users = thousands(memory.users);
    let (over, each) = match memory.job {
        Job::Secure => (" over TLS", 24.0),
        Job::Product | Job::Bodies => ("", 4.0),
    };
    let all = Goal {
        what: format!("resident memory of an engine with {users} connected users, export on"),
        asked: "≤ 64 MiB".to_owned(),
        measured: format!("{:.0} MiB", memory.all.highest / MIB),
        verdict: at_most(memory.all.highest, 64.0 * MIB),
    };
    let each = Goal {
        what: format!("resident memory for each user{over}"),
        asked: format!("≤ {each:.0} KiB"),
        measured: format!("{:.1} KiB", memory.each / 1024.0),
        verdict: at_most(memory.each, each * 1024.0),
    };
    if memory.job == Job::Secure {
        vec![each]
    } else {
        vec![all, each]
    }
}

fn growth_goal(memory: &Memory) -> Goal {
    let limit = 2.0 * MIB;
    let growth = (memory.slope * GROWTH_SECONDS).max(0.0);
    Goal {
        what: format!(
            "growth of the engine's memory in 10 minutes at {} requests per second, export on",
            thousands(GROWTH_RATE)
        ),
        asked: "≤ 2 MiB".to_owned(),
        measured: format!("{:.1} MiB", growth / MIB),
        verdict: if f64::from(memory.seconds) < GROWTH_SECONDS / 2.0 {
            format!("no verdict: watched only for {} s", memory.seconds)
        } else {
            at_most(growth, limit)
        },
    }
}

/// `10,000`
pub fn thousands(number: u32) -> String {
    if number < 1_000 {
        number.to_string()
    } else {
        format!("{},{:03}", number / 1_000, number % 1_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(
            [thousands(64), thousands(1_000), thousands(52_000)],
            ["64", "1,000", "52,000"]
        );
    }

    #[test]
    fn a_goal_that_is_missed_says_by_how_much() {
        assert_eq!(at_most(1.0, 2.0), "met");
        assert_eq!(at_most(2.2, 2.0), "**missed** by 10 %");
        assert_eq!(at_most(7.0, 2.0), "**missed**: 3.5 times as much");
    }
}
