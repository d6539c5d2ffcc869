//! Names that the operator writes into the cluster.

/// Field manager of everything that is applied, and controller of events.
pub const MANAGER: &str = "loadtest-operator";

pub use loadtest_crds::names::{
    ANNOTATION_ADMITTED as ADMITTED, ANNOTATION_LAST_RUN_KEY as LAST_RUN_KEY,
    ANNOTATION_PLAN_HASH as PLAN_HASH, ANNOTATION_RUN_KEY as RUN_KEY,
    ANNOTATION_SCHEDULED as SCHEDULED, ANNOTATION_TEST_GENERATION as TEST_GENERATION,
    CONTAINER_ENGINE as ENGINE_CONTAINER, CONTAINER_EXPORTER as EXPORTER_CONTAINER,
    KEY_PLAN as PLAN_KEY, KEY_VIEW as VIEW_KEY, LABEL_RUN as RUN_LABEL, LABEL_TEST as TEST_LABEL,
    plan_name as plan, result_name as result, run_name as run,
};

/// Label of everything that the operator makes.
pub const MANAGED_BY_LABEL: &str = "app.kubernetes.io/managed-by";

/// Annotation of runner pods: the id of their run.
pub const RUN_ID: &str = "loadtest.dev/run-id";
/// Annotation of runs: the moment of the start that runners were told, microseconds since 1970.
/// `status.run.startTime` has whole seconds only.
pub const START: &str = "loadtest.dev/start";
/// Annotation of runs: the decision to end the load early, as JSON.
pub const EARLY_END: &str = "loadtest.dev/early-end";
/// Annotation of a `LoadTest`: the number of the run whose key is noted beside it, so that one that
/// is left when that was deleted is known to be older.
pub const LAST_RUN_NUMBER: &str = "loadtest.dev/last-run-number";
/// Annotation that the Job controller gives each pod.
pub const COMPLETION_INDEX: &str = "batch.kubernetes.io/job-completion-index";

/// Key of the coordination server's authority in the plan's `ConfigMap`.
pub const CA_KEY: &str = "ca.crt";

/// The number of a test's next run: the first after `last` whose name nobody has taken.
pub fn next_number(test: &str, last: i64, taken: impl Fn(&str) -> bool) -> i64 {
    let mut number = last.saturating_add(1).max(1);
    while number < i64::MAX && taken(&run(test, number)) {
        number += 1;
    }
    number
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_gets_the_next_number_whose_name_is_free() {
        let others = [
            "shop-24567",
            "shop-2",
            "shop-3",
            "shop-01",
            "shop",
            "shopping-1",
        ];
        let next = |last| next_number("shop", last, |name| others.contains(&name));
        for (last, expected) in [
            (-1, 1),
            (0, 1),
            (1, 4),
            (2, 4),
            (4, 5),
            (24_566, 24_568),
            (i64::MAX, i64::MAX),
        ] {
            assert_eq!(next(last), expected, "after {last}");
        }
    }
}
