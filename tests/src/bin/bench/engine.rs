//! What is measured of our engine alone: its memory, how punctual it is, what export costs it.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::{
    client::{Client, WARM_UP},
    clients::{Clients, Export, Job},
    machine::{self, Cores, cpu_seconds, descendant, resident_bytes},
    statistics::{Spread, at_share, slope},
};

/// How often memory is read.
const SAMPLE_EVERY: Duration = Duration::from_millis(250);

/// Memory until then is that of the start: connections open, buffers grow for the first time. Of a
/// short run, its first half.
const SETTLING: f64 = 5.0;

/// Arrivals a second while memory is watched for growth.
pub const GROWTH_RATE: u32 = 2_000;

/// Resident memory of the engine over a run, bytes.
#[derive(Debug, Clone, Copy)]
pub struct Memory {
    pub seconds: u32,
    pub settled: f64,
    pub highest: f64,
    /// Bytes a second, by least squares over everything after the start.
    pub slope: f64,
}

/// Watches the engine's memory over a run.
pub fn memory(client: &Client, clients: &Clients<'_>, cores: &Cores) -> Result<Memory> {
    let before = clients.target.requests()?;
    let mut running = client.start(cores)?;
    running.warm_up(clients.target, before)?;
    let engine = descendant(running.id(), "engine").context("there is no engine")?;
    let begun = Instant::now();
    let mut samples = Vec::new();
    while !running.has_ended()? {
        if let Some(bytes) = resident_bytes(engine) {
            samples.push((begun.elapsed().as_secs_f64(), bytes as f64));
        }
        thread::sleep(SAMPLE_EVERY);
    }
    running.end()?;
    let span = samples.last().context("its memory could not be read")?.0;
    let settling = SETTLING.min(span / 2.0);
    let settled: Vec<_> = samples
        .iter()
        .copied()
        .filter(|(at, _)| *at >= settling)
        .collect();
    Ok(Memory {
        seconds: client.seconds,
        settled: settled.first().map_or(0.0, |(_, bytes)| *bytes),
        highest: samples
            .iter()
            .fold(0.0, |highest, (_, bytes)| bytes.max(highest)),
        slope: slope(&settled),
    })
}

/// By how much requests of an open model are sent late, microseconds.
#[derive(Debug, Clone, Copy)]
pub struct Punctuality {
    /// Arrivals a second.
    pub rate: u32,
    pub median: f64,
    pub p99: f64,
    /// Share of its core that the engine used.
    pub cpu: f64,
}

/// Sends at a rate and reads from the documents how late each request was. The exporter, which
/// writes them, has the target's cores meanwhile.
pub fn punctuality(clients: &Clients<'_>, rate: u32, cores: &Cores) -> Result<Punctuality> {
    let client = clients.ours_at(rate, rate / 10, Export::On)?;
    let before = clients.target.requests()?;
    let mut running = client.start(cores)?;
    running.warm_up(clients.target, before)?;
    let engine = descendant(running.id(), "engine").context("there is no engine")?;
    let exporter = descendant(running.id(), "export").context("there is no exporter")?;
    machine::move_to(&cores.target, exporter)?;
    let (begun, cpu) = (Instant::now(), cpu_seconds(engine));
    thread::sleep(Duration::from_secs(u64::from(client.seconds).saturating_sub(1)).max(WARM_UP));
    let cpu = (cpu_seconds(engine) - cpu) / begun.elapsed().as_secs_f64();
    running.end()?;
    let mut delays = delays(&client)?;
    // Those of the warm-up, during which the exporter had the engine's core.
    delays.drain(..delays.len().min(rate as usize * 5 / 4));
    delays.sort_by(f64::total_cmp);
    Ok(Punctuality {
        rate,
        median: at_share(&delays, 0.5),
        p99: at_share(&delays, 0.99),
        cpu,
    })
}

/// How late each request was sent, in the order in which they ended.
fn delays(client: &Client) -> Result<Vec<f64>> {
    const FIELD: &str = r#""scheduled_delay_us":"#;
    let mut gzip = Command::new("gzip")
        .arg("-dc")
        .arg(client.place.path().join("out/requests.ndjson.gz"))
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start gzip")?;
    let text = gzip.stdout.take().context("gzip has no output")?;
    let mut delays = Vec::new();
    for line in BufReader::new(text).lines() {
        let line = line?;
        let (_, rest) = line
            .split_once(FIELD)
            .with_context(|| format!("no {FIELD} in {line}"))?;
        let digits = rest.split(|c: char| !c.is_ascii_digit()).next();
        delays.push(digits.unwrap_or_default().parse()?);
    }
    if !gzip.wait()?.success() || delays.is_empty() {
        bail!("the documents cannot be read");
    }
    Ok(delays)
}

/// What export costs the engine, on over off, at the same rate.
#[derive(Debug, Clone, Copy)]
pub struct ExportCost {
    /// Arrivals a second.
    pub rate: u32,
    /// CPU time of the engine process per request.
    pub cpu: Spread,
    /// p99 of the latency, with engine and exporter on the same core.
    pub p99: Spread,
    /// p99 without and with it, microseconds, medians.
    pub p99_us: (f64, f64),
}

/// The arrivals a second at which the engine uses such a share of its core, without export.
///
/// It is looked for, since a request costs the more the fewer are handled at each turn of the loop.
pub fn rate_at(share: f64, clients: &Clients<'_>, cores: &Cores) -> Result<u32> {
    let mut rate = 20_000.0;
    for _ in 0..3 {
        let client = clients.ours_at(rate as u32, 1_000, Export::Off)?;
        let (cost, _) = engine_cost(&client, clients, cores)?;
        rate = share * 1e6 / cost;
    }
    Ok((rate / 1_000.0).round() as u32 * 1_000)
}

/// Compares pairs of runs at a rate.
pub fn export_cost(
    clients: &Clients<'_>,
    rate: u32,
    pairs: usize,
    cores: &Cores,
) -> Result<ExportCost> {
    let off = clients.ours_at(rate, 1_000, Export::Off)?;
    let on = clients.ours_at(rate, 1_000, Export::On)?;
    let mut measured = Vec::new();
    for number in 0..pairs {
        machine::wait_for_quiet();
        let first_on = number % 2 == 1;
        let first = engine_cost(if first_on { &on } else { &off }, clients, cores)?;
        let second = engine_cost(if first_on { &off } else { &on }, clients, cores)?;
        let (off, on) = if first_on {
            (second, first)
        } else {
            (first, second)
        };
        eprintln!(
            "bench: export off, on: {:.2}, {:.2} µs of the engine per request; p99 {:.0}, {:.0} µs",
            off.0, on.0, off.1, on.1
        );
        measured.push((off, on));
    }
    Ok(ExportCost {
        rate,
        cpu: Spread::of(measured.iter().map(|(off, on)| on.0 / off.0)),
        p99: Spread::of(measured.iter().map(|(off, on)| on.1 / off.1)),
        p99_us: (
            Spread::of(measured.iter().map(|(off, _)| off.1)).median,
            Spread::of(measured.iter().map(|(_, on)| on.1)).median,
        ),
    })
}

/// CPU time of the engine per request and p99 of the latency, microseconds.
fn engine_cost(client: &Client, clients: &Clients<'_>, cores: &Cores) -> Result<(f64, f64)> {
    let target = clients.target;
    let mut running = client.start(cores)?;
    let warm = running.warm_up(target, target.requests()?)?;
    let engine = descendant(running.id(), "engine").context("there is no engine")?;
    let cpu = cpu_seconds(engine);
    // Before its end: a process that was waited for can no longer be asked.
    thread::sleep(Duration::from_millis(
        u64::from(client.seconds) * 1_000 - 500,
    ));
    let (cpu, requests) = (cpu_seconds(engine) - cpu, target.requests()? - warm);
    running.end()?;
    let status: serde_json::Value = serde_json::from_str(&client.output()?)?;
    let p99 = status
        .pointer("/summary/latency/p99")
        .and_then(serde_json::Value::as_str)
        .and_then(microseconds)
        .context("no summary.latency.p99")?;
    Ok((cpu * 1e6 / requests.max(1) as f64, p99))
}

/// `64.0ms` as microseconds.
fn microseconds(text: &str) -> Option<f64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: f64 = digits.parse().ok()?;
    let factor = match text.get(digits.len()..)? {
        "us" => 1.0,
        "ms" => 1e3,
        "s" => 1e6,
        _ => return None,
    };
    Some(number * factor)
}

/// Memory per connected user.
#[derive(Debug, Clone, Copy)]
pub struct UserMemory {
    pub job: Job,
    pub users: u32,
    pub all: Memory,
    /// Bytes of each user above a hundred.
    pub each: f64,
}

/// Compares the engine's memory with many users and with a hundred.
pub fn user_memory(
    clients: &Clients<'_>,
    job: Job,
    users: u32,
    cores: &Cores,
) -> Result<UserMemory> {
    const FEW: u32 = 100;
    let few = memory(&clients.ours(job, FEW, Export::On)?, clients, cores)?;
    let all = memory(&clients.ours(job, users, Export::On)?, clients, cores)?;
    Ok(UserMemory {
        job,
        users,
        all,
        each: (all.highest - few.highest) / f64::from(users - FEW),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_of_the_status_are_read() {
        assert_eq!(microseconds("950us"), Some(950.0));
        assert_eq!(microseconds("64.0ms"), Some(64_000.0));
        assert_eq!(microseconds("1.5s"), Some(1_500_000.0));
        assert_eq!(microseconds("1m"), None);
    }
}
