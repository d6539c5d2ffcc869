//! The runner of this example, started by `loadtest run`, against a real WebSocket server: what the
//! server counted is what the result says.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::{
    convert::Infallible,
    fs::{self, File},
    io::{BufRead as _, BufReader, Read},
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    },
};

use clap::Parser as _;
use flate2::read::MultiGzDecoder;
use futures::{SinkExt as _, StreamExt as _};
use loadtest_cli::{attempt, exit::Exit, run};
use serde_json::{Value, json};
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
    samples: Vec<Value>,
}

#[derive(clap::Parser)]
struct Line {
    #[command(flatten)]
    args: run::Args,
}

#[derive(clap::Parser)]
struct TryLine {
    #[command(flatten)]
    args: attempt::Args,
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

    /// The test of this example against a server, as `change` would have it.
    fn test(&self, server: &Server, change: impl FnOnce(String) -> String) -> PathBuf {
        drop(rustls::crypto::ring::default_provider().install_default());
        let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/test.yaml")).unwrap();
        let text = text.replace("127.0.0.1:9001", &server.address.to_string());
        let file = self.0.join("test.yaml");
        fs::write(&file, change(text)).unwrap();
        file
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// Runs the test of this example, as `change` would have it.
fn ran(server: &Server, change: impl FnOnce(String) -> String) -> Ran {
    let place = Place::new();
    let (file, out) = (place.test(server, change), place.0.join("out"));
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
    let requests = File::open(out.join("requests.ndjson.gz"));
    let samples = File::open(out.join("samples.ndjson"));
    Ran {
        exit,
        summary: serde_json::from_slice(&summary).unwrap(),
        documents: requests.map_or_else(|_| Vec::new(), |file| lines(MultiGzDecoder::new(file))),
        samples: samples.map_or_else(|_| Vec::new(), lines),
    }
}

fn lines(file: impl Read) -> Vec<Value> {
    let lines = BufReader::new(file).lines();
    lines
        .map(|line| serde_json::from_str(&line.unwrap()).unwrap())
        .collect()
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
    // Where the step kind said that it goes, which is not the target of the test.
    let port = server.address.port();
    let url = json!({"scheme": "ws", "domain": "127.0.0.1", "port": port, "path": "/chat"});
    assert_eq!(document["url"], url);
}

#[test]
fn what_goes_wrong_has_its_name() {
    let server = Server::start();
    let ran = ran(&server, |text| {
        let text = text.replace("iterations: 20", "iterations: 14");
        text.replace("timeout: 5s", "timeout: 2s")
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
    assert!(errors.contains("no whole answer within 2s"), "{errors}");
}

/// A sample is of one step: it has what the step was told, a document what all of them have in common.
#[test]
fn samples_have_the_url_of_their_step_without_secrets() {
    let server = Server::start();
    let ran = ran(&server, |text| {
        text.replace("iterations: 20", "iterations: 8")
            .replace("$(var.chat)", "$(var.chat)?token=hush&user=$(user.index)")
    });
    assert_eq!(with_outcome(&ran, "step"), 10);
    let query = "token=REDACTED&user=$(user.index)";
    for document in &ran.documents {
        assert_eq!(document["url"]["query"], query);
    }
    assert_eq!(ran.samples.len(), 3);
    for sample in &ran.samples {
        let user = &sample["loadtest"]["request"]["user"];
        let url = format!("ws://{}/chat?token=REDACTED&user={user}", server.address);
        assert_eq!(sample["url"]["full"], url);
    }
}

/// What `loadtest try` answers and prints.
fn tried(server: &Server, change: impl FnOnce(String) -> String) -> (Exit, String) {
    let place = Place::new();
    let file = place.test(server, change);
    let line = TryLine::parse_from([
        "try".as_ref(),
        file.as_os_str(),
        "--runner-binary".as_ref(),
        env!("CARGO_BIN_EXE_own-step").as_ref(),
    ]);
    let printed = Arc::new(Mutex::new(String::new()));
    let printing = Arc::clone(&printed);
    let exit = attempt::show(&line.args, move |text| {
        printing.lock().unwrap().push_str(text);
        Ok::<_, Infallible>(())
    });
    let text = printed.lock().unwrap().clone();
    (exit, text)
}

#[test]
fn one_iteration_is_shown_by_the_runner_that_knows_the_kind() {
    let server = Server::start();
    let (exit, shown) = tried(&server, |text| text);
    assert_eq!(exit, Exit::Passed, "{shown}");
    assert_eq!(server.seen.echoes.load(Relaxed), 1);
    let lines: Vec<_> = shown.lines().map(str::trim).collect();
    let url = format!("> url: ws://{}/chat", server.address);
    assert_eq!(
        lines[..3],
        ["chat, task-1", "", "webSocketEcho echo"],
        "{shown}"
    );
    assert_eq!(lines[3..5], ["> message: user 0, message 0", &url]);
    assert!(lines[5].starts_with("< done in "), "{shown}");
    let rest = ["<", "< user 0, message 0", "✓ quick", "✓ echoed"];
    assert_eq!(lines[6..], rest, "{shown}");
}

#[test]
fn what_goes_wrong_in_one_iteration_is_shown_too() {
    let server = Server::start();
    let (exit, shown) = tried(&server, |text| {
        text.replace("message $(user.iteration)", "message 7")
    });
    assert_eq!(exit, Exit::Failed, "{shown}");
    assert!(shown.contains("✗ another text came back"), "{shown}");
    let (exit, shown) = tried(&server, |text| text.replace("$(var.chat)", "wss://x"));
    // A sentence on standard error says what the kind refuses.
    assert_eq!((exit, shown.as_str()), (Exit::Error, ""));
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
