//! Following a run: its end, Ctrl-C, time that is up, and a cluster that refuses.

use std::time::Duration;

use anyhow::{Result, ensure};
use loadtest_tests::{
    proxy::{Fault, Proxy},
    wait,
};
use serde_json::json;

use crate::{
    Here, LIMIT,
    common::{Started, signal},
    manifest, over,
};

#[test]
#[ignore = "needs an API server: make test-api"]
fn a_run_of_a_file_is_followed_to_its_end() -> Result<()> {
    let here = Here::new("wait")?;
    here.place.write("test.yaml", &manifest("shop"));
    let following = Started::new(here.command(&["run", "-f", "test.yaml", "--wait"]));
    let name = here.only_run()?;
    let run = here.namespace.get(&format!("ltrun/{name}"))?;
    ensure!(
        run["spec"]["test"]["target"]["url"] == "http://shop",
        "{run}"
    );
    let progress =
        json!({"elapsed": "5s", "rate": "10/s", "p95": "2.00ms", "errorRatio": "0%", "users": 3});
    here.status(
        &name,
        &json!({"phase": "Running", "message": "1 runner sends load", "progress": progress}),
    )?;
    // Until it has been seen: the next status would hide it.
    std::thread::sleep(Duration::from_secs(3));
    here.status(&name, &over("Failed", 1_234, "12.4ms"))?;
    let ended = following.wait(LIMIT).exits(1);
    ensure!(
        ended
            .stderr
            .contains("Running  5s  10/s  p95 2.00ms  errors 0%  users 3\n"),
        "{}",
        ended.stderr
    );
    ensure!(
        ended.stderr.ends_with("Finished  the test says Failed\n"),
        "{}",
        ended.stderr
    );
    let table = &ended.stdout;
    for line in [
        "Aggregated     1,234  1 (0.08%)  1234/s  12.4ms  12.4ms  12.4ms  12.4ms  9.00ms",
        "  ✓ latency.p95 < 1s  observed 12.4ms",
        "Verdict   Failed: the test says Failed",
    ] {
        ensure!(table.contains(line), "no {line:?} in\n{table}");
    }
    Ok(())
}

#[test]
#[ignore = "needs an API server: make test-api"]
fn ctrl_c_stops_the_run_unless_it_is_detached() -> Result<()> {
    let here = Here::new("stop")?;
    here.test("shop")?;
    let cancelled = |name: &str| -> Result<bool> {
        Ok(here.namespace.get(&format!("ltrun/{name}"))?["spec"]["cancel"] == true)
    };
    let following = Started::new(here.command(&["run", "shop", "--wait"]));
    let name = here.only_run()?;
    following.signal("INT");
    wait::until("the cancellation", LIMIT, || {
        Ok(cancelled(&name)?.then_some(()))
    })?;
    here.status(&name, &over("Aborted", 7, "5.00ms"))?;
    let ended = following.wait(LIMIT).exits(130);
    ensure!(
        ended.stdout.contains("Verdict   Aborted"),
        "{}",
        ended.stdout
    );

    // The second one leaves a run that does not end.
    here.namespace.kubectl(&["delete", "ltrun", "--all"])?;
    let following = Started::new(here.command(&["run", "shop", "--wait"]));
    let name = here.only_run()?;
    following.signal("TERM");
    wait::until("the cancellation", LIMIT, || {
        Ok(cancelled(&name)?.then_some(()))
    })?;
    following.signal("INT");
    let ended = following.wait(Duration::from_secs(5)).exits(130);
    ensure!(
        ended.stderr.contains("left; the run is stopping"),
        "{}",
        ended.stderr
    );

    here.namespace.kubectl(&["delete", "ltrun", "--all"])?;
    let following = Started::new(here.command(&["run", "shop", "--wait", "--detach"]));
    let name = here.only_run()?;
    following.signal("INT");
    let ended = following.wait(Duration::from_secs(5)).exits(130);
    ensure!(
        ended
            .stderr
            .contains("left; the run goes on: kubectl loadtest watch"),
        "{}",
        ended.stderr
    );
    ensure!(!cancelled(&name)?);

    let said = here.run(&["stop", "shop"]).exits(0).stdout;
    ensure!(
        said == format!("loadtestrun.loadtest.dev/{name} is told to stop\n"),
        "{said}"
    );
    ensure!(cancelled(&name)?);
    here.status(&name, &over("Aborted", 7, "5.00ms"))?;
    let said = here.run(&["stop", &name]).exits(0).stdout;
    ensure!(said.ends_with("is over already: Aborted\n"), "{said}");

    // Time that is up, and a run that is deleted meanwhile.
    let said = here
        .run(&["run", "shop", "--wait", "--timeout", "1s"])
        .exits(3)
        .stderr;
    ensure!(
        said.contains("is not over after 1s, and was told to stop"),
        "{said}"
    );
    here.namespace.kubectl(&["delete", "ltrun", "--all"])?;
    let following = Started::new(here.command(&["run", "shop", "--wait"]));
    let name = here.only_run()?;
    here.namespace.kubectl(&["delete", "ltrun", &name])?;
    let said = following.wait(LIMIT).exits(3).stderr;
    ensure!(said.contains("was deleted before it was over"), "{said}");
    Ok(())
}

#[test]
#[ignore = "needs an API server: make test-api"]
fn a_stop_that_fails_is_tried_again() -> Result<()> {
    let here = Here::new("retell")?;
    here.place.write("test.yaml", &manifest("shop"));
    let proxy = Proxy::new()?;
    here.through(&proxy)?;
    let start = |more: &[&str]| {
        let mut command = here.command(&["run", "-f", "test.yaml", "--wait"]);
        command.args(more).env("KUBECONFIG", "through");
        Started::new(command)
    };
    let cancelled = |name: &str| {
        wait::until("the cancellation", LIMIT, || {
            let run = here.namespace.get(&format!("ltrun/{name}"))?;
            Ok((run["spec"]["cancel"] == true).then_some(()))
        })
    };

    // By Ctrl-C, and by the end of the patience.
    for (more, code) in [(&[][..], 130), (&["--timeout", "1s"], 3)] {
        proxy.arm(|call| call.method == "PATCH", 1, Fault::Answer(500));
        let following = start(more);
        let name = here.only_run()?;
        if more.is_empty() {
            following.signal("INT");
        }
        cancelled(&name)?;
        ensure!(proxy.struck());
        if more.is_empty() {
            here.status(&name, &over("Aborted", 7, "5.00ms"))?;
        }
        let said = following.wait(LIMIT).exits(code).stderr;
        let told = ["the run is told to stop", "and was told to stop"];
        ensure!(told.iter().any(|told| said.contains(told)), "{said}");
        here.namespace.kubectl(&["delete", "ltrun", "--all"])?;
    }
    Ok(())
}

#[test]
#[ignore = "needs an API server: make test-api"]
fn who_may_not_stop_a_run_is_told_that_it_goes_on() -> Result<()> {
    let here = Here::new("nostop")?;
    here.place.write("test.yaml", &manifest("shop"));
    for args in [
        &["create", "role", "starter", "--verb=get,list,create"][..],
        &[
            "create",
            "rolebinding",
            "starter",
            "--role=starter",
            "--user=jane",
        ],
    ] {
        let resource = ["--resource=loadtestruns.loadtest.dev"];
        let is_role = args[1] == "role";
        here.namespace
            .kubectl(&[args, if is_role { &resource[..] } else { &[] }].concat())?;
    }
    let mut command = here.command(&["run", "-f", "test.yaml", "--wait", "--as", "jane"]);
    let said = here.place.path().join("said");
    command.stderr(std::fs::File::create(&said)?);
    let mut child = command.spawn()?;
    let name = here.only_run()?;
    signal(child.id(), "INT");
    wait::until("the refusal", LIMIT, || {
        let said = std::fs::read_to_string(&said)?;
        Ok(said.contains("may not stop the run").then_some(()))
    })?;
    signal(child.id(), "INT");
    ensure!(child.wait()?.code() == Some(130));
    let said = std::fs::read_to_string(&said)?;
    ensure!(
        said.ends_with(&format!(
            "left; the run goes on: kubectl loadtest watch {name} -n {}\n",
            here.namespace.name()
        )),
        "{said}"
    );
    ensure!(said.matches("may not stop the run").count() == 1, "{said}");
    Ok(())
}
