//! `kubectl loadtest`: the commands that people and pipelines use, on a run that really runs.

use std::{
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use loadtest_tests::{
    cluster::{self, Namespace},
    root, wait,
};
use serde_json::Value;

use crate::common::{RUN_LIMIT, manifest, number, text};

/// A directory of its own with the release binary under the plugin's name.
struct Plugin {
    directory: PathBuf,
    namespace: String,
}

impl Plugin {
    fn new(namespace: &Namespace) -> Result<Self> {
        let directory = std::env::temp_dir().join(namespace.name());
        std::fs::create_dir_all(&directory)?;
        // Where the images have their binaries from.
        let binaries = std::env::var_os("BINARIES").map(PathBuf::from);
        let binaries = binaries.unwrap_or_else(|| root().join("target/release"));
        let binary = binaries.join("loadtest").canonicalize();
        let binary = binary.context("no binary: run `make build` first")?;
        symlink(binary, directory.join("kubectl-loadtest"))?;
        Ok(Self {
            directory,
            namespace: namespace.name().to_owned(),
        })
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.directory.join("kubectl-loadtest"));
        command
            .args(arguments)
            .args(["-n", &self.namespace])
            .current_dir(&self.directory)
            .env("KUBECONFIG", cluster::kubeconfig())
            .env("NO_COLOR", "1");
        command
    }

    /// What it printed, if it answered with this code.
    fn exits(&self, code: i32, arguments: &[&str]) -> Result<String> {
        let output = self.command(arguments).output()?;
        ensure!(
            output.status.code() == Some(code),
            "{arguments:?}: {output:?}"
        );
        Ok(String::from_utf8(output.stdout)?)
    }
}

impl Drop for Plugin {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

const FAST: &str = "  thresholds: [ { expr: latency.p95 < 5s } ]\n";

#[test]
#[ignore = "needs a cluster with the operator: make e2e"]
fn the_plugin_starts_follows_stops_compares_and_reports_runs() -> Result<()> {
    Namespace::delivered("plugin", |namespace| {
        let plugin = Plugin::new(namespace)?;
        let manual = format!("{FAST}  start: Manual\n");
        namespace.apply(&manifest("shop", "20/s", 5, &manual))?;

        let output = plugin.command(&["run", "shop", "--wait"]).output()?;
        let (first, run) = passed(namespace, &output)?;
        let requests = number(&run, "/status/summary/requests")?;
        ensure!(requests == 100, "{requests} requests");
        let table = String::from_utf8_lossy(&output.stdout);
        let rate = text(&run, "/status/summary/rate");
        ensure!(
            table.contains(&format!("Aggregated       {requests}")),
            "{table}"
        );
        ensure!(
            table.contains(rate) && table.contains("✓ latency.p95 < 5s"),
            "{table}"
        );
        ensure!(
            table.contains(text(&run, "/status/summary/latency/p95")),
            "{table}"
        );

        let file = plugin.directory.join("test.yaml");
        std::fs::write(&file, manifest("inline", "20/s", 5, FAST))?;
        let second = inline(&plugin, &file, &run)?;
        let compared = plugin.exits(0, &["compare", &first, &second])?;
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        ensure!(
            compared
                .lines()
                .any(|line| words(line) == "Aggregated requests 100 100 ="),
            "{compared}"
        );
        let history = plugin.exits(0, &["history"])?;
        ensure!(history.lines().count() == 3, "{history}");
        let logs = plugin.exits(0, &["logs", &second, "--runner", "0"])?;
        ensure!(
            logs.lines().any(|line| line.starts_with("[0/engine] ")),
            "{logs}"
        );

        stopped(namespace, &plugin)?;
        reported(&plugin, &first)
    })
}

/// The run that a command followed to a pass, and its name.
fn passed(namespace: &Namespace, output: &Output) -> Result<(String, Value)> {
    ensure!(output.status.success(), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    for phase in ["Running  ", "Finished  "] {
        ensure!(
            said.lines().any(|line| line.starts_with(phase)),
            "no {phase}in {said}"
        );
    }
    let name = said
        .lines()
        .find_map(|line| line.strip_prefix("loadtestrun/")?.split_once(' '))
        .map(|(name, _)| name.to_owned())
        .with_context(|| said.to_string())?;
    let run = namespace.get(&format!("loadtestrun/{name}"))?;
    Ok((name, run))
}

/// A run of a file, its status printed exactly as it is stored.
fn inline(plugin: &Plugin, file: &Path, other: &Value) -> Result<String> {
    let file = file.to_string_lossy();
    let printed = plugin.exits(0, &["run", "-f", &file, "--wait", "-q", "-o", "json"])?;
    let status: Value = serde_json::from_str(&printed)?;
    ensure!(text(&status, "/verdict") == "Passed", "{status}");
    ensure!(
        text(&status, "/run/id") != text(other, "/status/run/id"),
        "{status}"
    );
    let runs: Value = serde_json::from_str(&plugin.exits(0, &["history", "-o", "json"])?)?;
    let newest = &runs[0];
    ensure!(newest["status"] == status, "{newest}");
    Ok(text(newest, "/name").to_owned())
}

fn stopped(namespace: &Namespace, plugin: &Plugin) -> Result<()> {
    namespace.apply(&manifest("long", "20/s", 300, "  start: Manual\n"))?;
    let mut following = plugin.command(&["run", "long", "--wait"]).spawn()?;
    let result = wait::until("the load", Duration::from_mins(2), || {
        let args = ["get", "ltrun", "-o", "jsonpath={.items[*].status.phase}"];
        Ok(namespace.kubectl(&args)?.contains("Running").then_some(()))
    })
    .and_then(|()| plugin.exits(0, &["stop", "long"]));
    if result.is_err() {
        following.kill()?;
    }
    let code = following.wait()?.code();
    result?;
    ensure!(code == Some(130), "a stopped run answers {code:?}");
    Ok(())
}

fn reported(plugin: &Plugin, run: &str) -> Result<()> {
    let csv = plugin.exits(0, &["report", run, "-o", "csv"])?;
    let last = csv.lines().last().unwrap_or_default();
    ensure!(last.starts_with(",Aggregated,100,0,"), "{csv}");
    plugin.exits(0, &["report", run])?;
    let page = std::fs::read_to_string(plugin.directory.join(format!("{run}.html")))?;
    ensure!(
        page.contains("latency.p95") && page.contains("Passed"),
        "{page}"
    );
    // Over already: the answer at once.
    plugin.exits(0, &["watch", run])?;
    let waited = plugin.exits(
        0,
        &[
            "rerun",
            run,
            "--wait",
            "--timeout",
            &format!("{}s", RUN_LIMIT.as_secs()),
        ],
    )?;
    ensure!(waited.contains("Verdict   Passed"), "{waited}");
    Ok(())
}
