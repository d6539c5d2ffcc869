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
/// Annotation that the Job controller gives each pod.
pub const COMPLETION_INDEX: &str = "batch.kubernetes.io/job-completion-index";

/// Key of the coordination server's authority in the plan's `ConfigMap`.
pub const CA_KEY: &str = "ca.crt";

/// The number in the name of a test's run, if it is one.
pub fn number(test: &str, run: &str) -> Option<i64> {
    let digits = run.strip_prefix(test)?.strip_prefix('-')?;
    let canonical = !digits.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| canonical)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_runs_are_read_from_their_names() {
        for (run, expected) in [
            ("shop-1", Some(1)),
            ("shop-12", Some(12)),
            ("shop-0", None),
            ("shop-01", None),
            ("shop-+1", None),
            ("shop-", None),
            ("shop", None),
            ("shop-a-1", None),
            ("shopping-1", None),
            ("shop-99999999999999999999", None),
        ] {
            assert_eq!(number("shop", run), expected, "{run}");
        }
    }
}
