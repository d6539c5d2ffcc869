//! What a process uses, as the kernel counts it.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result};

/// Of `/proc/PID/stat`; it is 100 on every Linux that Rust runs on.
const TICKS_PER_SECOND: u64 = 100;

/// CPU time so far.
pub fn cpu(pid: u32) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, rest) = stat.rsplit_once(") ").context("no stat")?;
    let fields: Vec<_> = rest.split(' ').collect();
    let ticks = |at: usize| -> Result<u64> { Ok(fields.get(at).context("no field")?.parse()?) };
    Ok(Duration::from_millis(
        (ticks(11)? + ticks(12)?) * 1_000 / TICKS_PER_SECOND,
    ))
}

/// Highest resident memory so far, MiB.
pub fn peak_memory(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.context("no VmHWM")?.trim().trim_end_matches(" kB");
    Ok(kilobytes.parse::<u64>()? / 1_024)
}
