//! An API server as the tests of this crate need it: it answers what a test has it answer, says yes to
//! every other write, has nothing else to read, and remembers what it was asked.

use std::sync::{Arc, Mutex};

use axum::{
    Router,
    body::Bytes,
    http::{Method, StatusCode, Uri, header},
};
use futures::channel::mpsc::unbounded;
use kube::{
    Client, Config,
    core::DynamicObject,
    runtime::{
        events::{Recorder, Reporter},
        reflector::store::Writer,
        watcher,
    },
};
use serde_json::{Value, json};

use crate::{
    context::Context,
    coordination::{Authority, Registry},
    error::Backoff,
    lease::Leadership,
    metrics::Metrics,
    objects::Kinds,
    rails::queue::Queue,
    run::fixtures,
};

/// A question of the operator.
#[derive(Debug, Clone)]
pub struct Asked {
    /// `GET`, `PATCH` …
    pub method: String,
    /// Without the query.
    pub path: String,
    /// `null` when there is none.
    pub body: Value,
}

impl Asked {
    /// Whether this is what is done to the object at the end of a path.
    pub fn is(&self, method: &str, end: &str) -> bool {
        self.method == method && self.path.ends_with(end)
    }
}

/// What the server says.
pub type Answer = (u16, Value);

/// The scripted API server.
#[derive(Debug, Clone, Default)]
pub struct Server {
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Server {
    /// Bodies of what was done to objects at the end of a path, the last one last.
    pub fn heard(&self, method: &str, end: &str) -> Vec<Value> {
        let asked = self.asked.lock().unwrap();
        let matching = asked.iter().filter(|asked| asked.is(method, end));
        matching.map(|asked| asked.body.clone()).collect()
    }
}

/// An operator that acts and has these objects in its caches, `LoadTest`s and `LoadTestRun`s; and the
/// API server, which answers by `script` where that has an answer.
pub async fn operator(
    cached: &[Value],
    script: impl Fn(&Asked) -> Option<Answer> + Clone + Send + Sync + 'static,
) -> (Arc<Context>, Server) {
    let server = Server::default();
    let client = serve(server.clone(), script).await;
    let kinds = Kinds::default();
    let (mut tests, mut runs) = (
        Writer::new(kinds.test.clone()),
        Writer::new(kinds.run.clone()),
    );
    for object in cached {
        let object: DynamicObject = serde_json::from_value(object.clone()).unwrap();
        let is_run = object.types.as_ref().unwrap().kind == kinds.run.kind;
        let writer = if is_run { &mut runs } else { &mut tests };
        writer.apply_watcher_event(&watcher::Event::Apply(object));
    }
    let reporter = Reporter {
        controller: crate::names::MANAGER.to_owned(),
        instance: None,
    };
    let context = Context {
        recorder: Recorder::new(client.clone(), reporter),
        watching: client.clone(),
        client,
        leadership: Leadership::held(),
        settings: fixtures::settings(&[]),
        kinds,
        registry: Arc::new(Registry::new(unbounded().0)),
        queue: Queue::default(),
        tests: tests.as_reader(),
        runs: runs.as_reader(),
        pods: Writer::default().as_reader(),
        wake_test: unbounded().0,
        metrics: Arc::new(Metrics::new()),
        authority: Authority::generate().unwrap(),
        backoff: Backoff::default(),
    };
    (Arc::new(context), server)
}

async fn serve(
    server: Server,
    script: impl Fn(&Asked) -> Option<Answer> + Clone + Send + Sync + 'static,
) -> Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let answer = move |method: Method, uri: Uri, body: Bytes| async move {
        let asked = Asked {
            method: method.to_string(),
            path: uri.path().to_owned(),
            body: serde_json::from_slice(&body).unwrap_or_default(),
        };
        let (code, said) = script(&asked).unwrap_or_else(|| unscripted(&asked));
        server.asked.lock().unwrap().push(asked);
        let kind = [(header::CONTENT_TYPE, "application/json")];
        (StatusCode::from_u16(code).unwrap(), kind, said.to_string())
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().fallback(answer);
    tokio::spawn(async move { axum::serve(listener, router).await });
    let config = Config::new(format!("http://{address}").parse().unwrap());
    Client::try_from(config).unwrap()
}

fn unscripted(asked: &Asked) -> Answer {
    match asked.method.as_str() {
        "GET" => failure(404, "there is none"),
        "DELETE" => (
            200,
            json!({"kind": "Status", "apiVersion": "v1", "status": "Success"}),
        ),
        _ => {
            let mut object = asked.body.clone();
            if object["metadata"]["name"].is_null() {
                object["metadata"]["name"] = json!(asked.path.rsplit('/').next());
            }
            (200, object)
        }
    }
}

/// A refusal in the API server's words.
pub fn failure(code: u16, message: &str) -> Answer {
    let reason = if code == 404 { "NotFound" } else { "" };
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code,
    });
    (code, status)
}
