//! Ours and the others: which program, which flags.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use crate::{
    client::{Client, Place, Says, WARM_UP},
    target::{LARGE, SMALL, Target, sibling},
};

/// What `make bench-peers` installs.
const PEERS: &str = "target/bench/peers/bin";

const PRODUCT: &str = include_str!("../../../bench/product.yaml");
const BODIES: &str = include_str!("../../../bench/bodies.yaml");
const K6: &str = include_str!("../../../bench/k6.js");
const LOCUST: &str = include_str!("../../../bench/locustfile.py");

/// What ours runs.
const MANIFEST: &str = "bench.yaml";

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Job {
    /// Three weighted requests with templates and two checks; those without scripts ask for the
    /// same answer with one fixed request.
    Product,
    /// The same over TLS 1.3.
    Secure,
    /// Answers of 10 kB.
    Bodies,
}

/// What becomes of ours' requests besides histograms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Export {
    /// Every one becomes a document in a file.
    On,
    Off,
}

/// Makes clients for one target.
#[derive(Debug)]
pub struct Clients<'a> {
    pub target: &'a Target,
    pub loadtest: &'a Path,
    /// Length of the load after the warm-up.
    pub seconds: u32,
}

impl Clients<'_> {
    /// Ours with as many users, without pauses.
    pub fn ours(&self, job: Job, users: u32, export: Export) -> Result<Client> {
        let load = format!(
            "{{ constantUsers: {{ users: {users}, duration: {}s }} }}",
            self.length()
        );
        self.ours_with(job, &load, export)
    }

    /// Ours with so many arrivals a second.
    pub fn ours_at(&self, rate: u32, max_users: u32, export: Export) -> Result<Client> {
        let load = format!(
            "{{ constantRate: {{ rate: {rate}/s, duration: {}s, maxUsers: {max_users} }} }}",
            self.length()
        );
        let client = self.ours_with(Job::Product, &load, export)?;
        // The first arrivals wait for connections, which is no matter of the rate.
        let plain = fs::read_to_string(client.place.path().join(MANIFEST))?;
        let warm_up = format!("spec:\n  warmUp: {}s\n", WARM_UP.as_secs());
        client
            .place
            .write(MANIFEST, &plain.replacen("spec:\n", &warm_up, 1))?;
        Ok(client)
    }

    /// Ours by the general-purpose client that HTTP/2 and proxies need: the target is its own proxy.
    pub fn ours_by_proxy(&self, users: u32) -> Result<Client> {
        let mut client = self.ours(Job::Product, users, Export::Off)?;
        let direct = fs::read_to_string(client.place.path().join(MANIFEST))?;
        let url = format!("\"{}\"", self.target.url);
        let through = format!("{url}, proxy: {{ url: {url} }}");
        client
            .place
            .write(MANIFEST, &direct.replace(&url, &through))?;
        "ours through a proxy".clone_into(&mut client.name);
        Ok(client)
    }

    fn ours_with(&self, job: Job, load: &str, export: Export) -> Result<Client> {
        let (name, raw) = match export {
            Export::On => ("ours, every request exported", "all"),
            Export::Off => ("ours, no export", "none"),
        };
        let manifest = match job {
            Job::Product | Job::Secure => PRODUCT,
            Job::Bodies => BODIES,
        };
        let place = Place::new()?;
        place.write("ca.pem", &self.target.certificate)?;
        let text = manifest
            .replace("TARGET", self.base(job))
            .replace("LOAD", load);
        place.write(MANIFEST, &text)?;
        let ca = if job == Job::Secure {
            "--target-ca ca.pem "
        } else {
            ""
        };
        let args = format!("run {MANIFEST} {ca}--raw {raw} --out out --quiet --output json");
        Ok(Client {
            name: name.to_owned(),
            program: self.loadtest.to_owned(),
            args: words(&args),
            says: Says::Status,
            seconds: self.seconds,
            place,
        })
    }

    pub fn wrk(&self, job: Job, connections: u32) -> Result<Client> {
        let args = format!("-t1 -c{connections} -d{}s {}", self.length(), self.url(job));
        self.peer("wrk", &args, Says::Wrk { connections })
    }

    /// The loop of tests/src/bin/bare.rs, which is built beside this program.
    pub fn bare(&self, connections: u32) -> Result<Client> {
        let args = format!("{connections} {} {}", self.length(), self.url(Job::Product));
        self.client(
            "a bare epoll loop",
            sibling("bare")?,
            &args,
            Says::Wrk { connections },
        )
    }

    pub fn oha(&self, connections: u32) -> Result<Client> {
        let url = self.url(Job::Product);
        let args = format!("--no-tui -c {connections} -z {}s {url}", self.length());
        self.peer("oha", &args, Says::Unread)
    }

    pub fn hey(&self, connections: u32) -> Result<Client> {
        let url = self.url(Job::Product);
        let args = format!("-c {connections} -z {}s {url}", self.length());
        self.peer("hey", &args, Says::Unread)
    }

    pub fn vegeta(&self, connections: u32) -> Result<Client> {
        let args = format!(
            "attack -rate 0 -max-workers {connections} -connections {connections} -duration {}s \
             -targets targets.txt -output results.bin",
            self.length()
        );
        let client = self.peer("vegeta", &args, Says::Unread)?;
        client
            .place
            .write("targets.txt", &format!("GET {}\n", self.url(Job::Product)))?;
        Ok(client)
    }

    pub fn k6(&self, users: u32) -> Result<Client> {
        let args = format!(
            "run --no-usage-report --quiet --vus {users} --duration {}s -e TARGET={} k6.js",
            self.length(),
            self.target.url
        );
        let client = self.peer("k6", &args, Says::Unread)?;
        client.place.write("k6.js", K6)?;
        Ok(client)
    }

    pub fn locust(&self, users: u32) -> Result<Client> {
        let args = format!(
            "--headless --only-summary --users {users} --spawn-rate {users} --run-time {}s --host {}",
            self.length(),
            self.target.url
        );
        let mut client = self.peer("locust", &args, Says::Unread)?;
        client.name.push_str(" (FastHttpUser)");
        client.place.write("locustfile.py", LOCUST)?;
        Ok(client)
    }

    pub fn goose(&self, users: u32) -> Result<Client> {
        let args = format!(
            "--quiet --no-reset-metrics --users {users} --increase-time 1s --run-time {}s --host {}",
            self.length(),
            self.target.url
        );
        self.peer("goose", &args, Says::Unread)
    }

    fn peer(&self, name: &str, args: &str, says: Says) -> Result<Client> {
        self.client(name, find(name)?, args, says)
    }

    fn client(&self, name: &str, program: PathBuf, args: &str, says: Says) -> Result<Client> {
        Ok(Client {
            name: name.to_owned(),
            program,
            args: words(args),
            says,
            seconds: self.seconds,
            place: Place::new()?,
        })
    }

    fn length(&self) -> u64 {
        u64::from(self.seconds) + WARM_UP.as_secs()
    }

    fn base(&self, job: Job) -> &str {
        match job {
            Job::Product | Job::Bodies => &self.target.url,
            Job::Secure => &self.target.secure_url,
        }
    }

    fn url(&self, job: Job) -> String {
        let path = match job {
            Job::Product | Job::Secure => SMALL,
            Job::Bodies => LARGE,
        };
        format!("{}{path}", self.base(job))
    }
}

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

/// A peer's program: the one of `make bench-peers`, or the system's.
fn find(name: &str) -> Result<PathBuf> {
    let own = std::env::current_dir()?.join(PEERS).join(name);
    let paths = std::env::var_os("PATH").context("no PATH")?;
    let found = std::iter::once(own)
        .chain(std::env::split_paths(&paths).map(|path| path.join(name)))
        .find(|path| path.is_file());
    match found {
        Some(path) => Ok(path),
        None => bail!("{name} is not installed; run `make bench-peers`"),
    }
}
