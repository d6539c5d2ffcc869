//! How much one operator holds, measured: prints rows for `docs/scaling.md`. Run by `make scaling`.
//!
//! Memory and counts are asserted; times are printed only, because a machine may be busy.

mod fleet;
mod usage;

use std::{
    fmt::Write as _,
    sync::{Arc, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use loadtest_tests::{
    api::Api,
    cluster::{self, Namespace, OperatorAway},
    operator::{Installation, Operator},
    proxy::Proxy,
    wait,
};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use serde_json::{Value, json};

/// What one operator may use, from the design.
const MEMORY_MIB: u64 = 256;

const ENGINES: usize = 1_000;
const NAMESPACES: usize = 100;
const TESTS_EACH: usize = 5;
const RUNS: usize = NAMESPACES * TESTS_EACH;

/// A test whose pods no node takes.
fn manifest(name: &str, namespace: &str, runners: usize, start_timeout: &str) -> Value {
    json!({
        "apiVersion": "loadtest.dev/v1alpha1", "kind": "LoadTest",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "target": {"url": "http://nowhere"},
            "scenarios": [{
                "name": "main",
                "load": {"constantRate": {"rate": "50000/s", "duration": "10m"}},
                "tasks": [{"steps": [{"request": {"url": "/"}}]}],
            }],
            "thresholds": [{"expr": "latency.p99 < 1s", "abort": {"after": "10s"}}],
            "runners": {
                "count": runners, "startTimeout": start_timeout,
                "template": {"spec": {"nodeSelector": {"example.com/no": "node"}}},
            },
        },
    })
}

fn list(namespace: &Namespace, what: &[&str]) -> Result<Vec<Value>> {
    let text = namespace.kubectl(&[&["get", "-o", "json"], what].concat())?;
    let mut list: Value = serde_json::from_str(&text)?;
    Ok(list["items"]
        .as_array_mut()
        .map(std::mem::take)
        .unwrap_or_default())
}

/// A token for each runner, in order, as the kubelet would have asked for it.
fn tokens(namespace: &Namespace) -> Result<Vec<String>> {
    let pods = wait::until("the pods", Duration::from_mins(5), || {
        let pods = list(namespace, &["pods"])?;
        Ok((pods.len() == ENGINES).then_some(pods))
    })?;
    let api = Api::of_cluster()?;
    let path = format!(
        "/api/v1/namespaces/{}/serviceaccounts/default/token",
        namespace.name()
    );
    let mut tokens = vec![String::new(); ENGINES];
    for pod in pods {
        let metadata = &pod["metadata"];
        let index = &metadata["annotations"]["batch.kubernetes.io/job-completion-index"];
        let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {
            "audiences": ["loadtest-operator"],
            "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": metadata["name"], "uid": metadata["uid"]},
        }});
        let answer = api.create(&path, &request)?;
        let token = answer["status"]["token"]
            .as_str()
            .context(answer.to_string())?;
        let index: usize = index.as_str().context("no index")?.parse()?;
        token.clone_into(tokens.get_mut(index).context("no such runner")?);
    }
    Ok(tokens)
}

fn trusting(namespace: &Namespace) -> Result<Arc<ClientConfig>> {
    let secret = namespace.kubectl(&[
        "get",
        "secret",
        "loadtest-operator-ca",
        "-o",
        "go-template={{index .data \"tls.crt\" | base64decode}}",
    ])?;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(secret.as_bytes())?)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(tls))
}

fn the_run(namespace: &Namespace, operator: &Operator) -> Result<fleet::Run> {
    let facts = wait::until("the run", Duration::from_mins(2), || {
        let run = namespace.get("ltrun/fleet-1").unwrap_or_default();
        let facts = run["status"]["run"].clone();
        Ok(facts["planHash"].is_string().then_some(facts))
    })?;
    let text = |name: &str| facts[name].as_str().unwrap_or_default().to_owned();
    Ok(fleet::Run {
        server: operator.coordination()?,
        tls: trusting(namespace)?,
        id: text("id"),
        plan_hash: text("planHash"),
    })
}

fn quantile(sorted: &[Duration], share: f64) -> Duration {
    let at = (sorted.len() as f64 * share) as usize;
    sorted
        .get(at.min(sorted.len().saturating_sub(1)))
        .copied()
        .unwrap_or_default()
}

#[test]
#[ignore = "a measurement: make scaling"]
fn a_thousand_reports_a_second() -> Result<()> {
    let _nobody = OperatorAway::new()?;
    let namespace = Namespace::new("fleet")?;
    let installation = Installation::new(namespace.name(), false)?;
    let proxy = Proxy::new()?;
    let operator = installation.start(&proxy.url())?;
    namespace.apply(&manifest("fleet", namespace.name(), ENGINES, "10m").to_string())?;
    let tokens = tokens(&namespace)?;
    let run = the_run(&namespace, &operator)?;
    let seen = Arc::new(fleet::Seen::default());
    let engines = fleet::start(&run, tokens, &seen);
    wait::until("all to have begun", Duration::from_mins(3), || {
        Ok((fleet::lock(&seen.answers).len() > 10 * ENGINES).then_some(()))
    })
    .with_context(|| format!("{:?}", fleet::lock(&seen.problems).last()))?;
    fleet::lock(&seen.answers).clear();
    *fleet::lock(&seen.bytes) = 0;
    let (begun, cpu) = (Instant::now(), usage::cpu(operator.pid())?);
    thread::sleep(Duration::from_secs(30));
    let (took, cpu) = (
        begun.elapsed(),
        usage::cpu(operator.pid())?.saturating_sub(cpu),
    );
    let mut answers = std::mem::take(&mut *fleet::lock(&seen.answers));
    let bytes = *fleet::lock(&seen.bytes) / answers.len().max(1);
    let memory = usage::peak_memory(operator.pid())?;
    seen.stop.store(true, Ordering::Relaxed);
    for engine in engines {
        engine.join().ok().context("an engine panicked")?;
    }
    answers.sort_unstable();
    let mut row = String::new();
    write!(
        row,
        "| {:.0} | {bytes} B | {:.2} | {memory} MiB | {:.1?} | {:.1?} | {:.1?} | {} |",
        answers.len() as f64 / took.as_secs_f64(),
        cpu.as_secs_f64() / took.as_secs_f64(),
        quantile(&answers, 0.5),
        quantile(&answers, 0.99),
        quantile(&answers, 0.999),
        fleet::lock(&seen.problems).len(),
    )?;
    println!(
        "| reports/s | mean size | CPU cores | peak memory | answer p50 | p99 | p99.9 | failed |\n{row}"
    );
    let shown = namespace.get("ltrun/fleet-1")?;
    let rate = shown["status"]["progress"]["rate"]
        .as_str()
        .unwrap_or_default();
    println!("the status shows {rate} of {}/s requests", ENGINES * 50);
    ensure!(memory <= MEMORY_MIB, "{memory} MiB");
    Ok(())
}

/// Namespaces that go with the test.
struct Namespaces(Vec<String>);

impl Namespaces {
    fn new() -> Result<Self> {
        let names: Vec<_> = (0..NAMESPACES)
            .map(|n| format!("scale-{}-{n}", std::process::id()))
            .collect();
        let object =
            |name| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        let list = json!({"apiVersion": "v1", "kind": "List", "items": names.iter().map(object).collect::<Vec<_>>()});
        let namespaces = Self(names);
        cluster::ok(&["create", "-f", "-"], &list.to_string())?;
        Ok(namespaces)
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        let mut arguments = vec!["delete", "namespace", "--wait=false"];
        arguments.extend(self.0.iter().map(String::as_str));
        let _ = cluster::ok(&arguments, "");
    }
}

/// How many of these objects there are in the namespaces of the test.
fn count(what: &str) -> Result<usize> {
    let lines = cluster::ok(&["get", what, "-A", "--no-headers"], "")?;
    Ok(lines
        .lines()
        .filter(|line| line.starts_with("scale-"))
        .count())
}

#[test]
#[ignore = "a measurement: make scaling"]
fn five_hundred_tests_in_a_hundred_namespaces() -> Result<()> {
    let _nobody = OperatorAway::new()?;
    let home = Namespace::new("scale")?;
    let installation = Installation::new(home.name(), true)?;
    let namespaces = Namespaces::new()?;
    let names = || {
        namespaces
            .0
            .iter()
            .flat_map(|name| (0..TESTS_EACH).map(move |n| (name, n)))
    };
    let tests: Vec<_> = names()
        .map(|(name, n)| manifest(&format!("test-{n}"), name, 1, "2m"))
        .collect();
    let tests = json!({"apiVersion": "v1", "kind": "List", "items": tests});
    cluster::ok(&["create", "-f", "-"], &tests.to_string())?;
    let proxy = Proxy::new()?;
    let begun = Instant::now();
    let operator = installation.start(&proxy.url())?;
    // Asked of the proxy and of the operator itself: kubectl would cost more than what is measured.
    let jobs = || {
        let calls = proxy.calls();
        calls.iter().filter(|call| call.made("jobs")).count()
    };
    wait::until("all Jobs", Duration::from_mins(5), || {
        Ok((jobs() >= RUNS).then_some(()))
    })
    .with_context(|| format!("{} Jobs were made; {}", jobs(), operator.log()))?;
    let made = begun.elapsed();
    wait::until("all verdicts", Duration::from_mins(10), || {
        let over = operator.metric("loadtest_runs_total").unwrap_or_default();
        Ok((over >= RUNS as f64).then_some(()))
    })?;
    proxy.settle(Duration::from_secs(3));
    let (took, cpu) = (begun.elapsed(), usage::cpu(operator.pid())?);
    let memory = usage::peak_memory(operator.pid())?;
    let reconciles = operator.metric("loadtest_reconciles_total")?;
    let calls = proxy.calls();
    let writes = calls.iter().filter(|call| call.writes()).count();
    println!(
        "| runs | Jobs made in | per s | all over in | reconciles | calls per run | writes per run | CPU | peak memory |"
    );
    println!(
        "| {RUNS} | {:.1} s | {:.0} | {:.1} s | {reconciles} | {:.1} | {:.1} | {:.1} s | {memory} MiB |",
        made.as_secs_f64(),
        RUNS as f64 / made.as_secs_f64(),
        took.as_secs_f64(),
        calls.len() as f64 / RUNS as f64,
        writes as f64 / RUNS as f64,
        cpu.as_secs_f64(),
    );
    ensure!(count("loadtestruns")? == RUNS, "one run for each test");
    ensure!(count("jobs")? == RUNS, "one Job for each run");
    ensure!(memory <= MEMORY_MIB, "{memory} MiB");
    let idle = proxy.calls().len();
    thread::sleep(Duration::from_secs(10));
    let cpu = usage::cpu(operator.pid())?.saturating_sub(cpu);
    let calls = proxy.calls().len() - idle;
    println!(
        "in 10 s of rest: {calls} calls, the lease's among them, and {} ms of CPU",
        cpu.as_millis()
    );
    Ok(())
}
