//! Runs that are compared with earlier ones, and runs that wait for others.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use loadtest_tests::{cluster::Namespace, wait};

use crate::common::{RUN_LIMIT, condition, is, manifest, text};

#[test]
#[ignore = "needs a cluster with the operator: make e2e"]
fn a_run_that_got_worse_than_its_baseline_fails() -> Result<()> {
    Namespace::delivered("baseline", |namespace| {
        let more = "  baseline:
    run: LastPassed
    tolerances:
      - { metric: latency.p50, worseBy: 100% }
      - { metric: errors.ratio, worseBy: 0% }
      - { metric: latency.p50, worseBy: 200%, selector: { request: page } }
";
        let fast =
            manifest("shop", "20/s", 3, more).replace("url: /get", "name: page, url: /delay/0.05");
        namespace.apply(&fast)?;
        let first = namespace.wait_finished("loadtest/shop", RUN_LIMIT)?;
        ensure!(
            text(&first, "/status/verdict") == "Passed",
            "{}",
            first["status"]
        );
        is(&first, "Regressed", "Unknown", "NoBaseline")?;
        ensure!(
            first["status"]["baseline"].is_null(),
            "{}",
            first["status"]["baseline"]
        );

        // What runs are compared by is no part of what they do.
        let looser = fast.replace("worseBy: 0%", "worseBy: 1%");
        namespace.apply(&looser)?;
        namespace.apply(&looser.replace("/delay/0.05", "/delay/0.25"))?;
        let over = wait::until("the second run", RUN_LIMIT, || {
            let run = namespace.get("loadtestrun/shop-2").unwrap_or_default();
            let over = run["status"]["phase"] == "Finished";
            Ok(over.then_some(run))
        })?;
        let status = &over["status"];
        ensure!(text(&over, "/status/verdict") == "Failed", "{status}");
        is(&over, "Succeeded", "False", "Regressed")?;
        is(&over, "Regressed", "True", "Regressed")?;
        let baseline = &status["baseline"];
        ensure!(
            baseline["run"] == "shop-1" && baseline["regressed"] == true,
            "{baseline}"
        );
        let rows = baseline["tolerances"].as_array().context("no rows")?;
        ensure!(rows.len() == 3, "{baseline}");
        ensure!(
            rows[0]["metric"] == "latency.p50"
                && rows[0]["passed"] == false
                && rows[0]["before"] == first["status"]["summary"]["latency"]["p50"]
                && rows[0]["after"] == status["summary"]["latency"]["p50"],
            "{baseline}"
        );
        ensure!(
            rows[1]["passed"] == true && rows[1]["change"] == "+0 points",
            "{baseline}"
        );
        ensure!(
            rows[2]["metric"] == "latency.p50 of page" && rows[2]["passed"] == false,
            "{baseline}"
        );
        let message = text(&over, "/status/message");
        ensure!(
            message.starts_with("latency.p50 got worse than in run shop-1 by more than 100%: ")
                && message.contains(" (and 1 more)"),
            "{message}"
        );
        let events = namespace.kubectl(&["get", "events", "-o", "jsonpath={.items[*].message}"])?;
        ensure!(
            events.contains("Regressed: latency.p50 got worse"),
            "{events}"
        );

        // A run that passes again is compared with the last one that did.
        namespace.apply(&looser.replace("rate: 20/s", "rate: 21/s"))?;
        let third = wait::until("the third run", RUN_LIMIT, || {
            let run = namespace.get("loadtestrun/shop-3").unwrap_or_default();
            Ok((run["status"]["phase"] == "Finished").then_some(run))
        })?;
        is(&third, "Regressed", "False", "WithinTolerances")?;
        ensure!(
            third["status"]["baseline"]["run"] == "shop-1",
            "{}",
            third["status"]
        );
        ensure!(condition(&third, "Stalled").context("no Stalled")?["status"] == "False");
        Ok(())
    })
}

/// The release's values let three runs of a namespace be under way at once.
#[test]
#[ignore = "needs a cluster with the operator: make e2e"]
fn a_run_waits_in_the_queue_and_goes_when_another_ends() -> Result<()> {
    Namespace::delivered("queue", |namespace| {
        let names = ["first", "second", "third", "waits"];
        for name in names {
            namespace.apply(&manifest(name, "5/s", 6, ""))?;
        }
        let waiting = wait::until("a run to wait", Duration::from_secs(30), || {
            let run = namespace.get("loadtestrun/waits-1").unwrap_or_default();
            let queued = condition(&run, "Started").is_some_and(|c| c["reason"] == "Queued");
            Ok(queued.then_some(run))
        })?;
        let message = text(&waiting, "/status/message");
        ensure!(
            message.starts_with("waits at place 1 of the queue: 3 runs are under way in namespace")
                && message.ends_with("limits.maxConcurrentRuns of the operator's configuration"),
            "{message}"
        );
        ensure!(text(&waiting, "/status/phase") == "Pending", "{message}");
        let mut ends = Vec::new();
        for name in names {
            let test = namespace.wait_finished(&format!("loadtest/{name}"), RUN_LIMIT)?;
            ensure!(
                text(&test, "/status/verdict") == "Passed",
                "{}",
                test["status"]
            );
            let times = ["startTime", "completionTime"];
            ends.push(times.map(|time| text(&test, &format!("/status/run/{time}")).to_owned()));
        }
        let started = &ends[3][0];
        ensure!(
            ends.iter()
                .take(3)
                .any(|[_, completed]| completed <= started),
            "it began before any other had ended: {ends:?}"
        );
        Ok(())
    })
}
