//! A run beside an earlier one: whether it got worse than is tolerated.
//!
//! Times and rates are compared as a share of the baseline's: `worseBy: 10%` lets a p99 of 200 ms
//! become 220 ms. Ratios are compared in percentage points, as people speak of them: an error ratio
//! may go from 0% to 1% with `worseBy: 1%`, for which there is no share. What got better is never
//! too much.

use std::{fmt::Write as _, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    scalar::{format_latency, format_rate, format_ratio},
    verdict::{Judgement, Reason, Verdict},
    view::{LatencyStats, RequestStats, RunView, Summary},
};

/// A number that may not get worse by more than so much.
#[derive(Debug, Clone, PartialEq)]
pub struct Tolerance {
    /// Which number.
    pub metric: Compared,
    /// Of what.
    pub of: Subject,
    /// By how much: a share of the baseline's, or percentage points (0.01 is one) of a ratio.
    pub worse_by: f64,
}

/// What of a run a number is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// All of it.
    Run,
    /// Its requests of one name, which are in one scenario only: a summary has percentiles of each,
    /// and percentiles cannot be merged.
    Request(String),
    /// Its passes through one group, which is in one scenario only.
    Group(String),
}

/// A number that can be compared, as a summary has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compared {
    /// From the intended start; more is worse.
    Latency(Statistic),
    /// From the send; more is worse.
    ServiceTime(Statistic),
    /// How long a group took; more is worse.
    Group(Statistic),
    /// Failures over requests; more is worse.
    ErrorsRatio,
    /// Fulfilled checks over all checks; fewer are worse.
    ChecksRatio,
    /// Requests per second; fewer are worse.
    RequestsRate,
    /// Iterations per second; fewer are worse.
    IterationsRate,
    /// Share of the iterations that were to begin that did; fewer are worse.
    DeliveredRatio,
}

/// One of the numbers of [`LatencyStats`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Statistic {
    Min,
    Mean,
    P50,
    P75,
    P90,
    P95,
    P99,
    P999,
    Max,
}

/// Why a tolerance was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} cannot be compared with another run: use one of latency.{{p50,p75,p90,p95,p99,p999,mean,min,max}}, serviceTime.{{the same}}, group.{{the same}}, errors.ratio, checks.ratio, requests.rate, iterations.rate, delivered.ratio"
)]
pub struct UnknownMetric(pub String);

/// What came of comparing a run with its baseline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Comparison {
    /// Number by number.
    Done {
        /// Name of the run that it was compared with.
        run: String,
        /// In the order in which they were asked for.
        deltas: Vec<Delta>,
    },
    /// There was nothing to compare with, or the run itself has no numbers worth it.
    Missing {
        /// Why, in one word.
        reason: String,
        /// Why, in one sentence.
        message: String,
    },
}

/// A number of both runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Delta {
    /// Which one, as in a threshold, and of what: `latency.p99`, `latency.p99 of GET /items`.
    pub metric: String,
    /// Of the baseline, in its unit; `None` when it observed nothing.
    pub before: Option<String>,
    /// Of the run.
    pub after: Option<String>,
    /// What changed, with its sign: `+12.5%`, `-3 points`; `None` when that cannot be said.
    pub change: Option<String>,
    /// What is tolerated, as written: `10%`.
    pub worse_by: String,
    /// It got worse by more than that.
    pub regressed: bool,
}

impl Compared {
    /// Reads a metric as thresholds have it.
    ///
    /// # Errors
    /// [`UnknownMetric`] names those that there are.
    pub fn parse(text: &str) -> Result<Self, UnknownMetric> {
        let unknown = || UnknownMetric(text.to_owned());
        let (family, statistic) = text.split_once('.').ok_or_else(unknown)?;
        Ok(match (family, statistic) {
            ("latency", name) => Self::Latency(Statistic::parse(name).ok_or_else(unknown)?),
            ("serviceTime", name) => Self::ServiceTime(Statistic::parse(name).ok_or_else(unknown)?),
            ("group", name) => Self::Group(Statistic::parse(name).ok_or_else(unknown)?),
            ("errors", "ratio") => Self::ErrorsRatio,
            ("checks", "ratio") => Self::ChecksRatio,
            ("requests", "rate") => Self::RequestsRate,
            ("iterations", "rate") => Self::IterationsRate,
            ("delivered", "ratio") => Self::DeliveredRatio,
            _ => return Err(unknown()),
        })
    }

    /// Whether such a subject has such a number.
    pub fn is_of(self, subject: &Subject) -> bool {
        match subject {
            Subject::Run => !matches!(self, Self::Group(_)),
            Subject::Request(_) => matches!(
                self,
                Self::Latency(_) | Self::ServiceTime(_) | Self::ErrorsRatio | Self::RequestsRate
            ),
            Subject::Group(_) => matches!(self, Self::Group(_)),
        }
    }

    /// What a run observed; `None` when there was nothing to observe.
    fn of(self, subject: &Subject, summary: &Summary) -> Option<f64> {
        match subject {
            Subject::Run => self.of_run(summary),
            Subject::Request(name) => {
                let row = summary.by_name.iter().find(|row| row.name == *name)?;
                self.of_requests(&row.stats, summary.duration)
            }
            Subject::Group(name) => {
                let row = summary.groups.iter().find(|row| row.name == *name)?;
                match self {
                    Self::Group(statistic) if row.count > 0 => Some(statistic.of(&row.duration)),
                    _ => None,
                }
            }
        }
    }

    fn of_run(self, summary: &Summary) -> Option<f64> {
        let seconds = summary.duration.as_secs_f64();
        match self {
            Self::ChecksRatio => summary.checks_ratio,
            Self::IterationsRate => (seconds > 0.0).then(|| summary.iterations as f64 / seconds),
            Self::DeliveredRatio => Some(summary.delivered),
            _ => self.of_requests(&summary.total, summary.duration),
        }
    }

    fn of_requests(self, stats: &RequestStats, duration: Duration) -> Option<f64> {
        let any = stats.requests > 0;
        match self {
            Self::Latency(statistic) => any.then(|| statistic.of(&stats.latency)),
            Self::ServiceTime(statistic) => any.then(|| statistic.of(&stats.service_time)),
            Self::ErrorsRatio => any.then(|| stats.error_ratio()),
            Self::RequestsRate => (!duration.is_zero()).then_some(stats.rate),
            Self::Group(_) | Self::ChecksRatio | Self::IterationsRate | Self::DeliveredRatio => {
                None
            }
        }
    }

    fn is_ratio(self) -> bool {
        matches!(
            self,
            Self::ErrorsRatio | Self::ChecksRatio | Self::DeliveredRatio
        )
    }

    fn less_is_worse(self) -> bool {
        matches!(
            self,
            Self::ChecksRatio | Self::RequestsRate | Self::IterationsRate | Self::DeliveredRatio
        )
    }

    fn format(self, value: f64) -> String {
        match self {
            Self::Latency(_) | Self::ServiceTime(_) | Self::Group(_) => {
                format_latency(value.round() as u64)
            }
            Self::ErrorsRatio | Self::ChecksRatio | Self::DeliveredRatio => format_ratio(value),
            Self::RequestsRate | Self::IterationsRate => format_rate(value),
        }
    }

    /// What changed: a share of the baseline's, or points; `None` for a share of nothing.
    fn change(self, before: f64, after: f64) -> Option<f64> {
        if self.is_ratio() {
            Some(after - before)
        } else {
            (before > 0.0).then(|| after / before - 1.0)
        }
    }

    fn format_change(self, change: f64) -> String {
        let percent = (change * 1e4).round() / 1e2;
        // Never `-0`.
        let percent = if percent == 0.0 { 0.0 } else { percent };
        let unit = if self.is_ratio() { " points" } else { "%" };
        format!("{percent:+}{unit}")
    }
}

impl Statistic {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "min" => Self::Min,
            "mean" => Self::Mean,
            "p50" => Self::P50,
            "p75" => Self::P75,
            "p90" => Self::P90,
            "p95" => Self::P95,
            "p99" => Self::P99,
            "p999" => Self::P999,
            "max" => Self::Max,
            _ => return None,
        })
    }

    fn of(self, stats: &LatencyStats) -> f64 {
        let micros = match self {
            Self::Mean => return stats.mean,
            Self::Min => stats.min,
            Self::P50 => stats.p50,
            Self::P75 => stats.p75,
            Self::P90 => stats.p90,
            Self::P95 => stats.p95,
            Self::P99 => stats.p99,
            Self::P999 => stats.p999,
            Self::Max => stats.max,
        };
        micros as f64
    }
}

/// Compares one number. `metric` and `worse_by` are as written.
pub fn delta(
    (metric, worse_by): (&str, &str),
    tolerance: &Tolerance,
    before: &Summary,
    after: &Summary,
) -> Delta {
    /// A hundred-thousandth of a percent: 110 is 10% more than 100, whatever binary fractions say.
    const ROUNDING: f64 = 1e-7;
    let of = tolerance.metric;
    let (before, after) = (of.of(&tolerance.of, before), of.of(&tolerance.of, after));
    let change = before.zip(after).and_then(|(b, a)| of.change(b, a));
    let worse = change.map(|change| if of.less_is_worse() { -change } else { change });
    let seen = |value: Option<f64>| value.map(|value| of.format(value));
    Delta {
        metric: match &tolerance.of {
            Subject::Run => metric.to_owned(),
            Subject::Request(name) | Subject::Group(name) => format!("{metric} of {name}"),
        },
        before: seen(before),
        after: seen(after),
        change: change.map(|change| of.format_change(change)),
        worse_by: worse_by.to_owned(),
        // What the baseline had and the run has not got worse without measure.
        regressed: worse.map_or(before.is_some() && after.is_none(), |worse| {
            worse > tolerance.worse_by + ROUNDING
        }),
    }
}

impl Delta {
    /// In words, for people.
    fn sentence(&self, run: &str) -> String {
        let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "nothing".to_owned());
        let change = self
            .change
            .as_ref()
            .map_or_else(String::new, |change| format!(" ({change})"));
        format!(
            "{} got worse than in run {run} by more than {}: {} after {}{change}",
            self.metric,
            self.worse_by,
            shown(&self.after),
            shown(&self.before),
        )
    }
}

impl Comparison {
    /// Those that got worse by more than is tolerated.
    pub fn regressed(&self) -> impl Iterator<Item = &Delta> {
        let deltas: &[Delta] = match self {
            Self::Done { deltas, .. } => deltas,
            Self::Missing { .. } => &[],
        };
        deltas.iter().filter(|delta| delta.regressed)
    }

    /// What got worse, in one sentence; `None` when nothing did.
    pub fn regression(&self) -> Option<String> {
        let Self::Done { run, .. } = self else {
            return None;
        };
        let mut worse = self.regressed();
        let mut sentence = worse.next()?.sentence(run);
        let more = worse.count();
        if more > 0 {
            let _ = write!(sentence, " (and {more} more)");
        }
        Some(sentence)
    }
}

impl RunView {
    /// Takes the comparison of a judged run with its baseline: one that has passed and got worse
    /// than is tolerated has failed. Any other verdict stands, since its reason came first.
    pub(crate) fn take_comparison(&mut self, comparison: Comparison) {
        if let (Some(sentence), Some(judgement)) = (comparison.regression(), &mut self.judgement)
            && judgement.verdict == Verdict::Passed
        {
            *judgement = Judgement {
                verdict: Verdict::Failed,
                reason: Reason::Regressed,
                message: format!("{sentence}; {}", judgement.message),
            };
        }
        self.baseline = Some(comparison);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::{GroupStats, NamedStats};

    fn summary(p99: u64, rate: f64, failures: u64, delivered: f64) -> Summary {
        Summary {
            duration: Duration::from_secs(10),
            total: RequestStats {
                requests: 1_000,
                failures,
                rate,
                latency: LatencyStats {
                    p99,
                    ..LatencyStats::default()
                },
                ..RequestStats::default()
            },
            iterations: 1_000,
            delivered,
            checks_ratio: Some(delivered - 0.5),
            ..Summary::default()
        }
    }

    /// What changed from one run to the next, and whether that is too much.
    fn told(metric: &str, worse_by: f64, before: &Summary, after: &Summary) -> (String, bool) {
        let tolerance = Tolerance {
            metric: Compared::parse(metric).unwrap(),
            of: Subject::Run,
            worse_by,
        };
        let delta = delta((metric, ""), &tolerance, before, after);
        (
            delta.change.unwrap_or_else(|| "–".to_owned()),
            delta.regressed,
        )
    }

    #[test]
    fn each_metric_has_a_direction_in_which_it_gets_worse() {
        let one = summary(200_000, 100.0, 10, 1.0);
        let two = summary(220_000, 90.0, 20, 0.99);
        for (metric, worse_by, up, down) in [
            ("latency.p99", 0.10, ("+10%", false), ("-9.09%", false)),
            ("latency.p99", 0.09, ("+10%", true), ("-9.09%", false)),
            ("requests.rate", 0.10, ("-10%", false), ("+11.11%", false)),
            ("requests.rate", 0.09, ("-10%", true), ("+11.11%", false)),
            (
                "errors.ratio",
                0.01,
                ("+1 points", false),
                ("-1 points", false),
            ),
            (
                "errors.ratio",
                0.009,
                ("+1 points", true),
                ("-1 points", false),
            ),
            (
                "delivered.ratio",
                0.01,
                ("-1 points", false),
                ("+1 points", false),
            ),
            (
                "delivered.ratio",
                0.0,
                ("-1 points", true),
                ("+1 points", false),
            ),
            (
                "checks.ratio",
                0.009,
                ("-1 points", true),
                ("+1 points", false),
            ),
            ("iterations.rate", 0.0, ("+0%", false), ("+0%", false)),
        ] {
            let said = |(change, regressed): (&str, bool)| (change.to_owned(), regressed);
            assert_eq!(told(metric, worse_by, &one, &two), said(up), "{metric}");
            assert_eq!(told(metric, worse_by, &two, &one), said(down), "{metric}");
        }
    }

    #[test]
    fn nothing_is_no_measure_and_less_than_anything() {
        let clean = summary(200_000, 100.0, 0, 1.0);
        let dirty = summary(200_000, 100.0, 1, 1.0);
        // There is no share of an error ratio of 0, but there are points.
        assert_eq!(
            told("errors.ratio", 0.0, &clean, &dirty),
            ("+0.1 points".to_owned(), true)
        );
        assert!(!told("errors.ratio", 0.001, &clean, &dirty).1);
        let nothing = Summary::default();
        for metric in [
            "latency.p99",
            "requests.rate",
            "errors.ratio",
            "checks.ratio",
        ] {
            let (said, regressed) = told(metric, 0.1, &nothing, &clean);
            assert_eq!((said.as_str(), regressed), ("–", false), "{metric}");
            let (said, regressed) = told(metric, 0.1, &clean, &nothing);
            assert_eq!((said.as_str(), regressed), ("–", true), "{metric}");
        }
        // A load without any rate cannot get slower.
        let still = summary(0, 0.0, 0, 1.0);
        assert!(!told("requests.rate", 0.0, &still, &still).1);
    }

    #[test]
    fn one_request_and_one_group_have_numbers_of_their_own() {
        let rows = |p99: u64, requests: u64| {
            let latency = LatencyStats {
                p99,
                ..LatencyStats::default()
            };
            let mut all = summary(200_000, 100.0, 0, 1.0);
            all.by_name = vec![NamedStats {
                name: "GET /a".to_owned(),
                stats: RequestStats {
                    requests,
                    rate: requests as f64 / 10.0,
                    latency,
                    ..RequestStats::default()
                },
                ..NamedStats::default()
            }];
            all.groups = vec![GroupStats {
                name: "buy".to_owned(),
                count: requests,
                duration: latency,
                ..GroupStats::default()
            }];
            all
        };
        let (before, slower, none) = (rows(100_000, 50), rows(150_000, 40), rows(0, 0));
        let request = |name: &str| Subject::Request(name.to_owned());
        let buy = || Subject::Group("buy".to_owned());
        for (metric, of, after, expected) in [
            ("latency.p99", request("GET /a"), &slower, Some("+50%")),
            ("requests.rate", request("GET /a"), &slower, Some("-20%")),
            ("group.p99", buy(), &slower, Some("+50%")),
            ("latency.p99", request("GET /a"), &none, None),
            ("group.p99", buy(), &none, None),
        ] {
            let tolerance = Tolerance {
                metric: Compared::parse(metric).unwrap(),
                of,
                worse_by: 0.1,
            };
            assert!(tolerance.metric.is_of(&tolerance.of));
            let delta = delta((metric, "10%"), &tolerance, &before, after);
            let told = (delta.change.as_deref(), delta.regressed);
            assert_eq!(told, (expected, true), "{}", delta.metric);
        }
        let tolerance = Tolerance {
            metric: Compared::Latency(Statistic::P99),
            of: request("GET /b"),
            worse_by: 0.1,
        };
        let unknown = delta(("latency.p99", "10%"), &tolerance, &before, &slower);
        assert_eq!(unknown.metric, "latency.p99 of GET /b");
        assert_eq!((unknown.before, unknown.regressed), (None, false));
        assert!(!Compared::ChecksRatio.is_of(&request("GET /a")));
        assert!(!Compared::Latency(Statistic::P99).is_of(&buy()));
        assert!(!Compared::Group(Statistic::P99).is_of(&Subject::Run));
    }

    #[test]
    fn what_cannot_be_compared_is_refused_in_words() {
        for text in ["latency", "latency.p98", "checks.count", "requests.count"] {
            let said = Compared::parse(text).unwrap_err().to_string();
            assert!(said.starts_with(&format!("{text:?} cannot")), "{said}");
            assert!(said.contains("errors.ratio"), "{said}");
        }
    }
}
