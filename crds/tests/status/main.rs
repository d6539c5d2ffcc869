//! From what is known of a run to the status that people and programs read.

// Helpers of tests may fail like tests.
#![allow(clippy::unwrap_used, clippy::panic, clippy::needless_pass_by_value)]

mod bounds;
mod fixtures;
mod waiting;

use loadtest_core::{
    report::ExportCounts,
    verdict::{Judgement, Reason, Verdict},
    view::{Delivery, Phase, RequestStats, RunView},
};
use loadtest_crds::{
    LoadTestRunStatus, Problem, Stage,
    status::{
        ConditionStatus, Facts, LastRunFacts, Next, TestFacts, load_test_status,
        refused_run_status, time_of, waiting_run_status,
    },
};
use serde_json::json;

use fixtures::{SECOND, START, identity, short, status_at, test_of, view};

#[test]
fn a_passed_run_reads_like_this() {
    let status = status_at(&view(Phase::Finished), &[], 40);
    let latency = json!({
        "min": "953us", "mean": "12.4ms", "p50": "11.0ms", "p75": "13.0ms", "p90": "20.0ms",
        "p95": "25.0ms", "p99": "101ms", "p999": "1.25s", "max": "2.00s"
    });
    let mut value = serde_json::to_value(&status).unwrap();
    value.as_object_mut().unwrap().remove("conditions");
    assert_eq!(
        value,
        json!({
            "observedGeneration": 3,
            "phase": "Finished",
            "verdict": "Passed",
            "message": "all 1 thresholds hold",
            "run": {
                "number": 4, "id": "0123456789abcdef0123456789abcdef", "planHash": "abc",
                "startTime": "2025-11-24T16:00:00Z", "completionTime": "2025-11-24T16:00:31Z",
                "startSkew": "3.01ms",
                "runners": { "expected": 2, "ready": 2, "lost": 0 }, "runnersReady": "2/2"
            },
            "summary": {
                "duration": "30s", "requests": 4000, "failures": 10, "errorRatio": "0.25%",
                "rate": "199.9/s", "offered": "200/s", "delivered": "100%", "iterations": 4000,
                "iterationsFailed": 3,
                "bytesSent": 1000, "bytesReceived": 2000,
                "latency": latency, "serviceTime": latency,
                "requestsByName": [{
                    "name": "GET /get", "scenario": "main", "requests": 4000, "failures": 10,
                    "rate": "199.9/s", "latency": latency
                }],
                "errors": [{ "type": "status", "request": "GET /get", "message": "500", "count": 10 }],
                "checks": [{ "name": "ok", "passed": 3990, "failed": 10 }],
                "groups": [{
                    "name": "checkout", "scenario": "main", "count": 1000, "failures": 3,
                    "duration": {
                        "p50": "11.0ms", "p90": "20.0ms", "p95": "25.0ms", "p99": "101ms",
                        "max": "2.00s"
                    }
                }]
            },
            "generator": {
                "saturated": false, "cpu": "12.3%", "lateStarts": 0, "worstLateness": "0us", "throttled": "0us"
            },
            "thresholds": [{ "name": "fast", "expr": "latency.p99 < 250ms", "observed": "101ms", "passed": true }],
            "export": {
                "produced": 4000, "indexed": 4000, "rejected": 0, "sampledOut": 0, "dropped": 0,
                "lost": 0, "pending": 0, "retries": 0, "verified": true
            }
        })
    );
}

#[test]
fn conditions_follow_the_phases() {
    let of = |phase| short(&status_at(&view(phase), &[], 0).conditions);
    assert_eq!(
        of(Phase::Starting),
        [
            "Accepted=True(Accepted)",
            "Started=False(Starting)",
            "Finished=False(Starting)",
            "Succeeded=Unknown(Starting)",
            "LoadDelivered=Unknown(Starting)",
            "ResultsExported=True(NothingToExport)",
            "Reconciling=True(Starting)",
            "Stalled=False(Starting)",
        ]
    );
    assert_eq!(
        of(Phase::Exporting),
        [
            "Accepted=True(Accepted)",
            "Started=True(LoadStarted)",
            "Finished=False(Exporting)",
            "Succeeded=Unknown(Exporting)",
            "LoadDelivered=True(Delivered)",
            "ResultsExported=Unknown(Exporting)",
            "Reconciling=True(Exporting)",
            "Stalled=False(Exporting)",
        ]
    );
    assert_eq!(
        of(Phase::Finished),
        [
            "Accepted=True(Accepted)",
            "Started=True(LoadStarted)",
            "Finished=True(ThresholdsMet)",
            "Succeeded=True(ThresholdsMet)",
            "LoadDelivered=True(Delivered)",
            "ResultsExported=True(Exported)",
            "Reconciling=False(Finished)",
            "Stalled=False(Passed)",
        ]
    );
    // The verdict is empty while active.
    assert_eq!(status_at(&view(Phase::Exporting), &[], 0).verdict, None);
}

#[test]
fn a_run_that_did_not_pass_is_stalled_with_its_verdict() {
    let mut view = view(Phase::Finished);
    view.judgement = Some(Judgement {
        verdict: Verdict::Error,
        reason: Reason::Cluster("OOM-Killed!".to_owned()),
        message: "runner 1 used more memory than it may".to_owned(),
    });
    view.delivery = Some(Delivery::Incomplete);
    view.export = Some(ExportCounts {
        produced: 10,
        indexed: 7,
        lost: 3,
        ..ExportCounts::default()
    });
    view.export_problem = "403 no".to_owned();
    let status = status_at(&view, &[], 0);
    assert_eq!(
        short(&status.conditions)[2..],
        [
            "Finished=True(OOMKilled)",
            "Succeeded=False(OOMKilled)",
            "LoadDelivered=False(OOMKilled)",
            "ResultsExported=False(ExportIncomplete)",
            "Reconciling=False(Finished)",
            "Stalled=True(Error)",
        ]
    );
    assert_eq!(
        status.conditions[5].message,
        "7 of 10 documents are stored: rejected 0, dropped 0, lost 3, pending 0; 403 no"
    );
}

#[test]
fn documents_that_the_server_counts_otherwise_are_named() {
    let of = |requests, aggregates| {
        let mut view = view(Phase::Finished);
        view.export.as_mut().unwrap().verified = requests;
        view.aggregates.as_mut().unwrap().verified = aggregates;
        let status = status_at(&view, &[], 0);
        assert_eq!(status.export.unwrap().verified, requests);
        let exported = &status.conditions[5];
        (exported.reason.clone(), exported.message.clone())
    };
    for known in [None, Some(true)] {
        let stored = "all 4000 documents are stored".to_owned();
        assert_eq!(of(known, None), ("Exported".to_owned(), stored));
    }
    let stored = "4000 of 4000 documents are stored: rejected 0, dropped 0, lost 0, pending 0";
    let other = |what: &str| {
        format!(
            "the server itself counts another number of {what} than it confirmed: some are there twice, or were removed"
        )
    };
    assert_eq!(
        of(Some(false), Some(true)),
        (
            "ExportIncomplete".to_owned(),
            format!("{stored}; {}", other("requests"))
        )
    );
    assert_eq!(
        of(None, Some(false)),
        (
            "ExportIncomplete".to_owned(),
            format!("{stored}; 12 of 12 intervals; {}", other("intervals"))
        )
    );
}

#[test]
fn a_saturated_target_is_told_apart_from_the_generator() {
    let mut view = view(Phase::Finished);
    let mut delivered = |delivery| {
        view.delivery = Some(delivery);
        status_at(&view, &[], 0).conditions[4].clone()
    };
    let target = delivered(Delivery::TargetSaturated);
    assert_eq!(
        (target.status, target.reason.as_str()),
        (ConditionStatus::False, "TargetSaturated")
    );
    assert!(
        target
            .message
            .starts_with("all users waited for the target: 100% of the iterations")
    );
    let generator = delivered(Delivery::GeneratorLate);
    assert_eq!(
        (generator.status, generator.reason.as_str()),
        (ConditionStatus::False, "LoadNotDelivered")
    );
}

#[test]
fn iterations_that_ran_out_of_time_and_generators_that_ran_out_of_ports_are_named() {
    let of = |delivery, judgement: Judgement| {
        let mut view = view(Phase::Finished);
        view.delivery = Some(delivery);
        view.judgement = Some(judgement);
        view.summary.as_mut().unwrap().delivered = 0.4;
        let status = status_at(&view, &[], 0);
        let delivered = &status.conditions[4];
        assert_eq!(delivered.kind, "LoadDelivered");
        assert_eq!(delivered.status, ConditionStatus::False);
        let succeeded = status.conditions[3].status;
        (
            delivered.reason.clone(),
            delivered.message.clone(),
            succeeded,
        )
    };
    // Thresholds decide: too few iterations are not the generator's fault.
    let held = Judgement {
        verdict: Verdict::Passed,
        reason: Reason::ThresholdsMet,
        message: "all 1 thresholds held".to_owned(),
    };
    assert_eq!(
        of(Delivery::OutOfTime, held),
        (
            "OutOfTime".to_owned(),
            "only 40% of the iterations had begun when their maxDuration was over".to_owned(),
            ConditionStatus::True
        )
    );
    let invalid = Judgement {
        verdict: Verdict::Invalid,
        reason: Reason::LoadNotDelivered,
        message: "no ports".to_owned(),
    };
    assert_eq!(
        of(Delivery::GeneratorExhausted, invalid),
        (
            "LoadNotDelivered".to_owned(),
            "requests could not be made because the runners had no local ports or open files left: use more runners, or keep connections alive".to_owned(),
            ConditionStatus::False
        )
    );
}

#[test]
fn requests_of_the_warm_up_are_told_apart() {
    let mut view = view(Phase::Finished);
    let summary = |view: &RunView| serde_json::to_value(status_at(view, &[], 0).summary).unwrap();
    assert_eq!(summary(&view).get("warmUpRequests"), None);
    view.summary.as_mut().unwrap().warm_up_requests = 800;
    assert_eq!(summary(&view)["warmUpRequests"], 800);
    assert_eq!(summary(&view)["requests"], 4_000);
}

#[test]
fn no_requests_have_no_latency() {
    let mut view = view(Phase::Finished);
    let summary = view.summary.as_mut().unwrap();
    summary.total = RequestStats::default();
    view.thresholds[0].observed = None;
    let status = status_at(&view, &[], 0);
    let summary = status.summary.unwrap();
    assert_eq!(
        (summary.latency.p95.as_str(), summary.latency.max.as_str()),
        ("–", "–")
    );
    assert_eq!(
        (summary.error_ratio.as_str(), summary.rate.as_str()),
        ("0%", "0/s")
    );
    assert_eq!(status.thresholds[0].observed, "–");
}

#[test]
fn transition_times_move_only_with_the_status() {
    let starting = status_at(&view(Phase::Starting), &[], 1);
    let running = status_at(&view(Phase::Running), &starting.conditions, 5);
    let since = |status: &LoadTestRunStatus, kind: &str| {
        let condition = status.conditions.iter().find(|c| c.kind == kind).unwrap();
        condition.last_transition_time.clone()
    };
    assert_eq!(since(&running, "Accepted"), time_of(START + SECOND));
    assert_eq!(since(&running, "Started"), time_of(START + 5 * SECOND));
    assert_eq!(since(&running, "Finished"), time_of(START + SECOND));
    // Nothing moved: nothing is different, so nothing needs to be written.
    assert_eq!(
        status_at(&view(Phase::Running), &running.conditions, 9),
        running
    );
    // What is read back from the API server is equal to what was written.
    let text = serde_json::to_string(&running).unwrap();
    assert_eq!(
        serde_json::from_str::<LoadTestRunStatus>(&text).unwrap(),
        running
    );
}

#[test]
fn a_refused_test_is_over_at_once() {
    let identity = identity();
    let facts = Facts {
        identity: &identity,
        plan_hash: None,
        generation: 3,
        previous: &[],
        note: None,
        now: time_of(START),
    };
    let problems = [
        Problem::new(Stage::Acceptance, "spec.thresholds[0].expr", "no"),
        Problem::new(Stage::Acceptance, "spec.scenarios", "no"),
    ];
    let status = refused_run_status(&problems, &facts);
    assert_eq!(
        status.message.as_deref(),
        Some("spec.thresholds[0].expr: no (and one more problem)")
    );
    assert_eq!(
        short(&status.conditions),
        [
            "Accepted=False(InvalidSpec)",
            "Started=False(InvalidSpec)",
            "Finished=True(InvalidSpec)",
            "Succeeded=False(InvalidSpec)",
            "Reconciling=False(InvalidSpec)",
            "Stalled=True(InvalidSpec)",
        ]
    );
}

#[test]
fn a_run_that_waits_for_its_data_is_not_over_and_its_test_says_why() {
    let identity = identity();
    let facts = Facts {
        identity: &identity,
        plan_hash: None,
        generation: 3,
        previous: &[],
        note: None,
        now: time_of(START),
    };
    let path = "spec.data[0].from.configMapRef";
    let problems = [Problem::new(Stage::Acceptance, path, "there is none")];
    let run = waiting_run_status(&problems, &facts);
    let expected = [
        "Accepted=False(DataMissing)",
        "Started=False(DataMissing)",
        "Finished=False(DataMissing)",
        "Succeeded=Unknown(DataMissing)",
        "Reconciling=True(DataMissing)",
        "Stalled=False(DataMissing)",
    ];
    assert_eq!(short(&run.conditions), expected);
    assert_eq!(
        (run.phase.as_deref(), run.verdict.as_deref()),
        (Some("Pending"), None)
    );
    let of_test = |generation| test_of(generation, &run);
    let said = of_test(7).result;
    assert_eq!(short(&said.conditions), expected);
    let sentence = format!("{path}: there is none");
    assert_eq!(said.message, Some(sentence.clone()));
    assert_eq!(said.conditions[0].message, sentence);
    // The present spec may be another one.
    assert_eq!(
        short(&of_test(8).result.conditions)[0],
        "Accepted=True(Accepted)"
    );
}

#[test]
fn what_is_worth_telling_is_in_the_message_while_the_run_goes_on() {
    let mut running = view(Phase::Running);
    running.notes = vec!["data \"users\" ran out of rows: scenario main ended early".to_owned()];
    let message = status_at(&running, &[], 0).message.unwrap();
    assert_eq!(
        message,
        "2 runners send load; data \"users\" ran out of rows: scenario main ended early"
    );
    // At the end the judgement's own message has it.
    running.phase = Phase::Finished;
    running
        .judgement
        .clone_from(&view(Phase::Finished).judgement);
    let message = status_at(&running, &[], 0).message.unwrap();
    assert_eq!(message, "all 1 thresholds hold");
    running.phase = Phase::Running;
    running.notes = vec!["x".repeat(600)];
    assert!(status_at(&running, &[], 0).message.unwrap().len() <= 512);
}

#[test]
fn a_group_that_was_never_done_took_no_time() {
    let mut view = view(Phase::Finished);
    let measured = view.summary.as_mut().unwrap();
    measured.iterations_failed = 0;
    measured.groups[0].count = 0;
    let summary = status_at(&view, &[], 0).summary.unwrap();
    assert_eq!(summary.iterations_failed, None);
    assert_eq!(summary.groups[0].duration.p95, "–");
}

#[test]
fn a_test_mirrors_its_last_run() {
    let run = status_at(&view(Phase::Finished), &[], 1);
    let mut facts = TestFacts {
        generation: 8,
        problems: &[],
        last: Some(LastRunFacts {
            name: "shop-4",
            number: 4,
            run_key: "v1:abc",
            generation: 7,
            status: Some(&run),
        }),
        next: Next::Nothing,
        next_schedule: None,
        previous: &[],
        now: time_of(START),
    };
    let status = load_test_status(&facts);
    let last = status.last_run.clone().unwrap();
    assert_eq!(
        (last.name.as_str(), last.verdict.as_deref()),
        ("shop-4", Some("Passed"))
    );
    assert_eq!(status.result.summary, run.summary);
    assert_eq!(status.result.observed_generation, Some(8));
    let generation = |kind: &str| {
        let condition = status
            .result
            .conditions
            .iter()
            .find(|c| c.kind == kind)
            .unwrap();
        condition.observed_generation
    };
    // Who waits for generation 8 is not told of the run of generation 7.
    assert_eq!(generation("Finished"), Some(7));
    assert_eq!(generation("Accepted"), Some(8));
    let value = serde_json::to_value(&status).unwrap();
    assert_eq!(value["verdict"], "Passed");
    assert_eq!(value["lastRun"]["runKey"], "v1:abc");

    facts.next = Next::Run;
    let waiting = load_test_status(&facts);
    assert_eq!(
        short(&waiting.result.conditions)[6],
        "Reconciling=True(Pending)"
    );

    // One that runs again by itself is as it should be, whatever came of its last run.
    let failed = LoadTestRunStatus {
        conditions: run
            .conditions
            .iter()
            .cloned()
            .map(|mut condition| {
                if condition.kind == "Stalled" {
                    condition.status = ConditionStatus::True;
                }
                condition
            })
            .collect(),
        ..run.clone()
    };
    facts.next = Next::Scheduled;
    facts.next_schedule = Some(time_of(START));
    facts.last.as_mut().unwrap().status = Some(&failed);
    let scheduled = load_test_status(&facts);
    assert_eq!(scheduled.next_schedule_time, Some(time_of(START)));
    assert_eq!(
        short(&scheduled.result.conditions)[7],
        "Stalled=False(Scheduled)"
    );

    facts.last = None;
    facts.next = Next::Manual;
    let manual = load_test_status(&facts);
    assert_eq!(manual.result.phase.as_deref(), Some("Pending"));
    assert_eq!(
        short(&manual.result.conditions),
        [
            "Accepted=True(Accepted)",
            "Started=False(Manual)",
            "Finished=False(Manual)",
            "Succeeded=Unknown(Manual)",
            "Reconciling=False(Manual)",
            "Stalled=False(Manual)",
        ]
    );
}
