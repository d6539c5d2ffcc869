//! Tasks, flows and steps, compiled: what a user does, with nothing left to be looked up.
//!
//! Requests and pauses are the steps of every test and stand here as they are. All others are
//! behind one box: a task that has none of them does not pay for them.

mod circles;

use std::sync::atomic::AtomicBool;

use circles::{MAX_DEPTH, refuse_circles};
use loadtest_core::plan::{
    GroupKey, Lane, Loop, MAX_LANES, PauseRange, Plan, Repeat, Scenario, Step, Task, Until, Uses,
};

use super::{
    compile::{CompileError, CompiledRequest, compile_request, nanos},
    custom::CompiledCustom,
    script::{Compiler, Condition, Items, ScriptError, Text},
};
use crate::{clock::Nanos, step_kind::StepKinds};

/// A task.
#[derive(Debug)]
pub struct CompiledTask {
    /// How often in each block.
    pub weight: u32,
    /// What a user of a closed model does between this iteration and the next.
    pub rest: Option<Rest>,
    /// What to do.
    pub steps: Vec<CompiledStep>,
    /// Feeders that an iteration needs a row of.
    pub feeders: Box<[u32]>,
    /// Those that a user's first iteration needs one of, for what it does before and after all
    /// iterations, too.
    pub first_feeders: Box<[u32]>,
}

/// The flows of a scenario.
#[derive(Debug)]
pub struct CompiledFlows {
    /// Steps refer to them by index; never in a circle.
    pub all: Vec<Vec<CompiledStep>>,
    /// What a user does before its first iteration.
    pub on_start: Option<usize>,
    /// What a user does after its last iteration.
    pub on_stop: Option<usize>,
}

/// A wait, drawn from `min..=max` nanoseconds.
#[derive(Debug, Clone, Copy)]
pub struct Wait {
    /// Shortest.
    pub min: Nanos,
    /// Longest.
    pub max: Nanos,
}

/// What a user does between two iterations.
#[derive(Debug, Clone, Copy)]
pub enum Rest {
    /// Waits so long after the end.
    Think(Wait),
    /// Waits until so long after the start.
    Pace(Nanos),
}

/// A step.
#[derive(Debug)]
pub enum CompiledStep {
    /// Send and receive.
    Request(Box<CompiledRequest>),
    /// Wait.
    Pause(Wait),
    /// Anything else.
    Rare(Box<Rare>),
}

/// A step that is neither a request nor a pause. Flows are meant by their index.
#[derive(Debug)]
pub enum Rare {
    /// Send and receive again and again.
    Until(CompiledRequest, CompiledUntil),
    /// Remember values, by their index.
    Set(Vec<(u32, Text)>),
    /// Do a flow.
    Call(usize),
    /// Do a flow and record how long all of it took.
    Group {
        /// Index of its row.
        group: usize,
        /// Which flow.
        flow: usize,
    },
    /// Do a flow several times.
    Repeat(CompiledRepeat),
    /// Do flows side by side.
    Parallel(Box<[usize]>),
    /// Do a step if something is so.
    When(Condition, CompiledStep),
    /// Do what the code of a step kind does.
    Custom(CompiledCustom),
}

/// How a request is repeated.
#[derive(Debug, Clone, Copy)]
pub struct CompiledUntil {
    /// Place of the check that ends it.
    pub check: u16,
    /// From the end of a try to the next.
    pub every: Nanos,
    /// No try is due later than this after the first.
    pub timeout: Nanos,
    /// Index of its row among the groups.
    pub group: usize,
}

/// A flow that is done several times.
#[derive(Debug)]
pub struct CompiledRepeat {
    /// Which.
    pub flow: usize,
    /// How often.
    pub passes: Passes,
    /// At most.
    pub max: u32,
    /// Name of the flow, for messages.
    pub name: Box<str>,
    /// Whether it has been told that there was more to do.
    pub cut_off: AtomicBool,
}

/// How often a flow is done.
#[derive(Debug)]
pub enum Passes {
    /// So often.
    Times(u32),
    /// As long as this is so.
    While(Condition),
    /// For each item of a list.
    ForEach {
        /// The list.
        items: Items,
        /// Index of the value that is the item.
        item: u32,
    },
}

/// Why steps cannot be done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StepError {
    /// A closed user would repeat it without end and without a moment's rest.
    #[error("task {task:?} of scenario {scenario:?} has no step")]
    NoStep {
        /// Which scenario.
        scenario: String,
        /// Which task.
        task: String,
    },
    /// It would never end.
    #[error("scenario {scenario:?} has flows that do each other in a circle: {circle}")]
    Circle {
        /// Which scenario.
        scenario: String,
        /// Their names, from one to itself.
        circle: String,
    },
    /// Each level takes room on the stack.
    #[error(
        "scenario {0:?} has flows that do each other more than {MAX_DEPTH} levels deep: make them flatter"
    )]
    TooDeep(String),
    /// A step refers to a flow, group, check or value that the plan does not have.
    #[error(
        "{place} of scenario {scenario:?} refers to {what} {index}, which the plan does not have"
    )]
    Missing {
        /// Which scenario.
        scenario: String,
        /// The task or flow.
        place: String,
        /// What kind of thing.
        what: &'static str,
        /// Its number.
        index: u32,
    },
    /// Each of them would be a connection.
    #[error(
        "a user of scenario {0:?} would do more than {MAX_LANES} flows at the same time: nest fewer parallel steps"
    )]
    TooManyLanes(String),
    /// A text or condition cannot be made ready.
    #[error("{place} of scenario {scenario:?}: {error}")]
    Script {
        /// Which scenario.
        scenario: String,
        /// The task or flow.
        place: String,
        /// What is wrong.
        error: ScriptError,
    },
}

impl Wait {
    fn new(range: PauseRange) -> Self {
        Self {
            min: nanos(range.min),
            max: nanos(range.max),
        }
    }
}

/// Compiles what the users of one scenario do.
pub struct StepCompiler<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// The scenario.
    pub scenario: &'a Scenario,
    /// For texts and conditions.
    pub script: &'a Compiler<'a>,
    /// What the runner knows besides requests.
    pub kinds: &'a StepKinds,
    /// Every distinct timeout so far.
    pub timeouts: &'a mut Vec<Nanos>,
}

impl StepCompiler<'_> {
    /// Compiles the tasks.
    ///
    /// # Errors
    /// [`CompileError`] names the part that cannot be carried out.
    pub fn tasks(&mut self) -> Result<Vec<CompiledTask>, CompileError> {
        let tasks = &self.scenario.tasks;
        tasks.iter().map(|task| self.task(task)).collect()
    }

    /// Compiles the flows.
    ///
    /// # Errors
    /// [`CompileError`] names the part that cannot be carried out; also flows in a circle.
    pub fn flows(&mut self) -> Result<CompiledFlows, CompileError> {
        let flows = &self.scenario.flows;
        refuse_circles(self.scenario)?;
        if Lane::of(self.scenario).lanes() > MAX_LANES {
            return Err(StepError::TooManyLanes(self.scenario.name.clone()).into());
        }
        let hook = |hook: Option<u32>, place| hook.map(|flow| self.flow(flow, place)).transpose();
        let (on_start, on_stop) = (
            hook(flows.on_start, "onStart")?,
            hook(flows.on_stop, "onStop")?,
        );
        let all = flows
            .all
            .iter()
            .map(|flow| self.steps(&flow.steps, &format!("flow {:?}", flow.name)));
        Ok(CompiledFlows {
            all: all.collect::<Result<_, _>>()?,
            on_start,
            on_stop,
        })
    }

    fn task(&mut self, task: &Task) -> Result<CompiledTask, CompileError> {
        if task.steps.is_empty() {
            return Err(StepError::NoStep {
                scenario: self.scenario.name.clone(),
                task: task.name.clone(),
            }
            .into());
        }
        let flows = &self.scenario.flows;
        let mut uses = Uses::default();
        uses.add(&task.steps, &flows.all);
        let feeders = uses.feeders().into_iter().collect();
        for hook in [flows.on_start, flows.on_stop].into_iter().flatten() {
            uses.add(&[Step::Call(hook)], &flows.all);
        }
        Ok(CompiledTask {
            weight: task.weight,
            rest: match (task.pacing, task.think_time) {
                (Some(pacing), _) => Some(Rest::Pace(nanos(pacing))),
                (None, think_time) => think_time.map(|range| Rest::Think(Wait::new(range))),
            },
            steps: self.steps(&task.steps, &format!("task {:?}", task.name))?,
            feeders,
            first_feeders: uses.feeders().into_iter().collect(),
        })
    }

    fn steps(&mut self, steps: &[Step], place: &str) -> Result<Vec<CompiledStep>, CompileError> {
        steps.iter().map(|step| self.step(step, place)).collect()
    }

    fn step(&mut self, step: &Step, place: &str) -> Result<CompiledStep, CompileError> {
        let rare = match step {
            Step::Request(request) => {
                let compiled = compile_request(
                    self.plan,
                    self.scenario,
                    request,
                    self.script,
                    self.timeouts,
                )?;
                match &request.until {
                    None => return Ok(CompiledStep::Request(Box::new(compiled))),
                    Some(until) => {
                        let until = self.until(until, request.checks.len(), place)?;
                        Rare::Until(compiled, until)
                    }
                }
            }
            Step::Pause(range) => return Ok(CompiledStep::Pause(Wait::new(*range))),
            Step::Set(assignments) => {
                let compiled = assignments.iter().map(|assignment| {
                    self.value(assignment.value, place)?;
                    let text = Text::compile(&assignment.to, self.script);
                    Ok((assignment.value, self.scripted(text, place)?))
                });
                Rare::Set(compiled.collect::<Result<_, CompileError>>()?)
            }
            Step::Call(flow) => Rare::Call(self.flow(*flow, place)?),
            Step::Group { group, flow } => Rare::Group {
                group: self.group(*group, place)?,
                flow: self.flow(*flow, place)?,
            },
            Step::Repeat(repeat) => Rare::Repeat(self.repeat(repeat, place)?),
            Step::Parallel(flows) => {
                let flows = flows.iter().map(|flow| self.flow(*flow, place));
                Rare::Parallel(flows.collect::<Result<_, _>>()?)
            }
            Step::Custom(custom) => Rare::Custom(CompiledCustom::new(
                self.plan,
                (self.scenario, place),
                custom,
                (self.script, self.kinds),
                self.timeouts,
            )?),
            Step::When(conditional) => {
                let condition = Condition::compile(&conditional.when, self.script);
                Rare::When(
                    self.scripted(condition, place)?,
                    self.step(&conditional.step, place)?,
                )
            }
        };
        Ok(CompiledStep::Rare(Box::new(rare)))
    }

    fn until(
        &self,
        until: &Until,
        checks: usize,
        place: &str,
    ) -> Result<CompiledUntil, CompileError> {
        let known = self.known((until.check as usize) < checks, place, "check", until.check)?;
        Ok(CompiledUntil {
            check: u16::try_from(known).unwrap_or(u16::MAX),
            every: nanos(until.every),
            timeout: nanos(until.timeout),
            group: self.group(until.group, place)?,
        })
    }

    fn repeat(&self, repeat: &Repeat, place: &str) -> Result<CompiledRepeat, CompileError> {
        Ok(CompiledRepeat {
            flow: self.flow(repeat.flow, place)?,
            max: repeat.max,
            name: self.flow_name(repeat.flow),
            cut_off: AtomicBool::new(false),
            passes: match &repeat.how {
                Loop::Times(times) => Passes::Times(*times),
                Loop::While(when) => {
                    Passes::While(self.scripted(Condition::compile(when, self.script), place)?)
                }
                Loop::ForEach { items, item } => {
                    self.value(*item, place)?;
                    Passes::ForEach {
                        items: self.scripted(Items::compile(items, self.script), place)?,
                        item: *item,
                    }
                }
            },
        })
    }

    fn flow(&self, flow: u32, place: &str) -> Result<usize, CompileError> {
        let known = self.scenario.flows.all.get(flow as usize);
        self.known(known.is_some(), place, "flow", flow)
    }

    fn flow_name(&self, flow: u32) -> Box<str> {
        let flow = self.scenario.flows.all.get(flow as usize);
        flow.map_or("", |flow| &flow.name).into()
    }

    fn group(&self, group: u32, place: &str) -> Result<usize, CompileError> {
        let known: Option<&GroupKey> = self.plan.groups.get(group as usize);
        self.known(known.is_some(), place, "group", group)
    }

    fn value(&self, value: u32, place: &str) -> Result<usize, CompileError> {
        let known = self.plan.inputs.values.get(value as usize);
        self.known(known.is_some(), place, "value", value)
    }

    fn known(
        &self,
        known: bool,
        place: &str,
        what: &'static str,
        index: u32,
    ) -> Result<usize, CompileError> {
        if known {
            return Ok(index as usize);
        }
        let (scenario, place) = (self.scenario.name.clone(), place.to_owned());
        Err(StepError::Missing {
            scenario,
            place,
            what,
            index,
        }
        .into())
    }

    fn scripted<T>(&self, made: Result<T, ScriptError>, place: &str) -> Result<T, CompileError> {
        made.map_err(|error| {
            CompileError::Step(StepError::Script {
                scenario: self.scenario.name.clone(),
                place: place.to_owned(),
                error,
            })
        })
    }
}
