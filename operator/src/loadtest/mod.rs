//! The life of a `LoadTest`: is a run due, and what did the last one come to?

mod cleaning;
mod decide;
mod refusal;
mod upkeep;

#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::OwnerReference, jiff::Timestamp};
use kube::{
    ResourceExt,
    api::{ObjectMeta, Patch, PostParams},
    core::DynamicObject,
    runtime::{controller::Action, events::EventType},
};
use loadtest_core::{
    report::{UnixMicros, micros},
    scalar::parse_duration,
    verdict::Verdict,
};
use loadtest_crds::{
    LoadTestRunStatus, LoadTestSpec, LoadTestStatus, Problem, Stage,
    baseline::LAST_PASSED,
    names::NOT_RUN_RELEVANT,
    run_key_of,
    schedule::{self, Times},
    spec::{Cleanup, Schedule, Start},
    status::{self, LastRunFacts, Next, TestFacts},
};
use serde_json::{Map, Value, json};

use self::{
    cleaning::{cancel_run, clean, is_pod_of},
    decide::{Create, Decision, Facts, RunFact, RunNote, ScheduleFact},
    refusal::Refusal,
    upkeep::Upkeep,
};
use crate::{
    clock,
    context::Context,
    error::{Error, is_namespace_ending},
    names, objects,
};

/// Field of a `LoadTest`'s spec that asks for another run and is not part of what a run does.
const RUN_TOKEN: &str = "runToken";

/// What a reconcile knows of a test.
#[derive(Debug)]
struct Observed {
    /// Why the spec is refused.
    problems: Vec<Problem>,
    /// The user's own JSON.
    spec: Value,
    /// The status that was written last.
    status: Option<LoadTestStatus>,
    /// Its runs, the last one last.
    runs: Vec<Arc<DynamicObject>>,
    facts: Facts,
    /// `spec.cleanup`.
    cleanup: Option<Cleanup>,
    /// `spec.baseline.run`.
    baseline: Option<String>,
    /// When the schedule starts the next run.
    next_schedule: Option<UnixMicros>,
    now: UnixMicros,
}

impl Observed {
    /// Number of the run that the next one is compared with.
    fn baseline(&self) -> Option<i64> {
        let wanted = self.baseline.as_deref()?;
        if wanted != LAST_PASSED {
            let mut runs = self.facts.runs.iter().zip(&self.runs);
            let named = runs.find(|(_, run)| run.name_any() == wanted);
            return named.map(|(fact, _)| fact.number);
        }
        let passed = self.facts.runs.iter().filter(|run| run.passed);
        let last = passed.max_by_key(|run| (run.completed, run.number));
        last.map(|run| run.number)
    }
}

/// Brings one test a step further.
///
/// # Errors
/// When the step could not be made; it is tried again.
pub async fn reconcile(object: Arc<DynamicObject>, ctx: Arc<Context>) -> Result<Action, Error> {
    let observed = observe(&ctx, &object);
    let Decision {
        create,
        cancel,
        note_run,
        note_scheduled,
        next,
    } = decide::decide(&observed.facts);
    for number in cancel {
        cancel_run(&ctx, &object, number).await?;
    }
    let made = match create {
        Some(create) => create_run(&ctx, &object, &observed, create).await,
        None => Ok(()),
    };
    // Of a run that is refused the test tells, and its other runs are kept in order all the same.
    let (refusal, made) = match made {
        Ok(()) => (None, Ok(())),
        Err(error) => match Refusal::of(&error) {
            Some(refusal) => (Some(refusal), Err(error)),
            None => return Err(error),
        },
    };
    if note_run.is_some() || note_scheduled.is_some() {
        note(&ctx, &object, &observed, note_run, note_scheduled).await?;
    }
    if observed.facts.deleting {
        return Ok(Action::await_change());
    }
    report(&ctx, &object, &observed, next, refusal).await?;
    let upkeep = upkeep::upkeep(
        observed.cleanup.as_ref(),
        observed.baseline(),
        &observed.facts.runs,
        observed.now,
    );
    clean(&ctx, &object, &observed, &upkeep).await?;
    made?;
    Ok(wake(&observed, &upkeep))
}

/// Looks again when the schedule or the upkeep wants to.
fn wake(observed: &Observed, upkeep: &Upkeep) -> Action {
    let times = [observed.next_schedule, upkeep.next];
    match times.into_iter().flatten().min() {
        Some(at) => {
            let wait = u64::try_from(at - observed.now).unwrap_or(0);
            // Not a moment before its time.
            Action::requeue(Duration::from_micros(wait) + Duration::from_millis(1))
        }
        None => Action::await_change(),
    }
}

fn observe(ctx: &Context, object: &DynamicObject) -> Observed {
    let spec = object.data.get("spec").cloned().unwrap_or_default();
    let (parsed, problems) = match objects::part::<LoadTestSpec>(object, "spec") {
        Ok(Some(parsed)) => {
            let mut problems = schedule::accept(&parsed).err().unwrap_or_default();
            if problems.is_empty() {
                let namespace = object.namespace().unwrap_or_default();
                problems = ctx.settings.rails.check(&namespace, &parsed.test, "spec");
            }
            (Some(parsed), problems)
        }
        Ok(None) => (None, vec![unreadable("there is none")]),
        Err(error) => (None, vec![unreadable(&error.to_string())]),
    };
    let status = objects::part::<LoadTestStatus>(object, "status").unwrap_or_default();
    let name = object.name_any();
    let uid = object.uid().unwrap_or_default();
    let runs = ctx.runs.state_filter(|run| {
        run.metadata.namespace == object.metadata.namespace
            && objects::owner(run, &ctx.kinds.test.kind).is_some_and(|(_, of)| of == uid)
    });
    let numbered = |run: Arc<DynamicObject>| Some((run_fact(ctx, &run, number(&name, &run)?), run));
    let mut runs: Vec<_> = runs.into_iter().filter_map(numbered).collect();
    runs.sort_by_key(|(fact, _)| fact.number);
    let noted = status
        .as_ref()
        .and_then(|status| Some(status.last_run.as_ref()?.number));
    let number = |text: &String| text.parse().ok();
    let last_run_number = object
        .annotations()
        .get(names::LAST_RUN_NUMBER)
        .and_then(number);
    let known_number = noted.max(last_run_number);
    let last = runs.last().map(|(fact, _)| fact.number).max(known_number);
    let next_number = names::next_number(&name, last.unwrap_or_default(), |name| {
        let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
        ctx.runs.get(&ctx.kinds.run_ref(name, namespace)).is_some()
    });
    let now = clock::now();
    let schedule = parsed.as_ref().and_then(|spec| spec.schedule.as_ref());
    let times = schedule.and_then(|schedule| Times::parse(schedule).ok());
    let suspend = parsed.as_ref().and_then(|spec| spec.suspend) == Some(true);
    let facts = Facts {
        deleting: object.metadata.deletion_timestamp.is_some(),
        refused: !problems.is_empty(),
        start: parsed
            .as_ref()
            .and_then(|spec| spec.start)
            .unwrap_or(if schedule.is_some() {
                Start::Manual
            } else {
                Start::OnApply
            }),
        suspend,
        generation: object.metadata.generation.unwrap_or_default(),
        run_key: run_key_of(&spec),
        last_run_key: object.annotations().get(names::LAST_RUN_KEY).cloned(),
        last_run_number,
        known_number,
        schedule: schedule
            .zip(times.as_ref())
            .map(|(schedule, times)| schedule_fact(object, schedule, times, &runs, now)),
        runs: runs.iter().map(|(fact, _)| fact.clone()).collect(),
        next_number,
    };
    Observed {
        problems,
        spec,
        status,
        runs: runs.into_iter().map(|(_, run)| run).collect(),
        facts,
        baseline: parsed
            .as_ref()
            .and_then(|spec| Some(spec.baseline.as_ref()?.run.to_string())),
        cleanup: parsed.and_then(|spec| spec.cleanup),
        next_schedule: times
            .filter(|_| !suspend)
            .and_then(|times| times.next_after(now)),
        now,
    }
}

/// What the schedule asks for, by the runs that it had and the annotation that outlives them.
fn schedule_fact(
    test: &DynamicObject,
    schedule: &Schedule,
    times: &Times,
    runs: &[(RunFact, Arc<DynamicObject>)],
    now: UnixMicros,
) -> ScheduleFact {
    let noted = scheduled_at(test);
    let created = test
        .creation_timestamp()
        .map(|time| time.0.as_microsecond());
    let known = runs.iter().filter_map(|(run, _)| run.scheduled);
    let last = known.chain(noted).chain(created).max().unwrap_or(now);
    let deadline = schedule
        .starting_deadline
        .as_deref()
        .and_then(|text| parse_duration(text).ok())
        .map_or(UnixMicros::MAX, micros);
    ScheduleFact {
        due: times
            .last_until(now)
            .filter(|due| *due > last && now - due <= deadline),
        policy: schedule.concurrency_policy.unwrap_or_default(),
        noted,
    }
}

/// The number of a run that the operator made from a test, which its name has, too. A name alone says
/// nothing: whoever makes a run by hand calls it what they like.
fn number(test: &str, run: &DynamicObject) -> Option<i64> {
    let number = run.data.pointer("/spec/number")?.as_i64()?;
    (names::run(test, number) == run.name_any()).then_some(number)
}

fn scheduled_at(object: &DynamicObject) -> Option<UnixMicros> {
    object.annotations().get(names::SCHEDULED)?.parse().ok()
}

fn unreadable(problem: &str) -> Problem {
    let message = format!("cannot be read by this version of the operator: {problem}");
    Problem::new(Stage::Acceptance, "spec", message)
}

fn run_fact(ctx: &Context, run: &DynamicObject, number: i64) -> RunFact {
    let annotation = |name: &str| run.annotations().get(name);
    let (name, namespace) = (run.name_any(), run.namespace());
    let verdict = run.data.pointer("/status/verdict").and_then(Value::as_str);
    let completed = run.data.pointer("/status/run/completionTime");
    let completed = completed.and_then(|time| time.as_str()?.parse::<Timestamp>().ok());
    RunFact {
        number,
        run_key: annotation(names::RUN_KEY).cloned().unwrap_or_default(),
        generation: annotation(names::TEST_GENERATION)
            .and_then(|text| text.parse().ok())
            .unwrap_or_default(),
        finished: objects::is_finished(run),
        scheduled: scheduled_at(run),
        passed: verdict == Some(Verdict::Passed.name()),
        completed: completed.map(Timestamp::as_microsecond),
        has_pods: ctx
            .pods
            .find(|pod| is_pod_of(pod, &name, namespace.as_deref()))
            .is_some(),
    }
}

/// Creates a run. Its name follows from its number, so a second try finds the first one's work.
async fn create_run(
    ctx: &Context,
    test: &DynamicObject,
    observed: &Observed,
    create: Create,
) -> Result<(), Error> {
    let namespace = test.namespace().unwrap_or_default();
    let run = run_object(ctx, test, observed, create);
    let name = run.name_any();
    let post = PostParams {
        dry_run: false,
        field_manager: Some(names::MANAGER.to_owned()),
    };
    match ctx
        .kinds
        .runs(ctx.writer()?, &namespace)
        .create(&post, &run)
        .await
    {
        Ok(_) => {
            let about = objects::reference(test, &ctx.kinds.test);
            let note = format!("created LoadTestRun {name}");
            ctx.event(&about, EventType::Normal, "RunCreated", &note, "Create")
                .await;
            Ok(())
        }
        // Made a moment ago, before the watch showed it; or somebody else's, which the watch will
        // show as well, and then the next number is taken.
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        // Nothing will ever be made here again; the test goes with its namespace.
        Err(error) if is_namespace_ending(&error) => Ok(()),
        Err(error) => Err(Error::api("create a run")(error)),
    }
}

fn run_object(
    ctx: &Context,
    test: &DynamicObject,
    observed: &Observed,
    create: Create,
) -> DynamicObject {
    let number = create.number;
    let snapshot: Map<String, Value> = observed
        .spec
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(field, _)| *field != RUN_TOKEN && !NOT_RUN_RELEVANT.contains(&field.as_str()))
        .map(|(field, value)| (field.clone(), value.clone()))
        .collect();
    let (name, facts) = (test.name_any(), &observed.facts);
    let texts = |pairs: &[(&str, Option<String>)]| {
        let set = |(key, value): &(&str, Option<String>)| Some(((*key).to_owned(), value.clone()?));
        Some(pairs.iter().filter_map(set).collect())
    };
    let metadata = ObjectMeta {
        name: Some(names::run(&name, number)),
        namespace: test.namespace(),
        labels: texts(&[
            (names::TEST_LABEL, Some(name.clone())),
            (names::MANAGED_BY_LABEL, Some(names::MANAGER.to_owned())),
        ]),
        annotations: texts(&[
            (names::RUN_KEY, Some(facts.run_key.clone())),
            (names::TEST_GENERATION, Some(facts.generation.to_string())),
            (names::SCHEDULED, create.scheduled.map(|at| at.to_string())),
        ]),
        owner_references: Some(vec![OwnerReference {
            api_version: ctx.kinds.test.api_version.clone(),
            kind: ctx.kinds.test.kind.clone(),
            name: name.clone(),
            uid: test.uid().unwrap_or_default(),
            controller: Some(true),
            block_owner_deletion: None,
        }]),
        ..ObjectMeta::default()
    };
    let spec = json!({"loadTestRef": {"name": name}, "number": number, "test": snapshot});
    let mut run = DynamicObject::new("", &ctx.kinds.run).data(json!({"spec": spec}));
    run.metadata = metadata;
    run
}

/// Writes what is known of the last run where it survives the run. What is applied is all that this
/// manager owns of the annotations, so all are always there.
async fn note(
    ctx: &Context,
    test: &DynamicObject,
    observed: &Observed,
    run: Option<RunNote>,
    scheduled: Option<UnixMicros>,
) -> Result<(), Error> {
    let facts = &observed.facts;
    let (key, number) = match run {
        Some(RunNote { key, number }) => (Some(key), Some(number)),
        None => (facts.last_run_key.clone(), facts.last_run_number),
    };
    let mut annotations = Map::new();
    if let Some(key) = key {
        annotations.insert(names::LAST_RUN_KEY.to_owned(), json!(key));
    }
    if let Some(number) = number {
        annotations.insert(names::LAST_RUN_NUMBER.to_owned(), json!(number.to_string()));
    }
    if let Some(at) = scheduled.or_else(|| scheduled_at(test)) {
        annotations.insert(names::SCHEDULED.to_owned(), json!(at.to_string()));
    }
    let body = body(ctx, test, &json!({"annotations": annotations}), None);
    let tests = ctx
        .kinds
        .tests(ctx.writer()?, &test.namespace().unwrap_or_default());
    let result = tests
        .patch(&test.name_any(), &Context::apply(), &Patch::Apply(body))
        .await;
    result.map(drop).map_err(Error::api("note the run's key"))
}

async fn report(
    ctx: &Context,
    test: &DynamicObject,
    observed: &Observed,
    next: Next,
    refusal: Option<Refusal>,
) -> Result<(), Error> {
    let before = observed.status.as_ref();
    let mut status = status_of(observed, next);
    if let Some(refusal) = refusal.clone() {
        refusal.tell(&mut status, before);
    }
    if before == Some(&status) {
        return Ok(());
    }
    let news = !observed.problems.is_empty()
        && before.and_then(|before| before.result.message.as_ref())
            != status.result.message.as_ref();
    let value = serde_json::to_value(&status).map_err(|e| Error::broken("the status", e))?;
    let body = body(ctx, test, &json!({}), Some(value));
    let tests = ctx
        .kinds
        .tests(ctx.writer()?, &test.namespace().unwrap_or_default());
    let result = tests
        .patch_status(&test.name_any(), &Context::apply(), &Patch::Apply(body))
        .await;
    result.map_err(Error::api("write the test's status"))?;
    let about = objects::reference(test, &ctx.kinds.test);
    if news {
        let note = status::refusal(&observed.problems);
        ctx.event(&about, EventType::Warning, "InvalidSpec", &note, "Validate")
            .await;
    }
    if let Some(refusal) = refusal.filter(|refusal| refusal.told(before).is_none()) {
        let Refusal { reason, message } = refusal;
        ctx.event(&about, EventType::Warning, reason, &message, "Create")
            .await;
    }
    Ok(())
}

fn status_of(observed: &Observed, next: Next) -> LoadTestStatus {
    let last = observed.facts.runs.last().zip(observed.runs.last());
    let last = last.map(|(fact, run)| {
        let status = objects::part::<LoadTestRunStatus>(run, "status").unwrap_or_default();
        (fact, run.name_any(), status)
    });
    let facts = TestFacts {
        generation: observed.facts.generation,
        problems: &observed.problems,
        last: last.as_ref().map(|(fact, name, status)| LastRunFacts {
            name,
            number: fact.number,
            run_key: &fact.run_key,
            generation: fact.generation,
            status: status.as_ref(),
        }),
        next,
        next_schedule: observed.next_schedule.map(status::time_of),
        previous: observed
            .status
            .as_ref()
            .map(|status| status.result.conditions.as_slice())
            .unwrap_or_default(),
        now: status::time_of(clock::now()),
    };
    status::load_test_status(&facts)
}

fn body(ctx: &Context, test: &DynamicObject, metadata: &Value, status: Option<Value>) -> Value {
    objects::applied(
        &ctx.kinds.test,
        &test.name_any(),
        &test.uid().unwrap_or_default(),
        metadata,
        status,
    )
}
