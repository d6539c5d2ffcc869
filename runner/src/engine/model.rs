//! What a scenario's load model means for one worker: its part of the arrivals, or of the users
//! and their iterations.

use std::cell::{Cell, RefCell};

use loadtest_core::{
    plan::{Arrivals, Load},
    schedule::{ARRIVAL, Schedule, UserLevels},
    shard::Shard,
};

use super::rng::Rng;
use crate::clock::{MILLI, Nanos};

/// How iterations come about.
#[derive(Debug)]
pub enum Model {
    /// At times of their own.
    Open(OpenModel),
    /// When the user's iteration before has ended.
    Closed(ClosedModel),
}

/// A worker's part of the arrivals.
///
/// Arrivals that wait for a user are not kept anywhere: they follow each other in the schedule, so
/// the place of the first and their number say it all. A rate beyond all machines costs no memory.
#[derive(Debug)]
pub struct OpenModel {
    schedule: Schedule,
    /// Stands at the next arrival.
    ahead: RefCell<Walk>,
    /// Stands at the arrival that has waited longest for a user; of no meaning when none waits.
    behind: RefCell<Walk>,
    waiting: Cell<u64>,
    /// Users that wait for an arrival; the one that came last goes first, so that as few
    /// connections as possible are in use.
    pub idle: RefCell<Vec<u32>>,
}

/// A walk along a part's arrivals.
#[derive(Debug, Clone)]
struct Walk {
    spread: Spread,
    /// Of the next arrival, on the schedule's axis.
    position: u128,
    /// When the next arrival is due, from the start of the load; `None` after the last.
    next: Option<Nanos>,
    /// Shortest time between two wake-ups for arrivals.
    gap: Nanos,
}

#[derive(Debug, Clone)]
enum Spread {
    /// Those of a part, one after the other.
    Even(Shard),
    /// At random, so far on average: parts of a Poisson process that are independent make up one.
    Poisson(f64, Rng),
}

/// Arrivals that follow each other faster than this have their wake-ups bundled, and into what:
/// arming the timer for each arrival costs 35 % of a core at 10,000/s.
const BUNDLED_BELOW: Nanos = MILLI;
const BUNDLE: Nanos = 100_000;

impl OpenModel {
    /// The arrivals of a part.
    pub fn new(schedule: Schedule, arrivals: Arrivals, part: Shard, rng: Rng) -> Self {
        let mut spread = match arrivals {
            Arrivals::Even => Spread::Even(part),
            Arrivals::Poisson => Spread::Poisson(f64::from(part.parts) * ARRIVAL as f64, rng),
        };
        let position = match &mut spread {
            Spread::Even(part) => u128::from(part.index) * ARRIVAL,
            random @ Spread::Poisson(..) => random.step(),
        };
        let ahead = Walk {
            next: schedule.due(position),
            spread,
            position,
            gap: 0,
        };
        Self {
            schedule,
            behind: RefCell::new(ahead.clone()),
            ahead: RefCell::new(ahead),
            waiting: Cell::new(0),
            idle: RefCell::default(),
        }
    }

    /// When the next arrival is due, from the start of the load; `None` after the last.
    #[inline]
    pub fn next(&self) -> Option<Nanos> {
        self.ahead.borrow().next
    }

    /// The next arrival has come; the one after it is the next.
    pub fn advance(&self) {
        self.ahead.borrow_mut().advance(&self.schedule);
    }

    /// Shortest time to the next wake-up for an arrival.
    pub fn gap(&self) -> Nanos {
        self.ahead.borrow().gap
    }

    /// All arrivals that are due by a time come and wait. Returns how many they are.
    pub fn let_wait(&self, until: Nanos) -> u64 {
        let mut ahead = self.ahead.borrow_mut();
        if self.waiting.get() == 0 {
            self.behind.borrow_mut().clone_from(&ahead);
        }
        let mut come = ahead.skip(&self.schedule, until);
        while ahead.next.is_some_and(|due| due <= until) {
            ahead.advance(&self.schedule);
            come += 1;
        }
        self.waiting.set(self.waiting.get() + come);
        come
    }

    /// When the arrival that has waited longest was due, from the start of the load.
    pub fn longest_waiting(&self) -> Option<Nanos> {
        if self.waiting.get() == 0 {
            None
        } else {
            self.behind.borrow().next
        }
    }

    /// The arrival that has waited longest waits no more.
    pub fn end_wait(&self) {
        self.waiting.set(self.waiting.get().saturating_sub(1));
        self.behind.borrow_mut().advance(&self.schedule);
    }
}

impl Walk {
    fn advance(&mut self, schedule: &Schedule) {
        self.position = self.position.saturating_add(self.spread.step());
        let next = schedule.due(self.position);
        let close = next
            .zip(self.next)
            .is_some_and(|(next, last)| next - last.min(next) < BUNDLED_BELOW);
        self.gap = if close { BUNDLE } else { 0 };
        self.next = next;
    }

    /// Passes even arrivals that are due by a time without looking at each; returns how many. The
    /// last ones are left to be walked: the integral of a ramp is rounded.
    fn skip(&mut self, schedule: &Schedule, until: Nanos) -> u64 {
        let Spread::Even(part) = self.spread else {
            return 0;
        };
        let number = u64::try_from(self.position / ARRIVAL).unwrap_or(u64::MAX);
        let due = part.share(schedule.count_before(until.saturating_add(1)));
        let skipped = due.saturating_sub(part.share(number) + 2);
        if skipped > 0 {
            self.position += u128::from(skipped) * self.spread.step();
            self.next = schedule.due(self.position);
        }
        skipped
    }
}

impl Spread {
    fn step(&mut self) -> u128 {
        match self {
            Self::Even(part) => u128::from(part.parts) * ARRIVAL,
            Self::Poisson(mean, rng) => (*mean * rng.exponential()) as u128,
        }
    }
}

/// A worker's part of the users.
#[derive(Debug)]
pub struct ClosedModel {
    /// Ramps: when each user is there.
    pub levels: Option<UserLevels>,
    budget: Option<Budget>,
}

/// A number of iterations.
#[derive(Debug)]
struct Budget {
    /// Of all users of the worker together, not begun yet.
    left: Cell<u64>,
    /// Of each user; all that are left when users share them.
    per_user: u64,
}

impl ClosedModel {
    /// The users `users` of a part, `None` for an open load.
    pub fn new(load: &Load, part: Shard, users: u64) -> Self {
        let budget = match load {
            Load::SharedIterations {
                users: all,
                iterations,
                ..
            } => {
                // Parts without a user could not carry out a share.
                let parts = part.parts.min(*all).max(1);
                let share = Shard { parts, ..part }.share(*iterations);
                Some(Budget {
                    left: Cell::new(if users == 0 { 0 } else { share }),
                    per_user: u64::MAX,
                })
            }
            Load::PerUserIterations { iterations, .. } => Some(Budget {
                left: Cell::new(users.saturating_mul(*iterations)),
                per_user: *iterations,
            }),
            _ => None,
        };
        Self {
            levels: load.levels(),
            budget,
        }
    }

    /// Whether there is a number of iterations, so that the load may end before its time.
    pub fn counts_iterations(&self) -> bool {
        self.budget.is_some()
    }

    /// A user that has begun `done` iterations begins another; false when it must not.
    pub fn take(&self, done: u64) -> bool {
        let Some(budget) = &self.budget else {
            return true;
        };
        let left = budget.left.get();
        if left == 0 || done >= budget.per_user {
            return false;
        }
        budget.left.set(left - 1);
        true
    }

    /// What was taken last does not begin after all.
    pub fn put_back(&self) {
        if let Some(budget) = &self.budget {
            budget.left.set(budget.left.get() + 1);
        }
    }

    /// Iterations that will never begin, once.
    pub fn give_up(&self) -> u64 {
        self.budget
            .as_ref()
            .map_or(0, |budget| budget.left.replace(0))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use loadtest_core::plan::RateStage;

    use super::*;
    use crate::clock::SECOND;

    fn due_times(open: &OpenModel) -> Vec<Nanos> {
        std::iter::from_fn(|| {
            let due = open.next()?;
            open.advance();
            Some(due)
        })
        .collect()
    }

    fn open(rate: &str, arrivals: Arrivals, part: Shard, seed: u64) -> OpenModel {
        let schedule = Schedule::constant(rate.parse().unwrap(), Duration::from_secs(20));
        OpenModel::new(
            schedule,
            arrivals,
            part,
            Rng::new(&[seed, part.index.into()]),
        )
    }

    #[test]
    fn poisson_arrivals_have_the_rate_and_the_spread_of_independent_visitors() {
        let parts = (0..4).map(|index| Shard { index, parts: 4 });
        let mut all: Vec<_> = parts
            .flat_map(|part| due_times(&open("1000/s", Arrivals::Poisson, part, 7)))
            .collect();
        all.sort_unstable();
        // 20,000 ± 4 standard deviations of 141.
        assert!((19_434..=20_566).contains(&all.len()), "{}", all.len());
        let gaps: Vec<f64> = all
            .windows(2)
            .map(|pair| (pair[1] - pair[0]) as f64)
            .collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        // Exponential gaps vary as much as their mean.
        let variation = variance.sqrt() / mean;
        assert!((0.96..1.04).contains(&variation), "{variation}");
        let whole = |seed| due_times(&open("50/s", Arrivals::Poisson, Shard::WHOLE, seed));
        assert_eq!(whole(1), whole(1));
        assert_ne!(whole(1), whole(2));
    }

    #[test]
    fn arrivals_wait_in_their_order_and_none_is_lost() {
        let ramp = [RateStage {
            duration: Duration::from_secs(20),
            rate: "3000/s".parse().unwrap(),
        }];
        let ramp = Schedule::ramping("7/s".parse().unwrap(), &ramp);
        let part = Shard { index: 2, parts: 3 };
        for arrivals in [Arrivals::Even, Arrivals::Poisson] {
            let new = || OpenModel::new(ramp.clone(), arrivals, part, Rng::new(&[3]));
            let all = due_times(&new());
            let open = new();
            let mut begun = Vec::new();
            for turn in 0..=200 {
                let until = turn * SECOND / 10;
                // At times somebody is free when an arrival comes.
                if open.longest_waiting().is_none()
                    && let Some(due) = open.next().filter(|due| *due <= until)
                {
                    open.advance();
                    begun.push(due);
                }
                let before = all.iter().filter(|due| **due <= until).count();
                let known = begun.len() as u64 + open.waiting.get();
                assert_eq!(open.let_wait(until), before as u64 - known);
                let served = if turn % 50 == 49 { 100_000 } else { turn };
                for _ in 0..served {
                    begun.extend(open.longest_waiting().inspect(|_| open.end_wait()));
                }
            }
            begun.extend(std::iter::from_fn(|| {
                open.longest_waiting().inspect(|_| open.end_wait())
            }));
            assert_eq!(begun, all);
        }
    }

    #[test]
    fn a_rate_beyond_all_machines_is_counted_at_once() {
        let schedule = Schedule::constant("999999999/s".parse().unwrap(), Duration::from_secs(9));
        let parts = (0..2).map(|index| Shard { index, parts: 2 });
        let counts = parts.map(|part| {
            let open = OpenModel::new(schedule.clone(), Arrivals::Even, part, Rng::new(&[]));
            open.let_wait(9 * SECOND - 1)
        });
        assert_eq!(counts.sum::<u64>(), 8_999_999_991);
    }

    #[test]
    fn fast_arrivals_are_bundled() {
        let slow = open("900/s", Arrivals::Even, Shard::WHOLE, 0);
        let fast = open("2000/s", Arrivals::Even, Shard::WHOLE, 0);
        slow.advance();
        fast.advance();
        assert_eq!((slow.gap(), fast.gap()), (0, BUNDLE));
        assert_eq!(due_times(&fast).len(), 39_999);
        assert_eq!(slow.next(), Some(SECOND / 900));
    }

    #[test]
    fn iterations_are_shared_among_those_who_have_users() {
        let load = Load::SharedIterations {
            users: 3,
            iterations: 100,
            max_duration: Duration::from_secs(1),
        };
        let begun: Vec<_> = (0..5)
            .map(|index| {
                let part = Shard { index, parts: 5 };
                let closed = ClosedModel::new(&load, part, part.share(3));
                (0..1_000).take_while(|done| closed.take(*done)).count()
            })
            .collect();
        assert_eq!(begun, [34, 33, 33, 0, 0]);
        let load = Load::PerUserIterations {
            users: 2,
            iterations: 3,
            max_duration: Duration::from_secs(1),
        };
        let closed = ClosedModel::new(&load, Shard::WHOLE, 2);
        assert!(closed.take(0) && closed.take(2) && !closed.take(3));
        assert_eq!((closed.give_up(), closed.give_up()), (4, 0));
        assert!(!closed.take(1));
    }
}
