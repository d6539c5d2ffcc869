//! The machine that is measured on: its cores, whether it is quiet, what it is called.

use std::{
    fs,
    path::Path,
    process::Command,
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
    let stat = fs::read_to_string("/proc/self/stat").context("/proc/self/stat")?;
    // The second field is a name in parentheses that may have spaces; the fourteenth after it is
    // cutime, then comes cstime (proc_pid_stat(5)).
    let (_, fields) = stat
        .rsplit_once(')')
        .context("/proc/self/stat has no name")?;
    let ticks: Vec<u64> = fields
        .split_whitespace()
        .skip(13)
        .take(2)
        .filter_map(|field| field.parse().ok())
        .collect();
    Ok(ticks.iter().sum::<u64>() as f64 / TICKS_PER_SECOND)
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
