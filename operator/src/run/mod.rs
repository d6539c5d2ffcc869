//! The life of a `LoadTestRun`: observe, validate, decide, apply, report.
//!
//! Only [`observe`], [`apply`] and [`report`] talk to the API server. Killing the operator at any
//! await and starting it anew ends in the same state of the cluster.

mod apply;
mod baseline;
mod children;
mod data;
mod decide;
mod observe;
mod pods;
mod report;
mod template;
mod validate;
mod volumes;

#[cfg(test)]
pub(crate) mod fixtures;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use kube::{
    core::DynamicObject,
    runtime::{controller::Action, events::EventType, reflector::ObjectRef},
};
use loadtest_core::{
    coordinator::{Coordinator, Resume},
    report::{UnixMicros, micros},
    scalar::format_duration,
};
use ring::rand::{SecureRandom, SystemRandom};

use self::{
    apply::{Applied, Refusal},
    children::Blueprint,
    decide::Decision,
    observe::{Found, Observed},
    validate::Prepared,
};
use crate::{
    clock, context::Context, coordination::Active, error::Error, names, objects, rails::queue::Turn,
};

/// A run that waits for a `ConfigMap` is looked at again after this long: the operator watches none.
const LOOK_FOR_DATA: Duration = Duration::from_secs(2);

/// A finished run whose pods are still ending is looked at again after this long.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// Brings one run a step further.
///
/// # Errors
/// When the step could not be made; it is tried again.
pub async fn reconcile(object: Arc<DynamicObject>, ctx: Arc<Context>) -> Result<Action, Error> {
    // On the heap: it holds the whole spec over its awaits, which is large.
    let result = Box::pin(step(&object, &ctx)).await;
    wake_test(&ctx, &object);
    result
}

async fn step(object: &DynamicObject, ctx: &Context) -> Result<Action, Error> {
    let mut observed = observe::observe(ctx, object).await?;
    let found = observed.found.take();
    let validated = found
        .as_ref()
        .map(|found| validate::validate(&observed, found, &ctx.settings.rails, clock::now()))
        .transpose()?;
    match decide::decide(&observed, validated) {
        Decision::Rest => return Ok(rest(&observed)),
        Decision::Forget => ctx.registry.remove(&observed.run.id),
        Decision::Wait(problems) => {
            report::wait(ctx, &observed, &problems).await?;
            return Ok(Action::requeue(LOOK_FOR_DATA));
        }
        Decision::Refuse(problems) => report::refuse(ctx, &observed, &problems).await?,
        Decision::Begin { prepared, create } => {
            let found = found.ok_or_else(|| Error::broken("the decision", "nothing was found"))?;
            if create && let Turn::Later(message) = let_go(ctx, &mut observed).await? {
                // The clock of the runs calls it when its turn or its place changes.
                report::queue(ctx, &observed, &message).await?;
                return Ok(Action::await_change());
            }
            begin(ctx, &observed, found, *prepared, create).await?;
        }
        Decision::Carry => {
            if let Some(active) = ctx.registry.get(&observed.run.id) {
                tell(&observed, &active, clock::now());
                report::report(ctx, &observed, &active).await?;
            }
        }
        Decision::Halt => {
            apply::halt(ctx, &observed.run).await?;
            return Ok(Action::requeue(LOOK_AGAIN));
        }
    }
    // Whatever comes next wakes us: the clock of the runs, a report, a pod, an edit.
    Ok(Action::await_change())
}

/// Lets a run go whose turn it is, if there is a queue.
async fn let_go(ctx: &Context, observed: &mut Observed) -> Result<Turn, Error> {
    let run = &mut observed.run;
    let turn = ctx.queue.turn(ctx, &run.uid);
    if turn == Turn::Now && run.admitted.is_none() && ctx.settings.rails.has_queue() {
        let now = clock::now();
        apply::admit(ctx, run, now).await?;
        run.admitted = Some(now);
    }
    Ok(turn)
}

fn rest(observed: &Observed) -> Action {
    if observed.pods.iter().all(|pod| pods::is_over(pod)) {
        Action::await_change()
    } else {
        Action::requeue(LOOK_AGAIN)
    }
}

/// Makes the objects of a run and coordinates it from now on, or takes it over from a predecessor.
async fn begin(
    ctx: &Context,
    observed: &Observed,
    found: Found,
    prepared: Prepared,
    create: bool,
) -> Result<(), Error> {
    let now = clock::now();
    let mut refusal = None;
    if create {
        refusal = make(ctx, observed, &found, &prepared, now).await?;
    }
    let Prepared {
        plan,
        bytes: _,
        hash,
    } = prepared;
    let known = Resume {
        start: found.start,
        early_end: found.early_end,
        judged: found.judged.map(Box::new),
    };
    // However often the operator begins anew: `startTimeout` is that of the runners.
    let made = observed.job.as_ref().and_then(|job| job.created);
    let coordinator = Coordinator::resume(Arc::clone(&plan), hash.clone(), epoch()?, now, known)
        .awaiting_since(made.unwrap_or(now));
    let object = ctx
        .kinds
        .run_ref(&observed.run.name, &observed.run.namespace);
    let active = Active::new(
        observed.run.id.clone(),
        object,
        (plan, hash),
        coordinator,
        now,
    );
    let active = ctx.registry.insert(active);
    if let Some(Refusal {
        reason, message, ..
    }) = refusal
    {
        active.fail(reason, &message, now);
    } else if !create {
        tell(observed, &active, now);
    }
    report::report(ctx, observed, &active).await
}

/// Says what cannot be made. What time may heal is tried again until `startTimeout`.
async fn make(
    ctx: &Context,
    observed: &Observed,
    found: &Found,
    prepared: &Prepared,
    now: UnixMicros,
) -> Result<Option<Refusal>, Error> {
    let run = &observed.run;
    let Some(spec) = &found.test else {
        let message = format!("the LoadTest {:?} was deleted", run.test);
        return Ok(Some(Refusal {
            reason: "LoadTestMissing",
            message,
            transient: false,
        }));
    };
    let (settings, ca) = (&ctx.settings, ctx.authority.certificate.as_str());
    let resources = Blueprint {
        run,
        prepared,
        spec,
        settings,
        ca,
    }
    .resources()?;
    let timeout = prepared.plan.start_timeout;
    // Of a run that had to wait for others it counts from the moment when it was let go.
    let age = now - run.admitted.unwrap_or(run.created);
    let late = (age > micros(timeout)).then(|| Refusal {
        reason: "StartTimeout",
        message: format!(
            "the operator was away, or too busy: the run's Job could not be made within startTimeout {}",
            format_duration(timeout)
        ),
        transient: false,
    });
    match apply::apply(ctx, run, &resources, late).await? {
        Applied::Done => {
            let note = format!(
                "made Job {} with {}",
                run.name,
                report::runners(prepared.plan.runners)
            );
            let about = report::reference(run);
            ctx.event(&about, EventType::Normal, "RunnersCreated", &note, "Create")
                .await;
            Ok(None)
        }
        Applied::Refused(refusal) => {
            if refusal.transient && age < micros(timeout) {
                return Err(Error::NotYet(refusal.message));
            }
            Ok(Some(refusal))
        }
    }
}

/// Tells the coordinator what the cluster shows.
fn tell(observed: &Observed, active: &Active, now: UnixMicros) {
    if observed.spec.cancel == Some(true) {
        active.cancel(now);
    }
    let losses = decide::losses(observed, active.plan.runners);
    active.observe(observed.trouble.clone(), &losses, now);
}

/// Never 0, and never that of another coordinator of this run.
fn epoch() -> Result<u64, Error> {
    let mut bytes = [0; 8];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| Error::broken("the epoch", "the system gives no random bytes"))?;
    Ok(u64::from_be_bytes(bytes) | 1)
}

/// Every change of a run is a change of its test's status.
fn wake_test(ctx: &Context, run: &DynamicObject) {
    if let Some((test, _)) = objects::owner(run, &ctx.kinds.test.kind) {
        let namespace = run.metadata.namespace.clone().unwrap_or_default();
        // Fails only when the process is ending.
        let _ = ctx
            .wake_test
            .unbounded_send(ctx.kinds.test_ref(&test, &namespace));
    }
}

/// The run of a pod.
pub fn of_pod(
    ctx: &Context,
    pod: &k8s_openapi::api::core::v1::Pod,
) -> Option<ObjectRef<DynamicObject>> {
    let name = pod.metadata.labels.as_ref()?.get(names::RUN_LABEL)?;
    Some(ctx.kinds.run_ref(name, pod.metadata.namespace.as_deref()?))
}
