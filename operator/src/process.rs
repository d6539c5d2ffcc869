//! Puts the parts together and runs them until one ends.
//!
//! Every replica keeps its caches filled. The one that holds the lease reconciles, listens for runners
//! and leads them to itself; it ends as a process when the lease is lost.

mod controllers;

use std::{pin::pin, sync::Arc, time::Duration};

use anyhow::Context as _;
use futures::{
    FutureExt,
    channel::mpsc::{UnboundedSender, unbounded},
};
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::{
    Api, Client, Config,
    core::{ApiResource, DynamicObject},
    runtime::{
        events::{Recorder, Reporter},
        reflector::{self, ObjectRef, Store, store::Writer},
    },
};
use loadtest_core::view::Phase;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::{oneshot, watch},
};

use self::controllers::{Triggers, control_runs, control_tests, store, watch_pods};
use crate::{
    clock,
    context::Context,
    coordination::{self, Authenticator, Authority, Gate, Registry},
    error::Backoff,
    health::{self, Health},
    lease::{Keeper, Standing, endpoint},
    metrics::Metrics,
    names,
    objects::{self, Kinds},
    rails::queue::Queue,
    settings::Settings,
};

/// Turns of the runs' clock: a report's answer is late by at most this much.
const TICK: Duration = Duration::from_millis(250);

/// Reconciles under way at the end get this long. Together with [`RESIGN_LIMIT`] it is less than the
/// chart's grace period.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);

/// Giving the lease back may take this long; it runs out by itself otherwise.
const RESIGN_LIMIT: Duration = Duration::from_secs(3);

/// A call to the API server that has not been answered for so long is tried again: it gives up itself
/// after this time, so the connection leads nowhere.
const CALL_LIMIT: Duration = Duration::from_mins(1);

/// The API server ends a watch after 290 s: one that is silent for longer leads nowhere.
const WATCH_LIMIT: Duration = Duration::from_mins(5);

/// What the parts share, and what feeds the caches.
struct Parts {
    context: Arc<Context>,
    gate: Arc<Gate>,
    tls: Arc<rustls::ServerConfig>,
    health: Arc<Health>,
    wake_run: UnboundedSender<ObjectRef<DynamicObject>>,
}

struct Feeds {
    tests: (Writer<DynamicObject>, Triggers),
    runs: (Writer<DynamicObject>, Triggers),
    pods: Writer<Pod>,
}

/// Runs the operator until it is told to end or cannot go on.
///
/// # Errors
/// When a part cannot begin or go on.
pub async fn run(settings: Settings) -> anyhow::Result<()> {
    let config = Config::infer()
        .await
        .context("cannot find the API server")?;
    let client = patient(&config, CALL_LIMIT)?;
    let watching = patient(&config, WATCH_LIMIT)?;
    let metrics = Arc::new(Metrics::new());
    let listener = listen(settings.health_listen).await?;
    let mut keeper = Keeper::new(
        client.clone(),
        (&settings.namespace, &settings.lease),
        identity(settings.pod_name.as_deref())?,
        Arc::clone(&metrics),
    );
    let (parts, feeds) = prepare(settings, (client, watching), &keeper, metrics).await?;
    if Box::pin(work(&parts, feeds, &mut keeper, listener)).await? == Drained::Wholly {
        // Nothing is under way: the next leader may act from now on.
        let resigned = tokio::time::timeout(RESIGN_LIMIT, keeper.resign()).await;
        if resigned.is_err() {
            tracing::warn!("the lease could not be given back and runs out by itself");
        }
    }
    Ok(())
}

/// A client that waits so long for the next word of an answer, and not for ever, as it would by default.
fn patient(config: &Config, limit: Duration) -> anyhow::Result<Client> {
    let mut config = config.clone();
    config.read_timeout = Some(limit);
    // From the question on: a connection may have been idle before.
    config.reset_reader_on_write = true;
    Client::try_from(config).context("cannot speak to the API server")
}

async fn prepare(
    settings: Settings,
    (client, watching): (Client, Client),
    keeper: &Keeper,
    metrics: Arc<Metrics>,
) -> anyhow::Result<(Parts, Feeds)> {
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
    let gate = Gate {
        leadership: keeper.leadership(),
        authenticator: Authenticator::new(client.clone()),
        registry: Arc::clone(&registry),
        pods: pods.clone(),
        runs: runs.clone(),
        kinds: kinds.clone(),
        metrics: Arc::clone(&metrics),
        epoch: 1,
    };
    let context = Context {
        recorder: Recorder::new(client.clone(), reporter),
        client,
        watching,
        leadership: keeper.leadership(),
        kinds,
        registry,
        queue: Queue::default(),
        tests,
        runs,
        pods,
        wake_test,
        metrics: Arc::clone(&metrics),
        authority,
        backoff: Backoff::default(),
        settings,
    };
    let parts = Parts {
        context: Arc::new(context),
        gate: Arc::new(gate),
        tls,
        health: Arc::new(Health::new(metrics)),
        wake_run,
    };
    let feeds = Feeds {
        tests: (tests_writer, test_triggers),
        runs: (runs_writer, run_triggers),
        pods: pods_writer,
    };
    Ok((parts, feeds))
}

/// How the work ended.
#[derive(Debug, PartialEq, Eq)]
enum Drained {
    /// No reconcile is under way.
    Wholly,
    /// One was cut off: what it asked for last may still be done.
    Partly,
}

/// Runs all parts until the process is told to end, and then what is under way to its end.
async fn work(
    parts: &Parts,
    feeds: Feeds,
    keeper: &mut Keeper,
    listener: TcpListener,
) -> anyhow::Result<Drained> {
    let Parts {
        context, health, ..
    } = parts;
    let Feeds { tests, runs, pods } = feeds;
    let (end, ended) = oneshot::channel::<()>();
    let stop = ended.map(drop).boxed().shared();
    let standing = keeper.standing();
    let controllers = async {
        tokio::join!(
            control_runs(Arc::clone(context), runs, stop.clone()),
            control_tests(Arc::clone(context), tests, stop.clone()),
        )
    };
    let all = async {
        tokio::select! {
            result = health::serve(listener, Arc::clone(health)) => result.context("the health server ended"),
            () = watch_pods(context, pods, &parts.wake_run) => anyhow::bail!("the watch of pods ended"),
            ((), ()) = controllers => Ok(()),
            () = keeper.run() => anyhow::bail!("the lease is lost: another replica may act"),
            result = lead(parts, standing.clone()) => result,
            () = become_ready(context, standing.clone(), health) => anyhow::bail!("the keeper of the lease ended"),
            () = tick(context, health) => anyhow::bail!("the clock ended"),
        }
    };
    let mut all = pin!(all);
    let mut terminated = signal(SignalKind::terminate())?;
    tokio::select! {
        result = &mut all => {
            result?;
            anyhow::bail!("a controller ended");
        }
        _ = terminated.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    tracing::info!("ending");
    // Fails only when the controllers have ended already.
    let _ = end.send(());
    match tokio::time::timeout(DRAIN_LIMIT, all).await {
        Ok(result) => result.map(|()| Drained::Wholly),
        Err(_) => Ok(Drained::Partly),
    }
}

/// Different in each process, or a new one would take its predecessor's lease for its own.
fn identity(pod: Option<&str>) -> anyhow::Result<String> {
    let mut bytes = [0; 8];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| anyhow::anyhow!("the system gives no random bytes"))?;
    let pod = pod.unwrap_or(names::MANAGER);
    Ok(format!("{pod}_{:016x}", u64::from_be_bytes(bytes)))
}

async fn listen(address: std::net::SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}"))?;
    tracing::info!(address = %listener.local_addr()?, "listening");
    Ok(listener)
}

/// Waits for the lease and for the caches, and then does what only the leader does.
async fn lead(parts: &Parts, mut standing: watch::Receiver<Standing>) -> anyhow::Result<()> {
    let context = &parts.context;
    standing
        .wait_for(|standing| *standing == Standing::Leading)
        .await?;
    caches_filled(context).await;
    // Not earlier: the other replicas refuse connections at once instead of leaving them open.
    let listener = listen(context.settings.coordination_listen).await?;
    parts.health.serving();
    wake_all(&context.runs, &context.kinds.run, &parts.wake_run);
    wake_all(&context.tests, &context.kinds.test, &context.wake_test);
    let (tls, gate) = (Arc::clone(&parts.tls), Arc::clone(&parts.gate));
    let announced = async {
        if let Some(announcement) = &context.settings.announcement {
            endpoint::keep(context, announcement).await;
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = coordination::serve(listener, tls, gate) => anyhow::bail!("the coordination server ended"),
        () = announced => Ok(()),
    }
}

async fn caches_filled(context: &Context) {
    // Fails only when the process is ending.
    let _ = context.tests.wait_until_ready().await;
    let _ = context.runs.wait_until_ready().await;
    let _ = context.pods.wait_until_ready().await;
}

/// Has everything looked at that was skipped while another replica acted.
fn wake_all(
    store: &Store<DynamicObject>,
    kind: &ApiResource,
    wake: &UnboundedSender<ObjectRef<DynamicObject>>,
) {
    for object in store.state() {
        // Fails only when the process is ending.
        let _ = wake.unbounded_send(ObjectRef::from_obj_with(&*object, kind.clone()));
    }
}

/// Opens the gates of `/readyz`.
async fn become_ready(context: &Context, mut standing: watch::Receiver<Standing>, health: &Health) {
    let caches = async {
        caches_filled(context).await;
        health.caches_filled();
    };
    let lease = async {
        while standing
            .wait_for(|standing| *standing != Standing::Unknown)
            .await
            .is_ok()
        {
            health.standing(*standing.borrow_and_update());
            if standing.changed().await.is_err() {
                break;
            }
        }
    };
    tokio::join!(caches, lease);
}

/// The clock of the runs under way, and the numbers about them.
async fn tick(context: &Context, health: &Health) {
    let mut interval = tokio::time::interval(TICK);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        health.beat();
        turn(context);
    }
}

fn turn(context: &Context) {
    let now = clock::now();
    let (mut runners, mut pending) = (0, 0);
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
            pending += view.export.as_ref().map_or(0, |export| export.pending);
        }
    }
    context.queue.call(context, now);
    context
        .metrics
        .active_runs
        .set(i64::try_from(runs.len()).unwrap_or(i64::MAX));
    context.metrics.active_runners.set(runners);
    let pending = i64::try_from(pending).unwrap_or(i64::MAX);
    context.metrics.records_pending.set(pending);
}
