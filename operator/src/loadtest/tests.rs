//! Reconciles of a test beside a scripted API server.

use serde_json::{Value, json};

use super::*;
use crate::scripted::{self, Asked, failure};

/// A `LoadTest` and its runs, as they become from reconcile to reconcile.
struct World {
    test: Value,
    runs: Vec<Value>,
}

impl World {
    fn new() -> Self {
        let test = json!({
            "apiVersion": "loadtest.dev/v1alpha1", "kind": "LoadTest",
            "metadata": {"name": "shop", "namespace": "perf", "uid": "t", "generation": 1},
            "spec": {
                "target": {"url": "http://shop"},
                "scenarios": [{
                    "name": "browse",
                    "load": {"constantRate": {"rate": "1/s", "duration": "1m"}},
                    "tasks": [{"name": "main", "steps": [{"request": {"url": "/"}}]}],
                }],
            },
        });
        Self {
            test,
            runs: Vec::new(),
        }
    }

    /// Asks for another run, as an edit does.
    fn edit(&mut self, token: &str) {
        self.test["spec"]["runToken"] = json!(token);
        let generation = self.test["metadata"]["generation"].as_i64().unwrap();
        self.test["metadata"]["generation"] = json!(generation + 1);
    }

    fn delete(&mut self, name: &str) {
        self.runs.retain(|run| run["metadata"]["name"] != name);
    }

    fn names(&self) -> Vec<&str> {
        let names = self.runs.iter().map(|run| run["metadata"]["name"].as_str());
        names.flatten().collect()
    }

    /// One reconcile, the refusal of which is its result; what it made is over at once.
    async fn step(
        &mut self,
        refusal: Option<&'static str>,
    ) -> (Result<Action, Error>, scripted::Server) {
        let mut cached = self.runs.clone();
        cached.push(self.test.clone());
        let script = move |asked: &Asked| {
            let sentence = refusal.filter(|_| asked.is("POST", "/loadtestruns"));
            sentence.map(|sentence| failure(403, sentence))
        };
        let (ctx, server) = scripted::operator(&cached, script).await;
        let object = Arc::new(serde_json::from_value(self.test.clone()).unwrap());
        let result = reconcile(object, ctx).await;
        for mut run in server.heard("POST", "/loadtestruns") {
            if refusal.is_none() {
                let name = run["metadata"]["name"].clone();
                run["metadata"]["uid"] = name;
                run["status"] = json!({"phase": "Finished", "verdict": "Passed", "conditions": [
                    {"type": "Finished", "status": "True", "reason": "ThresholdsMet",
                     "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"},
                    {"type": "Reconciling", "status": "False", "reason": "Finished",
                     "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"},
                ]});
                self.runs.push(run);
            }
        }
        for body in server.heard("PATCH", "/loadtests/shop") {
            self.test["metadata"]["annotations"] = body["metadata"]["annotations"].clone();
        }
        for body in server.heard("PATCH", "/loadtests/shop/status") {
            self.test["status"] = body["status"].clone();
        }
        (result, server)
    }

    /// Reconciles until nothing more is written.
    async fn settle(&mut self) {
        for _ in 0..8 {
            let (result, server) = self.step(None).await;
            result.unwrap();
            if server.heard("PATCH", "").is_empty()
                && server.heard("POST", "/loadtestruns").is_empty()
            {
                return;
            }
        }
        panic!("it never comes to rest: {:?}", self.names());
    }
}

#[tokio::test]
async fn deleting_the_newest_run_starts_no_other() {
    let mut world = World::new();
    world.settle().await;
    world.edit("b");
    world.settle().await;
    assert_eq!(world.names(), ["shop-1", "shop-2"]);
    world.delete("shop-2");
    world.settle().await;
    assert_eq!(world.names(), ["shop-1"]);
    // The next edit starts one, even one back to what the oldest was made from.
    world.test["spec"]
        .as_object_mut()
        .unwrap()
        .remove("runToken");
    world.test["metadata"]["generation"] = json!(3);
    world.settle().await;
    assert_eq!(world.names(), ["shop-1", "shop-3"]);
    world.delete("shop-1");
    world.delete("shop-3");
    world.settle().await;
    assert!(world.names().is_empty());
    world.edit("c");
    world.settle().await;
    assert_eq!(world.names(), ["shop-4"]);
}

/// What an operator noted that kept no number beside the key.
#[tokio::test]
async fn a_run_deleted_while_the_operator_was_replaced_starts_no_other() {
    let mut world = World::new();
    world.settle().await;
    world.edit("b");
    world.settle().await;
    let annotations = world.test["metadata"]["annotations"].as_object_mut();
    annotations
        .unwrap()
        .retain(|name, _| name == names::LAST_RUN_KEY);
    world.delete("shop-2");
    world.settle().await;
    assert_eq!(world.names(), ["shop-1"]);
}

#[tokio::test]
async fn a_run_that_is_refused_is_told_and_does_not_stop_the_upkeep() {
    let mut world = World::new();
    world.settle().await;
    world.edit("b");
    world.settle().await;
    world.edit("c");
    world.test["spec"]["cleanup"] = json!({"keepRuns": 1});
    let sentence = "loadtestruns.loadtest.dev \"shop-3\" is forbidden: exceeded quota: q";
    let (error, server) = world.step(Some(sentence)).await;
    assert!(error.unwrap_err().to_string().contains(sentence));
    assert_eq!(server.heard("DELETE", "/loadtestruns/shop-1").len(), 1);
    let status = &world.test["status"];
    let told = format!("the next run cannot be created: {sentence}");
    assert_eq!(status["message"], json!(told));
    let conditions = status["conditions"].as_array().unwrap();
    let reconciling = conditions.iter().find(|c| c["type"] == "Reconciling");
    let reconciling = reconciling.unwrap();
    assert_eq!(reconciling["status"], "True");
    assert_eq!(reconciling["reason"], "QuotaExceeded");
    assert_eq!(reconciling["message"], json!(told));

    // When it may be made, nothing of it is left.
    world.settle().await;
    assert_eq!(world.names(), ["shop-1", "shop-2", "shop-3"]);
    assert_ne!(world.test["status"]["message"], json!(told));
}
