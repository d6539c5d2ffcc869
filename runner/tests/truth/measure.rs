//! A run with every request's record, and what the kernel says of its engines.

use std::{
    collections::HashMap,
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use loadtest_core::{
    plan::{Plan, RawMode},
    series::{Outcome, SeriesSet},
};
use loadtest_runner::{clock::Nanos, pool::Pool};

use crate::{
    harness::{Run, assert_lawful, with_files},
    witness::Key,
};

/// A request as the engine recorded it. Times are on the clock of the witness, cut to microseconds
/// from the runner's anchor.
#[derive(Debug, Clone)]
pub struct Recorded {
    pub key: Key,
    pub runner: u32,
    pub intended: Nanos,
    pub sent: Nanos,
    pub latency_us: u64,
    pub service_us: u64,
    pub outcome: Outcome,
    pub error: String,
}

/// What came of a run.
pub struct Measured {
    pub merged: SeriesSet,
    /// In the order of their intended starts.
    pub requests: Vec<Recorded>,
    /// Of its engines.
    pub process: Process,
    pub run: Run,
}

impl Measured {
    /// The requests of one step.
    pub fn of_step(&self, step: u32) -> impl Iterator<Item = &Recorded> {
        self.requests.iter().filter(move |r| r.key.step == step)
    }
}

/// Carries a plan out with a record of every request; it must end well.
pub async fn measure(plan: Plan) -> Measured {
    measure_while(plan, async |_| {}).await
}

/// The same, with something that happens meanwhile.
pub async fn measure_while(plan: Plan, meanwhile: impl AsyncFnOnce(&Run)) -> Measured {
    let runners = plan.runners;
    let mut run = Run::start(with_files(plan, RawMode::All)).await;
    let observer = Observer::start(run.pids());
    meanwhile(&run).await;
    let ended = run.end().await;
    let process = observer.end();
    assert!(
        ended.codes.iter().all(|code| *code == Some(0)),
        "{:?}",
        ended.codes
    );
    let mut requests: Vec<_> = (0..runners)
        .flat_map(|index| records(&run, index))
        .collect();
    requests.sort_by_key(|request| request.intended);
    assert_lawful(&ended.merged);
    assert_eq!(requests.len() as u64, ended.merged.total.requests);
    Measured {
        merged: ended.merged,
        requests,
        process,
        run,
    }
}

fn records(run: &Run, runner: u32) -> Vec<Recorded> {
    let pool = Pool::open(&run.pool(runner)).unwrap();
    assert_eq!(pool.counts().dropped, 0);
    let anchor = pool.anchor().mono_ns;
    let mut requests = Vec::new();
    for id in pool
        .full_blocks()
        .into_iter()
        .chain(pool.unfinished_blocks())
    {
        let block = pool.read(id);
        assert!(block.intact);
        requests.extend(block.records().map(|(_, record)| {
            let sent_us = record.sent_ns / 1_000;
            let at = |us: u64| anchor + us * 1_000;
            Recorded {
                key: Key {
                    step: record.step,
                    user: record.user,
                    iteration: record.iteration,
                },
                runner,
                sent: anchor + record.sent_ns,
                intended: at(sent_us - record.before_send_us()),
                latency_us: record.latency_us(),
                service_us: record.service_us(),
                outcome: record.outcome,
                error: record.error.unwrap_or_default().to_owned(),
            }
        }));
    }
    requests
}

/// What the kernel says of processes: the worst of each.
#[derive(Debug, Clone, Default)]
pub struct Process {
    /// Most resident memory, bytes.
    pub peak_rss: u64,
    /// Longest time, within 50 ms, that a worker thread was ready to run and had no CPU.
    pub worst_wait_us: u64,
    /// By thread: nanoseconds that it was ready to run and had no CPU, and how often it ran.
    waits: HashMap<(u32, String), (u64, u64)>,
}

impl Process {
    /// How long a worker thread waited for a CPU each time it was woken, microseconds: what a
    /// busy machine adds to every step of a request.
    pub fn mean_wait_us(&self) -> f64 {
        let (waited, times) = self
            .waits
            .values()
            .fold((0, 0), |sum, wait| (sum.0 + wait.0, sum.1 + wait.1));
        waited as f64 / times.max(1) as f64 / 1e3
    }
}

impl Process {
    /// The machine had so little left for the engine that it could not keep any time.
    pub fn was_starved(&self) -> bool {
        self.mean_wait_us() > 200.0 || self.worst_wait_us > 30_000
    }
}

/// Looks at processes until they end.
struct Observer {
    done: Arc<AtomicBool>,
    thread: JoinHandle<Process>,
}

impl Observer {
    fn start(pids: Vec<u32>) -> Self {
        let done = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&done);
        let thread = std::thread::spawn(move || {
            let mut process = Process::default();
            while !seen.load(Ordering::Relaxed) {
                for pid in &pids {
                    look(*pid, &mut process);
                }
                std::thread::sleep(Duration::from_millis(50));
            }
            process
        });
        Self { done, thread }
    }

    fn end(self) -> Process {
        self.done.store(true, Ordering::Relaxed);
        let process = self.thread.join().unwrap();
        assert!(process.peak_rss > 0, "the engine was never seen in /proc");
        process
    }
}

/// Whatever cannot be read is of a process or thread that has ended.
fn look(pid: u32, process: &mut Process) {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let peak_kib: Option<u64> = status.lines().find_map(|line| {
        line.strip_prefix("VmHWM:")?
            .split_whitespace()
            .next()?
            .parse()
            .ok()
    });
    process.peak_rss = process.peak_rss.max(peak_kib.unwrap_or(0) * 1_024);
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return;
    };
    for thread in threads.flatten().map(|entry| entry.path()) {
        let read = |file: &str| fs::read_to_string(thread.join(file)).unwrap_or_default();
        let name = read("comm");
        let numbers = read("schedstat");
        let mut numbers = numbers.split_whitespace().skip(1).map(str::parse);
        if name.starts_with("worker-")
            && let (Some(Ok(waited)), Some(Ok(times))) = (numbers.next(), numbers.next())
        {
            let before = process.waits.insert((pid, name), (waited, times));
            let since = waited - before.map_or(waited, |(waited, _)| waited);
            process.worst_wait_us = process.worst_wait_us.max(since / 1_000);
        }
    }
}
