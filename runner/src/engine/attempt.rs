//! One request of a user: sent, answered, recorded; the redirects that it leads to, and the tries
//! until a check holds.

use loadtest_core::series::Outcome;

use super::{
    compile::{CompiledRequest, Sending},
    connection::{Exchange, Hop},
    failure::Failure,
    flow::{Then, Went},
    message::Values,
    meter::{Ended, Recorded},
    rehearsal::checks_of,
    samples,
    scenario::Phase,
    script::{Answer, extract},
    steps::CompiledUntil,
    timers::Timers,
    times::Times,
    user::{REST_AFTER_FAILED_CONNECT, User},
    worker::Worker,
};
use crate::clock::{self, Nanos};

/// A request that was made, with all that it led to.
#[derive(Debug, Clone, Copy)]
pub struct Done {
    /// When it ended.
    pub ended: Nanos,
    /// Whether it failed, after redirects the last one.
    pub failed: bool,
    /// Whether the user ought to rest.
    pub rest: bool,
    /// What comes after it.
    pub then: Then,
    /// The check that was left aside holds.
    pub held: bool,
}

/// A request that ended.
struct Sent {
    done: Done,
    /// The redirect that is to be followed.
    hop: Option<Box<Hop>>,
}

impl User {
    /// One request and the redirects that it leads to.
    pub(super) async fn request(&mut self, request: &CompiledRequest, due: Nanos) -> Done {
        let sent = self.send(request, &request.sending, None, due).await;
        match sent.hop {
            None => sent.done,
            // Rare, therefore boxed: its state is not part of every user.
            Some(hop) => Box::pin(self.follow(request, hop, sent.done)).await,
        }
    }

    /// Sends what redirects lead to, each a request of its own.
    async fn follow(
        &mut self,
        request: &CompiledRequest,
        mut hop: Box<Hop>,
        mut done: Done,
    ) -> Done {
        while !self.is_cut_off() {
            let before = Some(&*hop);
            let sent = self.send(request, &hop.sending, before, done.ended).await;
            done = sent.done;
            match sent.hop {
                None => return done,
                Some(next) => hop = next,
            }
        }
        done
    }

    /// Sends a request again and again until a check holds or the time for it is over; all of it is
    /// one pass through a group.
    pub(super) async fn until(
        &mut self,
        request: &CompiledRequest,
        until: &CompiledUntil,
        begun: Nanos,
    ) -> Went {
        let failed = self.failed;
        let mut due = begun;
        let (went, held) = loop {
            self.aside = Some(until.check);
            let done = self.request(request, due).await;
            self.aside = None;
            let went = Went {
                due: done.ended,
                then: done.then,
            };
            if done.held || done.then != Then::GoOn || self.is_cut_off() {
                break (went, done.held);
            }
            due = Timers::grid(done.ended + until.every);
            if done.rest {
                due = due.max(Timers::grid(done.ended + REST_AFTER_FAILED_CONNECT));
            }
            if due > begun.saturating_add(until.timeout) {
                break (went, false);
            }
            self.wait_until(due, Phase::Aborting).await;
            if self.is_cut_off() {
                break (went, false);
            }
        };
        if self.is_cut_off() {
            let then = Then::CutOff;
            return Went { then, ..went };
        }
        if let Some(check) = request.checks.get(usize::from(until.check)) {
            self.worker.meter.count(clock::now(), begun, |set| {
                if let Some(counts) = set.checks.get_mut(check.index as usize) {
                    counts.0 += u64::from(held);
                    counts.1 += u64::from(!held);
                }
            });
        }
        self.end_group(until.group, begun, went, !held || self.failed != failed);
        if !held && self.worker.is_errand() {
            let then = Then::EndIteration;
            return Went { then, ..went };
        }
        went
    }

    /// One request, recorded whatever happens. `before` is the redirect that made it, if any.
    async fn send(
        &mut self,
        request: &CompiledRequest,
        sending: &Sending,
        before: Option<&Hop>,
        due: Nanos,
    ) -> Sent {
        let mut times = Times {
            intended: due,
            turned: clock::now(),
            ..Times::default()
        };
        self.worker.set_deadline(&self.seat, request, times.turned);
        let sequence = self.lead.requests.get();
        self.lead.requests.set(sequence.wrapping_add(1));
        let exchange = Exchange {
            worker: &self.worker,
            scenario: &self.scenario,
            seat: &self.seat,
            request,
            sending,
            values: Values {
                user: self.index,
                iteration: self.iteration,
                scenario: self.scenario.number,
                step: request.step,
                sequence,
                memory: self.memory.as_deref(),
                shared: &self.worker.shared,
            },
        };
        let result = self.connection.exchange(&exchange, &mut times).await;
        // From here on out of the exchange: what is held beside it is state of every user.
        let (worker, request, values) = (exchange.worker, exchange.request, &exchange.values);
        let connection = &mut self.connection;
        worker.clear_deadline(exchange.seat);
        let (hop, failure) = match result.and_then(|()| connection.next_hop(&exchange, before)) {
            Ok(hop) => (hop, None),
            Err(failure) => (None, Some(failure)),
        };
        let rest = exchange.scenario.closed().is_some()
            && failure.as_ref().is_some_and(Failure::before_connection);
        // Nothing has been taken out yet: a failure of that kind is a request that was not sent.
        let has_answer = |f: &Failure| f.has_answer() && f.outcome != Outcome::Extract;
        let answered = failure.as_ref().is_none_or(has_answer);
        let answer = connection.answer(times.end.saturating_sub(times.intended));
        let status = if answered { answer.status } else { 0 };
        let aside = self.aside.map(usize::from);
        if let Some(memory) = values.memory {
            memory.borrow_mut().status = status;
        }
        let is_last = failure.is_none() && hop.is_none();
        let held = is_last && aside.is_some_and(|place| holds(request, place, &answer, values));
        let (bytes_sent, bytes_received) = connection.bytes();
        let mut ended = Ended {
            request,
            times,
            user: values.user,
            iteration: values.iteration,
            status,
            answer: &answer,
            values,
            unjudged: aside,
            bytes_sent,
            bytes_received,
            reused: connection.reused(),
            followed: hop.is_some(),
            failure,
        };
        let witness = worker.shared.inputs.witness.as_ref();
        let checks = witness.map(|_| checks_of(&ended, &worker.compiled));
        let takes_out = is_last && (held || aside.is_none()) && !request.extracts.is_empty();
        let (recorded, then) = if takes_out {
            take_out(worker, &mut ended)
        } else {
            (worker.meter.record(&ended), Then::GoOn)
        };
        let outcome = recorded.outcome;
        if let Some(wanted) = recorded.wanted {
            let sample = samples::take(connection, &exchange, status, *wanted);
            worker.meter.keep_sample(sample);
        }
        if let (Some(witness), Some(checks)) = (witness, checks) {
            if ended.failure.is_none() && outcome == Outcome::Status {
                ended.failure = Some(Failure::status(status));
            }
            witness.ended(&exchange, &ended, answered, checks);
        }
        let is_failed = outcome != Outcome::Ok;
        self.failed = self.failed.wrapping_add(u32::from(is_failed));
        Sent {
            done: Done {
                ended: times.end,
                failed: is_failed,
                rest,
                then,
                held,
            },
            hop,
        }
    }
}

/// Records a request and remembers what is to be remembered of its answer: afterwards, for checks
/// compare with what was known when it was sent.
#[inline(never)]
fn take_out(worker: &Worker, ended: &mut Ended<'_>) -> (Recorded, Then) {
    let values = ended.values;
    let found = extract(&ended.request.extracts, ended.answer, values.shared);
    let then = match found.failure {
        None => Then::GoOn,
        Some(_) => Then::EndIteration,
    };
    ended.failure = found.failure;
    let recorded = worker.meter.record(ended);
    if let Some(memory) = values.memory {
        let mut memory = memory.borrow_mut();
        for (value, to) in found.values {
            memory.set(value, to);
        }
    }
    (recorded, then)
}

fn holds(
    request: &CompiledRequest,
    place: usize,
    answer: &Answer<'_>,
    values: &Values<'_>,
) -> bool {
    let check = request.checks.get(place);
    check.is_some_and(|check| check.holds(answer, values) == Ok(true))
}
