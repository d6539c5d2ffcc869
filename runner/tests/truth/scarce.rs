//! What a generator can run out of has its name: ports, files, the name of the target itself.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use loadtest_core::{
    plan::RawMode,
    report::EngineState,
    series::{Outcome, SeriesSet},
    verdict::Verdict,
};
use loadtest_runner::pool::{FailureSample, Interval, Next, Pool};
use tokio::io::AsyncWriteExt;

use crate::{
    coordinator::now,
    harness::{Run, get, plan, rate, scenario, step, task, template, users, with_files},
    isolated::{isolated, replace},
    measure::{Measured, measure, measure_while},
    scripted::Scripted,
    witness::{Service, Witness, path},
};

const SECOND: Duration = Duration::from_secs(1);

/// A target that closes after each answer, so that every request needs a connection.
async fn closing() -> Scripted {
    Scripted::start(|_, _, mut stream| async move {
        let text = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok";
        stream.write_all(text.as_bytes()).await
    })
    .await
}

fn outcomes(measured: &Measured) -> BTreeMap<Outcome, u64> {
    let mut counts = BTreeMap::new();
    for request in &measured.requests {
        *counts.entry(request.outcome).or_insert(0) += 1;
    }
    counts
}

/// What was said of the first request with an outcome.
fn first(measured: &Measured, outcome: Outcome) -> &str {
    let mut with = measured.requests.iter().filter(|r| r.outcome == outcome);
    &with.next().unwrap().error
}

/// Waits until requests of an outcome are reported that were not reported before.
async fn until_more(run: &Run, outcome: Outcome) {
    let count = move |inner: &crate::coordinator::Inner| -> u64 {
        let merged = inner.coordinator.merged();
        let failures = || {
            merged
                .errors
                .iter()
                .filter(|(key, _)| key.outcome == outcome)
        };
        match outcome {
            Outcome::Ok => merged.total.requests - merged.total.failures,
            _ => failures().map(|(_, count)| count).sum(),
        }
    };
    let before = count(&run.server.inner.lock().unwrap());
    let what = format!("more are {}", outcome.name());
    run.server
        .until(&what, |inner| count(inner) > before + 20)
        .await;
}

fn limit_open_files(pid: u32, limit: &str) {
    let status = Command::new("prlimit")
        .args(["--pid", &pid.to_string()])
        .arg(format!("--nofile={limit}"))
        .status()
        .expect("prlimit of util-linux");
    assert!(status.success());
}

#[test]
fn ports_that_run_out_are_counted_and_make_the_run_invalid() {
    isolated(
        "scarce::ports_that_run_out_are_counted_and_make_the_run_invalid",
        async {
            let target = Witness::start(Service::AtOnce);
            // The client closes, so each port of this namespace is of use once in a minute.
            let mut request = get(&path(0));
            request.headers = vec![("Connection".to_owned(), template("close"))];
            let tasks = vec![task("only", 1, vec![step(request)])];
            let load = rate("200/s", SECOND, 10);
            let plan = plan(target.address, vec![scenario(load, tasks)]);
            let ipv4 = Path::new("/proc/sys/net/ipv4");
            fs::write(ipv4.join("tcp_tw_reuse"), "0").unwrap();
            fs::write(ipv4.join("ip_local_port_range"), "50000 50029").unwrap();
            let measured = measure(plan).await;
            let outcomes = outcomes(&measured);
            let kinds: Vec<_> = outcomes.keys().collect();
            assert_eq!(kinds, [&Outcome::Ok, &Outcome::LocalPorts]);
            assert_eq!(outcomes[&Outcome::Ok], target.log().len() as u64);
            // The coordinator listens on one.
            let connections = measured.merged.connections;
            assert!((20..=30).contains(&connections), "{connections}");
            assert_eq!(outcomes[&Outcome::LocalPorts], 200 - connections);
            let failed = first(&measured, Outcome::LocalPorts);
            assert_eq!(failed, "cannot assign requested address");
            let inner = measured.run.server.inner.lock().unwrap();
            let judgement = inner.coordinator.view(now()).judgement.unwrap();
            assert_eq!(judgement.verdict, Verdict::Invalid, "{}", judgement.message);
        },
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_run_out_are_counted_and_come_back() {
    let target = closing().await;
    let tasks = vec![task("only", 1, vec![step(get("/ok"))])];
    let plan = plan(
        target.address,
        vec![scenario(rate("200/s", 30 * SECOND, 50), tasks)],
    );
    let measured = measure_while(plan, async |run| {
        until_more(run, Outcome::Ok).await;
        limit_open_files(run.pid(), "3:");
        // Not even a report can be sent now; the target sees it.
        let mut before = u64::MAX;
        while target.count() != before {
            before = target.count();
            tokio::time::sleep(SECOND / 2).await;
        }
        limit_open_files(run.pid(), "1000:");
        until_more(run, Outcome::LocalFiles).await;
        until_more(run, Outcome::Ok).await;
        run.server.cancel();
    })
    .await;
    let outcomes = outcomes(&measured);
    assert_eq!(
        outcomes.keys().collect::<Vec<_>>(),
        [&Outcome::Ok, &Outcome::LocalFiles]
    );
    assert_eq!(outcomes[&Outcome::Ok], target.count());
    assert_eq!(first(&measured, Outcome::LocalFiles), "too many open files");
}

#[test]
fn too_few_files_for_the_users_are_refused_before_the_start() {
    isolated(
        "scarce::too_few_files_for_the_users_are_refused_before_the_start",
        async {
            let target = closing().await;
            let tasks = vec![task("only", 1, vec![step(get("/ok"))])];
            let plan = plan(target.address, vec![scenario(users(50, SECOND), tasks)]);
            // Engines inherit the limit.
            limit_open_files(std::process::id(), "100:100");
            let mut run = Run::start(plan).await;
            let ended = run.end().await;
            assert_eq!((ended.codes, target.count()), (vec![Some(1)], 0));
            let failure = run
                .server
                .reports()
                .last()
                .unwrap()
                .failure
                .clone()
                .unwrap();
            let sentence = "this runner needs 114 open files for its users, its limit is 100: \
                        raise the limit of open files or use more runners";
            assert_eq!(failure, sentence);
        },
    );
}

const NAMES: &str = "127.0.0.1 localhost shop.test\n";

/// Names come from this file alone, for this process and its children.
fn names_from(directory: &Path) -> PathBuf {
    fs::create_dir_all(directory).unwrap();
    let file = |name: &str| directory.join(name);
    replace("/etc/hosts", &file("hosts"), NAMES);
    replace("/etc/nsswitch.conf", &file("nsswitch"), "hosts: files\n");
    replace(
        "/etc/resolv.conf",
        &file("resolv"),
        "nameserver 127.0.0.1\n",
    );
    file("hosts")
}

#[test]
fn a_name_that_is_lost_in_mid_run_is_counted_and_found_again() {
    isolated(
        "scarce::a_name_that_is_lost_in_mid_run_is_counted_and_found_again",
        async {
            let target = closing().await;
            let to = |host: &str, seconds| {
                let tasks = vec![task("only", 1, vec![step(get("/ok"))])];
                let load = rate("100/s", seconds * SECOND, 50);
                let mut plan = plan(target.address, vec![scenario(load, tasks)]);
                plan.target.origin.host = host.to_owned();
                plan
            };
            let process = std::process::id();
            let directory = std::env::temp_dir().join(format!("loadtest-truth-{process}"));
            let hosts = names_from(&directory);
            let (lost, never) = tokio::join!(
                measure_while(to("shop.test", 60), async |run| {
                    until_more(run, Outcome::Ok).await;
                    fs::write(&hosts, "127.0.0.1 localhost\n").unwrap();
                    until_more(run, Outcome::Dns).await;
                    fs::write(&hosts, NAMES).unwrap();
                    until_more(run, Outcome::Ok).await;
                    run.server.cancel();
                }),
                measure(to("nobody.test", 1)),
            );
            fs::remove_dir_all(&directory).unwrap();
            assert_eq!(outcomes(&never), BTreeMap::from([(Outcome::Dns, 100)]));
            let outcomes = outcomes(&lost);
            let kinds: Vec<_> = outcomes.keys().collect();
            assert_eq!(kinds, [&Outcome::Ok, &Outcome::Dns]);
            assert_eq!(outcomes[&Outcome::Ok], target.count());
            assert_eq!(lost.merged.started, lost.merged.total.requests);
            let said = first(&lost, Outcome::Dns);
            assert!(said.starts_with("cannot resolve shop.test: "), "{said}");
        },
    );
}

/// What the lane of aggregates has.
fn handed_over(run: &Run) -> (Vec<Interval>, Vec<FailureSample>) {
    let pool = Pool::open(&run.pool(0)).unwrap();
    let mut lane = pool.aggregates_from(0).unwrap();
    let (mut intervals, mut samples) = (Vec::new(), Vec::new());
    loop {
        match lane.next_entry().unwrap() {
            Next::Interval(interval) => intervals.push(*interval),
            Next::Sample(sample) => samples.push(*sample),
            Next::End => break,
            Next::Damaged => panic!("a damaged entry"),
        }
    }
    assert!(pool.finished(), "the exporter knows that this was all");
    (intervals, samples)
}

/// Takes all that is left of a file system.
fn fill(file: &Path) {
    let mut file = fs::File::create(file).unwrap();
    while std::io::Write::write_all(&mut file, &[1; 4_096]).is_ok() {}
}

/// Waits until so many seconds more of a load of 50/s are told.
async fn until_seconds(run: &Run, more: u64) {
    let seconds = |inner: &crate::coordinator::Inner| inner.coordinator.merged().scheduled / 50;
    let before = seconds(&run.server.inner.lock().unwrap());
    run.server
        .until("more seconds are told", |i| seconds(i) >= before + more)
        .await;
}

/// Memory that is full for a while in the middle of a load, or from its middle to beyond its end.
async fn fill_shared_memory(is_freed_within_the_load: bool) {
    let is_full = Arc::new(AtomicBool::new(false));
    let fails = Arc::clone(&is_full);
    let target = Scripted::start(move |_, _, mut stream| {
        let status = if fails.load(Ordering::Relaxed) {
            503
        } else {
            200
        };
        async move {
            let text =
                format!("HTTP/1.1 {status} So\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
            stream.write_all(text.as_bytes()).await
        }
    })
    .await;
    let tasks = vec![task("only", 1, vec![step(get("/ok"))])];
    let load = rate("50/s", 60 * SECOND, 20);
    let plan = plan(target.address, vec![scenario(load, tasks)]);
    let mut run = Run::start(with_files(plan, RawMode::None)).await;
    until_seconds(&run, 2).await;
    let filler = Path::new("/dev/shm/filler");
    fill(filler);
    is_full.store(true, Ordering::Relaxed);
    until_seconds(&run, 4).await;
    if is_freed_within_the_load {
        fs::remove_file(filler).unwrap();
        until_seconds(&run, 3).await;
    }
    run.server.cancel();
    run.server
        .until("the load is over", |inner| {
            let mut reports = inner.reports.iter();
            reports.any(|report| report.state == EngineState::Finished)
        })
        .await;
    if !is_freed_within_the_load {
        fs::remove_file(filler).unwrap();
    }
    let ended = run.end().await;
    assert_eq!(ended.codes, [Some(0)]);
    let (intervals, samples) = handed_over(&run);
    let mut sum = SeriesSet::default();
    for (number, interval) in intervals.iter().enumerate() {
        assert_eq!(interval.sequence, number as u64);
        sum.merge(&interval.set);
    }
    assert_eq!(sum, ended.merged);
    for pair in intervals.windows(2) {
        assert_eq!(pair[0].end_us, pair[1].start_us);
    }
    let lengths = intervals.iter().map(|i| i.end_us - i.start_us);
    assert!(lengths.max() >= Some(3_000_000), "it was full for a while");
    let numbers: Vec<_> = samples.iter().map(|s| (s.number, s.outcome)).collect();
    assert_eq!(numbers, [0, 1, 2].map(|n| (n, Outcome::Status)));
}

#[test]
fn shared_memory_that_is_full_for_a_while_loses_no_interval_and_no_sample() {
    isolated(
        "scarce::shared_memory_that_is_full_for_a_while_loses_no_interval_and_no_sample",
        async {
            // Runs have their directories there.
            let mount = Command::new("mount")
                .args(["-t", "tmpfs", "-o", "size=8m", "tmpfs", "/dev/shm"])
                .status();
            assert!(mount.unwrap().success());
            fill_shared_memory(true).await;
            fill_shared_memory(false).await;
        },
    );
}
