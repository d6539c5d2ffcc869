//! Run documents: one at the start, one at the end with everything that the run came to.

use loadtest_core::{
    plan::Plan,
    report::UnixMicros,
    view::{RequestStats, RunView, Summary},
};
use serde_json::{Map, Value, json};

use super::{
    batch::{Batch, Stream},
    ids,
    interval::{export_fields, latency_stats},
    json::timestamp,
};

/// Makes the two documents of a run.
#[derive(Debug)]
pub(super) struct RunEncoder {
    plan: Plan,
    plan_hash: String,
}

impl RunEncoder {
    pub(super) fn new(plan: &Plan, plan_hash: &str) -> Self {
        Self {
            plan: plan.clone(),
            plan_hash: plan_hash.to_owned(),
        }
    }

    /// The document of the start.
    pub(super) fn start(&self, at: UnixMicros) -> Batch {
        let mut loadtest = self.loadtest();
        loadtest.insert("runners".into(), json!({"expected": self.plan.runners}));
        self.batch("start", at, &loadtest)
    }

    /// The document of the end. It is the last one: a run that is not completed yet is so with it.
    pub(super) fn end(&self, view: &RunView, now: UnixMicros) -> Batch {
        let completed = view.completed.unwrap_or(now);
        let mut loadtest = self.loadtest();
        if let Some(run) = loadtest.get_mut("run").and_then(Value::as_object_mut) {
            let time = |at: Option<UnixMicros>| json!(at.map(timestamp));
            run.insert("started".into(), time(view.started));
            run.insert("completed".into(), time(Some(completed)));
            run.insert("start_skew_us".into(), json!(view.start_skew_us));
        }
        let runners = view.runners;
        loadtest.insert(
            "runners".into(),
            json!({"expected": runners.expected, "ready": runners.ready, "lost": runners.lost}),
        );
        if let Some(judgement) = &view.judgement {
            loadtest.insert("verdict".into(), json!(judgement.verdict.name()));
            loadtest.insert("reason".into(), json!(judgement.reason.name()));
            loadtest.insert("message".into(), json!(judgement.message));
        }
        if let Some(delivery) = view.delivery {
            loadtest.insert("delivery".into(), json!(delivery));
        }
        insert_summary(&mut loadtest, view);
        insert_generator(&mut loadtest, view);
        loadtest.insert("thresholds".into(), thresholds(view));
        if let Some(counts) = &view.export {
            loadtest.insert("export".into(), export_fields(counts));
        }
        self.batch("end", completed, &loadtest)
    }

    fn loadtest(&self) -> Map<String, Value> {
        let mut fields = super::run_fields(&self.plan, "run");
        fields.insert("plan".into(), json!({"hash": self.plan_hash}));
        fields.insert("version".into(), json!(env!("CARGO_PKG_VERSION")));
        fields
    }

    fn batch(&self, action: &str, at: UnixMicros, loadtest: &Map<String, Value>) -> Batch {
        let id = ids::run(&self.plan.run.id, action);
        let mut batch = Batch::new(Stream::Runs);
        let document = json!({
            "@timestamp": timestamp(at),
            "event": {"id": id, "action": action},
            "orchestrator": {"namespace": self.plan.run.namespace},
            "url": {"full": self.plan.target.url},
            "loadtest": loadtest,
        });
        batch.push_value(&id, &document);
        batch
    }
}

fn insert_summary(loadtest: &mut Map<String, Value>, view: &RunView) {
    let Some(summary) = &view.summary else { return };
    let total = &summary.total;
    loadtest.insert(
        "duration_ms".into(),
        json!(summary.duration.as_millis() as u64),
    );
    loadtest.insert("requests".into(), requests(total));
    loadtest.insert(
        "bytes".into(),
        json!({"sent": total.bytes_sent, "received": total.bytes_received}),
    );
    loadtest.insert("latency".into(), latency_stats(&total.latency));
    loadtest.insert("service_time".into(), latency_stats(&total.service_time));
    loadtest.insert(
        "iterations".into(),
        json!({
            "count": summary.iterations,
            "failed": summary.iterations_failed,
            "offered_rate": summary.offered_rate,
            "delivered_ratio": summary.delivered,
        }),
    );
    let names: Vec<_> = summary
        .by_name
        .iter()
        .map(|row| {
            json!({
                "scenario": row.scenario,
                "name": row.name,
                "method": row.method,
                "requests": requests(&row.stats),
                "latency": latency_stats(&row.stats.latency),
                "service_time": latency_stats(&row.stats.service_time),
            })
        })
        .collect();
    loadtest.insert("by_name".into(), json!(names));
    loadtest.insert("group_rows".into(), groups(summary));
    let errors: Vec<_> = summary
        .errors
        .iter()
        .map(|row| {
            json!({"type": row.kind, "name": row.name, "message": row.message, "count": row.count})
        })
        .collect();
    loadtest.insert("error_rows".into(), json!(errors));
    let checks: Vec<_> = summary
        .checks
        .iter()
        .map(|row| json!({"name": row.name, "passed": row.passed, "failed": row.failed}))
        .collect();
    loadtest.insert("check_rows".into(), json!(checks));
}

fn groups(summary: &Summary) -> Value {
    let rows: Vec<_> = summary
        .groups
        .iter()
        .map(|row| {
            json!({
                "scenario": row.scenario,
                "name": row.name,
                "count": row.count,
                "failed": row.failures,
                "duration": latency_stats(&row.duration),
            })
        })
        .collect();
    json!(rows)
}

fn requests(stats: &RequestStats) -> Value {
    json!({
        "count": stats.requests,
        "rate": stats.rate,
        "ok": stats.requests.saturating_sub(stats.failures),
        "failed": stats.failures,
        "failed_ratio": stats.error_ratio(),
    })
}

fn insert_generator(loadtest: &mut Map<String, Value>, view: &RunView) {
    let generator = view.generator;
    loadtest.insert(
        "generator".into(),
        json!({
            "saturated": generator.saturated,
            "cpu_ratio": generator.cpu,
            "late_starts": generator.late_starts,
            "late_by_generator": generator.late_by_generator,
            "worst_lateness_us": generator.worst_lateness_us,
            "throttled_us": generator.throttled_us,
        }),
    );
}

fn thresholds(view: &RunView) -> Value {
    let rows: Vec<_> = view
        .thresholds
        .iter()
        .map(|row| {
            json!({
                "name": row.name,
                "expr": row.expr,
                "observed": row.observed,
                "passed": row.passed,
            })
        })
        .collect();
    json!(rows)
}

#[cfg(test)]
mod tests {
    use loadtest_core::view::GroupStats;

    use super::*;
    use crate::export::{
        templates::tests::assert_mapped,
        tests::{plan, runner::view},
    };

    #[test]
    fn the_end_says_what_groups_and_iterations_came_to() {
        let mut view = view();
        let summary = view.summary.as_mut().unwrap();
        (summary.iterations, summary.iterations_failed) = (9, 2);
        summary.groups = vec![GroupStats {
            scenario: "shop".to_owned(),
            name: "checkout".to_owned(),
            count: 8,
            failures: 2,
            duration: summary.total.latency,
        }];
        let latency = latency_stats(&summary.total.latency);
        let batch = RunEncoder::new(&plan(), "ff").end(&view, 0);
        let document: Value = serde_json::from_slice(batch.document(0)).unwrap();
        assert_mapped(Stream::Runs, &document);
        let loadtest = &document["loadtest"];
        assert_eq!(loadtest["iterations"]["count"], 9);
        assert_eq!(loadtest["iterations"]["failed"], 2);
        assert_eq!(
            loadtest["group_rows"],
            json!([{
                "scenario": "shop", "name": "checkout", "count": 8, "failed": 2, "duration": latency,
            }])
        );
    }
}
