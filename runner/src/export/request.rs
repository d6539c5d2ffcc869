//! One document per request.

use loadtest_core::{
    identity::{run_number, span_id, trace_id},
    plan::{Check, Plan, RawMode, Request, Scenario},
    series::Outcome,
};
use serde_json::{Map, Value, json};

use super::{
    batch::{Batch, Stream},
    json::{Timestamps, push_hex, push_number, push_string, string},
    privacy::redact_query,
};
use crate::pool::{Block, Record, StepUrls};

/// Version of the documents' schema.
pub(super) const SCHEMA: u32 = 1;

/// Bytes of a usual action and document; only so that a batch is allocated once.
const USUAL_BYTES: usize = 1_200;

/// Writes request documents from text that is prepared for each step.
#[derive(Debug, Clone)]
pub(super) struct RequestEncoder {
    /// `<run>-<runner>-<incarnation>-`
    id_prefix: String,
    /// The run, of which traces get their ids.
    run: u128,
    anchor_wall_ns: i64,
    steps: Vec<StepText>,
    /// For a record of a step that the plan does not have, which no engine of ours writes.
    unknown: StepText,
    timestamps: Timestamps,
    raw: RawMode,
}

/// The constant parts of a step's documents.
#[derive(Debug, Clone)]
struct StepText {
    /// Up to the number of the user.
    head: String,
    /// From the end of `loadtest` to the number of bytes sent.
    http: String,
    /// Names of its checks as JSON strings.
    checks: Vec<String>,
    /// Number of its scenario in the plan.
    scenario: u32,
}

impl RequestEncoder {
    /// `urls`: where steps go that are no requests.
    pub(super) fn new(
        plan: &Plan,
        runner: u32,
        (host, urls): (&str, &StepUrls),
        anchor_wall_ns: i64,
    ) -> Self {
        let step = |names| StepText::new(plan, runner, (host, urls), names);
        let mut steps: Vec<StepText> = Vec::new();
        for (scenario, task, request) in plan.requests() {
            let number = request.step as usize;
            if steps.len() <= number {
                steps.resize(number + 1, step(None));
            }
            if let Some(place) = steps.get_mut(number) {
                *place = step(Some((scenario, task, request)));
            }
        }
        Self {
            id_prefix: super::ids::runner_prefix(&plan.run.id, runner),
            run: run_number(&plan.run.id),
            anchor_wall_ns,
            steps,
            unknown: step(None),
            timestamps: Timestamps::new(),
            raw: plan.results.raw(),
        }
    }

    /// The documents of a block.
    pub(super) fn batch(&mut self, block: &Block) -> Batch {
        let items = block.count as usize;
        let mut batch = Batch::with_capacity(Stream::Requests, items * USUAL_BYTES, items);
        for (n, record) in block.records() {
            self.push(&mut batch, block.id.worker, n, &record);
        }
        batch
    }

    fn push(&mut self, batch: &mut Batch, worker: u32, n: u64, record: &Record<'_>) {
        let Self {
            id_prefix,
            run,
            anchor_wall_ns,
            steps,
            unknown,
            timestamps,
            raw,
        } = self;
        let id = |out: &mut Vec<u8>| super::ids::push_request(out, id_prefix, n, worker);
        let sent_ns = anchor_wall_ns.saturating_add_unsigned(record.sent_ns);
        let step = steps.get(record.step as usize).unwrap_or(unknown);
        batch.push(id, |out| {
            push_loadtest(out, step, record, sent_ns, timestamps);
            if matches!(raw, RawMode::Sample { .. }) {
                push_weight(
                    out,
                    raw.weight(record.outcome == Outcome::Ok, record.latency_us()),
                );
            }
            push_http(out, step, record);
            if record.outcome != Outcome::Ok {
                push_error(out, step, record);
            }
            push_trace(out, *run, step, record);
            out.extend_from_slice(br#""},"event":{"id":""#);
            id(out);
            out.extend_from_slice(match record.outcome {
                Outcome::Ok => br#"","outcome":"success","duration":"#,
                _ => br#"","outcome":"failure","duration":"#,
            });
            push_number(out, record.service_us() * 1_000);
            out.extend_from_slice(br#"},"@timestamp":""#);
            timestamps.push(out, sent_ns);
            out.extend_from_slice(b"\"}");
        });
    }
}

fn push_loadtest(
    out: &mut Vec<u8>,
    step: &StepText,
    record: &Record<'_>,
    sent_ns: i64,
    timestamps: &mut Timestamps,
) {
    out.extend_from_slice(step.head.as_bytes());
    push_number(out, record.user);
    out.extend_from_slice(br#","iteration":"#);
    push_number(out, record.iteration);
    out.extend_from_slice(br#","outcome":""#);
    out.extend_from_slice(record.outcome.name().as_bytes());
    out.extend_from_slice(if record.reused {
        &br#"","connection_reused":true,"scheduled":""#[..]
    } else {
        &br#"","connection_reused":false,"scheduled":""#[..]
    });
    timestamps.push(
        out,
        sent_ns.saturating_sub_unsigned(record.before_send_us() * 1_000),
    );
    out.extend_from_slice(br#"","time":{"total_us":"#);
    push_number(out, record.service_us());
    out.extend_from_slice(br#","from_schedule_us":"#);
    push_number(out, record.latency_us());
    for (name, micros) in [
        (r#","scheduled_delay_us":"#, record.late_us),
        (r#","send_us":"#, record.send_us),
        (r#","wait_us":"#, record.wait_us),
        (r#","receive_us":"#, record.receive_us),
    ] {
        out.extend_from_slice(name.as_bytes());
        push_number(out, micros);
    }
    if !record.reused {
        out.extend_from_slice(br#","dns_us":"#);
        push_number(out, record.dns_us);
        out.extend_from_slice(br#","connect_us":"#);
        push_number(out, record.connect_us);
        // Without TLS there is no such phase.
        if record.tls_us != 0 {
            out.extend_from_slice(br#","tls_us":"#);
            push_number(out, record.tls_us);
        }
    }
    out.extend_from_slice(if record.warm_up {
        &br#"}},"stage":"warm-up""#[..]
    } else {
        &br#"}},"stage":"load""#[..]
    });
    if record.failed_checks != 0 {
        out.extend_from_slice(br#","check":{"failed_names":["#);
        for (i, name) in step.failed_checks(record).enumerate() {
            if i > 0 {
                out.push(b',');
            }
            out.extend_from_slice(name.as_bytes());
        }
        out.extend_from_slice(b"]}");
    }
}

/// How many requests the document stands for. In `loadtest`, like what comes before it.
fn push_weight(out: &mut Vec<u8>, weight: f64) {
    out.extend_from_slice(br#","weight":"#);
    // Writing to a vector does not fail.
    let _ = serde_json::to_writer(out, &weight);
}

fn push_http(out: &mut Vec<u8>, step: &StepText, record: &Record<'_>) {
    out.extend_from_slice(step.http.as_bytes());
    push_number(out, record.bytes_sent);
    out.push(b'}');
    if record.status != 0 {
        out.extend_from_slice(br#","response":{"status_code":"#);
        push_number(out, record.status);
        out.extend_from_slice(br#","bytes":"#);
        push_number(out, record.bytes_received);
        out.push(b'}');
    }
    out.push(b'}');
}

/// What the request's `traceparent` said: one trace for each iteration.
fn push_trace(out: &mut Vec<u8>, run: u128, step: &StepText, record: &Record<'_>) {
    let trace = trace_id(run, step.scenario, record.user, record.iteration);
    out.extend_from_slice(br#","trace":{"id":""#);
    push_hex(out, (trace >> 64) as u64, 16);
    push_hex(out, trace as u64, 16);
    out.extend_from_slice(br#""},"span":{"id":""#);
    push_hex(out, span_id(trace, record.step, record.sequence), 16);
}

#[cold]
fn push_error(out: &mut Vec<u8>, step: &StepText, record: &Record<'_>) {
    out.extend_from_slice(br#","error":{"type":""#);
    out.extend_from_slice(record.outcome.name().as_bytes());
    out.extend_from_slice(br#"","message":"#);
    match (record.error, record.outcome) {
        (Some(text), _) => push_string(out, text),
        (None, Outcome::Status) => push_string(out, &format!("status {}", record.status)),
        (None, Outcome::Check) => {
            let names: Vec<_> = step.failed_checks(record).collect();
            push_string(out, &format!("check {} failed", names.join(", ")));
        }
        (None, outcome) => push_string(out, outcome.name()),
    }
    out.push(b'}');
}

impl StepText {
    fn new(
        plan: &Plan,
        runner: u32,
        (host, urls): (&str, &StepUrls),
        names: Option<(&Scenario, &str, &Request)>,
    ) -> Self {
        let mut loadtest = super::run_fields(plan, "request");
        loadtest.insert("runner".into(), json!({"index": runner}));
        let mut document = Map::new();
        let namespace = json!({"namespace": plan.run.namespace});
        document.insert("orchestrator".into(), namespace);
        document.insert("host".into(), json!({"name": host}));
        let request = names.map(|(.., request)| request);
        let url = match request.and_then(|request| urls.get(&request.step)) {
            Some(of_step) => of_step.as_deref().map(url_of_step),
            None => Some(url(plan, request)),
        };
        if let Some(url) = url {
            document.insert("url".into(), url);
        }
        let Some((scenario, task, request)) = names else {
            return Self {
                head: head(document, loadtest, "\"name\":\"(unknown)\""),
                http: http_head(""),
                checks: Vec::new(),
                scenario: u32::MAX,
            };
        };
        loadtest.insert("scenario".into(), json!({"name": scenario.name}));
        loadtest.insert("task".into(), json!({"name": task}));
        if !request.labels.is_empty() {
            document.insert("labels".into(), json!(request.labels));
        }
        let series = plan.series.get(request.series as usize);
        let name = series.map_or("", |series| series.name.as_str());
        let check_name = |check: &Check| {
            let name = plan.checks.get(check.index as usize);
            string(name.map_or("", String::as_str))
        };
        let fields = format!("\"name\":{},\"step\":{}", string(name), request.step);
        Self {
            head: head(document, loadtest, &fields),
            http: http_head(&request.method),
            checks: request.checks.iter().map(check_name).collect(),
            scenario: number_of(plan, scenario),
        }
    }

    /// Names of the checks that failed, as JSON strings; the last bit stands for all beyond.
    fn failed_checks(&self, record: &Record<'_>) -> impl Iterator<Item = &str> {
        let bits = record.failed_checks;
        let failed = move |i: &usize| bits >> (*i).min(63) & 1 == 1;
        self.checks
            .iter()
            .enumerate()
            .filter(move |(i, _)| failed(i))
            .map(|(_, n)| n.as_str())
    }
}

/// Names of scenarios are unique.
fn number_of(plan: &Plan, scenario: &Scenario) -> u32 {
    let same = |other: &Scenario| other.name == scenario.name;
    plan.scenarios
        .iter()
        .position(same)
        .map_or(u32::MAX, |number| number as u32)
}

/// A document up to the number of the user, which is in `loadtest.request`.
fn head(document: Map<String, Value>, loadtest: Map<String, Value>, request: &str) -> String {
    let (document, loadtest) = (
        Value::Object(document).to_string(),
        Value::Object(loadtest).to_string(),
    );
    let open = |object: &str| object.strip_suffix('}').unwrap_or_default().to_owned();
    let (document, loadtest) = (open(&document), open(&loadtest));
    format!("{document},\"loadtest\":{loadtest},\"request\":{{{request},\"user\":")
}

/// From the end of `loadtest` to the number of bytes sent.
fn http_head(method: &str) -> String {
    let method = string(method);
    format!("}},\"http\":{{\"request\":{{\"method\":{method},\"bytes\":")
}

fn url(plan: &Plan, request: Option<&Request>) -> Value {
    let mut url = Map::new();
    let other = request
        .and_then(|request| request.origin)
        .and_then(|index| plan.target.other_origins.get(index as usize));
    let origin = other.unwrap_or(&plan.target.origin);
    url.insert("scheme".into(), json!(origin.scheme.name()));
    url.insert("domain".into(), json!(origin.host));
    url.insert("port".into(), json!(origin.port));
    if let Some(request) = request {
        push_target(&mut url, &request.path.to_display());
    }
    Value::Object(url)
}

/// A url as the code of a step kind gave it, which may have templates in it, or be anything.
fn url_of_step(text: &str) -> Value {
    let text = text.split_once('#').map_or(text, |(before, _)| before);
    let mut url = Map::new();
    let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
    let target = if scheme.is_empty() {
        rest
    } else {
        url.insert("scheme".into(), json!(scheme));
        let (authority, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let host = authority
            .rsplit_once('@')
            .map_or(authority, |(_, host)| host);
        let port = host.rsplit_once(':');
        let port = port.and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
        url.insert("domain".into(), json!(port.map_or(host, |(host, _)| host)));
        if let Some((_, port)) = port {
            url.insert("port".into(), json!(port));
        }
        target
    };
    if !target.is_empty() {
        push_target(&mut url, target);
    }
    Value::Object(url)
}

fn push_target(url: &mut Map<String, Value>, target: &str) {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    url.insert("path".into(), json!(path));
    if !query.is_empty() {
        url.insert("query".into(), json!(redact_query(query)));
    }
}

#[cfg(test)]
mod tests;
