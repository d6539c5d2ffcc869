//! A virtual user: a task with its own connection that does one iteration after the other.

use std::{future::poll_fn, rc::Rc, task::Poll};

use loadtest_core::schedule::UserLevels;

use super::{
    compile::{CompiledRequest, CompiledStep, CompiledTask, Rest, Sending, Wait},
    connection::{Connection, Exchange, Hop},
    failure::Failure,
    message::Values,
    meter::Ended,
    model::{ClosedModel, Model, OpenModel},
    scenario::{Phase, ScenarioRun, Seat},
    timers::Timers,
    times::Times,
    worker::Worker,
};
use crate::clock::{self, MILLI, Nanos};

/// How long a user of a closed model rests after it could not connect, so that a dead target does
/// not make it spin. Open models need no rest: their schedule is their pace.
const REST_AFTER_FAILED_CONNECT: Nanos = 100 * MILLI;

/// One user of a scenario.
struct User {
    worker: Rc<Worker>,
    scenario: Rc<ScenarioRun>,
    seat: Rc<Seat>,
    connection: Connection,
    /// Number over all runners.
    index: u32,
    iteration: u32,
}

/// A request that ended.
struct Sent {
    /// When.
    ended: Nanos,
    /// Whether the user ought to rest.
    rest: bool,
    /// The redirect that is to be followed.
    hop: Option<Box<Hop>>,
}

/// Lives until its scenario stops.
pub async fn live(worker: Rc<Worker>, scenario: Rc<ScenarioRun>, seat: Rc<Seat>, index: u32) {
    let mut user = User {
        worker,
        scenario,
        seat,
        connection: Connection::default(),
        index,
        iteration: 0,
    };
    let scenario = Rc::clone(&user.scenario);
    match &scenario.model {
        Model::Open(open) => user.live_open(open).await,
        Model::Closed(closed) => user.live_closed(closed).await,
    }
    user.connection.close();
    user.worker.user_ended(&scenario);
}

impl User {
    /// Open model: begins an iteration for each arrival that it is given.
    async fn live_open(&mut self, open: &OpenModel) {
        let worker = Rc::clone(&self.worker);
        loop {
            let Some(intended) = self.next_arrival(open).await else {
                return;
            };
            worker.user_is_busy(true);
            self.iterate(intended).await;
            self.end_iteration(&worker);
            worker.user_is_busy(false);
        }
    }

    /// Closed model: begins the next iteration when the one before has ended.
    async fn live_closed(&mut self, closed: &ClosedModel) {
        let worker = Rc::clone(&self.worker);
        let mut due = self.scenario.start.get();
        if let Some(levels) = &closed.levels {
            while let Some(comes) = self.next_presence(levels).await {
                let leaves = self.scenario.start.get() + levels.leaves(self.index, comes);
                due = due.max(self.scenario.start.get() + comes);
                worker.user_is_busy(true);
                due = self.repeat(closed, due, leaves).await;
                worker.user_is_busy(false);
                self.connection.close();
            }
        } else {
            worker.user_is_busy(true);
            self.repeat(closed, due, Nanos::MAX).await;
            worker.user_is_busy(false);
        }
    }

    /// Iterations one after the other, none of which begins at `leaves` or later. Returns when the
    /// next would have been due.
    async fn repeat(&mut self, closed: &ClosedModel, begin: Nanos, leaves: Nanos) -> Nanos {
        let worker = Rc::clone(&self.worker);
        let mut due = begin;
        while self.scenario.phase.get() == Phase::Running
            && clock::now() < leaves
            && closed.take(self.iteration.into())
        {
            if closed.counts_iterations() {
                worker.meter.count(clock::now(), due, |set| {
                    set.scheduled += 1;
                    set.started += 1;
                });
            }
            let (ended, rest) = self.iterate(due).await;
            self.end_iteration(&worker);
            due = match rest {
                None => ended,
                Some(Rest::Think(wait)) => self.draw_end(ended, wait),
                Some(Rest::Pace(length)) => Timers::grid(due + length).max(ended),
            };
            if due > ended {
                self.wait_until(due.min(leaves), Phase::Stopping).await;
            }
        }
        due
    }

    /// When the user is there again, from the start of the load; waits for it. `None` when it
    /// never is, or the load is over.
    async fn next_presence(&self, levels: &UserLevels) -> Option<Nanos> {
        let start = self.scenario.start.get();
        let comes = levels.next_presence(self.index, clock::now().saturating_sub(start))?;
        self.wait_until(start + comes, Phase::Stopping).await;
        (self.scenario.phase.get() == Phase::Running).then_some(comes)
    }

    /// The intended start of the next iteration; `None` when no more begin.
    async fn next_arrival(&self, open: &OpenModel) -> Option<Nanos> {
        if let Some(intended) = self.seat.arrival.take() {
            return Some(intended);
        }
        let now = clock::now();
        if let Some(intended) = self.scenario.take_waiting(open, now) {
            self.worker.count_start(intended, now, true);
            return Some(intended);
        }
        if self.scenario.phase.get() == Phase::Running {
            open.idle.borrow_mut().push(self.seat.slot);
        }
        poll_fn(|context| {
            self.seat.register(context);
            match self.seat.arrival.take() {
                Some(intended) => Poll::Ready(Some(intended)),
                None if self.scenario.phase.get() >= Phase::Stopping => Poll::Ready(None),
                None => Poll::Pending,
            }
        })
        .await
    }

    /// One pass through a task. Returns when it ended and how to rest afterwards.
    async fn iterate(&mut self, intended: Nanos) -> (Nanos, Option<Rest>) {
        let worker = Rc::clone(&self.worker);
        let Some(task) = self.draw_task(&worker) else {
            return (clock::now(), None);
        };
        let iteration = self.iteration;
        self.iteration = self.iteration.wrapping_add(1);
        let mut due = intended;
        for step in &task.steps {
            if self.scenario.phase.get() == Phase::Aborting {
                return (clock::now(), None);
            }
            match step {
                CompiledStep::Pause(wait) => {
                    due = self.draw_end(due, *wait);
                    self.wait_until(due, Phase::Aborting).await;
                }
                CompiledStep::Request(request) => {
                    let (ended, rest) = self.request(request, due, iteration).await;
                    due = ended;
                    if rest {
                        due = Timers::grid(ended + REST_AFTER_FAILED_CONNECT);
                        self.wait_until(due, Phase::Stopping).await;
                        due = due.min(clock::now());
                    }
                }
            }
        }
        if self.scenario.phase.get() != Phase::Aborting {
            worker
                .meter
                .count(clock::now(), intended, |set| set.iterations += 1);
        }
        (due, task.rest)
    }

    fn end_iteration(&mut self, worker: &Worker) {
        if let Some(compiled) = worker.compiled.scenarios.get(self.scenario.index) {
            self.connection.end_iteration(compiled);
        }
    }

    fn draw_task<'w>(&self, worker: &'w Worker) -> Option<&'w CompiledTask> {
        let number = self.scenario.deck.borrow_mut().draw()?;
        worker
            .compiled
            .scenarios
            .get(self.scenario.index)?
            .tasks
            .get(number)
    }

    fn draw_end(&self, from: Nanos, wait: Wait) -> Nanos {
        let length = self.scenario.deck.borrow_mut().between(wait.min, wait.max);
        if length == 0 {
            from
        } else {
            Timers::grid(from + length)
        }
    }

    /// One request and the redirects that it leads to. Returns when it ended, and whether the
    /// user ought to rest.
    async fn request(
        &mut self,
        request: &CompiledRequest,
        due: Nanos,
        iteration: u32,
    ) -> (Nanos, bool) {
        let sending = &request.sending;
        let sent = self.send(request, sending, None, due, iteration).await;
        match sent.hop {
            None => (sent.ended, sent.rest),
            // Rare, therefore boxed: its state is not part of every user.
            Some(hop) => Box::pin(self.follow(request, hop, sent.ended, iteration)).await,
        }
    }

    /// Sends what redirects lead to, each a request of its own.
    async fn follow(
        &mut self,
        request: &CompiledRequest,
        mut hop: Box<Hop>,
        mut due: Nanos,
        iteration: u32,
    ) -> (Nanos, bool) {
        while self.scenario.phase.get() != Phase::Aborting {
            let before = Some(&*hop);
            let sent = self
                .send(request, &hop.sending, before, due, iteration)
                .await;
            due = sent.ended;
            match sent.hop {
                None => return (due, sent.rest),
                Some(next) => hop = next,
            }
        }
        (due, false)
    }

    /// One request, recorded whatever happens. `before` is the redirect that made it, if any.
    async fn send(
        &mut self,
        request: &CompiledRequest,
        sending: &Sending,
        before: Option<&Hop>,
        due: Nanos,
        iteration: u32,
    ) -> Sent {
        let Self {
            worker,
            scenario,
            seat,
            connection,
            index,
            ..
        } = self;
        let mut times = Times {
            intended: due,
            turned: clock::now(),
            ..Times::default()
        };
        worker.set_deadline(seat, request, times.turned);
        let values = Values {
            user: *index,
            iteration,
            runner: worker.runner,
            run_id: &worker.compiled.run_id,
        };
        let exchange = Exchange {
            worker,
            scenario,
            seat,
            request,
            sending,
            values,
        };
        let result = connection.exchange(&exchange, &mut times).await;
        worker.clear_deadline(seat);
        let (hop, failure) = match result.and_then(|()| connection.next_hop(&exchange, before)) {
            Ok(hop) => (hop, None),
            Err(failure) => (None, Some(failure)),
        };
        let rest =
            scenario.closed().is_some() && failure.as_ref().is_some_and(Failure::before_connection);
        let answered = failure.as_ref().is_none_or(Failure::has_answer);
        let (bytes_sent, bytes_received) = connection.bytes();
        worker.meter.record(&Ended {
            request,
            times,
            user: *index,
            iteration,
            status: if answered { connection.status() } else { 0 },
            body: connection.body(),
            bytes_sent,
            bytes_received,
            reused: connection.reused(),
            followed: hop.is_some(),
            failure,
        });
        Sent {
            ended: times.end,
            rest,
            hop,
        }
    }

    /// Waits until a time, or until the scenario has reached a phase.
    async fn wait_until(&self, at: Nanos, phase: Phase) {
        if clock::now() >= at {
            return;
        }
        self.worker.timers.add(at, self.seat.slot);
        poll_fn(|context| {
            self.seat.register(context);
            if clock::now() >= at || self.scenario.phase.get() >= phase {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_result<A, B, C, D, F>(_: impl Fn(A, B, C, D) -> F) -> usize {
        size_of::<F>()
    }

    /// Ten thousand users are ten thousand of these: what is rare is boxed instead.
    #[test]
    fn a_user_is_small() {
        let size = size_of_result(live);
        assert!(size <= 1_024, "{size} bytes");
    }
}
