//! What is written about a run: its start, its judgement, its status and its events, each durable
//! before the coordinator is told so.

use k8s_openapi::api::core::v1::{ConfigMap, ObjectReference};
use kube::{Api, Resource, api::Patch, runtime::events::EventType};
use loadtest_core::{
    coordinator::EarlyEnd,
    plan::RunIdentity,
    report::UnixMicros,
    verdict::{Judgement, Verdict},
    view::{Phase, RunView},
};
use loadtest_crds::{
    LoadTestRun, LoadTestRunStatus, Problem,
    status::{self, Facts},
};
use serde_json::{Value, json};

use super::{
    baseline, children,
    observe::{self, Observed, Run},
};
use crate::{
    clock,
    context::Context,
    coordination::Active,
    error::{Error, is_namespace_ending, refusal},
    metrics::VerdictLabel,
    names, objects,
};

/// Writes everything that the coordinator waits for, and the status.
///
/// # Errors
/// When something cannot be written; the coordinator then goes on waiting.
pub async fn report(ctx: &Context, observed: &Observed, active: &Active) -> Result<(), Error> {
    let run = &observed.run;
    if let Some(start) = active.proposed_start() {
        write_course(ctx, run, start, None).await?;
        if active.confirm_start() {
            started(ctx, run, active, start).await;
        }
    }
    if let Some((start, end)) = active.unconfirmed_early_end() {
        write_course(ctx, run, start, Some(&end)).await?;
        active.confirm_early_end();
    }
    compare(ctx, observed, active).await?;
    if let Some(view) = active.unconfirmed_judgement() {
        if let Some(refusal) = write_result(ctx, run, &view).await? {
            tracing::warn!(run = run.name, refusal, "the run's result cannot be kept");
            active.note(&format!(
                "the result could not be kept for later: {refusal}"
            ));
        }
        active.confirm_judgement(clock::now());
    }
    let now = clock::now();
    let view = active.view(now);
    let note = active.trouble().map(|trouble| trouble.message);
    let previous = active.written().or_else(|| observed.status.clone());
    let facts = Facts {
        identity: &active.plan.run,
        plan_hash: Some(&active.plan_hash),
        generation: run.generation,
        previous: previous
            .as_ref()
            .map(|status| status.conditions.as_slice())
            .unwrap_or_default(),
        note: note.as_deref().filter(|_| view.phase == Phase::Starting),
        now: status::time_of(now),
    };
    let next = status::run_status(&view, &facts);
    let over = view.phase == Phase::Finished;
    let turn = active.take_progress_turn(now);
    if differs(previous.as_ref(), &next, over, turn) {
        write_status(ctx, run, &next).await?;
        active.set_written(next);
    }
    if over && active.confirm_completion() {
        finished(ctx, run, &view).await;
    }
    Ok(())
}

/// Sets a judged run beside its baseline, if its test has one: what comes of it is a part of the
/// judgement, and durable with it.
async fn compare(ctx: &Context, observed: &Observed, active: &Active) -> Result<(), Error> {
    let judged = active.unconfirmed_judgement();
    let Some(view) = judged.filter(|view| view.baseline.is_none()) else {
        return Ok(());
    };
    let Some(wanted) = observe::baseline(ctx, observed) else {
        return Ok(());
    };
    let run = &observed.run;
    let candidates = observe::candidates(ctx, &run.namespace);
    let chosen = baseline::choose(&wanted.run, (&run.test, &run.uid), &candidates);
    let comparison = match chosen {
        Err(comparison) => comparison,
        Ok(chosen) => match observe::result_of(ctx, &run.namespace, chosen).await? {
            Ok(before) => baseline::compare(&wanted, &chosen.name, &before, &view),
            Err(why) => baseline::unusable(&chosen.name, &why),
        },
    };
    active.compare(comparison);
    Ok(())
}

/// Writes that a run waits for others to end, and at which place.
///
/// # Errors
/// When it cannot be written.
pub async fn queue(ctx: &Context, observed: &Observed, message: &str) -> Result<(), Error> {
    let run = &observed.run;
    let previous = observed.status.as_ref();
    let identity = run.identity();
    let next = status::queued_run_status(message, &unmade(observed, &identity));
    if previous == Some(&next) {
        return Ok(());
    }
    write_status(ctx, run, &next).await?;
    let is_news = previous.is_none_or(|status| news(status) != news(&next));
    if is_news {
        let about = reference(run);
        ctx.event(&about, EventType::Normal, status::QUEUED, message, "Queue")
            .await;
    }
    Ok(())
}

/// Facts of a run of which nothing was made.
fn unmade<'a>(observed: &'a Observed, identity: &'a RunIdentity) -> Facts<'a> {
    let previous = observed.status.as_ref();
    Facts {
        identity,
        plan_hash: None,
        generation: observed.run.generation,
        previous: previous
            .map(|status| status.conditions.as_slice())
            .unwrap_or_default(),
        note: None,
        now: status::time_of(clock::now()),
    }
}

/// Writes that a run was refused, once.
///
/// # Errors
/// When it cannot be written.
pub async fn refuse(ctx: &Context, observed: &Observed, problems: &[Problem]) -> Result<(), Error> {
    let written = not_accepted(ctx, observed, problems, status::refused_run_status);
    if written.await? {
        event(ctx, &observed.run, "InvalidSpec", problems).await;
        count_verdict(ctx, Verdict::Error);
    }
    Ok(())
}

/// Writes what a run waits for, once.
///
/// # Errors
/// When it cannot be written.
pub async fn wait(ctx: &Context, observed: &Observed, problems: &[Problem]) -> Result<(), Error> {
    let written = not_accepted(ctx, observed, problems, status::waiting_run_status);
    if written.await? {
        event(ctx, &observed.run, status::DATA_MISSING, problems).await;
    }
    Ok(())
}

async fn event(ctx: &Context, run: &Run, reason: &str, problems: &[Problem]) {
    let (about, note) = (reference(run), status::refusal(problems));
    ctx.event(&about, EventType::Warning, reason, &note, "Validate")
        .await;
}

/// Writes a status that is made of problems; false when it is there already.
async fn not_accepted(
    ctx: &Context,
    observed: &Observed,
    problems: &[Problem],
    status_of: fn(&[Problem], &Facts<'_>) -> LoadTestRunStatus,
) -> Result<bool, Error> {
    let run = &observed.run;
    let previous = observed.status.as_ref();
    let identity = run.identity();
    let next = status_of(problems, &unmade(observed, &identity));
    if previous == Some(&next) {
        return Ok(false);
    }
    write_status(ctx, run, &next).await?;
    Ok(true)
}

/// Whether a status is worth writing: at once when it says something new, for numbers only when
/// it is their turn.
fn differs(
    previous: Option<&LoadTestRunStatus>,
    next: &LoadTestRunStatus,
    over: bool,
    turn: bool,
) -> bool {
    let Some(previous) = previous else {
        return true;
    };
    if previous == next {
        return false;
    }
    over || news(previous) != news(next) || turn
}

/// What people and programs wait for.
fn news(status: &LoadTestRunStatus) -> impl PartialEq + use<> {
    let conditions: Vec<_> = status
        .conditions
        .iter()
        .map(|c| {
            (
                c.kind.clone(),
                c.status,
                c.reason.clone(),
                c.observed_generation,
            )
        })
        .collect();
    let start = status.run.as_ref().and_then(|run| run.start_time.clone());
    (
        status.phase.clone(),
        status.verdict.clone(),
        start,
        conditions,
    )
}

/// Writes what a successor must know of a load under way.
async fn write_course(
    ctx: &Context,
    run: &Run,
    start: UnixMicros,
    early_end: Option<&EarlyEnd>,
) -> Result<(), Error> {
    let mut annotations = json!({names::START: start.to_string()});
    if let Some(end) = early_end {
        let end = serde_json::to_string(end).map_err(|e| Error::broken("the early end", e))?;
        annotations[names::EARLY_END] = end.into();
    }
    let body = body(ctx, run, &json!({"annotations": annotations}), None);
    let runs = ctx.kinds.runs(ctx.writer()?, &run.namespace);
    let result = runs
        .patch(&run.name, &Context::apply(), &Patch::Apply(body))
        .await;
    result
        .map(drop)
        .map_err(Error::api("write the run's course"))
}

/// What the API server said if it refuses for good: a run that nobody may keep the result of ends all
/// the same, for its runners wait for that.
async fn write_result(ctx: &Context, run: &Run, view: &RunView) -> Result<Option<String>, Error> {
    let map = children::result_config_map(run, view)?;
    let maps: Api<ConfigMap> = Api::namespaced(ctx.writer()?.clone(), &run.namespace);
    let result = maps
        .patch(
            &names::result(&run.name),
            &Context::apply(),
            &Patch::Apply(map),
        )
        .await;
    match result {
        // The run goes with its namespace: nobody is left to read the result, and its runners,
        // whose end the deletion waits for, must not wait for it.
        Err(error) if is_namespace_ending(&error) => Ok(None),
        Err(error) => match refusal(&error) {
            Some(words) => Ok(Some(words.to_owned())),
            None => Err(Error::api("write the run's result")(error)),
        },
        Ok(_) => Ok(None),
    }
}

async fn write_status(ctx: &Context, run: &Run, status: &LoadTestRunStatus) -> Result<(), Error> {
    let status = serde_json::to_value(status).map_err(|e| Error::broken("the status", e))?;
    let body = body(ctx, run, &json!({}), Some(status));
    let runs = ctx.kinds.runs(ctx.writer()?, &run.namespace);
    let result = runs
        .patch_status(&run.name, &Context::apply(), &Patch::Apply(body))
        .await;
    result
        .map(drop)
        .map_err(Error::api("write the run's status"))
}

fn body(ctx: &Context, run: &Run, metadata: &Value, status: Option<Value>) -> Value {
    objects::applied(&ctx.kinds.run, &run.name, &run.uid, metadata, status)
}

async fn started(ctx: &Context, run: &Run, active: &Active, start: UnixMicros) {
    ctx.metrics
        .start_delay
        .observe((start - run.created).max(0) as f64 / 1e6);
    let note = format!("the start is set for {}", runners(active.plan.runners));
    ctx.event(
        &reference(run),
        EventType::Normal,
        "Started",
        &note,
        "Start",
    )
    .await;
}

async fn finished(ctx: &Context, run: &Run, view: &RunView) {
    let Some(Judgement {
        verdict,
        reason,
        message,
    }) = &view.judgement
    else {
        return;
    };
    count_verdict(ctx, *verdict);
    if let Some(skew) = view.start_skew_us {
        ctx.metrics.start_skew.observe(skew as f64 / 1e6);
    }
    if let Some(export) = &view.export {
        ctx.metrics.records_produced.inc_by(export.produced);
        let missing = export.rejected + export.dropped + export.lost;
        ctx.metrics.records_not_indexed.inc_by(missing);
    }
    let kind = match verdict {
        Verdict::Passed => EventType::Normal,
        _ => EventType::Warning,
    };
    let note = format!("{}: {message}", reason.name());
    ctx.event(&reference(run), kind, verdict.name(), &note, "Judge")
        .await;
}

/// So many runners, in words.
pub fn runners(count: u32) -> String {
    if count == 1 {
        "1 runner".to_owned()
    } else {
        format!("{count} runners")
    }
}

fn count_verdict(ctx: &Context, verdict: Verdict) {
    ctx.metrics
        .runs
        .get_or_create(&VerdictLabel {
            verdict: verdict.name(),
        })
        .inc();
}

/// What events of a run are about.
pub fn reference(run: &Run) -> ObjectReference {
    ObjectReference {
        api_version: Some(LoadTestRun::api_version(&()).into_owned()),
        kind: Some(run.kind.clone()),
        name: Some(run.name.clone()),
        namespace: Some(run.namespace.clone()),
        uid: Some(run.uid.clone()),
        ..ObjectReference::default()
    }
}

#[cfg(test)]
mod tests {
    use loadtest_crds::status::{Progress, RunnerRow};

    use super::*;

    fn status(phase: &str, ready: i32, rate: &str) -> LoadTestRunStatus {
        LoadTestRunStatus {
            phase: Some(phase.to_owned()),
            run: Some(loadtest_crds::status::RunFacts {
                runners: RunnerRow {
                    expected: 2,
                    ready,
                    lost: 0,
                },
                ..Default::default()
            }),
            progress: Some(Progress {
                rate: rate.to_owned(),
                ..Default::default()
            }),
            ..LoadTestRunStatus::default()
        }
    }

    #[test]
    fn numbers_wait_for_their_turn_and_news_do_not() {
        let old = status("Running", 2, "10/s");
        let writes = |next: &LoadTestRunStatus, over, turn| differs(Some(&old), next, over, turn);
        assert!(differs(None, &old, false, false));
        assert!(!writes(&old, false, true));
        assert!(!writes(&status("Running", 2, "11/s"), false, false));
        assert!(writes(&status("Running", 2, "11/s"), false, true));
        assert!(!writes(&status("Running", 1, "10/s"), false, false));
        assert!(writes(&status("Stopping", 2, "10/s"), false, false));
        assert!(writes(&status("Running", 2, "11/s"), true, false));
    }
}
