//! Both controllers and the watches that feed them.

use std::{fmt::Debug, hash::Hash, sync::Arc, time::Instant};

use futures::{
    Stream, StreamExt,
    channel::mpsc::{UnboundedReceiver, UnboundedSender},
    future::{BoxFuture, Shared},
};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Resource,
    core::{ApiResource, DynamicObject},
    runtime::{
        Controller, WatchStreamExt,
        controller::{self, Action},
        reflector::{ObjectRef, Store, store::Writer},
        watcher,
    },
};
use serde::de::DeserializeOwned;

use crate::{
    context::Context,
    error::Error,
    loadtest,
    metrics::{ControllerLabel, ErrorLabel},
    names, run,
};

/// Reconciles at once; each waits for the API server most of the time.
const CONCURRENCY: u16 = 16;

/// Objects to reconcile for another reason than a change of their own.
pub type Triggers = UnboundedReceiver<ObjectRef<DynamicObject>>;

/// Ends when no new reconcile may begin.
pub type Stop = Shared<BoxFuture<'static, ()>>;

/// A store and what fills it.
pub fn store(kind: &ApiResource) -> (Store<DynamicObject>, Writer<DynamicObject>) {
    let writer = Writer::new(kind.clone());
    (writer.as_reader(), writer)
}

/// The roots of one kind as they change.
fn watched(
    context: &Context,
    kind: &ApiResource,
    writer: Writer<DynamicObject>,
) -> impl Stream<Item = Result<DynamicObject, watcher::Error>> + Send + use<> {
    let client = context.watching.clone();
    let api = match &context.settings.watch_namespace {
        Some(namespace) => Api::namespaced_with(client, namespace, kind),
        None => Api::all_with(client, kind),
    };
    changes(api, watcher::Config::default(), writer)
}

/// Objects as they change, each in the store before it is in the stream.
fn changes<K>(
    api: Api<K>,
    config: watcher::Config,
    writer: Writer<K>,
) -> impl Stream<Item = Result<K, watcher::Error>> + Send
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    K::DynamicType: Eq + Hash + Clone + Send + Sync,
{
    watcher(api, config)
        .default_backoff()
        .reflect(writer)
        .touched_objects()
}

/// Keeps the runners' pods, and has their runs reconciled.
pub async fn watch_pods(
    context: &Context,
    writer: Writer<Pod>,
    wake_run: &UnboundedSender<ObjectRef<DynamicObject>>,
) {
    let api: Api<Pod> = match &context.settings.watch_namespace {
        Some(namespace) => Api::namespaced(context.watching.clone(), namespace),
        None => Api::all(context.watching.clone()),
    };
    let labels = format!(
        "{}={},{}",
        names::MANAGED_BY_LABEL,
        names::MANAGER,
        names::RUN_LABEL
    );
    let config = watcher::Config::default().labels(&labels);
    let pods = changes(api, config, writer);
    pods.for_each(|pod| {
        match pod {
            Ok(pod) => {
                if let Some(run) = run::of_pod(context, &pod) {
                    // Fails only when the process is ending.
                    let _ = wake_run.unbounded_send(run);
                }
            }
            Err(error) => tracing::warn!(%error, "the watch of pods failed"),
        }
        std::future::ready(())
    })
    .await;
}

/// Reconciles runs until `stop`, and ends when those under way have ended.
pub async fn control_runs(
    context: Arc<Context>,
    (writer, triggers): (Writer<DynamicObject>, Triggers),
    stop: Stop,
) {
    let kind = context.kinds.run.clone();
    let config = controller::Config::default().concurrency(CONCURRENCY);
    // Before the first run is looked at, its pods must be known: a runner whose pod is not there
    // yet would count as lost.
    tokio::select! {
        Ok(()) = context.pods.wait_until_ready() => {}
        () = stop.clone() => return,
    }
    let runs = watched(&context, &kind, writer);
    let reader = context.runs.clone();
    Controller::for_stream_with(runs, reader, kind)
        .with_config(config)
        .reconcile_on(triggers)
        .graceful_shutdown_on(stop)
        .run(
            |run, context| timed("run", run, context, run::reconcile),
            |run, error, context| failed("run", &run, error, &context),
            Arc::clone(&context),
        )
        .for_each(|result| {
            watch_failed("runs", result);
            std::future::ready(())
        })
        .await;
}

/// Reconciles tests until `stop`, and ends when those under way have ended.
pub async fn control_tests(
    context: Arc<Context>,
    (writer, triggers): (Writer<DynamicObject>, Triggers),
    stop: Stop,
) {
    let kind = context.kinds.test.clone();
    let config = controller::Config::default().concurrency(CONCURRENCY);
    // Before the first test is looked at, its runs must be known, or one would be created anew.
    tokio::select! {
        Ok(()) = context.runs.wait_until_ready() => {}
        () = stop.clone() => return,
    }
    let tests = watched(&context, &kind, writer);
    let reader = context.tests.clone();
    Controller::for_stream_with(tests, reader, kind)
        .with_config(config)
        .reconcile_on(triggers)
        .graceful_shutdown_on(stop)
        .run(
            |test, context| timed("loadtest", test, context, loadtest::reconcile),
            |test, error, context| failed("loadtest", &test, error, &context),
            Arc::clone(&context),
        )
        .for_each(|result| {
            watch_failed("tests", result);
            std::future::ready(())
        })
        .await;
}

async fn timed<F>(
    controller: &'static str,
    object: Arc<DynamicObject>,
    context: Arc<Context>,
    reconcile: impl FnOnce(Arc<DynamicObject>, Arc<Context>) -> F,
) -> Result<Action, Error>
where
    F: Future<Output = Result<Action, Error>>,
{
    // All objects are looked at again when this replica begins to act.
    if !context.leadership.is_valid() {
        return Ok(Action::await_change());
    }
    let label = ControllerLabel { controller };
    let begun = Instant::now();
    let key = key(controller, &object);
    let mut result = reconcile(Arc::clone(&object), Arc::clone(&context)).await;
    if let Err(error) = result.as_ref()
        && error.is_moot()
    {
        let name = object.metadata.name.as_deref().unwrap_or_default();
        tracing::debug!(controller, name, %error, "what it was about is gone");
        result = Ok(Action::await_change());
    }
    context.metrics.reconciles.get_or_create(&label).inc();
    let duration = context.metrics.reconcile_duration.get_or_create(&label);
    duration.observe(begun.elapsed().as_secs_f64());
    if result.is_ok() {
        context.backoff.forget(&key);
    }
    result
}

fn failed(
    controller: &'static str,
    object: &DynamicObject,
    error: &Error,
    context: &Context,
) -> Action {
    let class = error.class();
    context
        .metrics
        .reconcile_errors
        .get_or_create(&ErrorLabel { controller, class })
        .inc();
    let wait = context.backoff.after_failure(&key(controller, object));
    let name = object.metadata.name.as_deref().unwrap_or_default();
    let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
    match error {
        Error::NotYet(_) | Error::NotLeading => {
            tracing::info!(controller, namespace, name, %error, ?wait, "waiting");
        }
        Error::Broken { .. } => {
            tracing::error!(controller, namespace, name, %error, ?wait, "reconcile failed");
        }
        Error::Api { .. } => {
            tracing::warn!(controller, namespace, name, %error, ?wait, "reconcile failed");
        }
    }
    Action::requeue(wait)
}

fn key(controller: &str, object: &DynamicObject) -> String {
    format!(
        "{controller}/{}",
        object.metadata.uid.as_deref().unwrap_or_default()
    )
}

fn watch_failed<T>(
    what: &'static str,
    result: Result<T, controller::Error<Error, watcher::Error>>,
) {
    match result {
        // Reconcile errors were told by the error policy; an object that is gone is no error.
        Ok(_)
        | Err(controller::Error::ReconcilerFailed(..) | controller::Error::ObjectNotFound(_)) => {}
        Err(error) => tracing::warn!(%error, "the watch of {what} failed"),
    }
}
