//! What the black-box tests share: a place of their own, the bundled target, the binary.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::panic)]

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use loadtest_crds::LoadTestRunStatus;

pub const BINARY: &str = env!("CARGO_BIN_EXE_loadtest");

/// A working directory that is gone with the test.
pub struct Place(PathBuf);

impl Place {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path =
            std::env::temp_dir().join(format!("loadtest-cli-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// `loadtest` in this directory.
    pub fn loadtest(&self, args: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        command
            .args(args)
            .current_dir(&self.0)
            .env("NO_COLOR", "1")
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// As [`Self::finish`], for tests of something else than the generator: on a machine that is too
    /// busy to send the load a run is truthfully Invalid, and is tried again.
    pub fn finish_delivered(&self, args: &[&str]) -> Finished {
        for _ in 0..4 {
            let finished = self.finish(args);
            if finished.status != Some(4) {
                return finished;
            }
            let _ = fs::remove_dir_all(self.0.join("out"));
            let _ = fs::remove_dir_all(self.0.join("loadtest-runs"));
        }
        self.finish(args)
    }

    /// Runs to the end; fails the test when that takes more than two minutes.
    pub fn finish(&self, args: &[&str]) -> Finished {
        Started::new(self.loadtest(args)).wait(Duration::from_mins(2))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A `loadtest` that goes on in the background.
pub struct Started {
    pub child: Option<Child>,
    began: Instant,
}

impl Started {
    pub fn new(mut command: Command) -> Self {
        Self {
            child: Some(command.spawn().unwrap()),
            began: Instant::now(),
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    pub fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    pub fn wait(mut self, longest: Duration) -> Finished {
        let mut child = self.child.take().unwrap();
        let pid = child.id();
        let stdout = child.stdout.take().unwrap();
        let stderr = child.stderr.take().unwrap();
        let out = std::thread::spawn(move || read_all(stdout));
        let err = std::thread::spawn(move || read_all(stderr));
        let deadline = Instant::now() + longest;
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break Some(status);
            }
            if Instant::now() > deadline {
                child.kill().unwrap();
                child.wait().unwrap();
                break None;
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        let (stdout, stderr) = (out.join().unwrap(), err.join().unwrap());
        assert!(
            status.is_some(),
            "loadtest ({pid}) did not end within {longest:?}\n{stdout}\n{stderr}"
        );
        Finished {
            status: status.unwrap().code(),
            stdout,
            stderr,
            took: self.began.elapsed(),
        }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn read_all(mut from: impl Read) -> String {
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

pub fn signal(pid: u32, name: &str) {
    let done = Command::new("kill")
        .arg(format!("-{name}"))
        .arg(pid.to_string())
        .status()
        .unwrap();
    assert!(done.success());
}

/// What a `loadtest` answered.
#[derive(Debug)]
pub struct Finished {
    pub status: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    pub took: Duration,
}

impl Finished {
    /// Asserts the exit code, and shows everything if it is another.
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(
            self.status,
            Some(code),
            "\nstdout:\n{}\nstderr:\n{}",
            self.stdout,
            self.stderr
        );
        self
    }

    pub fn says(self, text: &str) -> Self {
        assert!(
            self.stderr.contains(text),
            "no {text:?} in\n{}",
            self.stderr
        );
        self
    }

    /// The status that `-o json` printed.
    pub fn run_status(&self) -> LoadTestRunStatus {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error} in\n{}\n{}", self.stdout, self.stderr))
    }
}

/// The bundled target, on a free port.
pub struct Target {
    child: Child,
    pub url: String,
}

impl Target {
    pub fn start() -> Self {
        let mut child = Command::new(BINARY)
            .args(["target", "--listen", "127.0.0.1:0", "--threads", "1"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let url = line
            .trim()
            .strip_prefix("listening on ")
            .unwrap()
            .to_owned();
        Self { child, url }
    }

    /// Requests of a run, as the target counted them.
    pub fn requests_of(&self, run_id: &str) -> i64 {
        stats(self)["by_user_agent"]
            .as_object()
            .unwrap()
            .iter()
            .filter(|(agent, _)| agent.ends_with(&format!("run/{run_id}")))
            .map(|(_, count)| count.as_i64().unwrap())
            .sum()
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A GET with nothing but the standard library; returns the body.
fn get(url: &str, path: &str) -> String {
    use std::io::Write as _;
    let host = url.strip_prefix("http://").unwrap();
    let mut stream = std::net::TcpStream::connect(host).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"
    )
    .unwrap();
    let answer = read_all(stream);
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}

/// A run of `test.yaml` against a target, into `out`, with its status on standard output.
pub fn run_args(target: &str) -> [&str; 8] {
    [
        "run",
        "test.yaml",
        "--target",
        target,
        "--out",
        "out",
        "-o",
        "json",
    ]
}

/// A manifest with one scenario of one request.
pub fn manifest(load: &str, url: &str, thresholds: &[&str]) -> String {
    let mut wanted = String::new();
    for expr in thresholds {
        wanted.push_str(if wanted.is_empty() {
            "  thresholds:\n"
        } else {
            ""
        });
        wanted.push_str(&["    - expr: ", expr, "\n"].concat());
    }
    format!(
        "apiVersion: loadtest.dev/v1alpha1
kind: LoadTest
metadata: {{ name: quick }}
spec:
  target: {{ url: \"http://127.0.0.1:1\" }}
  scenarios:
    - name: main
      gracefulStop: 1s
      load: {load}
      tasks:
        - steps:
            - request: {{ url: \"{url}\", timeout: 2s }}
{wanted}"
    )
}

/// 100 requests in a second.
pub const SECOND: &str = "{ constantRate: { rate: 100/s, duration: 1s } }";

/// Every line of a run's raw documents.
pub fn raw_documents(directory: &Path) -> Vec<serde_json::Value> {
    let file = fs::File::open(directory.join("requests.ndjson.gz")).unwrap();
    BufReader::new(flate2::read::MultiGzDecoder::new(file))
        .lines()
        .map(|line| serde_json::from_str(&line.unwrap()).unwrap())
        .collect()
}

/// How many raw documents a run in `out` left.
pub fn raw_count(place: &Place) -> i64 {
    raw_documents(&place.path().join("out"))
        .len()
        .try_into()
        .unwrap()
}

/// Rows of a CSV file by column name.
pub fn csv_rows(path: &Path) -> Vec<std::collections::HashMap<String, String>> {
    csv::Reader::from_path(path)
        .unwrap()
        .deserialize()
        .map(Result::unwrap)
        .collect()
}

/// The children of a run that still live, by the plan that they were given.
pub fn processes_of(place: &Place) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(command) = fs::read_to_string(entry.path().join("cmdline")) else {
            continue;
        };
        let cwd = fs::read_link(entry.path().join("cwd")).unwrap_or_default();
        if cwd == place.path() && (command.contains("--plan") || command.contains("demo-target")) {
            found.push(command.replace('\0', " "));
        }
    }
    found
}

/// Memory-backed directories of a run that are still there.
pub fn scratch_of(run_id: &str) -> bool {
    Path::new("/dev/shm")
        .join(format!("loadtest-run-{run_id}"))
        .exists()
}

/// Waits until something holds; fails with `what` after `longest`.
pub fn eventually(what: &str, longest: Duration, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + longest;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {longest:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub fn output(command: &mut Command) -> Output {
    command.output().unwrap()
}

/// Waits until a run in this place sends load; returns the process id of its first engine.
pub fn wait_for_engine(place: &Place, target: &Target) -> u32 {
    eventually("load reaches the target", Duration::from_secs(30), || {
        requests(target, "get") > 0
    });
    process_of(place, "engine")
}

/// All that the target counted.
pub fn stats(target: &Target) -> serde_json::Value {
    serde_json::from_str(&get(&target.url, "/__stats")).unwrap()
}

/// Requests of a path, as the target counted them.
pub fn requests(target: &Target, path: &str) -> u64 {
    stats(target)["by_path"][path].as_u64().unwrap_or(0)
}

/// The process id of the first `engine` or `export` process of a run in this place.
pub fn process_of(place: &Place, part: &str) -> u32 {
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(command) = fs::read_to_string(entry.path().join("cmdline")) else {
            continue;
        };
        let cwd = fs::read_link(entry.path().join("cwd")).unwrap_or_default();
        if cwd == place.path() && command.split('\0').nth(1) == Some(part) {
            return entry.file_name().to_string_lossy().parse().unwrap();
        }
    }
    panic!("no {part} runs in {}", place.path().display());
}
