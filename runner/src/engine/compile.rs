//! A plan made ready for the workers of one runner: nothing is parsed or looked up later.

use std::{sync::Arc, time::Duration};

use loadtest_core::{
    plan::{
        Check, Condition, Connections, Cookies, Load, Origin, PauseRange, Plan, Request, Scenario,
        Step, Target, Task,
    },
    scalar::StatusRange,
};
use memchr::memmem::Finder;

use super::{
    message::{Envelope, Message, MessageError},
    reach::{check_general, needs_general, origins, tls_config},
    tls::TlsSetUpError,
};
use crate::{clock::Nanos, http::Keep};

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
    /// Where requests go; requests refer to it by index, the first is the target's own.
    pub origins: Vec<Origin>,
    /// The target, for what redirects may do.
    pub target: Target,
    /// How https is spoken, if any request can get there.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// The run's id.
    pub run_id: String,
    /// Seed of every random choice.
    pub seed: u64,
    /// Requests that were to begin within this time from the start are the warm-up's.
    pub warm_up: Nanos,
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
    /// How long a user keeps a connection.
    pub connections: Connections,
    /// How long a user keeps cookies.
    pub cookies: Cookies,
    /// Never empty.
    pub tasks: Vec<CompiledTask>,
}

/// A task.
#[derive(Debug)]
pub struct CompiledTask {
    /// How often in each block.
    pub weight: u32,
    /// What a user of a closed model does between this iteration and the next.
    pub rest: Option<Rest>,
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
}

/// A request.
#[derive(Debug)]
pub struct CompiledRequest {
    /// Number of the step in the plan.
    pub step: u32,
    /// Index of its name.
    pub series: u32,
    /// What is sent, and where.
    pub sending: Sending,
    /// If redirects are followed: how.
    pub redirects: Option<Box<Redirects>>,
    /// Index of its timeout.
    pub timeout: usize,
    /// Status codes of a success.
    pub success: StatusSet,
    /// What must hold.
    pub checks: Vec<CompiledCheck>,
    /// Whether a check looks at the body.
    pub keep_body: bool,
}

/// A request on its way to an origin: a step's own, or one that a redirect made.
#[derive(Debug)]
pub struct Sending {
    /// Number of the origin.
    pub origin: u32,
    /// What is sent.
    pub message: Message,
    /// Method and headers, as far as the exchange depends on them.
    pub kind: Kind,
}

/// What is needed to follow redirects of a request.
#[derive(Debug)]
pub struct Redirects {
    /// How many are followed.
    pub most: u8,
    /// The request that the next one is made of.
    pub request: Request,
    /// Whether connections are closed after each request.
    pub closes: bool,
    /// Whether cookies are kept.
    pub cookies: bool,
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
    /// Where its `Cookie` header comes from.
    pub cookies: CookieHeader,
    /// Who sends it.
    pub client: Client,
    /// Which heads of answers are looked into.
    pub keep: Keep,
}

/// Where a request's `Cookie` header comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CookieHeader {
    /// From what the user was given.
    Jar,
    /// The request has one of its own, which is then the only one.
    Own,
}

/// Who sends a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Client {
    /// Our own client, which speaks HTTP/1.1.
    Own,
    /// The general one, for what ours does not speak.
    General,
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
    /// TLS cannot be spoken as the plan says.
    #[error(transparent)]
    Tls(#[from] TlsSetUpError),
    /// The general client has no way to do it.
    #[error("{0}")]
    General(&'static str),
    /// A request refers to an origin that the plan does not have.
    #[error("request {0} goes to an origin that the plan does not have")]
    Origin(u32),
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
    /// Compiles a plan, and reads the certificates that it names.
    ///
    /// # Errors
    /// [`CompileError`] names the part that cannot be carried out.
    pub fn new(plan: &Plan) -> Result<Self, CompileError> {
        check_general(&plan.target)?;
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
            origins: origins(&plan.target),
            target: plan.target.clone(),
            tls: tls_config(plan)?.map(Arc::new),
            run_id: plan.run.id.clone(),
            seed: plan.run.seed,
            warm_up: nanos(plan.warm_up),
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
        connections: scenario.connections,
        cookies: scenario.cookies,
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
            Step::Request(request) => compile_request(plan, scenario, request, timeouts)
                .map(|request| CompiledStep::Request(Box::new(request))),
            Step::Pause(range) => Ok(CompiledStep::Pause(Wait::new(*range))),
            _ => Err(CompileError::General("not there yet")),
        })
        .collect::<Result<_, _>>()?;
    Ok(CompiledTask {
        weight: task.weight,
        rest: match (task.pacing, task.think_time) {
            (Some(pacing), _) => Some(Rest::Pace(nanos(pacing))),
            (None, think_time) => think_time.map(|range| Rest::Think(Wait::new(range))),
        },
        steps,
    })
}

fn compile_request(
    plan: &Plan,
    scenario: &Scenario,
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
    let origins = origins(&plan.target);
    let number = request.origin.map_or(0, |other| other.saturating_add(1));
    let envelope = Envelope {
        origin: origins
            .get(number as usize)
            .ok_or(CompileError::Origin(request.step))?,
        run_id: &plan.run.id,
        closes: scenario.connections == Connections::PerRequest,
    };
    let cookies = scenario.cookies != Cookies::Off;
    let redirects = (request.follow_redirects > 0).then(|| {
        Box::new(Redirects {
            most: request.follow_redirects,
            request: request.clone(),
            closes: envelope.closes,
            cookies,
        })
    });
    Ok(CompiledRequest {
        step: request.step,
        series: request.series,
        sending: Sending {
            origin: number,
            message: Message::compile(plan, request, envelope)?,
            kind: Kind {
                client: if needs_general(&plan.target) {
                    Client::General
                } else {
                    Client::Own
                },
                ..Kind::new(request, envelope.closes, cookies)
            },
        },
        redirects,
        timeout,
        success: StatusSet::new(&request.success),
        keep_body: checks
            .iter()
            .any(|check| matches!(check.condition, CompiledCondition::BodyContains(_))),
        checks,
    })
}

impl Kind {
    /// Of a request for our own client.
    pub fn new(request: &Request, closes: bool, cookies: bool) -> Self {
        let has = |header: &str| {
            let mut names = request.headers.iter().map(|(name, _)| name);
            names.any(|name| name.eq_ignore_ascii_case(header))
        };
        Self {
            cookies: if has("cookie") {
                CookieHeader::Own
            } else {
                CookieHeader::Jar
            },
            client: Client::Own,
            keep: Keep {
                all: false,
                cookies,
                location: request.follow_redirects > 0,
            },
            idempotent: ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"]
                .contains(&request.method.as_str()),
            head: request.method == "HEAD",
            closes: closes
                || request.headers.iter().any(|(name, value)| {
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
            _ => CompiledCondition::Status(StatusSet::default()),
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
