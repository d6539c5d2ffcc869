//! Flows side by side: their connections, their values, their end.

use std::{collections::BTreeSet, time::Duration};

use loadtest_core::plan::{Connections, OnMissing, Step};

use crate::{
    harness::{errors, iterations, run, scenario, task, users},
    language::{Language, by_path, group, paths, told},
    site::{Answer, Site, header, text},
    target::Target,
};

#[tokio::test(flavor = "multi_thread")]
async fn each_flow_has_a_connection_of_its_own_that_is_kept() {
    let site = Site::plain(|seen| {
        let cookies = match seen.path.as_str() {
            "/page" => "Set-Cookie: page=1; Path=/\r\n",
            "/0" => "Set-Cookie: branch=1; Path=/\r\n",
            _ => "",
        };
        Answer::Bytes(text("200", cookies, "{\"id\":\"v\"}"))
    })
    .await;
    let say = Language::new(&["id"]);
    let mut first = say.get("/0");
    first.extracts = vec![say.extract("id", "$.id", OnMissing::FailIteration)];
    let flows: [&[Step]; 4] = [
        &[crate::harness::step(first), say.go("/0/again")],
        &[say.go("/1")],
        &[say.go("/2"), Step::Parallel(vec![1, 3])],
        &[say.go("/3")],
    ];
    let steps = vec![
        say.go("/page"),
        Step::Parallel(vec![0, 1, 2]),
        say.go("/after/$(id)"),
        Step::Parallel(vec![3, 3]),
    ];
    for (connections, expected) in [
        // The user's, three beside it, and two more beside one of those.
        (Connections::KeepAlive, 12),
        (Connections::PerIteration, 36),
        (Connections::PerRequest, 60),
    ] {
        let (before, seen_before) = (site.connections(), site.seen().len());
        let mut scenario = scenario(iterations(2, 3), vec![task("all", 1, steps.clone())]);
        scenario.connections = connections;
        let ended = run(say.plan(site.address, scenario, &flows)).await;
        assert_eq!((ended.total.requests, ended.total.failures), (60, 0));
        assert_eq!(ended.connections, expected, "{connections:?}");
        assert_eq!(site.connections() - before, expected, "{connections:?}");
        let seen = site.seen().split_off(seen_before);
        let over = |path: &str| -> BTreeSet<u64> {
            let seen = seen.iter().filter(|seen| seen.path == path);
            seen.map(|seen| seen.connection).collect()
        };
        let all = [over("/page"), over("/0"), over("/2")];
        assert!(
            all.iter().flatten().count() == all.iter().flatten().collect::<BTreeSet<_>>().len()
        );
        if connections == Connections::KeepAlive {
            assert_eq!(over("/0"), over("/0/again"));
            assert_eq!(over("/page"), over("/after/v"));
        }
        // Values and cookies are the user's, wherever they were found.
        for seen in seen
            .iter()
            .filter(|seen| seen.path == "/after/v" || seen.path == "/0/again")
        {
            assert_eq!(
                header(seen, "cookie"),
                Some("page=1; branch=1"),
                "{}",
                seen.path
            );
        }
    }
    assert!(!paths(&site).contains(&"/after/".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn they_take_as_long_as_the_slowest_and_time_out_each_for_itself() {
    let target = Target::start().await;
    let say = Language::new(&[]);
    let mut slow = say.get("/hang");
    slow.timeout = Duration::from_millis(250);
    let flows: [&[Step]; 4] = [
        &[Step::Parallel(vec![1, 2, 2, 3])],
        &[crate::harness::step(slow), say.go("/after-hang")],
        &[say.go("/slow/2000")],
        &[say.go("/slow/1"), say.go("/slow/2")],
    ];
    let scenario = scenario(iterations(1, 2), vec![task("all", 1, vec![group(0, 0)])]);
    let ended = run(say.plan(target.address, scenario, &flows)).await;
    assert_eq!((ended.total.requests, ended.total.failures), (12, 2));
    let timeouts = errors(&ended);
    let timeout = (
        "timeout".to_owned(),
        "no whole answer within 250ms".to_owned(),
    );
    assert_eq!((timeouts.len(), timeouts[&timeout]), (1, 2));
    let (count, failures, longest) = told(&ended, 0);
    assert_eq!((count, failures), (2, 2));
    assert!(
        (2_000..4_000).contains(&longest),
        "{longest} ms: they ran side by side"
    );
    assert_eq!(ended.iterations, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_the_run_reaches_all_of_them() {
    let target = Target::start().await;
    let say = Language::new(&[]);
    let flows: [&[Step]; 2] = [&[say.go("/hang")], &[Step::Parallel(vec![0, 0])]];
    let steps = vec![Step::Parallel(vec![0, 1])];
    let mut scenario = scenario(
        users(5, Duration::from_millis(200)),
        vec![task("all", 1, steps)],
    );
    scenario.graceful_stop = Duration::ZERO;
    let ended = run(say.plan(target.address, scenario, &flows)).await;
    let aborted = (
        "aborted".to_owned(),
        "stopped while it was under way".to_owned(),
    );
    assert_eq!(errors(&ended)[&aborted], 15);
    assert_eq!((ended.total.requests, ended.iterations), (15, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_lacks_a_value_lets_the_others_end_and_then_the_iteration() {
    let site = Site::plain(|_| Answer::Bytes(text("200", "", "{}"))).await;
    let say = Language::new(&["id"]);
    let mut lacking = say.get("/lacking");
    lacking.extracts = vec![say.extract("id", "$.id", OnMissing::FailIteration)];
    let flows: [&[Step]; 2] = [
        &[crate::harness::step(lacking), say.go("/never")],
        &[say.go("/a"), say.go("/b"), say.go("/c")],
    ];
    let steps = vec![Step::Parallel(vec![0, 1]), say.go("/never")];
    let scenario = scenario(iterations(1, 4), vec![task("all", 1, steps)]);
    let ended = run(say.plan(site.address, scenario, &flows)).await;
    let counts = by_path(&site);
    assert_eq!(
        (counts["/lacking"], counts["/c"], counts.get("/never")),
        (4, 4, None)
    );
    assert_eq!((ended.iterations, ended.iterations_failed), (4, 4));
}
