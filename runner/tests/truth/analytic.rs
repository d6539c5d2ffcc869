//! Latency as a server that stalls makes it, against what must come out on paper.
//!
//! First by the alphabet, and so begun first: it takes longest.

use std::{collections::HashMap, time::Duration};

use loadtest_core::{histogram::Histogram, plan::Plan};
use loadtest_runner::clock::Nanos;

use crate::{
    harness::{get, plan, rate, scenario, step, task},
    measure::{Measured, measure},
    quantile::{quantile, sorted},
    witness::{Key, Served, Service, Witness, path},
};

const SECOND: Duration = Duration::from_secs(1);
const SHARES: [f64; 3] = [0.5, 0.99, 0.999];

/// 10 ms, and a second's stall each ten seconds.
const STALLS: Service = Service::Stalling {
    takes: Duration::from_millis(10),
    first: Duration::from_secs(4),
    every: Duration::from_secs(10),
    stall: SECOND,
};

/// Every tenth request meets a stall and waits for what is left of it, so 1 % wait for at least
/// 900 ms, 0.1 % for 990 ms; all take 10 ms.
const ANALYTIC_US: [u64; 3] = [10_000, 910_000, 1_000_000];

/// What two processes without optimisation work for a request, which these numbers leave out.
const WORK_US: f64 = if cfg!(debug_assertions) { 200.0 } else { 0.0 };

const LENGTH: Duration = Duration::from_secs(20);

fn load(target: &Witness, loads: &[(&str, u32)]) -> Plan {
    let scenarios = loads
        .iter()
        .enumerate()
        .map(|(number, (events, max_users))| {
            let steps = vec![step(get(&path(number as u32)))];
            let load = rate(events, LENGTH, *max_users);
            let mut scenario = scenario(load, vec![task("only", 1, steps)]);
            scenario.name = format!("load-{number}");
            scenario
        })
        .collect();
    plan(target.address, scenarios)
}

/// Lets this process hold a connection for each user.
fn raise_open_files() {
    let status = std::process::Command::new("prlimit")
        .args(["--pid", &std::process::id().to_string(), "--nofile=4096:"])
        .status()
        .expect("prlimit of util-linux");
    assert!(status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalling_server_is_reported_as_it_is() {
    raise_open_files();
    let (plenty, few) = (Witness::start(STALLS), Witness::start(STALLS));
    // One user keeps up with 50/s but for the stalls, and never with 500/s.
    let (enough_users, one_user) = tokio::join!(
        measure(load(&plenty, &[("500/s", 1_000)])),
        measure(load(&few, &[("50/s", 1), ("500/s", 1)])),
    );
    latency_is_the_truth(&enough_users, &plenty.log());
    percentiles_are_those_of_the_records(&enough_users);
    percentiles_are_those_of_the_records(&one_user);
    for (number, period) in [(0, 20_000_000), (1, 2_000_000)] {
        one_user_is_a_queue(&one_user, &few.log(), number, period);
    }
}

/// With users enough, against the server's own log for every single request, and as a whole
/// against the numbers on paper.
fn latency_is_the_truth(measured: &Measured, log: &[Served]) {
    assert_eq!((measured.requests.len(), log.len()), (10_000, 10_000));
    let merged = &measured.merged;
    assert_eq!((merged.total.failures, merged.late_by_target), (0, 0));
    let served: HashMap<Key, Served> = log.iter().map(|served| (served.key, *served)).collect();
    assert_eq!(served.len(), 10_000, "each request came once");
    let mut truth = Vec::new();
    let mut unread = Vec::new();
    let start = measured.requests[0].intended;
    for (k, request) in measured.requests.iter().enumerate() {
        // The schedule by hand, to the microsecond that records are cut to.
        let due = start + k as Nanos * 2_000_000;
        assert!(request.intended.abs_diff(due) <= 1_000, "arrival {k}");
        let served = &served[&request.key];
        // Never low: the answer cannot have been here before it was written.
        let least = (served.replied - due) / 1_000;
        assert!(request.latency_us + 2 >= least, "{request:?} {served:?}");
        truth.push(least);
        unread.push(request.latency_us.saturating_sub(least));
    }
    let late = sorted(
        log.iter()
            .map(|served| (served.replied - served.due) / 1_000),
    );
    let (truth, unread) = (sorted(truth), sorted(unread));
    let latency = &merged.total.latency;
    let process = &measured.process;
    // A wake-up when an arrival is due and one when its answer is there, for server and engine.
    let busy_us = 4.0 * process.mean_wait_us();
    let all_kept_time =
        busy_us < 400.0 && quantile(&late, 0.5) < 50 && quantile(&late, 0.999) < 15_000;
    for (share, on_paper) in SHARES.into_iter().zip(ANALYTIC_US) {
        let (reported, truth) = (latency.quantile(share), quantile(&truth, share));
        println!("p{share}: {reported} µs, the server says {truth}, on paper {on_paper}");
        let reported = reported as f64;
        // A single wait may fall on the end of a stall, where half a second's answers come at once.
        let unlucky_us = if share > 0.9 {
            process.worst_wait_us as f64
        } else {
            0.0
        };
        assert!(reported >= truth as f64 * 0.999);
        assert!(reported <= truth as f64 * 1.02 + busy_us + unlucky_us + WORK_US);
        if all_kept_time {
            assert!(reported >= on_paper as f64 * 0.98);
            assert!(reported <= on_paper as f64 * 1.02 + busy_us + unlucky_us + WORK_US);
        }
    }
    println!(
        "server late by {} µs (median) to {} µs, answers read after {} µs (median); a worker waits \
         {:.0} µs for a CPU, {} µs at worst within 50 ms; compared with paper: {all_kept_time}",
        quantile(&late, 0.5),
        quantile(&late, 1.0),
        quantile(&unread, 0.5),
        process.mean_wait_us(),
        process.worst_wait_us,
    );
    // The service time is told apart: it begins when the request is sent.
    for request in &measured.requests {
        assert!(request.service_us <= request.latency_us);
        let took = (served[&request.key].replied - served[&request.key].arrived) / 1_000;
        assert!(request.service_us + 2 >= took);
    }
}

/// With one user, against a queue with one server that is fed the same schedule and takes as long
/// for each request as the server really took.
fn one_user_is_a_queue(measured: &Measured, log: &[Served], number: u32, period: Nanos) {
    let requests: Vec<_> = measured.of_step(number).collect();
    let log: Vec<_> = log.iter().filter(|s| s.key.step == number).collect();
    assert_eq!(requests.len(), log.len());
    let start = requests[0].intended;
    let mut free = 0;
    let mut latencies = Vec::new();
    for (k, (request, served)) in requests.iter().zip(&log).enumerate() {
        let due = start + k as Nanos * period;
        assert!(request.intended.abs_diff(due) <= 1_000, "arrival {k}");
        assert_eq!(request.key, served.key, "first come, first served");
        free = free.max(due) + (served.replied - served.arrived);
        latencies.push((free - due) / 1_000);
    }
    let simulated = sorted(latencies);
    let recorded = sorted(requests.iter().map(|request| request.latency_us));
    let reported = &measured.merged.by_name[number as usize].latency;
    for share in SHARES {
        let simulated = quantile(&simulated, share);
        println!(
            "one user, load {number}: p{share} {} µs of {} requests, simulated {simulated}",
            reported.quantile(share),
            requests.len(),
        );
        assert!(quantile(&recorded, share) as f64 >= simulated as f64 * 0.999);
        assert!(reported.quantile(share) as f64 >= simulated as f64 * 0.98);
    }
}

/// Percentiles are those of the sorted records within the histograms' precision.
fn percentiles_are_those_of_the_records(measured: &Measured) {
    let near = |histogram: &Histogram, values: Vec<u64>, precision: f64| {
        let values = sorted(values);
        assert_eq!(histogram.count(), values.len() as u64);
        assert_eq!(
            (histogram.min(), histogram.max()),
            (values[0], *values.last().unwrap())
        );
        for share in [0.01, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 0.9999, 1.0] {
            let (reported, exact) = (histogram.quantile(share), quantile(&values, share));
            let error = (reported as f64 - exact as f64) / exact as f64;
            assert!(error.abs() <= precision, "p{share}: {reported} for {exact}");
        }
    };
    let total = &measured.merged.total;
    let all = |value: fn(&crate::measure::Recorded) -> u64| {
        measured.requests.iter().map(value).collect::<Vec<_>>()
    };
    near(&total.latency, all(|r| r.latency_us), 0.001);
    near(&total.service_time, all(|r| r.service_us), 0.001);
    for (number, series) in measured.merged.by_name.iter().enumerate() {
        let of_name = |value: fn(&crate::measure::Recorded) -> u64| {
            measured
                .of_step(number as u32)
                .map(value)
                .collect::<Vec<_>>()
        };
        near(&series.latency, of_name(|r| r.latency_us), 0.01);
        near(&series.service_time, of_name(|r| r.service_us), 0.01);
    }
}
