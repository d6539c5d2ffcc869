//! What is done once for the whole run, by runner 0: the setup and the teardown.
//!
//! Each is a small plan of its own, made of the run's: one user who does one iteration, on a thread
//! of its own. So it is done by the same code as all load, and is none: what it measures only says
//! whether it went well.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    sync::{Arc, mpsc as std_mpsc},
    thread,
    time::Duration,
};

use loadtest_core::{
    plan::{Connections, Cookies, Flows, Load, Once, Plan, Scenario, SeriesKey, Step, Task},
    series::SeriesSet,
    shard::Shard,
};
use tokio::sync::{mpsc, oneshot, watch};

use super::{
    compile::{CompileError, Compiled},
    feeder::Feeders,
    meter::{FromWorker, RawLane},
    script::Memory,
    worker::{self, Assignment, Command},
};
use crate::clock::{self, WallAnchor};

/// How long a teardown may take.
const LONGEST_TEARDOWN: Duration = Duration::from_mins(1);

/// Seconds of measurements that may wait to be looked at.
const MESSAGES: usize = 64;

/// Most failures that are told.
const FAILURES_TOLD: usize = 3;

/// The two things that are done once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Errand {
    /// Before the start of all runners.
    SetUp,
    /// After their end.
    TearDown,
}

impl Errand {
    /// Beyond those of workers and scenarios.
    fn number(self) -> u32 {
        match self {
            Self::SetUp => u32::MAX - 1,
            Self::TearDown => u32::MAX,
        }
    }

    /// What people call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::SetUp => "setup",
            Self::TearDown => "teardown",
        }
    }
}

/// What is left of something that was done once.
#[derive(Debug, Default)]
pub struct Left {
    /// Whether it went well.
    pub is_done: bool,
    /// Why a value could not be set.
    pub unset: Option<String>,
    /// Values by name.
    pub values: BTreeMap<String, String>,
    /// Those that are wanted, by name, and their index.
    wanted: Vec<(String, u32)>,
    /// Its number among the workers and the scenarios, which no other has: what is drawn here is
    /// drawn nowhere else.
    pub number: u32,
}

impl Left {
    /// Takes the wanted values out of what the user remembers at its end.
    pub fn keep(&mut self, memory: Option<&RefCell<Memory>>) {
        self.is_done = true;
        let Some(memory) = memory else {
            return;
        };
        let memory = memory.borrow();
        for (name, index) in &self.wanted {
            if let Some(value) = memory.get(*index) {
                self.values.insert(name.clone(), value.as_str().to_owned());
            }
        }
    }
}

/// A setup or teardown, ready to be done.
#[derive(Debug)]
pub struct Prepared {
    errand: Errand,
    compiled: Arc<Compiled>,
    feeders: Arc<Feeders>,
    series: Vec<SeriesKey>,
    wanted: Vec<(String, u32)>,
    anchor: WallAnchor,
}

/// One that is being done.
#[derive(Debug)]
pub struct UnderWay {
    errand: Errand,
    messages: mpsc::Receiver<FromWorker>,
    commands: watch::Sender<Command>,
    left: oneshot::Receiver<std::io::Result<Option<Left>>>,
    measured: SeriesSet,
    compiled: Arc<Compiled>,
    feeders: Arc<Feeders>,
    series: Vec<SeriesKey>,
    wanted: Vec<(String, u32)>,
}

impl Prepared {
    /// Makes an errand of a plan ready, if it has it.
    ///
    /// # Errors
    /// [`CompileError`] names the part that cannot be carried out.
    pub fn new(
        errand: Errand,
        plan: &Plan,
        compiled: &Compiled,
        feeders: &Arc<Feeders>,
        anchor: WallAnchor,
    ) -> Result<Option<Self>, CompileError> {
        let Some(once) = &plan.once else {
            return Ok(None);
        };
        let (flow, longest) = match errand {
            Errand::SetUp => (once.setup, plan.start_timeout),
            Errand::TearDown => (once.teardown, LONGEST_TEARDOWN),
        };
        let Some(flow) = flow else {
            return Ok(None);
        };
        let plan = plan_of(errand, plan, once, flow, longest);
        let mut compiled = Compiled::with_inputs(&plan, &compiled.inputs, &compiled.kinds)?;
        compiled.first_number = errand.number();
        let index = |name: &String| {
            let mut values = plan.inputs.values.iter().zip(0..);
            let known = values.find(|(value, _)| value.name == *name);
            known.map(|(_, index)| (name.clone(), index))
        };
        let wanted = match errand {
            Errand::SetUp => plan.inputs.setup_values.iter().filter_map(index).collect(),
            Errand::TearDown => Vec::new(),
        };
        Ok(Some(Self {
            errand,
            compiled: Arc::new(compiled),
            feeders: Arc::clone(feeders),
            series: plan.series,
            wanted,
            anchor,
        }))
    }

    /// What people call it.
    pub fn name(&self) -> &'static str {
        self.errand.name()
    }

    /// Whether it is that one.
    pub fn is(&self, errand: Errand) -> bool {
        self.errand == errand
    }

    /// Begins it, on a thread of its own.
    ///
    /// # Errors
    /// When the system has no thread for it.
    pub fn begin(self) -> std::io::Result<UnderWay> {
        let (commands, watched) = watch::channel(Command::Start(clock::now()));
        let (outbox, messages) = mpsc::channel(MESSAGES);
        let (spare, spares) = std_mpsc::channel();
        drop(spare);
        let (done, left) = oneshot::channel();
        let wanted = self.wanted.clone();
        let assignment = Assignment {
            compiled: Arc::clone(&self.compiled),
            feeders: Arc::clone(&self.feeders),
            left: Some(Left {
                wanted: self.wanted,
                number: self.errand.number(),
                ..Left::default()
            }),
            runner: Shard::WHOLE,
            worker: 0,
            workers: 1,
            anchor: self.anchor,
            raw: RawLane::None,
            commands: watched,
            outbox,
            spares,
        };
        thread::Builder::new()
            .name(self.errand.name().to_owned())
            .spawn(move || drop(done.send(worker::run(assignment))))?;
        tracing::info!("the {} begins", self.errand.name());
        Ok(UnderWay {
            errand: self.errand,
            messages,
            commands,
            left,
            measured: SeriesSet::default(),
            compiled: self.compiled,
            feeders: self.feeders,
            series: self.series,
            wanted,
        })
    }
}

/// The errand as a plan: the run's, with another load. Its requests get rows of their own, for the
/// names in messages.
fn plan_of(errand: Errand, plan: &Plan, once: &Once, flow: u32, longest: Duration) -> Plan {
    let mut series = Vec::new();
    let mut flows = once.flows.clone();
    for step in flows.iter_mut().flat_map(|flow| &mut flow.steps) {
        name_requests(errand, step, &mut series);
    }
    Plan {
        scenarios: vec![Scenario {
            name: errand.name().to_owned(),
            start_after: Duration::ZERO,
            load: Load::PerUserIterations {
                users: 1,
                iterations: 1,
                max_duration: longest,
            },
            graceful_stop: Duration::ZERO,
            connections: Connections::KeepAlive,
            cookies: Cookies::User,
            tasks: vec![Task {
                name: errand.name().to_owned(),
                weight: 1,
                steps: vec![Step::Call(flow)],
                ..Task::default()
            }],
            flows: Flows {
                all: flows,
                ..Flows::default()
            },
        }],
        series,
        checks: once.checks.clone(),
        groups: once.groups.clone(),
        warm_up: Duration::ZERO,
        max_duration: longest,
        once: None,
        ..plan.clone()
    }
}

fn name_requests(errand: Errand, step: &mut Step, series: &mut Vec<SeriesKey>) {
    match step {
        Step::Request(request) => {
            request.series = u32::try_from(series.len()).unwrap_or(u32::MAX);
            series.push(SeriesKey {
                scenario: errand.name().to_owned(),
                name: format!("{} {}", request.method, request.path.to_display()),
                method: request.method.clone(),
            });
        }
        Step::Custom(custom) => {
            custom.request.series = u32::try_from(series.len()).unwrap_or(u32::MAX);
            series.push(SeriesKey {
                scenario: errand.name().to_owned(),
                name: custom.kind.clone(),
                method: custom.kind.clone(),
            });
        }
        Step::When(conditional) => name_requests(errand, &mut conditional.step, series),
        Step::Pause(_)
        | Step::Set(_)
        | Step::Call(_)
        | Step::Group { .. }
        | Step::Repeat(_)
        | Step::Parallel(_) => {}
    }
}

impl UnderWay {
    /// Which.
    pub fn errand(&self) -> Errand {
        self.errand
    }

    /// Cuts it off.
    pub fn abort(&self) {
        self.commands.send_replace(Command::Abort);
    }

    /// Waits for its end; may be dropped and asked again. Returns the values that are left, or why
    /// it did not go well.
    pub async fn ended(&mut self) -> Result<BTreeMap<String, String>, String> {
        while let Some(message) = self.messages.recv().await {
            if let FromWorker::Window(window) = message {
                self.measured.merge(&window.set);
            }
        }
        let name = self.errand.name();
        match (&mut self.left).await {
            Ok(Ok(Some(left))) if left.is_done => self.check_values(left),
            Ok(Ok(left)) => {
                let unset = left.and_then(|left| left.unset);
                Err(format!("the {name} failed: {}", self.reasons(unset)))
            }
            Ok(Err(error)) => Err(format!("the {name} could not be done: {error}")),
            Err(_) => Err(format!("the {name} could not be done: its thread ended")),
        }
    }

    fn check_values(&self, left: Left) -> Result<BTreeMap<String, String>, String> {
        let missing = self
            .wanted
            .iter()
            .find(|(name, _)| !left.values.contains_key(name));
        match missing {
            None => Ok(left.values),
            Some((value, _)) => Err(format!(
                "the {} ended without a value {value:?}, which the test uses as $(setup.{value}): extract or set it there",
                self.errand.name()
            )),
        }
    }

    /// What went wrong, in the words of requests and checks.
    fn reasons(&self, unset: Option<String>) -> String {
        if let Some(problem) = unset {
            return format!("a value could not be set: {problem}");
        }
        let failures = self.measured.errors.keys().map(|key| {
            let series = self.series.get(key.series as usize);
            let request = series.map_or("a request", |series| series.name.as_str());
            format!("{request}: {}", key.message)
        });
        let checks = self.measured.checks.iter().zip(&self.compiled.check_names);
        let checks = checks.filter(|((_, failed), _)| *failed > 0);
        let checks = checks.map(|(_, name)| format!("check {name:?} did not hold"));
        let mut reasons: Vec<_> = failures.take(FAILURES_TOLD).collect();
        if reasons.is_empty() {
            reasons.extend(checks.take(FAILURES_TOLD));
        }
        let exhausted = self.feeders.exhausted();
        if reasons.is_empty() && !exhausted.is_empty() {
            return "there was no row of data left for it".to_owned();
        }
        if reasons.is_empty() {
            return "it did not end in time".to_owned();
        }
        reasons.join("; ")
    }
}
