//! What runners measure, in a form that adds up.
//!
//! Laws, property-tested: merging is associative and commutative, the empty set is neutral, and
//! `requests = ok + failed` in every series at every moment.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use crate::{
    bounded,
    histogram::{Histogram, NAME_DIGITS},
};

/// How a request ended. Closed: every way has its name, and only these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Outcome {
    /// An answer with a status of success, and every check held.
    Ok = 0,
    /// The status is no success.
    Status = 1,
    /// A check failed.
    Check = 2,
    /// The target's name could not be resolved.
    Dns = 3,
    /// Nobody listens there.
    ConnectRefused = 4,
    /// The connection could not be made in time.
    ConnectTimeout = 5,
    /// The connection could not be made for another reason.
    Connect = 6,
    /// The connection was reset or closed before the answer was whole.
    Reset = 7,
    /// The answer is not HTTP/1.1 or breaks its rules.
    Protocol = 8,
    /// The answer was not whole within the request's timeout.
    Timeout = 9,
    /// No local port was left for a connection.
    LocalPorts = 10,
    /// No file descriptor was left for a connection.
    LocalFiles = 11,
    /// The run was stopped while the request was under way, after `gracefulStop`.
    Aborted = 12,
    /// The TLS handshake failed: a certificate that is not trusted or has expired, no common
    /// version, a client certificate that was refused.
    Tls = 13,
    /// The body could not be decoded as its `Content-Encoding` says.
    Body = 14,
    /// A redirect that cannot be followed: too many, no location, or to a host that is not allowed.
    Redirect = 15,
    /// Something that later steps need was not in the answer.
    Extract = 16,
    /// A step of a kind of the runner's own has failed, for the reason that it gave.
    Step = 17,
    /// The code of such a step panicked.
    Panic = 18,
}

impl Outcome {
    /// Every outcome, in the order of its number.
    pub const ALL: [Self; 19] = [
        Self::Ok,
        Self::Status,
        Self::Check,
        Self::Dns,
        Self::ConnectRefused,
        Self::ConnectTimeout,
        Self::Connect,
        Self::Reset,
        Self::Protocol,
        Self::Timeout,
        Self::LocalPorts,
        Self::LocalFiles,
        Self::Aborted,
        Self::Tls,
        Self::Body,
        Self::Redirect,
        Self::Extract,
        Self::Step,
        Self::Panic,
    ];

    /// The name in status, documents and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Status => "status",
            Self::Check => "check",
            Self::Dns => "dns",
            Self::ConnectRefused => "connect_refused",
            Self::ConnectTimeout => "connect_timeout",
            Self::Connect => "connect",
            Self::Reset => "reset",
            Self::Protocol => "protocol",
            Self::Timeout => "timeout",
            Self::LocalPorts => "local_ports",
            Self::LocalFiles => "local_files",
            Self::Aborted => "aborted",
            Self::Tls => "tls",
            Self::Body => "body",
            Self::Redirect => "redirect",
            Self::Extract => "extract",
            Self::Step => "step",
            Self::Panic => "panic",
        }
    }

    /// Whether the generator, not the target, kept the request from being made.
    pub fn is_generators_fault(self) -> bool {
        matches!(self, Self::LocalPorts | Self::LocalFiles)
    }

    /// The outcome of a number.
    pub fn from_u8(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }
}

/// Counters and histograms of a set of requests.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// Requests that ended, in any way.
    pub requests: u64,
    /// Those that did not end [`Outcome::Ok`].
    pub failures: u64,
    /// Bytes written, heads included.
    pub bytes_sent: u64,
    /// Bytes read, heads included.
    pub bytes_received: u64,
    /// From the intended start to the end of the answer, microseconds.
    pub latency: Histogram,
    /// From the actual send to the end of the answer, microseconds.
    pub service_time: Histogram,
    /// Answers by class of status: index 0 for 1xx … 4 for 5xx.
    pub status_classes: [u64; 5],
}

/// What one request did, as it is recorded.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// How it ended.
    pub outcome: Outcome,
    /// Status code, 0 when there was no answer.
    pub status: u16,
    /// From the intended start, microseconds.
    pub latency_us: u64,
    /// From the actual send, microseconds.
    pub service_us: u64,
    /// Bytes written.
    pub bytes_sent: u64,
    /// Bytes read.
    pub bytes_received: u64,
}

impl Series {
    /// Counts one request.
    #[inline]
    pub fn record(&mut self, sample: &Sample, digits: u8) {
        self.requests += 1;
        self.failures += u64::from(sample.outcome != Outcome::Ok);
        self.bytes_sent += sample.bytes_sent;
        self.bytes_received += sample.bytes_received;
        self.latency.record(sample.latency_us, digits);
        self.service_time.record(sample.service_us, digits);
        if let Some(class) = self
            .status_classes
            .get_mut((sample.status / 100).wrapping_sub(1) as usize)
        {
            *class += 1;
        }
    }

    /// Adds another series.
    pub fn merge(&mut self, other: &Self) {
        self.requests += other.requests;
        self.failures += other.failures;
        self.bytes_sent += other.bytes_sent;
        self.bytes_received += other.bytes_received;
        self.latency.merge(&other.latency);
        self.service_time.merge(&other.service_time);
        for (ours, theirs) in self.status_classes.iter_mut().zip(other.status_classes) {
            *ours += theirs;
        }
    }

    /// Back to nothing, memory kept.
    pub fn clear(&mut self) {
        let (mut latency, mut service_time) = (
            std::mem::take(&mut self.latency),
            std::mem::take(&mut self.service_time),
        );
        latency.clear();
        service_time.clear();
        *self = Self {
            latency,
            service_time,
            ..Self::default()
        };
    }
}

/// How often a group of steps was done, and how long that took.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct GroupSeries {
    /// Passes that ended; those that the end of the run cut off are not among them.
    pub count: u64,
    /// Those in which a request failed or the iteration ended.
    pub failures: u64,
    /// From the moment the first step was due to the end of the last, pauses included, microseconds.
    pub duration: Histogram,
}

impl GroupSeries {
    /// Counts one pass.
    pub fn record(&mut self, failed: bool, duration_us: u64, digits: u8) {
        self.count += 1;
        self.failures += u64::from(failed);
        self.duration.record(duration_us, digits);
    }

    /// Adds another series.
    pub fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.failures += other.failures;
        self.duration.merge(&other.duration);
    }

    /// Back to nothing, memory kept.
    pub fn clear(&mut self) {
        let mut duration = std::mem::take(&mut self.duration);
        duration.clear();
        *self = Self {
            duration,
            ..Self::default()
        };
    }
}

/// A kind of failure: how the request ended and what was said.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ErrorKey {
    /// How it ended.
    pub outcome: Outcome,
    /// Index into [`Plan::series`](crate::plan::Plan::series).
    pub series: u32,
    /// What was said: `status 503`, `check "in stock" failed`, `connection refused`; ≤ 256 bytes.
    pub message: String,
}

impl ErrorKey {
    /// The kind under which those of an outcome are counted that are of too many kinds.
    pub fn other(outcome: Outcome) -> Self {
        Self {
            outcome,
            series: u32::MAX,
            message: "(other)".to_owned(),
        }
    }
}

/// Errors of more kinds than this are counted as one kind "(other)" per outcome.
pub const MAX_ERROR_KINDS: usize = 64;

/// All that a runner measures in some time. Also all that a run measured.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SeriesSet {
    /// Over all requests, with [`TOTAL_DIGITS`](crate::histogram::TOTAL_DIGITS).
    pub total: Series,
    /// By index of [`Plan::series`](crate::plan::Plan::series); names that had no request may be
    /// missing at the end. With [`NAME_DIGITS`].
    #[serde(deserialize_with = "names")]
    pub by_name: Vec<Series>,
    /// Passed and failed, by index of [`Plan::checks`](crate::plan::Plan::checks).
    #[serde(deserialize_with = "bounded::list")]
    pub checks: Vec<(u64, u64)>,
    /// By index of [`Plan::groups`](crate::plan::Plan::groups); those that were never done may be
    /// missing at the end. With [`NAME_DIGITS`].
    #[serde(deserialize_with = "groups")]
    pub groups: Vec<GroupSeries>,
    /// Failures by kind.
    #[serde(deserialize_with = "kinds")]
    pub errors: BTreeMap<ErrorKey, u64>,
    /// Iterations that ended.
    pub iterations: u64,
    /// Those of them that ended before their last step, for want of a value.
    pub iterations_failed: u64,
    /// Iterations that were to begin: arrivals of open models that became due, and the iterations
    /// of models that have a number of them. 0 for the other models.
    pub scheduled: u64,
    /// Those of them that began.
    pub started: u64,
    /// Open models: begun late because the generator was late (not because all users were busy).
    pub late_by_generator: u64,
    /// Open models: waited because all users were busy.
    pub late_by_target: u64,
    /// Worst lateness of a start, microseconds.
    pub worst_lateness_us: u64,
    /// Connections opened.
    pub connections: u64,
    /// Requests that were sent once more, because their connection broke before a byte of the
    /// answer and doing so harms nobody. The target may have seen them twice: its own count lies
    /// between `requests` and `requests + resent`.
    #[serde(default)]
    pub resent: u64,
}

fn names<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Series>, D::Error> {
    bounded::checked_list(from, |series: &Series| {
        of_a_name(&series.latency).and(of_a_name(&series.service_time))
    })
}

fn groups<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<GroupSeries>, D::Error> {
    bounded::checked_list(from, |group: &GroupSeries| of_a_name(&group.duration))
}

/// One with the precision of totals is seven times as large, and there may be hundreds.
fn of_a_name(histogram: &Histogram) -> Result<(), &'static str> {
    match histogram.digits() {
        None | Some(NAME_DIGITS) => Ok(()),
        Some(_) => Err("a histogram of a name has the precision of totals"),
    }
}

/// As many as [`SeriesSet::count_error`] makes.
fn kinds<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<ErrorKey, u64>, D::Error> {
    bounded::map(from, MAX_ERROR_KINDS + Outcome::ALL.len())
}

impl SeriesSet {
    /// Counts a failure of a kind, `(other)` when there are too many kinds.
    pub fn count_error(&mut self, key: ErrorKey, count: u64) {
        let full = self.errors.len() >= MAX_ERROR_KINDS && !self.errors.contains_key(&key);
        let key = if full {
            ErrorKey::other(key.outcome)
        } else {
            key
        };
        *self.errors.entry(key).or_insert(0) += count;
    }

    /// Requests that the generator itself could not make, for want of local ports or files.
    pub fn failed_by_generator(&self) -> u64 {
        self.errors
            .iter()
            .filter(|(key, _)| key.outcome.is_generators_fault())
            .map(|(_, count)| count)
            .sum()
    }

    /// Fulfilled checks over all checks; `None` when there was none.
    pub fn checks_ratio(&self) -> Option<f64> {
        let add = |sum: (u64, u64), check: &(u64, u64)| (sum.0 + check.0, sum.1 + check.1);
        let (passed, failed) = self.checks.iter().fold((0, 0), add);
        (passed + failed > 0).then(|| passed as f64 / (passed + failed) as f64)
    }

    /// Adds another set.
    pub fn merge(&mut self, other: &Self) {
        self.total.merge(&other.total);
        if self.by_name.len() < other.by_name.len() {
            self.by_name
                .resize_with(other.by_name.len(), Series::default);
        }
        for (ours, theirs) in self.by_name.iter_mut().zip(&other.by_name) {
            ours.merge(theirs);
        }
        if self.checks.len() < other.checks.len() {
            self.checks.resize(other.checks.len(), (0, 0));
        }
        for (ours, theirs) in self.checks.iter_mut().zip(&other.checks) {
            ours.0 += theirs.0;
            ours.1 += theirs.1;
        }
        if self.groups.len() < other.groups.len() {
            self.groups
                .resize_with(other.groups.len(), GroupSeries::default);
        }
        for (ours, theirs) in self.groups.iter_mut().zip(&other.groups) {
            ours.merge(theirs);
        }
        for (key, count) in &other.errors {
            self.count_error(key.clone(), *count);
        }
        self.iterations += other.iterations;
        self.iterations_failed += other.iterations_failed;
        self.scheduled += other.scheduled;
        self.started += other.started;
        self.late_by_generator += other.late_by_generator;
        self.late_by_target += other.late_by_target;
        self.worst_lateness_us = self.worst_lateness_us.max(other.worst_lateness_us);
        self.connections += other.connections;
        self.resent += other.resent;
    }

    /// Back to nothing, memory of histograms kept.
    pub fn clear(&mut self) {
        let mut total = std::mem::take(&mut self.total);
        let mut by_name = std::mem::take(&mut self.by_name);
        let mut groups = std::mem::take(&mut self.groups);
        total.clear();
        by_name.iter_mut().for_each(Series::clear);
        groups.iter_mut().for_each(GroupSeries::clear);
        *self = Self {
            total,
            by_name,
            groups,
            ..Self::default()
        };
    }

    /// Whether nothing at all was counted; a connection without a request is something, too.
    pub fn is_nothing(&self) -> bool {
        // Each by its name: one that is forgotten here would not be told when it is alone.
        let Self {
            total,
            by_name,
            checks,
            groups,
            errors,
            iterations,
            iterations_failed,
            scheduled,
            started,
            late_by_generator,
            late_by_target,
            worst_lateness_us,
            connections,
            resent,
        } = self;
        let numbers = [
            total.requests,
            *iterations,
            *iterations_failed,
            *scheduled,
            *started,
            *late_by_generator,
            *late_by_target,
            *worst_lateness_us,
            *connections,
            *resent,
        ];
        numbers == [0; 10]
            && by_name.iter().all(|series| series.requests == 0)
            && checks.iter().all(|check| *check == (0, 0))
            && groups.iter().all(|group| group.count == 0)
            && errors.is_empty()
    }
}
