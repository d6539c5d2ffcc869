//! The exporter's process and a coordinator for it.

use std::{
    fs::File,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use loadtest_core::{
    identity,
    plan::Plan,
    report::{Answer, Desired, ExporterReport, ExporterState, decode, encode},
    view::RunView,
};
use loadtest_runner::pool::{Anchor, Pool, PoolOptions};

use crate::measured::{RECORDS, WALL_NS, interval, record, view};

const DEADLINE: Duration = Duration::from_mins(4);

/// A coordinator of one exporter: says what the run came to, and lets it exit when it has ended.
struct Coordinator {
    url: String,
    latest: Arc<Mutex<Option<ExporterReport>>>,
}

impl Coordinator {
    fn start(view: RunView) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let latest = Arc::new(Mutex::new(None));
        let shared = latest.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Some(report) = stream.ok().and_then(|stream| answer(stream, &view)) else {
                    continue;
                };
                assert!(report.requests.balanced(), "{report:?}");
                *shared.lock().unwrap() = Some(report);
            }
        });
        Self { url, latest }
    }
}

fn answer(mut stream: TcpStream, view: &RunView) -> Option<ExporterReport> {
    let mut bytes = Vec::new();
    let mut part = [0; 4_096];
    let body = loop {
        let read = stream.read(&mut part).ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(&part[..read]);
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
            continue;
        };
        let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
        assert!(
            head.contains("authorization: bearer token-of-the-test"),
            "{head}"
        );
        let (_, length) = head.split_once("content-length: ")?;
        let length: usize = length.lines().next()?.parse().ok()?;
        if bytes.len() >= end + 4 + length {
            break bytes.split_off(end + 4);
        }
    };
    let report: ExporterReport = decode(&body).unwrap();
    let desired = match report.state {
        ExporterState::Finished => Desired::Exit,
        ExporterState::Running => Desired::Finish(Box::new(view.clone())),
    };
    let answer = Answer {
        epoch: 1,
        acknowledged: None,
        clock: 0,
        desired,
        setup: None,
    };
    let body = encode(&answer).unwrap();
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(&body).ok()?;
    Some(report)
}

/// An engine's intervals, and its end.
pub fn end_measuring(pool: &Pool) {
    let mut aggregates = pool.aggregates().unwrap();
    (0..10).for_each(|sequence| aggregates.append(&interval(sequence)).unwrap());
    pool.finish();
}

/// A directory and a child process that are gone at the end.
pub struct Exporter {
    dir: PathBuf,
    plan: Plan,
    coordinator: Coordinator,
    child: Option<Child>,
}

impl Exporter {
    pub fn new(plan: Plan) -> Self {
        let dir = std::env::temp_dir().join(format!(
            "loadtest-search-{}-{}",
            std::process::id(),
            plan.run.id
        ));
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("plan.json"), plan.to_bytes().unwrap()).unwrap();
        std::fs::write(dir.join("token"), "token-of-the-test\n").unwrap();
        let coordinator = Coordinator::start(view(&plan));
        Self {
            dir,
            plan,
            coordinator,
            child: None,
        }
    }

    /// What an engine leaves: always the same records and intervals.
    pub fn measure(&self) {
        self.measure_at(WALL_NS);
    }

    /// The same where the clock shows another time.
    pub fn measure_at(&self, wall_ns: i64) {
        let pool = self.pool_at(16, wall_ns);
        let mut writers = [pool.writer(0), pool.writer(1)];
        for k in 0..RECORDS {
            writers[(k % 2) as usize].record(&record(k));
        }
        drop(writers);
        end_measuring(&pool);
    }

    /// The memory of an engine of two workers.
    #[allow(dead_code, reason = "wanted where there is no search server")]
    pub fn pool(&self, blocks_per_worker: u32) -> Pool {
        self.pool_at(blocks_per_worker, WALL_NS)
    }

    fn pool_at(&self, blocks_per_worker: u32, wall_ns: i64) -> Pool {
        let anchor = Anchor {
            wall_ns,
            mono_ns: 0,
        };
        let options = PoolOptions {
            workers: 2,
            blocks_per_worker,
            anchor,
        };
        Pool::create(&self.dir, options).unwrap()
    }

    pub fn start(&mut self) {
        self.start_by(Command::new(env!("CARGO_BIN_EXE_loadtest-runner")));
    }

    /// Starts it by a command to which its arguments are added.
    pub fn start_by(&mut self, mut command: Command) {
        let hash = identity::plan_hash(&self.plan.to_bytes().unwrap());
        let log = File::create(self.dir.join("log")).unwrap();
        let child = command
            .arg("export")
            .args([
                "--plan-hash",
                &hash,
                "--index",
                "0",
                "--control",
                &self.coordinator.url,
            ])
            .arg("--plan")
            .arg(self.dir.join("plan.json"))
            .arg("--token-file")
            .arg(self.dir.join("token"))
            .arg("--pool")
            .arg(&self.dir)
            .stderr(log)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        self.child = Some(child);
    }

    /// A directory that is gone at the end.
    #[allow(dead_code, reason = "wanted where there is no search server")]
    pub fn dir(&self) -> &std::path::Path {
        &self.dir
    }

    /// Which run it is of.
    #[allow(dead_code, reason = "as above")]
    pub fn run_id(&self) -> &str {
        &self.plan.run.id
    }

    /// Whether this holds of the latest report.
    #[allow(dead_code, reason = "as above")]
    pub fn reports(&self, holds: impl Fn(&ExporterReport) -> bool) -> bool {
        let latest = self.coordinator.latest.lock().unwrap();
        latest.as_ref().is_some_and(holds)
    }

    /// The process that runs.
    #[allow(dead_code, reason = "wanted where there is no search server")]
    pub fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Asks it to end, and then to give up what is left.
    pub fn hurry(&self) {
        let pid = self.child.as_ref().unwrap().id().to_string();
        for _ in 0..2 {
            let told = Command::new("kill").args(["-TERM", &pid]).status();
            assert!(told.unwrap().success());
            // Two signals that wait at once are one.
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Waits for a report of which this holds.
    pub fn wait_for(&self, holds: impl Fn(&ExporterReport) -> bool, what: &str) {
        let deadline = Instant::now() + DEADLINE;
        let latest = || self.coordinator.latest.lock().unwrap().clone();
        while !latest().is_some_and(|report| holds(&report)) {
            assert!(
                Instant::now() < deadline,
                "no report in which {what}: {:?}\n{}",
                latest(),
                self.log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits for the end; answers the final report.
    pub fn finish(&mut self) -> ExporterReport {
        let deadline = Instant::now() + DEADLINE;
        let mut child = self.child.take().unwrap();
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if Instant::now() > deadline {
                child.kill().unwrap();
                child.wait().unwrap();
                panic!("the exporter does not end:\n{}", self.log());
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        assert!(status.success(), "{status}:\n{}", self.log());
        let report = self.coordinator.latest.lock().unwrap().clone().unwrap();
        assert_eq!(report.state, ExporterState::Finished, "{}", self.log());
        report
    }

    /// Begins with what an engine left, up to a report that says so of its problem.
    #[allow(dead_code, reason = "wanted where there is a search server")]
    pub fn start_until_it_says(&mut self, sentence: &str) {
        self.measure();
        self.start();
        let says = |report: &ExporterReport| report.problem.contains(sentence);
        self.wait_for(says, &format!("{sentence:?} is said"));
    }

    pub fn run(&mut self) -> ExporterReport {
        self.measure();
        self.start();
        self.finish()
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}
