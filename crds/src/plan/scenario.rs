//! Scenarios and tasks.

use std::{collections::BTreeSet, time::Duration};

use loadtest_core::plan::{Connections, Cookies, Load, Scenario, Step, Task};

use super::{Builder, DEFAULT_GRACEFUL_STOP, flow::Place, load::model};
use crate::{
    rule,
    spec::{self, TestSpec},
};

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
        self.place = Place {
            scenario: scenario.name.0.clone(),
            ..Place::default()
        };
        let steps = scenario
            .tasks
            .iter()
            .filter_map(|task| task.steps.as_deref());
        self.enter(
            &self.flows_of(scenario),
            &steps.collect::<Vec<_>>(),
            scenario.on_start.as_deref(),
        );
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
            self.waits(&path, &load, task);
            tasks.push(self.task(&path, name, task));
        }
        if tasks.iter().all(|task| task.weight == 0) {
            self.problem(
                &format!("{path}.tasks"),
                "all weights are 0: nothing would ever run",
            );
        }
        let flows = self.scenario_flows(path, scenario);
        self.leave();
        Scenario {
            name: scenario.name.0.clone(),
            start_after,
            load,
            graceful_stop,
            connections: match scenario.connections.unwrap_or_default() {
                spec::Connections::KeepAlive => Connections::KeepAlive,
                spec::Connections::PerIteration => Connections::PerIteration,
                spec::Connections::PerRequest => Connections::PerRequest,
            },
            cookies: match (scenario.cookies, &scenario.on_start) {
                (Some(spec::Cookies::Iteration), _) | (None, None) => Cookies::Iteration,
                // What a user is given at its start is for all its life, as the values are.
                (Some(spec::Cookies::User), _) | (None, Some(_)) => Cookies::User,
                (Some(spec::Cookies::Off), _) => Cookies::Off,
            },
            tasks,
            flows,
        }
    }

    /// Only users of closed models wait between their iterations, and in one way.
    fn waits(&mut self, path: &str, load: &Load, task: &spec::Task) {
        let set = [
            ("thinkTime", task.think_time.is_some()),
            ("pacing", task.pacing.is_some()),
        ];
        if load.is_open() {
            for (field, _) in set.into_iter().filter(|(_, set)| *set) {
                let message = format!(
                    "{} has no use for it, since its iterations begin at their own times: leave it out, or use constantUsers or rampingUsers",
                    model(load)
                );
                self.problem(&format!("{path}.{field}"), message);
            }
        } else if set.iter().all(|(_, set)| *set) {
            self.problem(
                &format!("{path}.pacing"),
                "set thinkTime or pacing, not both: pacing is from start to start, thinkTime from the end of an iteration to the start of the next",
            );
        }
    }

    fn task(&mut self, path: &str, name: String, task: &spec::Task) -> Task {
        let weight = task.weight.unwrap_or(1);
        let think_time = task
            .think_time
            .as_ref()
            .map(|pause| self.pause(&format!("{path}.thinkTime"), pause));
        let pacing = task
            .pacing
            .as_deref()
            .map(|text| self.duration(&format!("{path}.pacing"), Some(text), Duration::ZERO));
        let steps = self.task_steps(path, task);
        Task {
            name,
            weight: u32::try_from(weight).unwrap_or(0),
            think_time,
            pacing,
            steps,
        }
    }

    fn task_steps(&mut self, path: &str, task: &spec::Task) -> Vec<Step> {
        let (field, steps, reached) = match (&task.steps, &task.flow) {
            (Some(steps), None) => {
                let built = self.steps(&format!("{path}.steps"), steps);
                ("steps", built, self.reachable(steps))
            }
            (None, Some(flow)) => {
                let copy = self.flow_index(&format!("{path}.flow"), flow);
                let steps = copy.map(Step::Call).into_iter().collect();
                ("flow", steps, self.reachable_from(flow))
            }
            _ => {
                self.problem(path, rule::TASK.message());
                return Vec::new();
            }
        };
        let flows = reached
            .iter()
            .filter_map(|index| self.spec.flows.get(*index));
        let flows = flows.flat_map(|flow| &flow.steps);
        let mut all = task.steps.iter().flatten().chain(flows);
        let unknown_flow = field == "flow" && steps.is_empty();
        // Users who do nothing would turn in circles as fast as the CPU allows.
        if !unknown_flow && !all.any(|step| step.request.is_some() || step.custom.is_some()) {
            self.problem(
                &format!("{path}.{field}"),
                "a task needs at least one request",
            );
        }
        steps
    }
}
