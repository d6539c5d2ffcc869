//! `/livez`, `/readyz` and `/metrics`, on a port of their own without TLS.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicI64, Ordering},
};

use axum::{Router, extract::State, http::StatusCode, routing::get};
use tokio::net::TcpListener;

use crate::{clock, lease::Standing, metrics::Metrics};

/// A clock task that has not ticked for so long is stuck: it ticks four times a second.
const STUCK_AFTER_US: i64 = 15_000_000;

/// What is known of the process.
#[derive(Debug)]
pub struct Health {
    beat: AtomicI64,
    caches: AtomicBool,
    lease_known: AtomicBool,
    leading: AtomicBool,
    serving: AtomicBool,
    metrics: Arc<Metrics>,
}

impl Health {
    /// Not ready yet, and alive from now on.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            beat: AtomicI64::new(clock::now()),
            caches: AtomicBool::new(false),
            lease_known: AtomicBool::new(false),
            leading: AtomicBool::new(false),
            serving: AtomicBool::new(false),
            metrics,
        }
    }

    /// The clock task runs.
    pub fn beat(&self) {
        self.beat.store(clock::now(), Ordering::Relaxed);
    }

    /// All objects are known, so the API server serves their kinds.
    pub fn caches_filled(&self) {
        self.caches.store(true, Ordering::Relaxed);
    }

    /// What this replica is.
    pub fn standing(&self, standing: Standing) {
        let (known, leading) = match standing {
            Standing::Unknown => (false, false),
            Standing::Standby => (true, false),
            Standing::Leading => (true, true),
        };
        self.leading.store(leading, Ordering::Relaxed);
        self.lease_known.store(known, Ordering::Relaxed);
    }

    /// The coordination server listens.
    pub fn serving(&self) {
        self.serving.store(true, Ordering::Relaxed);
    }

    /// Why this replica is not fit to act, or to take over.
    fn missing(&self) -> Option<&'static str> {
        let is = |gate: &AtomicBool| gate.load(Ordering::Relaxed);
        if !is(&self.caches) {
            Some("caches are being filled; are the CustomResourceDefinitions installed?\n")
        } else if !is(&self.lease_known) {
            Some("the lease has not been read; may the operator read it?\n")
        } else if is(&self.leading) && !is(&self.serving) {
            Some("the coordination server does not listen yet\n")
        } else {
            None
        }
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
    match health.missing() {
        None => (StatusCode::OK, "ok\n"),
        Some(missing) => (StatusCode::SERVICE_UNAVAILABLE, missing),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn missing(health: &Health) -> &'static str {
        health.missing().unwrap_or("nothing")
    }

    #[test]
    fn a_standby_is_ready_with_caches_and_lease_and_a_leader_when_it_listens() {
        let health = Health::new(Arc::new(Metrics::new()));
        assert!(missing(&health).starts_with("caches are being filled"));
        health.caches_filled();
        assert!(missing(&health).starts_with("the lease has not been read"));
        health.standing(Standing::Standby);
        assert_eq!(missing(&health), "nothing");
        health.standing(Standing::Leading);
        assert!(missing(&health).starts_with("the coordination server"));
        health.serving();
        assert_eq!(missing(&health), "nothing");
    }
}
