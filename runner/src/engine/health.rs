//! How the generator itself is doing: its CPU, its lag, its memory, its cgroup.

use std::path::PathBuf;

use loadtest_core::report::GeneratorHealth;

use super::meter::Window;
use crate::{
    clock::{self, MICRO, MILLI, Nanos, SECOND},
    sys,
};

/// CPU shares of shorter windows say little: they are counted with the next one.
const SHORTEST_WINDOW: Nanos = 500 * MILLI;

/// Watches the generator.
#[derive(Debug)]
pub struct Health {
    workers: Vec<WorkerCpu>,
    cgroup: Option<Cgroup>,
    throttled_before_us: u64,
    throttling: Throttling,
    now: GeneratorHealth,
}

/// Where the second began whose throttling is measured.
#[derive(Debug, Clone, Copy)]
struct Throttling {
    since: Nanos,
    throttled_us: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct WorkerCpu {
    since: Nanos,
    cpu_ns: u64,
    share: f64,
}

impl Health {
    /// For so many workers.
    pub fn new(workers: usize) -> Self {
        let cgroup = Cgroup::find();
        let throttled_before_us = cgroup.as_ref().and_then(Cgroup::throttled_us).unwrap_or(0);
        Self {
            workers: vec![WorkerCpu::default(); workers],
            cgroup,
            throttled_before_us,
            throttling: Throttling {
                since: clock::now(),
                throttled_us: 0,
            },
            now: GeneratorHealth::default(),
        }
    }

    /// Learns from a worker's window.
    pub fn add(&mut self, window: &Window) {
        self.now.worst_lag_us = self.now.worst_lag_us.max(window.worst_lag / MICRO);
        let Some(worker) = self.workers.get_mut(window.worker) else {
            return;
        };
        if worker.since == 0 {
            worker.since = window.begin;
        }
        let length = window.end.saturating_sub(worker.since);
        if length < SHORTEST_WINDOW {
            return;
        }
        let used = window.cpu_ns.saturating_sub(worker.cpu_ns);
        *worker = WorkerCpu {
            since: window.end,
            cpu_ns: window.cpu_ns,
            share: (used as f64 / length as f64).min(1.0),
        };
        let shares: f64 = self.workers.iter().map(|worker| worker.share).sum();
        self.now.cpu = shares / self.workers.len().max(1) as f64;
        self.now.cpu_max = self.now.cpu_max.max(self.now.cpu);
    }

    /// Learns how long the cgroup has been throttled since the start.
    fn throttled(&mut self, at: Nanos, throttled_us: u64) {
        let length = at.saturating_sub(self.throttling.since);
        if length < SECOND {
            return;
        }
        let more = throttled_us.saturating_sub(self.throttling.throttled_us) * MICRO;
        // A cgroup is throttled once per CPU that it uses.
        let all = length as f64 * self.workers.len().max(1) as f64;
        self.now.throttled_max = self.now.throttled_max.max((more as f64 / all).min(1.0));
        self.throttling = Throttling {
            since: at,
            throttled_us,
        };
    }

    /// The state of things, read from the system where windows do not tell it.
    pub fn read(&mut self, pool_high_water: f64) -> GeneratorHealth {
        if let Some(throttled) = self.cgroup.as_ref().and_then(Cgroup::throttled_us) {
            let throttled_us = throttled.saturating_sub(self.throttled_before_us);
            self.now.throttled_us = throttled_us;
            self.throttled(clock::now(), throttled_us);
        }
        self.now.rss = resident_bytes().unwrap_or(self.now.rss);
        self.now.pool_high_water = pool_high_water;
        self.now
    }
}

/// The system counts in pages.
fn resident_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    Some(text.split(' ').nth(1)?.parse::<u64>().ok()? * sys::page_bytes())
}

/// The `cpu.stat` of this process's cgroup.
#[derive(Debug)]
struct Cgroup {
    file: PathBuf,
}

impl Cgroup {
    fn find() -> Option<Self> {
        let membership = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        candidates(&membership)
            .into_iter()
            .map(|file| Self { file })
            .find(|cgroup| cgroup.throttled_us().is_some())
    }

    fn throttled_us(&self) -> Option<u64> {
        parse_throttled(&std::fs::read_to_string(&self.file).ok()?)
    }
}

/// Where `cpu.stat` may be: in a container the own cgroup is usually mounted as the root.
fn candidates(membership: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in membership.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else {
            continue;
        };
        let roots: &[&str] = if controllers.is_empty() {
            &["/sys/fs/cgroup", "/sys/fs/cgroup/unified"]
        } else if controllers.split(',').any(|name| name == "cpu") {
            &["/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpu,cpuacct"]
        } else {
            continue;
        };
        for root in roots {
            files.push(PathBuf::from(format!("{root}{path}")).join("cpu.stat"));
            files.push(PathBuf::from(root).join("cpu.stat"));
        }
    }
    files
}

/// cgroup v2 counts microseconds, v1 nanoseconds.
fn parse_throttled(text: &str) -> Option<u64> {
    text.lines().find_map(|line| match line.split_once(' ')? {
        ("throttled_usec", value) => value.trim().parse().ok(),
        ("throttled_time", value) => value.trim().parse::<u64>().ok().map(|ns| ns / MICRO),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_cgroup_versions_are_understood() {
        assert_eq!(
            parse_throttled("usage_usec 5\nnr_throttled 2\nthrottled_usec 70\n"),
            Some(70)
        );
        assert_eq!(
            parse_throttled("nr_periods 1\nthrottled_time 9000\n"),
            Some(9)
        );
        assert_eq!(parse_throttled("usage_usec 5\n"), None);
        let files = candidates("4:memory:/a\n1:cpu,cpuacct:/b\n0::/c\n");
        assert_eq!(
            files.first().unwrap(),
            &PathBuf::from("/sys/fs/cgroup/cpu/b/cpu.stat")
        );
        assert!(files.contains(&PathBuf::from("/sys/fs/cgroup/cpu.stat")));
        assert!(
            !files
                .iter()
                .any(|file| file.starts_with("/sys/fs/cgroup/memory"))
        );
    }

    #[test]
    fn the_worst_second_of_throttling_is_kept() {
        let mut health = Health::new(2);
        let begin = health.throttling.since;
        health.throttled(begin + SECOND / 2, 900_000);
        assert!(health.now.throttled_max < f64::EPSILON, "not a second yet");
        health.throttled(begin + SECOND, 500_000);
        health.throttled(begin + 2 * SECOND, 600_000);
        assert!((health.now.throttled_max - 0.25).abs() < 1e-9);
    }

    #[test]
    fn a_short_first_second_is_counted_with_the_next() {
        let mut health = Health::new(2);
        let window = |begin, end, cpu_ns| Window {
            worker: 0,
            begin: begin * MILLI,
            end: end * MILLI,
            set: Box::default(),
            warm_up: None,
            users: 0,
            cpu_ns: cpu_ns * MILLI,
            worst_lag: 3 * MICRO,
            samples: Vec::new(),
        };
        health.add(&window(1_000, 1_010, 9));
        assert!(health.now.cpu_max < f64::EPSILON);
        health.add(&window(1_010, 2_000, 500));
        health.add(&window(2_000, 3_000, 600));
        let percent = |share: f64| (share * 100.0).round() as u32;
        assert_eq!(
            (percent(health.now.cpu), percent(health.now.cpu_max)),
            (5, 25)
        );
        assert_eq!(health.now.worst_lag_us, 3);
        assert!(health.read(0.5).rss > 1 << 20);
    }
}
