//! Rates and crowds that move from stage to stage.

use std::{collections::BTreeSet, time::Duration};

use loadtest_core::plan::{Arrivals, Load, RateStage, Step, UserStage};

use crate::{
    harness::{get, pause, plan, run, scenario, step, task},
    target::Target,
};

fn rate_stage(millis: u64, rate: &str) -> RateStage {
    RateStage {
        duration: Duration::from_millis(millis),
        rate: rate.parse().unwrap(),
    }
}

fn user_stage(millis: u64, users: u32) -> UserStage {
    UserStage {
        duration: Duration::from_millis(millis),
        users,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ramping_rate_sends_the_integral_of_its_stages() {
    let target = Target::start().await;
    let load = Load::RampingRate {
        start_rate: "0/s".parse().unwrap(),
        stages: vec![
            rate_stage(1_000, "200/s"),
            rate_stage(500, "200/s"),
            rate_stage(0, "0/s"),
            rate_stage(500, "0/s"),
            rate_stage(0, "100/s"),
            rate_stage(500, "0/s"),
        ],
        max_users: 20,
        arrivals: Arrivals::Even,
    };
    let tasks = vec![task("only", 1, vec![step(get("/ok"))])];
    let measured = run(plan(target.address, vec![scenario(load, tasks)])).await;
    // 100 while it rises, 100 on the plateau, 25 while it falls.
    assert_eq!((measured.scheduled, measured.started), (225, 225));
    assert_eq!((measured.total.requests, target.count()), (225, 225));
    let seen = target.seen();
    let quiet = seen[200].at - seen[199].at;
    assert!(quiet >= Duration::from_millis(450), "{quiet:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ramping_users_come_and_go() {
    let target = Target::start().await;
    let load = Load::RampingUsers {
        start_users: 0,
        stages: vec![
            user_stage(1_000, 4),
            user_stage(500, 4),
            user_stage(1_000, 0),
        ],
    };
    let steps = vec![step(get("/slow/5?u=$(user.index)"))];
    let measured = run(plan(
        target.address,
        vec![scenario(load, vec![task("only", 1, steps)])],
    ))
    .await;
    assert_eq!(measured.total.failures, 0, "{:?}", measured.errors);
    assert_eq!(measured.total.requests, target.count());
    assert_eq!(measured.connections, 4);
    let seen = target.seen();
    // When they come and go, truth/schedule.rs judges by intended times, which no busy machine moves.
    let users: BTreeSet<_> = seen.iter().map(|seen| seen.path.as_str()).collect();
    let expected = [0, 1, 2, 3].map(|user| format!("/slow/5?u={user}"));
    assert!(users.into_iter().eq(&expected));
}

/// There for 0.4 s, gone for as long, and there again until a time.
fn absence(end: u64) -> Load {
    Load::RampingUsers {
        start_users: 1,
        stages: vec![
            user_stage(400, 1),
            user_stage(0, 0),
            user_stage(400, 0),
            user_stage(0, 1),
            user_stage(end - 800, 1),
        ],
    }
}

/// What it would have waited for, had it stayed, is no matter any more: everything counts from its
/// return.
#[tokio::test(flavor = "multi_thread")]
async fn a_user_that_returns_begins_anew() {
    let mut thinking = task(
        "only",
        1,
        vec![Step::Pause(pause(50, 50)), step(get("/ok"))],
    );
    thinking.think_time = Some(pause(10_000, 10_000));
    let mut paced = task("only", 1, vec![step(get("/ok"))]);
    paced.pacing = Some(Duration::from_secs(2));
    // Thinking: one pass each time. Paced: at 0, at 0.8 and at 2.8 s.
    for (task, end, passes) in [(thinking, 1_800, 2), (paced, 3_800, 3)] {
        let target = Target::start().await;
        let scenario = scenario(absence(end), vec![task]);
        let measured = run(plan(target.address, vec![scenario])).await;
        assert_eq!((measured.total.requests, target.count()), (passes, passes));
        let seen = target.seen();
        let absent = seen[1].at - seen[0].at;
        assert!(absent >= Duration::from_millis(750), "{absent:?}");
    }
}
