//! Puts the parts together and runs them until one ends.

use std::{
    fmt::Debug,
    hash::Hash,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use futures::{
    Stream, StreamExt,
    channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded},
};
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::{
    Api, Client, Resource,
    core::{ApiResource, DynamicObject},
    runtime::{
        Controller, WatchStreamExt,
        controller::{self, Action},
        events::{Recorder, Reporter},
        reflector::{self, ObjectRef, Store, store::Writer},
        watcher,
    },
};
use loadtest_core::view::Phase;
use serde::de::DeserializeOwned;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

use crate::{
    clock,
    context::Context,
    coordination::{self, Authenticator, Authority, Gate, Registry},
    error::{Backoff, Error},
    health::{self, Health},
    loadtest,
    metrics::{ControllerLabel, ErrorLabel, Metrics},
    names,
    objects::{self, Kinds},
    run,
    settings::Settings,
};

/// Turns of the runs' clock: a report's answer is late by at most this much.
const TICK: Duration = Duration::from_millis(250);

/// Reconciles at once; each waits for the API server most of the time.
const CONCURRENCY: u16 = 16;

type Triggers = UnboundedReceiver<ObjectRef<DynamicObject>>;

/// Runs the operator until it is told to end or cannot go on.
///
/// # Errors
/// When a part cannot begin or go on.
pub async fn run(settings: Settings) -> anyhow::Result<()> {
    let client = Client::try_default()
        .await
        .context("cannot find the API server")?;
    let metrics = Arc::new(Metrics::new());
    let health = Arc::new(Health::new(Arc::clone(&metrics)));
    let health_listener = listen(settings.health_listen).await?;
    let listener = listen(settings.coordination_listen).await?;
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &settings.namespace);
    let authority = Authority::load(&secrets, &settings.ca_secret).await?;
    let tls = authority.server_config(&settings.control.host)?;

    let kinds = Kinds::default();
    let (wake_run, run_triggers) = unbounded();
    let (wake_test, test_triggers) = unbounded();
    let (tests, tests_writer) = store(&kinds.test);
    let (runs, runs_writer) = store(&kinds.run);
    let (pods, pods_writer) = reflector::store::<Pod>();
    let registry = Arc::new(Registry::new(wake_run.clone()));
    let reporter = Reporter {
        controller: names::MANAGER.to_owned(),
        instance: settings.pod_name.clone(),
    };
    let context = Arc::new(Context {
        recorder: Recorder::new(client.clone(), reporter),
        client: client.clone(),
        kinds: kinds.clone(),
        registry: Arc::clone(&registry),
        tests,
        runs: runs.clone(),
        pods: pods.clone(),
        wake_test,
        metrics: Arc::clone(&metrics),
        authority,
        backoff: Backoff::default(),
        settings,
    });
    let gate = Arc::new(Gate {
        authenticator: Authenticator::new(client),
        registry,
        pods,
        runs,
        kinds,
        metrics,
        epoch: 1,
    });
    let mut ended = signal(SignalKind::terminate())?;
    tokio::select! {
        result = health::serve(health_listener, Arc::clone(&health)) => result.context("the health server ended"),
        result = coordination::serve(listener, tls, gate) => result.context("the coordination server ended"),
        () = watch_pods(Arc::clone(&context), pods_writer, wake_run) => anyhow::bail!("the watch of pods ended"),
        () = control_runs(Arc::clone(&context), runs_writer, run_triggers) => anyhow::bail!("the controller of runs ended"),
        () = control_tests(Arc::clone(&context), tests_writer, test_triggers) => anyhow::bail!("the controller of tests ended"),
        () = tick(Arc::clone(&context), health) => anyhow::bail!("the clock ended"),
        // Nothing is left to be done: whatever was not made durable was not promised to anybody.
        _ = ended.recv() => Ok(()),
        _ = tokio::signal::ctrl_c() => Ok(()),
    }
}

async fn listen(address: std::net::SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}"))?;
    tracing::info!(address = %listener.local_addr()?, "listening");
    Ok(listener)
}

fn store(kind: &ApiResource) -> (Store<DynamicObject>, Writer<DynamicObject>) {
    let writer = Writer::new(kind.clone());
    (writer.as_reader(), writer)
}

/// The roots of one kind as they change.
fn watched(
    context: &Context,
    kind: &ApiResource,
    writer: Writer<DynamicObject>,
) -> impl Stream<Item = Result<DynamicObject, watcher::Error>> + Send + use<> {
    let client = context.client.clone();
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

async fn watch_pods(
    context: Arc<Context>,
    writer: Writer<Pod>,
    wake_run: UnboundedSender<ObjectRef<DynamicObject>>,
) {
    let api: Api<Pod> = match &context.settings.watch_namespace {
        Some(namespace) => Api::namespaced(context.client.clone(), namespace),
        None => Api::all(context.client.clone()),
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
                if let Some(run) = run::of_pod(&context, &pod) {
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

async fn control_runs(context: Arc<Context>, writer: Writer<DynamicObject>, triggers: Triggers) {
    let kind = context.kinds.run.clone();
    let config = controller::Config::default().concurrency(CONCURRENCY);
    // Before the first run is looked at, its pods must be known: a runner whose pod is not there
    // yet would count as lost.
    if context.pods.wait_until_ready().await.is_err() {
        return;
    }
    let runs = watched(&context, &kind, writer);
    let reader = context.runs.clone();
    Controller::for_stream_with(runs, reader, kind)
        .with_config(config)
        .reconcile_on(triggers)
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

async fn control_tests(context: Arc<Context>, writer: Writer<DynamicObject>, triggers: Triggers) {
    let kind = context.kinds.test.clone();
    let config = controller::Config::default().concurrency(CONCURRENCY);
    // Before the first test is looked at, its runs must be known, or one would be created anew.
    if context.runs.wait_until_ready().await.is_err() {
        return;
    }
    let tests = watched(&context, &kind, writer);
    let reader = context.tests.clone();
    Controller::for_stream_with(tests, reader, kind)
        .with_config(config)
        .reconcile_on(triggers)
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
    let label = ControllerLabel { controller };
    let begun = Instant::now();
    let key = key(controller, &object);
    let result = reconcile(object, Arc::clone(&context)).await;
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
        Error::NotYet(_) => tracing::info!(controller, namespace, name, %error, ?wait, "waiting"),
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

/// The clock of the runs under way, and the numbers about them.
async fn tick(context: Arc<Context>, health: Arc<Health>) {
    let ready = async {
        let _ = context.tests.wait_until_ready().await;
        let _ = context.runs.wait_until_ready().await;
        let _ = context.pods.wait_until_ready().await;
        health.ready();
        tracing::info!("ready");
        std::future::pending::<()>().await;
    };
    let turns = async {
        let mut interval = tokio::time::interval(TICK);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            health.beat();
            turn(&context);
        }
    };
    tokio::join!(ready, turns);
}

fn turn(context: &Context) {
    let now = clock::now();
    let mut runners = 0;
    let runs = context.registry.all();
    for active in &runs {
        let stored = context.runs.get(&active.object);
        let stored = stored.filter(|object| objects::run_id(object) == active.id);
        let over = stored
            .as_ref()
            .is_none_or(|object| objects::is_finished(object));
        // Deleted, or over with its final status seen by the watch: from now on the server answers
        // from what is stored.
        if stored.is_none() || over && active.is_over() {
            context.registry.remove(&active.id);
            continue;
        }
        active.tick(now);
        context.registry.wake(active, now);
        let view = active.view(now);
        if view.phase != Phase::Finished {
            runners += i64::from(view.runners.ready);
        }
    }
    context
        .metrics
        .active_runs
        .set(i64::try_from(runs.len()).unwrap_or(i64::MAX));
    context.metrics.active_runners.set(runners);
}
