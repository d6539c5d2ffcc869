//! What the engine counts is what the target counted, request by request, whatever goes wrong.

use std::{collections::BTreeMap, process::Command, time::Duration};

use loadtest_core::{
    plan::{Load, PauseRange, Plan, RateStage, Request, Scenario, UserStage},
    series::Outcome,
    template::Template,
};

use crate::{
    faulty::{BODY, Fate, Faulty, Seen},
    harness::{get, plan, rate, scenario, step, task, users},
    measure::{Measured, measure, measure_while},
    witness::path,
};

const TIMEOUT: Duration = Duration::from_millis(200);
const TWO_SECONDS: Duration = Duration::from_secs(2);

/// Iterations of the models that say how many, by number of the scenario.
const PLANNED: [(u32, u64); 4] = [(0, 400), (1, 325), (4, 300), (5, 200)];

/// All six models side by side.
fn loads() -> [Load; 6] {
    let second = Duration::from_secs(1);
    let rate_stage = |to: &str| RateStage {
        duration: second,
        rate: to.parse().unwrap(),
    };
    let user_stage = |users| UserStage {
        duration: second,
        users,
    };
    [
        rate("200/s", TWO_SECONDS, 100),
        Load::RampingRate {
            start_rate: "50/s".parse().unwrap(),
            stages: vec![rate_stage("300/s"), rate_stage("0/s")],
            max_users: 100,
            arrivals: loadtest_core::plan::Arrivals::Even,
        },
        users(8, TWO_SECONDS),
        Load::RampingUsers {
            start_users: 0,
            stages: vec![user_stage(10), user_stage(0)],
        },
        Load::SharedIterations {
            users: 6,
            iterations: 300,
            max_duration: 10 * second,
        },
        Load::PerUserIterations {
            users: 5,
            iterations: 40,
            max_duration: 10 * second,
        },
    ]
}

fn post(number: u32) -> Request {
    let mut request = get(&path(number));
    "POST".clone_into(&mut request.method);
    request.body = Some(Template::literal(BODY));
    request.timeout = TIMEOUT;
    request
}

fn one_step(number: u32, load: Load, request: Request) -> Scenario {
    let mut only = task("only", 1, vec![step(request)]);
    if !load.is_open() {
        let a_moment = Duration::from_millis(2);
        only.think_time = Some(PauseRange {
            min: a_moment,
            max: 2 * a_moment,
        });
    }
    let mut scenario = scenario(load, vec![only]);
    scenario.name = format!("load-{number}");
    scenario.graceful_stop = Duration::from_millis(60);
    scenario
}

/// The number of the scenario that sends what may be sent twice.
const REPEATABLE: u32 = 6;

fn everything(target: &Faulty) -> Plan {
    let scenarios = (0..)
        .zip(loads())
        .map(|(n, load)| one_step(n, load, post(n)));
    let mut repeatable = get(&path(REPEATABLE));
    repeatable.timeout = TIMEOUT;
    let repeatable = one_step(REPEATABLE, users(8, TWO_SECONDS), repeatable);
    plan(target.address, scenarios.chain([repeatable]).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_is_counted_once_on_both_sides() {
    let (to_the_end, terminated) = (Faulty::start().await, Faulty::start().await);
    let (whole, part) = tokio::join!(
        measure(everything(&to_the_end)),
        measure_while(everything(&terminated), async |run| {
            run.server
                .until("the load is well under way", |inner| {
                    inner.coordinator.merged().total.requests > 200
                })
                .await;
            let pid = run.pid().to_string();
            let kill = Command::new("kill").args(["-s", "TERM", &pid]).status();
            assert!(kill.unwrap().success());
        }),
    );
    for (measured, target) in [(&whole, to_the_end), (&part, terminated)] {
        let seen = target.seen(|seen| is_complete(seen, measured)).await;
        agree(measured, &seen);
    }
    for (number, planned) in PLANNED {
        let requests = &whole.merged.by_name[number as usize].requests;
        assert_eq!(*requests, planned, "load {number}");
    }
    let planned: u64 = PLANNED.iter().map(|(_, iterations)| iterations).sum();
    let merged = &whole.merged;
    assert_eq!((merged.scheduled, merged.started), (planned, planned));
    assert!(merged.by_name.iter().all(|series| series.requests >= 100));
    assert!(part.merged.total.requests < merged.total.requests);
    // All kinds of ends occurred, or nothing was shown.
    let (whole, part) = (outcomes(&whole), outcomes(&part));
    println!("to the end {whole:?}, terminated {part:?}");
    let kinds = [
        Outcome::Ok,
        Outcome::Status,
        Outcome::Reset,
        Outcome::Timeout,
    ];
    assert!(kinds.iter().all(|kind| whole[kind] >= 10), "{whole:?}");
    assert!(part[&Outcome::Aborted] > 0, "{part:?}");
}

/// Every request, and every one that was sent once more, was seen or went into a connection that
/// nobody read.
fn is_complete(seen: &Seen, measured: &Measured) -> bool {
    let times: usize = seen.requests.values().map(Vec::len).sum();
    let merged = &measured.merged;
    times as u64 + seen.unread == merged.total.requests + merged.resent
}

fn agree(measured: &Measured, seen: &Seen) {
    let merged = &measured.merged;
    assert!(
        is_complete(seen, measured),
        "{} requests, {} sent once more, {} connections unread, {} requests seen: {seen:?}",
        merged.total.requests,
        merged.resent,
        seen.unread,
        seen.requests.len(),
    );
    assert!(merged.resent > 0);
    let mut known = 0;
    for request in &measured.requests {
        let fates = seen.requests.get(&request.key);
        known += usize::from(fates.is_some());
        let fates = fates.map_or(&[][..], Vec::as_slice);
        let name = request.outcome;
        let expected = match fates {
            // Nobody read it, or when it was sent once more for want of a single byte.
            [] | [Fate::Unanswered | Fate::Cut(0) | Fate::Reset(0)] => {
                [Outcome::Connect, Outcome::Reset, Outcome::Timeout].contains(&name)
            }
            [.., last] => name == last.outcome(),
        };
        // A busy machine can make the target too slow with an answer that it gave.
        let timeout = TIMEOUT.as_micros() as u64;
        let slow = name == Outcome::Timeout && request.latency_us >= timeout;
        let cut_off = name == Outcome::Aborted;
        let once = fates.len() < 2 || request.key.step == REPEATABLE;
        assert!(
            (expected || slow || cut_off) && once,
            "{request:?} {fates:?}"
        );
    }
    assert_eq!(
        known,
        seen.requests.len(),
        "every request seen is a request told"
    );
    let failed = measured
        .requests
        .iter()
        .filter(|r| r.outcome != Outcome::Ok);
    assert_eq!(failed.count() as u64, measured.merged.total.failures);
    let mut by_outcome = BTreeMap::new();
    for (key, count) in &measured.merged.errors {
        *by_outcome.entry(key.outcome).or_insert(0) += count;
    }
    let mut outcomes = outcomes(measured);
    outcomes.remove(&Outcome::Ok);
    assert_eq!(by_outcome, outcomes);
}

fn outcomes(measured: &Measured) -> BTreeMap<Outcome, u64> {
    let mut counts = BTreeMap::new();
    for request in &measured.requests {
        *counts.entry(request.outcome).or_insert(0) += 1;
    }
    counts
}
