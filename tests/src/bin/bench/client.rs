//! The clients: ours and wrk, each as a process tree with one core.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::{
    Settings,
    machine::{Cores, children_cpu_seconds},
    statistics::slope,
    target::Target,
};

/// What both ask for: a short answer, the same for everybody.
const PATH: &str = "/bytes/100";

/// How often memory is read.
const SAMPLE_EVERY: Duration = Duration::from_millis(250);

/// Memory in this time is that of the start: connections are opened, buffers grow.
const SETTLING: Duration = Duration::from_secs(3);

/// A client that can be run again and again.
#[derive(Debug)]
pub struct Client {
    program: PathBuf,
    args: Vec<String>,
    seconds: u32,
    /// Manifest and results, removed with the value.
    place: Option<PathBuf>,
}

/// One run.
#[derive(Debug, Clone, Copy)]
pub struct Measured {
    /// As the target counted them.
    pub requests: u64,
    /// As the client said.
    pub reported: u64,
    /// User and system time of the client's process tree.
    pub cpu_seconds: f64,
    /// Length of the load, without starting up and ending.
    pub load_seconds: u32,
}

impl Measured {
    pub fn per_cpu_second(&self) -> f64 {
        self.requests as f64 / self.cpu_seconds.max(0.01)
    }

    pub fn per_second(&self) -> f64 {
        self.requests as f64 / f64::from(self.load_seconds)
    }
}

/// Resident memory of the engine over a run, bytes.
#[derive(Debug, Clone, Copy)]
pub struct Memory {
    pub seconds: u32,
    /// Once all users are connected.
    pub settled: u64,
    pub last: u64,
    pub highest: u64,
    /// Bytes a second, by least squares over everything after the start.
    pub slope: f64,
}

impl Client {
    pub fn ours(settings: &Settings, target: &Target) -> Result<Self> {
        Self::ours_for(settings, target, settings.seconds)
    }

    pub fn ours_for(settings: &Settings, target: &Target, seconds: u32) -> Result<Self> {
        let place =
            std::env::temp_dir().join(format!("loadtest-bench-{}-{seconds}", std::process::id()));
        fs::create_dir_all(&place).with_context(|| format!("cannot make {}", place.display()))?;
        let manifest = place.join("bench.yaml");
        let text = format!(
            "apiVersion: loadtest.dev/v1alpha1
kind: LoadTest
metadata: {{ name: bench }}
spec:
  target: {{ url: \"{}\" }}
  scenarios:
    - name: main
      load: {{ constantUsers: {{ users: {}, duration: {seconds}s }} }}
      tasks:
        - steps:
            - request: {{ url: {PATH} }}
",
            target.url, settings.connections
        );
        let client = Self {
            program: settings.loadtest.canonicalize().with_context(|| {
                format!(
                    "no {}; cargo build --release -p loadtest-cli",
                    settings.loadtest.display()
                )
            })?,
            args: [
                "run",
                "bench.yaml",
                "--raw",
                "none",
                "--out",
                "out",
                "--quiet",
                "-o",
                "json",
            ]
            .map(str::to_owned)
            .to_vec(),
            seconds,
            place: Some(place),
        };
        fs::write(manifest, text)?;
        Ok(client)
    }

    pub fn wrk(settings: &Settings, target: &Target) -> Self {
        Self {
            program: "wrk".into(),
            args: vec![
                "-t1".into(),
                format!("-c{}", settings.connections),
                format!("-d{}s", settings.seconds),
                format!("{}{PATH}", target.url),
            ],
            seconds: settings.seconds,
            place: None,
        }
    }

    /// Runs it to the end.
    pub fn run(&self, target: &Target, cores: &Cores) -> Result<Measured> {
        let (requests, cpu) = (target.requests()?, children_cpu_seconds()?);
        let output = self
            .command(cores)?
            .output()
            .with_context(|| format!("{self}"))?;
        let text = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            bail!(
                "{self}: {}\n{text}{}",
                output.status,
                String::from_utf8_lossy(&output.stderr)
            );
        }
        let measured = Measured {
            requests: target.requests()?.saturating_sub(requests),
            reported: self
                .reported(&text)
                .with_context(|| format!("{self} said:\n{text}"))?,
            cpu_seconds: children_cpu_seconds()? - cpu,
            load_seconds: self.seconds,
        };
        // wrk drops what is under way at its end; more than that would be another target's count.
        if measured.requests.abs_diff(measured.reported) > measured.requests / 100 + 64 {
            bail!(
                "{self} speaks of {} requests, the target of {}",
                measured.reported,
                measured.requests
            );
        }
        Ok(measured)
    }

    /// Runs it to the end and reads its engine's memory on the way.
    pub fn watch_memory(&self, cores: &Cores) -> Result<Memory> {
        let mut command = self.command(cores)?;
        let mut child = command
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| format!("{self}"))?;
        let samples = sample_memory(&mut child);
        let status = child.wait()?;
        let samples = samples?;
        if !status.success() {
            bail!("{self}: {status}");
        }
        let settled: Vec<_> = samples
            .iter()
            .copied()
            .filter(|(at, _)| *at >= SETTLING.as_secs_f64())
            .collect();
        let (Some((_, first)), Some((_, last))) = (settled.first(), settled.last()) else {
            bail!("too few readings of the engine's memory: {}", samples.len());
        };
        Ok(Memory {
            seconds: self.seconds,
            settled: *first as u64,
            last: *last as u64,
            highest: samples
                .iter()
                .fold(0.0f64, |highest, (_, rss)| highest.max(*rss)) as u64,
            slope: slope(&settled),
        })
    }

    fn command(&self, cores: &Cores) -> Result<Command> {
        let mut command = Cores::command(&cores.client, &self.program);
        command.args(&self.args).stdin(Stdio::null());
        if let Some(place) = &self.place {
            let out = place.join("out");
            if out.exists() {
                fs::remove_dir_all(&out)?;
            }
            command.current_dir(place);
        }
        Ok(command)
    }

    fn reported(&self, text: &str) -> Result<u64> {
        if self.place.is_some() {
            let status: serde_json::Value = serde_json::from_str(text)?;
            return status
                .pointer("/summary/requests")
                .and_then(serde_json::Value::as_u64)
                .context("no summary.requests");
        }
        text.lines()
            .find_map(|line| line.trim().split_once(" requests in "))
            .context("no line with the number of requests")?
            .0
            .parse()
            .context("not a number of requests")
    }
}

impl std::fmt::Display for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let program = self.program.file_name().unwrap_or_default().display();
        write!(f, "{program} {}", self.args.join(" "))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if let Some(place) = &self.place {
            let _ = fs::remove_dir_all(place);
        }
    }
}

/// Seconds since the engine was first seen, and its resident bytes then, until the child ends.
fn sample_memory(child: &mut Child) -> Result<Vec<(f64, f64)>> {
    let mut samples = Vec::new();
    let mut seen: Option<(u32, Instant)> = None;
    while child.try_wait()?.is_none() {
        if seen.is_none() {
            seen = engine_under(child.id()).map(|pid| (pid, Instant::now()));
        }
        if let Some((pid, since)) = seen
            && let Some(rss) = resident_bytes(pid)
        {
            samples.push((since.elapsed().as_secs_f64(), rss as f64));
        }
        thread::sleep(SAMPLE_EVERY);
    }
    Ok(samples)
}

/// The engine process among a process's descendants.
fn engine_under(pid: u32) -> Option<u32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    let children = tasks
        .flatten()
        .filter_map(|task| fs::read_to_string(task.path().join("children")).ok())
        .flat_map(|list| {
            list.split_whitespace()
                .filter_map(|pid| pid.parse().ok())
                .collect::<Vec<u32>>()
        });
    for child in children {
        let command = fs::read(Path::new("/proc").join(child.to_string()).join("cmdline"));
        if command.ok()?.split(|byte| *byte == 0).nth(1) == Some(b"engine") {
            return Some(child);
        }
        if let Some(engine) = engine_under(child) {
            return Some(engine);
        }
    }
    None
}

fn resident_bytes(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kib << 10)
}
