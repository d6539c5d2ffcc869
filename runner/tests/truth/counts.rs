//! What the engine counts is what the target counted, request by request, whatever goes wrong.

use std::{collections::BTreeMap, time::Duration};

use loadtest_core::{
    plan::{Load, PauseRange, Plan, RateStage, Request, Scenario, UserStage},
    series::Outcome,
    template::Template,
};

use crate::{
    faulty::{BODY, Faulty, Seen},
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
    request.method = "POST".to_owned();
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

fn everything(target: &Faulty) -> Plan {
    let scenarios = (0..)
        .zip(loads())
        .map(|(n, load)| one_step(n, load, post(n)));
    plan(target.address, scenarios.collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_is_counted_once_on_both_sides() {
    let (to_the_end, cancelled) = (Faulty::start().await, Faulty::start().await);
    let (whole, part) = tokio::join!(
        measure(everything(&to_the_end)),
        measure_while(everything(&cancelled), async |run| {
            run.server
                .until("the load is well under way", |inner| {
                    inner.coordinator.merged().total.requests > 200
                })
                .await;
            run.server.cancel();
        }),
    );
    for (measured, target) in [(&whole, to_the_end), (&part, cancelled)] {
        let seen = target.seen(|seen| is_complete(seen, measured)).await;
        agree(measured, &seen);
    }
    for (number, planned) in PLANNED {
        let requests = &whole.merged.by_name[number as usize].requests;
        assert_eq!(*requests, planned, "load {number}");
        assert!(part.merged.by_name[number as usize].requests < planned);
    }
    let planned: u64 = PLANNED.iter().map(|(_, iterations)| iterations).sum();
    let merged = &whole.merged;
    assert_eq!((merged.scheduled, merged.started), (planned, planned));
    assert!(merged.by_name.iter().all(|series| series.requests >= 200));
    // All kinds of ends occurred, or nothing was shown.
    let outcomes = outcomes(&whole);
    let kinds = [
        Outcome::Ok,
        Outcome::Status,
        Outcome::Reset,
        Outcome::Timeout,
    ];
    assert!(
        kinds.iter().all(|kind| outcomes[kind] >= 10),
        "{outcomes:?}"
    );
    println!(
        "to the end {outcomes:?}, cancelled {:?}",
        self::outcomes(&part)
    );
}

/// A `POST` is never sent twice, so every request was seen once or went into a connection that
/// nobody read.
fn is_complete(seen: &Seen, measured: &Measured) -> bool {
    seen.requests.len() as u64 + seen.unread == measured.merged.total.requests
}

fn agree(measured: &Measured, seen: &Seen) {
    let mut unseen = 0;
    for request in &measured.requests {
        let cut_off = request.outcome == Outcome::Aborted;
        match seen.requests.get(&request.key).map(Vec::as_slice) {
            Some([fate]) => {
                // A busy machine can make the target too slow with an answer that it gave.
                let too_slow = request.outcome == Outcome::Timeout
                    && request.service_us >= TIMEOUT.as_micros() as u64;
                assert!(
                    cut_off || too_slow || request.outcome == fate.outcome(),
                    "{request:?} {fate:?}"
                );
            }
            None => {
                let failed = matches!(
                    request.outcome,
                    Outcome::Connect | Outcome::Reset | Outcome::Timeout
                );
                assert!(cut_off || failed, "nobody saw {request:?}");
                unseen += 1;
            }
            Some(fates) => panic!("{request:?} came more than once: {fates:?}"),
        }
    }
    let requests = measured.merged.total.requests;
    assert_eq!(unseen, seen.unread, "of {requests}");
    assert_eq!(seen.requests.len() as u64 + unseen, requests);
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
