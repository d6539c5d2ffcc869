//! Rows of data from a `ConfigMap`: awaited, looked at, and shared by the runners.

use std::time::Duration;

use anyhow::{Result, ensure};
use loadtest_tests::{cluster::Namespace, wait};
use serde_json::json;

use crate::common::{RUN_LIMIT, condition, is, manifest, number, text};

const ROWS: u64 = 40;

/// As many iterations as there are rows, on two runners.
fn each_row_once(name: &str, column: &str) -> String {
    let data = "  data: [ { name: users, from: { configMapRef: { name: shop, key: users.csv } } } ]
  runners: { count: 2, startTimeout: 60s }\n";
    manifest(name, "10/s", 5, data)
        .replace(
            "{ constantRate: { rate: 10/s, duration: 5s } }",
            &format!("{{ sharedIterations: {{ users: 4, iterations: {ROWS} }} }}"),
        )
        .replace(
            "url: /get",
            &format!("url: \"/get?user=$(users.{column})\""),
        )
}

#[test]
#[ignore = "needs a cluster with the operator: make e2e"]
fn a_run_waits_for_its_data_and_uses_each_row_once() -> Result<()> {
    Namespace::with_target("data")?.explain(|namespace| {
        namespace.apply(&each_row_once("early", "id"))?;
        wait::until(
            "the missing ConfigMap to be told",
            Duration::from_secs(20),
            || {
                let test = namespace.get("ltest/early").unwrap_or_default();
                let told = condition(&test, "Accepted").is_some_and(|c| c["status"] == "False");
                if !told {
                    return Ok(None);
                }
                is(&test, "Accepted", "False", "DataMissing")?;
                is(&test, "Finished", "False", "DataMissing")?;
                let message = text(&test, "/status/message");
                let named = message.contains("\"shop\"") && message.contains("\"users.csv\"");
                ensure!(named, "{message}");
                Ok(Some(()))
            },
        )?;
        let ids: Vec<_> = (0..ROWS).map(|row| format!("u{row:02}")).collect();
        let csv = format!("id,name\n{}", ids.join(",x\n") + ",x");
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "shop"}, "data": {"users.csv": csv}});
        namespace.apply(&map.to_string())?;
        let test = namespace.wait_finished("ltest/early", RUN_LIMIT)?;
        ensure!(
            text(&test, "/status/verdict") == "Passed",
            "{}",
            test["status"]
        );
        is(&test, "Accepted", "True", "Accepted")?;
        ensure!(
            number(&test, "/status/summary/requests")? == ROWS,
            "{}",
            test["status"]
        );
        let agent = format!("run/{}\"", text(&test, "/status/run/id"));
        let log = namespace.kubectl(&["logs", "deployment/httpbin", "--tail=-1"])?;
        let seen: Vec<_> = log.lines().filter(|line| line.contains(&agent)).collect();
        for id in &ids {
            let count = seen
                .iter()
                .filter(|line| line.contains(&format!("user={id}")))
                .count();
            ensure!(count == 1, "row {id} was used {count} times: {seen:#?}");
        }

        // What the data has not is refused before anything runs.
        namespace.apply(&each_row_once("wrong", "mail"))?;
        let test = namespace.wait_finished("ltest/wrong", RUN_LIMIT)?;
        is(&test, "Accepted", "False", "InvalidSpec")?;
        let message = text(&test, "/status/message");
        ensure!(message.contains("users.mail"), "{message}");
        let jobs = namespace.kubectl(&["get", "job", "-o", "name"])?;
        ensure!(!jobs.contains("wrong"), "{jobs}");
        Ok(())
    })
}
