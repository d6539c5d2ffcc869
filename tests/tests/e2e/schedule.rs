//! Runs that a schedule starts, and what is kept of them.

use std::time::Duration;

use anyhow::{Result, ensure};
use loadtest_tests::{cluster::Namespace, wait};

use crate::common::{manifest, text};

#[test]
#[ignore = "needs a cluster with the operator: make e2e"]
fn a_schedule_starts_runs_and_their_jobs_are_cleaned_up() -> Result<()> {
    Namespace::delivered("schedule", |namespace| {
        let more = "  schedule: { cron: \"* * * * *\", timeZone: Asia/Tokyo }
  cleanup: { jobs: Always, after: 0s, keepRuns: 1 }
";
        namespace.apply(&manifest("minutely", "20/s", 2, more))?;
        let test = wait::until("the next time", Duration::from_secs(20), || {
            let test = namespace.get("loadtest/minutely")?;
            Ok(test["status"]["nextScheduleTime"]
                .is_string()
                .then_some(test))
        })?;
        let next = text(&test, "/status/nextScheduleTime");
        ensure!(next.ends_with(":00Z"), "{next}");
        let runs = namespace.kubectl(&["get", "ltrun", "-o", "name"])?;
        ensure!(runs.is_empty(), "nothing runs before its time: {runs}");
        let run = wait::until("the run", Duration::from_secs(75), || {
            Ok(namespace.get("loadtestrun/minutely-1").ok())
        })?;
        let due = text(&run, "/metadata/annotations/loadtest.dev~1scheduled");
        ensure!(
            due.ends_with("0000000"),
            "a full minute in microseconds: {due}"
        );
        let created = text(&run, "/metadata/creationTimestamp");
        ensure!(created >= next, "due at {next}, created at {created}");
        namespace.wait_finished("loadtestrun/minutely-1", Duration::from_mins(1))?;
        wait::until("the Job to be deleted", Duration::from_secs(30), || {
            let jobs = namespace.kubectl(&["get", "jobs", "-o", "name"])?;
            Ok(jobs.is_empty().then_some(()))
        })?;
        let run = namespace.get("loadtestrun/minutely-1")?;
        ensure!(
            text(&run, "/status/verdict") == "Passed",
            "{}",
            run["status"]
        );
        let suspend = r#"{"spec":{"suspend":true}}"#;
        namespace.kubectl(&["patch", "ltest", "minutely", "--type=merge", "-p", suspend])?;
        Ok(())
    })
}
