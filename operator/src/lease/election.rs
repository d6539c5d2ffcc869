//! Who may act, decided without a clock, a network or an API server: the caller brings the time,
//! carries the requests and brings back the answers.
//!
//! The rules are those of client-go's leader election:
//!
//! - Another's claim lasts for the lease duration after *this process saw the record change*, on its
//!   own monotonic clock. Times that others wrote are for people; none is compared with a clock.
//! - The holder's own claim lasts for the renew deadline after it *sent* the renewal that was
//!   confirmed. Others can have seen that renewal no earlier, and they wait half as long again, so
//!   two processes never act at once as long as their clocks run at rates less than 1.5 apart.
//! - Every write names the resource version that it was decided on. One that arrives late, after
//!   somebody else's, is refused.
//! - A claim that ran out is lost for good: the process must end.
//!
//! Stricter than client-go in one point: a Lease that is missing is no proof that nobody holds it.
//! A candidate waits a whole lease duration before it makes one, in which the holder, if there is
//! one, makes it anew.

use std::{
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher},
    time::Duration,
};

use loadtest_core::report::UnixMicros;

/// Time since some moment of this process, on a clock that nobody can set.
pub type LocalTime = Duration;

/// A record that says to wait longer than so many lease durations is not believed.
const LONGEST_CLAIM: u32 = 4;

/// The three times of the lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// How long a record that does not change keeps candidates away.
    pub lease: Duration,
    /// How long a holder acts after the last renewal that succeeded.
    pub renew_deadline: Duration,
    /// From one renewal, or one look of a candidate, to the next.
    pub retry: Duration,
}

impl Timing {
    /// client-go's defaults.
    pub const DEFAULT: Self = Self {
        lease: Duration::from_secs(15),
        renew_deadline: Duration::from_secs(10),
        retry: Duration::from_secs(2),
    };
}

/// What a Lease says of its holder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Record {
    /// Identity of the holder; empty: it was released, or never held.
    pub holder: String,
    /// How long candidates must leave it alone.
    pub duration: Duration,
    /// When the holder acquired it, by the holder's wall clock. For people.
    pub acquired: UnixMicros,
    /// When the holder renewed it, by the holder's wall clock. For people, and different in each
    /// renewal.
    pub renewed: UnixMicros,
    /// How often the holder has changed.
    pub transitions: i32,
}

/// A Lease as the API server stores it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its `resourceVersion`.
    pub version: String,
    /// Its content.
    pub record: Record,
}

/// What the API server is to be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Read the Lease.
    Read,
    /// Make it; fails when it exists.
    Create(Record),
    /// Replace it; fails when it is not of this version any more.
    Replace {
        /// The version that it must have.
        version: String,
        /// Its new content.
        record: Record,
    },
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The Lease, as it was read or written.
    Stored(Stored),
    /// There is none.
    Missing,
    /// Nothing was written: it exists, or has another version.
    Refused,
    /// Nobody knows whether it was done, or ever will be.
    Unknown,
}

/// What to do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Ask the API server; one request at a time.
    Ask(Request),
    /// Come again at this time.
    Wait(LocalTime),
    /// The lease is lost or given back. There is no way back: the process must end.
    Over,
}

/// What this process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Candidate,
    Leader { until: LocalTime },
    Resigning,
    Over,
}

/// What was seen last.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Known {
    Nothing,
    Missing,
    Stored(Stored),
}

/// One process's part in the election.
#[derive(Debug)]
pub struct Election {
    identity: String,
    timing: Timing,
    role: Role,
    known: Known,
    /// A write may have happened since `known` was seen.
    stale: bool,
    /// Until then the claim that was seen is left alone.
    claimed_until: LocalTime,
    /// The next request is due.
    next: LocalTime,
    /// The largest time written.
    renewed: UnixMicros,
}

impl Election {
    /// A candidate that has seen nothing yet. `identity` must differ from that of every other
    /// process, and of every earlier one.
    pub fn new(identity: String, timing: Timing) -> Self {
        Self {
            identity,
            timing,
            role: Role::Candidate,
            known: Known::Nothing,
            stale: true,
            claimed_until: LocalTime::ZERO,
            next: LocalTime::ZERO,
            renewed: UnixMicros::MIN,
        }
    }

    /// Until when this process may act.
    pub fn valid_until(&self) -> Option<LocalTime> {
        match self.role {
            Role::Leader { until } => Some(until),
            Role::Candidate | Role::Resigning | Role::Over => None,
        }
    }

    /// Who holds the lease as far as is known; `None` before it was read.
    pub fn holder(&self) -> Option<&str> {
        match &self.known {
            Known::Nothing => None,
            Known::Missing => Some(""),
            Known::Stored(stored) => Some(&stored.record.holder),
        }
    }

    /// Stops acting and gives the lease back, so that nobody has to wait for its end.
    pub fn resign(&mut self) {
        self.role = match self.role {
            Role::Leader { .. } | Role::Resigning => Role::Resigning,
            Role::Candidate | Role::Over => Role::Over,
        };
        self.next = LocalTime::ZERO;
    }

    /// What to do at `now`; `wall` is only written down.
    pub fn step(&mut self, now: LocalTime, wall: UnixMicros) -> Step {
        let turn = match self.role {
            Role::Leader { until } if now >= until => {
                self.role = Role::Over;
                return Step::Over;
            }
            Role::Over => return Step::Over,
            Role::Leader { until } => self.next.min(until),
            // To the moment at which what was seen last ends, if that is sooner.
            Role::Candidate if !self.stale => self.next.min(self.claimed_until),
            Role::Candidate | Role::Resigning => self.next,
        };
        if now < turn {
            return Step::Wait(turn);
        }
        let Some(request) = self.request(now, wall) else {
            self.role = Role::Over;
            return Step::Over;
        };
        // Whatever becomes of a write, even of one whose answer nobody waits for: what is known
        // may be old from now on.
        self.stale |= request != Request::Read;
        Step::Ask(request)
    }

    /// Takes the answer to a request that was sent at `sent`.
    pub fn take(&mut self, request: &Request, sent: LocalTime, now: LocalTime, answer: Answer) {
        match (request, answer) {
            (Request::Read, Answer::Stored(stored)) => self.saw(stored, now),
            (_, Answer::Stored(stored)) => self.wrote(stored, sent, now),
            (_, Answer::Missing) => self.missed(now),
            (_, Answer::Refused) => {
                self.stale = true;
                self.next = match self.role {
                    Role::Candidate => now + self.pause(),
                    Role::Leader { .. } | Role::Resigning | Role::Over => now,
                };
            }
            (_, Answer::Unknown) => {
                self.stale = true;
                self.next = now + self.pause();
            }
        }
    }

    /// `None` when there is nothing left to be done.
    fn request(&mut self, now: LocalTime, wall: UnixMicros) -> Option<Request> {
        if self.stale {
            return Some(Request::Read);
        }
        match &self.known {
            Known::Nothing => Some(Request::Read),
            Known::Missing => match self.role {
                Role::Resigning => None,
                Role::Candidate if now < self.claimed_until => Some(Request::Read),
                _ => Some(Request::Create(self.claim(None, wall))),
            },
            Known::Stored(stored) => {
                let stored = stored.clone();
                let mine = stored.record.holder == self.identity;
                let record = match self.role {
                    Role::Resigning if mine => Record {
                        holder: String::new(),
                        duration: Duration::from_secs(1),
                        renewed: self.tick(wall),
                        ..stored.record
                    },
                    Role::Resigning => return None,
                    _ if self.may_claim(now) => self.claim(Some(stored.record), wall),
                    _ => return Some(Request::Read),
                };
                Some(Request::Replace {
                    version: stored.version,
                    record,
                })
            }
        }
    }

    /// Whether nobody else's claim stands in the way at `now`.
    fn may_claim(&self, now: LocalTime) -> bool {
        match &self.known {
            Known::Nothing => false,
            Known::Missing => now >= self.claimed_until,
            Known::Stored(Stored { record, .. }) => {
                record.holder.is_empty()
                    || record.holder == self.identity
                    || now >= self.claimed_until
            }
        }
    }

    /// The record with this process as its holder.
    fn claim(&mut self, before: Option<Record>, wall: UnixMicros) -> Record {
        let renewed = self.tick(wall);
        let (acquired, transitions) = match before {
            Some(record) if record.holder == self.identity => (record.acquired, record.transitions),
            Some(record) => (renewed, record.transitions.saturating_add(1)),
            None => (renewed, 0),
        };
        Record {
            holder: self.identity.clone(),
            duration: self.timing.lease,
            acquired,
            renewed,
            transitions,
        }
    }

    /// A time to write that no earlier record of this process has, even when the clock was set back.
    fn tick(&mut self, wall: UnixMicros) -> UnixMicros {
        self.renewed = wall.max(self.renewed.saturating_add(1));
        self.renewed
    }

    fn saw(&mut self, stored: Stored, now: LocalTime) {
        let changed = match &self.known {
            Known::Stored(known) => known.record != stored.record,
            Known::Nothing | Known::Missing => true,
        };
        if changed {
            let longest = self.timing.lease * LONGEST_CLAIM;
            self.claimed_until = now + stored.record.duration.clamp(self.timing.lease, longest);
        }
        let holder = stored.record.holder.as_str();
        let another = !holder.is_empty() && holder != self.identity;
        self.next = match self.role {
            Role::Candidate if another => now + self.pause(),
            _ => now,
        };
        if another && matches!(self.role, Role::Leader { .. }) {
            self.role = Role::Over;
        }
        self.known = Known::Stored(stored);
        self.stale = false;
    }

    fn wrote(&mut self, stored: Stored, sent: LocalTime, now: LocalTime) {
        self.known = Known::Stored(stored);
        self.stale = false;
        self.claimed_until = now + self.timing.lease;
        self.next = sent + self.timing.retry;
        let until = sent + self.timing.renew_deadline;
        self.role = match self.role {
            // Too slow to be of use; it is renewed before anything is done.
            Role::Candidate if until <= now => Role::Candidate,
            Role::Candidate | Role::Leader { .. } => Role::Leader { until },
            Role::Resigning | Role::Over => Role::Over,
        };
    }

    fn missed(&mut self, now: LocalTime) {
        if self.known != Known::Missing {
            self.known = Known::Missing;
            self.claimed_until = self.claimed_until.max(now + self.timing.lease);
        }
        self.stale = false;
        self.next = match self.role {
            Role::Candidate => now + self.pause(),
            Role::Leader { .. } | Role::Resigning | Role::Over => now,
        };
    }

    /// Up to a quarter more than the retry period, and different in each process: candidates that
    /// wait for the same lease do not ask in step.
    fn pause(&self) -> Duration {
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(&self.identity);
        self.timing
            .retry
            .mul_f64(1.0 + (hash % 250) as f64 / 1_000.0)
    }
}
