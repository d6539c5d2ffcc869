//! What a panel shows, beside what the runs' files say.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Row, STEP};
use crate::truth::{Run, count, sorted, text};

/// The time that latency means.
pub const LATENCY: &str = "from_schedule_us";

/// The rows of an answer.
#[derive(Clone, Copy)]
pub struct Shown<'a> {
    pub rows: &'a [Row],
    /// Whether percentiles are the server's estimates.
    pub estimated: bool,
}

impl Shown<'_> {
    /// Rows of a group, named by its keys; of all groups when none is named.
    fn rows(&self, key: &str) -> impl Iterator<Item = &Row> {
        self.rows
            .iter()
            .filter(move |row| key.is_empty() || row.keys.join(", ") == key)
    }

    pub fn value(&self, key: &str, label: &str) -> Option<f64> {
        let found: Vec<_> = self.rows(key).collect();
        let [row] = found.as_slice() else {
            panic!("{} rows of {key:?} in {:?}", found.len(), self.rows);
        };
        row.values.get(label).copied()
    }

    pub fn is(&self, key: &str, label: &str, truth: f64) {
        let shown = self.value(key, label);
        let shown = shown.unwrap_or_else(|| panic!("{key} has no {label}"));
        equals(shown, truth, &format!("{key} {label}"));
    }

    /// The one value of the group.
    pub fn only(&self, key: &str, truth: f64) {
        let rows: Vec<_> = self.rows(key).collect();
        assert_eq!(rows.len(), 1, "{key}");
        equals(single(rows[0]), truth, key);
    }

    /// The sum over time of something for each second.
    pub fn sum(&self, key: &str, label: &str) -> f64 {
        let values = self.rows(key).filter_map(|row| row.values.get(label));
        values.sum::<f64>() * STEP as f64 / 1_000.0
    }

    /// The same of the one value.
    pub fn sum_of(&self, key: &str) -> f64 {
        self.rows(key).map(single).sum::<f64>() * STEP as f64 / 1_000.0
    }

    /// What is shown for each second comes to what the intervals say.
    pub fn adds_up(&self, label: &str, run: &Run, field: &str) {
        equals(
            self.sum("", label),
            sum(&values(&totals(run), field)),
            label,
        );
    }

    /// Counts of documents by group, over all times.
    pub fn counts(&self, truth: &BTreeMap<String, u64>) {
        let mut found: BTreeMap<String, u64> = BTreeMap::new();
        for row in self.rows {
            *found.entry(row.keys.join(", ")).or_default() += single(row) as u64;
        }
        assert_eq!(found, *truth);
    }

    /// Number and percentiles of the latencies of each group.
    pub fn distributions(&self, documents: &[&Value], key: impl Fn(&Value) -> String) {
        for (group, number) in count(documents.to_vec(), &key) {
            self.is(&group, "documents", number as f64);
            let mut of_group = documents.to_vec();
            of_group.retain(|doc| key(doc) == group);
            let times = sorted(&of_group, LATENCY);
            self.is(&group, "max", times[times.len() - 1]);
            for percent in [50, 95, 99] {
                if let Some(shown) = self.value(&group, &format!("p{percent}")) {
                    self.near_percentile(shown, percent, &times);
                }
            }
        }
    }

    pub fn percentiles_over_time(&self, key: &str, documents: &[&Value]) {
        let moments = by_moment(documents);
        assert_eq!(self.rows(key).count(), moments.len());
        for row in self.rows(key) {
            let times = sorted(&moments[&row.time], LATENCY);
            let labelled = [("p50", 50), ("p95", 95), ("p99", 99)];
            let single = row.values.len() == 1;
            for (label, percent) in labelled {
                // A line of its own for each group is the 99th and has the group's name.
                let shown = row
                    .values
                    .get(label)
                    .or(row.values.get("value").filter(|_| percent == 99));
                assert!(shown.is_some() || percent != 99, "{row:?}");
                if let Some(shown) = shown {
                    self.near_percentile(*shown, percent, &times);
                } else {
                    assert!(single || percent == 95, "{row:?}");
                }
            }
        }
    }

    /// A field of documents, folded at each moment.
    pub fn over_time(
        &self,
        key: &str,
        label: &str,
        documents: &[&Value],
        field: &str,
        fold: fn(&[f64]) -> f64,
    ) {
        let moments = by_moment(documents);
        for row in self.rows(key) {
            let truth = values(&moments[&row.time], field);
            match row.values.get(label).or(row.values.get("value")) {
                Some(shown) => equals(*shown, fold(&truth), label),
                None => assert_eq!(truth.len(), 0, "{row:?} has no {label}"),
            }
        }
    }

    pub fn by_runner(&self, run: &Run, field: &str, fold: fn(&[f64]) -> f64) {
        let totals = totals(run);
        for runner in [0, 1] {
            let mut of_runner = totals.clone();
            of_runner.retain(|doc| doc["loadtest"]["runner"]["index"] == runner);
            let moments = by_moment(&of_runner);
            assert_eq!(self.rows(&runner.to_string()).count(), moments.len());
            for row in self.rows(&runner.to_string()) {
                equals(
                    single(row),
                    fold(&values(&moments[&row.time], field)),
                    field,
                );
            }
        }
    }

    pub fn failures_over_time(&self, key: &str, run: &Run) {
        let moments = by_moment(&totals(run));
        for row in self.rows(key) {
            let of = |field| sum(&values(&moments[&row.time], field));
            equals(
                single(row),
                of("requests.failed") / of("requests.count"),
                "share",
            );
        }
        assert!(self.rows(key).count() > 2);
    }

    /// An estimate of so few documents is off by a few ranks.
    fn near_percentile(&self, shown: f64, percent: u32, times: &[f64]) {
        let count = times.len();
        let rank = (count as f64 * f64::from(percent) / 100.0).ceil() as usize;
        let slack = if self.estimated { 2 + count / 20 } else { 1 };
        let at = |rank: usize| times[rank.clamp(1, count) - 1];
        let (least, most) = (
            at(rank.saturating_sub(slack)) * 0.998,
            at(rank + slack) * 1.002,
        );
        assert!(
            (least..=most).contains(&shown),
            "p{percent} of {count} is {shown}, not between {least} and {most}"
        );
    }
}

/// The value of a row that has one.
fn single(row: &Row) -> f64 {
    assert_eq!(row.values.len(), 1, "{row:?}");
    *row.values.values().next().unwrap()
}

/// Interval documents of this scope without the warm-up.
pub fn intervals<'a>(run: &'a Run, scope: &str) -> Vec<&'a Value> {
    let wanted = |doc: &&Value| {
        let loadtest = &doc["loadtest"];
        loadtest["scope"] == scope && loadtest["doc"] == "interval" && loadtest["stage"] == "load"
    };
    run.intervals.iter().filter(wanted).collect()
}

/// Those of the totals, with the warm-up.
pub fn totals(run: &Run) -> Vec<&Value> {
    let wanted =
        |doc: &&Value| doc["loadtest"]["scope"] == "total" && doc["loadtest"]["doc"] == "interval";
    run.intervals.iter().filter(wanted).collect()
}

/// A field below `loadtest`.
pub fn number(document: &Value, path: &str) -> Option<f64> {
    path.split('.')
        .fold(&document["loadtest"], |value, key| &value[key])
        .as_f64()
}

/// A field of those documents that have it.
pub fn values(documents: &[&Value], path: &str) -> Vec<f64> {
    documents
        .iter()
        .filter_map(|doc| number(doc, path))
        .collect()
}

pub fn milliseconds(document: &Value) -> i64 {
    let at: jiff::Timestamp = text(&document["@timestamp"]).parse().unwrap();
    at.as_millisecond()
}

/// Documents by the interval of the chart that they are in.
fn by_moment<'a>(documents: &[&'a Value]) -> BTreeMap<i64, Vec<&'a Value>> {
    let mut moments: BTreeMap<i64, Vec<&Value>> = BTreeMap::new();
    for document in documents {
        let moment = milliseconds(document).div_euclid(STEP) * STEP;
        moments.entry(moment).or_default().push(*document);
    }
    moments
}

pub fn sum(values: &[f64]) -> f64 {
    values.iter().sum()
}

pub fn mean(values: &[f64]) -> f64 {
    sum(values) / values.len() as f64
}

pub fn max(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::MIN, f64::max)
}

pub fn equals(shown: f64, truth: f64, what: &str) {
    let close = (shown - truth).abs() <= truth.abs() * 1e-6;
    assert!(close, "{what} is {shown} instead of {truth}");
}
