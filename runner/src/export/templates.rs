//! Index templates, made from one table of fields per stream.
//!
//! The mapping is strict: a field that is not in the table is refused by the server, and a test
//! refuses it here. Servers differ in two types only; `runner/templates/*.json` shows what comes
//! out, for people and for those who install templates themselves, and a test keeps it true.

use loadtest_core::series::Outcome;
use serde_json::{Map, Value, json};

use super::{batch::Stream, request::SCHEMA};

/// Version of the templates; a server that has this one or a later one is left alone.
pub(super) const VERSION: u64 = 4;

/// What a server's mappings can express.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// With `flattened` and `histogram`.
    Elasticsearch,
    /// With `flattened`; histograms are stored but not indexed.
    ElasticsearchWithoutHistogram,
    /// With `flat_object`; histograms are stored but not indexed.
    OpenSearch,
}

/// What a server takes in a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Abilities {
    pub(super) dialect: Dialect,
    /// Whether it rolls data streams over by itself. An index lifecycle policy, where the server's
    /// administrators have given one, goes before.
    pub(super) lifecycle: bool,
    /// Whether it has data streams; else there are plain indices of the same names.
    pub(super) data_streams: bool,
}

impl Abilities {
    /// All that servers of this dialect can have.
    pub(super) fn of(dialect: Dialect) -> Self {
        Self {
            dialect,
            lifecycle: dialect != Dialect::OpenSearch,
            data_streams: true,
        }
    }

    /// What is left of them when a server refused a template with these words, and what it has not;
    /// `None` when the words name nothing that a template can do without.
    pub(super) fn after_refusal(self, words: &str) -> Option<(Self, &'static str)> {
        // A server without x-pack's analytics: "No handler for type [histogram]" or "The mapper
        // type [histogram] declared on field ... does not exist". Else: "unknown field [lifecycle]".
        if self.dialect == Dialect::Elasticsearch && words.contains("type [histogram]") {
            let dialect = Dialect::ElasticsearchWithoutHistogram;
            let without = "histogram fields: histograms are stored, not indexed";
            Some((Self { dialect, ..self }, without))
        } else if self.lifecycle && words.contains("[lifecycle]") {
            let without = "lifecycles of data streams: they grow until somebody rolls them over";
            Some((
                Self {
                    lifecycle: false,
                    ..self
                },
                without,
            ))
        } else if self.data_streams && words.contains("[data_stream]") {
            let without = "data streams: documents go to plain indices";
            Some((
                Self {
                    data_streams: false,
                    lifecycle: false,
                    ..self
                },
                without,
            ))
        } else {
            None
        }
    }
}

/// Type of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Boolean,
    Date,
    DateNanos,
    Double,
    Histogram,
    Integer,
    Keyword,
    /// Keys that users choose.
    Labels,
    Long,
    /// Text that is kept in the source, not searchable.
    Shown,
    /// Kept in the source, not searchable.
    Stored,
}

use Kind::{
    Boolean, Date, DateNanos, Double, Histogram, Integer, Keyword, Labels, Long, Shown, Stored,
};

type Fields = &'static [(&'static str, Kind)];

/// Fields of every document.
const COMMON: Fields = &[
    ("@timestamp", DateNanos),
    ("event.id", Keyword),
    ("orchestrator.namespace", Keyword),
    ("loadtest.schema", Integer),
    ("loadtest.doc", Keyword),
    ("loadtest.test.name", Keyword),
    ("loadtest.run.id", Keyword),
    ("loadtest.run.name", Keyword),
    ("loadtest.run.number", Long),
];

const REQUESTS: Fields = &[
    ("loadtest.stage", Keyword),
    ("event.outcome", Keyword),
    ("loadtest.weight", Double),
    ("event.duration", Long),
    ("host.name", Keyword),
    ("labels", Labels),
    ("trace.id", Keyword),
    ("span.id", Keyword),
    ("http.request.method", Keyword),
    ("http.request.bytes", Long),
    ("http.response.status_code", Integer),
    ("http.response.bytes", Long),
    ("url.scheme", Keyword),
    ("url.domain", Keyword),
    ("url.port", Integer),
    ("url.path", Keyword),
    ("url.query", Keyword),
    ("error.type", Keyword),
    ("error.message", Keyword),
    ("loadtest.runner.index", Integer),
    ("loadtest.scenario.name", Keyword),
    ("loadtest.task.name", Keyword),
    ("loadtest.request.name", Keyword),
    ("loadtest.request.step", Integer),
    ("loadtest.request.user", Long),
    ("loadtest.request.iteration", Long),
    ("loadtest.request.outcome", Keyword),
    ("loadtest.request.connection_reused", Boolean),
    ("loadtest.request.scheduled", DateNanos),
    ("loadtest.request.time.total_us", Long),
    ("loadtest.request.time.from_schedule_us", Long),
    ("loadtest.request.time.scheduled_delay_us", Long),
    ("loadtest.request.time.dns_us", Long),
    ("loadtest.request.time.connect_us", Long),
    ("loadtest.request.time.tls_us", Long),
    ("loadtest.request.time.send_us", Long),
    ("loadtest.request.time.wait_us", Long),
    ("loadtest.request.time.receive_us", Long),
    ("loadtest.check.failed_names", Keyword),
];

/// Counts and bytes of a set of requests.
const COUNTS: Fields = &[
    ("loadtest.requests.count", Long),
    ("loadtest.requests.rate", Double),
    ("loadtest.requests.ok", Long),
    ("loadtest.requests.failed", Long),
    ("loadtest.requests.failed_ratio", Double),
    ("loadtest.bytes.sent", Long),
    ("loadtest.bytes.received", Long),
    ("loadtest.iterations.count", Long),
    ("loadtest.iterations.failed", Long),
];

const METRICS: Fields = &[
    ("loadtest.stage", Keyword),
    ("loadtest.requests.resent", Long),
    ("host.name", Keyword),
    ("http.request.method", Keyword),
    ("loadtest.runner.index", Integer),
    ("loadtest.scenario.name", Keyword),
    ("loadtest.request.name", Keyword),
    ("loadtest.scope", Keyword),
    ("loadtest.group.name", Keyword),
    ("loadtest.group.count", Long),
    ("loadtest.group.failed", Long),
    ("loadtest.group.failed_ratio", Double),
    ("loadtest.group.duration.sum_us", Double),
    ("loadtest.group.duration.histogram_us", Histogram),
    ("loadtest.interval.start", Date),
    ("loadtest.interval.end", Date),
    ("loadtest.interval.ms", Long),
    ("loadtest.interval.partial", Boolean),
    ("loadtest.interval.sequence", Long),
    ("loadtest.latency.sum_us", Double),
    ("loadtest.latency.histogram_us", Histogram),
    ("loadtest.service_time.sum_us", Double),
    ("loadtest.service_time.histogram_us", Histogram),
    ("loadtest.iterations.scheduled", Long),
    ("loadtest.iterations.started", Long),
    ("loadtest.iterations.late_by_generator", Long),
    ("loadtest.iterations.late_by_target", Long),
    ("loadtest.iterations.worst_lateness_us", Long),
    ("loadtest.users.active", Integer),
    ("loadtest.connections.opened", Long),
    ("loadtest.check.passed", Long),
    ("loadtest.check.failed", Long),
    ("loadtest.status.c1xx", Long),
    ("loadtest.status.c2xx", Long),
    ("loadtest.status.c3xx", Long),
    ("loadtest.status.c4xx", Long),
    ("loadtest.status.c5xx", Long),
    ("loadtest.status.none", Long),
    ("loadtest.top_errors", Keyword),
    ("loadtest.process.cpu_ratio", Double),
    ("loadtest.process.cpu_max_ratio", Double),
    ("loadtest.process.throttled_us", Long),
    ("loadtest.process.worst_lag_us", Long),
    ("loadtest.process.rss_bytes", Long),
    ("loadtest.process.pool_high_water_ratio", Double),
];

/// Fields that only samples of failed exchanges have.
const SAMPLES: Fields = &[
    ("trace.id", Keyword),
    ("span.id", Keyword),
    ("url.full", Keyword),
    ("http.response.status_code", Integer),
    ("http.response.body.content", Shown),
    ("http.response.body.bytes", Long),
    ("error.type", Keyword),
    ("error.message", Keyword),
    ("loadtest.request.user", Long),
    ("loadtest.request.iteration", Long),
    ("loadtest.request.time.from_schedule_us", Long),
    ("loadtest.sample.check", Keyword),
    ("loadtest.sample.content_type", Keyword),
    ("loadtest.sample.note", Keyword),
];

const RUNS: Fields = &[
    ("event.action", Keyword),
    ("url.full", Keyword),
    ("loadtest.version", Keyword),
    ("loadtest.plan.hash", Keyword),
    ("loadtest.run.started", Date),
    ("loadtest.run.completed", Date),
    ("loadtest.run.start_skew_us", Long),
    ("loadtest.runners.expected", Integer),
    ("loadtest.runners.ready", Integer),
    ("loadtest.runners.lost", Integer),
    ("loadtest.verdict", Keyword),
    ("loadtest.reason", Keyword),
    ("loadtest.message", Keyword),
    ("loadtest.delivery", Keyword),
    ("loadtest.duration_ms", Long),
    ("loadtest.iterations.offered_rate", Double),
    ("loadtest.iterations.delivered_ratio", Double),
    ("loadtest.thresholds.name", Keyword),
    ("loadtest.thresholds.expr", Keyword),
    ("loadtest.thresholds.observed", Keyword),
    ("loadtest.thresholds.passed", Boolean),
    ("loadtest.by_name", Stored),
    ("loadtest.group_rows", Stored),
    ("loadtest.error_rows", Stored),
    ("loadtest.check_rows", Stored),
    ("loadtest.generator.saturated", Boolean),
    ("loadtest.generator.cpu_ratio", Double),
    ("loadtest.generator.late_starts", Long),
    ("loadtest.generator.late_by_generator", Long),
    ("loadtest.generator.worst_lateness_us", Long),
    ("loadtest.generator.throttled_us", Long),
];

const EXPORT: Fields = &[
    ("loadtest.export.produced", Long),
    ("loadtest.export.indexed", Long),
    ("loadtest.export.rejected", Long),
    ("loadtest.export.sampled_out", Long),
    ("loadtest.export.dropped", Long),
    ("loadtest.export.lost", Long),
    ("loadtest.export.pending", Long),
    ("loadtest.export.retries", Long),
];

const STATISTICS: [&str; 9] = [
    "min_us", "mean_us", "p50_us", "p75_us", "p90_us", "p95_us", "p99_us", "p999_us", "max_us",
];

impl Stream {
    /// The template's name, and of everything that belongs to the stream.
    pub(super) fn template_name(self, prefix: &str) -> String {
        format!("{prefix}-{}", self.name())
    }

    fn refresh_interval(self) -> &'static str {
        match self {
            // Nobody watches single requests live, and refreshing costs the server.
            Self::Requests => "10s",
            Self::Metrics | Self::Runs => "5s",
        }
    }

    /// Every field with its type.
    fn fields(self) -> Vec<(String, Kind)> {
        let parts: &[Fields] = match self {
            Self::Requests => &[COMMON, REQUESTS],
            Self::Metrics => &[COMMON, METRICS, SAMPLES, COUNTS, EXPORT],
            Self::Runs => &[COMMON, RUNS, COUNTS, EXPORT],
        };
        let mut fields: Vec<_> = parts
            .concat()
            .into_iter()
            .map(|(path, kind)| (path.to_owned(), kind))
            .collect();
        if self != Self::Requests {
            fields.extend(["latency", "service_time"].into_iter().flat_map(statistics));
        }
        if self == Self::Metrics {
            fields.extend(statistics("group.duration"));
            let failures = Outcome::ALL.iter().skip(1);
            fields.extend(
                failures.map(|outcome| (format!("loadtest.errors.{}", outcome.name()), Long)),
            );
        }
        fields
    }
}

/// Fields of the statistics of times.
fn statistics(of: &str) -> [(String, Kind); 9] {
    STATISTICS.map(|name| {
        let kind = if name == "mean_us" { Double } else { Long };
        (format!("loadtest.{of}.{name}"), kind)
    })
}

/// The composable index template of a stream.
pub(super) fn template(stream: Stream, prefix: &str, abilities: Abilities) -> Value {
    let mut properties = Map::new();
    for (path, kind) in stream.fields() {
        insert(&mut properties, &path, kind.mapping(abilities.dialect));
    }
    let mut template = json!({
        "index_patterns": [stream.data_stream(prefix, "*")],
        "priority": 500,
        "version": VERSION,
        "_meta": {"managed_by": "loadtest-operator", "schema": SCHEMA},
        "template": {
            "settings": {
                "index.number_of_shards": 1,
                // One node is green without a replica, two nodes have one.
                "index.auto_expand_replicas": "0-1",
                "index.refresh_interval": stream.refresh_interval(),
                "index.codec": "best_compression",
                "index.mapping.total_fields.limit": 300,
                "index.mapping.ignore_malformed": false,
            },
            "mappings": {
                // In the mapping as well: a stream keeps the one that it was made with.
                "_meta": {"managed_by": "loadtest-operator", "version": VERSION},
                "dynamic": "strict",
                "date_detection": false,
                "numeric_detection": false,
                "properties": properties,
            },
        },
    });
    if abilities.data_streams {
        template["data_stream"] = json!({});
    }
    if abilities.lifecycle {
        template["template"]["lifecycle"] = json!({});
    }
    template
}

fn insert(properties: &mut Map<String, Value>, path: &str, mapping: Value) {
    let Some((first, rest)) = path.split_once('.') else {
        properties.insert(path.to_owned(), mapping);
        return;
    };
    let object = properties
        .entry(first)
        .or_insert_with(|| json!({"properties": {}}));
    if let Some(inner) = object.get_mut("properties").and_then(Value::as_object_mut) {
        insert(inner, rest, mapping);
    }
}

impl Kind {
    fn mapping(self, dialect: Dialect) -> Value {
        let stored = || json!({"type": "object", "enabled": false});
        match (self, dialect) {
            (Boolean, _) => json!({"type": "boolean"}),
            (Date, _) => json!({"type": "date"}),
            (DateNanos, _) => json!({"type": "date_nanos"}),
            (Double, _) => json!({"type": "double"}),
            (Integer, _) => json!({"type": "integer"}),
            (Long, _) => json!({"type": "long"}),
            (Keyword, _) => json!({"type": "keyword", "ignore_above": 1024}),
            (Labels, Dialect::OpenSearch) => json!({"type": "flat_object"}),
            (Labels, _) => json!({"type": "flattened", "ignore_above": 512, "depth_limit": 2}),
            (Shown, _) => json!({"type": "keyword", "index": false, "doc_values": false}),
            (Histogram, Dialect::Elasticsearch) => json!({"type": "histogram"}),
            (Histogram | Stored, _) => stored(),
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
