//! A short and a long run of the same test under callgrind; the difference is what requests cost.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

use crate::{
    profile::{self, Profile},
    target::Target,
};

const MANIFEST: &str = include_str!("../../../gate/test.yaml");

/// Directory of the profiles, beside what else the build leaves.
const KEPT: &str = "target/gate";

/// Lengths of the load, seconds. What is done once, or once a second, is nearly gone from the
/// difference.
const RUNS: [u32; 2] = [1, 4];

/// A test that is weighed: `URL`, `USERS` and `DURATION` are filled in.
#[derive(Debug)]
pub struct Subject {
    pub name: String,
    pub manifest: String,
    pub users: u32,
    /// Whether every request is packed for the exporter.
    pub export: bool,
    /// Whether the runner is this program, which knows a step kind, and what the threads of step kinds
    /// do is weighed too.
    pub own_step: bool,
}

/// What the gate compares with what is written down.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    pub users: u32,
    /// Whether every request is packed for the exporter.
    pub export: bool,
    /// Most system calls of a request: a write, a read and a wait, of which many users share one.
    pub most_system_calls: f64,
}

impl std::fmt::Display for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let users = if self.users == 1 { "user" } else { "users" };
        let export = if self.export { "packing" } else { "no export" };
        write!(f, "{} {users}, {export}", self.users)
    }
}

/// What one request costs the worker thread that sends it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cost {
    pub instructions: f64,
    pub system_calls: f64,
    pub allocations: f64,
}

impl Case {
    /// As it is weighed.
    pub fn subject(self) -> Subject {
        Subject {
            name: self.to_string(),
            manifest: MANIFEST.to_owned(),
            users: self.users,
            export: self.export,
            own_step: false,
        }
    }
}

/// Weighs one request of a test.
pub fn weigh(loadtest: &Path, subject: &Subject) -> Result<Cost> {
    let (mut requests, mut profiles) = ([0.0; 2], [Profile::default(); 2]);
    for ((seconds, requests), profile) in RUNS.iter().zip(&mut requests).zip(&mut profiles) {
        let target = Target::start()?;
        *profile = worker_profile(loadtest, subject, &target, *seconds)?;
        *requests = target.requests() as f64;
    }
    let ([fewer, more], [short, long]) = (requests, profiles);
    if more < 2.0 * fewer || fewer < 100.0 {
        bail!(
            "the runs had {fewer} and {more} requests: too few, or too alike, to tell what one costs"
        );
    }
    let each = |of: fn(&Profile) -> u64| (of(&long) as f64 - of(&short) as f64) / (more - fewer);
    Ok(Cost {
        instructions: each(|profile| profile.instructions),
        system_calls: each(|profile| profile.system_calls),
        allocations: each(|profile| profile.allocations),
    })
}

/// Runs it once; returns what the engine's only worker did.
fn worker_profile(
    loadtest: &Path,
    subject: &Subject,
    target: &Target,
    seconds: u32,
) -> Result<Profile> {
    let place = Place::new()?;
    let manifest = subject
        .manifest
        .replace("URL", &format!("http://{}", target.address))
        .replace("USERS", &subject.users.to_string())
        .replace("DURATION", &format!("{seconds}s"));
    fs::write(place.0.join("test.yaml"), manifest)?;
    let mut runner = Vec::new();
    if subject.own_step {
        runner.push(OsString::from("--runner-binary"));
        runner.push(env::current_exe()?.into_os_string());
    }
    // One core makes one worker. The exporter runs outside of valgrind, and it is not weighed.
    let output = Command::new("taskset")
        .args(["--cpu-list", &first_core()?])
        .args(["valgrind", "--tool=callgrind", "--separate-threads=yes"])
        .args([
            "--collect-systime=nsec",
            "--callgrind-out-file=profile.%p",
            "--log-file=valgrind.%p",
        ])
        .args([
            "--trace-children=yes",
            "--trace-children-skip-by-arg=export",
        ])
        .arg(loadtest)
        .args([
            "run",
            "test.yaml",
            "--out",
            "out",
            "--quiet",
            "--output",
            "json",
        ])
        .args(["--raw", if subject.export { "all" } else { "none" }])
        .args(runner)
        .current_dir(&place.0)
        .stdin(Stdio::null())
        .output()
        .context(
            "cannot start valgrind under taskset; Debian: apt-get install valgrind util-linux",
        )?;
    if !output.status.success() {
        bail!(
            "the run under valgrind: {}\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let threads = engine_threads(&place.0)?;
    // Besides the worker there are the control thread and one that waits for the end of stdin.
    let (worker, path) = threads
        .iter()
        .max_by_key(|(profile, _)| profile.system_calls)
        .context("callgrind wrote no profile of the engine")?;
    let kept = kept_profile(&subject.name);
    fs::create_dir_all(KEPT)?;
    fs::copy(path, &kept).with_context(|| format!("cannot write {}", kept.display()))?;
    Ok(if subject.own_step {
        threads.iter().map(|(profile, _)| *profile).sum()
    } else {
        *worker
    })
}

/// Where the worker's profile of a case's last run is kept, for `callgrind_annotate`.
pub fn kept_profile(name: &str) -> PathBuf {
    let mut file = name.replace(|c: char| !c.is_ascii_alphanumeric(), "-");
    file.push_str(".callgrind");
    Path::new(KEPT).join(file)
}

fn engine_threads(place: &Path) -> Result<Vec<(Profile, PathBuf)>> {
    let mut profiles = Vec::new();
    for entry in fs::read_dir(place)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if !name.starts_with("profile.") || !name.contains('-') {
            continue;
        }
        let text = fs::read_to_string(&path)?;
        let command = text.lines().find_map(|line| line.strip_prefix("cmd: "));
        if command.is_some_and(|command| command.trim().split(' ').nth(1) == Some("engine")) {
            profiles.extend(profile::parse(&text).map(|profile| (profile, path)));
        }
    }
    Ok(profiles)
}

/// The first core that this process may use.
fn first_core() -> Result<String> {
    let status = fs::read_to_string("/proc/self/status").context("/proc/self/status")?;
    let list = status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))
        .context("no Cpus_allowed_list in /proc/self/status")?;
    let first = list.trim().split([',', '-']).next().unwrap_or("0");
    Ok(first.to_owned())
}

/// A directory that is gone with the value.
struct Place(PathBuf);

impl Place {
    fn new() -> Result<Self> {
        let path = env::temp_dir().join(format!("loadtest-gate-{}", std::process::id()));
        fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
