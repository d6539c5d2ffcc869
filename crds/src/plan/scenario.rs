//! Scenarios and tasks.

use std::{collections::BTreeSet, time::Duration};

use loadtest_core::{
    plan::{Arrivals, Connections, Cookies, Load, PauseRange, Scenario, Step, Task},
    scalar::{Rate, format_duration, parse_duration},
};

use super::{Builder, DEFAULT_GRACEFUL_STOP};
use crate::{
    rule,
    spec::{self, ConstantRate, TestSpec},
};

/// Fewest and most users that an open model gets when `maxUsers` does not say.
const DEFAULT_MAX_USERS: (u64, u64) = (10, 10_000);

impl Builder<'_> {
    pub(super) fn scenarios(&mut self, spec: &TestSpec) -> Vec<Scenario> {
        let mut names = BTreeSet::new();
        let mut scenarios = Vec::with_capacity(spec.scenarios.len());
        for (index, scenario) in spec.scenarios.iter().enumerate() {
            let path = format!("{}.scenarios[{index}]", self.root);
            if !names.insert(&*scenario.name) {
                self.problem(
                    &path,
                    format!("there is another scenario named {:?}", &*scenario.name),
                );
            }
            scenarios.push(self.scenario(&path, scenario));
        }
        scenarios
    }

    fn scenario(&mut self, path: &str, scenario: &spec::Scenario) -> Scenario {
        let start_after = self.duration(
            &format!("{path}.startAfter"),
            scenario.start_after.as_deref(),
            Duration::ZERO,
        );
        let graceful_stop = self.duration(
            &format!("{path}.gracefulStop"),
            scenario.graceful_stop.as_deref(),
            DEFAULT_GRACEFUL_STOP,
        );
        let load = self.load(&format!("{path}.load"), &scenario.load);
        let open = matches!(load, Load::ConstantRate { .. });
        let mut names = BTreeSet::new();
        let mut tasks = Vec::with_capacity(scenario.tasks.len());
        for (index, task) in scenario.tasks.iter().enumerate() {
            let path = format!("{path}.tasks[{index}]");
            let name = task
                .name
                .as_deref()
                .map_or_else(|| format!("task-{}", index + 1), str::to_owned);
            if !names.insert(name.clone()) {
                self.problem(
                    &path,
                    format!("there is another task named {name:?} in this scenario"),
                );
            }
            if open && task.think_time.is_some() {
                self.problem(
                    &format!("{path}.thinkTime"),
                    "constantRate has no use for it, since its iterations begin at their own times: leave it out, or use constantUsers",
                );
            }
            tasks.push(self.task(&path, name, &scenario.name, task));
        }
        if tasks.iter().all(|task| task.weight == 0) {
            self.problem(
                &format!("{path}.tasks"),
                "all weights are 0: nothing would ever run",
            );
        }
        Scenario {
            name: scenario.name.0.clone(),
            start_after,
            load,
            graceful_stop,
            connections: Connections::default(),
            cookies: Cookies::default(),
            tasks,
        }
    }

    fn load(&mut self, path: &str, load: &spec::Load) -> Load {
        match (&load.constant_rate, &load.constant_users) {
            (Some(open), None) => self.constant_rate(&format!("{path}.constantRate"), open),
            (None, Some(closed)) => {
                let path = format!("{path}.constantUsers");
                let users = u32::try_from(closed.users).unwrap_or(0);
                if users == 0 {
                    self.problem(&format!("{path}.users"), "at least one user is needed");
                }
                Load::ConstantUsers {
                    users,
                    duration: self.load_duration(&path, &closed.duration),
                }
            }
            _ => {
                self.problem(path, rule::LOAD.message());
                Load::ConstantUsers {
                    users: 0,
                    duration: Duration::ZERO,
                }
            }
        }
    }

    fn constant_rate(&mut self, path: &str, open: &ConstantRate) -> Load {
        let rate = open.rate.parse::<Rate>().unwrap_or_else(|error| {
            self.problem(&format!("{path}.rate"), error);
            Rate {
                events: 1,
                per: Duration::from_secs(1),
            }
        });
        if rate.events == 0 {
            self.problem(&format!("{path}.rate"), "a rate of zero sends nothing");
        }
        let max_users = match open.max_users {
            None => default_max_users(rate).max(self.runners),
            Some(users) => {
                let users = u32::try_from(users).unwrap_or(0);
                if users < self.runners {
                    let message = format!(
                        "{users} users cannot be shared by {} runners: every runner needs at least one",
                        self.runners
                    );
                    self.problem(&format!("{path}.maxUsers"), message);
                }
                users
            }
        };
        Load::ConstantRate {
            rate,
            duration: self.load_duration(path, &open.duration),
            max_users,
            arrivals: Arrivals::Even,
        }
    }

    fn load_duration(&mut self, path: &str, text: &str) -> Duration {
        let path = format!("{path}.duration");
        let duration = self.duration(&path, Some(text), Duration::ZERO);
        if duration.is_zero() && parse_duration(text).is_ok() {
            self.problem(&path, "a load of no length sends nothing");
        }
        duration
    }

    fn task(&mut self, path: &str, name: String, scenario: &str, task: &spec::Task) -> Task {
        let weight = task.weight.unwrap_or(1);
        let think_time = task
            .think_time
            .as_ref()
            .map(|pause| self.pause(&format!("{path}.thinkTime"), pause));
        let mut steps = Vec::with_capacity(task.steps.len());
        for (index, step) in task.steps.iter().enumerate() {
            let path = format!("{path}.steps[{index}]");
            match (&step.request, &step.pause) {
                (Some(request), None) => {
                    let request = self.request(&format!("{path}.request"), scenario, request);
                    steps.push(Step::Request(Box::new(request)));
                }
                (None, Some(pause)) => {
                    steps.push(Step::Pause(self.pause(&format!("{path}.pause"), pause)));
                }
                _ => self.problem(&path, rule::STEP.message()),
            }
        }
        // Users who do nothing would turn in circles as fast as the CPU allows.
        if !steps.iter().any(|step| matches!(step, Step::Request(_))) {
            self.problem(
                &format!("{path}.steps"),
                "a task needs at least one request",
            );
        }
        Task {
            name,
            weight: u32::try_from(weight).unwrap_or(0),
            think_time,
            pacing: None,
            steps,
        }
    }

    fn pause(&mut self, path: &str, pause: &spec::Pause) -> PauseRange {
        let min = self.duration(&format!("{path}.min"), Some(&pause.min), Duration::ZERO);
        let max = self.duration(&format!("{path}.max"), Some(&pause.max), min);
        if min > max {
            self.problem(
                path,
                format!(
                    "min {} is above max {}",
                    format_duration(min),
                    format_duration(max)
                ),
            );
        }
        PauseRange { min, max }
    }
}

fn default_max_users(rate: Rate) -> u32 {
    let (fewest, most) = DEFAULT_MAX_USERS;
    let twice = (u128::from(rate.events) * 2).div_ceil(u128::from(rate.per.as_secs().max(1)));
    u32::try_from(twice.clamp(u128::from(fewest), u128::from(most))).unwrap_or(u32::MAX)
}
