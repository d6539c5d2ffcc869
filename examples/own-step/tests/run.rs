//! The runner of this example, started by `loadtest run`, against a real WebSocket server: what the
//! server counted is what the result says.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    },
};

use clap::Parser as _;
use flate2::read::MultiGzDecoder;
use futures::{SinkExt as _, StreamExt as _};
use loadtest_cli::{exit::Exit, run};
use serde_json::Value;
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::Runtime,
};
use tokio_tungstenite::{
    accept_hdr_async,
    tungstenite::{
        Message,
        handshake::server::{ErrorResponse, Request, Response},
    },
};

/// What the server saw.
#[derive(Default)]
struct Seen {
    connections: AtomicU64,
    traced: AtomicU64,
    echoes: AtomicU64,
}

/// Echoes texts, but says "no" to each text that ends with `, message 7`, and nothing at all to one
/// that ends with `, message 11`.
struct Server {
    address: SocketAddr,
    seen: Arc<Seen>,
    _runtime: Runtime,
}

impl Server {
    fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Seen::default());
        let counted = Arc::clone(&seen);
        runtime.spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, Arc::clone(&counted)));
            }
        });
        Self {
            address,
            seen,
            _runtime: runtime,
        }
    }
}

async fn serve(stream: TcpStream, seen: Arc<Seen>) {
    #[allow(clippy::result_large_err, reason = "what the library asks for")]
    let look = |request: &Request, answer: Response| -> Result<Response, ErrorResponse> {
        let traced = request.headers().contains_key("traceparent");
        seen.traced.fetch_add(u64::from(traced), Relaxed);
        Ok(answer)
    };
    let mut socket = accept_hdr_async(stream, look).await.unwrap();
    seen.connections.fetch_add(1, Relaxed);
    while let Some(Ok(message)) = socket.next().await {
        let Message::Text(text) = message else {
            continue;
        };
        seen.echoes.fetch_add(1, Relaxed);
        let answer = match text.rsplit(' ').next() {
            Some("7") => Message::text("no"),
            Some("11") => continue,
            _ => Message::Text(text),
        };
        socket.send(answer).await.unwrap();
    }
}

/// What a run left.
struct Ran {
    exit: Exit,
    summary: Value,
    documents: Vec<Value>,
}

#[derive(clap::Parser)]
struct Line {
    #[command(flatten)]
    args: run::Args,
}

/// A directory that is gone with the test.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Relaxed);
        let name = format!("loadtest-own-step-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// Runs the test of this example, as `change` would have it.
fn ran(server: &Server, change: impl FnOnce(String) -> String) -> Ran {
    drop(rustls::crypto::ring::default_provider().install_default());
    let (place, root) = (Place::new(), env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(format!("{root}/test.yaml")).unwrap();
    let text = text.replace("127.0.0.1:9001", &server.address.to_string());
    let (file, out) = (place.0.join("test.yaml"), place.0.join("out"));
    fs::write(&file, change(text)).unwrap();
    let line = Line::parse_from([
        "run".as_ref(),
        file.as_os_str(),
        "--quiet".as_ref(),
        "--runner-binary".as_ref(),
        env!("CARGO_BIN_EXE_own-step").as_ref(),
        "--out".as_ref(),
        out.as_os_str(),
    ]);
    let exit = run::run(&line.args);
    let summary = fs::read(out.join("summary.json")).unwrap();
    let documents = File::open(out.join("requests.ndjson.gz")).map_or_else(
        |_| Vec::new(),
        |file| {
            BufReader::new(MultiGzDecoder::new(file))
                .lines()
                .map(|line| serde_json::from_str(&line.unwrap()).unwrap())
                .collect()
        },
    );
    Ran {
        exit,
        summary: serde_json::from_slice(&summary).unwrap(),
        documents,
    }
}

fn with_outcome(ran: &Ran, outcome: &str) -> usize {
    let documents = ran.documents.iter();
    let outcomes = documents.map(|document| &document["loadtest"]["request"]["outcome"]);
    outcomes.filter(|of| *of == outcome).count()
}

#[test]
fn every_echo_is_a_request_and_a_document() {
    let server = Server::start();
    let ran = ran(&server, |text| {
        text.replace("iterations: 20", "iterations: 7")
    });
    assert_eq!(ran.exit, Exit::Passed, "{:#}", ran.summary);
    let seen = &server.seen;
    assert_eq!(seen.echoes.load(Relaxed), 70);
    // Each user has kept its connection, and the step that made it said in which trace.
    assert_eq!(seen.connections.load(Relaxed), 10);
    assert_eq!(seen.traced.load(Relaxed), 10);
    let summary = &ran.summary["summary"];
    assert_eq!(summary["requests"], 70);
    assert_eq!(summary["failures"], 0);
    assert_eq!(summary["requestsByName"][0]["name"], "echo");
    assert_eq!(summary["requestsByName"][0]["requests"], 70);
    for check in summary["checks"].as_array().unwrap() {
        assert_eq!(
            (&check["passed"], &check["failed"]),
            (&70.into(), &0.into())
        );
    }
    assert_eq!(ran.documents.len(), 70);
    let first = |document: &&Value| document["loadtest"]["request"]["connection_reused"] == false;
    assert_eq!(ran.documents.iter().filter(first).count(), 10);
    let document = &ran.documents[0];
    assert_eq!(document["loadtest"]["request"]["name"], "echo");
    assert_eq!(document["http"]["request"]["method"], "webSocketEcho");
    let length = "user 0, message 0".len();
    assert_eq!(document["http"]["request"]["bytes"], length);
}

#[test]
fn what_goes_wrong_has_its_name() {
    let server = Server::start();
    let ran = ran(&server, |text| {
        let text = text.replace("iterations: 20", "iterations: 14");
        text.replace("timeout: 5s", "timeout: 300ms")
    });
    // Two of the fourteen of each user: another text, and none.
    assert_eq!(ran.exit, Exit::Failed, "{:#}", ran.summary);
    assert_eq!(server.seen.echoes.load(Relaxed), 140);
    assert_eq!(ran.documents.len(), 140);
    assert_eq!(with_outcome(&ran, "ok"), 120);
    assert_eq!(with_outcome(&ran, "step"), 10);
    assert_eq!(with_outcome(&ran, "timeout"), 10);
    // The connection of a step that was cut off is not used again, that of the other one is.
    assert_eq!(server.seen.connections.load(Relaxed), 20);
    let errors = ran.summary["summary"]["errors"].to_string();
    assert!(errors.contains("another text came back"), "{errors}");
    assert!(errors.contains("no whole answer within 300ms"), "{errors}");
}

#[test]
fn a_step_that_the_runner_cannot_do_is_refused_before_the_start() {
    let server = Server::start();
    for (from, to, said) in [
        (
            "webSocketEcho",
            "grpcCall",
            "which the runner … does not know: it knows webSocketEcho. Use a runner that has it",
        ),
        (
            "message:",
            "mesage:",
            "the step of the kind \"webSocketEcho\" is refused: with.message is missing",
        ),
    ] {
        let ran = ran(&server, |text| {
            text.replacen(&format!(" {from}"), &format!(" {to}"), 1)
        });
        assert_eq!(ran.exit, Exit::Error, "{:#}", ran.summary);
        let message = ran.summary["message"].as_str().unwrap();
        let said = said.split(" … ").all(|part| message.contains(part));
        assert!(said, "{message}");
    }
    assert_eq!(server.seen.connections.load(Relaxed), 0);
}
