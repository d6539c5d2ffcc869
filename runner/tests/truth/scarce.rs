//! What a generator can run out of has its name: ports, files, the name of the target itself.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use loadtest_core::{series::Outcome, verdict::Verdict};
use tokio::io::AsyncWriteExt;

use crate::{
    coordinator::now,
    harness::{Run, get, plan, rate, scenario, step, task, template, users},
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
