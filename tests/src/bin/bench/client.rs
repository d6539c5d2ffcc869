//! A load generator as a process tree on one core: ours or another's.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, ExitStatus, Stdio},
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::{
    machine::{Cores, children_cpu_seconds, tree_cpu_seconds},
    target::Target,
};

/// Load before anything is counted: programs start, connections open, buffers grow.
pub const WARM_UP: Duration = Duration::from_secs(2);

/// Fewer requests than this are no measurement.
const FEWEST: u64 = 500;

/// How long a client may take to send its first request.
const PATIENCE: Duration = Duration::from_secs(30);

/// Directory of everything that clients write, in the build directory: on a real disk.
const PLACES: &str = "target/bench";

/// How a client says how many requests it sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Says {
    /// `summary.requests` of the status that ours prints.
    Status,
    /// wrk's `N requests in`, without what is under way on its connections at the end.
    Wrk { connections: u32 },
    /// Not read: only the target's word counts.
    Unread,
}

/// A client that can be run again and again.
#[derive(Debug)]
pub struct Client {
    /// What it is called on the page.
    pub name: String,
    pub program: PathBuf,
    pub args: Vec<String>,
    pub says: Says,
    /// Length of its load after the warm-up.
    pub seconds: u32,
    /// Where it runs.
    pub place: Place,
}

/// One run, without its warm-up.
#[derive(Debug, Clone, Copy)]
pub struct Measured {
    /// As the target counted them.
    pub requests: u64,
    /// User and system time of the client's process tree.
    pub cpu_seconds: f64,
}

impl Measured {
    pub fn per_cpu_second(&self) -> f64 {
        self.requests as f64 / self.cpu_seconds.max(0.01)
    }
}

impl Client {
    /// Runs it to the end; again when it was so slow to begin that there was no load to measure, as
    /// happens when something else has the machine.
    pub fn run(&self, target: &Target, cores: &Cores) -> Result<Measured> {
        for _ in 0..3 {
            let measured = self.run_once(target, cores)?;
            if measured.requests >= FEWEST {
                return Ok(measured);
            }
            eprintln!(
                "bench: {self} sent {} requests after its warm-up: again",
                measured.requests
            );
        }
        bail!("{self} sends next to nothing after its warm-up; use longer runs (--seconds)")
    }

    fn run_once(&self, target: &Target, cores: &Cores) -> Result<Measured> {
        let (requests, cpu) = (target.requests()?, children_cpu_seconds()?);
        let mut running = self.start(cores)?;
        let warm = running.warm_up(target, requests)?;
        let warm_cpu = tree_cpu_seconds(running.id());
        running.end()?;
        let all = target.requests()?;
        self.check_count(all - requests)?;
        Ok(Measured {
            requests: all - warm,
            cpu_seconds: children_cpu_seconds()? - cpu - warm_cpu,
        })
    }

    /// Starts it in an empty directory.
    pub fn start(&self, cores: &Cores) -> Result<Running<'_>> {
        let out = self.place.0.join("out");
        if out.exists() {
            fs::remove_dir_all(&out)?;
        }
        let mut command = Cores::command(&cores.client, &self.program);
        let child = command
            .args(&self.args)
            .current_dir(&self.place.0)
            .stdin(Stdio::null())
            .stdout(File::create(self.place.0.join("stdout"))?)
            .stderr(File::create(self.place.0.join("stderr"))?)
            .spawn()
            .with_context(|| format!("cannot start {self}"))?;
        Ok(Running {
            client: self,
            child,
        })
    }

    /// What it printed.
    pub fn output(&self) -> Result<String> {
        Ok(fs::read_to_string(self.place.0.join("stdout"))?)
    }

    /// What it says is what the target counted; anything else would be another target's count.
    fn check_count(&self, counted: u64) -> Result<()> {
        let text = self.output()?;
        let (said, slack) = match self.says {
            Says::Unread => return Ok(()),
            Says::Status => (status_number(&text, "/summary/requests"), 0),
            Says::Wrk { connections } => (wrk_requests(&text), u64::from(connections)),
        };
        let said =
            said.with_context(|| format!("{self} did not say how many requests:\n{text}"))?;
        if counted.abs_diff(said) > slack {
            bail!("{self} speaks of {said} requests, the target of {counted}");
        }
        Ok(())
    }
}

/// A number of a status.
fn status_number(text: &str, pointer: &str) -> Option<u64> {
    let status: serde_json::Value = serde_json::from_str(text).ok()?;
    status.pointer(pointer)?.as_u64()
}

fn wrk_requests(text: &str) -> Option<u64> {
    let mut lines = text.lines();
    let line = lines.find_map(|line| line.trim().split_once(" requests in "))?;
    line.0.parse().ok()
}

/// Its command line, without what is different each time.
impl std::fmt::Display for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let program = self.program.file_name().unwrap_or_default().display();
        write!(f, "{program} {}", self.args.join(" "))
    }
}

/// A client at work; killed when it is dropped before its end.
#[derive(Debug)]
pub struct Running<'a> {
    client: &'a Client,
    child: Child,
}

impl Running<'_> {
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it has sent load for as long as the warm-up; returns the target's count then.
    pub fn warm_up(&mut self, target: &Target, before: u64) -> Result<u64> {
        let begun = Instant::now();
        while target.requests()? == before {
            if self.has_ended()? || begun.elapsed() > PATIENCE {
                bail!("{} sent nothing:\n{}", self.client, self.said());
            }
            thread::sleep(Duration::from_millis(20));
        }
        thread::sleep(WARM_UP);
        target.requests()
    }

    pub fn has_ended(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// Waits for its good end.
    pub fn end(mut self) -> Result<()> {
        let status: ExitStatus = self.child.wait()?;
        if !status.success() {
            bail!("{}: {status}\n{}", self.client, self.said());
        }
        Ok(())
    }

    fn said(&self) -> String {
        let read = |name| fs::read_to_string(self.client.place.0.join(name)).unwrap_or_default();
        format!("{}{}", read("stdout"), read("stderr"))
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        // After the end there is nothing left to kill or to wait for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A directory that is gone with the value.
#[derive(Debug)]
pub struct Place(PathBuf);

impl Place {
    pub fn new() -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "place-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Relaxed)
        );
        let path = std::env::current_dir()?.join(PLACES).join(name);
        fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file that the client reads.
    pub fn write(&self, name: &str, text: &str) -> Result<()> {
        Ok(fs::write(self.0.join(name), text)?)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
