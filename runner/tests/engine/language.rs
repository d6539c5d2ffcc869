//! Plans of the scenario language, written as tests read them.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use loadtest_core::{
    plan::{
        Assignment, Check, Condition, Conditional, Extract, Flow, From, GroupKey, Inputs, Loop,
        OnMissing, Pick, Plan, Repeat, Request, Scenario, SecretFile, SeriesKey, Step, TargetAuth,
        Test, Until, ValueKey, ValueScope, When,
    },
    series::{GroupSeries, SeriesSet},
    template::{DataNames, Names, Position, Segment, Source, Template},
};

use crate::{
    harness::{self, get, step},
    site::Site,
    target::Seen,
};

/// What a test's templates may name.
#[derive(Clone, Default)]
pub struct Language {
    names: Names,
    inputs: Inputs,
}

impl Language {
    /// With values that are forgotten after each iteration.
    pub fn new(values: &[&str]) -> Self {
        let mut language = Self::default();
        for name in values {
            language.value(name, ValueScope::Iteration);
        }
        language
    }

    pub fn value(&mut self, name: &str, scope: ValueScope) -> u32 {
        let index = self.inputs.values.len() as u32;
        let name = name.to_owned();
        self.names.values.insert(name.clone(), index);
        self.inputs.values.push(ValueKey { name, scope });
        index
    }

    /// With values of the setup.
    pub fn setup(mut self, values: &[&str]) -> Self {
        self.names.setup = values.iter().map(ToString::to_string).collect();
        self.inputs.setup_values = self.names.setup.clone();
        self
    }

    pub fn data(mut self, feeder: loadtest_core::plan::Feeder) -> Self {
        self.names.data.push(DataNames {
            name: feeder.name.clone(),
            columns: None,
        });
        self.inputs.data.push(feeder);
        self
    }

    /// With a secret in a file.
    pub fn secret(mut self, name: &str, path: &std::path::Path) -> Self {
        self.names.secrets.push(name.to_owned());
        self.inputs.secrets.push(SecretFile {
            name: name.to_owned(),
            path: path.display().to_string(),
        });
        self
    }

    pub fn auth(mut self, auth: TargetAuth) -> Self {
        self.inputs.auth = Some(auth);
        self
    }

    pub fn template(&self, text: &str, position: Position) -> Template {
        Template::parse(text, position, &self.names).unwrap()
    }

    pub fn index(&self, value: &str) -> u32 {
        self.names.values[value]
    }

    pub fn source(&self, name: &str) -> Source {
        let template = Template::parse(&format!("$({name})"), Position::Text, &self.names).unwrap();
        match template.segments.into_iter().next() {
            Some(Segment::Expression(expression)) => expression.source,
            Some(Segment::Slot(slot)) => Source::Slot(slot),
            other => panic!("{other:?} of {name}"),
        }
    }

    pub fn get(&self, path: &str) -> Request {
        let path = Template::parse(path, Position::Url, &self.names).unwrap();
        Request { path, ..get("/") }
    }

    /// A request without anything else.
    pub fn go(&self, path: &str) -> Step {
        step(self.get(path))
    }

    pub fn set(&self, value: &str, to: &str) -> Step {
        Step::Set(vec![Assignment {
            value: self.index(value),
            to: Template::parse(to, Position::Text, &self.names).unwrap(),
        }])
    }

    pub fn extract(&self, value: &str, path: &str, on_missing: OnMissing) -> Extract {
        Extract {
            value: self.index(value),
            from: From::JsonPath(path.to_owned()),
            pick: Pick::First,
            on_missing,
        }
    }

    pub fn is(&self, name: &str, text: &str) -> When {
        When::Value {
            source: self.source(name),
            test: Test::Equals(Template::literal(text)),
        }
    }

    pub fn is_not(&self, name: &str, text: &str) -> When {
        When::Value {
            source: self.source(name),
            test: Test::NotEquals(Template::literal(text)),
        }
    }

    pub fn for_each(&self, item: &str, of: &str, flow: u32, max: u32) -> Step {
        let how = Loop::ForEach {
            items: self.source(of),
            item: self.index(item),
        };
        repeat(flow, how, max)
    }

    /// A plan with these flows; every request is named by its path and numbered.
    pub fn plan(&self, site: SocketAddr, mut scenario: Scenario, flows: &[&[Step]]) -> Plan {
        scenario.flows.all = named(flows);
        let mut plan = harness::plan(site, vec![scenario]);
        plan.inputs = self.inputs.clone();
        number(&mut plan);
        plan
    }
}

pub fn named(flows: &[&[Step]]) -> Vec<Flow> {
    let flow = |(number, steps): (usize, &&[Step])| Flow {
        name: format!("flow {number}"),
        steps: steps.to_vec(),
    };
    flows.iter().enumerate().map(flow).collect()
}

pub fn repeat(flow: u32, how: Loop, max: u32) -> Step {
    Step::Repeat(Box::new(Repeat { flow, how, max }))
}

pub fn when(when: When, step: Step) -> Step {
    Step::When(Box::new(Conditional { when, step }))
}

pub fn group(group: u32, flow: u32) -> Step {
    Step::Group { group, flow }
}

pub fn until(request: Request, every: u64, timeout: u64, group: u32) -> Step {
    let check = request.checks.len() as u32 - 1;
    step(Request {
        until: Some(Until {
            check,
            every: Duration::from_millis(every),
            timeout: Duration::from_millis(timeout),
            group,
        }),
        ..request
    })
}

pub fn status_is(code: &str) -> Check {
    Check {
        index: 0,
        condition: Condition::Status(vec![code.parse().unwrap()]),
    }
}

/// Gives every request its number and its name, every check its own, and every group that is used
/// a row.
fn number(plan: &mut Plan) {
    let mut numbering = Numbering::default();
    for scenario in &mut plan.scenarios {
        let tasks = scenario.tasks.iter_mut().map(|task| &mut task.steps);
        let flows = scenario.flows.all.iter_mut().map(|flow| &mut flow.steps);
        for step in tasks.chain(flows).flatten() {
            numbering.number(&scenario.name, step);
        }
    }
    plan.series = numbering.series;
    plan.checks = numbering.checks;
    plan.groups = (0..numbering.groups)
        .map(|group| GroupKey {
            scenario: "main".to_owned(),
            name: format!("group {group}"),
        })
        .collect();
}

#[derive(Default)]
struct Numbering {
    steps: u32,
    series: Vec<SeriesKey>,
    checks: Vec<String>,
    groups: u32,
}

impl Numbering {
    fn number(&mut self, scenario: &str, step: &mut Step) {
        match step {
            Step::When(conditional) => self.number(scenario, &mut conditional.step),
            Step::Group { group, .. } => self.groups = self.groups.max(*group + 1),
            Step::Request(request) => {
                let key = SeriesKey {
                    scenario: scenario.to_owned(),
                    name: request.path.to_display(),
                    method: request.method.clone(),
                };
                let known = self.series.iter().position(|known| *known == key);
                request.series = known.unwrap_or(self.series.len()) as u32;
                if known.is_none() {
                    self.series.push(key);
                }
                request.step = self.steps;
                self.steps += 1;
                for check in &mut request.checks {
                    check.index = self.checks.len() as u32;
                    self.checks.push(format!("check {}", check.index));
                }
                if let Some(until) = &request.until {
                    self.groups = self.groups.max(until.group + 1);
                }
            }
            _ => {}
        }
    }
}

/// Paths in the order in which they were seen.
pub fn paths(site: &Site) -> Vec<String> {
    site.seen().into_iter().map(|seen| seen.path).collect()
}

pub fn by_path(site: &Site) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for path in paths(site) {
        *counts.entry(path).or_insert(0) += 1;
    }
    counts
}

/// How many requests before this one had its path; for answers that change.
#[derive(Default)]
pub struct Counter(std::sync::Mutex<BTreeMap<String, u64>>);

impl Counter {
    pub fn next(&self, seen: &Seen) -> u64 {
        let mut counts = self.0.lock().unwrap();
        let count = counts.entry(seen.path.clone()).or_insert(0);
        *count += 1;
        *count - 1
    }
}

/// Passes, failed ones, and the longest in milliseconds.
pub fn told(set: &SeriesSet, group: usize) -> (u64, u64, u64) {
    let series: &GroupSeries = &set.groups[group];
    assert_eq!(series.count, series.duration.count());
    let longest = series.duration.max() / 1_000;
    (series.count, series.failures, longest)
}
