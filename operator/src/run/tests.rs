//! Reconciles of a run beside a scripted API server.

use loadtest_core::{verdict::Reason, view::Phase};
use serde_json::{Value, json};

use super::*;
use crate::scripted::{self, Asked, failure};

const SECOND: i64 = 1_000_000;

fn run() -> Value {
    json!({
        "apiVersion": "loadtest.dev/v1alpha1", "kind": "LoadTestRun",
        "metadata": {"name": "shop-3", "namespace": "perf", "uid": "u", "generation": 1},
        "spec": {"number": 3, "test": {
            "target": {"url": "http://shop"},
            "scenarios": [{
                "name": "browse",
                "load": {"constantRate": {"rate": "1/s", "duration": "1m"}},
                "tasks": [{"name": "main", "steps": [{"request": {"url": "/"}}]}],
            }],
            "runners": {"startTimeout": "2m"},
        }},
    })
}

fn job() -> Value {
    json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {
            "name": "shop-3", "namespace": "perf",
            "ownerReferences": [{
                "apiVersion": "loadtest.dev/v1alpha1", "kind": "LoadTestRun",
                "name": "shop-3", "uid": "u", "controller": true,
            }],
        },
    })
}

fn created_at(mut object: Value, at: UnixMicros) -> Value {
    let at = loadtest_crds::status::time_of(at).0.to_string();
    object["metadata"]["creationTimestamp"] = json!(at);
    object
}

fn object(run: &Value) -> Arc<DynamicObject> {
    Arc::new(serde_json::from_value(run.clone()).unwrap())
}

/// The verdict and the sentence that were written last.
fn written(server: &scripted::Server) -> Option<(Value, String)> {
    let status = server.heard("PATCH", "/loadtestruns/shop-3/status");
    let status = &status.last()?["status"];
    let message = status["message"].as_str().unwrap_or_default().to_owned();
    Some((status["verdict"].clone(), message))
}

#[tokio::test]
async fn a_result_that_cannot_be_kept_does_not_keep_the_run() {
    let quota = "configmaps is forbidden: exceeded quota: q, limited: configmaps=1";
    let invalid = "ConfigMap \"shop-3-result\" is invalid: data: Too long";
    for (code, sentence) in [(403, quota), (422, invalid), (400, "the webhook says no")] {
        let run = created_at(run(), clock::now());
        let live = run.clone();
        let script = move |asked: &Asked| match asked {
            _ if asked.is("GET", "/loadtestruns/shop-3") => Some((200, live.clone())),
            _ if asked.is("PATCH", "/configmaps/shop-3-plan") => Some(failure(403, quota)),
            _ if asked.is("PATCH", "/configmaps/shop-3-result") => Some(failure(code, sentence)),
            _ => None,
        };
        let (ctx, server) = scripted::operator(&[], script).await;
        reconcile(object(&run), ctx).await.unwrap();
        let (verdict, message) = written(&server).unwrap();
        assert_eq!(verdict, "Error");
        let told = format!("{quota}; the result could not be kept for later: {sentence}");
        assert_eq!(message, told);
    }
}

#[tokio::test]
async fn a_result_that_is_not_refused_for_good_is_tried_again() {
    // The client itself tries again what is answered with 429 and 5xx.
    for code in [409, 410] {
        let run = created_at(run(), clock::now());
        let live = run.clone();
        let script = move |asked: &Asked| match asked {
            _ if asked.is("GET", "/loadtestruns/shop-3") => Some((200, live.clone())),
            _ if asked.is("PATCH", "/configmaps/shop-3-plan") => Some(failure(403, "no")),
            _ if asked.is("PATCH", "/configmaps/shop-3-result") => Some(failure(code, "not now")),
            _ => None,
        };
        let (ctx, server) = scripted::operator(&[], script).await;
        reconcile(object(&run), Arc::clone(&ctx)).await.unwrap_err();
        assert_eq!(written(&server), None);
        let active = ctx.registry.all().pop().unwrap();
        assert!(active.unconfirmed_judgement().is_some());
    }
}

#[tokio::test]
async fn a_run_that_is_over_is_not_begun_anew_from_an_old_cache() {
    let cached = created_at(run(), clock::now());
    let mut finished = cached.clone();
    finished["status"] = json!({"conditions": [{
        "type": "Finished", "status": "True", "reason": "ThresholdsMet", "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }]});
    let mut another = cached.clone();
    another["metadata"]["uid"] = json!("v");
    let mut leaving = cached.clone();
    leaving["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    for live in [Some(finished), Some(another), Some(leaving), None] {
        let script = move |asked: &Asked| {
            let known = live
                .clone()
                .filter(|_| asked.is("GET", "/loadtestruns/shop-3"));
            known.map(|live| (200, live))
        };
        let (ctx, server) = scripted::operator(&[], script).await;
        reconcile(object(&cached), Arc::clone(&ctx)).await.unwrap();
        assert!(ctx.registry.all().is_empty());
        assert!(server.heard("PATCH", "").is_empty());
        assert!(server.heard("POST", "").is_empty());
    }
}

#[tokio::test]
async fn an_operator_that_begins_anew_does_not_begin_the_start_timeout_anew() {
    let judged_after = |made_before: i64, wait: i64| async move {
        let now = clock::now();
        let run = created_at(run(), now - 3_600 * SECOND);
        let job = created_at(job(), now - made_before);
        let live = run.clone();
        let script = move |asked: &Asked| match asked {
            _ if asked.is("GET", "/loadtestruns/shop-3") => Some((200, live.clone())),
            _ if asked.is("GET", "/jobs/shop-3") => Some((200, job.clone())),
            _ => None,
        };
        let (ctx, _) = scripted::operator(&[], script).await;
        reconcile(object(&run), Arc::clone(&ctx)).await.unwrap();
        let active = ctx.registry.all().pop().unwrap();
        active.tick(now + wait);
        Some(active.view(now + wait).judgement?.reason)
    };
    // Two minutes since the Job was made, whoever watched.
    assert_eq!(judged_after(60 * SECOND, 55 * SECOND).await, None);
    let late = Some(Reason::StartTimeout);
    assert_eq!(judged_after(60 * SECOND, 62 * SECOND).await, late);
    // Its runners have a while to find the new operator.
    assert_eq!(judged_after(600 * SECOND, 28 * SECOND).await, None);
    assert_eq!(judged_after(600 * SECOND, 32 * SECOND).await, late);
}

#[tokio::test]
async fn what_ended_a_load_early_is_known_to_a_successor() {
    let now = clock::now();
    let start = (now - 10 * SECOND).to_string();
    let mut run = created_at(run(), now - 20 * SECOND);
    run["metadata"]["annotations"] = json!({names::START: start});
    let begun = |run: Value| async move {
        let (live, job) = (run.clone(), created_at(job(), now - 20 * SECOND));
        let script = move |asked: &Asked| match asked {
            _ if asked.is("GET", "/loadtestruns/shop-3") => Some((200, live.clone())),
            _ if asked.is("GET", "/jobs/shop-3") => Some((200, job.clone())),
            _ => None,
        };
        let (ctx, server) = scripted::operator(&[], script).await;
        reconcile(object(&run), Arc::clone(&ctx)).await.unwrap();
        (ctx.registry.all().pop().unwrap(), server)
    };
    let mut cancelled = run.clone();
    cancelled["spec"]["cancel"] = json!(true);
    let (active, server) = begun(cancelled).await;
    assert_eq!(active.unconfirmed_early_end(), None, "it is durable");
    let written = server.heard("PATCH", "/loadtestruns/shop-3");
    let annotations = &written.last().unwrap()["metadata"]["annotations"];
    // What is applied without the start would take it away.
    assert_eq!(annotations[names::START], json!(start));

    run["metadata"]["annotations"] = annotations.clone();
    let (successor, server) = begun(run).await;
    assert_eq!(successor.view(now).phase, Phase::Stopping);
    assert_eq!(successor.unconfirmed_early_end(), None);
    assert!(server.heard("PATCH", "/loadtestruns/shop-3").is_empty());
}
