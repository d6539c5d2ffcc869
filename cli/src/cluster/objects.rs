//! `LoadTest` and `LoadTestRun` in a cluster.
//!
//! They are read without their types: one object that a newer operator wrote must not keep all
//! others from being listed.

use std::time::Duration;

use k8s_openapi::{api::core::v1::ConfigMap, jiff::Timestamp};
use kube::{
    Api, Client, ResourceExt,
    api::{ListParams, Patch, PatchParams, PostParams},
    core::{ApiResource, DynamicObject},
};
use loadtest_crds::{
    LoadTest, LoadTestRun, LoadTestRunStatus, names, rule,
    status::{ConditionStatus, kind},
};
use serde::Deserialize as _;
use serde_json::{Value, json};

use super::ClusterError;

/// Objects that are asked for at once.
const PAGE: u32 = 500;

/// Before a busy server is asked again: an API server that throttles says "in a second".
const PAUSES: [Duration; 3] = [
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
];

/// A namespace of a cluster.
#[derive(Clone)]
pub struct Cluster {
    /// Talks to it.
    pub client: Client,
    /// Its address, for messages.
    pub server: String,
    /// Where objects are.
    pub namespace: String,
    tests: ApiResource,
    runs: ApiResource,
}

/// A `LoadTestRun`.
#[derive(Debug, Clone)]
pub struct Run {
    /// As it is stored.
    pub object: DynamicObject,
    /// What became of it by now; empty before the operator has seen it.
    pub status: LoadTestRunStatus,
}

impl Run {
    fn new(object: DynamicObject) -> Self {
        let status = object.data.get("status");
        // A status of a version that says things otherwise is one that says nothing to us.
        let status = status.and_then(|status| LoadTestRunStatus::deserialize(status).ok());
        Self {
            status: status.unwrap_or_default(),
            object,
        }
    }

    /// Its name.
    pub fn name(&self) -> String {
        self.object.name_any()
    }

    /// Name of the test that it is a run of: of a `LoadTest` in the cluster, or in a file.
    pub fn test(&self) -> Option<&str> {
        let of = self.object.data.pointer("/spec/loadTestRef/name");
        let label = || self.object.labels().get(names::LABEL_TEST);
        of.and_then(Value::as_str)
            .or_else(|| label().map(String::as_str))
    }

    /// A member of its spec.
    pub fn spec(&self, member: &str) -> Option<&Value> {
        self.object.data.get("spec")?.get(member)
    }

    /// When it was made.
    pub fn created(&self) -> Option<Timestamp> {
        self.object.creation_timestamp().map(|time| time.0)
    }

    /// Whether all is over.
    pub fn is_finished(&self) -> bool {
        self.condition(kind::FINISHED) == Some(ConditionStatus::True)
    }

    /// Whether the operator refused what the run asks for.
    pub fn is_refused(&self) -> bool {
        self.condition(kind::ACCEPTED) == Some(ConditionStatus::False)
    }

    /// Whether the operator has looked at it.
    pub fn is_seen(&self) -> bool {
        self.status.phase.is_some()
    }

    fn condition(&self, kind: &str) -> Option<ConditionStatus> {
        let conditions = self.status.conditions.iter();
        let mut found = conditions.filter(|condition| condition.kind == kind);
        found.next().map(|condition| condition.status)
    }
}

/// Which runs a name stands for.
const RUN_OR_TEST: &str = "LoadTestRun or LoadTest with runs";
const TEST_MEND: &str =
    "`kubectl get loadtests -A` lists those that there are; a file is run with -f FILE";
const RUN_OR_TEST_MEND: &str =
    "`kubectl loadtest history` and `kubectl get loadtests` list what there is";

impl Cluster {
    /// A namespace of the cluster that the client talks to.
    pub fn new(client: Client, server: String, namespace: String) -> Self {
        Self {
            client,
            server,
            namespace,
            tests: ApiResource::erase::<LoadTest>(&()),
            runs: ApiResource::erase::<LoadTestRun>(&()),
        }
    }

    /// Makes an error of the client one of ours.
    pub fn failed(&self, doing: &'static str) -> impl Fn(kube::Error) -> ClusterError + use<'_> {
        move |error| ClusterError::api(doing, &self.server, error)
    }

    /// The same cluster, in another namespace if there is one.
    #[must_use]
    pub fn or_in(&self, namespace: Option<&str>) -> Self {
        let mut there = self.clone();
        if let Some(namespace) = namespace {
            namespace.clone_into(&mut there.namespace);
        }
        there
    }

    fn test_api(&self) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.namespace, &self.tests)
    }

    fn run_api(&self) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.namespace, &self.runs)
    }

    /// A `LoadTest`.
    ///
    /// # Errors
    /// When there is none of this name, or it cannot be read.
    pub async fn test(&self, name: &str) -> Result<DynamicObject, ClusterError> {
        let found = get(&self.test_api(), name).await;
        let found = found.map_err(self.failed("read the LoadTest"))?;
        found.ok_or_else(|| ClusterError::NotFound {
            kind: "LoadTest",
            name: name.to_owned(),
            namespace: self.namespace.clone(),
            mend: TEST_MEND,
        })
    }

    /// The names of all `LoadTest`s.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn test_names(&self) -> Result<Vec<String>, ClusterError> {
        let (api, all) = (self.test_api(), ListParams::default());
        let list = patiently(|| api.list_metadata(&all)).await;
        let list = list.map_err(self.failed("list LoadTests"))?;
        Ok(list.items.iter().map(ResourceExt::name_any).collect())
    }

    /// A run by its own name.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn run(&self, name: &str) -> Result<Option<Run>, ClusterError> {
        let found = get(&self.run_api(), name).await;
        let found = found.map_err(self.failed("read the LoadTestRun"))?;
        Ok(found.map(Run::new))
    }

    /// The run of a name: a run's own, or that of a `LoadTest`, whose newest run it then is. A kind
    /// before the name says which is meant: `ltrun/NAME`, `ltest/NAME`.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    pub async fn find(&self, name: &str) -> Result<Run, ClusterError> {
        let all = self.find_all(name).await?;
        all.into_iter().next().ok_or_else(|| self.nothing(name))
    }

    fn nothing(&self, name: &str) -> ClusterError {
        ClusterError::NotFound {
            kind: RUN_OR_TEST,
            name: name.to_owned(),
            namespace: self.namespace.clone(),
            mend: RUN_OR_TEST_MEND,
        }
    }

    /// Whether a name without runs is no mistake: a `LoadTest` may have none yet.
    ///
    /// # Errors
    /// When it is one, or cannot be looked for.
    pub async fn may_have_no_runs(&self, name: &str) -> Result<(), ClusterError> {
        match split(name)? {
            (Some(Kind::Run), _) => Err(self.nothing(name)),
            (_, test) => self.test(test).await.map(drop),
        }
    }

    /// All runs that a name stands for, the newest first: see [`Self::find`].
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn find_all(&self, name: &str) -> Result<Vec<Run>, ClusterError> {
        let (of_kind, name) = split(name)?;
        if of_kind != Some(Kind::Test)
            && let Some(run) = self.run(name).await?
        {
            return Ok(vec![run]);
        }
        if of_kind == Some(Kind::Run) {
            return Ok(Vec::new());
        }
        let runs = self.runs().await?;
        let of_test = runs.into_iter().filter(|run| run.test() == Some(name));
        Ok(of_test.collect())
    }

    /// All runs of the namespace, the newest first.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn runs(&self) -> Result<Vec<Run>, ClusterError> {
        let api = self.run_api();
        let mut page = ListParams::default().limit(PAGE);
        let mut runs = Vec::new();
        loop {
            let list = patiently(|| api.list(&page)).await;
            let list = list.map_err(self.failed("list LoadTestRuns"))?;
            runs.extend(list.items.into_iter().map(Run::new));
            match list.metadata.continue_ {
                Some(token) if !token.is_empty() => page = page.continue_token(&token),
                _ => break,
            }
        }
        // Times have whole seconds: the number decides between runs of the same one.
        let number = |run: &Run| run.spec("number").and_then(Value::as_i64);
        runs.sort_by_key(|run| std::cmp::Reverse((run.created(), number(run), run.name())));
        Ok(runs)
    }

    /// Makes a run. It is asked for once: a cluster whose answer was lost may have made it, and a
    /// second one would send its load beside the first.
    ///
    /// # Errors
    /// When the cluster refuses it, or does not say whether it made it.
    pub async fn create(&self, run: &DynamicObject) -> Result<Run, ClusterError> {
        let created = self.run_api().create(&PostParams::default(), run).await;
        created.map(Run::new).map_err(|error| match error {
            kube::Error::Api(status) if matches!(status.code, 500 | 502 | 504) => {
                ClusterError::Unsure {
                    server: self.server.clone(),
                    message: status.message,
                    namespace: self.namespace.clone(),
                }
            }
            error => ClusterError::api("start a run", &self.server, error),
        })
    }

    /// A new run of a test, without a name of its own yet, with the label that all objects of a
    /// test have.
    pub fn new_run(&self, test: &str, spec: &Value) -> DynamicObject {
        let mut run = DynamicObject::new("", &self.runs).data(json!({"spec": spec}));
        // What the API server adds must fit into the name of a run.
        let prefix: String = test.chars().take(rule::MAX_TEST_NAME).collect();
        run.metadata.name = None;
        run.metadata.generate_name = Some(format!("{prefix}-"));
        run.metadata.namespace = Some(self.namespace.clone());
        run.metadata.labels = Some([(names::LABEL_TEST.to_owned(), test.to_owned())].into());
        run
    }

    /// Tells a run to stop.
    ///
    /// # Errors
    /// When it cannot be told.
    pub async fn cancel(&self, name: &str) -> Result<(), ClusterError> {
        let (api, params) = (self.run_api(), PatchParams::default());
        let cancel = Patch::Merge(json!({"spec": {"cancel": true}}));
        let patched = patiently(|| api.patch(name, &params, &cancel)).await;
        patched.map(drop).map_err(self.failed("stop the run"))
    }

    /// A `ConfigMap`, such as the plan or the result of a run.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn config_map(&self, name: &str) -> Result<Option<ConfigMap>, ClusterError> {
        let maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), &self.namespace);
        let found = patiently(|| maps.get_opt(name)).await;
        found.map_err(self.failed("read the run's ConfigMaps"))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Test,
    Run,
}

/// A name, and the kind that stands before it.
fn split(name: &str) -> Result<(Option<Kind>, &str), ClusterError> {
    match name.split_once('/') {
        Some((kind, name)) => Ok((Some(kind_of(kind)?), name)),
        None => Ok((None, name)),
    }
}

/// A kind as `kubectl` takes it before a name.
fn kind_of(text: &str) -> Result<Kind, ClusterError> {
    let lower = text.to_ascii_lowercase();
    let plain = lower.strip_suffix(".loadtest.dev").unwrap_or(&lower);
    match plain {
        "loadtest" | "loadtests" | "ltest" => Ok(Kind::Test),
        "loadtestrun" | "loadtestruns" | "ltrun" => Ok(Kind::Run),
        _ => Err(ClusterError::Usage(format!(
            "{text:?} is no kind of ours: write ltest/NAME, ltrun/NAME or the name alone"
        ))),
    }
}

/// Asks again, for seconds, while the server is busy: only for what may be done twice.
pub async fn patiently<T, Asked>(ask: impl Fn() -> Asked) -> kube::Result<T>
where
    Asked: Future<Output = kube::Result<T>>,
{
    for pause in PAUSES {
        match ask().await {
            Err(kube::Error::Api(status)) if matches!(status.code, 429 | 503 | 504) => {
                tokio::time::sleep(pause).await;
            }
            answered => return answered,
        }
    }
    ask().await
}

/// That an object is not there is an answer; that its kind is not there is none.
async fn get(api: &Api<DynamicObject>, name: &str) -> kube::Result<Option<DynamicObject>> {
    match patiently(|| api.get(name)).await {
        Ok(object) => Ok(Some(object)),
        Err(kube::Error::Api(status))
            if status.code == 404 && status.details.as_ref().is_some_and(|of| of.name == name) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
