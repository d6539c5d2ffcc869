//! The operator as a process of this machine, in front of the real API server, with exactly the rights
//! that the chart gives it.

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::json;

use crate::{api::Api, cluster, root, wait};

/// Name of the binary, and of everything that the chart makes in a release named `loadtest`.
const NAME: &str = "loadtest-operator";

/// A release of the chart without its Deployment: the process takes its place.
#[derive(Debug)]
pub struct Installation {
    namespace: String,
    /// Of everything that the chart made.
    name: String,
    /// Watches this namespace only; `None`: all.
    watched: Option<String>,
    folder: PathBuf,
}

impl Installation {
    /// Into `namespace`, for itself alone or for all.
    ///
    /// # Errors
    /// When the chart cannot be rendered or applied.
    pub fn new(namespace: &str, everywhere: bool) -> Result<Self> {
        let watched = (!everywhere).then(|| namespace.to_owned());
        // Cluster-wide roles have the release's name: not that of an operator which is installed.
        let name = if everywhere { namespace } else { NAME }.to_owned();
        let objects = rendered(everywhere)?.replace(SOME_NAMESPACE, namespace);
        cluster::ok(&["-n", namespace, "apply", "-f", "-"], &objects)?;
        let folder = std::env::temp_dir().join(format!("loadtest-{namespace}"));
        fs::create_dir_all(&folder)?;
        Ok(Self {
            namespace: namespace.to_owned(),
            name,
            watched,
            folder,
        })
    }

    /// Starts the operator, which finds the API server at `api`.
    ///
    /// # Errors
    /// When it does not begin to listen.
    pub fn start(&self, api: &str) -> Result<Operator> {
        self.start_with(api, "")
    }

    /// Starts the operator with a configuration file of this content.
    ///
    /// # Errors
    /// When it does not begin to listen.
    pub fn start_with(&self, api: &str, config: &str) -> Result<Operator> {
        let file = self.folder.join("config.yaml");
        fs::write(&file, config)?;
        let path = format!(
            "/api/v1/namespaces/{}/serviceaccounts/{}/token",
            self.namespace, self.name
        );
        let request = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
            "spec": {"expirationSeconds": 7_200},
        });
        let answer = Api::of_cluster()?.create(&path, &request)?;
        let token = answer["status"]["token"].as_str().context("no token")?;
        let kubeconfig = self.folder.join("kubeconfig");
        let content = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": api}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u", "namespace": self.namespace}}],
            "users": [{"name": "u", "user": {"token": token}}],
        });
        fs::write(&kubeconfig, content.to_string())?;
        let log = self.folder.join("log");
        let program = program()?;
        let child = Command::new(&program)
            .args(["--namespace", &self.namespace, "--lease", &self.name])
            .args([
                "--watch-namespace",
                self.watched.as_deref().unwrap_or_default(),
            ])
            .args(["--ca-secret", &format!("{}-ca", self.name)])
            .args(["--control-url", "https://127.0.0.1:1"])
            .args(["--coordination-listen", "127.0.0.1:0"])
            .args(["--health-listen", "127.0.0.1:0"])
            .args(["--runner-image", "cluster.local/loadtest-runner:0"])
            .arg("--config")
            .arg(&file)
            .env("KUBECONFIG", &kubeconfig)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            .spawn()
            .with_context(|| program.display().to_string())?;
        Ok(Operator { child, log })
    }

    /// Frees the lease of a process that was killed, so that nobody need wait for it to run out.
    ///
    /// # Errors
    /// When there is none.
    pub fn free_lease(&self) -> Result<()> {
        let path = format!(
            "/apis/coordination.k8s.io/v1/namespaces/{}/leases/{}",
            self.namespace, self.name
        );
        let free = json!({"spec": {"holderIdentity": ""}});
        Api::of_cluster()?.merge(&path, &free).map(drop)
    }
}

/// Stands for the namespace in what [`rendered`] gives.
const SOME_NAMESPACE: &str = "namespace-of-the-test";

/// What the chart makes, rendered once: Helm takes longer for it than the API server to take it.
fn rendered(everywhere: bool) -> Result<&'static str> {
    static RENDERED: [OnceLock<String>; 2] = [const { OnceLock::new() }; 2];
    let [one, all] = &RENDERED;
    let rendered = if everywhere { all } else { one };
    if let Some(objects) = rendered.get() {
        return Ok(objects);
    }
    let (watched, name) = if everywhere {
        ("", SOME_NAMESPACE)
    } else {
        (SOME_NAMESPACE, NAME)
    };
    let values = json!({"watchNamespace": watched, "fullnameOverride": name});
    let parts = ["rbac", "serviceaccount", "secret", "lease"];
    let shown = parts.map(|part| format!("--show-only=templates/{part}.yaml"));
    let mut helm = Command::new(root().join("tests/cluster/helm"))
        .args(["template", "loadtest"])
        .arg(root().join("charts/loadtest-operator"))
        .args(["--namespace", SOME_NAMESPACE, "--values", "-"])
        .args(shown)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut input = helm.stdin.take().context("no standard input")?;
    input.write_all(values.to_string().as_bytes())?;
    drop(input);
    let output = helm.wait_with_output()?;
    ensure!(
        output.status.success(),
        "helm: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let objects = String::from_utf8(output.stdout)?;
    Ok(rendered.get_or_init(|| objects))
}

impl Drop for Installation {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
        if self.watched.is_none() {
            // The rest goes with the namespace.
            let everywhere = ["delete", "clusterrole,clusterrolebinding", &self.name];
            let _ = cluster::ok(&everywhere, "");
        }
    }
}

/// The binary beside the test's own; `LOADTEST_TEST_OPERATOR` names another.
fn program() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("LOADTEST_TEST_OPERATOR") {
        return Ok(path.into());
    }
    let test = std::env::current_exe()?;
    let folder = test.parent().and_then(Path::parent);
    let path = folder.context("the test has no folder")?.join(NAME);
    ensure!(
        path.exists(),
        "no {}: run `cargo build -p loadtest-operator`",
        path.display()
    );
    Ok(path)
}

/// A running operator; it is killed when this goes.
#[derive(Debug)]
pub struct Operator {
    child: Child,
    log: PathBuf,
}

impl Operator {
    /// Its pid.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended by itself.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn has_ended(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// What it said.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The addresses it listens on, in order: health first, coordination when it leads.
    fn address(&self, number: usize) -> Result<SocketAddr> {
        wait::until("the operator to listen", Duration::from_mins(1), || {
            let log = self.log();
            let mut found = log.lines().filter_map(|line| {
                let (_, rest) = line.split_once("listening")?;
                rest.split_once("address=")?
                    .1
                    .split_whitespace()
                    .next()?
                    .parse()
                    .ok()
            });
            Ok(found.nth(number))
        })
        .with_context(|| self.log())
    }

    /// Where its coordination server listens.
    ///
    /// # Errors
    /// When it does not come to lead.
    pub fn coordination(&self) -> Result<SocketAddr> {
        self.address(1)
    }

    /// The sum of the samples of a metric.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub fn metric(&self, name: &str) -> Result<f64> {
        let mut stream = TcpStream::connect(self.address(0)?)?;
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let samples = answer.lines().filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let found = series.split('{').next()?;
            (found == name).then(|| value.parse::<f64>().ok())?
        });
        let samples: Vec<_> = samples.collect();
        if samples.is_empty() {
            bail!("no metric {name}");
        }
        Ok(samples.iter().sum())
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
