//! One step of one user: what its code is told, what it may tell, how it ended.

use std::{
    any::Any,
    fmt, io,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use loadtest_core::series::Outcome;

use super::{Given, Threads};
use crate::clock::{self, Nanos};

/// A step that is being done.
#[derive(Debug)]
pub struct Step {
    order: Order,
    set: Vec<(u32, String)>,
    marks: Arc<Marks>,
}

/// What a step is told.
#[derive(Debug)]
pub(crate) struct Order {
    /// Rendered texts by name.
    pub with: Vec<(String, String)>,
    /// Somebody may ask for the url.
    pub wants_url: bool,
    /// What the user remembers, by name.
    pub values: Vec<(String, String)>,
    /// What it may set: names and numbers.
    pub sets: Arc<[(String, u32)]>,
    /// Number of the user.
    pub user: u32,
    /// Number of its iteration.
    pub iteration: u32,
    /// The run's id.
    pub run_id: String,
    /// W3C Trace Context.
    pub traceparent: String,
    /// When it is cut off.
    pub deadline: Nanos,
}

/// What happened so far in a step; known also of one that was cut off.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    connected: AtomicU64,
    written: AtomicU64,
    first_byte: AtomicU64,
    sent: AtomicU64,
    received: AtomicU64,
    url: OnceLock<String>,
}

/// What came of a step that was done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reply {
    /// A status for checks, `when` and documents: 100 to 599, or 0 for none. No status fails the
    /// step; that is what [`Failed`] is for.
    pub status: u16,
    /// What `bodyContains` and `jsonPath` look at.
    pub body: Vec<u8>,
}

/// Why a step has failed. It counts as a failed request, and the iteration goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    pub(crate) outcome: Outcome,
    pub(crate) message: String,
    pub(crate) keeps_session: bool,
}

/// How a step ended.
pub(crate) struct Done {
    /// Well or not.
    pub result: Result<Reply, Failed>,
    /// For the user's next one.
    pub session: Option<Box<dyn Any + Send>>,
    /// Values by number.
    pub set: Vec<(u32, String)>,
    /// When.
    pub end: Nanos,
}

/// What a user keeps between two steps of a kind.
pub(crate) struct Session {
    kept: Option<Box<dyn Any + Send>>,
    threads: Arc<Threads>,
}

impl Step {
    pub(crate) fn new(order: Order, marks: Arc<Marks>) -> Self {
        Self {
            order,
            set: Vec::new(),
            marks,
        }
    }

    /// Notes where it goes, if somebody may ask.
    pub(crate) fn goes_to(&self, url: impl FnOnce(&Given) -> Option<String>) {
        if self.order.wants_url
            && let Some(url) = url(&Given::rendered(self.order.with.iter().cloned()))
        {
            // Fails only when it is said already.
            drop(self.marks.url.set(url));
        }
    }

    pub(crate) fn into_set(self) -> Vec<(u32, String)> {
        self.set
    }

    /// The text of `with.NAME`, with its templates rendered.
    ///
    /// # Errors
    /// When the step has none.
    pub fn with(&self, name: &str) -> Result<&str, Failed> {
        let missing = || Failed::new(format!("with.{name} is missing"));
        self.given(name).ok_or_else(missing)
    }

    /// The text of `with.NAME`, if the step has it.
    pub fn given(&self, name: &str) -> Option<&str> {
        find(&self.order.with, name)
    }

    /// A value of the user: what an earlier step extracted or set. `None` if none did.
    pub fn value(&self, name: &str) -> Option<&str> {
        find(&self.order.values, name)
    }

    /// Sets a value of the user, which later steps have as `$(NAME)` once this one has ended, well or
    /// not.
    ///
    /// # Errors
    /// When the step's `sets` does not have the name.
    pub fn set(&mut self, name: &str, text: impl Into<String>) -> Result<(), Failed> {
        let known = self.order.sets.iter().find(|(known, _)| known == name);
        let Some((_, number)) = known else {
            let message = format!("sets a value {name}, which is not in the step's sets");
            return Err(Failed::new(message).keeping_session());
        };
        self.set.push((*number, text.into()));
        Ok(())
    }

    /// Number of the user over all runners, from 0.
    pub fn user(&self) -> u32 {
        self.order.user
    }

    /// Number of the user's iteration, from 0.
    pub fn iteration(&self) -> u32 {
        self.order.iteration
    }

    /// The run's 32 hex digits.
    pub fn run_id(&self) -> &str {
        &self.order.run_id
    }

    /// A W3C Trace Context header for what this step does. Its document has the same trace and span.
    pub fn traceparent(&self) -> &str {
        &self.order.traceparent
    }

    /// When the step is cut off.
    pub fn deadline(&self) -> Instant {
        let left = self.order.deadline.saturating_sub(clock::now());
        Instant::now() + Duration::from_nanos(left)
    }

    /// There is a connection now that was made for this step: what it took is no service time, and is
    /// told apart in the document.
    pub fn connected(&mut self) {
        self.marks.connected.store(clock::now(), Relaxed);
    }

    /// So many bytes were sent. The last time that this is said counts as the end of sending.
    pub fn sent(&mut self, bytes: usize) {
        self.marks.written.store(clock::now(), Relaxed);
        self.marks.sent.fetch_add(bytes as u64, Relaxed);
    }

    /// So many bytes were received. The first time that this is said counts as the first byte.
    pub fn received(&mut self, bytes: usize) {
        if self.marks.first_byte.load(Relaxed) == 0 {
            self.marks.first_byte.store(clock::now(), Relaxed);
        }
        self.marks.received.fetch_add(bytes as u64, Relaxed);
    }
}

fn find<'a>(all: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let found = all.iter().find(|(known, _)| known == name);
    found.map(|(_, text)| text.as_str())
}

impl Marks {
    /// When there was a connection, if one was made.
    pub fn connected(&self) -> Option<Nanos> {
        Some(self.connected.load(Relaxed)).filter(|at| *at > 0)
    }

    /// When all was sent and when the first byte was here; 0 where it was not said.
    pub fn exchange(&self) -> (Nanos, Nanos) {
        (self.written.load(Relaxed), self.first_byte.load(Relaxed))
    }

    /// Where it went, if its kind says so; empty if not.
    pub fn url(&self) -> &str {
        self.url.get().map_or("", String::as_str)
    }

    /// Bytes sent and received.
    pub fn bytes(&self) -> (u64, u64) {
        (self.sent.load(Relaxed), self.received.load(Relaxed))
    }
}

impl Reply {
    /// With a body, for checks.
    pub fn of(body: impl Into<Vec<u8>>) -> Self {
        Self {
            status: 0,
            body: body.into(),
        }
    }

    /// With a status, 100 to 599.
    #[must_use]
    pub fn status(self, status: u16) -> Self {
        Self { status, ..self }
    }
}

impl Failed {
    /// For a reason of the kind's own; the outcome is `step`. Failures are counted by their message,
    /// so that nothing should be in it that differs from one step to the next.
    pub fn new(message: impl Into<String>) -> Self {
        Self::of(Outcome::Step, message)
    }

    /// With an outcome that requests have, too: [`Outcome::ConnectRefused`], [`Outcome::Timeout`] and
    /// so on. Those that only the engine can give are [`Outcome::Step`].
    pub fn of(outcome: Outcome, message: impl Into<String>) -> Self {
        let outcome = match outcome {
            Outcome::Dns
            | Outcome::ConnectRefused
            | Outcome::ConnectTimeout
            | Outcome::Connect
            | Outcome::Reset
            | Outcome::Protocol
            | Outcome::Timeout
            | Outcome::LocalPorts
            | Outcome::LocalFiles
            | Outcome::Tls
            | Outcome::Body => outcome,
            Outcome::Ok
            | Outcome::Status
            | Outcome::Check
            | Outcome::Aborted
            | Outcome::Redirect
            | Outcome::Extract
            | Outcome::Step
            | Outcome::Panic => Outcome::Step,
        };
        Self {
            outcome,
            message: message.into(),
            keeps_session: false,
        }
    }

    /// The session is still good for the user's next step.
    #[must_use]
    pub fn keeping_session(self) -> Self {
        Self {
            keeps_session: true,
            ..self
        }
    }
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        use io::ErrorKind::{
            AddrNotAvailable, BrokenPipe, ConnectionAborted, ConnectionRefused, ConnectionReset,
            InvalidData, TimedOut, UnexpectedEof,
        };
        let outcome = match (error.raw_os_error(), error.kind()) {
            (Some(libc::EMFILE | libc::ENFILE), _) => Outcome::LocalFiles,
            (_, ConnectionRefused) => Outcome::ConnectRefused,
            (_, TimedOut) => Outcome::ConnectTimeout,
            (_, AddrNotAvailable) => Outcome::LocalPorts,
            (_, BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof) => Outcome::Reset,
            (_, InvalidData) => Outcome::Protocol,
            _ => Outcome::Connect,
        };
        Self::of(outcome, error.to_string())
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.outcome.name(), self.message)
    }
}

impl Session {
    /// Of a step that was done on these threads.
    pub fn new(kept: Box<dyn Any + Send>, threads: &Arc<Threads>) -> Self {
        Self {
            kept: Some(kept),
            threads: Arc::clone(threads),
        }
    }

    /// For the next step.
    pub fn take(mut self) -> Option<Box<dyn Any + Send>> {
        self.kept.take()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Its end is code of the kind, too: it may take its time there, not here.
        if let Some(kept) = self.kept.take() {
            self.threads.end(kept);
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_kind_can_know_is_its_outcome() {
        let of = |outcome| Failed::of(outcome, "x").outcome;
        assert_eq!(of(Outcome::Timeout), Outcome::Timeout);
        for engines in [
            Outcome::Ok,
            Outcome::Aborted,
            Outcome::Check,
            Outcome::Panic,
        ] {
            assert_eq!(of(engines), Outcome::Step);
        }
        let refused = io::Error::from_raw_os_error(libc::ECONNREFUSED);
        assert_eq!(Failed::from(refused).outcome, Outcome::ConnectRefused);
        let cut = io::Error::from(io::ErrorKind::UnexpectedEof);
        assert_eq!(Failed::from(cut).outcome, Outcome::Reset);
    }
}
