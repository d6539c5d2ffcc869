//! The machine that is measured on: its cores, whether it is quiet, what it is called.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

/// Ticks a second of the CPU times in /proc: `USER_HZ`, 100 on every architecture we build for.
const TICKS_PER_SECOND: f64 = 100.0;

/// A machine is quiet when others use less of its CPU time than this.
const QUIET: f64 = 0.05;

/// After so long it is measured anyway, and the page says how busy the machine was.
const PATIENCE: Duration = Duration::from_secs(20);

/// Which cores are whose. With one core both share it; the ratio still means something.
#[derive(Debug, Clone)]
pub struct Cores {
    pub client: String,
    pub target: String,
}

impl Cores {
    /// The first core that this process may use is the client's, all others are the target's.
    pub fn split() -> Result<Self> {
        let status = fs::read_to_string("/proc/self/status").context("/proc/self/status")?;
        let list = status
            .lines()
            .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))
            .context("no Cpus_allowed_list in /proc/self/status")?;
        let mut cores = expand(list.trim()).into_iter().map(|core| core.to_string());
        let client = cores.next().context("no core to run on")?;
        let others = cores.collect::<Vec<_>>().join(",");
        Ok(Self {
            target: if others.is_empty() {
                client.clone()
            } else {
                others
            },
            client,
        })
    }

    /// A command that runs `program` on some of them.
    pub fn command(cores: &str, program: &Path) -> Command {
        let mut command = Command::new("taskset");
        command.arg("--cpu-list").arg(cores).arg(program);
        command
    }
}

/// `0-2,5` in full.
fn expand(list: &str) -> Vec<u32> {
    list.split(',')
        .filter_map(|range| {
            let (from, to) = range.split_once('-').unwrap_or((range, range));
            Some(from.parse().ok()?..=to.parse().ok()?)
        })
        .flatten()
        .collect()
}

/// CPU seconds, user and system, of all children that were waited for, and of theirs.
pub fn children_cpu_seconds() -> Result<f64> {
    let times = cpu_ticks("self").context("/proc/self/stat")?;
    Ok(times.children as f64 / TICKS_PER_SECOND)
}

/// CPU seconds of a process; 0 when it is gone.
pub fn cpu_seconds(pid: u32) -> f64 {
    cpu_ticks(&pid.to_string()).map_or(0.0, |times| times.own as f64 / TICKS_PER_SECOND)
}

/// CPU seconds of a process, of all that it started, and of those of them that are over.
pub fn tree_cpu_seconds(pid: u32) -> f64 {
    let own = cpu_ticks(&pid.to_string()).map_or(0, |times| times.own + times.children);
    own as f64 / TICKS_PER_SECOND + children(pid).into_iter().map(tree_cpu_seconds).sum::<f64>()
}

/// User and system time of a process and of the children that it waited for.
struct Ticks {
    own: u64,
    children: u64,
}

fn cpu_ticks(process: &str) -> Option<Ticks> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The second field is a name in parentheses that may have spaces; utime, stime, cutime and
    // cstime are the twelfth to fifteenth after it (proc_pid_stat(5)).
    let (_, fields) = stat.rsplit_once(')')?;
    let mut ticks = fields
        .split_whitespace()
        .skip(11)
        .map_while(|field| field.parse::<u64>().ok());
    Some(Ticks {
        own: ticks.next()? + ticks.next()?,
        children: ticks.next()? + ticks.next()?,
    })
}

/// Processes that a process started and that live.
fn children(pid: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
        .flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    lists
        .flat_map(|list| {
            list.split_whitespace()
                .filter_map(|pid| pid.parse().ok())
                .collect::<Vec<_>>()
        })
        .collect()
}

/// The process among a process's descendants whose first argument this is.
pub fn descendant(pid: u32, argument: &str) -> Option<u32> {
    children(pid).into_iter().find_map(|child| {
        let command = fs::read(format!("/proc/{child}/cmdline")).ok()?;
        if command.split(|byte| *byte == 0).nth(1) == Some(argument.as_bytes()) {
            return Some(child);
        }
        descendant(child, argument)
    })
}

/// Moves a process with all its threads to other cores.
pub fn move_to(cores: &str, pid: u32) -> Result<()> {
    let status = Command::new("taskset")
        .args(["--all-tasks", "--cpu-list", "--pid", cores])
        .arg(pid.to_string())
        .stdout(Stdio::null())
        .status()
        .context("cannot start taskset")?;
    anyhow::ensure!(status.success(), "taskset: {status}");
    Ok(())
}

/// Resident memory of a process.
pub fn resident_bytes(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

/// Waits until others leave the CPUs alone; returns the share that they used in the last second.
pub fn wait_for_quiet() -> f64 {
    let began = Instant::now();
    loop {
        let Some(before) = cpu_times() else {
            return 0.0;
        };
        thread::sleep(Duration::from_secs(1));
        let Some(after) = cpu_times() else { return 0.0 };
        let all = after.0.saturating_sub(before.0).max(1);
        let busy = 1.0 - after.1.saturating_sub(before.1) as f64 / all as f64;
        if busy < QUIET || began.elapsed() > PATIENCE {
            return busy.max(0.0);
        }
    }
}

/// All ticks of all CPUs, and the idle ones of them.
fn cpu_times() -> Option<(u64, u64)> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let fields: Vec<u64> = stat
        .lines()
        .next()?
        .split_whitespace()
        .skip(1)
        .take(8)
        .filter_map(|field| field.parse().ok())
        .collect();
    Some((fields.iter().sum(), fields.get(3)? + fields.get(4)?))
}

/// Processor, cores and kernel, in a line.
pub fn description() -> String {
    let model = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = model
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown processor", |(_, name)| name.trim());
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cores = thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    // What a distributor appends to the number says nothing to others.
    let kernel = kernel.trim().split('-').next().unwrap_or_default();
    format!("{model}, {cores} cores, Linux {kernel}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn core_lists_are_expanded() {
        assert_eq!(expand("0-2,5"), [0, 1, 2, 5]);
        assert_eq!(expand("3"), [3]);
    }
}
