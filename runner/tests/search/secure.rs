//! A server behind TLS that asks for credentials, with no more rights than an exporter needs.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use loadtest_core::plan::Auth;
use serde_json::{Value, json};

use crate::{complete, exporter::Exporter, measured::plan, namespace};

/// What `docs` tell people to give an exporter.
fn role() -> Value {
    json!({"exporter": {
        "cluster": ["monitor", "manage_index_templates"],
        "index": [{
            "names": ["loadtest-*"],
            "privileges": ["create_doc", "auto_configure", "read", "maintenance"],
        }],
    }})
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
        drop(rustls::crypto::ring::default_provider().install_default());
        let pem = std::fs::read(&self.ca).unwrap();
        let certificates = reqwest::Certificate::from_pem_bundle(&pem).unwrap();
        let client = reqwest::Client::builder()
            .no_proxy()
            .tls_certs_only(certificates)
            .build()
            .unwrap();
        let request = client
            .post(format!("{}/_security/api_key", self.url))
            .basic_auth("admin", Some("loadtest-secret"))
            .header("content-type", "application/json")
            .body(json!({"name": "exporter", "role_descriptors": role()}).to_string());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let text = runtime.block_on(async { request.send().await.unwrap().text().await.unwrap() });
        let answer: Value = serde_json::from_str(&text).unwrap();
        answer["encoded"]
            .as_str()
            .unwrap_or_else(|| panic!("{text}"))
            .to_owned()
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
    let mut plan = plan(&server.url, &namespace);
    let settings = plan.results.elasticsearch.as_mut().unwrap();
    settings.auth = Some(Auth::ApiKey {
        key_file: key_file.display().to_string(),
    });
    settings.ca_file = Some(server.ca.display().to_string());

    let mut exporter = Exporter::new(plan);
    exporter.measure();
    exporter.start();
    exporter.wait_for(|report| report.problem.contains("401"), "it is refused");
    std::fs::write(&key_file, server.api_key()).unwrap();
    let report = exporter.finish();
    std::fs::remove_file(&key_file).unwrap();
    complete(&report, &exporter);
}
