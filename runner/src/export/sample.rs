//! Sample documents: what the server said when a request failed.

use std::borrow::Cow;

use loadtest_core::{
    identity::{run_number, span_id, trace_id},
    plan::Plan,
};
use serde_json::{Map, Value, json};

use super::{
    batch::Batch,
    ids,
    json::Timestamps,
    privacy::{redact_body, redact_query},
};
use crate::pool::FailureSample;

/// Longest body in a document, in bytes.
const BODY_BYTES: usize = 1 << 10;

/// Makes sample documents.
#[derive(Debug)]
pub(super) struct SampleEncoder {
    plan: Plan,
    runner: u32,
    host: String,
    id_prefix: String,
    anchor_wall_ns: i64,
}

impl SampleEncoder {
    pub(super) fn new(plan: &Plan, runner: u32, host: &str, anchor_wall_ns: i64) -> Self {
        Self {
            plan: plan.clone(),
            runner,
            host: host.to_owned(),
            id_prefix: ids::runner_prefix(&plan.run.id, runner),
            anchor_wall_ns,
        }
    }

    /// Adds the document of a sample.
    pub(super) fn push(&self, batch: &mut Batch, sample: &FailureSample) {
        let id = ids::sample(&self.id_prefix, sample.number);
        let run = run_number(&self.plan.run.id);
        let trace = trace_id(run, sample.scenario, sample.user, sample.iteration);
        let span = span_id(trace, sample.step, sample.sequence);
        let document = json!({
            "@timestamp": self.time(sample),
            "event": {"id": id},
            "host": {"name": self.host},
            "orchestrator": {"namespace": self.plan.run.namespace},
            "trace": {"id": format!("{trace:032x}")},
            "span": {"id": format!("{span:016x}")},
            "http": self.http(sample),
            "error": {"type": sample.outcome.name(), "message": sample.message},
            "loadtest": self.loadtest(sample),
        });
        let Value::Object(mut document) = document else {
            return;
        };
        if !sample.url.is_empty() {
            let url = json!({"full": without_secrets(&sample.url)});
            document.insert("url".into(), url);
        }
        batch.push_value(&id, &Value::Object(document));
    }

    fn time(&self, sample: &FailureSample) -> String {
        let mut text = Vec::new();
        let sent = self.anchor_wall_ns.saturating_add_unsigned(sample.sent_ns);
        Timestamps::new().push(&mut text, sent);
        String::from_utf8(text).unwrap_or_default()
    }

    fn http(&self, sample: &FailureSample) -> Value {
        let mut http = Map::new();
        if let Some(key) = self.plan.series.get(sample.series as usize) {
            http.insert("request".into(), json!({"method": key.method}));
        }
        if sample.status != 0 {
            let body = redact_body(&sample.body);
            let shown = body.get(..body.floor_char_boundary(BODY_BYTES));
            http.insert(
                "response".into(),
                json!({
                    "status_code": sample.status,
                    "body": {"content": shown, "bytes": sample.body_bytes},
                }),
            );
        }
        Value::Object(http)
    }

    fn loadtest(&self, sample: &FailureSample) -> Map<String, Value> {
        let mut fields = super::run_fields(&self.plan, "sample");
        fields.insert("runner".into(), json!({"index": self.runner}));
        fields.insert("stage".into(), json!(sample.stage.name()));
        let key = self.plan.series.get(sample.series as usize);
        if let Some(key) = key {
            fields.insert("scenario".into(), json!({"name": key.scenario}));
        }
        fields.insert(
            "request".into(),
            json!({
                "name": key.map(|key| key.name.as_str()),
                "user": sample.user,
                "iteration": sample.iteration,
                "time": {"from_schedule_us": sample.latency_us},
            }),
        );
        let mut of_sample = Map::new();
        let texts = [
            ("check", sample.check.as_deref().unwrap_or_default()),
            ("content_type", &sample.content_type),
            ("note", &sample.note),
        ];
        for (name, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
            of_sample.insert(name.into(), json!(text));
        }
        if !of_sample.is_empty() {
            fields.insert("sample".into(), Value::Object(of_sample));
        }
        fields
    }
}

/// A url without the values of secret parameters.
fn without_secrets(url: &str) -> String {
    let url = without_user(url);
    match url.split_once('?') {
        Some((path, query)) => format!("{path}?{}", redact_query(query)),
        None => url.into_owned(),
    }
}

/// A url without the user and password that it may have before its host.
fn without_user(url: &str) -> Cow<'_, str> {
    let after_scheme = url.find("://").map(|at| at + 3);
    let Some((scheme, rest)) = after_scheme.and_then(|at| url.split_at_checked(at)) else {
        return url.into();
    };
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    match authority.rfind('@').and_then(|at| rest.get(at + 1..)) {
        Some(rest) => format!("{scheme}{rest}").into(),
        None => url.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        export::{batch::Stream, templates::tests::assert_mapped, tests::plan},
        pool::tests::failure_sample,
    };

    fn document(sample: &FailureSample) -> Value {
        let mut batch = Batch::new(Stream::Metrics);
        SampleEncoder::new(&plan(), 2, "host", 1_795_400_000_000_000_000).push(&mut batch, sample);
        let document = serde_json::from_slice(batch.document(0)).unwrap();
        assert_mapped(Stream::Metrics, &document);
        document
    }

    #[test]
    fn a_document_says_what_the_server_said() {
        let mut sample = failure_sample(5);
        sample.check = Some("in stock".to_owned());
        sample.note = "cut, the body has 36 bytes".to_owned();
        let document = document(&sample);
        let trace = trace_id(run_number(&plan().run.id), 0, 7, 3);
        assert_eq!(
            document,
            json!({
                "@timestamp": "2026-11-23T02:13:21.234567890Z",
                "event": {"id": "0123456789abcdef0123456789abcdef-0002-00-s-00000005"},
                "host": {"name": "host"},
                "orchestrator": {"namespace": "shop-ns"},
                "trace": {"id": format!("{trace:032x}")},
                "span": {"id": format!("{:016x}", span_id(trace, 0, 1))},
                "url": {"full": "http://shop/get?q=1&access_token=REDACTED"},
                "http": {
                    "request": {"method": "GET"},
                    "response": {
                        "status_code": 500,
                        "body": {
                            "content": "{\"error\":\"no stock\",\"token\":\"REDACTED\"}",
                            "bytes": 36,
                        },
                    },
                },
                "error": {"type": "status", "message": "status 500"},
                "loadtest": {
                    "schema": 1,
                    "doc": "sample",
                    "test": {"name": "shop"},
                    "run": {"id": plan().run.id, "name": "shop-1", "number": 1},
                    "runner": {"index": 2},
                    "stage": "load",
                    "scenario": {"name": "shop"},
                    "request": {
                        "name": "GET /get",
                        "user": 7,
                        "iteration": 3,
                        "time": {"from_schedule_us": 2_500},
                    },
                    "sample": {
                        "check": "in stock",
                        "content_type": "application/json",
                        "note": "cut, the body has 36 bytes",
                    },
                },
            })
        );
    }

    #[test]
    fn who_is_named_before_the_host_is_not_shown() {
        for (url, shown) in [
            ("ws://ann:pass@chat/a@b?c=@", "ws://chat/a@b?c=@"),
            ("ws://chat/a@b", "ws://chat/a@b"),
            ("ws://u@chat?token=1", "ws://chat?token=REDACTED"),
            ("a@b", "a@b"),
        ] {
            assert_eq!(without_secrets(url), shown);
        }
    }

    #[test]
    fn without_an_answer_there_is_none_in_the_document() {
        let sample = FailureSample {
            status: 0,
            body: String::new(),
            content_type: String::new(),
            url: String::new(),
            ..failure_sample(0)
        };
        let document = document(&sample);
        assert_eq!(document.get("url"), None);
        assert_eq!(document["http"], json!({"request": {"method": "GET"}}));
        assert_eq!(document["loadtest"].get("sample"), None);
    }
}
