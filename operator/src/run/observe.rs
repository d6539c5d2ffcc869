//! All reads of a run's reconcile.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read as _,
    sync::Arc,
};

use flate2::read::GzDecoder;
use k8s_openapi::{
    api::{
        batch::v1::Job,
        core::v1::{ConfigMap, Event, Pod},
    },
    jiff::Timestamp,
};
use kube::{Api, Resource, ResourceExt, api::ListParams, core::DynamicObject};
use loadtest_core::{
    coordinator::EarlyEnd,
    plan::{Plan, RunIdentity},
    report::UnixMicros,
    view::RunView,
};
use loadtest_crds::{
    LoadTest, LoadTestRun, LoadTestRunSpec, LoadTestRunStatus, TestSpec, spec::Baseline,
};
use serde::Deserialize as _;

use super::{
    baseline::Candidate,
    children,
    data::{self, ConfigMaps},
    pods,
    validate::Prepared,
};
use crate::{clock, context::Context, coordination::Trouble, error::Error, names, objects};

/// A plan has at most 32 MiB: a `ConfigMap` holds 1 MiB, and text shrinks tenfold at best.
const MAX_UNPACKED: u64 = 32 << 20;

/// A pod that does not start within this time is asked about.
const SLOW_START_US: i64 = 3_000_000;

/// Who a run is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// API version of the object.
    pub api_version: String,
    /// Kind of the object.
    pub kind: String,
    /// Namespace.
    pub namespace: String,
    /// Name of the `LoadTestRun`.
    pub name: String,
    /// Uid of the object.
    pub uid: String,
    /// Id of the run.
    pub id: String,
    /// Name of the `LoadTest`. Of a run with a test of its own what its label says, which a pipeline's
    /// runs of one file have in common, or else the run's own name.
    pub test: String,
    /// Number within its test.
    pub number: i64,
    /// Generation of the object.
    pub generation: i64,
    /// When it was created, microseconds since 1970.
    pub created: UnixMicros,
    /// When it was let go, if the operator's configuration limits how many runs are under way.
    pub admitted: Option<UnixMicros>,
}

impl Run {
    /// From the stored object and its spec.
    pub fn new(object: &DynamicObject, spec: &LoadTestRunSpec) -> Self {
        let name = object.name_any();
        let of = spec.load_test_ref.as_ref();
        let label = || object.labels().get(names::TEST_LABEL).cloned();
        let test = of
            .map(|test| test.name.to_string())
            .or_else(|| label().filter(|test| !test.is_empty()));
        Self {
            api_version: LoadTestRun::api_version(&()).into_owned(),
            kind: LoadTestRun::kind(&()).into_owned(),
            namespace: object.namespace().unwrap_or_default(),
            uid: object.uid().unwrap_or_default(),
            id: objects::run_id(object),
            test: test.unwrap_or_else(|| name.clone()),
            number: spec.number.unwrap_or(1),
            generation: object.metadata.generation.unwrap_or_default(),
            created: object
                .creation_timestamp()
                .map_or(0, |time| time.0.as_microsecond()),
            admitted: object
                .annotations()
                .get(names::ADMITTED)
                .and_then(|at| at.parse().ok()),
            name,
        }
    }

    /// As plans and statuses name it.
    pub fn identity(&self) -> RunIdentity {
        RunIdentity {
            id: self.id.clone(),
            namespace: self.namespace.clone(),
            test: self.test.clone(),
            name: self.name.clone(),
            number: self.number,
            // The id is a hash already: its first 16 digits are as good a seed as any.
            seed: self
                .id
                .get(..16)
                .and_then(|digits| u64::from_str_radix(digits, 16).ok())
                .unwrap_or_default(),
        }
    }
}

/// The Job of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobFacts {
    /// Runners that the Job controller counts as failed.
    pub failed: BTreeSet<u32>,
    /// `spec.suspend`.
    pub suspended: bool,
    /// No pod of it is left to end.
    pub over: bool,
    /// When it was made.
    pub created: Option<UnixMicros>,
}

/// Everything a reconcile knows of a run.
#[derive(Debug)]
pub struct Observed {
    /// Who it is.
    pub run: Run,
    /// What is asked for.
    pub spec: LoadTestRunSpec,
    /// Why the spec cannot be read, when it is of another version.
    pub malformed: Option<String>,
    /// The status that was written last.
    pub status: Option<LoadTestRunStatus>,
    /// Somebody deletes it.
    pub deleting: bool,
    /// Its status says that it is over.
    pub finished: bool,
    /// Its pods.
    pub pods: Vec<Arc<Pod>>,
    /// Why its pods do not start.
    pub trouble: Option<Trouble>,
    /// Its Job; only read while the run is under way or has pods left.
    pub job: Option<JobFacts>,
    /// What must be known to begin or resume; `None` when the run is coordinated or over.
    pub found: Option<Found>,
}

/// What is read once in the life of a run in an operator.
#[derive(Debug)]
pub struct Found {
    /// What it runs: its own spec or that of its `LoadTest`; `None` when that does not exist.
    pub test: Option<TestSpec>,
    /// The plan, when there is one already: it is what runners were given.
    pub prepared: Option<Prepared>,
    /// The start that runners may have been told.
    pub start: Option<UnixMicros>,
    /// The decision to end the load early, if one was made.
    pub early_end: Option<EarlyEnd>,
    /// The judged view.
    pub judged: Option<RunView>,
    /// `ConfigMap`s with its data; `None` when no plan is to be made that needs them.
    pub data: Option<ConfigMaps>,
}

/// Reads all there is.
///
/// # Errors
/// When something cannot be read now.
pub async fn observe(ctx: &Context, object: &DynamicObject) -> Result<Observed, Error> {
    let coordinated = ctx.registry.get(&objects::run_id(object)).is_some();
    if coordinated || is_past(object) {
        return observed(ctx, object, false).await;
    }
    match live(ctx, object).await? {
        Some(live) => observed(ctx, &live, !is_past(&live)).await,
        // Who is told of a run that is gone is told that it goes.
        None => Ok(Observed {
            deleting: true,
            ..observed(ctx, object, false).await?
        }),
    }
}

/// It is over or goes: nothing of it is begun any more.
fn is_past(object: &DynamicObject) -> bool {
    objects::is_finished(object) || object.metadata.deletion_timestamp.is_some()
}

/// The run as it is now, if it is still this one. The watch may lag behind what a predecessor wrote a
/// moment ago: neither its start nor its end must be missed.
async fn live(ctx: &Context, object: &DynamicObject) -> Result<Option<DynamicObject>, Error> {
    let namespace = object.namespace().unwrap_or_default();
    let runs = ctx.kinds.runs(&ctx.client, &namespace);
    let live = runs.get_opt(&object.name_any()).await;
    let live = live.map_err(Error::api("read the run"))?;
    Ok(live.filter(|live| live.metadata.uid == object.metadata.uid))
}

/// `begin`: with what must be known to begin or resume.
async fn observed(ctx: &Context, object: &DynamicObject, begin: bool) -> Result<Observed, Error> {
    let (spec, malformed) = match objects::part::<LoadTestRunSpec>(object, "spec") {
        Ok(spec) => (spec.unwrap_or_default(), None),
        Err(error) => (LoadTestRunSpec::default(), Some(error.to_string())),
    };
    let run = Run::new(object, &spec);
    // A status of another version is overwritten, not fought over.
    let status = objects::part(object, "status").unwrap_or_default();
    let pods = ctx.pods.state_filter(|pod| children::is_pod_of(pod, &run));
    let finished = objects::is_finished(object);
    let deleting = object.metadata.deletion_timestamp.is_some();
    let left = pods.iter().any(|pod| !pods::is_over(pod));
    let job = if deleting || finished && !left {
        None
    } else {
        job(ctx, &run).await?
    };
    let found = if begin {
        Some(find(ctx, &run, &spec, object.annotations()).await?)
    } else {
        None
    };
    let trouble = if finished || deleting {
        None
    } else {
        trouble(ctx, &run, &pods).await?
    };
    Ok(Observed {
        run,
        spec,
        malformed,
        status,
        deleting,
        finished,
        pods,
        trouble,
        job,
        found,
    })
}

/// What a pod's status says; a missing Secret or `ConfigMap` is told in its events only.
async fn trouble(ctx: &Context, run: &Run, pods: &[Arc<Pod>]) -> Result<Option<Trouble>, Error> {
    let known = pods::trouble(pods.iter().map(AsRef::as_ref));
    let slow = pods.iter().find(|pod| {
        let age = pod
            .creation_timestamp()
            .map_or(0, |at| clock::now() - at.0.as_microsecond());
        pods::is_pending(pod) && age > SLOW_START_US
    });
    let Some(pod) = slow.filter(|_| known.is_none()) else {
        return Ok(known);
    };
    let events: Api<Event> = Api::namespaced(ctx.client.clone(), &run.namespace);
    let uid = pod.uid().unwrap_or_default();
    let selector = format!("involvedObject.kind=Pod,involvedObject.uid={uid},type=Warning");
    let events = events.list(&ListParams::default().fields(&selector)).await;
    let events = events.map_err(Error::api("read a pod's events"))?;
    Ok(pods::warned(pod, &events.items))
}

async fn job(ctx: &Context, run: &Run) -> Result<Option<JobFacts>, Error> {
    let jobs: Api<Job> = Api::namespaced(ctx.client.clone(), &run.namespace);
    let job = jobs
        .get_opt(&run.name)
        .await
        .map_err(Error::api("read the run's Job"))?;
    Ok(job.filter(|job| belongs(job, run)).map(|job| {
        let created = job.creation_timestamp().map(|at| at.0.as_microsecond());
        let status = job.status.unwrap_or_default();
        let failed = status
            .failed_indexes
            .as_deref()
            .map(pods::indexes)
            .unwrap_or_default();
        let conditions = status.conditions.unwrap_or_default();
        JobFacts {
            failed: failed.into_iter().collect(),
            suspended: job.spec.and_then(|spec| spec.suspend).unwrap_or(false),
            over: conditions
                .iter()
                .any(|c| matches!(c.type_.as_str(), "Complete" | "Failed") && c.status == "True"),
            created,
        }
    }))
}

/// An object of the right name that somebody else made is not ours.
fn belongs<K: ResourceExt>(object: &K, run: &Run) -> bool {
    object
        .owner_references()
        .iter()
        .any(|owner| owner.uid == run.uid)
}

async fn find(
    ctx: &Context,
    run: &Run,
    spec: &LoadTestRunSpec,
    annotations: &BTreeMap<String, String>,
) -> Result<Found, Error> {
    let maps: Api<ConfigMap> = Api::namespaced(ctx.client.clone(), &run.namespace);
    let plan = maps.get_opt(&names::plan(&run.name)).await;
    let plan = plan
        .map_err(Error::api("read the run's plan"))?
        .filter(|map| belongs(map, run));
    let result = maps.get_opt(&names::result(&run.name)).await;
    let result = result.map_err(Error::api("read the run's result"))?;
    let result = result.filter(|map| belongs(map, run));
    let mut test = test(ctx, run, spec)?;
    if let Some(test) = &mut test {
        ctx.settings.rails.resolve(test);
    }
    let needed = test
        .as_ref()
        .filter(|_| plan.is_none() && spec.cancel != Some(true));
    let data = match needed {
        Some(test) => Some(data_of(&maps, test).await?),
        None => None,
    };
    Ok(Found {
        test,
        data,
        prepared: plan.as_ref().map(prepared).transpose()?,
        start: annotations.get(names::START).and_then(|at| at.parse().ok()),
        early_end: annotations
            .get(names::EARLY_END)
            .and_then(|end| serde_json::from_str(end).ok()),
        judged: result.as_ref().map(judged).transpose()?,
    })
}

async fn data_of(maps: &Api<ConfigMap>, test: &TestSpec) -> Result<ConfigMaps, Error> {
    let mut found = ConfigMaps::new();
    for name in data::config_maps(test) {
        if !found.contains_key(name) {
            let map = maps.get_opt(name).await;
            let map = map.map_err(Error::api("read the ConfigMap of data"))?;
            found.insert(name.to_owned(), map);
        }
    }
    Ok(found)
}

fn test(ctx: &Context, run: &Run, spec: &LoadTestRunSpec) -> Result<Option<TestSpec>, Error> {
    if let Some(test) = &spec.test {
        return Ok(Some(test.clone()));
    }
    let Some(test) = ctx
        .tests
        .get(&ctx.kinds.test_ref(&run.test, &run.namespace))
    else {
        return Ok(None);
    };
    let spec = objects::part::<<LoadTest as kube::core::object::HasSpec>::Spec>(&test, "spec");
    Ok(spec
        .map_err(|error| Error::broken("the LoadTest", error))?
        .map(|spec| spec.test))
}

fn prepared(map: &ConfigMap) -> Result<Prepared, Error> {
    const WHAT: &str = "the run's plan";
    let bytes = unpack(WHAT, map, names::PLAN_KEY)?;
    let plan = Plan::from_bytes(&bytes).map_err(|error| Error::broken(WHAT, error))?;
    Ok(Prepared::new(plan, bytes))
}

fn judged(map: &ConfigMap) -> Result<RunView, Error> {
    const WHAT: &str = "the run's result";
    let bytes = unpack(WHAT, map, names::VIEW_KEY)?;
    serde_json::from_slice(&bytes).map_err(|error| Error::broken(WHAT, error))
}

/// The baseline that the run's `LoadTest` asks for now, if it has one.
pub fn baseline(ctx: &Context, observed: &Observed) -> Option<Baseline> {
    let of = observed.spec.load_test_ref.as_ref()?;
    let test = ctx.kinds.test_ref(&of.name, &observed.run.namespace);
    let test = ctx.tests.get(&test)?;
    let written = test.data.pointer("/spec/baseline")?;
    // One that cannot be read was told of when the test was looked at.
    Baseline::deserialize(written).ok()
}

/// All runs of a namespace as baselines.
pub fn candidates(ctx: &Context, namespace: &str) -> Vec<Candidate> {
    let runs = ctx.runs.state();
    let here = runs
        .iter()
        .filter(|run| run.namespace().as_deref() == Some(namespace));
    here.map(|run| {
        let text = |pointer: &str| run.data.pointer(pointer)?.as_str().map(str::to_owned);
        let completed = text("/status/run/completionTime");
        let completed = completed.and_then(|time| time.parse::<Timestamp>().ok());
        Candidate {
            name: run.name_any(),
            uid: run.uid().unwrap_or_default(),
            test: text("/spec/loadTestRef/name"),
            verdict: text("/status/verdict"),
            completed: completed.map(Timestamp::as_microsecond),
        }
    })
    .collect()
}

/// The judged view of another run; a sentence when there is none that can be read.
///
/// # Errors
/// When the API server cannot be asked.
pub async fn result_of(
    ctx: &Context,
    namespace: &str,
    run: &Candidate,
) -> Result<Result<RunView, String>, Error> {
    let maps: Api<ConfigMap> = Api::namespaced(ctx.client.clone(), namespace);
    let name = names::result(&run.name);
    let map = maps.get_opt(&name).await;
    let map = map.map_err(Error::api("read the baseline's result"))?;
    let own = map.filter(|map| map.owner_references().iter().any(|of| of.uid == run.uid));
    let missing = || format!("its ConfigMap {name} is gone");
    Ok(own
        .ok_or_else(missing)
        .and_then(|map| judged(&map).map_err(|error| error.to_string())))
}

fn unpack(what: &'static str, map: &ConfigMap, key: &str) -> Result<Vec<u8>, Error> {
    let packed = map.binary_data.as_ref().and_then(|data| data.get(key));
    let packed = packed.ok_or_else(|| Error::broken(what, format!("there is no {key}")))?;
    let mut bytes = Vec::new();
    GzDecoder::new(packed.0.as_slice())
        .take(MAX_UNPACKED)
        .read_to_end(&mut bytes)
        .map_err(|error| Error::broken(what, error))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use kube::core::ApiResource;
    use serde_json::json;

    use super::*;

    #[test]
    fn runs_of_one_file_have_the_name_of_its_test() {
        let test_of = |label: Option<&str>, spec: serde_json::Value| {
            let mut object =
                DynamicObject::new("shop-x7k2p", &ApiResource::erase::<LoadTestRun>(&()));
            object.metadata.uid = Some("u".to_owned());
            object.metadata.labels =
                label.map(|test| [(names::TEST_LABEL.to_owned(), test.to_owned())].into());
            Run::new(&object, &serde_json::from_value(spec).unwrap()).test
        };
        let of = json!({ "loadTestRef": { "name": "shop" } });
        assert_eq!(test_of(None, of.clone()), "shop");
        assert_eq!(test_of(Some("other"), of), "shop");
        assert_eq!(test_of(Some("shop"), json!({})), "shop");
        assert_eq!(test_of(Some(""), json!({})), "shop-x7k2p");
        assert_eq!(test_of(None, json!({})), "shop-x7k2p");
    }
}
