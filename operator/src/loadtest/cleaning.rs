//! What a test's upkeep and its schedule do to its runs.

use k8s_openapi::api::{batch::v1::Job, core::v1::Pod};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, Preconditions, PropagationPolicy},
    core::DynamicObject,
};
use serde_json::json;

use super::{Observed, upkeep::Upkeep};
use crate::{context::Context, error::Error, names};

/// Asks a run to stop.
pub(super) async fn cancel_run(
    ctx: &Context,
    test: &DynamicObject,
    number: i64,
) -> Result<(), Error> {
    let name = names::run(&test.name_any(), number);
    let runs = ctx
        .kinds
        .runs(ctx.writer()?, &test.namespace().unwrap_or_default());
    let cancel = Patch::Merge(json!({"spec": {"cancel": true}}));
    let result = runs.patch(&name, &PatchParams::default(), &cancel).await;
    gone_is_fine(result.map(drop), "stop a run for the next one")
}

/// Deletes what was kept long enough.
pub(super) async fn clean(
    ctx: &Context,
    test: &DynamicObject,
    observed: &Observed,
    upkeep: &Upkeep,
) -> Result<(), Error> {
    let namespace = test.namespace().unwrap_or_default();
    let runs = observed.facts.runs.iter().zip(&observed.runs);
    for (fact, run) in runs {
        let name = run.name_any();
        if upkeep.runs.contains(&fact.number) {
            let runs = ctx.kinds.runs(ctx.writer()?, &namespace);
            let result = runs.delete(&name, &only(run.uid())).await;
            gone_is_fine(result.map(drop), "delete a run that is too many")?;
        } else if upkeep.jobs.contains(&fact.number) {
            let jobs: Api<Job> = Api::namespaced(ctx.writer()?.clone(), &namespace);
            let of_run = |pod: &Pod| is_pod_of(pod, &name, Some(&namespace));
            let job = ctx.pods.find(of_run).and_then(|pod| job_of(&pod));
            let result = jobs.delete(&name, &only(job)).await;
            gone_is_fine(result.map(drop), "delete the Job of a run")?;
        }
    }
    Ok(())
}

/// Whether a pod is a runner of a run.
pub(super) fn is_pod_of(pod: &Pod, run: &str, namespace: Option<&str>) -> bool {
    pod.metadata.namespace.as_deref() == namespace
        && pod
            .labels()
            .get(names::RUN_LABEL)
            .is_some_and(|of| of == run)
}

/// The uid of the Job that made a pod.
fn job_of(pod: &Pod) -> Option<String> {
    let owner = pod
        .owner_references()
        .iter()
        .find(|owner| owner.kind == "Job")?;
    Some(owner.uid.clone())
}

/// This very object, its children after it.
fn only(uid: Option<String>) -> DeleteParams {
    DeleteParams {
        propagation_policy: Some(PropagationPolicy::Background),
        preconditions: Some(Preconditions {
            uid,
            resource_version: None,
        }),
        ..DeleteParams::default()
    }
}

/// Somebody was faster, or made another object of the same name (409).
fn gone_is_fine(result: Result<(), kube::Error>, what: &'static str) -> Result<(), Error> {
    match result {
        Err(kube::Error::Api(status)) if [404, 409].contains(&status.code) => Ok(()),
        result => result.map_err(Error::api(what)),
    }
}
