//! The life of a `LoadTest`: is a run due, and what did the last one come to?

mod decide;

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{
    ResourceExt,
    api::{ObjectMeta, Patch, PostParams},
    core::DynamicObject,
    runtime::{controller::Action, events::EventType},
};
use loadtest_crds::{
    LoadTestRunStatus, LoadTestSpec, LoadTestStatus, Problem, Stage, accept, run_key_of,
    status::{self, LastRunFacts, Next, TestFacts},
};
use serde_json::{Map, Value, json};

use self::decide::{Decision, Facts, RunFact};
use crate::{clock, context::Context, error::Error, names, objects};

/// Fields of a `LoadTest`'s spec that are not part of what a run does.
const OWN_FIELDS: [&str; 3] = ["start", "runToken", "suspend"];

/// What a reconcile knows of a test.
#[derive(Debug)]
struct Observed {
    /// Why the spec is refused.
    problems: Vec<Problem>,
    /// The user's own JSON.
    spec: Value,
    /// The status that was written last.
    status: Option<LoadTestStatus>,
    /// Its last run.
    last: Option<(RunFact, Arc<DynamicObject>)>,
    facts: Facts,
}

/// Brings one test a step further.
///
/// # Errors
/// When the step could not be made; it is tried again.
pub async fn reconcile(object: Arc<DynamicObject>, ctx: Arc<Context>) -> Result<Action, Error> {
    let observed = observe(&ctx, &object);
    let Decision {
        create,
        note_key,
        next,
    } = decide::decide(&observed.facts);
    if let Some(number) = create {
        create_run(&ctx, &object, &observed, number).await?;
    }
    if let Some(key) = note_key {
        note(&ctx, &object, &key).await?;
    }
    if !observed.facts.deleting {
        report(&ctx, &object, &observed, next).await?;
    }
    Ok(Action::await_change())
}

fn observe(ctx: &Context, object: &DynamicObject) -> Observed {
    let spec = object.data.get("spec").cloned().unwrap_or_default();
    let (parsed, problems) = match objects::part::<LoadTestSpec>(object, "spec") {
        Ok(Some(parsed)) => {
            let problems = accept(&parsed.test, "spec").err().unwrap_or_default();
            (Some(parsed), problems)
        }
        Ok(None) => (None, vec![unreadable("there is none")]),
        Err(error) => (None, vec![unreadable(&error.to_string())]),
    };
    let status = objects::part::<LoadTestStatus>(object, "status").unwrap_or_default();
    let name = object.name_any();
    let uid = object.uid().unwrap_or_default();
    let siblings = ctx.runs.state_filter(|run| {
        run.metadata.namespace == object.metadata.namespace
            && names::number(&name, &run.name_any()).is_some()
    });
    let number = |run: &DynamicObject| names::number(&name, &run.name_any()).unwrap_or_default();
    let noted = status
        .as_ref()
        .and_then(|status| Some(status.last_run.as_ref()?.number));
    let highest = siblings
        .iter()
        .map(|run| number(run))
        .chain(noted)
        .max()
        .unwrap_or(0);
    let mut runs: Vec<_> = siblings
        .into_iter()
        .filter(|run| objects::owner(run, &ctx.kinds.test.kind).is_some_and(|(_, of)| of == uid))
        .map(|run| (run_fact(&run, number(&run)), run))
        .collect();
    runs.sort_by_key(|(fact, _)| fact.number);
    let facts = Facts {
        deleting: object.metadata.deletion_timestamp.is_some(),
        refused: !problems.is_empty(),
        start: parsed
            .as_ref()
            .and_then(|spec| spec.start)
            .unwrap_or_default(),
        suspend: parsed
            .as_ref()
            .and_then(|spec| spec.suspend)
            .unwrap_or(false),
        generation: object.metadata.generation.unwrap_or_default(),
        run_key: run_key_of(&spec),
        last_run_key: object.annotations().get(names::LAST_RUN_KEY).cloned(),
        runs: runs.iter().map(|(fact, _)| fact.clone()).collect(),
        highest,
    };
    Observed {
        problems,
        spec,
        status,
        last: runs.pop(),
        facts,
    }
}

fn unreadable(problem: &str) -> Problem {
    let message = format!("cannot be read by this version of the operator: {problem}");
    Problem::new(Stage::Acceptance, "spec", message)
}

fn run_fact(run: &DynamicObject, number: i64) -> RunFact {
    let annotation = |name: &str| run.annotations().get(name);
    RunFact {
        number,
        run_key: annotation(names::RUN_KEY).cloned().unwrap_or_default(),
        generation: annotation(names::TEST_GENERATION)
            .and_then(|text| text.parse().ok())
            .unwrap_or_default(),
        finished: objects::is_finished(run),
    }
}

/// Creates a run. Its name follows from its number, so a second try finds the first one's work.
async fn create_run(
    ctx: &Context,
    test: &DynamicObject,
    observed: &Observed,
    number: i64,
) -> Result<(), Error> {
    let namespace = test.namespace().unwrap_or_default();
    let run = run_object(ctx, test, observed, number);
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
        Err(error) => Err(Error::api("create a run")(error)),
    }
}

fn run_object(
    ctx: &Context,
    test: &DynamicObject,
    observed: &Observed,
    number: i64,
) -> DynamicObject {
    let snapshot: Map<String, Value> = observed
        .spec
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(field, _)| !OWN_FIELDS.contains(&field.as_str()))
        .map(|(field, value)| (field.clone(), value.clone()))
        .collect();
    let (name, facts) = (test.name_any(), &observed.facts);
    let texts = |pairs: [(&str, String); 2]| {
        Some(
            pairs
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value))
                .collect(),
        )
    };
    let metadata = ObjectMeta {
        name: Some(names::run(&name, number)),
        namespace: test.namespace(),
        labels: texts([
            (names::TEST_LABEL, name.clone()),
            (names::MANAGED_BY_LABEL, names::MANAGER.to_owned()),
        ]),
        annotations: texts([
            (names::RUN_KEY, facts.run_key.clone()),
            (names::TEST_GENERATION, facts.generation.to_string()),
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

/// Writes the key of the last run where it survives the run.
async fn note(ctx: &Context, test: &DynamicObject, key: &str) -> Result<(), Error> {
    let body = body(
        ctx,
        test,
        &json!({"annotations": {names::LAST_RUN_KEY: key}}),
        None,
    );
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
) -> Result<(), Error> {
    let last = observed.last.as_ref().map(|(fact, run)| {
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
        previous: observed
            .status
            .as_ref()
            .map(|status| status.result.conditions.as_slice())
            .unwrap_or_default(),
        now: status::time_of(clock::now()),
    };
    let status = status::load_test_status(&facts);
    if observed.status.as_ref() == Some(&status) {
        return Ok(());
    }
    let news = !observed.problems.is_empty()
        && observed
            .status
            .as_ref()
            .and_then(|before| before.result.message.as_ref())
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
    if news {
        let about = objects::reference(test, &ctx.kinds.test);
        let note = status::refusal(&observed.problems);
        ctx.event(&about, EventType::Warning, "InvalidSpec", &note, "Validate")
            .await;
    }
    Ok(())
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
