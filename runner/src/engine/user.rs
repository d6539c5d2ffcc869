//! A virtual user: a task with its own connection that does one iteration after the other.

use std::{future::poll_fn, rc::Rc, task::Poll};

use super::{
    compile::{CompiledRequest, CompiledStep, CompiledTask, Wait},
    connection::Connection,
    message::Values,
    meter::{Ended, Times},
    scenario::{OpenModel, Phase, ScenarioRun, Seat},
    timers::Timers,
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
    match &scenario.open {
        Some(open) => user.live_open(open).await,
        None => user.live_closed().await,
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
            worker.user_is_busy(false);
        }
    }

    /// Closed model: begins the next iteration when the one before has ended.
    async fn live_closed(&mut self) {
        let mut due = self.scenario.start.get();
        while self.scenario.phase.get() == Phase::Running {
            let (ended, think_time) = self.iterate(due).await;
            due = ended;
            if let Some(wait) = think_time {
                due = self.draw_end(ended, wait);
                self.wait_until(due, Phase::Stopping).await;
            }
        }
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

    /// One pass through a task. Returns when it ended and what to wait for afterwards.
    async fn iterate(&mut self, intended: Nanos) -> (Nanos, Option<Wait>) {
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
            worker.meter.count(clock::now(), |set| set.iterations += 1);
        }
        (due, task.think_time)
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

    /// One request, recorded whatever happens. Returns when it ended, and whether the user ought
    /// to rest.
    async fn request(
        &mut self,
        request: &CompiledRequest,
        due: Nanos,
        iteration: u32,
    ) -> (Nanos, bool) {
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
        let result = connection
            .exchange(worker, scenario, seat, request, &values, &mut times)
            .await;
        worker.clear_deadline(seat);
        let failure = result.err();
        let rest = scenario.open.is_none()
            && failure
                .as_ref()
                .is_some_and(super::failure::Failure::before_connection);
        let answered = failure.is_none();
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
            failure,
        });
        (times.end, rest)
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
