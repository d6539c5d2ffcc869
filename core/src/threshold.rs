//! Thresholds: `metric.statistic op value`, such as `latency.p99 < 250ms`.
//!
//! Units are mandatory for durations and ratios, so that nobody has to guess what `250` means.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    histogram::Histogram,
    plan::Plan,
    report::UnixMicros,
    scalar::{
        ScalarError, duration_text, format_latency, format_rate, format_ratio, parse_duration,
        parse_percent,
    },
    series::{GroupSeries, Series, SeriesSet},
    view,
};

/// A parsed threshold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Threshold {
    /// Its name; the expression when none was given.
    pub name: String,
    /// As written.
    pub expr: String,
    /// What is looked at.
    pub metric: Metric,
    /// How it is compared.
    pub op: Op,
    /// With what: microseconds, a share of one, a count or a rate per second.
    pub value: f64,
    /// Rows of [`Plan::series`](crate::plan::Plan::series) that it looks at; `None` for all
    /// requests.
    pub series: Option<Vec<u32>>,
    /// Rows of [`Plan::groups`](crate::plan::Plan::groups) that a [`Metric::Group`] looks at; `None`
    /// for all groups.
    #[serde(default)]
    pub groups: Option<Vec<u32>>,
    /// When a breach stops the run before its end.
    pub abort: Option<Abort>,
}

/// When a breach stops the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Abort {
    /// It must not hold over this long.
    #[serde(with = "duration_text")]
    pub after: Duration,
    /// Not before this many requests, or passes through a group.
    pub min_requests: u64,
}

/// A metric with its statistic.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Metric {
    /// From the intended start, microseconds.
    Latency(Statistic),
    /// From the actual send, microseconds.
    ServiceTime(Statistic),
    /// From the moment the first step of a group was due to the end of its last one, microseconds.
    Group(Statistic),
    /// Failures over requests.
    ErrorsRatio,
    /// Failures.
    ErrorsCount,
    /// Requests per second.
    RequestsRate,
    /// Requests.
    RequestsCount,
    /// Fulfilled checks over all checks.
    ChecksRatio,
    /// Iterations that ended.
    IterationsCount,
    /// Iterations that ended, per second.
    IterationsRate,
    /// Begun over due arrivals.
    DeliveredRatio,
    /// Bytes written.
    BytesSent,
    /// Bytes read.
    BytesReceived,
}

/// A statistic of a histogram.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Statistic {
    /// A quantile, as a share of one.
    Quantile(f64),
    /// Exact mean.
    Mean,
    /// Smallest.
    Min,
    /// Largest.
    Max,
}

/// A comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Op {
    #[serde(rename = "<")]
    Less,
    #[serde(rename = "<=")]
    LessOrEqual,
    #[serde(rename = ">")]
    Greater,
    #[serde(rename = ">=")]
    GreaterOrEqual,
    #[serde(rename = "==")]
    Equal,
    #[serde(rename = "!=")]
    NotEqual,
}

/// Why a threshold was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ThresholdError {
    /// Not three parts.
    #[error("{0:?} is not a threshold: write METRIC OP VALUE, such as latency.p99 < 250ms")]
    Shape(String),
    /// The metric does not exist.
    #[error("{0:?} is not a metric: use one of {METRICS}")]
    Metric(String),
    /// The comparison does not exist.
    #[error("{0:?} is not a comparison: use one of < <= > >= == !=")]
    Op(String),
    /// The value has the wrong form for the metric.
    #[error("the value of {metric} does not fit: {source}")]
    Value {
        /// The metric.
        metric: String,
        /// What would be right.
        source: ScalarError,
    },
    /// The value is not a whole number, or too large to be compared exactly.
    #[error("{0:?} is not a whole number from 0 to {LARGEST_COUNT}")]
    Count(String),
}

/// 2^53: up to here every whole number is an `f64`.
const LARGEST_COUNT: u64 = 1 << 53;

const METRICS: &str = "latency.{p50,p75,p90,p95,p99,p999,mean,min,max}, serviceTime.{the same}, group.{the same}, errors.{ratio,count}, requests.{rate,count}, checks.ratio, iterations.{count,rate}, delivered.ratio, bytes.{sent,received}";

/// A threshold with what was observed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ThresholdResult {
    /// Its name.
    pub name: String,
    /// As written.
    pub expr: String,
    /// What was observed, in the unit of the metric; `None` when there was nothing to observe.
    pub observed: Option<String>,
    /// Whether it held. One that saw no data did not hold.
    pub passed: bool,
    /// Of one that may stop the run: when it was first seen not to hold.
    pub first_breach: Option<UnixMicros>,
}

impl Threshold {
    /// Parses an expression.
    ///
    /// # Errors
    /// [`ThresholdError`] says which part was not understood and what would be.
    pub fn parse(name: Option<&str>, expr: &str) -> Result<Self, ThresholdError> {
        let mut words = expr.split_whitespace();
        let (Some(metric_name), Some(op), Some(value), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(ThresholdError::Shape(expr.to_owned()));
        };
        let metric = parse_metric(metric_name)
            .ok_or_else(|| ThresholdError::Metric(metric_name.to_owned()))?;
        Ok(Self {
            name: name.unwrap_or(expr).to_owned(),
            expr: expr.to_owned(),
            metric,
            op: Op::parse(op).ok_or_else(|| ThresholdError::Op(op.to_owned()))?,
            value: parse_value(metric, metric_name, value)?,
            series: None,
            groups: None,
            abort: None,
        })
    }

    /// Evaluates on merged data of a load that lasted `duration`.
    pub fn evaluate(&self, set: &SeriesSet, duration: Duration) -> ThresholdResult {
        let observed = match (self.metric, &self.series) {
            (Metric::Group(statistic), _) => statistic.of(&self.passes(set).duration),
            (metric, None) => metric.observe(set, duration),
            (metric, Some(series)) => metric.observe(&selected(set, series), duration),
        };
        ThresholdResult {
            name: self.name.clone(),
            expr: self.expr.clone(),
            observed: observed.map(|value| self.metric.format(value)),
            passed: observed.is_some_and(|value| self.op.holds(value, self.value)),
            first_breach: None,
        }
    }

    /// What was observed of a threshold that may stop the run, if it does not hold and enough was
    /// seen.
    pub fn breach(&self, set: &SeriesSet, duration: Duration) -> Option<String> {
        let seen = match (self.metric, &self.series) {
            (Metric::Group(_), _) => self.passes(set).count,
            (_, None) => set.total.requests,
            (_, Some(series)) => rows(set, series).map(|row| row.requests).sum(),
        };
        let enough = |abort: Abort| seen >= abort.min_requests;
        if !self.abort.is_some_and(enough) {
            return None;
        }
        let result = self.evaluate(set, duration);
        result.observed.filter(|_| !result.passed)
    }

    /// What was measured of the groups that it looks at.
    fn passes(&self, set: &SeriesSet) -> GroupSeries {
        let mut passes = GroupSeries::default();
        let wanted = |index: u32| self.groups.as_ref().is_none_or(|all| all.contains(&index));
        for (_, group) in (0..).zip(&set.groups).filter(|(index, _)| wanted(*index)) {
            passes.merge(group);
        }
        passes
    }

    /// Whether it speaks of failed requests.
    pub fn is_about_errors(&self) -> bool {
        matches!(
            self.metric,
            Metric::ErrorsRatio | Metric::ErrorsCount | Metric::ChecksRatio
        )
    }
}

fn rows<'a>(set: &'a SeriesSet, series: &'a [u32]) -> impl Iterator<Item = &'a Series> {
    series
        .iter()
        .filter_map(|index| set.by_name.get(*index as usize))
}

/// The requests of some rows alone. Checks, iterations and arrivals belong to no row.
fn selected(set: &SeriesSet, series: &[u32]) -> SeriesSet {
    let mut selected = SeriesSet::default();
    for row in rows(set, series) {
        selected.total.merge(row);
    }
    selected
}

/// Evaluates every threshold of a plan.
pub fn evaluate_all(plan: &Plan, set: &SeriesSet, duration: Duration) -> Vec<ThresholdResult> {
    plan.thresholds
        .iter()
        .map(|threshold| threshold.evaluate(set, duration))
        .collect()
}

impl Op {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "<" => Self::Less,
            "<=" => Self::LessOrEqual,
            ">" => Self::Greater,
            ">=" => Self::GreaterOrEqual,
            "==" => Self::Equal,
            "!=" => Self::NotEqual,
            _ => return None,
        })
    }

    #[allow(clippy::float_cmp)] // `== 0` and `== 100%` mean exactly that.
    fn holds(self, observed: f64, value: f64) -> bool {
        match self {
            Self::Less => observed < value,
            Self::LessOrEqual => observed <= value,
            Self::Greater => observed > value,
            Self::GreaterOrEqual => observed >= value,
            Self::Equal => observed == value,
            Self::NotEqual => observed != value,
        }
    }
}

impl Metric {
    /// Whether it can be told for some request names alone.
    pub fn is_of_requests(self) -> bool {
        match self {
            Self::Latency(_)
            | Self::ServiceTime(_)
            | Self::ErrorsRatio
            | Self::ErrorsCount
            | Self::RequestsRate
            | Self::RequestsCount
            | Self::BytesSent
            | Self::BytesReceived => true,
            Self::Group(_)
            | Self::ChecksRatio
            | Self::IterationsCount
            | Self::IterationsRate
            | Self::DeliveredRatio => false,
        }
    }

    /// Whether it is of groups: then it can be told for some of them alone, and not of requests.
    pub fn is_of_groups(self) -> bool {
        matches!(self, Self::Group(_))
    }

    fn observe(self, set: &SeriesSet, duration: Duration) -> Option<f64> {
        let Series {
            requests, failures, ..
        } = set.total;
        let seconds = duration.as_secs_f64();
        let per_second = |count: u64| (seconds > 0.0).then(|| count as f64 / seconds);
        match self {
            Self::Latency(statistic) => statistic.of(&set.total.latency),
            Self::ServiceTime(statistic) => statistic.of(&set.total.service_time),
            // Seen in the passes, not in the requests.
            Self::Group(_) => None,
            Self::ErrorsRatio => (requests > 0).then(|| failures as f64 / requests as f64),
            Self::ErrorsCount => Some(failures as f64),
            Self::RequestsCount => Some(requests as f64),
            Self::RequestsRate => per_second(requests),
            Self::ChecksRatio => set.checks_ratio(),
            Self::IterationsCount => Some(set.iterations as f64),
            Self::IterationsRate => per_second(set.iterations),
            Self::DeliveredRatio => Some(view::delivered(set)),
            Self::BytesSent => Some(set.total.bytes_sent as f64),
            Self::BytesReceived => Some(set.total.bytes_received as f64),
        }
    }

    fn format(self, value: f64) -> String {
        match self {
            Self::Latency(_) | Self::ServiceTime(_) | Self::Group(_) => {
                format_latency(value.round() as u64)
            }
            Self::ErrorsRatio | Self::ChecksRatio | Self::DeliveredRatio => format_ratio(value),
            Self::RequestsRate | Self::IterationsRate => format_rate(value),
            Self::ErrorsCount
            | Self::RequestsCount
            | Self::IterationsCount
            | Self::BytesSent
            | Self::BytesReceived => format!("{value}"),
        }
    }
}

impl Statistic {
    fn of(self, histogram: &Histogram) -> Option<f64> {
        if histogram.is_empty() {
            return None;
        }
        Some(match self {
            Self::Quantile(quantile) => histogram.quantile(quantile) as f64,
            Self::Mean => histogram.mean(),
            Self::Min => histogram.min() as f64,
            Self::Max => histogram.max() as f64,
        })
    }

    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "p50" => Self::Quantile(0.5),
            "p75" => Self::Quantile(0.75),
            "p90" => Self::Quantile(0.9),
            "p95" => Self::Quantile(0.95),
            "p99" => Self::Quantile(0.99),
            "p999" => Self::Quantile(0.999),
            "mean" => Self::Mean,
            "min" => Self::Min,
            "max" => Self::Max,
            _ => return None,
        })
    }
}

fn parse_metric(text: &str) -> Option<Metric> {
    let (family, statistic) = text.split_once('.')?;
    Some(match (family, statistic) {
        ("latency", statistic) => Metric::Latency(Statistic::parse(statistic)?),
        ("serviceTime", statistic) => Metric::ServiceTime(Statistic::parse(statistic)?),
        ("group", statistic) => Metric::Group(Statistic::parse(statistic)?),
        ("errors", "ratio") => Metric::ErrorsRatio,
        ("errors", "count") => Metric::ErrorsCount,
        ("requests", "rate") => Metric::RequestsRate,
        ("requests", "count") => Metric::RequestsCount,
        ("checks", "ratio") => Metric::ChecksRatio,
        ("iterations", "count") => Metric::IterationsCount,
        ("iterations", "rate") => Metric::IterationsRate,
        ("delivered", "ratio") => Metric::DeliveredRatio,
        ("bytes", "sent") => Metric::BytesSent,
        ("bytes", "received") => Metric::BytesReceived,
        _ => return None,
    })
}

fn parse_value(metric: Metric, name: &str, text: &str) -> Result<f64, ThresholdError> {
    let value = match metric {
        Metric::Latency(_) | Metric::ServiceTime(_) | Metric::Group(_) => {
            parse_duration(text).map(|duration| duration.as_micros() as f64)
        }
        Metric::ErrorsRatio | Metric::ChecksRatio | Metric::DeliveredRatio => parse_percent(text),
        Metric::RequestsRate | Metric::IterationsRate => text
            .parse::<crate::scalar::Rate>()
            .map(crate::scalar::Rate::per_second),
        Metric::ErrorsCount
        | Metric::RequestsCount
        | Metric::IterationsCount
        | Metric::BytesSent
        | Metric::BytesReceived => {
            return text
                .parse::<u64>()
                .ok()
                .filter(|count| *count <= LARGEST_COUNT)
                .map(|count| count as f64)
                .ok_or_else(|| ThresholdError::Count(text.to_owned()));
        }
    };
    value.map_err(|source| ThresholdError::Value {
        metric: name.to_owned(),
        source,
    })
}
