//! One iteration that somebody looks at: what `loadtest try` shows.
//!
//! It is done by the code that does all load, with a plan that has one user and one iteration, and
//! a witness in its inputs. A run has none, which is all that this costs it.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError, mpsc as std_mpsc},
    time::Duration,
};

use loadtest_core::{
    plan::{Load, Plan, Scenario, Task},
    series::SeriesSet,
    shard::Shard,
};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};

use super::{
    compile::Compiled,
    connection::Exchange,
    crew::SetUpError,
    feeder::Feeders,
    meter::{Ended, FromWorker, RawLane},
    once::{Errand, Prepared},
    redaction::Redaction,
    script::{Answer, Inputs, Value, authorize},
    worker::{self, Assignment, Command, Worker},
};
use crate::{
    clock::{self, WallAnchor},
    step_kind::{self, StepKinds},
};

/// How long the iteration may take.
const LONGEST: Duration = Duration::from_mins(10);

/// Windows of a second that may wait to be looked at.
const MESSAGES: usize = 1_024;

/// Something that happened. Secrets are not in it: where they were stands `[secret.NAME]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Seen {
    /// The setup, a task or the teardown begins, or something is to be known about it.
    Begins(String),
    /// A request goes out.
    Sent {
        /// Where to, as `scheme://host:port`.
        origin: String,
        /// Head and body as they are on the wire.
        text: String,
    },
    /// The code of a step kind begins.
    Step {
        /// The kind.
        kind: String,
        /// Name of the step.
        name: String,
        /// What it is told, in the order of its names.
        with: Vec<(String, String)>,
    },
    /// An answer is here, or will not come.
    Ended {
        /// Where the request went or was to go, as `scheme://host:port`; empty for a step of a step
        /// kind.
        origin: String,
        /// There is an answer.
        answered: bool,
        /// Its status; 0 without one, which a step of a step kind may answer with.
        status: u16,
        /// Headers in their order.
        headers: Vec<(String, String)>,
        /// The body, decoded.
        body: String,
        /// From the intended start to the end.
        took: Duration,
        /// Each check and whether it holds.
        checks: Vec<(String, bool)>,
        /// Each value that was looked for, with what it is now.
        extracts: Vec<(String, String)>,
        /// Why the request has failed, if it has.
        failure: Option<String>,
    },
    /// A value was set.
    Set {
        /// Its name.
        name: String,
        /// What it is now.
        value: String,
    },
}

/// Whoever looks.
pub struct Witness {
    look: Mutex<Box<dyn FnMut(Seen) + Send>>,
    /// Values that were set and have a secret in them, and what is shown of each.
    made: Mutex<Vec<(String, String)>>,
}

impl fmt::Debug for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Witness").finish_non_exhaustive()
    }
}

impl Witness {
    fn tell(&self, seen: Seen) {
        let mut look = self.look.lock().unwrap_or_else(PoisonError::into_inner);
        look(seen);
    }

    fn redaction(&self, inputs: &Inputs) -> Redaction {
        let made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        Redaction::of(inputs).and_of_made(&*made)
    }

    /// A request goes out as it was rendered.
    pub(super) fn sent(&self, exchange: &Exchange<'_>, rendered: &[u8]) {
        self.tell(Seen::Sent {
            origin: origin_of(exchange.worker, exchange.sending.origin),
            text: self
                .redaction(&exchange.worker.shared.inputs)
                .apply(&String::from_utf8_lossy(rendered)),
        });
    }

    /// A request has ended.
    pub(super) fn ended(
        &self,
        exchange: &Exchange<'_>,
        ended: &Ended<'_>,
        answered: bool,
        checks: Vec<(String, bool)>,
    ) {
        let origin = origin_of(exchange.worker, exchange.sending.origin);
        let compiled = &exchange.worker.compiled;
        self.exchanged(origin, ended, answered, checks, compiled);
    }

    /// The code of a step kind begins.
    pub(super) fn step_begins(
        &self,
        inputs: &Inputs,
        (kind, name): &(String, String),
        with: &[(String, String)],
    ) {
        let redaction = self.redaction(inputs);
        let with = with.iter();
        self.tell(Seen::Step {
            kind: kind.clone(),
            name: name.clone(),
            with: with
                .map(|(name, text)| (name.clone(), redaction.apply(text)))
                .collect(),
        });
    }

    /// The code of a step kind has ended.
    pub(super) fn step_ended(
        &self,
        ended: &Ended<'_>,
        checks: Vec<(String, bool)>,
        compiled: &Compiled,
    ) {
        let answered = ended.failure.is_none();
        self.exchanged(String::new(), ended, answered, checks, compiled);
    }

    fn exchanged(
        &self,
        origin: String,
        ended: &Ended<'_>,
        answered: bool,
        checks: Vec<(String, bool)>,
        compiled: &Compiled,
    ) {
        let values = ended.values;
        let redaction = self.redaction(&values.shared.inputs);
        let text = |text: &str| redaction.apply(text);
        let lossy = |bytes: &[u8]| text(&String::from_utf8_lossy(bytes));
        let answer = answered.then_some(ended.answer);
        // Of a redirect that is followed nothing is taken out.
        let extracts = ended.request.extracts.iter().filter(|_| !ended.followed);
        let extracts = extracts.map(|extract| {
            let memory = values.memory.map(std::cell::RefCell::borrow);
            let value = memory.as_ref().and_then(|memory| memory.get(extract.value));
            (extract.name.clone(), text(value.map_or("", Value::as_str)))
        });
        let failure = ended.failure.as_ref();
        self.tell(Seen::Ended {
            origin,
            answered: answer.is_some(),
            status: answer.map_or(0, |answer| answer.status),
            headers: answer
                .map(Answer::all_headers)
                .unwrap_or_default()
                .into_iter()
                .map(|(name, value)| (name, text(&value)))
                .collect(),
            body: match answer.map(Answer::body) {
                Some(Ok(body)) => lossy(body),
                Some(Err(unreadable)) => format!("({unreadable})"),
                None => String::new(),
            },
            took: Duration::from_nanos(answer.map_or(0, |answer| answer.latency)),
            checks,
            extracts: extracts.collect(),
            failure: failure.map(|failure| text(&failure.message(&compiled.check_names))),
        });
    }

    /// Something of the test is not as it looks.
    pub(super) fn note(&self, note: String) {
        self.tell(Seen::Begins(note));
    }

    /// A value was set.
    pub(super) fn set(&self, inputs: &Inputs, value: u32, to: &Value) {
        let name = inputs.value_names.get(value as usize);
        let name = name.cloned().unwrap_or_default();
        let shown = self.redaction(inputs).apply(to.as_str());
        if shown != to.as_str() {
            let made = (to.as_str().to_owned(), format!("[{name}]"));
            let mut known = self.made.lock().unwrap_or_else(PoisonError::into_inner);
            if !known.contains(&made) {
                known.push(made);
            }
        }
        self.tell(Seen::Set { name, value: shown });
    }
}

/// Each check of a request that has ended, and whether it holds. To be asked before values are taken
/// out of its answer. An answer that does not come fulfils none; a redirect that is followed is not
/// judged.
pub(super) fn checks_of(ended: &Ended<'_>, compiled: &Compiled) -> Vec<(String, bool)> {
    let checks = ended.request.checks.iter().filter(|_| !ended.followed);
    let checks = checks.map(|check| {
        let name = compiled.check_names.get(check.index as usize);
        let holds = check.holds(ended.answer, ended.values) == Ok(true);
        (name.cloned().unwrap_or_default(), holds)
    });
    checks.collect()
}

/// An origin as `scheme://host:port`, also of one that only a redirect has named.
pub(super) fn origin_of(worker: &Worker, number: u32) -> String {
    let site = worker.network.site(number);
    site.map(|site| {
        format!(
            "{}://{}",
            site.origin.scheme.name(),
            site.origin.authority()
        )
    })
    .unwrap_or_default()
}

/// Does one iteration of a task, with its user's first and last steps, and the plan's setup and
/// teardown around it. Returns whether every request of the iteration succeeded and every check held.
///
/// # Errors
/// In a sentence, when the plan cannot be carried out, its data are used up, or the setup or teardown
/// failed.
pub fn rehearse(
    plan: &Plan,
    (scenario, task): (&Scenario, &Task),
    kinds: &StepKinds,
    look: impl FnMut(Seen) + Send + 'static,
) -> Result<bool, String> {
    let witness = Arc::new(Witness {
        look: Mutex::new(Box::new(look)),
        made: Mutex::default(),
    });
    let plan = plan_of(plan, scenario, task);
    if !kinds.is_empty() {
        step_kind::contain_panics();
    }
    let prepared = Rehearsal::new(&plan, kinds, &witness).map_err(|error| error.to_string())?;
    prepared.carry_out(
        &plan,
        &witness,
        &format!("{}, {}", scenario.name, task.name),
    )
}

/// The run's plan with one user who does one iteration of one task.
fn plan_of(plan: &Plan, scenario: &Scenario, task: &Task) -> Plan {
    Plan {
        scenarios: vec![Scenario {
            start_after: Duration::ZERO,
            load: Load::PerUserIterations {
                users: 1,
                iterations: 1,
                max_duration: LONGEST,
            },
            tasks: vec![Task {
                weight: 1,
                think_time: None,
                pacing: None,
                ..task.clone()
            }],
            ..scenario.clone()
        }],
        runners: 1,
        warm_up: Duration::ZERO,
        max_duration: LONGEST,
        ..plan.clone()
    }
}

struct Rehearsal {
    compiled: Arc<Compiled>,
    feeders: Arc<Feeders>,
    anchor: WallAnchor,
    set_up: Option<Prepared>,
    tear_down: Option<Prepared>,
}

impl Rehearsal {
    fn new(plan: &Plan, kinds: &StepKinds, witness: &Arc<Witness>) -> Result<Self, SetUpError> {
        let inputs = Inputs::read(plan).map_err(super::compile::CompileError::from)?;
        let inputs = Arc::new(Inputs {
            witness: Some(Arc::clone(witness)),
            ..inputs
        });
        let compiled = Arc::new(Compiled::with_inputs(plan, &inputs, kinds)?);
        let feeders = Arc::new(Feeders::load(plan, Shard::WHOLE)?);
        authorize(plan, &inputs.authorization)?;
        let anchor = WallAnchor::now();
        let prepare = |errand| Prepared::new(errand, plan, &compiled, &feeders, anchor);
        Ok(Self {
            set_up: prepare(Errand::SetUp)?,
            tear_down: prepare(Errand::TearDown)?,
            compiled,
            feeders,
            anchor,
        })
    }

    fn carry_out(self, plan: &Plan, witness: &Witness, what: &str) -> Result<bool, String> {
        let (set_up, tear_down) = (self.set_up, self.tear_down);
        if let Some(values) = do_once(set_up, witness)? {
            let names = plan.inputs.setup_values.iter();
            let values = names.map(|name| values.get(name).cloned().unwrap_or_default());
            self.compiled.inputs.set_setup(values.collect());
        }
        witness.tell(Seen::Begins(what.to_owned()));
        let measured = iterate(&self.compiled, &self.feeders, self.anchor);
        do_once(tear_down, witness)?;
        let measured = measured?;
        if measured.iterations == 0
            && let Some(feeder) = self.feeders.exhausted().first()
        {
            let names = &self.compiled.inputs.feeders;
            let name = names.get(*feeder as usize).map_or("", String::as_str);
            return Err(format!(
                "there was no row of {name} left for the iteration: give it more rows, or onExhausted: Recycle"
            ));
        }
        let whole = measured.iterations == 1 && measured.iterations_failed == 0;
        // A check that was waited for in vain fails no request.
        let held = measured.checks.iter().all(|(_, failed)| *failed == 0);
        Ok(whole && held && measured.total.failures == 0)
    }
}

/// Does the setup or teardown, if there is one; returns the values that it left.
fn do_once(
    prepared: Option<Prepared>,
    witness: &Witness,
) -> Result<Option<BTreeMap<String, String>>, String> {
    let Some(prepared) = prepared else {
        return Ok(None);
    };
    witness.tell(Seen::Begins(prepared.name().to_owned()));
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let mut under_way = prepared.begin().map_err(|error| error.to_string())?;
    runtime.block_on(under_way.ended()).map(Some)
}

/// The iteration, on this thread.
pub(super) fn iterate(
    compiled: &Arc<Compiled>,
    feeders: &Arc<Feeders>,
    anchor: WallAnchor,
) -> Result<SeriesSet, String> {
    let (_commands, watched) = watch::channel(Command::Start(clock::now()));
    let (outbox, mut messages) = mpsc::channel(MESSAGES);
    let (_, spares) = std_mpsc::channel();
    let assignment = Assignment {
        compiled: Arc::clone(compiled),
        feeders: Arc::clone(feeders),
        left: None,
        runner: Shard::WHOLE,
        worker: 0,
        workers: 1,
        anchor,
        raw: RawLane::None,
        commands: watched,
        outbox,
        spares,
    };
    worker::run(assignment).map_err(|error| format!("the iteration could not be done: {error}"))?;
    let mut measured = SeriesSet::default();
    while let Ok(message) = messages.try_recv() {
        if let FromWorker::Window(window) = message {
            measured.merge(&window.set);
        }
    }
    Ok(measured)
}
