//! A plan made ready for the workers of one runner: nothing is parsed or looked up later.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use loadtest_core::{
    plan::{Connections, Cookies, Load, OnExhausted, Origin, Plan, Request, Scenario, Target},
    scalar::StatusRange,
};

use super::{
    custom::CustomError,
    message::{self, Envelope, Message, MessageError},
    reach::{check_general, needs_general, origins, tls_config},
    script::{CompiledCheck, CompiledExtract, Compiler, InputError, Inputs, Needs, ScriptError},
    steps::{CompiledFlows, CompiledTask, StepCompiler, StepError},
    tls::TlsSetUpError,
};
use crate::{clock::Nanos, http::Keep, step_kind::StepKinds};

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
    /// How many timed groups there are.
    pub groups: usize,
    /// Where requests go; requests refer to it by index, the first is the target's own.
    pub origins: Vec<Origin>,
    /// The target, for what redirects may do.
    pub target: Target,
    /// How https is spoken, if any request can get there.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// What texts are made of.
    pub inputs: Arc<Inputs>,
    /// Whether users must remember something.
    pub needs_memory: bool,
    /// Number of the first scenario in traces.
    pub first_number: u32,
    /// The run's id.
    pub run_id: String,
    /// Seed of every random choice.
    pub seed: u64,
    /// Requests that were to begin within this time from the start are the warm-up's.
    pub warm_up: Nanos,
    /// Hard end of the load part, from its start.
    pub max_duration: Nanos,
    /// Whether samples of failed exchanges are kept.
    pub samples: bool,
    /// What the runner knows besides requests.
    pub kinds: StepKinds,
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
    /// What tasks do besides their own steps.
    pub flows: CompiledFlows,
    /// Feeders that it ends with.
    pub dries_with: Box<[u32]>,
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
    /// What is remembered of the answer.
    pub extracts: Vec<CompiledExtract>,
    /// Whether a check or an extract looks at the body.
    pub keep_body: bool,
    /// Status codes that fail neither the request nor a check of them: bodies of the others are read
    /// for samples.
    pub expected: StatusSet,
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
    /// Names of headers that no other origin gets, because secrets are in them.
    pub private: Box<[String]>,
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

/// A set of status codes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StatusSet([u64; 10]);

impl StatusSet {
    /// Every code, and 0, which is none.
    pub const ANY: Self = Self([u64::MAX; 10]);

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

    /// Codes that are in both.
    pub fn and(self, other: Self) -> Self {
        let mut both = self;
        for (word, other) in both.0.iter_mut().zip(other.0) {
            *word &= other;
        }
        both
    }

    /// Codes that are in one of both.
    pub fn or(self, other: Self) -> Self {
        let mut one = self;
        for (word, other) in one.0.iter_mut().zip(other.0) {
            *word |= other;
        }
        one
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
    /// Something that the plan names cannot be used.
    #[error(transparent)]
    Input(#[from] InputError),
    /// A check or an extract cannot be made ready.
    #[error("request {request:?}: {problem}")]
    Script {
        /// Name of the request.
        request: String,
        /// What is wrong.
        problem: ScriptError,
    },
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
    /// Steps cannot be done.
    #[error(transparent)]
    Step(#[from] StepError),
    /// A step of a step kind cannot be done.
    #[error(transparent)]
    Custom(#[from] CustomError),
}

impl Compiled {
    /// Compiles a plan, and reads the files that it names.
    ///
    /// # Errors
    /// [`CompileError`] names the part that cannot be carried out.
    pub fn new(plan: &Plan, kinds: &StepKinds) -> Result<Self, CompileError> {
        Self::with_inputs(plan, &Arc::new(Inputs::read(plan)?), kinds)
    }

    /// Compiles a plan of which the files that texts are made of have been read.
    ///
    /// # Errors
    /// [`CompileError`] names the part that cannot be carried out.
    pub fn with_inputs(
        plan: &Plan,
        inputs: &Arc<Inputs>,
        kinds: &StepKinds,
    ) -> Result<Self, CompileError> {
        check_general(&plan.target)?;
        let compiler = Compiler::new(inputs);
        let mut timeouts = Vec::new();
        let scenarios = plan
            .scenarios
            .iter()
            .map(|scenario| compile_scenario(plan, scenario, (&compiler, kinds), &mut timeouts))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            scenarios,
            timeouts,
            check_names: plan.checks.clone(),
            series: plan.series.len(),
            groups: plan.groups.len(),
            origins: origins(&plan.target),
            target: plan.target.clone(),
            tls: tls_config(plan)?.map(Arc::new),
            needs_memory: compiler.needs_memory(),
            inputs: Arc::clone(inputs),
            first_number: 0,
            run_id: plan.run.id.clone(),
            seed: plan.run.seed,
            warm_up: nanos(plan.warm_up),
            max_duration: nanos(plan.max_duration),
            samples: plan.results.wants_samples(),
            kinds: kinds.clone(),
        })
    }
}

fn compile_scenario(
    plan: &Plan,
    scenario: &Scenario,
    (script, kinds): (&Compiler<'_>, &StepKinds),
    timeouts: &mut Vec<Nanos>,
) -> Result<CompiledScenario, CompileError> {
    if scenario.tasks.iter().all(|task| task.weight == 0) {
        return Err(CompileError::NoTask(scenario.name.clone()));
    }
    let mut steps = StepCompiler {
        plan,
        scenario,
        script,
        kinds,
        timeouts,
    };
    // Flows first: they are refused when they go in a circle, and tasks follow them.
    let flows = steps.flows()?;
    let tasks = steps.tasks()?;
    let used = tasks.iter().flat_map(|task| &task.first_feeders);
    let used: BTreeSet<u32> = used.copied().collect();
    let data = &plan.inputs.data;
    let ends = |feeder: &u32| {
        let feeder = data.get(*feeder as usize);
        feeder.is_some_and(|feeder| feeder.on_exhausted == OnExhausted::Stop)
    };
    Ok(CompiledScenario {
        start_after: nanos(scenario.start_after),
        load: scenario.load.clone(),
        graceful_stop: nanos(scenario.graceful_stop),
        connections: scenario.connections,
        cookies: scenario.cookies,
        tasks,
        flows,
        dries_with: used.into_iter().filter(ends).collect(),
    })
}

/// Compiles a request of a scenario.
///
/// # Errors
/// [`CompileError`] names the request and the part that cannot be carried out.
pub fn compile_request(
    plan: &Plan,
    scenario: &Scenario,
    request: &Request,
    compiler: &Compiler<'_>,
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
    let scripted = |problem| CompileError::Script {
        request: message::name_of(plan, request),
        problem,
    };
    let checks = request.checks.iter();
    let checks = checks.map(|check| CompiledCheck::compile(check, compiler));
    let checks: Vec<_> = checks.collect::<Result<_, _>>().map_err(scripted)?;
    let extracts = request.extracts.iter();
    let extracts = extracts.map(|extract| CompiledExtract::compile(extract, compiler));
    let extracts: Vec<_> = extracts.collect::<Result<_, _>>().map_err(scripted)?;
    let needs = checks.iter().map(CompiledCheck::needs);
    let needs = needs.chain(extracts.iter().map(CompiledExtract::needs));
    let needs = needs.fold(Needs::default(), Needs::and);
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
            private: message::private_headers(request, &compiler.inputs.private),
        })
    });
    let mut kind = Kind::new(request, envelope.closes, cookies);
    // Whoever looks sees all of it.
    let looked_at = compiler.inputs.witness.is_some();
    kind.keep.all = needs.head || looked_at;
    kind.keep.errors = plan.results.wants_samples();
    let success = StatusSet::new(&request.success);
    let of_checks = checks.iter().filter_map(CompiledCheck::statuses);
    if needs_general(&plan.target) {
        kind.client = Client::General;
    }
    Ok(CompiledRequest {
        step: request.step,
        series: request.series,
        sending: Sending {
            origin: number,
            message: Message::compile(plan, request, envelope, compiler)?,
            kind,
        },
        redirects,
        timeout,
        expected: expected(of_checks.fold(success, StatusSet::and), request),
        success,
        keep_body: needs.body || looked_at,
        checks,
        extracts,
    })
}

/// Redirects that are followed are not judged.
fn expected(judged: StatusSet, request: &Request) -> StatusSet {
    let redirects = StatusRange { from: 300, to: 399 };
    match request.follow_redirects {
        0 => judged,
        _ => judged.or(StatusSet::new(&[redirects])),
    }
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
                errors: false,
            },
            idempotent: is_idempotent(&request.method),
            head: request.method == "HEAD",
            closes: closes
                || request.headers.iter().any(|(name, value)| {
                    name.eq_ignore_ascii_case("connection")
                        && value.to_display().to_ascii_lowercase().contains("close")
                }),
        }
    }
}

/// Whether sending it twice does no harm (RFC 9110, 9.2.2).
pub fn is_idempotent(method: &str) -> bool {
    ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"].contains(&method)
}

/// A duration in nanoseconds; 584 years at most.
pub fn nanos(duration: Duration) -> Nanos {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
