//! What one worker measures: a window at a time, handed over as a pointer.
//!
//! A window lasts a second and ends on the wall clock's full seconds. The first completion at or
//! after its end closes it; an idle worker's timer does so too. The sets go back and forth between
//! worker and control thread, so histograms are allocated once.

use std::{
    cell::{Cell, RefCell},
    sync::{Arc, mpsc as std_mpsc},
};

use loadtest_core::{
    histogram::{NAME_DIGITS, TOTAL_DIGITS},
    plan::RawMode,
    series::{GroupSeries, Outcome, Sample, Series, SeriesSet},
};
use tokio::sync::mpsc::{self, error::TrySendError};

use super::{
    compile::{Compiled, CompiledRequest},
    failure::{Detail, Failure},
    kinds::Kinds,
    message::Values,
    samples::Wanted,
    script::Answer,
    times::{Phases, Times},
};
use crate::{
    clock::{self, MICRO, Nanos, SECOND, WallAnchor},
    pool::{FailureSample, Record, RecordWriter},
    sys,
};

/// A worker that wanted its CPU for this share of a window, had it or not, was the bottleneck: with
/// a faster target as many arrivals would have waited.
const BOTTLENECK: f64 = 0.75;

/// What a worker says to the control thread.
#[derive(Debug)]
pub enum FromWorker {
    /// It began to send load.
    Began(Nanos),
    /// A second of measurements, the last one perhaps less.
    Window(Window),
    /// All its users have ended; no more windows come from this worker.
    Ended {
        /// Which worker.
        worker: usize,
        /// When the last scenario stopped to begin iterations.
        load_end: Nanos,
    },
    /// It could not go on.
    Failed(usize, String),
}

/// What one worker measured in a second.
#[derive(Debug)]
pub struct Window {
    /// Which worker.
    pub worker: usize,
    /// When it began.
    pub begin: Nanos,
    /// When it was to end: a full second of the wall clock, or the end of the load.
    pub end: Nanos,
    /// What was measured, without the warm-up.
    pub set: Box<SeriesSet>,
    /// What was to begin within the warm-up.
    pub warm_up: Option<Box<SeriesSet>>,
    /// Users of this worker at the end.
    pub users: u32,
    /// CPU time of the thread since its start.
    pub cpu_ns: u64,
    /// Worst time by which the loop was late.
    pub worst_lag: Nanos,
    /// Failed exchanges that are kept.
    pub samples: Vec<FailureSample>,
}

/// A request that ended.
#[derive(Debug)]
pub struct Ended<'a> {
    /// Which.
    pub request: &'a CompiledRequest,
    /// When.
    pub times: Times,
    /// Whose.
    pub user: u32,
    /// In which iteration of the user.
    pub iteration: u32,
    /// Status, 0 without an answer.
    pub status: u16,
    /// What checks look at.
    pub answer: &'a Answer<'a>,
    /// What they compare it with is made of this.
    pub values: &'a Values<'a>,
    /// Place of a check that is not judged.
    pub unjudged: Option<usize>,
    /// Bytes written.
    pub bytes_sent: u64,
    /// Bytes read.
    pub bytes_received: u64,
    /// Whether the connection had served a request before.
    pub reused: bool,
    /// A redirect that is followed: its answer is not judged.
    pub followed: bool,
    /// Why there is no whole answer.
    pub failure: Option<Failure>,
}

/// Where a worker's raw records go.
#[derive(Debug)]
pub enum RawLane {
    /// Nothing is exported.
    None,
    /// Aggregates only; requests are counted.
    Counted(RecordWriter),
    /// Every request.
    All(RecordWriter),
    /// Those that the mode keeps; the others are counted.
    Chosen(RecordWriter, RawMode),
}

/// A worker's measurements.
#[derive(Debug)]
pub struct Meter {
    /// Users that are in an iteration or between two.
    pub users: Cell<u32>,
    inner: RefCell<Inner>,
}

#[derive(Debug)]
struct Inner {
    set: Box<SeriesSet>,
    /// What was to begin within the warm-up, of a plan that has one.
    warm_up: Option<Box<SeriesSet>>,
    /// What is to begin before this is the warm-up's.
    warm_until: Nanos,
    window_begin: Nanos,
    window_end: Nanos,
    anchor: WallAnchor,
    worker: usize,
    worst_lag: Nanos,
    /// When the window's share of wanted CPU began to be measured, and what was wanted by then.
    wanted_cpu: (Nanos, u64),
    kinds: Kinds,
    samples: Vec<FailureSample>,
    raw: RawLane,
    compiled: Arc<Compiled>,
    outbox: mpsc::Sender<FromWorker>,
    spares: std_mpsc::Receiver<Box<SeriesSet>>,
}

/// What is known of a request once it is recorded.
#[derive(Debug)]
pub struct Recorded {
    /// How it ended.
    pub outcome: Outcome,
    /// If a sample of it is to be kept: for what.
    pub wanted: Option<Box<Wanted>>,
}

impl Meter {
    /// An empty meter.
    pub fn new(
        worker: usize,
        compiled: Arc<Compiled>,
        anchor: WallAnchor,
        raw: RawLane,
        outbox: mpsc::Sender<FromWorker>,
        spares: std_mpsc::Receiver<Box<SeriesSet>>,
    ) -> Self {
        let new_set = || {
            let mut set = Box::<SeriesSet>::default();
            prepare(&mut set, &compiled);
            set
        };
        let (set, warm_up) = (new_set(), (compiled.warm_up > 0).then(new_set));
        // Where nothing is exported nobody would get them.
        let wants_samples = compiled.samples && !matches!(raw, RawLane::None);
        Self {
            users: Cell::new(0),
            inner: RefCell::new(Inner {
                set,
                warm_up,
                warm_until: 0,
                window_begin: 0,
                window_end: Nanos::MAX,
                anchor,
                worker,
                worst_lag: 0,
                wanted_cpu: (0, 0),
                kinds: Kinds::new(wants_samples),
                samples: Vec::new(),
                raw,
                compiled,
                outbox,
                spares,
            }),
        }
    }

    /// Begins the first window of a load that was to begin at `start`, and tells so.
    pub fn begin(&self, now: Nanos, start: Nanos) {
        let mut inner = self.inner.borrow_mut();
        inner.warm_until = start.saturating_add(inner.compiled.warm_up);
        inner.window_begin = now;
        inner.wanted_cpu = (now, sys::thread_wanted_cpu_ns());
        inner.window_end = inner.anchor.next_boundary(now, SECOND);
        // Room is certain: it is the first message.
        drop(inner.outbox.try_send(FromWorker::Began(now)));
    }

    /// When the window ends.
    pub fn window_end(&self) -> Nanos {
        self.inner.borrow().window_end
    }

    /// Closes the window if it is over.
    pub fn roll(&self, now: Nanos) {
        let mut inner = self.inner.borrow_mut();
        if now >= inner.window_end {
            inner.close_window(now, self.users.get());
        }
    }

    /// The loop was late by so much.
    pub fn lagged(&self, lag: Nanos) {
        let mut inner = self.inner.borrow_mut();
        inner.worst_lag = inner.worst_lag.max(lag);
    }

    /// Changes counters of the window that `now` lies in, for something that was to happen at
    /// `intended`.
    pub fn count(&self, now: Nanos, intended: Nanos, change: impl FnOnce(&mut SeriesSet)) {
        self.roll(now);
        change(self.inner.borrow_mut().set_of(intended).1);
    }

    /// Records a pass through a group that was to begin at `intended` and took `length`.
    pub fn record_group(
        &self,
        now: Nanos,
        intended: Nanos,
        group: usize,
        failed: bool,
        length: Nanos,
    ) {
        self.count(now, intended, |set| {
            if let Some(series) = set.groups.get_mut(group) {
                series.record(failed, length / MICRO, NAME_DIGITS);
            }
        });
    }

    /// What was to begin before this belongs to the warm-up.
    pub fn warm_until(&self) -> Nanos {
        self.inner.borrow().warm_until
    }

    /// Records a request, exactly once for each that was begun.
    pub fn record(&self, ended: &Ended<'_>) -> Recorded {
        let mut inner = self.inner.borrow_mut();
        if ended.times.end >= inner.window_end {
            inner.close_window(ended.times.end, self.users.get());
        }
        inner.record(ended)
    }

    /// Whether what an unexpected answer says may be shown.
    pub fn wants_body(&self, request: &CompiledRequest, status: u16, intended: Nanos) -> bool {
        let inner = self.inner.borrow();
        let warm_up = inner.warm_up.is_some() && intended < inner.warm_until;
        let is_success = request.success.contains(status);
        inner
            .kinds
            .wants(warm_up, request.series, status, is_success)
    }

    /// Takes a sample that [`record`](Self::record) wanted.
    pub fn keep_sample(&self, sample: FailureSample) {
        self.inner.borrow_mut().samples.push(sample);
    }

    /// Hands the last window over, however long that takes.
    pub async fn finish(&self, now: Nanos, load_end: Nanos) {
        let (outbox, worker, window) = {
            let mut inner = self.inner.borrow_mut();
            let begun = inner.window_end != Nanos::MAX;
            let window = begun.then(|| inner.take_window(now, self.users.get()));
            (inner.outbox.clone(), inner.worker, window)
        };
        // Fails only when the control thread is gone, and with it everybody who would listen.
        if let Some(window) = window {
            drop(outbox.send(FromWorker::Window(window)).await);
        }
        drop(outbox.send(FromWorker::Ended { worker, load_end }).await);
    }
}

impl Inner {
    /// Whether something belongs to the warm-up, and where it is counted.
    #[inline]
    fn set_of(&mut self, intended: Nanos) -> (bool, &mut SeriesSet) {
        match &mut self.warm_up {
            Some(warm_up) if intended < self.warm_until => (true, warm_up),
            _ => (false, &mut self.set),
        }
    }

    #[inline]
    fn record(&mut self, ended: &Ended<'_>) -> Recorded {
        let (failure, failed_checks) = match &ended.failure {
            // Checks speak of the answer all the same, and its status comes first.
            Some(failure) if failure.outcome == Outcome::Extract && ended.status != 0 => {
                match self.judge(ended) {
                    (Some(judged), failed) if judged.outcome == Outcome::Status => {
                        (Some(judged), failed)
                    }
                    (_, failed) => (Some(failure.clone()), failed),
                }
            }
            Some(failure) => (Some(failure.clone()), 0),
            None if ended.followed => (None, 0),
            None => self.judge(ended),
        };
        let outcome = failure
            .as_ref()
            .map_or(Outcome::Ok, |failure| failure.outcome);
        let phases = Phases::new(&ended.times, self.anchor.mono_ns);
        let sample = Sample {
            outcome,
            status: ended.status,
            latency_us: phases.latency_us(),
            service_us: phases.service_us(),
            bytes_sent: ended.bytes_sent,
            bytes_received: ended.bytes_received,
        };
        let (warm_up, set) = self.set_of(ended.times.intended);
        set.total.record(&sample, TOTAL_DIGITS);
        if let Some(series) = set.by_name.get_mut(ended.request.series as usize) {
            series.record(&sample, NAME_DIGITS);
        }
        let mut wanted = None;
        let message = failure.map(|failure| {
            let (names, series) = (&self.compiled.check_names, ended.request.series);
            let (message, sample) = self.kinds.count(warm_up, series, failure, names);
            wanted = sample;
            message
        });
        match &mut self.raw {
            RawLane::None => {}
            RawLane::Counted(writer) => writer.skip(),
            RawLane::Chosen(writer, mode)
                if !mode.keeps(
                    outcome == Outcome::Ok,
                    sample.latency_us,
                    writer.next_number(),
                ) =>
            {
                writer.skip();
            }
            RawLane::All(writer) | RawLane::Chosen(writer, _) => writer.record(&Record {
                sent_ns: ended.times.sent.saturating_sub(self.anchor.mono_ns),
                late_us: phases.late,
                dns_us: phases.dns,
                connect_us: phases.connect,
                tls_us: phases.tls,
                send_us: phases.send,
                wait_us: phases.wait,
                receive_us: phases.receive,
                step: ended.request.step,
                user: ended.user,
                iteration: ended.iteration,
                sequence: ended.values.sequence,
                status: ended.status,
                outcome,
                failed_checks,
                bytes_sent: u32::try_from(ended.bytes_sent).unwrap_or(u32::MAX),
                bytes_received: u32::try_from(ended.bytes_received).unwrap_or(u32::MAX),
                reused: ended.reused,
                warm_up,
                error: message.filter(|_| !matches!(outcome, Outcome::Status | Outcome::Check)),
            }),
        }
        if let Some(wanted) = &mut wanted {
            wanted.sent_ns = ended.times.sent.saturating_sub(self.anchor.mono_ns);
            wanted.latency_us = sample.latency_us;
        }
        Recorded { outcome, wanted }
    }

    /// Looks at status and checks of a whole answer and counts each check.
    #[inline]
    fn judge(&mut self, ended: &Ended<'_>) -> (Option<Failure>, u64) {
        let (first, failed) = if ended.request.checks.is_empty() {
            (None, 0)
        } else {
            self.check(ended)
        };
        if ended.request.success.contains(ended.status) {
            (first, failed)
        } else {
            (Some(Failure::status(ended.status)), failed)
        }
    }

    /// The failure of the first check that failed, and which ones failed.
    fn check(&mut self, ended: &Ended<'_>) -> (Option<Failure>, u64) {
        let mut failed = 0u64;
        let mut first = None;
        for (place, check) in ended.request.checks.iter().enumerate() {
            if ended.unjudged == Some(place) {
                continue;
            }
            let result = check.holds(ended.answer, ended.values);
            let holds = result == Ok(true);
            let (_, set) = self.set_of(ended.times.intended);
            if let Some(counts) = set.checks.get_mut(check.index as usize) {
                counts.0 += u64::from(holds);
                counts.1 += u64::from(!holds);
            }
            if !holds {
                failed |= 1 << place.min(63);
                first.get_or_insert(Failure {
                    outcome: Outcome::Check,
                    detail: Detail::Check(check.index, result.err()),
                });
            }
        }
        (first, failed)
    }

    fn close_window(&mut self, now: Nanos, users: u32) {
        let window = self.take_window(self.window_end, users);
        self.window_begin = window.end;
        self.window_end = self.anchor.next_boundary(now, SECOND);
        let sent = self.outbox.try_send(FromWorker::Window(window));
        if let Err(TrySendError::Full(FromWorker::Window(window))) = sent {
            // The control thread is a minute behind: what was measured goes on with the next one.
            self.window_begin = window.begin;
            self.set = window.set;
            if let Some(warm_up) = window.warm_up {
                self.warm_up = Some(warm_up);
            }
            self.worst_lag = window.worst_lag;
            self.samples = window.samples;
        }
    }

    fn take_window(&mut self, end: Nanos, users: u32) -> Window {
        let Self {
            kinds,
            set,
            warm_up: of_warm_up,
            ..
        } = self;
        kinds.take_counts(|is_warm_up, key, count| match of_warm_up {
            Some(set) if is_warm_up => set.count_error(key, count),
            _ => set.count_error(key, count),
        });
        if let RawLane::Counted(writer) | RawLane::All(writer) | RawLane::Chosen(writer, _) =
            &mut self.raw
        {
            writer.flush();
        }
        self.blame();
        let next = self.next_set();
        let warm_up = match &self.warm_up {
            Some(set) if !set.is_nothing() => {
                let next = self.next_set();
                self.warm_up.replace(next)
            }
            _ => None,
        };
        Window {
            worker: self.worker,
            begin: self.window_begin,
            end,
            set: std::mem::replace(&mut self.set, next),
            warm_up,
            users,
            cpu_ns: sys::thread_cpu_ns(),
            worst_lag: std::mem::take(&mut self.worst_lag),
            samples: std::mem::take(&mut self.samples),
        }
    }
}

impl Inner {
    /// Users of a worker that had no CPU to serve them were busy waiting for it, not for the
    /// target: what came late in such a window is the generator's.
    fn blame(&mut self) {
        let (now, wanted) = (clock::now(), sys::thread_wanted_cpu_ns());
        let (since, wanted_before) = std::mem::replace(&mut self.wanted_cpu, (now, wanted));
        let length = now.saturating_sub(since);
        let wanted = wanted.saturating_sub(wanted_before);
        if is_bottleneck(wanted, length) {
            for set in [Some(&mut self.set), self.warm_up.as_mut()]
                .into_iter()
                .flatten()
            {
                set.late_by_generator += std::mem::take(&mut set.late_by_target);
            }
        }
    }

    /// An empty set, with the memory of one that came back if there is one.
    fn next_set(&self) -> Box<SeriesSet> {
        let mut set = self.spares.try_recv().unwrap_or_default();
        prepare(&mut set, &self.compiled);
        set
    }
}

/// Whether a thread that wanted so much CPU within so long could not do more.
fn is_bottleneck(wanted: Nanos, length: Nanos) -> bool {
    length > 0 && wanted as f64 >= length as f64 * BOTTLENECK
}

/// Gives an empty set its rows.
fn prepare(set: &mut SeriesSet, compiled: &Compiled) {
    set.by_name.resize_with(compiled.series, Series::default);
    set.checks.resize(compiled.check_names.len(), (0, 0));
    set.groups
        .resize_with(compiled.groups, GroupSeries::default);
}
