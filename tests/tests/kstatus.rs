//! How Flux and Argo CD see a test and a run in each of their phases: the real kstatus library, and the
//! health script for Argo CD in the interpreter that Argo CD uses, over objects as a real API server
//! returns them.
//!
//! Run by `make test-api`, which builds `tests/kstatus` first.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use loadtest_core::{
    verdict::{Judgement, Reason, Verdict},
    view::{Delivery, Phase, RunView},
};
use loadtest_crds::{
    LoadTestRunStatus, LoadTestStatus, Problem,
    problem::Stage,
    status::{Facts, LastRunFacts, Next, TestFacts, load_test_status, refused_run_status, time_of},
};
use loadtest_tests::{
    cluster::{Namespace, OperatorAway},
    root,
};
use serde_json::{Value, json};

#[path = "../../crds/tests/status/fixtures.rs"]
#[allow(dead_code, reason = "the tests of the status use the rest")]
mod fixtures;

use fixtures::{START, identity, status_at, view};

/// What `tests/kstatus` says of each object: kstatus, and the health in Argo CD.
fn seen(objects: &[Value]) -> Result<Vec<(String, String)>> {
    let mut child = Command::new(root().join("target/kstatus/kstatus"))
        .arg(root().join("charts/loadtest-operator/files/argocd/health.lua"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("no target/kstatus/kstatus: run `make test-api`")?;
    let mut input = child.stdin.take().context("no standard input")?;
    for object in objects {
        writeln!(input, "{object}")?;
    }
    drop(input);
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "kstatus failed: {}", output.status);
    let lines = String::from_utf8(output.stdout)?;
    lines
        .lines()
        .map(|line| {
            let answer: Value = serde_json::from_str(line)?;
            let status = |of: &str| answer[of]["status"].as_str().unwrap_or_default().to_owned();
            Ok((status("kstatus"), status("argocd")))
        })
        .collect()
}

fn spec(more: &Value) -> Value {
    let mut spec = json!({
        "target": {"url": "http://t"},
        "scenarios": [{
            "name": "main",
            "load": {"constantUsers": {"users": 1, "duration": "1s"}},
            "tasks": [{"steps": [{"request": {"url": "/"}}]}],
        }],
    });
    if let (Some(spec), Some(more)) = (spec.as_object_mut(), more.as_object()) {
        spec.extend(more.clone());
    }
    spec
}

/// Creates the object, writes its status as the operator does, and takes what the server stored.
fn stored(
    namespace: &Namespace,
    kind: &str,
    name: &str,
    spec: &Value,
    status: Option<Value>,
) -> Result<Value> {
    let mut object = json!({
        "apiVersion": "loadtest.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec,
    });
    namespace.kubectl_with(&["create", "-f", "-"], &object.to_string())?;
    if let Some(status) = status {
        object["status"] = status;
        let apply = [
            "apply",
            "--server-side",
            "--subresource=status",
            "--field-manager=loadtest-operator",
            "--force-conflicts",
            "-f",
            "-",
        ];
        namespace.kubectl_with(&apply, &object.to_string())?;
    }
    namespace.get(&format!("{kind}/{name}"))
}

fn with(verdict: Verdict, reason: Reason) -> RunView {
    RunView {
        judgement: Some(Judgement {
            verdict,
            reason,
            message: "why".to_owned(),
        }),
        delivery: Some(Delivery::Incomplete),
        ..view(Phase::Finished)
    }
}

/// Of generation 1, which a new object has.
fn of_run(view: &RunView) -> LoadTestRunStatus {
    let mut status = status_at(view, &[], 1);
    status.observed_generation = Some(1);
    for condition in &mut status.conditions {
        condition.observed_generation = Some(1);
    }
    status
}

fn problems() -> [Problem; 1] {
    [Problem::new(Stage::Acceptance, "spec.scenarios", "no")]
}

fn refused_run() -> LoadTestRunStatus {
    let identity = identity();
    let facts = Facts {
        identity: &identity,
        plan_hash: None,
        generation: 1,
        previous: &[],
        note: None,
        now: time_of(START),
    };
    refused_run_status(&problems(), &facts)
}

fn of_test(last: Option<&LoadTestRunStatus>, next: Next, problems: &[Problem]) -> LoadTestStatus {
    load_test_status(&TestFacts {
        generation: 1,
        problems,
        last: last.map(|status| LastRunFacts {
            name: "shop-4",
            number: 4,
            run_key: "v1:abc",
            generation: 1,
            status: Some(status),
        }),
        next,
        next_schedule: None,
        previous: &[],
        now: time_of(START),
    })
}

type Case = (
    &'static str,
    Value,
    Option<Value>,
    (&'static str, &'static str),
);

const UNDER_WAY: (&str, &str) = ("InProgress", "Progressing");
const WELL: (&str, &str) = ("Current", "Healthy");
const ILL: (&str, &str) = ("Failed", "Degraded");

fn runs() -> Result<Vec<Case>> {
    let spec = json!({"test": spec(&json!({}))});
    let mut cases: Vec<Case> = vec![("new", spec.clone(), None, UNDER_WAY)];
    for (name, phase, expected) in [
        ("pending", Phase::Pending, UNDER_WAY),
        ("starting", Phase::Starting, UNDER_WAY),
        ("running", Phase::Running, UNDER_WAY),
        ("stopping", Phase::Stopping, UNDER_WAY),
        ("exporting", Phase::Exporting, UNDER_WAY),
        ("passed", Phase::Finished, WELL),
    ] {
        let status = serde_json::to_value(of_run(&view(phase)))?;
        cases.push((name, spec.clone(), Some(status), expected));
    }
    for (name, verdict, reason) in [
        ("failed", Verdict::Failed, Reason::ThresholdBreached),
        ("invalid", Verdict::Invalid, Reason::LoadNotDelivered),
        ("error", Verdict::Error, Reason::RunnerLost),
        ("aborted", Verdict::Aborted, Reason::CancelRequested),
    ] {
        let status = serde_json::to_value(of_run(&with(verdict, reason)))?;
        cases.push((name, spec.clone(), Some(status), ILL));
    }
    let refused = serde_json::to_value(refused_run())?;
    cases.push(("refused", spec, Some(refused), ILL));
    Ok(cases)
}

fn tests() -> Result<Vec<Case>> {
    let running = of_run(&view(Phase::Running));
    let passed = of_run(&view(Phase::Finished));
    let failed = of_run(&with(Verdict::Failed, Reason::ThresholdBreached));
    let plain = spec(&json!({}));
    let scheduled = spec(&json!({"schedule": {"cron": "0 3 * * 1"}}));
    let manual = spec(&json!({"start": "Manual"}));
    let suspended = spec(&json!({"suspend": true}));
    let mut cases: Vec<Case> = vec![("new", plain.clone(), None, UNDER_WAY)];
    for (name, spec, last, next, problems, expected) in [
        ("accepted", &plain, None, Next::Run, &[][..], UNDER_WAY),
        (
            "running",
            &plain,
            Some(&running),
            Next::Nothing,
            &[],
            UNDER_WAY,
        ),
        ("passed", &plain, Some(&passed), Next::Nothing, &[], WELL),
        ("failed", &plain, Some(&failed), Next::Nothing, &[], ILL),
        ("edited", &plain, Some(&failed), Next::Run, &[], UNDER_WAY),
        ("refused", &plain, None, Next::Nothing, &problems(), ILL),
        (
            "refused-again",
            &plain,
            Some(&passed),
            Next::Nothing,
            &problems(),
            ILL,
        ),
        ("waiting", &scheduled, None, Next::Scheduled, &[], WELL),
        (
            "scheduled",
            &scheduled,
            Some(&failed),
            Next::Scheduled,
            &[],
            WELL,
        ),
        ("manual", &manual, None, Next::Manual, &[], WELL),
        (
            "suspended",
            &suspended,
            None,
            Next::Suspended,
            &[],
            ("Current", "Suspended"),
        ),
        (
            "passed-and-suspended",
            &suspended,
            Some(&passed),
            Next::Suspended,
            &[],
            ("Current", "Suspended"),
        ),
    ] {
        let status = serde_json::to_value(of_test(last, next, problems))?;
        cases.push((name, spec.clone(), Some(status), expected));
    }
    Ok(cases)
}

#[test]
#[ignore = "needs an API server: make test-api"]
fn gitops_tools_see_each_phase_as_it_is() -> Result<()> {
    // Or what it wrote would be seen instead.
    let _nobody = OperatorAway::new()?;
    let namespace = Namespace::new("kstatus")?;
    let mut wrong = Vec::new();
    for (kind, cases) in [("LoadTestRun", runs()?), ("LoadTest", tests()?)] {
        let objects = cases
            .iter()
            .map(|(name, spec, status, _)| stored(&namespace, kind, name, spec, status.clone()))
            .collect::<Result<Vec<_>>>()?;
        let seen = seen(&objects)?;
        ensure!(
            seen.len() == cases.len(),
            "{} answers to {} objects",
            seen.len(),
            cases.len()
        );
        for ((name, _, _, expected), (kstatus, argocd)) in cases.iter().zip(&seen) {
            if (kstatus.as_str(), argocd.as_str()) != *expected {
                wrong.push(format!(
                    "{kind} {name}: {kstatus}, {argocd} instead of {expected:?}"
                ));
            }
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}
