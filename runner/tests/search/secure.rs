//! Servers behind TLS that ask for credentials, with no more rights than an exporter needs.

use std::path::{Path, PathBuf};

use loadtest_core::plan::{Auth, ClientCertificate, Plan};
use loadtest_runner::export::role::{self, exporter_role};
use serde_json::{Value, json};

use crate::{
    complete,
    exporter::Exporter,
    launched::{self, Launched},
    measured::plan,
    namespace,
    upgrade::{STREAMS, before},
};

/// The user of an exporter on `OpenSearch`; Elasticsearch gives it a key.
const EXPORTER: (&str, &str) = ("exporter", "loadtest-Secret-9");

/// Who asks the server.
#[derive(Clone, Copy)]
enum As {
    Administrator,
    Exporter,
}

/// A server with a user for exporters.
pub struct Server {
    kind: role::Server,
    process: Launched,
    /// Certificates: the authority's and the one to show.
    tls: PathBuf,
    client: reqwest::Client,
    /// A directory with the exporter's credentials.
    credentials: PathBuf,
}

impl Server {
    /// In settings `TLS` stands for the directory with the certificates.
    pub fn start(kind: role::Server, settings: &[&str]) -> Self {
        let tls = launched::certificates();
        let name = match kind {
            role::Server::Elasticsearch => "elasticsearch-security",
            role::Server::OpenSearch => "opensearch-security",
        };
        let placed = |setting: &&str| setting.replace("TLS", tls.to_str().unwrap());
        let settings: Vec<String> = settings.iter().map(placed).collect();
        let credentials = std::env::temp_dir().join(namespace("credentials"));
        std::fs::create_dir(&credentials).unwrap();
        let server = Self {
            kind,
            process: Launched::start(name, &[], &settings),
            client: client(&tls),
            tls,
            credentials,
        };
        server.admit_exporter_as(&exporter_role(kind, "loadtest"));
        server
    }

    /// Gives exporters a role, and a new key where there are keys.
    pub fn admit_exporter_as(&self, role: &Value) {
        let admin = |method, path: &str, body: &Value| {
            let (status, answer) = self.send(As::Administrator, method, path, body);
            assert!(status < 300, "{path}: {status} {answer}");
            answer
        };
        let keep = |name, text| std::fs::write(self.credentials.join(name), text).unwrap();
        match self.kind {
            role::Server::Elasticsearch => {
                let body = json!({"name": "exporter", "role_descriptors": {"exporter": role}});
                let answer = admin("POST", "_security/api_key", &body);
                keep("key", answer["encoded"].as_str().unwrap());
            }
            role::Server::OpenSearch => {
                let (user, password) = EXPORTER;
                let api = |what: &str| format!("_plugins/_security/api/{what}/{user}");
                admin("PUT", &api("internalusers"), &json!({"password": password}));
                admin("PUT", &api("roles"), role);
                admin("PUT", &api("rolesmapping"), &json!({"users": [user]}));
                keep("username", user);
                keep("password", password);
            }
        }
    }

    /// What an exporter shows with its requests.
    fn authorization(&self) -> String {
        match self.kind {
            role::Server::Elasticsearch => {
                let key = std::fs::read_to_string(self.credentials.join("key")).unwrap();
                format!("ApiKey {key}")
            }
            role::Server::OpenSearch => basic(EXPORTER.0, EXPORTER.1),
        }
    }

    fn send(&self, who: As, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let authorization = match who {
            As::Administrator => basic("admin", "loadtest-secret"),
            As::Exporter => self.authorization(),
        };
        let mut request = self
            .client
            .request(
                method.parse().unwrap(),
                format!("{}/{path}", self.process.url),
            )
            .header("authorization", authorization);
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
    pub fn plan(&self, namespace: &str) -> Plan {
        let mut plan = plan(&self.process.url, namespace);
        let settings = plan.results.elasticsearch.as_mut().unwrap();
        let file = |name: &str| self.credentials.join(name).display().to_string();
        settings.auth = Some(match self.kind {
            role::Server::Elasticsearch => Auth::ApiKey {
                key_file: file("key"),
            },
            role::Server::OpenSearch => Auth::Basic {
                username_file: file("username"),
                password_file: file("password"),
            },
        });
        settings.ca_file = Some(self.tls.join("ca.crt").display().to_string());
        plan
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.credentials);
    }
}

/// Trusts the servers of the tests, and has a certificate for those that ask.
fn client(tls: &Path) -> reqwest::Client {
    drop(rustls::crypto::ring::default_provider().install_default());
    let read = |name: &str| std::fs::read(tls.join(name)).unwrap();
    let authorities = reqwest::Certificate::from_pem_bundle(&read("ca.crt")).unwrap();
    let shown = [read("client.key"), read("client.crt")].concat();
    reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only(authorities)
        .identity(reqwest::Identity::from_pem(&shown).unwrap())
        .build()
        .unwrap()
}

fn basic(user: &str, password: &str) -> String {
    use base64::Engine as _;
    let encoded = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    format!("Basic {encoded}")
}

#[test]
#[ignore = "needs a real search server: make test-search"]
fn a_rotated_key_opens_a_server_behind_tls() {
    let server = Server::start(role::Server::Elasticsearch, &[]);
    let namespace = namespace("secure");
    let key_file = server.credentials.join("key");
    let key = std::fs::read(&key_file).unwrap();
    std::fs::write(&key_file, "b2xkOmtleQ==\n").unwrap();
    let mut exporter = Exporter::new(server.plan(&namespace));
    exporter.start_until_it_says("401");
    std::fs::write(&key_file, key).unwrap();
    let report = exporter.finish();
    complete(&report, &exporter);
}

#[test]
#[ignore = "needs a real search server: make test-search"]
fn elasticsearch_that_demands_a_certificate_takes_ours_and_no_strangers() {
    certificates_are_shown(&Server::start(
        role::Server::Elasticsearch,
        &[
            "xpack.security.http.ssl.client_authentication=required",
            "xpack.security.http.ssl.certificate_authorities=TLS/ca.crt",
        ],
    ));
}

#[test]
#[ignore = "needs a real search server: make test-search"]
fn opensearch_that_demands_a_certificate_takes_ours_and_no_strangers() {
    certificates_are_shown(&Server::start(
        role::Server::OpenSearch,
        &["plugins.security.ssl.http.clientauth_mode=REQUIRE"],
    ));
}

/// First without a certificate, then with a stranger's; then the mounted files are replaced, and
/// the exporter goes on without a restart.
fn certificates_are_shown(server: &Server) {
    let without = namespace("no-certificate");
    let mut exporter = Exporter::new(server.plan(&without));
    exporter.start_until_it_says("results.elasticsearch.tls.clientCertificateRef");
    exporter.kill();

    let (certificate, key) = (
        server.credentials.join("tls.crt"),
        server.credentials.join("tls.key"),
    );
    let stranger = rcgen::generate_simple_self_signed(["exporter".to_owned()]).unwrap();
    std::fs::write(&certificate, stranger.cert.pem()).unwrap();
    std::fs::write(&key, stranger.signing_key.serialize_pem()).unwrap();
    let with = namespace("certificate");
    let mut plan = server.plan(&with);
    plan.results
        .elasticsearch
        .as_mut()
        .unwrap()
        .client_certificate = Some(ClientCertificate {
        certificate_file: certificate.display().to_string(),
        key_file: key.display().to_string(),
    });
    let mut exporter = Exporter::new(plan);
    exporter.start_until_it_says("refuses our client certificate");
    // As the kubelet does it: a new file in the place of the old one.
    for (from, to) in [("client.key", &key), ("client.crt", &certificate)] {
        let new = to.with_extension("new");
        std::fs::copy(server.tls.join(from), &new).unwrap();
        std::fs::rename(&new, to).unwrap();
    }
    let report = exporter.finish();
    complete(&report, &exporter);
    let count = format!("loadtest-requests-{with}/_count");
    assert_eq!(
        server.send(As::Exporter, "GET", &count, &Value::Null).1["count"],
        report.requests.indexed
    );
}

#[test]
#[ignore = "needs a real search server: make test-search"]
fn the_printed_role_is_enough_for_elasticsearch_and_no_more() {
    let server = Server::start(role::Server::Elasticsearch, &[]);
    the_printed_role_is_enough(&server, "elasticsearch-without-histogram");
    // Of rights that only this server has.
    refused(&server, "GET", "_security/user", &Value::Null);
}

#[test]
#[ignore = "needs a real search server: make test-search"]
fn the_printed_role_is_enough_for_opensearch_and_no_more() {
    let server = Server::start(role::Server::OpenSearch, &[]);
    the_printed_role_is_enough(&server, "opensearch");
    refused(
        &server,
        "GET",
        "_plugins/_security/api/internalusers",
        &Value::Null,
    );
}

/// The streams were made by an older version: one is to get fields, one to roll over; an exporter
/// is killed, so it is asked what is there; and nothing else is allowed.
fn the_printed_role_is_enough(server: &Server, flavor: &str) {
    let namespace = namespace("role");
    for stream in STREAMS {
        let mut template = before(stream, flavor);
        if stream == "metrics" {
            template["template"]["mappings"]["properties"]["loadtest"]["properties"]["group"] =
                json!({"type": "keyword"});
        }
        let path = format!("_index_template/loadtest-{stream}");
        let taken = server.send(As::Administrator, "PUT", &path, &template);
        assert_eq!(taken.0, 200, "{taken:?}");
        let path = format!("loadtest-{stream}-{namespace}/_doc");
        let document = json!({"@timestamp": "2026-11-22T00:00:00Z"});
        let made = server.send(As::Exporter, "POST", &path, &document);
        assert_eq!(made.0, 201, "{made:?}");
    }
    let mut exporter = Exporter::new(server.plan(&namespace));
    exporter.measure();
    exporter.start();
    exporter.wait_for(|report| report.requests.indexed > 0, "something is there");
    exporter.kill();
    exporter.start();
    let report = exporter.finish();
    complete(&report, &exporter);
    assert!(!exporter.log().contains("view_index_metadata"));

    let stream = format!("loadtest-requests-{namespace}");
    let count = format!("{stream}/_count");
    assert_eq!(
        server.send(As::Exporter, "GET", &count, &Value::Null).0,
        200
    );
    let document = json!({"@timestamp": "2026-11-22T00:00:00Z"});
    let hidden = json!({"index.hidden": true});
    refused(server, "DELETE", &stream, &Value::Null);
    refused(server, "PUT", &format!("{stream}/_settings"), &hidden);
    refused(server, "PUT", "another-index", &Value::Null);
    refused(server, "POST", "another-index/_doc", &document);
}

fn refused(server: &Server, method: &str, path: &str, body: &Value) {
    let (status, answer) = server.send(As::Exporter, method, path, body);
    assert_eq!(status, 403, "{method} {path}: {answer}");
}
