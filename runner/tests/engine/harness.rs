//! Plans, and engines that carry them out as processes.

use std::{collections::BTreeMap, net::SocketAddr, process::Stdio, time::Duration};

use loadtest_core::{
    identity::plan_hash,
    plan::{
        Arrivals, Check, Condition, Connections, Cookies, Files, Flows, Inputs, Load, OnLost,
        Origin, PauseRange, Plan, RawMode, Request, Results, RunIdentity, Scenario, Scheme,
        SeriesKey, Step, Target, Task,
    },
    series::SeriesSet,
    template::{Names, Position, Template},
    view::RunView,
};
use tokio::process::{Child, Command};

use crate::coordinator::{Server, TOKEN};

pub const RUN_ID: &str = "0123456789abcdef0123456789abcdef";

pub fn plan(address: SocketAddr, scenarios: Vec<Scenario>) -> Plan {
    let mut plan = Plan {
        run: RunIdentity {
            id: RUN_ID.to_owned(),
            namespace: "local".to_owned(),
            test: "engine".to_owned(),
            name: "engine-1".to_owned(),
            number: 1,
            seed: 42,
        },
        target: Target {
            url: format!("http://{address}"),
            origin: Origin {
                scheme: Scheme::Http,
                host: address.ip().to_string(),
                port: address.port(),
            },
            ..Target::default()
        },
        scenarios,
        series: Vec::new(),
        checks: Vec::new(),
        groups: Vec::new(),
        inputs: Inputs::default(),
        once: None,
        thresholds: Vec::new(),
        runners: 1,
        on_lost: OnLost::Fail,
        start_timeout: Duration::from_secs(20),
        warm_up: Duration::ZERO,
        max_duration: Duration::from_mins(1),
        results: Results {
            interval: Duration::from_secs(1),
            elasticsearch: None,
            files: None,
            drain_timeout: Duration::from_secs(1),
            spool_limit: 0,
            samples: true,
        },
    };
    number(&mut plan);
    plan
}

/// Gives every request its number and its name.
fn number(plan: &mut Plan) {
    let mut step_number = 0;
    for scenario in &mut plan.scenarios {
        for step in scenario.tasks.iter_mut().flat_map(|task| &mut task.steps) {
            let Step::Request(request) = step else {
                continue;
            };
            let key = SeriesKey {
                scenario: scenario.name.clone(),
                name: request.path.to_display(),
                method: request.method.clone(),
            };
            let known = plan.series.iter().position(|k| *k == key);
            request.series = known.unwrap_or(plan.series.len()) as u32;
            if known.is_none() {
                plan.series.push(key);
            }
            request.step = step_number;
            step_number += 1;
            for check in &mut request.checks {
                check.index = plan.checks.len() as u32;
                plan.checks.push(format!("check {}", check.index));
            }
        }
    }
}

pub fn scenario(load: Load, tasks: Vec<Task>) -> Scenario {
    Scenario {
        name: "main".to_owned(),
        start_after: Duration::ZERO,
        load,
        graceful_stop: Duration::from_secs(5),
        connections: Connections::KeepAlive,
        cookies: Cookies::Iteration,
        tasks,
        flows: Flows::default(),
    }
}

pub fn users(users: u32, duration: Duration) -> Load {
    Load::ConstantUsers { users, duration }
}

pub fn rate(rate: &str, duration: Duration, max_users: u32) -> Load {
    Load::ConstantRate {
        rate: rate.parse().unwrap(),
        duration,
        max_users,
        arrivals: Arrivals::Even,
    }
}

/// So many iterations of each user, however long they take.
pub fn iterations(users: u32, iterations: u64) -> Load {
    Load::PerUserIterations {
        users,
        iterations,
        max_duration: Duration::from_secs(30),
    }
}

pub fn task(name: &str, weight: u32, steps: Vec<Step>) -> Task {
    Task {
        name: name.to_owned(),
        weight,
        steps,
        ..Task::default()
    }
}

pub fn get(path: &str) -> Request {
    Request {
        method: "GET".to_owned(),
        path: template(path),
        timeout: Duration::from_secs(10),
        success: vec!["200-399".parse().unwrap()],
        ..Request::default()
    }
}

pub fn template(text: &str) -> Template {
    Template::parse(text, Position::Url, &Names::default()).unwrap()
}

pub fn step(request: Request) -> Step {
    Step::Request(Box::new(request))
}

pub fn pause(min: u64, max: u64) -> PauseRange {
    PauseRange {
        min: Duration::from_millis(min),
        max: Duration::from_millis(max),
    }
}

pub fn body_contains(text: &str) -> Check {
    Check {
        index: 0,
        condition: Condition::BodyContains(Template::literal(text)),
    }
}

pub fn with_files(mut plan: Plan, raw: RawMode) -> Plan {
    plan.results.files = Some(Files { raw });
    plan
}

/// An engine process with its coordinator and its directory.
pub struct Run {
    pub server: Server,
    pub plan: Plan,
    pub directory: std::path::PathBuf,
    engines: Vec<Child>,
}

impl Drop for Run {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.directory));
    }
}

/// What came of a run.
pub struct Ended {
    pub codes: Vec<Option<i32>>,
    pub merged: SeriesSet,
    pub view: RunView,
}

impl Run {
    pub async fn start(plan: Plan) -> Self {
        let bytes = plan.to_bytes().unwrap();
        let hash = plan_hash(&bytes);
        let server = Server::start(&plan, &hash).await;
        let mut run = Self {
            server,
            directory: fresh_directory(),
            engines: Vec::new(),
            plan,
        };
        std::fs::write(run.directory.join("plan.json"), bytes).unwrap();
        std::fs::write(run.directory.join("token"), format!("{TOKEN}\n")).unwrap();
        for index in 0..run.plan.runners {
            let engine = run.engine(index, &hash);
            run.engines.push(engine);
        }
        run
    }

    fn engine(&self, index: u32, hash: &str) -> Child {
        let pool = self.pool(index);
        std::fs::create_dir_all(&pool).unwrap();
        Command::new(env!("CARGO_BIN_EXE_loadtest-runner"))
            .arg("engine")
            .arg("--plan")
            .arg(self.directory.join("plan.json"))
            .args(["--plan-hash", hash, "--index", &index.to_string()])
            .arg("--pool")
            .arg(pool)
            .args(["--control", &format!("http://{}", self.server.address)])
            .arg("--token-file")
            .arg(self.directory.join("token"))
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap()
    }

    pub fn pool(&self, index: u32) -> std::path::PathBuf {
        self.directory.join(format!("pool-{index}"))
    }

    pub fn pid(&self) -> u32 {
        self.pids()[0]
    }

    /// Of every engine that runs.
    pub fn pids(&self) -> Vec<u32> {
        self.engines.iter().filter_map(Child::id).collect()
    }

    /// Waits until every engine has exited.
    pub async fn end(&mut self) -> Ended {
        let mut codes = Vec::new();
        for engine in &mut self.engines {
            let status = tokio::time::timeout(Duration::from_mins(1), engine.wait())
                .await
                .expect("the engine exits")
                .unwrap();
            codes.push(status.code());
        }
        let merged = self.server.merged();
        assert_lawful(&merged);
        let view = self.server.view();
        Ended {
            codes,
            merged,
            view,
        }
    }
}

/// Runs a plan to its end, which must be a good one.
pub async fn run(plan: Plan) -> SeriesSet {
    run_to_end(plan).await.merged
}

/// The same, with what the coordinator makes of it.
pub async fn run_to_end(plan: Plan) -> Ended {
    let mut run = Run::start(plan).await;
    let ended = run.end().await;
    assert!(
        ended.codes.iter().all(|code| *code == Some(0)),
        "{:?}",
        ended.codes
    );
    ended
}

/// What holds for everything that was ever measured.
pub fn assert_lawful(set: &SeriesSet) {
    let named: u64 = set.by_name.iter().map(|series| series.requests).sum();
    assert_eq!(set.total.requests, named);
    assert_eq!(set.total.requests, set.total.latency.count());
    assert_eq!(set.total.requests, set.total.service_time.count());
    let failures: u64 = set.errors.values().sum();
    assert_eq!(set.total.failures, failures);
}

/// Failures by the name of their outcome and their message.
pub fn errors(set: &SeriesSet) -> BTreeMap<(String, String), u64> {
    let mut errors = BTreeMap::new();
    for (key, count) in &set.errors {
        *errors
            .entry((key.outcome.name().to_owned(), key.message.clone()))
            .or_insert(0) += count;
    }
    errors
}

fn fresh_directory() -> std::path::PathBuf {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("loadtest-engine-{}-{number}", std::process::id());
    let shared_memory = std::path::Path::new("/dev/shm");
    let base = if shared_memory.is_dir() {
        shared_memory.to_owned()
    } else {
        std::env::temp_dir()
    };
    let directory = base.join(name);
    std::fs::create_dir_all(&directory).unwrap();
    directory
}
