//! Our engine beside other load generators, in alternating pairs on the same target, and what it
//! needs of memory and time by itself. The numbers become docs/performance.md.
//!
//! What counts is requests per CPU second of the client: each client has one core, the target has
//! the others, requests are those that the *target* counted, and CPU seconds are those of the
//! client's whole process tree. Ratios of neighbouring runs are robust against what else a machine
//! does; absolute numbers are not.

mod client;
mod clients;
mod engine;
mod goals;
mod machine;
mod page;
mod pairs;
mod statistics;
mod target;

use std::{fs, path::PathBuf, process::ExitCode};

use anyhow::{Context, Result, bail};

use client::Client;
use clients::{Clients, Export, Job};
use engine::{ExportCost, Memory, Punctuality, UserMemory};
use machine::Cores;
use pairs::{Compared, Comparison};
use target::Target;

/// What is measured, and where the page goes.
#[derive(Debug, Clone)]
struct Settings {
    loadtest: PathBuf,
    out: Option<PathBuf>,
    pairs: usize,
    /// Length of each load after its warm-up.
    seconds: u32,
    /// Length of the run that watches memory grow.
    growth_seconds: u32,
    /// Only what has this in its name.
    only: String,
}

impl Settings {
    fn parse(mut args: impl Iterator<Item = String>) -> Result<Self> {
        let mut settings = Self {
            loadtest: "target/release/loadtest".into(),
            out: None,
            pairs: 5,
            seconds: 5,
            growth_seconds: 600,
            only: String::new(),
        };
        while let Some(name) = args.next() {
            if name == "--quick" {
                (settings.pairs, settings.seconds, settings.growth_seconds) = (2, 2, 30);
                continue;
            }
            let value = args
                .next()
                .with_context(|| format!("{name} needs a value"))?;
            match name.as_str() {
                "--loadtest" => settings.loadtest = value.into(),
                "--out" => settings.out = Some(value.into()),
                "--pairs" => settings.pairs = value.parse().context("--pairs")?,
                "--seconds" => settings.seconds = value.parse().context("--seconds")?,
                "--growth-seconds" => {
                    settings.growth_seconds = value.parse().context("--growth-seconds")?;
                }
                "--only" => settings.only = value,
                _ => bail!(
                    "unknown argument {name}; there are --quick, --loadtest, --out, --pairs, \
                     --seconds, --growth-seconds, --only"
                ),
            }
        }
        if settings.pairs == 0 || settings.seconds < 2 || settings.growth_seconds < 10 {
            bail!("--pairs must be at least 1, --seconds 2 and --growth-seconds 10");
        }
        let loadtest = settings.loadtest.canonicalize();
        settings.loadtest = loadtest.with_context(|| {
            let path = settings.loadtest.display();
            format!("no {path}; cargo build --release -p loadtest-cli")
        })?;
        Ok(settings)
    }

    fn wants(&self, name: &str) -> bool {
        name.contains(&self.only)
    }
}

/// All that was measured.
#[derive(Debug, Default)]
struct Results {
    compared: Vec<Compared>,
    /// What no client can do much better than, beside wrk.
    limit: Option<Compared>,
    users: Vec<UserMemory>,
    growth: Option<Memory>,
    punctuality: Vec<Punctuality>,
    export: Option<ExportCost>,
    /// What could not be measured, and why: the rest is worth a page all the same.
    failed: Vec<String>,
}

impl Results {
    fn keep<T>(&mut self, what: &str, measured: Result<T>) -> Option<T> {
        if let Err(error) = &measured {
            eprintln!("bench: {what}: {error:#}");
            self.failed.push(format!("{what}: {error:#}"));
        }
        measured.ok()
    }
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
    if !results.failed.is_empty() {
        bail!("not all could be measured: {}", results.failed.join("; "));
    }
    Ok(())
}

fn measure(settings: &Settings) -> Result<Results> {
    let cores = Cores::split()?;
    let target = Target::start(&settings.loadtest, &cores)?;
    let clients = Clients {
        target: &target,
        loadtest: &settings.loadtest,
        seconds: settings.seconds,
    };
    let mut results = Results::default();
    for comparison in comparisons(&clients)? {
        if settings.wants(&comparison.what) {
            let what = comparison.what.clone();
            let compared = comparison.measure(settings.pairs, &target, &cores);
            let compared = results.keep(&what, compared);
            results.compared.extend(compared);
        }
    }
    let limit = limit(&clients)?;
    if settings.wants(&limit.what) {
        let limit = limit.measure(settings.pairs, &target, &cores);
        results.limit = results.keep("what is to be had", limit);
    }
    if settings.wants("export cost") {
        let cost = engine::rate_at(0.6, &clients, &cores)
            .and_then(|rate| engine::export_cost(&clients, rate, settings.pairs, &cores));
        results.export = results.keep("export cost", cost);
    }
    if settings.wants("punctuality") {
        for rate in [1_000, 5_000, 10_000] {
            machine::wait_for_quiet();
            let punctuality = engine::punctuality(&clients, rate, &cores);
            let punctuality = results.keep("punctuality", punctuality);
            results.punctuality.extend(punctuality);
        }
    }
    if settings.wants("memory") {
        memory(settings, &clients, &cores, &mut results)?;
    }
    Ok(results)
}

fn memory(
    settings: &Settings,
    clients: &Clients<'_>,
    cores: &Cores,
    results: &mut Results,
) -> Result<()> {
    for job in [Job::Product, Job::Secure] {
        eprintln!("bench: memory of 10,000 users");
        let clients = Clients {
            seconds: 15,
            ..*clients
        };
        let users = engine::user_memory(&clients, job, 10_000, cores);
        let users = results.keep("memory of 10,000 users", users);
        results.users.extend(users);
    }
    let seconds = settings.growth_seconds;
    eprintln!("bench: memory over {seconds} s");
    let clients = Clients {
        seconds,
        ..*clients
    };
    let steady = clients.ours_at(engine::GROWTH_RATE, 500, Export::On)?;
    let growth = engine::memory(&steady, &clients, cores);
    results.growth = results.keep("growth of memory", growth);
    Ok(())
}

fn comparisons(clients: &Clients<'_>) -> Result<Vec<Comparison>> {
    use Export::{Off, On};
    use Job::{Bodies, Product, Secure};
    let wrk = |users, job, export, goal, what: &str| -> Result<Comparison> {
        let export_is = if export == On { "on" } else { "off" };
        Ok(Comparison {
            what: format!("wrk, {users} connections,{what} export {export_is}"),
            goal: Some(goal),
            ours: clients.ours(job, users, export)?,
            peer: clients.wrk(job, users)?,
        })
    };
    let beside = |peer: Client, export, goal| -> Result<Comparison> {
        let export_is = if export == On { "on" } else { "off" };
        Ok(Comparison {
            what: format!("{}, 64 connections, export {export_is}", peer.name),
            goal,
            ours: clients.ours(Product, 64, export)?,
            peer,
        })
    };
    let with = |peer, goal| beside(peer, On, goal);
    Ok(vec![
        wrk(64, Product, On, 1.0, "")?,
        wrk(1_000, Product, On, 1.0, "")?,
        wrk(64, Product, Off, 1.2, "")?,
        wrk(1_000, Product, Off, 1.1, "")?,
        wrk(64, Bodies, Off, 1.1, " 10 kB bodies,")?,
        wrk(64, Secure, Off, 1.0, " TLS 1.3,")?,
        wrk(1_000, Secure, Off, 1.0, " TLS 1.3,")?,
        with(clients.oha(64)?, Some(1.4))?,
        with(clients.goose(64)?, Some(2.0))?,
        with(clients.k6(64)?, Some(9.0))?,
        with(clients.locust(64)?, Some(14.0))?,
        with(clients.hey(64)?, None)?,
        with(clients.vegeta(64)?, None)?,
        beside(clients.bare(64)?, Off, Some(0.85))?,
        beside(clients.ours_by_proxy(64)?, Off, None)?,
    ])
}

/// Next to no client beside wrk.
fn limit(clients: &Clients<'_>) -> Result<Comparison> {
    Ok(Comparison {
        what: "wrk, 64 connections, bare loop".to_owned(),
        goal: None,
        ours: clients.bare(64)?,
        peer: clients.wrk(Job::Product, 64)?,
    })
}
