//! `/livez`, `/readyz` and `/metrics`, on a port of their own without TLS.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicI64, Ordering},
};

use axum::{Router, extract::State, http::StatusCode, routing::get};
use tokio::net::TcpListener;

use crate::{clock, metrics::Metrics};

/// A clock task that has not ticked for so long is stuck: it ticks four times a second.
const STUCK_AFTER_US: i64 = 15_000_000;

/// What is known of the process.
#[derive(Debug)]
pub struct Health {
    beat: AtomicI64,
    ready: AtomicBool,
    metrics: Arc<Metrics>,
}

impl Health {
    /// Not ready yet, and alive from now on.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            beat: AtomicI64::new(clock::now()),
            ready: AtomicBool::new(false),
            metrics,
        }
    }

    /// The clock task runs.
    pub fn beat(&self) {
        self.beat.store(clock::now(), Ordering::Relaxed);
    }

    /// Caches are filled and the coordination server listens.
    pub fn ready(&self) {
        self.ready.store(true, Ordering::Relaxed);
    }

    fn is_alive(&self) -> bool {
        clock::now() - self.beat.load(Ordering::Relaxed) < STUCK_AFTER_US
    }
}

/// Serves until the process ends.
///
/// # Errors
/// When the server cannot go on.
pub async fn serve(listener: TcpListener, health: Arc<Health>) -> std::io::Result<()> {
    axum::serve(listener, router(health)).await
}

fn router(health: Arc<Health>) -> Router {
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(health)
}

async fn livez(State(health): State<Arc<Health>>) -> (StatusCode, &'static str) {
    if health.is_alive() {
        (StatusCode::OK, "ok\n")
    } else {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "the clock of the runs has stopped\n",
        )
    }
}

async fn readyz(State(health): State<Arc<Health>>) -> (StatusCode, &'static str) {
    if health.ready.load(Ordering::Relaxed) {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "caches are being filled\n")
    }
}

async fn metrics(
    State(health): State<Arc<Health>>,
) -> Result<([(&'static str, &'static str); 1], String), StatusCode> {
    let text = health
        .metrics
        .render()
        .map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([("content-type", kind)], text))
}
