//! How the loop moves scenarios through their phases and begins what is due.

use std::rc::Rc;

use super::Worker;
use crate::{
    clock::Nanos,
    engine::{
        model::{Model, OpenModel},
        scenario::{Phase, ScenarioRun},
        user,
    },
};

impl Worker {
    /// Moves a scenario on; returns when it wants to be looked at again.
    pub(super) fn advance(self: &Rc<Self>, scenario: &Rc<ScenarioRun>, now: Nanos) -> Nanos {
        if scenario.phase.get() == Phase::Waiting && now >= scenario.start.get() {
            scenario.phase.set(Phase::Running);
            if scenario.closed().is_some() && now < scenario.stop.get() {
                for _ in 0..scenario.max_users {
                    self.add_user(scenario, None);
                }
            }
        }
        if scenario.phase.get() == Phase::Running {
            let dry = scenario.is_dry(&self.feeders);
            match &scenario.model {
                _ if dry => self.end_dry(scenario, now),
                // Before the stop: an arrival that was due before the end counts, however late
                // this turn is.
                Model::Open(open) => self.dispatch(scenario, open, now),
                Model::Closed(closed) => {
                    if closed.counts_iterations() && scenario.alive.get() == 0 {
                        scenario.ended(now);
                        self.change_phase(scenario, Phase::Stopping);
                    }
                }
            }
            if now >= scenario.stop.get() {
                self.change_phase(scenario, Phase::Stopping);
            }
            if scenario.phase.get() == Phase::Stopping {
                self.count_never_begun(scenario, now);
            }
        }
        if scenario.phase.get() == Phase::Stopping && now >= scenario.abort.get() {
            self.change_phase(scenario, Phase::Aborting);
        }
        match scenario.phase.get() {
            Phase::Waiting => scenario.start.get(),
            Phase::Running => {
                let arrival = scenario.open().and_then(|open| {
                    let due = scenario.next_arrival(open)?;
                    Some(due.max(now + open.gap()))
                });
                arrival.unwrap_or(Nanos::MAX).min(scenario.stop.get())
            }
            Phase::Stopping => scenario.abort.get(),
            Phase::Aborting => Nanos::MAX,
        }
    }

    /// There are no rows for another iteration.
    fn end_dry(&self, scenario: &ScenarioRun, now: Nanos) {
        if let Some(compiled) = self.compiled.scenarios.get(scenario.index) {
            scenario.stop_early(now, compiled.graceful_stop);
        }
    }

    fn change_phase(&self, scenario: &ScenarioRun, phase: Phase) {
        scenario.phase.set(phase);
        for seat in self
            .seats
            .borrow()
            .iter()
            .filter(|seat| seat.scenario == scenario.index)
        {
            seat.wake();
        }
    }

    /// Iterations of a number of them that did not begin in time.
    fn count_never_begun(&self, scenario: &ScenarioRun, now: Nanos) {
        if let Some(closed) = scenario.closed() {
            let left = closed.give_up();
            self.meter.count(now, now, |set| set.scheduled += left);
        }
    }

    /// Begins an iteration for every arrival that is due, or lets it wait for a user.
    fn dispatch(self: &Rc<Self>, scenario: &Rc<ScenarioRun>, open: &OpenModel, now: Nanos) {
        while let Some(intended) = scenario.next_arrival(open).filter(|due| *due <= now) {
            let idle = open.idle.borrow_mut().pop();
            if idle.is_none() && scenario.made.get() >= scenario.max_users {
                return self.let_wait(scenario, open, now);
            }
            open.advance();
            self.meter.count(now, intended, |set| set.scheduled += 1);
            // Otherwise its user counts it, once there is a row for it.
            if !scenario.may_run_dry() {
                self.count_start(intended, now, false);
            }
            match idle {
                Some(slot) => {
                    if let Some(seat) = self.seats.borrow().get(slot as usize) {
                        seat.arrival.set(Some(intended));
                        seat.wake();
                    }
                }
                None => self.add_user(scenario, Some(intended)),
            }
        }
    }

    /// Nobody is free and nobody can be added: all arrivals that are due wait. Not looked at one
    /// by one, since a rate may be beyond all machines; those of the warm-up are counted apart.
    fn let_wait(&self, scenario: &ScenarioRun, open: &OpenModel, now: Nanos) {
        let last = now.min(scenario.stop.get().saturating_sub(1));
        let of_warm_up = last.min(self.meter.warm_until().saturating_sub(1));
        for until in [of_warm_up, last] {
            let Some(after_start) = until.checked_sub(scenario.start.get()) else {
                continue;
            };
            let come = open.let_wait(after_start);
            self.meter.count(now, until, |set| {
                set.scheduled += come;
                set.late_by_target += come;
            });
        }
    }

    fn add_user(self: &Rc<Self>, scenario: &Rc<ScenarioRun>, arrival: Option<Nanos>) {
        let number = scenario.made.get();
        scenario.made.set(number + 1);
        scenario.alive.set(scenario.alive.get() + 1);
        let seat = self.take_seat(scenario.index, arrival);
        let index = scenario.users.global(u64::from(number)) as u32;
        tokio::task::spawn_local(user::live(
            Rc::clone(self),
            Rc::clone(scenario),
            seat,
            index,
        ));
    }
}
