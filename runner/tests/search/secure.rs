//! A server behind TLS that asks for credentials, with no more rights than an exporter needs.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use loadtest_core::plan::{Auth, Plan};
use loadtest_runner::export::role::{self, exporter_role};
use serde_json::{Value, json};

use crate::{
    complete,
    exporter::Exporter,
    measured::plan,
    namespace,
    upgrade::{STREAMS, before},
};

/// Exactly what `loadtest es-role` prints.
fn role() -> Value {
    json!({"exporter": exporter_role(role::Server::Elasticsearch)})
}

/// Ends with the test: its stdin closes.
struct Server {
    url: String,
    ca: PathBuf,
    child: Child,
}

impl Server {
    fn start() -> Self {
        let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut child = Command::new(project.join("tests/search/start.sh"))
            .args(["elasticsearch-security", "--die-with-parent"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut ready = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut ready)
            .unwrap();
        let url = ready
            .trim()
            .strip_prefix("READY ")
            .expect("the server starts")
            .to_owned();
        let cache = std::env::var_os("LOADTEST_SEARCH_CACHE")
            .map_or_else(|| project.join("target/search"), PathBuf::from);
        Self {
            url,
            ca: cache.join("tls/ca.crt"),
            child,
        }
    }

    fn api_key(&self) -> String {
        let body = json!({"name": "exporter", "role_descriptors": role()});
        let (status, answer) = self.send(None, "POST", "_security/api_key", &body);
        assert_eq!(status, 200, "{answer}");
        answer["encoded"].as_str().unwrap().to_owned()
    }

    /// A request with a key, or of the administrator.
    fn send(&self, key: Option<&str>, method: &str, path: &str, body: &Value) -> (u16, Value) {
        drop(rustls::crypto::ring::default_provider().install_default());
        let pem = std::fs::read(&self.ca).unwrap();
        let certificates = reqwest::Certificate::from_pem_bundle(&pem).unwrap();
        let client = reqwest::Client::builder()
            .no_proxy()
            .tls_certs_only(certificates)
            .build()
            .unwrap();
        let mut request = client.request(method.parse().unwrap(), format!("{}/{path}", self.url));
        request = match key {
            Some(key) => request.header("authorization", format!("ApiKey {key}")),
            None => request.basic_auth("admin", Some("loadtest-secret")),
        };
        if !body.is_null() {
            request = request
                .header("content-type", "application/json")
                .body(body.to_string());
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let response = request.send().await.unwrap();
            let status = response.status().as_u16();
            let text = response.text().await.unwrap();
            (status, serde_json::from_str(&text).unwrap_or(Value::Null))
        })
    }

    /// The plan of a run that is exported here.
    fn plan(&self, namespace: &str, key_file: &Path) -> Plan {
        let mut plan = plan(&self.url, namespace);
        let settings = plan.results.elasticsearch.as_mut().unwrap();
        settings.auth = Some(Auth::ApiKey {
            key_file: key_file.display().to_string(),
        });
        settings.ca_file = Some(self.ca.display().to_string());
        plan
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

#[test]
#[ignore = "needs a real search server: make test-search"]
fn a_rotated_key_opens_a_server_behind_tls() {
    let server = Server::start();
    let namespace = namespace("secure");
    let key_file = std::env::temp_dir().join(format!("{namespace}.key"));
    std::fs::write(&key_file, "b2xkOmtleQ==\n").unwrap();
    let plan = server.plan(&namespace, &key_file);
    let mut exporter = Exporter::new(plan);
    exporter.measure();
    exporter.start();
    exporter.wait_for(|report| report.problem.contains("401"), "it is refused");
    std::fs::write(&key_file, server.api_key()).unwrap();
    let report = exporter.finish();
    std::fs::remove_file(&key_file).unwrap();
    complete(&report, &exporter);
}

/// The streams were made by an older version: one is to get fields, one to roll over; an exporter
/// is killed, so it is asked what is there; and nothing else is allowed.
#[test]
#[ignore = "needs a real search server: make test-search"]
fn the_printed_role_is_enough_and_no_more() {
    let server = Server::start();
    let namespace = namespace("role");
    let key = server.api_key();
    let key_file = std::env::temp_dir().join(format!("{namespace}.key"));
    std::fs::write(&key_file, &key).unwrap();
    for stream in STREAMS {
        let mut template = before(stream, "elasticsearch-without-histogram");
        if stream == "metrics" {
            template["template"]["mappings"]["properties"]["loadtest"]["properties"]["group"] =
                json!({"type": "keyword"});
        }
        let path = format!("_index_template/loadtest-{stream}");
        let taken = server.send(None, "PUT", &path, &template);
        assert_eq!(taken.0, 200, "{taken:?}");
        let path = format!("loadtest-{stream}-{namespace}/_doc");
        let document = json!({"@timestamp": "2026-11-22T00:00:00Z"});
        let made = server.send(Some(&key), "POST", &path, &document);
        assert_eq!(made.0, 201, "{made:?}");
    }
    let mut exporter = Exporter::new(server.plan(&namespace, &key_file));
    exporter.measure();
    exporter.start();
    exporter.wait_for(|report| report.requests.indexed > 0, "something is there");
    exporter.kill();
    exporter.start();
    let report = exporter.finish();
    std::fs::remove_file(&key_file).unwrap();
    complete(&report, &exporter);
    assert!(!exporter.log().contains("view_index_metadata"));

    let count = format!("loadtest-requests-{namespace}/_count");
    assert_eq!(server.send(Some(&key), "GET", &count, &Value::Null).0, 200);
    let stream = format!("loadtest-requests-{namespace}");
    let document = json!({"@timestamp": "2026-11-22T00:00:00Z"});
    for (method, path, body) in [
        ("DELETE", stream.clone(), Value::Null),
        (
            "PUT",
            format!("{stream}/_settings"),
            json!({"index.hidden": true}),
        ),
        ("PUT", "another-index".to_owned(), Value::Null),
        ("POST", "another-index/_doc".to_owned(), document),
        ("GET", "_security/user".to_owned(), Value::Null),
    ] {
        let (status, answer) = server.send(Some(&key), method, &path, &body);
        assert_eq!(status, 403, "{method} {path}: {answer}");
    }
}
