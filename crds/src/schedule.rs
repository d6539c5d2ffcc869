//! The times of a schedule.

use croner::{
    Cron,
    parser::{CronParser, Seconds, Year},
};
use jiff::{Timestamp, Zoned, tz::TimeZone};
use loadtest_core::{plan::RunIdentity, report::UnixMicros};

use crate::{
    baseline,
    plan::{self, Overrides},
    problem::{Problem, Stage},
    spec::{LoadTestSpec, Schedule},
};

/// A time zone when the schedule names none.
const DEFAULT_ZONE: &str = "Etc/UTC";

/// A schedule that was understood.
#[derive(Debug, Clone)]
pub struct Times {
    cron: Cron,
    zone: TimeZone,
}

/// Why a schedule was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// Not five fields, or one of them is wrong.
    #[error(
        "{cron:?} is not a schedule: {why}; write minute, hour, day of the month, month and day of the week, such as 0 3 * * 1-5"
    )]
    Cron {
        /// As written.
        cron: String,
        /// What is wrong.
        why: String,
    },
    /// The five fields never come together.
    #[error("{0:?} never comes: there is no such date")]
    Never(String),
    /// Not the name of a time zone.
    #[error("{0:?} is not a time zone: use a name such as Europe/Berlin or Etc/UTC")]
    Zone(String),
}

/// Everything that the schema cannot say of a `LoadTest`: its test, its schedule and its
/// baseline.
///
/// # Errors
/// Every problem.
pub fn accept(spec: &LoadTestSpec) -> Result<(), Vec<Problem>> {
    let nobody = RunIdentity::nobody();
    let (plan, mut problems) = match plan::build(&spec.test, nobody, &Overrides::default()) {
        Ok(plan) => (Some(plan), Vec::new()),
        Err(problems) => (None, problems),
    };
    if let Some(Err(error)) = spec.schedule.as_ref().map(Times::parse) {
        let field = match error {
            ScheduleError::Zone(_) => "spec.schedule.timeZone",
            ScheduleError::Cron { .. } | ScheduleError::Never(_) => "spec.schedule.cron",
        };
        problems.push(Problem::new(Stage::Acceptance, field, error.to_string()));
    }
    if let Some(baseline) = &spec.baseline {
        problems.extend(baseline::accept(baseline, plan.as_ref()));
    }
    if problems.is_empty() {
        Ok(())
    } else {
        Err(problems)
    }
}

impl Times {
    /// Reads a schedule.
    ///
    /// # Errors
    /// [`ScheduleError`] says which part was not understood.
    pub fn parse(schedule: &Schedule) -> Result<Self, ScheduleError> {
        let cron = CronParser::builder()
            .seconds(Seconds::Disallowed)
            .year(Year::Disallowed)
            .build()
            .parse(&schedule.cron)
            .map_err(|error| ScheduleError::Cron {
                cron: schedule.cron.clone(),
                why: error.to_string(),
            })?;
        let zone = schedule.time_zone.as_deref().unwrap_or(DEFAULT_ZONE);
        let zone = TimeZone::get(zone).map_err(|_| ScheduleError::Zone(zone.to_owned()))?;
        let times = Self { cron, zone };
        if times.next_after(0).is_none() {
            return Err(ScheduleError::Never(schedule.cron.clone()));
        }
        Ok(times)
    }

    /// The first time after `at`.
    pub fn next_after(&self, at: UnixMicros) -> Option<UnixMicros> {
        let next = self.cron.find_next_occurrence(&self.zoned(at)?, false);
        next.ok().map(|time| micros_of(&time))
    }

    /// The last time that is not after `at`.
    pub fn last_until(&self, at: UnixMicros) -> Option<UnixMicros> {
        let last = self.cron.find_previous_occurrence(&self.zoned(at)?, true);
        last.ok().map(|time| micros_of(&time))
    }

    fn zoned(&self, at: UnixMicros) -> Option<Zoned> {
        let timestamp = Timestamp::from_microsecond(at).ok()?;
        Some(timestamp.to_zoned(self.zone.clone()))
    }
}

fn micros_of(time: &Zoned) -> UnixMicros {
    time.timestamp().as_microsecond()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(cron: &str, zone: Option<&str>) -> Schedule {
        Schedule {
            cron: cron.to_owned(),
            time_zone: zone.map(str::to_owned),
            ..Schedule::default()
        }
    }

    fn at(text: &str) -> UnixMicros {
        text.parse::<Timestamp>().unwrap().as_microsecond()
    }

    #[test]
    fn times_are_those_of_the_zone_also_when_its_clock_changes() {
        let times = Times::parse(&schedule("30 3 * * 1-5", Some("Europe/Berlin"))).unwrap();
        // A Friday in summer time; after the weekend it is winter time.
        let friday = at("2026-10-23T01:30:00Z");
        assert_eq!(times.next_after(friday - 1), Some(friday));
        assert_eq!(times.next_after(friday), Some(at("2026-10-26T02:30:00Z")));
        assert_eq!(times.last_until(friday), Some(friday));
        assert_eq!(
            times.last_until(friday - 1),
            Some(at("2026-10-22T01:30:00Z"))
        );
        let hourly = Times::parse(&schedule("@hourly", None)).unwrap();
        assert_eq!(
            hourly.next_after(at("2026-11-23T03:59:59Z")),
            Some(at("2026-11-23T04:00:00Z"))
        );
    }

    #[test]
    fn what_is_no_schedule_is_refused_in_words() {
        for (cron, zone, part) in [
            ("0 3 * *", None, "is not a schedule"),
            ("0 0 3 * * *", None, "is not a schedule"),
            ("61 * * * *", None, "is not a schedule"),
            ("0 0 30 2 *", None, "never comes"),
            ("0 3 * * *", Some("Berlin"), "\"Berlin\" is not a time zone"),
        ] {
            let error = Times::parse(&schedule(cron, zone)).unwrap_err().to_string();
            assert!(error.contains(part), "{cron}: {error}");
        }
    }
}
