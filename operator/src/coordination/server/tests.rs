use kube::{
    Client, Config,
    runtime::{reflector::store::Writer, watcher},
};
use loadtest_core::{
    coordinator::Coordinator,
    report::{EngineReport, GeneratorHealth, RecordCounts},
};
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use super::{super::auth::tests as tokens, *};
use crate::{
    coordination::{Active, Authority},
    run::fixtures,
};

const UID: &str = "0b5cf5c6-6bd9-4a6b-9e53-7a1a8e8b8b11";

/// A gate that knows pod `checkout-1-0-abcde` of namespace `shop`, runner 0 of a run.
struct Scene {
    gate: Gate,
    token: String,
    run: String,
}

fn scene(run_object: Option<Value>) -> Scene {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let nowhere = Config::new("http://127.0.0.1:1".parse().unwrap());
    let client = Client::try_from(nowhere).unwrap();
    let signer = tokens::Signer::new("key-1");
    let kinds = Kinds::default();
    let run = loadtest_core::identity::run_id(UID);
    let mut pods = Writer::default();
    let pod: Pod = serde_json::from_value(json!({"metadata": {
        "namespace": "shop", "name": "checkout-1-0-abcde", "uid": "u-1",
        "labels": {names::RUN_LABEL: "checkout-1"},
        "annotations": {names::RUN_ID: run, names::COMPLETION_INDEX: "0"},
    }}))
    .unwrap();
    pods.apply_watcher_event(&watcher::Event::Apply(pod));
    let mut runs = Writer::new(kinds.run.clone());
    if let Some(object) = run_object {
        let object = serde_json::from_value(object).unwrap();
        runs.apply_watcher_event(&watcher::Event::Apply(object));
    }
    let (wake, _) = futures::channel::mpsc::unbounded();
    let gate = Gate {
        leadership: Leadership::held(),
        authenticator: Authenticator::with_keys(client, &signer.jwks()),
        registry: Arc::new(Registry::new(wake)),
        pods: pods.as_reader(),
        runs: runs.as_reader(),
        kinds,
        metrics: Arc::new(Metrics::new()),
        epoch: 1,
    };
    Scene {
        gate,
        token: signer.token(&tokens::claims()),
        run,
    }
}

impl Scene {
    fn coordinate(&self, namespace: &str) {
        let prepared = fixtures::prepared();
        let (plan, hash) = (prepared.plan, prepared.hash);
        let coordinator = Coordinator::new(Arc::clone(&plan), hash.clone(), 7, clock::now());
        let object = self.gate.kinds.run_ref("checkout-1", namespace);
        let active = Active::new(
            self.run.clone(),
            object,
            (plan, hash),
            coordinator,
            clock::now(),
        );
        self.gate.registry.insert(active);
    }

    async fn send(&self, index: u32, state: EngineState) -> Result<Desired, (u16, String)> {
        let body = report::encode(&engine(state)).unwrap();
        let headers = [(
            header::AUTHORIZATION,
            format!("Bearer {}", self.token).parse().unwrap(),
        )];
        let headers = headers.into_iter().collect();
        let answer = answer(
            &self.gate,
            &self.run,
            index,
            PartName::Engine,
            &headers,
            body.into(),
        )
        .await;
        match answer {
            Ok(bytes) => Ok(report::decode::<Answer>(&bytes).unwrap().desired),
            Err(refusal) => Err((refusal.status().as_u16(), refusal.to_string())),
        }
    }
}

fn engine(state: EngineState) -> EngineReport {
    EngineReport {
        incarnation: 0,
        plan_hash: fixtures::prepared().hash,
        state,
        epoch: 0,
        delta: None,
        began: None,
        load_ended: None,
        users: 0,
        records: RecordCounts::default(),
        health: GeneratorHealth::default(),
        interrupted: false,
        failure: None,
        setup: None,
        teardown_failure: None,
        exhausted: Vec::new(),
    }
}

fn stored(status: &Value) -> Value {
    json!({
        "apiVersion": "loadtest.dev/v1alpha1", "kind": "LoadTestRun", "status": status,
        "metadata": {"namespace": "shop", "name": "checkout-1", "uid": UID},
    })
}

#[tokio::test]
async fn a_runner_of_the_run_is_heard() {
    let scene = scene(Some(stored(&json!({}))));
    scene.coordinate("shop");
    assert_eq!(scene.send(0, EngineState::Ready).await, Ok(Desired::Wait));
}

#[tokio::test]
async fn without_the_lease_no_runner_is_answered() {
    let scene = scene(Some(stored(&json!({}))));
    scene.coordinate("shop");
    let gate = Gate {
        leadership: Leadership::none(),
        ..scene.gate
    };
    let standby = Scene { gate, ..scene };
    let message = "this replica does not hold the lease, try again".to_owned();
    let answer = standby.send(0, EngineState::Ready).await;
    assert_eq!(answer, Err((503, message)));
}

#[tokio::test]
async fn nobody_speaks_for_another() {
    let scene = scene(Some(stored(&json!({}))));
    scene.coordinate("shop");
    let refused = |message: &str| Err((403, message.to_owned()));
    assert_eq!(
        scene.send(1, EngineState::Ready).await,
        refused("the pod is another runner")
    );
    let other = Scene {
        run: "0".repeat(32),
        ..scene
    };
    assert_eq!(
        other.send(0, EngineState::Ready).await,
        refused("the pod belongs to another run")
    );
}

#[tokio::test]
async fn a_pod_of_another_namespace_is_no_runner() {
    let scene = scene(Some(stored(&json!({}))));
    scene.coordinate("elsewhere");
    let message = "the pod is in another namespace than the run".to_owned();
    assert_eq!(scene.send(0, EngineState::Ready).await, Err((403, message)));
}

#[tokio::test]
async fn without_a_coordinator_the_stored_run_decides() {
    let finished = json!({"conditions": [{"type": "Finished", "status": "True"}]});
    let over = scene(Some(stored(&finished)));
    assert_eq!(over.send(0, EngineState::Finished).await, Ok(Desired::Exit));

    let young = scene(Some(stored(&json!({}))));
    let message = "the run is not coordinated yet, try again".to_owned();
    assert_eq!(young.send(0, EngineState::Ready).await, Err((503, message)));

    let gone = scene(None);
    assert_eq!(gone.send(0, EngineState::Running).await, Ok(Desired::Stop));
    assert_eq!(gone.send(0, EngineState::Finished).await, Ok(Desired::Exit));
}

#[tokio::test]
async fn a_report_that_is_too_long_is_not_read_to_its_end() {
    let scene = scene(Some(stored(&json!({}))));
    scene.coordinate("shop");
    let bearer = format!("Bearer {}", scene.token).parse().unwrap();
    let headers = [(header::AUTHORIZATION, bearer)].into_iter().collect();
    let body = Body::from(vec![0; MAX_REPORT_BYTES + 1]);
    let refusal = answer(&scene.gate, &scene.run, 0, PartName::Engine, &headers, body)
        .await
        .unwrap_err();
    assert_eq!(refusal.status(), StatusCode::PAYLOAD_TOO_LARGE);
}

#[test]
fn every_refusal_has_a_known_word() {
    let body = report::decode::<EngineReport>(&[]).unwrap_err();
    let all = [
        Refusal::NoToken,
        Refusal::Forbidden("no"),
        Refusal::NotLeading,
        Refusal::NotYet,
        Refusal::TooLong,
        Refusal::TooSlow,
        Refusal::Body(body),
    ];
    for refusal in all {
        let reason = refusal.reason();
        assert!(REFUSAL_REASONS.contains(&reason), "{reason}");
    }
}

#[tokio::test]
async fn a_client_that_says_nothing_is_cut() {
    const HOST: &str = "loadtest-operator.loadtest-system.svc";
    let Scene { gate, .. } = scene(None);
    let authority = Authority::generate().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let tls = authority.server_config(HOST).unwrap();
    let head_timeout = Duration::from_millis(200);
    let server = tokio::spawn(serve_within(listener, tls, Arc::new(gate), head_timeout));
    let mut roots = RootCertStore::empty();
    roots.add(authority.root().unwrap()).unwrap();
    let client = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = TlsConnector::from(Arc::new(client));
    for said in ["", "POST /v1/runs/x HTTP/1.1\r\nHost: x\r\n"] {
        let stream = TcpStream::connect(address).await.unwrap();
        let host = ServerName::try_from(HOST).unwrap();
        let mut stream = connector.connect(host, stream).await.unwrap();
        stream.write_all(said.as_bytes()).await.unwrap();
        // What is answered, if anything, is followed by the end: without a limit this never returns.
        let mut answer = Vec::new();
        let ended = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer));
        assert!(ended.await.is_ok(), "still open after {said:?}");
    }
    server.abort();
}
