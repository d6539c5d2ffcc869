//! The local coordination server: what the operator is to pods, on the loopback interface.
//!
//! It only translates: bytes to reports, the coordinator's answers to bytes. A random bearer token
//! keeps every other process of the machine out.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use loadtest_core::{
    coordinator::{Coordinator, Refused},
    report::{self, Answer, MAX_REPORT_BYTES, Part},
};
use tokio::net::TcpListener;

use super::{clock::Clock, history::History};

/// What the server and the driver share.
#[derive(Debug)]
pub struct Shared {
    /// Merges and decides.
    pub coordinator: Coordinator,
    /// Remembers what files need and the coordinator does not.
    pub history: History,
}

/// A handle to the run under way.
#[derive(Debug, Clone)]
pub struct Control {
    shared: Arc<Mutex<Shared>>,
    clock: Clock,
    run_id: Arc<str>,
    token: Arc<str>,
}

impl Control {
    /// Of a run that nobody has reported to yet.
    pub fn new(coordinator: Coordinator, clock: Clock, token: &str) -> Self {
        let run_id = coordinator.plan().run.id.as_str().into();
        Self {
            shared: Arc::new(Mutex::new(Shared {
                coordinator,
                history: History::default(),
            })),
            clock,
            run_id,
            token: token.into(),
        }
    }

    /// The run. A report that made a thread panic leaves numbers that are still true.
    pub fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers reports until the runtime ends; returns the base url.
    ///
    /// # Errors
    /// When no loopback port can be bound.
    pub async fn serve(&self) -> std::io::Result<String> {
        let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let router = Router::new()
            .route("/v1/runs/{run}/runners/{index}/{part}", post(take_report))
            .layer(DefaultBodyLimit::max(MAX_REPORT_BYTES))
            .with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(url)
    }

    fn authorized(&self, headers: &HeaderMap) -> bool {
        let given = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.strip_prefix("Bearer "))
            .unwrap_or_default();
        // In constant time, so that the token cannot be guessed byte by byte.
        given.len() == self.token.len()
            && given
                .bytes()
                .zip(self.token.bytes())
                .fold(0, |difference, (a, b)| difference | (a ^ b))
                == 0
    }
}

async fn take_report(
    State(control): State<Control>,
    Path((run, index, part)): Path<(String, u32, Part)>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if !control.authorized(&headers) {
        return (StatusCode::UNAUTHORIZED, "wrong or no bearer token").into_response();
    }
    if run != *control.run_id {
        return (StatusCode::NOT_FOUND, "no such run").into_response();
    }
    let answer = match part {
        Part::Engine => report::decode(&body).map(|report| {
            let mut shared = control.lock();
            let now = control.clock.now();
            let Shared {
                coordinator,
                history,
            } = &mut *shared;
            history.take(coordinator, index, report, now)
        }),
        Part::Exporter => report::decode(&body).map(|report| {
            let now = control.clock.now();
            control
                .lock()
                .coordinator
                .exporter_report(index, report, now)
        }),
    };
    match answer {
        Ok(Ok(answer)) => encoded(&answer),
        Ok(Err(refused)) => refusal(&refused),
        Err(error) => (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
    }
}

fn encoded(answer: &Answer) -> Response {
    match report::encode(answer) {
        Ok(bytes) => ([(header::CONTENT_TYPE, "application/msgpack")], bytes).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

fn refusal(refused: &Refused) -> Response {
    let status = match refused {
        Refused::UnknownRunner(_) => StatusCode::NOT_FOUND,
        Refused::OtherPlan { .. } | Refused::TooManyRows { .. } => StatusCode::CONFLICT,
    };
    (status, refused.to_string()).into_response()
}
