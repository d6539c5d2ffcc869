//! Interval documents: one for the totals, one for each request name that had requests and one for
//! each group that was done, and once a minute the histograms of each name and group.

use std::collections::BTreeMap;

use loadtest_core::{
    histogram::Histogram,
    plan::Plan,
    report::{ExportCounts, GeneratorHealth, UnixMicros},
    series::{ErrorKey, GroupSeries, Outcome, Series, SeriesSet},
    view::LatencyStats,
};
use serde_json::{Map, Value, json};

use super::{batch::Batch, ids, json::timestamp};
use crate::pool::{Interval, Stage};

/// Histograms of names cover the wall-clock grid of this length.
const HISTOGRAM_GRID_US: i64 = 60_000_000;

/// Rows of `loadtest.top_errors`.
const TOP_ERRORS: usize = 10;

/// Makes interval documents. Must see every interval of a minute to know its histograms.
#[derive(Debug)]
pub(super) struct IntervalEncoder {
    plan: Plan,
    runner: u32,
    host: String,
    id_prefix: String,
    /// Histograms of names since the minute began, by index of the series.
    minute: BTreeMap<usize, (Histogram, Histogram)>,
    /// Histograms of groups since the minute began, by index of the group.
    group_minute: BTreeMap<usize, Histogram>,
    /// The intervals in `minute` and `group_minute`.
    covered: Option<Covered>,
}

/// What a document is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// All requests.
    Total,
    /// A request name, by index of the series.
    Name(usize),
    /// A group, by its index.
    Group(usize),
}

/// Intervals of one stage that follow each other.
#[derive(Debug, Clone, Copy)]
struct Covered {
    /// Begin of the first.
    start: UnixMicros,
    /// End of the last.
    end: UnixMicros,
    /// Of the last.
    sequence: u64,
    stage: Stage,
}

impl IntervalEncoder {
    pub(super) fn new(plan: &Plan, runner: u32, host: &str) -> Self {
        Self {
            plan: plan.clone(),
            runner,
            host: host.to_owned(),
            id_prefix: ids::runner_prefix(&plan.run.id, runner),
            minute: BTreeMap::new(),
            group_minute: BTreeMap::new(),
            covered: None,
        }
    }

    /// Whether no histogram is under way, so that earlier intervals are not needed again.
    pub(super) fn is_between_minutes(&self) -> bool {
        self.covered.is_none()
    }

    /// Adds the documents of an interval.
    pub(super) fn push(&mut self, batch: &mut Batch, interval: &Interval, export: &ExportCounts) {
        if self.covered.is_some_and(|c| c.stage != interval.stage) {
            self.finish(batch);
        }
        batch.push_value(
            &ids::interval_total(&self.id_prefix, interval.sequence),
            &self.total(interval, export),
        );
        for (index, series) in interval.set.by_name.iter().enumerate() {
            if series.requests > 0 {
                batch.push_value(
                    &ids::interval_name(&self.id_prefix, interval.sequence, index),
                    &self.name(interval, index, series),
                );
            }
        }
        for (index, series) in interval.set.groups.iter().enumerate() {
            if series.count > 0 {
                batch.push_value(
                    &ids::interval_group(&self.id_prefix, interval.sequence, index),
                    &self.group(interval, index, series),
                );
            }
        }
        self.collect(interval);
        let minute = |us: UnixMicros| us.div_euclid(HISTOGRAM_GRID_US);
        if self
            .covered
            .is_some_and(|covered| minute(covered.start) != minute(covered.end))
        {
            self.finish(batch);
        }
    }

    /// Adds the documents of the histograms under way.
    pub(super) fn finish(&mut self, batch: &mut Batch) {
        let Some(covered) = self.covered.take() else {
            return;
        };
        let Covered {
            start,
            end,
            sequence,
            stage,
        } = covered;
        let begin = |scope| {
            let mut loadtest = self.loadtest("histogram", scope);
            loadtest.insert("stage".into(), json!(stage.name()));
            loadtest.insert("interval".into(), span(start, end, sequence));
            loadtest
        };
        for (index, (latency, service_time)) in &self.minute {
            let scope = Scope::Name(*index);
            let mut loadtest = begin(scope);
            loadtest.insert("latency".into(), latency_fields(latency, true));
            loadtest.insert("service_time".into(), latency_fields(service_time, true));
            let id = ids::histogram(&self.id_prefix, sequence, *index);
            batch.push_value(&id, &self.document(&id, start, scope, &loadtest));
        }
        for (index, duration) in &self.group_minute {
            let scope = Scope::Group(*index);
            let mut loadtest = begin(scope);
            insert_group(&mut loadtest, "duration", latency_fields(duration, true));
            let id = ids::group_histogram(&self.id_prefix, sequence, *index);
            batch.push_value(&id, &self.document(&id, start, scope, &loadtest));
        }
        self.minute.clear();
        self.group_minute.clear();
    }

    fn collect(&mut self, interval: &Interval) {
        self.covered = Some(Covered {
            start: self.covered.map_or(interval.start_us, |c| c.start),
            end: interval.end_us,
            sequence: interval.sequence,
            stage: interval.stage,
        });
        for (index, series) in interval.set.by_name.iter().enumerate() {
            if series.requests > 0 {
                let (latency, service_time) = self.minute.entry(index).or_default();
                latency.merge(&series.latency);
                service_time.merge(&series.service_time);
            }
        }
        for (index, series) in interval.set.groups.iter().enumerate() {
            if series.count > 0 {
                let duration = self.group_minute.entry(index).or_default();
                duration.merge(&series.duration);
            }
        }
    }

    fn total(&self, interval: &Interval, export: &ExportCounts) -> Value {
        let set = &interval.set;
        let mut loadtest = self.loadtest("interval", Scope::Total);
        insert_interval(&mut loadtest, interval);
        insert_series(&mut loadtest, &set.total, seconds(interval), true);
        if let Some(requests) = loadtest.get_mut("requests").and_then(Value::as_object_mut) {
            requests.insert("resent".into(), json!(set.resent));
        }
        loadtest.insert("iterations".into(), iterations(set));
        loadtest.insert("users".into(), json!({"active": interval.users}));
        loadtest.insert("connections".into(), json!({"opened": set.connections}));
        let (passed, failed) = set
            .checks
            .iter()
            .fold((0, 0), |sum, check| (sum.0 + check.0, sum.1 + check.1));
        loadtest.insert("check".into(), json!({"passed": passed, "failed": failed}));
        let errors = || set.errors.iter();
        loadtest.insert("errors".into(), by_outcome(errors()));
        loadtest.insert("top_errors".into(), self.top_errors(set));
        loadtest.insert("process".into(), process(&interval.health));
        // What the engine knew at the end of the interval, and the exporter when it wrote this.
        let mut export = *export;
        export.produced = interval.records.produced;
        export.sampled_out = interval.records.sampled_out;
        export.dropped = interval.records.dropped;
        export.pending = export.produced.saturating_sub(
            export.indexed + export.rejected + export.sampled_out + export.dropped + export.lost,
        );
        loadtest.insert("export".into(), export_fields(&export));
        let id = ids::interval_total(&self.id_prefix, interval.sequence);
        self.document(&id, interval.start_us, Scope::Total, &loadtest)
    }

    fn name(&self, interval: &Interval, index: usize, series: &Series) -> Value {
        let mut loadtest = self.loadtest("interval", Scope::Name(index));
        insert_interval(&mut loadtest, interval);
        insert_series(&mut loadtest, series, seconds(interval), false);
        let ours = interval
            .set
            .errors
            .iter()
            .filter(|(key, _)| key.series as usize == index);
        loadtest.insert("errors".into(), by_outcome(ours));
        let id = ids::interval_name(&self.id_prefix, interval.sequence, index);
        self.document(&id, interval.start_us, Scope::Name(index), &loadtest)
    }

    fn group(&self, interval: &Interval, index: usize, series: &GroupSeries) -> Value {
        let scope = Scope::Group(index);
        let mut loadtest = self.loadtest("interval", scope);
        insert_interval(&mut loadtest, interval);
        for (name, value) in [
            ("count", json!(series.count)),
            ("failed", json!(series.failures)),
            ("failed_ratio", json!(ratio(series.failures, series.count))),
            ("duration", latency_fields(&series.duration, false)),
        ] {
            insert_group(&mut loadtest, name, value);
        }
        let id = ids::interval_group(&self.id_prefix, interval.sequence, index);
        self.document(&id, interval.start_us, scope, &loadtest)
    }

    fn loadtest(&self, doc: &str, scope: Scope) -> Map<String, Value> {
        let mut fields = super::run_fields(&self.plan, doc);
        fields.insert("runner".into(), json!({"index": self.runner}));
        fields.insert("scope".into(), json!(scope.name()));
        match scope {
            Scope::Total => {}
            Scope::Name(index) => {
                if let Some(key) = self.plan.series.get(index) {
                    fields.insert("scenario".into(), json!({"name": key.scenario}));
                    fields.insert("request".into(), json!({"name": key.name}));
                }
            }
            Scope::Group(index) => {
                if let Some(key) = self.plan.groups.get(index) {
                    fields.insert("scenario".into(), json!({"name": key.scenario}));
                    fields.insert("group".into(), json!({"name": key.name}));
                }
            }
        }
        fields
    }

    fn document(
        &self,
        id: &str,
        start: UnixMicros,
        scope: Scope,
        loadtest: &Map<String, Value>,
    ) -> Value {
        let mut document = json!({
            "@timestamp": timestamp(start),
            "event": {"id": id},
            "host": {"name": self.host},
            "orchestrator": {"namespace": self.plan.run.namespace},
            "loadtest": loadtest,
        });
        if let Scope::Name(index) = scope
            && let Some(key) = self.plan.series.get(index)
            && let Some(fields) = document.as_object_mut()
        {
            fields.insert("http".into(), json!({"request": {"method": key.method}}));
        }
        document
    }

    fn top_errors(&self, set: &SeriesSet) -> Value {
        let mut rows: Vec<_> = set.errors.iter().collect();
        rows.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let text = |(key, count): &(&ErrorKey, &u64)| {
            let series = self.plan.series.get(key.series as usize);
            let name = series.map_or("(other)", |series| series.name.as_str());
            format!("{count}x {} {name}: {}", key.outcome.name(), key.message)
        };
        json!(rows.iter().take(TOP_ERRORS).map(text).collect::<Vec<_>>())
    }
}

impl Scope {
    /// The word in documents.
    fn name(self) -> &'static str {
        match self {
            Self::Total => "total",
            Self::Name(_) => "name",
            Self::Group(_) => "group",
        }
    }
}

fn seconds(interval: &Interval) -> f64 {
    (interval.end_us - interval.start_us) as f64 / 1e6
}

fn span(start: UnixMicros, end: UnixMicros, sequence: u64) -> Value {
    json!({
        "start": timestamp(start),
        "end": timestamp(end),
        "ms": (end - start) / 1_000,
        "sequence": sequence,
    })
}

fn insert_interval(loadtest: &mut Map<String, Value>, interval: &Interval) {
    let mut span = span(interval.start_us, interval.end_us, interval.sequence);
    if let Some(fields) = span.as_object_mut() {
        fields.insert("partial".into(), json!(interval.partial));
    }
    loadtest.insert("stage".into(), json!(interval.stage.name()));
    loadtest.insert("interval".into(), span);
}

/// A field of `loadtest.group`.
fn insert_group(loadtest: &mut Map<String, Value>, name: &str, value: Value) {
    let group = loadtest.entry("group").or_insert_with(|| json!({}));
    if let Some(fields) = group.as_object_mut() {
        fields.insert(name.into(), value);
    }
}

/// A share, 0 of nothing.
fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64
    }
}

/// Fields that totals and names have alike.
fn insert_series(
    loadtest: &mut Map<String, Value>,
    series: &Series,
    seconds: f64,
    histograms: bool,
) {
    loadtest.insert(
        "requests".into(),
        json!({
            "count": series.requests,
            "rate": if seconds > 0.0 { series.requests as f64 / seconds } else { 0.0 },
            "ok": series.requests - series.failures,
            "failed": series.failures,
            "failed_ratio": ratio(series.failures, series.requests),
        }),
    );
    loadtest.insert(
        "bytes".into(),
        json!({"sent": series.bytes_sent, "received": series.bytes_received}),
    );
    let [c1xx, c2xx, c3xx, c4xx, c5xx] = series.status_classes;
    let answered = c1xx + c2xx + c3xx + c4xx + c5xx;
    loadtest.insert(
        "status".into(),
        json!({
            "c1xx": c1xx, "c2xx": c2xx, "c3xx": c3xx, "c4xx": c4xx, "c5xx": c5xx,
            "none": series.requests.saturating_sub(answered),
        }),
    );
    loadtest.insert(
        "latency".into(),
        latency_fields(&series.latency, histograms),
    );
    loadtest.insert(
        "service_time".into(),
        latency_fields(&series.service_time, histograms),
    );
}

fn iterations(set: &SeriesSet) -> Value {
    json!({
        "count": set.iterations,
        "failed": set.iterations_failed,
        "scheduled": set.scheduled,
        "started": set.started,
        "late_by_generator": set.late_by_generator,
        "late_by_target": set.late_by_target,
        "worst_lateness_us": set.worst_lateness_us,
    })
}

fn by_outcome<'a>(errors: impl Iterator<Item = (&'a ErrorKey, &'a u64)>) -> Value {
    let mut counts: Map<String, Value> = Outcome::ALL
        .iter()
        .skip(1)
        .map(|outcome| (outcome.name().to_owned(), json!(0)))
        .collect();
    for (key, count) in errors {
        let before = counts
            .get(key.outcome.name())
            .and_then(Value::as_u64)
            .unwrap_or_default();
        counts.insert(key.outcome.name().to_owned(), json!(before + count));
    }
    Value::Object(counts)
}

fn process(health: &GeneratorHealth) -> Value {
    json!({
        "cpu_ratio": health.cpu,
        "cpu_max_ratio": health.cpu_max,
        "throttled_us": health.throttled_us,
        "worst_lag_us": health.worst_lag_us,
        "rss_bytes": health.rss,
        "pool_high_water_ratio": health.pool_high_water,
    })
}

/// Latency statistics; with the histogram itself when it is wanted.
fn latency_fields(histogram: &Histogram, with_histogram: bool) -> Value {
    let mut fields = latency_stats(&LatencyStats::from(histogram));
    if let Some(fields) = fields.as_object_mut() {
        fields.insert("sum_us".into(), json!(histogram.sum()));
        if with_histogram && !histogram.is_empty() {
            let (values, counts): (Vec<u64>, Vec<u64>) = histogram.buckets().unzip();
            fields.insert(
                "histogram_us".into(),
                json!({"values": values, "counts": counts}),
            );
        }
    }
    fields
}

/// Latency statistics under their names in documents.
pub(super) fn latency_stats(stats: &LatencyStats) -> Value {
    json!({
        "min_us": stats.min,
        "mean_us": stats.mean,
        "p50_us": stats.p50,
        "p75_us": stats.p75,
        "p90_us": stats.p90,
        "p95_us": stats.p95,
        "p99_us": stats.p99,
        "p999_us": stats.p999,
        "max_us": stats.max,
    })
}

/// Export accounting under its names in documents.
pub(super) fn export_fields(counts: &ExportCounts) -> Value {
    json!({
        "produced": counts.produced,
        "indexed": counts.indexed,
        "rejected": counts.rejected,
        "sampled_out": counts.sampled_out,
        "dropped": counts.dropped,
        "lost": counts.lost,
        "pending": counts.pending,
        "retries": counts.retries,
    })
}

#[cfg(test)]
mod tests;
