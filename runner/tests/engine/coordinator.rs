//! The real coordinator behind a small server whose answers can be lost.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::{
    Router,
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    routing::post,
};
use loadtest_core::{
    coordinator::{Coordinator, Resume},
    plan::Plan,
    report::{EngineReport, UnixMicros, decode, encode},
    series::SeriesSet,
    view::RunView,
};

pub const TOKEN: &str = "a-token-of-this-test";

/// What becomes of the exchange of report number `n`, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Delivered,
    /// The report never arrives.
    ReportLost,
    /// The report is merged, its answer never arrives.
    AnswerLost,
}

type Fates = Box<dyn Fn(usize) -> Fate + Send>;

pub struct Inner {
    pub coordinator: Coordinator,
    pub reports: Vec<EngineReport>,
    plan: Arc<Plan>,
    hash: String,
    epoch: u64,
    start: Option<UnixMicros>,
    fates: Fates,
}

/// Serves one run's runners; ends when it is dropped.
pub struct Server {
    pub address: SocketAddr,
    pub inner: Arc<Mutex<Inner>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub fn now() -> UnixMicros {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_micros() as UnixMicros
}

impl Server {
    pub async fn start(plan: &Plan, hash: &str) -> Self {
        let plan = Arc::new(plan.clone());
        let inner = Arc::new(Mutex::new(Inner {
            coordinator: Coordinator::new(Arc::clone(&plan), hash.to_owned(), 1, now()),
            reports: Vec::new(),
            plan,
            hash: hash.to_owned(),
            epoch: 1,
            start: None,
            fates: Box::new(|_| Fate::Delivered),
        }));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = Router::new()
            .route("/v1/runs/{run}/runners/{index}/engine", post(report))
            .with_state(Arc::clone(&inner));
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self {
            address,
            inner,
            task,
        }
    }

    pub fn fates(&self, fates: impl Fn(usize) -> Fate + Send + 'static) {
        self.inner.lock().unwrap().fates = Box::new(fates);
    }

    /// The coordinator dies; a successor knows only when the run began.
    pub fn restart(&self) {
        let mut inner = self.inner.lock().unwrap();
        inner.epoch += 1;
        let resume = Resume {
            start: inner.start,
            ..Resume::default()
        };
        inner.coordinator = Coordinator::resume(
            Arc::clone(&inner.plan),
            inner.hash.clone(),
            inner.epoch,
            now(),
            resume,
        );
    }

    pub fn cancel(&self) {
        self.inner.lock().unwrap().coordinator.cancel(now());
    }

    /// What the coordinator knows now.
    pub fn view(&self) -> RunView {
        self.inner.lock().unwrap().coordinator.view(now())
    }

    pub fn merged(&self) -> SeriesSet {
        self.inner.lock().unwrap().coordinator.merged().clone()
    }

    pub fn reports(&self) -> Vec<EngineReport> {
        self.inner.lock().unwrap().reports.clone()
    }

    /// Waits until a condition holds.
    pub async fn until(&self, what: &str, condition: impl Fn(&Inner) -> bool) {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        while !condition(&self.inner.lock().unwrap()) {
            assert!(
                tokio::time::Instant::now() < deadline,
                "waited in vain until {what}"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

async fn report(
    State(inner): State<Arc<Mutex<Inner>>>,
    Path((run, index)): Path<(String, u32)>,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, Vec<u8>) {
    let mut inner = inner.lock().unwrap();
    assert_eq!(run, inner.plan.run.id);
    assert_eq!(headers["authorization"], format!("Bearer {TOKEN}"));
    let report: EngineReport = decode(&body).unwrap();
    let fate = (inner.fates)(inner.reports.len());
    inner.reports.push(report.clone());
    if fate == Fate::ReportLost {
        return (StatusCode::SERVICE_UNAVAILABLE, b"not now".to_vec());
    }
    let answer = inner
        .coordinator
        .engine_report(index, report, now())
        .unwrap();
    // This driver's memory is durable at once.
    inner.coordinator.confirm_start();
    inner.coordinator.confirm_early_end();
    if let loadtest_core::report::Desired::StartAt(at) = answer.desired {
        inner.start = Some(at);
    }
    inner.coordinator.confirm_judgement();
    inner.coordinator.confirm_completion();
    if fate == Fate::AnswerLost {
        return (StatusCode::BAD_GATEWAY, b"lost".to_vec());
    }
    (StatusCode::OK, encode(&answer).unwrap())
}
