//! A plan made ready for the workers of one runner: nothing is parsed or looked up later.

use std::time::Duration;

use loadtest_core::{
    plan::{Check, Condition, Load, PauseRange, Plan, Request, Scenario, Step, Task},
    scalar::StatusRange,
};
use memchr::memmem::Finder;

use super::message::{Message, MessageError};
use crate::clock::Nanos;

/// What every worker of a runner reads.
#[derive(Debug)]
pub struct Compiled {
    /// In the order of the plan.
    pub scenarios: Vec<CompiledScenario>,
    /// Every distinct request timeout; requests refer to it by index.
    pub timeouts: Vec<Nanos>,
    /// Names of checks, for messages.
    pub check_names: Vec<String>,
    /// How many request names there are.
    pub series: usize,
    /// Host name or address of the target.
    pub host: String,
    /// Port of the target.
    pub port: u16,
    /// The run's id.
    pub run_id: String,
    /// Seed of every random choice.
    pub seed: u64,
    /// Hard end of the load part, from its start.
    pub max_duration: Nanos,
}

/// A scenario with times in nanoseconds from the start of the run.
#[derive(Debug)]
pub struct CompiledScenario {
    /// When it begins.
    pub start_after: Nanos,
    /// As in the plan.
    pub load: Load,
    /// How long iterations that are under way at the end may take.
    pub graceful_stop: Nanos,
    /// Never empty.
    pub tasks: Vec<CompiledTask>,
}

/// A task.
#[derive(Debug)]
pub struct CompiledTask {
    /// How often in each block.
    pub weight: u32,
    /// Wait after the iteration.
    pub think_time: Option<Wait>,
    /// What to do.
    pub steps: Vec<CompiledStep>,
}

/// A wait, drawn from `min..=max` nanoseconds.
#[derive(Debug, Clone, Copy)]
pub struct Wait {
    /// Shortest.
    pub min: Nanos,
    /// Longest.
    pub max: Nanos,
}

/// A step.
#[derive(Debug)]
pub enum CompiledStep {
    /// Send and receive.
    Request(Box<CompiledRequest>),
    /// Wait.
    Pause(Wait),
}

/// A request.
#[derive(Debug)]
pub struct CompiledRequest {
    /// Number of the step in the plan.
    pub step: u32,
    /// Index of its name.
    pub series: u32,
    /// What is sent.
    pub message: Message,
    /// Method and headers, as far as the exchange depends on them.
    pub kind: Kind,
    /// Index of its timeout.
    pub timeout: usize,
    /// Status codes of a success.
    pub success: StatusSet,
    /// What must hold.
    pub checks: Vec<CompiledCheck>,
    /// Whether a check looks at the body.
    pub keep_body: bool,
}

/// What the exchange of a request depends on.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    /// Whether sending it twice does no harm (RFC 9110, 9.2.2).
    pub idempotent: bool,
    /// Whether the answer has no body by nature.
    pub head: bool,
    /// Whether it asks for the connection to be closed.
    pub closes: bool,
}

/// A check.
#[derive(Debug)]
pub struct CompiledCheck {
    /// Index of its name.
    pub index: u32,
    /// What must hold.
    pub condition: CompiledCondition,
}

/// What a check looks at.
#[derive(Debug)]
pub enum CompiledCondition {
    /// Status in the set.
    Status(StatusSet),
    /// Body has the text.
    BodyContains(Box<Finder<'static>>),
}

/// A set of status codes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StatusSet([u64; 10]);

impl StatusSet {
    /// All codes of the ranges.
    pub fn new(ranges: &[StatusRange]) -> Self {
        let mut set = Self::default();
        for status in ranges.iter().flat_map(|range| range.from..=range.to) {
            if let Some(word) = set.0.get_mut(usize::from(status / 64)) {
                *word |= 1 << (status % 64);
            }
        }
        set
    }

    /// Whether the code is in the set.
    #[inline]
    pub fn contains(&self, status: u16) -> bool {
        self.0
            .get(usize::from(status / 64))
            .is_some_and(|word| word >> (status % 64) & 1 == 1)
    }
}

/// Why a plan cannot be carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// A request cannot be sent.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// There is nothing to choose from.
    #[error("scenario {0:?} has no task with a weight")]
    NoTask(String),
    /// A closed user would repeat it without end and without a moment's rest.
    #[error("task {task:?} of scenario {scenario:?} has no step")]
    NoStep {
        /// Which scenario.
        scenario: String,
        /// Which task.
        task: String,
    },
}

impl Compiled {
    /// Compiles a plan.
    ///
    /// # Errors
    /// [`CompileError`] names the part that cannot be carried out.
    pub fn new(plan: &Plan) -> Result<Self, CompileError> {
        let mut timeouts = Vec::new();
        let scenarios = plan
            .scenarios
            .iter()
            .map(|scenario| compile_scenario(plan, scenario, &mut timeouts))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            scenarios,
            timeouts,
            check_names: plan.checks.clone(),
            series: plan.series.len(),
            host: plan.target.origin.host.clone(),
            port: plan.target.origin.port,
            run_id: plan.run.id.clone(),
            seed: plan.run.seed,
            max_duration: nanos(plan.max_duration),
        })
    }
}

fn compile_scenario(
    plan: &Plan,
    scenario: &Scenario,
    timeouts: &mut Vec<Nanos>,
) -> Result<CompiledScenario, CompileError> {
    if scenario.tasks.iter().all(|task| task.weight == 0) {
        return Err(CompileError::NoTask(scenario.name.clone()));
    }
    let tasks = scenario
        .tasks
        .iter()
        .map(|task| compile_task(plan, scenario, task, timeouts))
        .collect::<Result<_, _>>()?;
    Ok(CompiledScenario {
        start_after: nanos(scenario.start_after),
        load: scenario.load.clone(),
        graceful_stop: nanos(scenario.graceful_stop),
        tasks,
    })
}

fn compile_task(
    plan: &Plan,
    scenario: &Scenario,
    task: &Task,
    timeouts: &mut Vec<Nanos>,
) -> Result<CompiledTask, CompileError> {
    if task.steps.is_empty() {
        return Err(CompileError::NoStep {
            scenario: scenario.name.clone(),
            task: task.name.clone(),
        });
    }
    let steps = task
        .steps
        .iter()
        .map(|step| match step {
            Step::Request(request) => compile_request(plan, request, timeouts)
                .map(|request| CompiledStep::Request(Box::new(request))),
            Step::Pause(range) => Ok(CompiledStep::Pause(Wait::new(*range))),
        })
        .collect::<Result<_, _>>()?;
    Ok(CompiledTask {
        weight: task.weight,
        think_time: task.think_time.map(Wait::new),
        steps,
    })
}

fn compile_request(
    plan: &Plan,
    request: &Request,
    timeouts: &mut Vec<Nanos>,
) -> Result<CompiledRequest, CompileError> {
    let timeout_ns = nanos(request.timeout);
    let timeout = timeouts
        .iter()
        .position(|known| *known == timeout_ns)
        .unwrap_or_else(|| {
            timeouts.push(timeout_ns);
            timeouts.len() - 1
        });
    let checks: Vec<_> = request.checks.iter().map(compile_check).collect();
    Ok(CompiledRequest {
        step: request.step,
        series: request.series,
        message: Message::compile(plan, request)?,
        kind: Kind::new(request),
        timeout,
        success: StatusSet::new(&request.success),
        keep_body: checks
            .iter()
            .any(|check| matches!(check.condition, CompiledCondition::BodyContains(_))),
        checks,
    })
}

impl Kind {
    fn new(request: &Request) -> Self {
        Self {
            idempotent: ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"]
                .contains(&request.method.as_str()),
            head: request.method == "HEAD",
            closes: request.headers.iter().any(|(name, value)| {
                name.eq_ignore_ascii_case("connection")
                    && value.to_display().to_ascii_lowercase().contains("close")
            }),
        }
    }
}

fn compile_check(check: &Check) -> CompiledCheck {
    CompiledCheck {
        index: check.index,
        condition: match &check.condition {
            Condition::Status(ranges) => CompiledCondition::Status(StatusSet::new(ranges)),
            Condition::BodyContains(text) => {
                CompiledCondition::BodyContains(Box::new(Finder::new(text.as_bytes()).into_owned()))
            }
        },
    }
}

impl Wait {
    fn new(range: PauseRange) -> Self {
        Self {
            min: nanos(range.min),
            max: nanos(range.max),
        }
    }
}

/// A duration in nanoseconds; 584 years at most.
pub fn nanos(duration: Duration) -> Nanos {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
