//! When the target has the requests, against the schedule computed by hand.

use std::{collections::HashMap, time::Duration};

use loadtest_core::plan::{Arrivals, Load, RateStage, UserStage};
use loadtest_runner::clock::{MICRO, MILLI, Nanos, SECOND};

use crate::{
    harness::{get, plan, rate, scenario, step, task},
    measure::{Measured, measure},
    quantile::{quantile, sorted},
    witness::{Key, Served, Service, Witness, path},
};

/// Records are cut to microseconds.
const CUT: Nanos = MICRO;

/// On a machine that does nothing else the median is below 0.1 ms; `make bench` says how much. This
/// is what one keeps that also compiles, unless the kernel says that it starved the engine, or the
/// target took longer to look than that.
const MEDIAN_LATENESS: Nanos = 5 * MILLI;

async fn deliver(target: &Witness, load: Load, runners: u32) -> Measured {
    let steps = vec![step(get(&path(0)))];
    let mut plan = plan(
        target.address,
        vec![scenario(load, vec![task("only", 1, steps)])],
    );
    plan.runners = runners;
    let measured = measure(plan).await;
    assert_eq!(
        measured.merged.total.failures, 0,
        "{:?}",
        measured.merged.errors
    );
    measured
}

/// How long after its due time the target had each arrival. All must have come, none before its
/// time.
fn lateness(measured: &Measured, due: &HashMap<Key, Nanos>, log: &[Served]) -> Vec<u64> {
    assert_eq!(log.len(), due.len(), "as many as planned");
    let late = sorted(log.iter().map(|served| {
        let due = due[&served.key];
        assert!(served.arrived + CUT >= due, "{served:?} came early");
        served.arrived.saturating_sub(due)
    }));
    println!(
        "{} arrivals: late by {} µs (median), {} µs (p99), {} µs (worst)",
        late.len(),
        quantile(&late, 0.5) / MICRO,
        quantile(&late, 0.99) / MICRO,
        quantile(&late, 1.0) / MICRO,
    );
    let arrived: HashMap<Key, Nanos> = log.iter().map(|s| (s.key, s.arrived)).collect();
    let unread = measured.requests.iter().map(|request| {
        assert!(
            arrived[&request.key] >= request.sent,
            "seen before it was sent"
        );
        arrived[&request.key] - request.sent
    });
    let target_was_slow = quantile(&sorted(unread), 0.5) > MILLI;
    let kept_time = quantile(&late, 0.5) <= MEDIAN_LATENESS;
    assert!(kept_time || target_was_slow || measured.process.was_starved());
    late
}

#[tokio::test(flavor = "multi_thread")]
async fn a_constant_rate_reaches_the_target_as_scheduled() {
    tokio::join!(constant_rate(1_000, 3), constant_rate(5_000, 2));
}

async fn constant_rate(per_second: u64, seconds: u64) {
    let target = Witness::start(Service::AtOnce);
    let load = rate(
        &format!("{per_second}/s"),
        Duration::from_secs(seconds),
        500,
    );
    let measured = deliver(&target, load, 1).await;
    let count = per_second * seconds;
    assert_eq!(measured.requests.len() as u64, count);
    let merged = &measured.merged;
    assert_eq!((merged.scheduled, merged.started), (count, count));
    let start = measured.requests[0].intended;
    let mut due = HashMap::new();
    for (k, request) in (0..).zip(&measured.requests) {
        let at = start + k * SECOND / per_second;
        assert!(request.intended.abs_diff(at) <= CUT, "arrival {k}");
        due.insert(request.key, at);
    }
    lateness(&measured, &due, &target.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn three_runners_interleave_to_the_whole_schedule() {
    let target = Witness::start(Service::AtOnce);
    let load = rate("1000/s", Duration::from_secs(2), 300);
    let measured = deliver(&target, load, 3).await;
    assert_eq!(measured.requests.len(), 2_000);
    // Each runner begins at the common start as its own clock shows it.
    let starts: Vec<Nanos> = (0..3)
        .map(|runner| {
            let first = measured.requests.iter().find(|r| r.runner == runner);
            first.unwrap().intended - Nanos::from(runner) * MILLI
        })
        .collect();
    let skew = starts.iter().max().unwrap() - starts.iter().min().unwrap();
    println!("the runners begin within {} µs", skew / MICRO);
    assert!(skew < 100 * MILLI, "{starts:?}");
    let mut numbers = Vec::new();
    let mut due = HashMap::new();
    for request in &measured.requests {
        let after = request.intended - starts[request.runner as usize];
        let number = (after + MILLI / 2) / MILLI;
        assert!(after.abs_diff(number * MILLI) <= CUT, "{request:?}");
        assert_eq!(number % 3, u64::from(request.runner));
        numbers.push(number);
        due.insert(request.key, request.intended);
    }
    assert!(
        sorted(numbers).into_iter().eq(0..2_000),
        "every arrival once"
    );
    // Between the first and the last start and end, no hole is longer than one runner's pace.
    let longest = measured
        .requests
        .windows(2)
        .map(|pair| pair[1].intended - pair[0].intended);
    assert!(longest.max().unwrap() <= 3 * MILLI + skew + CUT);
    lateness(&measured, &due, &target.log());
}

/// Integral of a rate that moves in straight lines: arrivals before a time.
struct Integral {
    /// Seconds, rate at the beginning, rate at the end.
    legs: Vec<(f64, f64, f64)>,
}

impl Integral {
    fn new(start: f64, stages: &[(f64, f64)]) -> Self {
        let mut from = start;
        let leg = |&(seconds, to): &(f64, f64)| (seconds, std::mem::replace(&mut from, to), to);
        Self {
            legs: stages.iter().map(leg).collect(),
        }
    }

    fn at(&self, mut seconds: f64) -> f64 {
        let mut sum = 0.0;
        for &(length, from, to) in &self.legs {
            let part = seconds.clamp(0.0, length);
            if length > 0.0 {
                sum += from * part + (to - from) * part * part / length / 2.0;
            }
            seconds -= length;
        }
        sum
    }

    /// Where the legs end.
    fn ends(&self) -> Vec<f64> {
        let mut end = 0.0;
        self.legs
            .iter()
            .map(|leg| {
                end += leg.0;
                end
            })
            .collect()
    }
}

fn ramp(start: f64, stages: &[(f64, f64)], arrivals: Arrivals) -> Load {
    let stage = |&(seconds, to): &(f64, f64)| RateStage {
        duration: Duration::from_secs_f64(seconds),
        rate: format!("{to}/s").parse().unwrap(),
    };
    Load::RampingRate {
        start_rate: format!("{start}/s").parse().unwrap(),
        stages: stages.iter().map(stage).collect(),
        max_users: 500,
        arrivals,
    }
}

/// Up, level, down to nothing, a jump, level.
const STAGES: [(f64, f64); 5] = [
    (1.0, 1000.0),
    (0.5, 1000.0),
    (1.0, 0.0),
    (0.0, 400.0),
    (0.5, 400.0),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_ramp_is_the_integral_of_its_stages() {
    let target = Witness::start(Service::AtOnce);
    let measured = deliver(&target, ramp(200.0, &STAGES, Arrivals::Even), 2).await;
    let integral = Integral::new(200.0, &STAGES);
    assert_eq!(measured.requests.len(), 600 + 500 + 500 + 200);
    // Arrival 0 is due at once, so the first one shows each runner's start; 1 is the other's first.
    let first = |runner| {
        measured
            .requests
            .iter()
            .find(move |r| r.runner == runner)
            .unwrap()
            .intended
    };
    let second = sorted((0..20_000).map(|n| n * 10 * MICRO))
        .into_iter()
        .find(|at| integral.at(*at as f64 / 1e9) >= 1.0)
        .unwrap();
    let starts = [first(0), first(1) - second];
    let mut after: Vec<Nanos> = Vec::new();
    let mut due = HashMap::new();
    for request in &measured.requests {
        after.push(request.intended - starts[request.runner as usize]);
        due.insert(request.key, request.intended);
    }
    after.sort_unstable();
    for (k, at) in after.iter().enumerate() {
        let gone_by = integral.at(*at as f64 / 1e9);
        assert!(
            (gone_by - k as f64).abs() < 0.05,
            "arrival {k} at {at}: {gone_by}"
        );
    }
    let log = target.log();
    let worst = *lateness(&measured, &due, &log).last().unwrap();
    let begin = *starts.iter().min().unwrap();
    let skew = starts[0].abs_diff(starts[1]);
    for end in integral.ends() {
        let planned = integral.at(end);
        let end = begin + (end * 1e9) as Nanos;
        let by = |at: Nanos| log.iter().filter(|served| served.arrived < at).count() as f64;
        assert!(by(end) <= planned + 1.0, "{} for {planned}", by(end));
        assert!(
            by(end + skew + worst + CUT) >= planned - 1.0,
            "{} for {planned}",
            by(end)
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn random_arrivals_have_the_rate_and_the_spread_of_independent_visitors() {
    let target = Witness::start(Service::AtOnce);
    let load = ramp(1000.0, &[(2.0, 1000.0)], Arrivals::Poisson);
    let measured = deliver(&target, load, 1).await;
    let count = measured.requests.len();
    // Five standard deviations of a Poisson number with a mean of 2,000.
    assert!(count.abs_diff(2_000) < 5 * 45, "{count}");
    assert_eq!(measured.merged.scheduled, count as u64);
    let start = measured.requests[0].intended;
    let mut in_bin = vec![0.0; 200];
    for request in &measured.requests {
        let bin = ((request.intended - start) / (10 * MILLI)) as usize;
        in_bin[bin.min(199)] += 1.0;
    }
    let mean = in_bin.iter().sum::<f64>() / 200.0;
    let variance = in_bin.iter().map(|n| (n - mean).powi(2)).sum::<f64>() / 199.0;
    // 1 for independent arrivals, 0 for even ones; its own deviation is 0.1 for 200 bins.
    let dispersion = variance / mean;
    assert!((0.5..1.5).contains(&dispersion), "{dispersion}");
    let due = measured
        .requests
        .iter()
        .map(|r| (r.key, r.intended))
        .collect();
    lateness(&measured, &due, &target.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn users_of_a_ramp_are_there_while_the_level_is_above_them() {
    let target = Witness::start(Service::Stalling {
        takes: Duration::from_millis(5),
        first: Duration::ZERO,
        every: Duration::from_secs(1),
        stall: Duration::ZERO,
    });
    let stage = |milliseconds, users| UserStage {
        duration: Duration::from_millis(milliseconds),
        users,
    };
    let load = Load::RampingUsers {
        start_users: 0,
        stages: vec![stage(1_000, 10), stage(500, 10), stage(1_000, 0)],
    };
    let measured = deliver(&target, load, 1).await;
    let log = target.log();
    assert_eq!(measured.requests.len(), log.len());
    let intended: Vec<_> = (0..10)
        .map(|user| {
            let of_user = measured.requests.iter().filter(|r| r.key.user == user);
            sorted(of_user.map(|request| request.intended))
        })
        .collect();
    // A user that the generator looks after too late comes too late, but none comes early.
    let comes = |user: usize| user as Nanos * 100 * MILLI;
    let users = || intended.iter().enumerate();
    let start = users().map(|(user, own)| own[0] - comes(user)).min();
    let start = start.unwrap();
    for (user, own) in users() {
        let seen = log.iter().filter(|s| s.key.user == user as u32);
        let seen: Vec<_> = seen.collect();
        assert_eq!(seen.len(), own.len());
        let came = own[0] - start;
        let starved = measured.process.was_starved();
        let in_time = came - comes(user) < 50 * MILLI;
        assert!(in_time || starved, "user {user} comes at {came}");
        assert!(seen[0].arrived + CUT >= start + comes(user), "user {user}");
        let leaves = 1_500 * MILLI + comes(10 - user);
        let last = own.last().unwrap() - start;
        assert!(last < leaves + CUT, "user {user} is still there at {last}");
        let stayed = last > leaves - 200 * MILLI;
        assert!(stayed || starved, "user {user} leaves at {last}");
    }
    assert_eq!(log.iter().map(|served| served.key.user).max(), Some(9));
}
