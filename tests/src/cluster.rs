//! The real cluster, as a user sees it.

use std::{
    fmt::Write as _,
    io::Write as _,
    path::PathBuf,
    process::{Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use crate::{api::Api, root, wait};

/// Where the running cluster keeps its state.
pub fn state_folder() -> PathBuf {
    std::env::var_os("CLUSTER_RUN").map_or_else(|| "/tmp/loadtest-cluster".into(), PathBuf::from)
}

/// How any other client than `kubectl` reaches the cluster, as its administrator.
pub fn kubeconfig() -> PathBuf {
    state_folder().join("kubeconfig")
}

/// Runs `kubectl` with these arguments, `input` on its standard input.
///
/// # Errors
/// Only when it cannot be started; what it says is in the output.
pub fn kubectl(arguments: &[&str], input: &str) -> Result<Output> {
    let mut child = Command::new(root().join("tests/cluster/kubectl"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start kubectl: run `make cluster-up` first")?;
    let mut stdin = child.stdin.take().context("no standard input")?;
    // In a thread: kubectl may write more than a pipe holds before it has read everything.
    let text = input.to_owned();
    let writer = thread::spawn(move || stdin.write_all(text.as_bytes()));
    let output = child.wait_with_output()?;
    let _ = writer.join();
    Ok(output)
}

/// Runs `kubectl` and takes what it prints.
///
/// # Errors
/// What it says on its standard error when it fails.
pub fn ok(arguments: &[&str], input: &str) -> Result<String> {
    let output = kubectl(arguments, input)?;
    if !output.status.success() {
        bail!(
            "kubectl {}: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// SIGKILL for a container, behind the back of Kubernetes.
///
/// # Errors
/// When there is no such container.
pub fn kill_container(namespace: &str, pod: &str, container: &str) -> Result<()> {
    helper("kill-container", &[namespace, pod, container])
}

/// Runs a command on the node.
///
/// # Errors
/// What it says when it fails.
pub fn on_node(command: &[&str]) -> Result<()> {
    helper("enter", command)
}

fn helper(name: &str, arguments: &[&str]) -> Result<()> {
    let output = Command::new(root().join("tests/cluster").join(name))
        .args(arguments)
        .output()?;
    if !output.status.success() {
        bail!("{name}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// A namespace that goes with the test.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

static NUMBER: AtomicU32 = AtomicU32::new(0);

impl Namespace {
    /// Makes a namespace that no other test has.
    ///
    /// # Errors
    /// When the cluster cannot be reached.
    pub fn new(purpose: &str) -> Result<Self> {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("test-{purpose}-{}-{number}", std::process::id());
        // Everything that our operator runs must fit the strictest standard.
        let labels = json!({"pod-security.kubernetes.io/enforce": "restricted"});
        let object = json!({
            "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels},
        });
        let api = Api::of_cluster()?;
        api.create("/api/v1/namespaces", &object)?;
        let namespace = Self { name };
        let account = format!(
            "/api/v1/namespaces/{}/serviceaccounts/default",
            namespace.name
        );
        wait::until(
            "the default service account",
            Duration::from_secs(30),
            || api.get(&account),
        )?;
        Ok(namespace)
    }

    /// Makes a namespace with go-httpbin and the host's search server in it.
    ///
    /// # Errors
    /// When they do not become ready.
    pub fn with_target(purpose: &str) -> Result<Self> {
        let namespace = Self::new(purpose)?;
        for file in ["tests/cluster/httpbin.yaml", "tests/search-service.yaml"] {
            let path = root().join(file);
            namespace.kubectl(&["apply", "-f", &path.to_string_lossy()])?;
        }
        namespace.kubectl(&["rollout", "status", "deployment/httpbin", "--timeout=90s"])?;
        Ok(namespace)
    }

    /// Runs a test's body in a namespace with a target, as [`Self::explain`] does; and anew in another one,
    /// three times at most, when a run there was honestly `Invalid`: a machine that stalled for a moment sent
    /// its load late, which says nothing about what is tested.
    ///
    /// # Errors
    /// The body's, or when the target does not become ready.
    pub fn delivered<T>(purpose: &str, body: impl Fn(&Self) -> Result<T>) -> Result<T> {
        let mut tries = 1;
        loop {
            let namespace = Self::with_target(purpose)?;
            match namespace.explain(&body) {
                Err(_) if tries < 3 && namespace.has_late_load() => {
                    println!("{}: the machine sent a load late; anew", namespace.name);
                }
                result => return result,
            }
            tries += 1;
        }
    }

    /// Whether a run's arrivals began late because of the generator.
    fn has_late_load(&self) -> bool {
        let runs = self.kubectl(&["get", "ltrun", "-o", "json"]);
        let runs: Value = serde_json::from_str(&runs.unwrap_or_default()).unwrap_or_default();
        let mut runs = runs["items"].as_array().into_iter().flatten();
        runs.any(|run| {
            let (status, late) = (&run["status"], "began late because of the generator");
            let message = status["message"].as_str().unwrap_or_default();
            status["verdict"] == "Invalid" && message.contains(late)
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `kubectl` in this namespace.
    ///
    /// # Errors
    /// What it says when it fails.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        self.kubectl_with(arguments, "")
    }

    /// `kubectl` in this namespace, with standard input.
    ///
    /// # Errors
    /// What it says when it fails.
    pub fn kubectl_with(&self, arguments: &[&str], input: &str) -> Result<String> {
        ok(
            &[&["--namespace", self.name.as_str()], arguments].concat(),
            input,
        )
    }

    /// `kubectl apply` of a manifest; what it said.
    ///
    /// # Errors
    /// What it says when it refuses.
    pub fn apply(&self, manifest: &str) -> Result<String> {
        self.kubectl_with(&["apply", "-f", "-"], manifest)
    }

    /// An object as JSON.
    ///
    /// # Errors
    /// When it does not exist.
    pub fn get(&self, object: &str) -> Result<Value> {
        Ok(serde_json::from_str(
            &self.kubectl(&["get", object, "-o", "json"])?,
        )?)
    }

    /// `kubectl wait --for=condition=Finished`, as a pipeline does it.
    ///
    /// # Errors
    /// With the state of everything when it did not finish in time.
    pub fn wait_finished(&self, object: &str, limit: Duration) -> Result<Value> {
        let timeout = format!("--timeout={}s", limit.as_secs());
        self.kubectl(&["wait", "--for=condition=Finished", object, &timeout])?;
        self.get(object)
    }

    /// Runs a test's body and, when it fails, adds the state of the namespace to the error.
    ///
    /// # Errors
    /// The body's.
    pub fn explain<T>(&self, body: impl FnOnce(&Self) -> Result<T>) -> Result<T> {
        body(self).map_err(|error| error.context(self.describe()))
    }

    fn describe(&self) -> String {
        let mut text = format!("state of namespace {}\n", self.name);
        for arguments in [
            &["get", "ltest,ltrun", "-o", "yaml"][..],
            &["get", "jobs,pods,configmaps", "-o", "wide"],
            &["get", "events", "--sort-by=.lastTimestamp"],
            &[
                "logs",
                "-l",
                "loadtest.dev/run",
                "--all-containers",
                "--tail=40",
                "--prefix",
            ],
        ] {
            let said = self
                .kubectl(arguments)
                .unwrap_or_else(|error| format!("{error:#}"));
            let _ = write!(text, "\n$ kubectl {}\n{said}\n", arguments.join(" "));
        }
        let logs = ["-n", OPERATOR_NAMESPACE, "logs", OPERATOR, "--tail=80"];
        text.push_str(&ok(&logs, "").unwrap_or_else(|error| format!("{error:#}")));
        text
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let path = format!("/api/v1/namespaces/{}", self.name);
        let _ = Api::of_cluster().and_then(|api| api.delete(&path));
    }
}

/// Where `tests/environment.sh` installs the operator.
pub const OPERATOR_NAMESPACE: &str = "loadtest-system";
/// Its deployment.
pub const OPERATOR: &str = "deployment/loadtest-operator";

/// No replica of the installed operator acts, until this goes; nothing where none is installed.
#[derive(Debug)]
pub struct OperatorAway {
    replicas: Option<u64>,
}

impl OperatorAway {
    /// Ends them and waits until they are gone.
    ///
    /// # Errors
    /// When they do not go.
    pub fn new() -> Result<Self> {
        let in_operator = ["-n", OPERATOR_NAMESPACE];
        let get = ["get", OPERATOR, "--ignore-not-found", "-o", "json"];
        let found = ok(&[&in_operator[..], &get].concat(), "")?;
        if found.is_empty() {
            return Ok(Self { replicas: None });
        }
        let deployment: Value = serde_json::from_str(&found)?;
        let guard = Self {
            replicas: deployment["spec"]["replicas"].as_u64(),
        };
        scale_operator(0)?;
        let label = "app.kubernetes.io/name=loadtest-operator";
        let gone = ["wait", "--for=delete", "pod", "-l", label, "--timeout=60s"];
        ok(&[&in_operator[..], &gone].concat(), "")?;
        Ok(guard)
    }
}

impl Drop for OperatorAway {
    fn drop(&mut self) {
        if let Some(replicas) = self.replicas {
            let _ = scale_operator(replicas);
        }
    }
}

fn scale_operator(replicas: u64) -> Result<()> {
    let replicas = format!("--replicas={replicas}");
    ok(
        &["-n", OPERATOR_NAMESPACE, "scale", OPERATOR, &replicas],
        "",
    )
    .map(drop)
}
