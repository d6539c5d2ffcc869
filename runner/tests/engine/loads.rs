//! Loads are delivered exactly as planned, and counted exactly as delivered.

use std::time::Duration;

use loadtest_core::{
    identity,
    plan::{Arrivals, Load, RawMode, Step},
    template::Template,
};
use loadtest_runner::pool::Pool;

use crate::{
    harness::{
        RUN_ID, Run, get, pause, plan, rate, run, run_to_end, scenario, step, task, template,
        users, with_files,
    },
    target::Target,
};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread")]
async fn a_constant_rate_begins_every_arrival_on_time() {
    let target = Target::start().await;
    let tasks = vec![task("only", 1, vec![step(get("/ok"))])];
    let measured = run(plan(
        target.address,
        vec![scenario(rate("300/s", 2 * SECOND, 50), tasks)],
    ))
    .await;
    assert_eq!(measured.total.requests, 600);
    assert_eq!(measured.total.failures, 0, "{:?}", measured.errors);
    assert_eq!(target.count(), 600);
    assert_eq!((measured.scheduled, measured.started), (600, 600));
    assert_eq!(measured.iterations, 600);
    assert_eq!(
        (measured.late_by_target, measured.late_by_generator),
        (0, 0)
    );
    assert_eq!(measured.connections, target.connections());
    let seen = target.seen();
    let span = seen.last().unwrap().at - seen.first().unwrap().at;
    assert!(
        span > Duration::from_millis(1_900) && span < Duration::from_millis(2_500),
        "{span:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn constant_users_are_counted_exactly() {
    let target = Target::start().await;
    let tasks = vec![task(
        "only",
        1,
        vec![step(get("/slow/5")), step(get("/ok?u=$(user.index)"))],
    )];
    let measured = run(plan(
        target.address,
        vec![scenario(users(8, 2 * SECOND), tasks)],
    ))
    .await;
    assert_eq!(measured.total.requests, target.count());
    assert!(
        measured.total.requests > 1_000,
        "{}",
        measured.total.requests
    );
    assert_eq!(measured.total.failures, 0, "{:?}", measured.errors);
    assert_eq!(measured.connections, 8);
    assert_eq!(measured.iterations * 2, measured.total.requests);
    let paths = target.by_path();
    let users: Vec<_> = (0..8).map(|user| format!("/ok?u={user}")).collect();
    assert!(
        users.iter().all(|path| paths.contains_key(path)),
        "{:?}",
        paths.keys()
    );
    assert_eq!(paths.len(), 9);
}

#[tokio::test(flavor = "multi_thread")]
async fn arrivals_that_find_no_user_wait_and_their_latency_says_so() {
    let target = Target::start().await;
    let tasks = vec![task("only", 1, vec![step(get("/slow/100"))])];
    let measured = run(plan(
        target.address,
        vec![scenario(rate("200/s", SECOND, 4), tasks)],
    ))
    .await;
    assert_eq!(measured.scheduled, 200);
    let started = measured.started;
    assert!((32..=60).contains(&started), "{started}");
    assert_eq!(
        (measured.total.requests, target.count()),
        (started, started)
    );
    assert!(
        measured.late_by_target >= 190,
        "{}",
        measured.late_by_target
    );
    assert_eq!(measured.late_by_generator, 0);
    let (latency, service) = (&measured.total.latency, &measured.total.service_time);
    assert!(latency.max() > 500_000, "{}", latency.max());
    // One that a busy machine holds up says nothing.
    assert!(service.quantile(0.5) < 250_000, "{}", service.quantile(0.5));
    assert!(measured.worst_lateness_us > 400_000 && measured.worst_lateness_us <= 1_000_000);
    assert!(measured.connections <= 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_block_of_iterations_has_every_task_as_often_as_its_weight() {
    let target = Target::start().await;
    let tasks = vec![
        task("a", 3, vec![step(get("/a"))]),
        task("b", 1, vec![step(get("/b"))]),
        task("c", 2, vec![step(get("/c"))]),
    ];
    let measured = run(plan(
        target.address,
        vec![scenario(users(1, SECOND), tasks)],
    ))
    .await;
    let seen = target.seen();
    assert_eq!(seen.len() as u64, measured.total.requests);
    for block in seen.chunks_exact(6) {
        let count = |path: &str| block.iter().filter(|seen| seen.path == path).count();
        assert_eq!((count("/a"), count("/b"), count("/c")), (3, 1, 2));
    }
    assert!(seen.len() > 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn users_think_and_pause_and_their_latency_does_not() {
    let target = Target::start().await;
    let mut thinking = task(
        "only",
        1,
        vec![
            step(get("/ok")),
            Step::Pause(pause(20, 30)),
            step(get("/then")),
        ],
    );
    thinking.think_time = Some(pause(70, 70));
    let measured = run(plan(
        target.address,
        vec![scenario(users(1, 2 * SECOND), vec![thinking])],
    ))
    .await;
    let seen = target.seen();
    assert_eq!(
        (seen.len() as u64, measured.total.failures),
        (measured.total.requests, 0)
    );
    for pair in seen.windows(2) {
        let (least, gap) = (
            if pair[0].path == "/ok" { 20 } else { 70 },
            pair[1].at - pair[0].at,
        );
        // The target sees requests with the jitter of two processes on busy cores.
        assert!(
            gap >= Duration::from_millis(least - 5),
            "{gap:?} before {}",
            pair[1].path
        );
    }
    let iterations = measured.iterations;
    // A machine that stalls makes fewer.
    assert!((6..=22).contains(&iterations), "{iterations}");
    assert!(measured.total.latency.quantile(0.5) < 10_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn scenarios_run_side_by_side_from_their_own_start() {
    let target = Target::start().await;
    let tasks = |path: &str| vec![task("only", 1, vec![step(get(path))])];
    let mut late = scenario(rate("50/s", SECOND, 10), tasks("/late"));
    late.name = "late".to_owned();
    late.start_after = SECOND;
    let early = scenario(rate("50/s", 2 * SECOND, 10), tasks("/early"));
    let plan = with_files(plan(target.address, vec![early, late]), RawMode::All);
    let mut run = Run::start(plan).await;
    let measured = run.end().await.merged;
    let counts: Vec<_> = measured
        .by_name
        .iter()
        .map(|series| series.requests)
        .collect();
    assert_eq!(counts, [100, 50]);
    assert_eq!(target.count(), 150);
    // When they were to begin, not when a busy machine let them.
    let pool = Pool::open(&run.pool(0)).unwrap();
    let mut first = [u64::MAX; 2];
    let blocks = pool.full_blocks().into_iter();
    for id in blocks.chain(pool.unfinished_blocks()) {
        for (_, record) in pool.read(id).records() {
            let intended = record.sent_ns / 1_000 - record.before_send_us();
            let first = &mut first[record.step as usize];
            *first = intended.min(*first);
        }
    }
    let delay = first[1] - first[0];
    // Microseconds are cut off.
    assert!((999_999..=1_000_001).contains(&delay), "{delay} us");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_what_the_plan_says() {
    let target = Target::start().await;
    let mut post = get("/things/$(user.index)?i=$(user.iteration)");
    post.method = "POST".to_owned();
    post.headers = vec![("content-type".to_owned(), Template::literal("text/plain"))];
    post.body = Some(template("run $(run.id) iteration $(user.iteration)!"));
    let mut own = get("/own");
    own.headers = vec![
        ("User-Agent".to_owned(), Template::literal("mine/1")),
        ("HOST".to_owned(), Template::literal("shop.test")),
    ];
    let mut head = get("/head");
    head.method = "HEAD".to_owned();
    let steps = vec![step(post), step(own), step(head)];
    let measured = run(plan(
        target.address,
        vec![scenario(
            rate("20/s", SECOND, 1),
            vec![task("only", 1, steps)],
        )],
    ))
    .await;
    assert_eq!(
        (measured.total.requests, measured.total.failures),
        (60, 0),
        "{:?}",
        measured.errors
    );
    let seen = target.seen();
    let posts: Vec<_> = seen.iter().filter(|seen| seen.method == "POST").collect();
    let trace = |iteration: usize, step: u32| {
        let run = identity::run_number(RUN_ID);
        let trace = identity::trace_id(run, 0, 0, iteration as u32);
        let span = identity::span_id(trace, step, step);
        format!("traceparent: 00-{trace:032x}-{span:016x}-00\r\n")
    };
    for (iteration, post) in posts.iter().enumerate() {
        assert_eq!(post.path, format!("/things/0?i={iteration}"));
        let body = format!("run {RUN_ID} iteration {iteration}!");
        assert_eq!(String::from_utf8_lossy(&post.body), body);
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(
            post.head,
            format!(
                "POST /things/0?i={iteration} HTTP/1.1\r\nHost: {}\r\nUser-Agent: loadtest/{version} run/{RUN_ID}\r\n{}content-type: text/plain\r\nContent-Length: {}\r\n\r\n",
                target.address,
                trace(iteration, 0),
                body.len()
            )
        );
    }
    let own = seen.iter().find(|seen| seen.path == "/own").unwrap();
    assert_eq!(
        own.head,
        format!(
            "GET /own HTTP/1.1\r\n{}User-Agent: mine/1\r\nHOST: shop.test\r\n\r\n",
            trace(0, 1)
        )
    );
    let sent: usize = seen
        .iter()
        .map(|seen| seen.head.len() + seen.body.len())
        .sum();
    assert_eq!(measured.total.bytes_sent, sent as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_larger_than_any_socket_buffer_arrives_whole() {
    let target = Target::start().await;
    let mut post = get("/ok");
    post.method = "POST".to_owned();
    post.body = Some(Template::literal("0123456789".repeat(1 << 20)));
    let measured = run(plan(
        target.address,
        vec![scenario(
            rate("3/s", SECOND, 3),
            vec![task("only", 1, vec![step(post)])],
        )],
    ))
    .await;
    assert_eq!(
        (measured.total.requests, measured.total.failures),
        (3, 0),
        "{:?}",
        measured.errors
    );
    assert!(target.seen().iter().all(|seen| seen.body.len() == 10 << 20));
}

#[tokio::test(flavor = "multi_thread")]
async fn arrivals_that_wait_a_moment_at_the_end_still_begin() {
    let target = Target::start().await;
    let tasks = vec![task("only", 1, vec![step(get("/slow/250"))])];
    let load = rate("10/s", SECOND, 2);
    let measured = run(plan(target.address, vec![scenario(load, tasks)])).await;
    assert_eq!((measured.scheduled, measured.started), (10, 10));
    assert_eq!((measured.total.requests, target.count()), (10, 10));
    assert!(measured.late_by_target > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_end_nobody_overtakes_an_arrival_that_is_too_late() {
    let target = Target::start().await;
    let tasks = vec![task("only", 1, vec![step(get("/slow/700"))])];
    let load = rate("10/s", 2 * SECOND, 1);
    let measured = run(plan(target.address, vec![scenario(load, tasks)])).await;
    // The user is free at 0, 0.7, 1.4 and 2.1 s. By then the next in turn was due at 0.3 s; those
    // due from 1.1 s on are less than a second late, and would look better than they are.
    assert_eq!((measured.scheduled, measured.started), (20, 3));
    assert_eq!((measured.total.requests, target.count()), (3, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn poisson_arrivals_are_counted_as_they_come() {
    let target = Target::start().await;
    let load = Load::ConstantRate {
        rate: "400/s".parse().unwrap(),
        duration: SECOND,
        max_users: 50,
        arrivals: Arrivals::Poisson,
    };
    let tasks = vec![task("only", 1, vec![step(get("/ok"))])];
    let measured = run(plan(target.address, vec![scenario(load, tasks)])).await;
    // Five standard deviations around the mean.
    assert!(
        (300..=500).contains(&measured.scheduled),
        "{}",
        measured.scheduled
    );
    assert_eq!(measured.started, measured.scheduled);
    assert_eq!(
        (measured.total.requests, target.count()),
        (measured.started, measured.started)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_of_iterations_is_made_exactly_and_then_the_run_is_over() {
    let target = Target::start().await;
    let shared = Load::SharedIterations {
        users: 7,
        iterations: 100,
        max_duration: Duration::from_mins(1),
    };
    let each = Load::PerUserIterations {
        users: 3,
        iterations: 20,
        max_duration: Duration::from_mins(1),
    };
    let tasks = |path: &str| vec![task("only", 1, vec![step(get(path))])];
    let mut second = scenario(each, tasks("/each?u=$(user.index)"));
    second.name = "each".to_owned();
    let mut plan = plan(
        target.address,
        vec![scenario(shared, tasks("/shared")), second],
    );
    plan.runners = 2;
    plan.max_duration = Duration::from_mins(2);
    let begun = std::time::Instant::now();
    let ended = run_to_end(plan).await;
    let (measured, summary) = (ended.merged, ended.view.summary.unwrap());
    assert!(summary.duration < 5 * SECOND, "{:?}", summary.duration);
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!((measured.scheduled, measured.started), (160, 160));
    assert_eq!((measured.iterations, measured.total.requests), (160, 160));
    let paths = target.by_path();
    let expected = [
        ("/shared", 100),
        ("/each?u=0", 20),
        ("/each?u=1", 20),
        ("/each?u=2", 20),
    ];
    assert_eq!(paths, expected.map(|(path, n)| (path.to_owned(), n)).into());
}

#[tokio::test(flavor = "multi_thread")]
async fn iterations_that_did_not_begin_in_time_are_counted() {
    let target = Target::start().await;
    let load = Load::SharedIterations {
        users: 2,
        iterations: 1_000,
        max_duration: SECOND,
    };
    let tasks = vec![task("only", 1, vec![step(get("/slow/50"))])];
    let measured = run(plan(target.address, vec![scenario(load, tasks)])).await;
    assert_eq!(measured.scheduled, 1_000);
    assert!(
        (10..=42).contains(&measured.started),
        "{}",
        measured.started
    );
    assert_eq!(measured.started, target.count());
}

#[tokio::test(flavor = "multi_thread")]
async fn pacing_is_from_start_to_start() {
    let target = Target::start().await;
    let mut paced = task("only", 1, vec![step(get("/slow/30"))]);
    paced.pacing = Some(Duration::from_millis(100));
    let measured = run(plan(
        target.address,
        vec![scenario(users(1, 2 * SECOND), vec![paced])],
    ))
    .await;
    assert_eq!(measured.total.requests, target.count());
    assert!((17..=21).contains(&target.count()), "{}", target.count());
    // Without the pauses of 70 ms, and without drift.
    assert!(measured.total.latency.quantile(0.5) < 70_000);
    let seen = target.seen();
    let mean = (seen.last().unwrap().at - seen[0].at).as_secs_f64() / (seen.len() - 1) as f64;
    // From end to start it would be 130 ms; what is between is for a machine that stalls.
    assert!((0.095..0.12).contains(&mean), "{mean}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_warm_up_is_recorded_but_not_summed_up() {
    let target = Target::start().await;
    let tasks = vec![task("only", 1, vec![step(get("/ok"))])];
    let load = rate("100/s", 3 * SECOND, 10);
    let mut plan = plan(target.address, vec![scenario(load, tasks)]);
    plan.warm_up = SECOND;
    let ended = run_to_end(plan).await;
    let (measured, summary) = (ended.merged, ended.view.summary.unwrap());
    assert_eq!(target.count(), 300);
    assert_eq!(
        (summary.warm_up_requests, summary.total.requests),
        (100, 200)
    );
    assert_eq!(summary.duration, 2 * SECOND);
    assert_eq!(summary.offered_rate, Some(100.0));
    assert_eq!((measured.scheduled, measured.started), (200, 200));
    assert_eq!(
        (measured.iterations, measured.by_name[0].requests),
        (200, 200)
    );
}
