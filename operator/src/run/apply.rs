//! Makes the objects of a run. Each has a name that follows from the run, so doing it again after
//! a crash at any point ends in the same state. Each is made by [`Context::writer`] of its moment:
//! the lease may end between two of them.

use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{ConfigMap, Pod},
};
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
    core::{ApiResource, DynamicObject},
};
use loadtest_core::report::UnixMicros;
use serde_json::json;

use super::{children::Resources, observe::Run};
use crate::{
    context::Context,
    error::{Error, refusal},
    names,
};

/// The API server's last word on what a run needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// One word for conditions and events.
    pub reason: &'static str,
    /// The API server's own sentence.
    pub message: String,
    /// Whether waiting may help.
    pub transient: bool,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Applied {
    /// Everything is there.
    Done,
    /// Nothing more can be made.
    Refused(Refusal),
}

/// Makes what is not there yet, in this order: the plan, which the pods mount; a trial of one pod,
/// because a Job's own pods fail silently; the Job.
///
/// A run that is `late` gets no Job: it is refused with these words, unless the trial has better ones.
///
/// # Errors
/// When the API server cannot be asked.
pub async fn apply(
    ctx: &Context,
    run: &Run,
    resources: &Resources,
    late: Option<Refusal>,
) -> Result<Applied, Error> {
    let Resources {
        plan,
        trial_pod,
        job,
    } = resources;
    let maps: Api<ConfigMap> = Api::namespaced(ctx.writer()?.clone(), &run.namespace);
    let result = maps
        .patch(
            &names::plan(&run.name),
            &Context::apply(),
            &Patch::Apply(plan),
        )
        .await;
    if let Some(refusal) = refused(result.err(), "make the run's plan")? {
        return Ok(Applied::Refused(refusal));
    }
    let kind = ApiResource::erase::<Pod>(&());
    let writer = ctx.writer()?.clone();
    let pods: Api<DynamicObject> = Api::namespaced_with(writer, &run.namespace, &kind);
    let pod = serde_json::from_value(trial_pod.clone())
        .map_err(|error| Error::broken("the trial pod", error))?;
    let trial = PostParams {
        dry_run: true,
        field_manager: Some(names::MANAGER.to_owned()),
    };
    if let Some(refusal) = refused(pods.create(&trial, &pod).await.err(), "try a runner's pod")? {
        return Ok(Applied::Refused(refusal));
    }
    if let Some(refusal) = late {
        return Ok(Applied::Refused(refusal));
    }
    let jobs: Api<Job> = Api::namespaced(ctx.writer()?.clone(), &run.namespace);
    let result = jobs
        .patch(&run.name, &Context::apply(), &Patch::Apply(job))
        .await;
    if let Some(refusal) = refused(result.err(), "make the run's Job")? {
        return Ok(Applied::Refused(refusal));
    }
    Ok(Applied::Done)
}

/// Writes down that a run was let go, before the first of its objects is made: who counts runs under
/// way later counts this one. A merge patch, so that what is applied to annotations leaves it alone.
///
/// # Errors
/// When the API server cannot be asked.
pub async fn admit(ctx: &Context, run: &Run, now: UnixMicros) -> Result<(), Error> {
    let runs = ctx.kinds.runs(ctx.writer()?, &run.namespace);
    let params = PatchParams {
        field_manager: Some(names::MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let annotations = json!({names::ADMITTED: now.to_string()});
    let patch = Patch::Merge(json!({"metadata": {"uid": run.uid, "annotations": annotations}}));
    let result = runs.patch(&run.name, &params, &patch).await;
    result.map(drop).map_err(Error::api("let the run go"))
}

/// Takes the pods of a run away and keeps the Job.
///
/// # Errors
/// When the API server cannot be asked.
pub async fn halt(ctx: &Context, run: &Run) -> Result<(), Error> {
    let jobs: Api<Job> = Api::namespaced(ctx.writer()?.clone(), &run.namespace);
    let params = PatchParams {
        field_manager: Some(names::MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let patch = Patch::Merge(json!({"spec": {"suspend": true}}));
    match jobs.patch(&run.name, &params, &patch).await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        result => result
            .map(drop)
            .map_err(Error::api("suspend the run's Job")),
    }
}

/// A refusal that trying again will not change, or the error.
fn refused(error: Option<kube::Error>, action: &'static str) -> Result<Option<Refusal>, Error> {
    let Some(error) = error else {
        return Ok(None);
    };
    match refusal(&error) {
        Some(words) => Ok(Some(explain(words.to_owned()))),
        None => Err(Error::api(action)(error)),
    }
}

/// The API server has one code for many reasons; its sentences are stable for a decade.
fn explain(message: String) -> Refusal {
    let (reason, transient) =
        if message.contains("exceeded quota") || message.contains("failed quota") {
            ("QuotaExceeded", false)
        } else if message.contains("violates PodSecurity") {
            ("PodSecurityViolation", false)
        } else if message.contains("error looking up service account") {
            // That of a new namespace is made a moment after the namespace.
            ("ServiceAccountMissing", true)
        } else if message.contains("being terminated") {
            ("NamespaceTerminating", false)
        } else if message.contains("cannot create resource")
            || message.contains("cannot patch resource")
        {
            ("OperatorForbidden", false)
        } else if message.contains("is invalid") {
            ("TemplateInvalid", false)
        } else {
            ("PodRefused", false)
        };
    Refusal {
        reason,
        message,
        transient,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_have_a_word_and_keep_their_sentence() {
        for (message, reason, transient) in [
            (
                "pods \"shop-1-trial\" is forbidden: exceeded quota: small, requested: cpu=1, used: cpu=0, limited: cpu=500m",
                "QuotaExceeded",
                false,
            ),
            (
                "pods \"shop-1-trial\" is forbidden: failed quota: q: must specify limits.cpu for: runner",
                "QuotaExceeded",
                false,
            ),
            (
                "pods \"shop-1-trial\" is forbidden: violates PodSecurity \"restricted:latest\": privileged (container \"runner\" must not set securityContext.privileged=true)",
                "PodSecurityViolation",
                false,
            ),
            (
                "pods \"shop-1-trial\" is forbidden: error looking up service account perf/load: serviceaccount \"load\" not found",
                "ServiceAccountMissing",
                true,
            ),
            (
                "pods is forbidden: User \"system:serviceaccount:s:o\" cannot create resource \"pods\" in API group \"\" in the namespace \"perf\"",
                "OperatorForbidden",
                false,
            ),
            (
                "Pod \"shop-1-trial\" is invalid: spec.containers[0].resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1",
                "TemplateInvalid",
                false,
            ),
            (
                "admission webhook \"w\" denied the request: no",
                "PodRefused",
                false,
            ),
        ] {
            let explained = explain(message.to_owned());
            assert_eq!(
                explained,
                Refusal {
                    reason,
                    message: message.to_owned(),
                    transient
                }
            );
        }
    }
}
