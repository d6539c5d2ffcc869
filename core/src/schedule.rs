//! When the arrivals of an open model are due, and when each user of a ramp is there: exact, the
//! same on every runner, computed from the plan alone.

use std::time::Duration;

use crate::{
    plan::{RateStage, UserStage},
    scalar::Rate,
};

/// Nanoseconds of a minute.
const MINUTE: u128 = 60_000_000_000;

/// Length of one arrival on the axis of [`Schedule`]: the integral of the rate, in halves of an
/// (event per minute · nanosecond), so that every point of a straight rate is a whole number.
pub const ARRIVAL: u128 = 2 * MINUTE;

/// The integral of a rate over time, inverted: arrival `k` is due when `k` arrivals have gone by.
///
/// While the rate is 0 the integral stands still; an arrival on such a plateau is due at its end,
/// since nothing arrives at a rate of 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    legs: Vec<Leg>,
    end: u128,
}

/// A time in which the rate moves in a straight line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Leg {
    /// Where the integral stands at its beginning.
    position: u128,
    /// Nanoseconds from the start of the load.
    begin: u64,
    /// Nanoseconds, never 0.
    length: u64,
    /// Events per minute at its beginning.
    from: u64,
    /// Events per minute at its end.
    to: u64,
}

impl Schedule {
    /// The same rate all the time.
    pub fn constant(rate: Rate, duration: Duration) -> Self {
        Self::ramping(rate, &[RateStage { duration, rate }])
    }

    /// From one rate to the next.
    pub fn ramping(start: Rate, stages: &[RateStage]) -> Self {
        let mut legs = Vec::with_capacity(stages.len());
        let (mut position, mut begin, mut from) = (0, 0, start.per_minute());
        for stage in stages {
            let (length, to) = (nanos(stage.duration), stage.rate.per_minute());
            if length > 0 {
                legs.push(Leg {
                    position,
                    begin,
                    length,
                    from,
                    to,
                });
                position += u128::from(from + to) * u128::from(length);
                begin += length;
            }
            from = to;
        }
        Self {
            legs,
            end: position,
        }
    }

    /// How many arrivals there are when they are even: those before the end of the integral.
    pub fn count(&self) -> u64 {
        u64::try_from(self.end.div_ceil(ARRIVAL)).unwrap_or(u64::MAX)
    }

    /// How many even arrivals are due before a time, in nanoseconds from the start of the load.
    pub fn count_before(&self, at: u64) -> u64 {
        let position = self
            .legs
            .iter()
            .rev()
            .find(|leg| leg.begin < at)
            .map_or(0, |leg| {
                leg.position + leg.gain((at - leg.begin).min(leg.length))
            });
        u64::try_from(position.div_ceil(ARRIVAL)).unwrap_or(u64::MAX)
    }

    /// When the integral passes a position, in nanoseconds from the start of the load; `None` at
    /// its end and beyond. The even arrival `k` is at `k · ARRIVAL`.
    pub fn due(&self, position: u128) -> Option<u64> {
        if position >= self.end {
            return None;
        }
        // The last leg that begins at or before the position: plateaus are passed.
        let after = self.legs.partition_point(|leg| leg.position <= position);
        let leg = self.legs.get(after.checked_sub(1)?)?;
        Some(leg.begin + leg.offset(position - leg.position))
    }
}

impl Leg {
    /// How far the integral has grown after `offset` nanoseconds of the leg.
    fn gain(&self, offset: u64) -> u128 {
        if self.from == self.to {
            return 2 * u128::from(self.from) * u128::from(offset);
        }
        let (from, to, offset) = (self.from as f64, self.to as f64, offset as f64);
        ((2.0 * from + (to - from) * offset / self.length as f64) * offset) as u128
    }

    /// When the integral has grown by `gain` since the beginning of the leg: the root of
    /// `(to - from)/length · t² + 2·from·t = gain`.
    fn offset(&self, gain: u128) -> u64 {
        if self.from == self.to {
            return (gain / (2 * u128::from(self.from.max(1)))) as u64;
        }
        let (from, to, length) = (self.from as f64, self.to as f64, self.length as f64);
        let gain = gain as f64;
        let slope = (to - from) / length;
        // In this form nothing cancels out when the slope is small. Nanoseconds of a leg fit an
        // f64 exactly up to 104 days.
        let root = (from * from + slope * gain).max(0.0).sqrt();
        let offset = gain / (from + root);
        (offset as u64).min(self.length)
    }
}

/// When each user of a ramp is there. User `u` of the whole is there while the level is above `u`;
/// the level moves in straight lines from stage to stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserLevels {
    legs: Vec<LevelLeg>,
    end: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct LevelLeg {
    begin: u64,
    length: u64,
    from: u32,
    to: u32,
}

impl UserLevels {
    /// From one number of users to the next.
    pub fn new(start: u32, stages: &[UserStage]) -> Self {
        let mut legs = Vec::with_capacity(stages.len());
        let (mut begin, mut from) = (0, start);
        for stage in stages {
            let length = nanos(stage.duration);
            if length > 0 {
                legs.push(LevelLeg {
                    begin,
                    length,
                    from,
                    to: stage.users,
                });
                begin += length;
            }
            from = stage.users;
        }
        Self { legs, end: begin }
    }

    /// When user `user` is there for the first time at or after `at`, in nanoseconds from the
    /// start of the load; `None` when never again.
    pub fn next_presence(&self, user: u32, at: u64) -> Option<u64> {
        self.legs
            .iter()
            .filter(|leg| leg.begin + leg.length > at)
            .find_map(|leg| {
                let first = leg.first(user, true, at.saturating_sub(leg.begin))?;
                Some(leg.begin + first)
            })
    }

    /// When user `user`, who is there at `at`, leaves; the end of the load at the latest.
    pub fn leaves(&self, user: u32, at: u64) -> u64 {
        self.legs
            .iter()
            .filter(|leg| leg.begin + leg.length > at)
            .find_map(|leg| {
                let first = leg.first(user, false, at.saturating_sub(leg.begin))?;
                Some(leg.begin + first)
            })
            .unwrap_or(self.end)
    }
}

impl LevelLeg {
    /// The first offset of the leg, at or after `at`, at which the user is there, or is not.
    fn first(&self, user: u32, present: bool, at: u64) -> Option<u64> {
        if self.is_present(user, at) == present {
            return Some(at);
        }
        // The level crosses `user` at most once.
        let (from, to, user) = (i128::from(self.from), i128::from(self.to), i128::from(user));
        let length = i128::from(self.length);
        let rises = to > from;
        if from == to || rises != present {
            return None;
        }
        let crossing = if rises {
            (user - from) * length / (to - from) + 1
        } else {
            ((from - user) * length + (from - to) - 1) / (from - to)
        };
        let crossing = u64::try_from(crossing).ok()?;
        (crossing < self.length).then_some(crossing)
    }

    /// Whether `from + (to - from) · at / length > user`.
    fn is_present(&self, user: u32, at: u64) -> bool {
        let (from, to) = (i128::from(self.from), i128::from(self.to));
        (from - i128::from(user)) * i128::from(self.length) + (to - from) * i128::from(at) > 0
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn rate(text: &str) -> Rate {
        text.parse().unwrap()
    }

    fn stage(seconds: u64, text: &str) -> RateStage {
        RateStage {
            duration: Duration::from_secs(seconds),
            rate: rate(text),
        }
    }

    fn due_times(schedule: &Schedule) -> Vec<u64> {
        (0..schedule.count())
            .map(|k| schedule.due(u128::from(k) * ARRIVAL).unwrap())
            .collect()
    }

    #[test]
    fn a_constant_rate_is_exact() {
        let schedule = Schedule::constant(rate("3/s"), Duration::from_millis(1_500));
        assert_eq!(schedule.count(), 5);
        let third = SECOND / 3;
        assert_eq!(
            due_times(&schedule),
            [0, third, 2 * third, SECOND, 4 * SECOND / 3]
        );
        assert_eq!(schedule.due(5 * ARRIVAL), None);
        let slow = Schedule::constant(rate("7/m"), Duration::from_mins(1));
        assert_eq!(slow.count(), 7);
    }

    #[test]
    fn a_ramp_follows_its_integral() {
        let schedule = Schedule::ramping(rate("0/s"), &[stage(10, "100/s"), stage(10, "0/s")]);
        let due = due_times(&schedule);
        assert_eq!(due.len(), 1_000);
        assert!(due.is_sorted());
        assert_eq!(schedule.count_before(10 * SECOND), 500);
        assert_eq!(schedule.count_before(0), 0);
        assert_eq!(schedule.count_before(99 * SECOND), 1_000);
        for (k, at) in due.iter().enumerate() {
            let t = *at as f64 / SECOND as f64;
            let integral = if t <= 10.0 {
                5.0 * t * t
            } else {
                1_000.0 - 5.0 * (20.0 - t) * (20.0 - t)
            };
            assert!((integral - k as f64).abs() < 1e-4, "{k} is due at {t} s");
        }
    }

    #[test]
    fn nothing_arrives_while_the_rate_is_zero() {
        let stages = [
            stage(1, "2/s"),
            stage(0, "0/s"),
            stage(5, "0/s"),
            stage(0, "2/s"),
            stage(1, "2/s"),
        ];
        let due = due_times(&Schedule::ramping(rate("2/s"), &stages));
        assert_eq!(due, [0, SECOND / 2, 6 * SECOND, 6 * SECOND + SECOND / 2]);
    }

    #[test]
    fn absurd_rates_and_times_do_not_overflow() {
        let year = Duration::from_hours(24 * 365);
        let schedule = Schedule::constant(rate("999999999/s"), year);
        assert_eq!(schedule.count(), 999_999_999 * 365 * 86_400);
        let last = u128::from(schedule.count() - 1) * ARRIVAL;
        assert!(schedule.due(last).unwrap() < nanos(year));
        assert_eq!(Schedule::ramping(rate("0/s"), &[]).due(0), None);
    }

    #[test]
    fn users_of_a_ramp_come_and_go_in_order() {
        let stage = |seconds, users| UserStage {
            duration: Duration::from_secs(seconds),
            users,
        };
        let levels = UserLevels::new(0, &[stage(10, 10), stage(5, 10), stage(10, 0)]);
        for user in 0..10 {
            let comes = levels.next_presence(user, 0).unwrap();
            assert_eq!(comes, u64::from(user) * SECOND + 1);
            assert_eq!(levels.leaves(user, comes), (25 - u64::from(user)) * SECOND);
        }
        assert_eq!(levels.next_presence(10, 0), None);
        assert_eq!(levels.next_presence(9, 17 * SECOND), None);
        // A jump, and one who comes back.
        let levels = UserLevels::new(
            3,
            &[
                stage(1, 3),
                stage(0, 1),
                stage(1, 1),
                stage(0, 2),
                stage(1, 2),
            ],
        );
        assert_eq!(levels.leaves(1, 0), SECOND);
        assert_eq!(levels.next_presence(1, SECOND), Some(2 * SECOND));
        assert_eq!(levels.leaves(1, 2 * SECOND), 3 * SECOND);
        assert_eq!(levels.leaves(2, 0), SECOND);
        assert_eq!(levels.next_presence(2, SECOND), None);
    }
}
