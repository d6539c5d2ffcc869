//! Our engine beside wrk, in alternating pairs on the same target.
//!
//! What counts is requests per CPU second of the client: both clients have one core, the target has
//! another, requests are those that the *target* counted, and CPU seconds are those of the client's
//! whole process tree from its start to its end. Ratios of neighbouring runs are robust against
//! what else a machine does; absolute numbers are not.

mod client;
mod machine;
mod page;
mod statistics;
mod target;

use std::{fs, path::PathBuf, process::ExitCode};

use anyhow::{Context, Result, bail};

use client::{Client, Measured};
use statistics::Spread;
use target::Target;

/// What is measured, and where the page goes.
#[derive(Debug, Clone)]
struct Settings {
    loadtest: PathBuf,
    out: Option<PathBuf>,
    pairs: usize,
    seconds: u32,
    connections: u32,
    rss_seconds: u32,
}

impl Settings {
    fn parse(mut args: impl Iterator<Item = String>) -> Result<Self> {
        let mut settings = Self {
            loadtest: "target/release/loadtest".into(),
            out: None,
            pairs: 5,
            seconds: 5,
            connections: 64,
            rss_seconds: 60,
        };
        while let Some(name) = args.next() {
            let value = args
                .next()
                .with_context(|| format!("{name} needs a value"))?;
            match name.as_str() {
                "--loadtest" => settings.loadtest = value.into(),
                "--out" => settings.out = Some(value.into()),
                "--pairs" => settings.pairs = value.parse().context("--pairs")?,
                "--seconds" => settings.seconds = value.parse().context("--seconds")?,
                "--connections" => settings.connections = value.parse().context("--connections")?,
                "--rss-seconds" => settings.rss_seconds = value.parse().context("--rss-seconds")?,
                _ => bail!(
                    "unknown argument {name}; there are --loadtest, --out, --pairs, --seconds, \
                     --connections, --rss-seconds"
                ),
            }
        }
        if settings.pairs == 0 || settings.seconds == 0 || settings.connections == 0 {
            bail!("--pairs, --seconds and --connections must be at least 1");
        }
        Ok(settings)
    }
}

/// One run of each, in the order in which they ran.
#[derive(Debug)]
struct Pair {
    ours: Measured,
    wrk: Measured,
}

impl Pair {
    fn ratio(&self) -> f64 {
        self.ours.per_cpu_second() / self.wrk.per_cpu_second()
    }
}

/// All that was measured.
#[derive(Debug)]
struct Results {
    pairs: Vec<Pair>,
    ratio: Spread,
    /// The better of two neighbouring wrk runs over the worse, less one: what chance does here.
    noise: Spread,
    memory: client::Memory,
    /// Highest share of CPU time that something else used while it was waited for quiet.
    busy: f64,
}

fn main() -> ExitCode {
    match Settings::parse(std::env::args().skip(1)).and_then(|settings| bench(&settings)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn bench(settings: &Settings) -> Result<()> {
    let results = measure(settings)?;
    let page = page::write(settings, &results)?;
    println!("\n{page}");
    if let Some(out) = &settings.out {
        fs::write(out, page).with_context(|| format!("cannot write {}", out.display()))?;
        eprintln!("bench: written to {}", out.display());
    }
    Ok(())
}

fn measure(settings: &Settings) -> Result<Results> {
    let cores = machine::Cores::split()?;
    let target = Target::start(&settings.loadtest, &cores)?;
    let (ours, wrk) = (
        Client::ours(settings, &target)?,
        Client::wrk(settings, &target),
    );

    eprintln!(
        "bench: one run of each to warm up, then {} pairs",
        settings.pairs
    );
    ours.run(&target, &cores)?;
    wrk.run(&target, &cores)?;
    let mut pairs = Vec::new();
    let mut busy = 0.0f64;
    for number in 1..=settings.pairs {
        busy = busy.max(machine::wait_for_quiet());
        // The first of a pair changes, so that no one profits from its place.
        let pair = if number % 2 == 1 {
            let ours = ours.run(&target, &cores)?;
            Pair {
                ours,
                wrk: wrk.run(&target, &cores)?,
            }
        } else {
            let wrk = wrk.run(&target, &cores)?;
            Pair {
                ours: ours.run(&target, &cores)?,
                wrk,
            }
        };
        eprintln!(
            "bench: pair {number}: ours {:.0}, wrk {:.0} requests per CPU second, ratio {:.2}",
            pair.ours.per_cpu_second(),
            pair.wrk.per_cpu_second(),
            pair.ratio()
        );
        pairs.push(pair);
    }

    eprintln!(
        "bench: memory of the engine over {} s",
        settings.rss_seconds
    );
    let memory = Client::ours_for(settings, &target, settings.rss_seconds)?
        .watch_memory(&cores)
        .context("memory of the engine")?;
    let noise: Vec<f64> = pairs
        .windows(2)
        .filter_map(|two| match two {
            [a, b] => {
                let (a, b) = (a.wrk.per_cpu_second(), b.wrk.per_cpu_second());
                Some(a.max(b) / a.min(b) - 1.0)
            }
            _ => None,
        })
        .collect();
    Ok(Results {
        ratio: Spread::of(pairs.iter().map(Pair::ratio)),
        noise: Spread::of(noise),
        pairs,
        memory,
        busy,
    })
}
