//! What keeps reports, status and the plan's `ConfigMap` within their sizes.

use loadtest_core::plan::{MAX_SERIES, Plan};

use super::Builder;

/// At most this many check names per test; every report carries two counters for each.
const MAX_CHECKS: usize = 200;
/// Largest plan before compression: a `ConfigMap` holds 1 MiB, and texts compress at least so well.
const MAX_PLAN_BYTES: usize = 3 << 20;

pub(super) fn check(plan: &Plan, builder: &mut Builder<'_>) {
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
