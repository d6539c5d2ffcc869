//! `POST /v1/runs/{run id}/runners/{index}/{engine|exporter}` over TLS.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    ResourceExt,
    core::DynamicObject,
    runtime::reflector::{ObjectRef, Store},
};
use loadtest_core::report::{self, Answer, Desired, EngineReport, EngineState, MAX_REPORT_BYTES};
use rustls::ServerConfig;
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::{Authenticator, Identity, Registry, TokenError};
use crate::{
    clock,
    lease::Leadership,
    metrics::{Metrics, RefusedLabel},
    names,
    objects::{self, Kinds},
};

/// A client that does not finish its handshake in this time is cut.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// A report that takes longer is cut: runners give up after five seconds.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection on which no request begins, or ends its head, in this time is cut: whoever can reach
/// us could else keep all of our file descriptors. Runners report each second.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// What the server asks to know who sends, and whom to give a report to.
#[derive(Debug)]
pub struct Gate {
    /// Whether this process may answer for any run.
    pub leadership: Leadership,
    /// Verifies tokens.
    pub authenticator: Authenticator,
    /// Runs under way.
    pub registry: Arc<Registry>,
    /// The runners' pods.
    pub pods: Store<Pod>,
    /// All runs.
    pub runs: Store<DynamicObject>,
    /// Kinds of the objects in `runs`.
    pub kinds: Kinds,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// Of answers about runs that have no coordinator any more.
    pub epoch: u64,
}

/// All words for why a report is refused, as the metric has them.
pub const REFUSAL_REASONS: [&str; 8] = [
    "no-token",
    "no-keys",
    "token",
    "identity",
    "not-yet",
    "not-leading",
    "body",
    "plan",
];

/// Why a report is refused.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("no bearer token")]
    NoToken,
    #[error("{0}")]
    Token(#[from] TokenError),
    #[error("{0}")]
    Forbidden(&'static str),
    #[error("this replica does not hold the lease, try again")]
    NotLeading,
    #[error("the run is not coordinated yet, try again")]
    NotYet,
    #[error("the body was cut off or is longer than {MAX_REPORT_BYTES} bytes")]
    TooLong,
    #[error("the body took too long")]
    TooSlow,
    #[error("{0}")]
    Body(#[from] report::WireError),
    #[error("{0}")]
    Coordinator(#[from] loadtest_core::coordinator::Refused),
}

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Self::Token(TokenError::Keys(_)) | Self::NotYet | Self::NotLeading => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::NoToken | Self::Token(_) => StatusCode::UNAUTHORIZED,
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::TooLong => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Body(_) => StatusCode::BAD_REQUEST,
            Self::Coordinator(_) => StatusCode::CONFLICT,
        }
    }

    /// The metric's label; one of [`REFUSAL_REASONS`].
    fn reason(&self) -> &'static str {
        match self {
            Self::NoToken => "no-token",
            Self::Token(TokenError::Keys(_)) => "no-keys",
            Self::Token(_) => "token",
            Self::Forbidden(_) => "identity",
            Self::NotYet => "not-yet",
            Self::NotLeading => "not-leading",
            Self::TooLong | Self::TooSlow | Self::Body(_) => "body",
            Self::Coordinator(_) => "plan",
        }
    }
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum PartName {
    Engine,
    Exporter,
}

/// Serves until it is dropped.
pub async fn serve(listener: TcpListener, tls: Arc<ServerConfig>, gate: Arc<Gate>) {
    serve_within(listener, tls, gate, HEAD_TIMEOUT).await;
}

/// Each connection has a task of its own, so that a slow client delays nobody.
async fn serve_within(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    gate: Arc<Gate>,
    head_timeout: Duration,
) {
    let acceptor = TlsAcceptor::from(tls);
    let service = TowerToHyperService::new(router(gate));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(head_timeout);
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(connection) => connection,
            Err(error) => {
                // Out of file descriptors, most likely: others must end first.
                tracing::warn!(%error, "cannot accept connections");
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            }
        };
        let (acceptor, service, http) = (acceptor.clone(), service.clone(), http.clone());
        tokio::spawn(async move {
            match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => {
                    let served = http.serve_connection(TokioIo::new(stream), service).await;
                    if let Err(error) = served {
                        tracing::debug!(%peer, %error, "the connection broke");
                    }
                }
                Ok(Err(error)) => tracing::debug!(%peer, %error, "TLS handshake failed"),
                Err(_) => tracing::debug!(%peer, "TLS handshake took too long"),
            }
        });
    }
}

fn router(gate: Arc<Gate>) -> Router {
    Router::new()
        .route("/v1/runs/{run}/runners/{index}/{part}", post(take))
        .with_state(gate)
}

async fn take(
    State(gate): State<Arc<Gate>>,
    Path((run, index, part)): Path<(String, u32, PartName)>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    match answer(&gate, &run, index, part, &headers, body).await {
        Ok(answer) => {
            gate.metrics.reports.inc();
            ([(header::CONTENT_TYPE, "application/msgpack")], answer).into_response()
        }
        Err(refusal) => {
            let label = RefusedLabel {
                reason: refusal.reason(),
            };
            gate.metrics.reports_refused.get_or_create(&label).inc();
            tracing::debug!(run, index, ?part, %refusal, "refused a report");
            (refusal.status(), format!("{refusal}\n")).into_response()
        }
    }
}

async fn answer(
    gate: &Gate,
    run: &str,
    index: u32,
    part: PartName,
    headers: &HeaderMap,
    body: Body,
) -> Result<Vec<u8>, Refusal> {
    // Nobody's body is read before it is known who sends it.
    let token = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "))
        .ok_or(Refusal::NoToken)?;
    let identity = gate.authenticator.verify(token).await?;
    let pod = gate.pod_of(&identity)?;
    admit(&pod, run, index)?;
    let body = read(body).await?;
    // Reading may have taken seconds: asked as late as can be.
    if !gate.leadership.is_valid() {
        return Err(Refusal::NotLeading);
    }
    let answer = match gate.registry.get(run) {
        Some(active) => {
            if active.object.namespace != pod.metadata.namespace {
                return Err(Refusal::Forbidden(
                    "the pod is in another namespace than the run",
                ));
            }
            let now = clock::now();
            let answer = match part {
                PartName::Engine => active.engine_report(index, report::decode(&body)?, now)?,
                PartName::Exporter => active.exporter_report(index, report::decode(&body)?, now)?,
            };
            gate.registry.wake(&active, now);
            answer
        }
        None => gate.answer_without_coordinator(&pod, run, part, &body)?,
    };
    Ok(report::encode(&answer)?)
}

async fn read(body: Body) -> Result<Bytes, Refusal> {
    let whole = axum::body::to_bytes(body, MAX_REPORT_BYTES);
    match tokio::time::timeout(BODY_TIMEOUT, whole).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(_)) => Err(Refusal::TooLong),
        Err(_) => Err(Refusal::TooSlow),
    }
}

/// Whether a pod may speak for this runner: what the operator wrote on it says so. A pod that
/// somebody else made with our labels can only falsify runs of its own namespace.
fn admit(pod: &Pod, run: &str, index: u32) -> Result<(), Refusal> {
    if pod
        .annotations()
        .get(names::RUN_ID)
        .is_none_or(|id| id != run)
    {
        return Err(Refusal::Forbidden("the pod belongs to another run"));
    }
    let of_pod = pod
        .annotations()
        .get(names::COMPLETION_INDEX)
        .and_then(|text| text.parse().ok());
    if of_pod != Some(index) {
        return Err(Refusal::Forbidden("the pod is another runner"));
    }
    Ok(())
}

impl Gate {
    fn pod_of(&self, identity: &Identity) -> Result<Arc<Pod>, Refusal> {
        let key = ObjectRef::new(&identity.pod).within(&identity.namespace);
        self.pods
            .get(&key)
            .filter(|pod| pod.uid().is_some_and(|uid| uid == identity.pod_uid))
            .ok_or(Refusal::Forbidden("the token's pod is no runner"))
    }

    /// A run that is over wants its runners to exit; one that is gone, to stop first; one that the
    /// operator has not looked at since it started, to try again.
    fn answer_without_coordinator(
        &self,
        pod: &Pod,
        run: &str,
        part: PartName,
        body: &[u8],
    ) -> Result<Answer, Refusal> {
        let object = pod.labels().get(names::RUN_LABEL).and_then(|name| {
            let namespace = pod.namespace().unwrap_or_default();
            self.runs.get(&self.kinds.run_ref(name, &namespace))
        });
        let object = object
            .filter(|object| objects::run_id(object) == run)
            .filter(|object| object.metadata.deletion_timestamp.is_none());
        let desired = match (&object, part) {
            (Some(object), _) if !objects::is_finished(object) => return Err(Refusal::NotYet),
            (None, PartName::Engine) => match report::decode::<EngineReport>(body)?.state {
                EngineState::Finished | EngineState::Ready => Desired::Exit,
                EngineState::Running | EngineState::Stopping => Desired::Stop,
                EngineState::LoadDone => Desired::TearDown,
            },
            _ => Desired::Exit,
        };
        Ok(Answer {
            epoch: self.epoch,
            acknowledged: None,
            clock: clock::now(),
            desired,
            setup: None,
        })
    }
}

#[cfg(test)]
mod tests;
