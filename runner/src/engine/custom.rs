//! Steps of step kinds: handed over to the threads of their own, recorded as requests are.
//!
//! A user waits for its step as for an answer: until it has ended, runs out of time, or the run is
//! over. What wakes it is the same waker that sockets wake.

use std::{cell::OnceCell, future::poll_fn, pin::Pin, rc::Rc, sync::Arc, task::Poll};

use loadtest_core::{
    plan::{Connections, Custom, Plan, Request, Scenario},
    series::Outcome,
    template::Template,
};
use reqwest::header::HeaderMap;
use tokio::task::{JoinError, JoinHandle};

use super::{
    compile::{CompileError, CompiledRequest, StatusSet, compile_request},
    connection::MAX_BODY_BYTES,
    failure::Failure,
    flow::{Then, Went},
    message::Values,
    meter::Ended,
    redaction::{Redaction, cut},
    rehearsal::checks_of,
    samples::{self, URL_BYTES},
    scenario::Phase,
    script::{Answer, Compiler, Headers, Text, Value},
    timers::Timers,
    times::Times,
    user::{REST_AFTER_FAILED_CONNECT, User},
};
use crate::{
    clock::{self, Nanos},
    pool::StepUrls,
    step_kind::{
        Done, Failed, Given, Kind, Known, Marks, Order, Reply, Session, Step, StepKinds, Threads,
        said,
    },
};

/// Where an image's name is put by whoever starts it.
const IMAGE: &str = "LOADTEST_IMAGE";

/// A step of a step kind.
pub struct CompiledCustom {
    kind: Arc<dyn Kind>,
    /// What the manifest calls it, and the step.
    names: (String, String),
    /// Number of the kind.
    number: u32,
    threads: Arc<Threads>,
    with: Box<[(String, Text)]>,
    sets: Arc<[(String, u32)]>,
    /// As what it is recorded. Its message is never sent.
    request: CompiledRequest,
}

/// Why a step of a step kind cannot be done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CustomError {
    /// The runner was built without it.
    #[error(
        "{place} of scenario {scenario:?} has a step of the kind {kind:?}, which {image} does not know: it knows {known}. Use a runner that has it: spec.runners.template names the image in a cluster, --runner-binary the file on this machine"
    )]
    Unknown {
        /// Which scenario.
        scenario: String,
        /// The task or flow.
        place: String,
        /// The kind.
        kind: String,
        /// What was started.
        image: String,
        /// The kinds that there are.
        known: String,
    },
    /// The kind does not take it.
    #[error(
        "{place} of scenario {scenario:?}: the step of the kind {kind:?} is refused: {problem}"
    )]
    Refused {
        /// Which scenario.
        scenario: String,
        /// The task or flow.
        place: String,
        /// The kind.
        kind: String,
        /// What is wrong.
        problem: String,
    },
    /// The system has no threads for it.
    #[error("there are no threads for step kinds: {0}")]
    Threads(String),
}

impl std::fmt::Debug for CompiledCustom {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CompiledCustom")
            .field("with", &self.with)
            .field("request", &self.request)
            .finish_non_exhaustive()
    }
}

impl CompiledCustom {
    /// Makes a step ready, which stands in the task or flow `place`.
    ///
    /// # Errors
    /// [`CustomError`] when the runner does not know the kind, or the kind refuses the step.
    pub fn new(
        plan: &Plan,
        (scenario, place): (&Scenario, &str),
        custom: &Custom,
        (script, kinds): (&Compiler<'_>, &StepKinds),
        timeouts: &mut Vec<Nanos>,
    ) -> Result<Self, CompileError> {
        let Known {
            kind,
            number,
            threads,
        } = known(scenario, place, custom, kinds)?;
        let with = custom.with.iter().map(|(name, template)| {
            let text = Text::compile(template, script);
            text.map(|text| (name.clone(), text))
                .map_err(|problem| CompileError::Script {
                    request: super::message::name_of(plan, &custom.request),
                    problem,
                })
        });
        let values = &plan.inputs.values;
        let sets = custom.sets.iter().filter_map(|number| {
            let value = values.get(*number as usize)?;
            Some((value.name.clone(), *number))
        });
        // There is nothing to be sent; the line that it would begin with is well-formed.
        let request = Request {
            path: Template::literal("/"),
            ..custom.request.clone()
        };
        let request = compile_request(plan, scenario, &request, script, timeouts)?;
        Ok(Self {
            kind,
            names: (
                custom.kind.clone(),
                super::message::name_of(plan, &custom.request),
            ),
            number,
            threads,
            with: with.collect::<Result<_, CompileError>>()?,
            sets: sets.collect(),
            request: CompiledRequest {
                // The kind decides what a success is, and may have no status at all.
                success: StatusSet::ANY,
                ..request
            },
        })
    }
}

fn known(
    scenario: &Scenario,
    place: &str,
    custom: &Custom,
    kinds: &StepKinds,
) -> Result<Known, CustomError> {
    let (name, place) = (scenario.name.clone(), place.to_owned());
    let found = kinds.find(&custom.kind);
    let found = found.map_err(|error| CustomError::Threads(error.to_string()))?;
    let Some(known) = found else {
        return Err(CustomError::Unknown {
            scenario: name,
            place,
            kind: custom.kind.clone(),
            image: image(),
            known: match kinds.names().collect::<Vec<_>>().join(", ") {
                none if none.is_empty() => "none".to_owned(),
                names => names,
            },
        });
    };
    match known.kind.check(&Given::planned(&custom.with)) {
        Ok(()) => Ok(known),
        Err(problem) => Err(CustomError::Refused {
            scenario: name,
            place,
            kind: custom.kind.clone(),
            problem,
        }),
    }
}

/// Where the steps of step kinds of a plan go, as their documents have it.
///
/// # Errors
/// When the system has no threads for step kinds.
pub fn urls(plan: &Plan, kinds: &StepKinds) -> Result<StepUrls, CompileError> {
    let mut urls = StepUrls::new();
    for custom in plan.customs() {
        let known = kinds.find(&custom.kind);
        let known = known.map_err(|error| CustomError::Threads(error.to_string()))?;
        let url = known.and_then(|known| known.kind.url(&Given::planned(&custom.with)));
        let url = url.map(|url| cut(&url, URL_BYTES).to_owned());
        urls.insert(custom.request.step, url);
    }
    Ok(urls)
}

/// What people know the runner by: its image, or else its file.
fn image() -> String {
    match std::env::var(IMAGE) {
        Ok(image) if !image.is_empty() => format!("the image {image}"),
        _ => std::env::current_exe().map_or_else(
            |_| "this runner".to_owned(),
            |file| format!("the runner {}", file.display()),
        ),
    }
}

/// How a step went.
struct Came {
    result: Result<Reply, Failure>,
    set: Vec<(u32, String)>,
    end: Nanos,
}

impl User {
    /// Does a step of a step kind.
    pub(super) async fn custom(&mut self, custom: &CompiledCustom, due: Nanos) -> Went {
        let worker = Rc::clone(&self.worker);
        let mut times = Times {
            intended: due,
            turned: clock::now(),
            ..Times::default()
        };
        worker.set_deadline(&self.seat, &custom.request, times.turned);
        let sequence = self.lead.requests.get();
        self.lead.requests.set(sequence.wrapping_add(1));
        let marks = Arc::new(Marks::default());
        let came = self.carry_out(custom, sequence, &times, &marks).await;
        worker.clear_deadline(&self.seat);
        times.take(&marks, came.end);
        if marks.connected().is_some() {
            worker
                .meter
                .count(came.end, due, |set| set.connections += 1);
        }
        for (value, text) in came.set {
            self.remember(value, Value::text(&text));
        }
        let (reply, failure) = match came.result {
            Ok(reply) => (reply, None),
            Err(failure) => (Reply::default(), Some(failure)),
        };
        self.conclude(custom, sequence, times, &reply, failure, &marks)
            .await
    }

    /// Records a step that has ended.
    async fn conclude(
        &mut self,
        custom: &CompiledCustom,
        sequence: u32,
        times: Times,
        reply: &Reply,
        failure: Option<Failure>,
        marks: &Marks,
    ) -> Went {
        let rest = self.scenario.closed().is_some()
            && failure.as_ref().is_some_and(Failure::before_connection);
        if let Some(memory) = &self.memory {
            memory.borrow_mut().status = reply.status;
        }
        let headers = HeaderMap::new();
        let answer = Answer {
            status: reply.status,
            body: (reply.body.len() <= MAX_BODY_BYTES).then_some(reply.body.as_slice()),
            headers: Headers::General(&headers),
            latency: times.end.saturating_sub(times.intended),
            json: OnceCell::new(),
        };
        let values = self.values_of(custom, sequence);
        let (bytes_sent, bytes_received) = marks.bytes();
        let ended = Ended {
            request: &custom.request,
            times,
            user: self.index,
            iteration: self.iteration,
            status: reply.status,
            answer: &answer,
            values: &values,
            unjudged: None,
            bytes_sent,
            bytes_received,
            reused: marks.connected().is_none(),
            followed: false,
            failure,
        };
        let witness = self.worker.shared.inputs.witness.as_ref();
        let checks = witness.map(|_| checks_of(&ended, &self.worker.compiled));
        let recorded = self.worker.meter.record(&ended);
        if let Some(wanted) = recorded.wanted {
            let step = (&values, custom.request.series);
            let sample = samples::take_of_step(step, marks.url(), reply, *wanted);
            self.worker.meter.keep_sample(sample);
        }
        if let (Some(witness), Some(checks)) = (witness, checks) {
            witness.step_ended(&ended, checks, &self.worker.compiled);
        }
        let failed = recorded.outcome != Outcome::Ok;
        self.failed = self.failed.wrapping_add(u32::from(failed));
        let mut due = times.end;
        if failed && self.worker.is_errand() {
            let then = Then::EndIteration;
            return Went { due, then };
        }
        if rest {
            due = Timers::grid(due + REST_AFTER_FAILED_CONNECT);
            self.wait_until(due, Phase::Stopping).await;
            due = due.min(clock::now());
        }
        Went::on(due)
    }

    /// Has the step done elsewhere and waits for it.
    async fn carry_out(
        &mut self,
        custom: &CompiledCustom,
        sequence: u32,
        times: &Times,
        marks: &Arc<Marks>,
    ) -> Came {
        let order = match self.order(custom, sequence, times.turned) {
            Ok(order) => order,
            Err(failure) => return Came::not(failure),
        };
        let session = self.connection.take_session(custom.number);
        let step = Step::new(order, Arc::clone(marks));
        let kind = Arc::clone(&custom.kind);
        let session = session.and_then(Session::take);
        let Some(mut under_way) = custom.threads.begin(kind, session, step) else {
            return Came::not(Failure::ABORTED);
        };
        let done = self.wait_for(&mut under_way).await;
        let Some(done) = done else {
            under_way.abort();
            let timed_out = self.seat.timed_out.get();
            return Came::not(if timed_out {
                Failure::timeout(Outcome::Timeout, self.worker.timeout(&custom.request))
            } else {
                Failure::ABORTED
            });
        };
        let done = match done {
            Ok(done) => done,
            Err(error) => return Came::not(self.panicked(error)),
        };
        if let Some(kept) = done.session
            && self.keeps_sessions()
        {
            let session = Session::new(kept, &custom.threads);
            self.connection.keep_session(custom.number, session);
        }
        Came {
            result: self.accept(done.result),
            set: done.set,
            end: done.end,
        }
    }

    /// What the step is told.
    fn order(&self, custom: &CompiledCustom, sequence: u32, now: Nanos) -> Result<Order, Failure> {
        let values = self.values_of(custom, sequence);
        let shared = &self.worker.shared;
        // What another text complained about is not this step's.
        drop(shared.take_problem());
        let with = custom.with.iter();
        let with = with.map(|(name, text)| (name.clone(), text.render(&values)));
        let with: Vec<_> = with.collect();
        if let Some(problem) = shared.take_problem() {
            return Err(Failure::said(Outcome::Extract, problem));
        }
        if let Some(witness) = &shared.inputs.witness {
            witness.step_begins(&shared.inputs, &custom.names, &with);
        }
        let mut traceparent = Vec::new();
        values.write_trace(&mut traceparent);
        let known = self.memory.as_deref().map(|memory| {
            let memory = memory.borrow();
            let names = shared.inputs.value_names.iter().zip(0..);
            let known = names.filter_map(|(name, number)| {
                let value = memory.get(number)?;
                Some((name.clone(), value.as_str().to_owned()))
            });
            known.collect()
        });
        Ok(Order {
            with,
            wants_url: self.worker.compiled.samples,
            values: known.unwrap_or_default(),
            sets: Arc::clone(&custom.sets),
            user: self.index,
            iteration: self.iteration,
            run_id: shared.run_id.to_string(),
            traceparent: String::from_utf8(traceparent).unwrap_or_default(),
            deadline: now.saturating_add(self.worker.timeout(&custom.request)),
        })
    }

    /// Waits for a step, its timeout or the end of the run; `None` for those two.
    async fn wait_for(&self, under_way: &mut JoinHandle<Done>) -> Option<Result<Done, JoinError>> {
        poll_fn(|context| {
            self.seat.register(context);
            match Pin::new(&mut *under_way).poll(context) {
                Poll::Ready(done) => Poll::Ready(Some(done)),
                Poll::Pending if self.seat.timed_out.get() || self.is_cut_off() => {
                    Poll::Ready(None)
                }
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }

    fn accept(&self, result: Result<Reply, Failed>) -> Result<Reply, Failure> {
        match result {
            Ok(reply) if reply.status == 0 || (100..600).contains(&reply.status) => Ok(reply),
            Ok(reply) => {
                let message = format!("the status {} is none of 100 to 599", reply.status);
                Err(Failure::said(Outcome::Step, message))
            }
            Err(failed) => Err(self.said(failed.outcome, &failed.message)),
        }
    }

    fn panicked(&self, error: JoinError) -> Failure {
        match error.try_into_panic() {
            Ok(payload) => self.said(Outcome::Panic, said(&*payload)),
            // Only when all of it is about to end.
            Err(_) => Failure::ABORTED,
        }
    }

    /// What foreign code says is told to many: a secret that it was given is not.
    fn said(&self, outcome: Outcome, message: &str) -> Failure {
        let redaction = Redaction::of(&self.worker.shared.inputs);
        Failure::said(outcome, redaction.apply(message))
    }

    fn keeps_sessions(&self) -> bool {
        let scenario = self.worker.compiled.scenarios.get(self.scenario.index);
        scenario.is_some_and(|scenario| scenario.connections != Connections::PerRequest)
    }

    fn values_of(&self, custom: &CompiledCustom, sequence: u32) -> Values<'_> {
        Values {
            step: custom.request.step,
            sequence,
            ..self.values()
        }
    }
}

impl Came {
    /// It did not come to an end, or not even to a beginning.
    fn not(failure: Failure) -> Self {
        Self {
            result: Err(failure),
            set: Vec::new(),
            end: clock::now(),
        }
    }
}

impl Times {
    /// What a step said of itself, in an order that cannot be another.
    fn take(&mut self, marks: &Marks, end: Nanos) {
        self.end = end.max(self.turned);
        let (written, first_byte) = marks.exchange();
        let within = |at: Nanos, from: Nanos| at.clamp(from, self.end.max(from));
        self.sent = within(marks.connected().unwrap_or(self.turned), self.turned);
        self.first_byte = match first_byte {
            0 => self.end,
            at => within(at, self.sent),
        };
        self.written = match written {
            0 => self.sent,
            at => within(at, self.sent).min(self.first_byte),
        };
    }
}

#[cfg(test)]
mod tests;
