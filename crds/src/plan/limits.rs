//! What keeps reports, status and the plan's `ConfigMap` within their sizes, and loads within what
//! can be meant.

use std::time::Duration;

use loadtest_core::{
    plan::{Lane, Load, MAX_LANES, MAX_SERIES, Plan},
    scalar::{Rate, format_duration},
};

use super::{Builder, LONGEST, load::model};

/// Highest rate per second: 1,000 runners of 10,000 iterations each.
const MAX_RATE: u64 = 10_000_000;
/// Most iterations of a load: 10,000,000/s for more than a day.
const MAX_ITERATIONS: u64 = 1_000_000_000_000;
/// Most users of all scenarios together: 1,000 runners of 1,000 users, or 100 of 10,000.
const MAX_USERS: u64 = 1_000_000;
/// Most servers that absolute urls lead to; each user has connections of its own to each.
const MAX_ORIGINS: usize = 32;

/// At most this many check names per test; every report carries two counters for each.
const MAX_CHECKS: usize = 200;
/// At most this many timed groups per test; every report and status carries a row for each.
const MAX_GROUPS: usize = 32;

/// At most this many values per test; every user remembers each.
const MAX_VALUES: usize = 64;

/// Largest plan before compression: a `ConfigMap` holds 1 MiB, and texts compress at least so well.
const MAX_PLAN_BYTES: usize = 3 << 20;

pub(super) fn check(plan: &Plan, builder: &mut Builder<'_>) {
    loads(plan, builder);
    // Flows that go in a circle, which was said, have no end to count to.
    if builder.problems.is_empty() {
        lanes(plan, builder);
    }
    sizes(plan, builder);
}

fn loads(plan: &Plan, builder: &mut Builder<'_>) {
    let mut users = 0;
    for (index, scenario) in plan.scenarios.iter().enumerate() {
        let load = &scenario.load;
        let path = format!("{}.scenarios[{index}].load.{}", builder.root, model(load));
        users += u64::from(load.max_users());
        let iterations = load.planned_iterations().unwrap_or(0);
        if let Some(rate) = peak(load).filter(|rate| rate.per_minute() > 60 * MAX_RATE) {
            builder.problem(
                &path,
                format!("a rate of {rate} cannot be meant, at most {MAX_RATE}/s over all runners"),
            );
        } else if iterations > MAX_ITERATIONS {
            builder.problem(
                &path,
                format!("{iterations} iterations cannot be meant, at most {MAX_ITERATIONS}: lower the number, the rate or the duration"),
            );
        }
        let end = scenario.start_after.saturating_add(load.duration());
        if end > LONGEST {
            builder.problem(
                &path,
                format!(
                    "would end {} after the start of the run, at most {}: use shorter stages, or run the test again by another runToken",
                    format_duration(end),
                    format_duration(LONGEST)
                ),
            );
        }
    }
    if users > MAX_USERS {
        builder.problem(
            &format!("{}.scenarios", builder.root),
            format!("have {users} users together, at most {MAX_USERS}: lower users or maxUsers"),
        );
    }
    if plan.target.other_origins.len() > MAX_ORIGINS {
        builder.problem(
            &format!("{}.scenarios", builder.root),
            format!(
                "absolute urls lead to {} other servers, at most {MAX_ORIGINS}",
                plan.target.other_origins.len()
            ),
        );
    }
    let load = plan.load_duration();
    if plan.warm_up > Duration::ZERO && plan.warm_up >= load {
        builder.problem(
            &format!("{}.warmUp", builder.root),
            format!(
                "{} is not shorter than the load of {}: nothing would be measured",
                format_duration(plan.warm_up),
                format_duration(load)
            ),
        );
    }
}

/// Flows side by side, which have a connection each.
fn lanes(plan: &Plan, builder: &mut Builder<'_>) {
    let scenarios = (0..).zip(&plan.scenarios);
    let mut all: Vec<(String, Lane)> = scenarios
        .map(|(index, scenario): (u32, _)| (format!("scenarios[{index}]"), Lane::of(scenario)))
        .collect();
    if let Some(once) = &plan.once {
        let errands = [("setup", once.setup), ("teardown", once.teardown)];
        all.extend(errands.into_iter().filter_map(|(field, flow)| {
            Some((field.to_owned(), Lane::of_flow(flow?, &once.flows)))
        }));
    }
    for (field, _) in all.iter().filter(|(_, lane)| lane.lanes() > MAX_LANES) {
        builder.problem(
            &format!("{}.{field}", builder.root),
            format!("a user would do more than {MAX_LANES} flows at the same time: nest fewer parallel steps"),
        );
    }
}

/// The highest rate of an open model.
fn peak(load: &Load) -> Option<Rate> {
    match load {
        Load::ConstantRate { rate, .. } => Some(*rate),
        Load::RampingRate {
            start_rate, stages, ..
        } => stages
            .iter()
            .map(|stage| stage.rate)
            .chain([*start_rate])
            .max_by_key(|rate| rate.per_minute()),
        _ => None,
    }
}

fn sizes(plan: &Plan, builder: &mut Builder<'_>) {
    let path = format!("{}.scenarios", builder.root);
    let series = plan.series.len();
    if series > MAX_SERIES {
        builder.problem(
            &path,
            format!("{series} request names are too many, at most {MAX_SERIES}: give requests of one kind the same name"),
        );
    }
    let checks = plan.checks.len();
    if checks > MAX_CHECKS {
        builder.problem(
            &path,
            format!("{checks} check names are too many, at most {MAX_CHECKS}: give checks of one kind the same name"),
        );
    }
    let groups = plan.groups.len();
    if groups > MAX_GROUPS {
        builder.problem(
            &path,
            format!("{groups} groups, polled requests included, are too many, at most {MAX_GROUPS} in all scenarios together"),
        );
    }
    let values = plan.inputs.values.len();
    if values > MAX_VALUES {
        builder.problem(
            &path,
            format!("{values} names of values are too many, at most {MAX_VALUES}: use a name again where its value is no longer needed"),
        );
    }
    // Variables are put in by now, and a large one may have been used often.
    if let Ok(bytes) = plan.to_bytes()
        && bytes.len() > MAX_PLAN_BYTES
    {
        builder.problem(
            &path,
            format!(
                "with its variables put in the test has {} KiB, at most {} KiB: use shorter bodies",
                bytes.len() >> 10,
                MAX_PLAN_BYTES >> 10
            ),
        );
    }
}
