//! Steps, flows, groups and what ends an iteration: counted at the target, to the last one.

use std::time::Duration;

use loadtest_core::plan::{Loop, OnMissing, Step, ValueScope, When};
use loadtest_runner::{
    engine::{Seen, rehearse},
    step_kind::StepKinds,
};

use crate::{
    harness::{errors, iterations, pause, rate, run, run_to_end, scenario, task, users},
    language::{Counter, Language, by_path, group, paths, repeat, status_is, told, until, when},
    site::{Answer, Site, header, ok, text},
};

fn one(steps: Vec<Step>) -> loadtest_core::plan::Scenario {
    scenario(iterations(1, 1), vec![task("all", 1, steps)])
}

#[tokio::test(flavor = "multi_thread")]
async fn flows_are_done_where_they_are_called_and_as_often_as_is_said() {
    // Pages 1 to 3, each with the number of the next one.
    let site = Site::plain(|seen| {
        let page = seen
            .path
            .strip_prefix("/page/")
            .and_then(|p| p.parse::<u32>().ok());
        let next = page.map_or(0, |page| if page < 3 { page + 1 } else { 0 });
        Answer::Bytes(text("200", "", format!("{{\"next\":{next}}}")))
    })
    .await;
    let say = Language::new(&["list", "item", "page"]);
    let mut page = say.get("/page/$(page)");
    page.extracts = vec![say.extract("page", "$.next", OnMissing::FailIteration)];
    let flows: [&[Step]; 4] = [
        &[say.go("/a"), Step::Call(1)],
        &[say.go("/b")],
        &[say.go("/item/$(item)")],
        &[crate::harness::step(page)],
    ];
    let steps = vec![
        say.set("list", "[\"x\",7,\"z w\"]"),
        Step::Call(0),
        repeat(1, Loop::Times(3), 2),
        say.for_each("item", "list", 2, 100),
        say.for_each("item", "list", 2, 1),
        say.set("page", "1"),
        repeat(3, Loop::While(say.is_not("page", "0")), 100),
        say.set("page", "1"),
        repeat(3, Loop::While(say.is_not("page", "0")), 2),
        repeat(1, Loop::Times(0), 2),
        say.for_each("item", "page", 2, 9),
    ];
    let ended = run(say.plan(site.address, one(steps), &flows)).await;
    assert_eq!(
        paths(&site),
        [
            "/a",
            "/b",
            "/b",
            "/b",
            "/item/x",
            "/item/7",
            "/item/z%20w",
            "/item/x",
            "/page/1",
            "/page/2",
            "/page/3",
            "/page/1",
            "/page/2"
        ]
    );
    assert_eq!((ended.total.requests, ended.total.failures), (13, 0));
    assert_eq!((ended.iterations, ended.iterations_failed), (1, 0));
}

/// What `loadtest try` says of a loop over so many items, of which two are done.
fn notes_of_items(items: &str) -> Vec<String> {
    let say = Language::new(&["list", "item", "seen"]);
    let steps = vec![say.set("list", items), repeat(1, Loop::Times(2), 2)];
    let nowhere = ([127, 0, 0, 1], 9).into();
    let plan = say.plan(
        nowhere,
        one(steps),
        &[
            &[say.set("seen", "$(item)")],
            &[say.for_each("item", "list", 0, 2)],
        ],
    );
    let scenario = &plan.scenarios[0];
    let (sender, seen) = std::sync::mpsc::channel();
    let look = move |seen| sender.send(seen).unwrap();
    let chosen = (scenario, &scenario.tasks[0]);
    assert!(rehearse(&plan, chosen, &StepKinds::default(), look).unwrap());
    let told = seen.into_iter().filter_map(|seen| match seen {
        Seen::Begins(text) => Some(text),
        _ => None,
    });
    told.collect()
}

#[test]
fn a_loop_that_is_cut_off_at_its_max_says_so() {
    assert_eq!(notes_of_items("[1,2]"), ["main, all"]);
    let note = "repeat of flow \"flow 0\" was cut off at its max of 2: raise `max`";
    assert_eq!(notes_of_items("[1,2,3]"), ["main, all", note]);
}

/// However loops are nested, and whatever they wait for.
#[tokio::test(flavor = "multi_thread")]
async fn nested_loops_that_send_nothing_end_with_the_run() {
    let site = Site::plain(ok).await;
    let say = Language::new(&["x"]);
    let flows: Vec<Vec<Step>> = (1..6)
        .map(|inner| vec![repeat(inner, Loop::Times(50), 50)])
        .chain([vec![say.set("x", "1")]])
        .collect();
    let flows: Vec<&[Step]> = flows.iter().map(Vec::as_slice).collect();
    let mut plan = say.plan(site.address, one(vec![Step::Call(0)]), &flows);
    plan.max_duration = Duration::from_secs(1);
    let ended = tokio::time::timeout(Duration::from_secs(15), run(plan)).await;
    assert_eq!(ended.unwrap().iterations, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn conditions_look_at_answers_and_values_and_shares_are_drawn_by_seed() {
    let site = Site::plain(|seen| {
        let status = if seen.path == "/gone" { "404" } else { "200" };
        Answer::Bytes(text(status, "", "x"))
    })
    .await;
    let say = Language::new(&["colour"]);
    let is_404 = say.is("response.status", "404");
    let steps = vec![
        say.go("/gone"),
        when(is_404.clone(), say.go("/was-gone")),
        when(is_404, say.go("/never")),
        say.set("colour", "red"),
        when(say.is("colour", "red"), Step::Call(0)),
        when(say.is_not("colour", "red"), Step::Call(0)),
        when(When::Probability(0.25), say.go("/some")),
        when(When::Probability(0.0), say.go("/never")),
        when(When::Probability(1.0), say.go("/always")),
    ];
    let shared = scenario(iterations(2, 200), vec![task("all", 1, steps)]);
    let mut some = Vec::new();
    for seed in [1, 1, 2] {
        let before = by_path(&site);
        let mut plan = say.plan(site.address, shared.clone(), &[&[say.go("/red")]]);
        plan.run.seed = seed;
        run(plan).await;
        let after = by_path(&site);
        let count = |path: &str| {
            let of = |counts: &std::collections::BTreeMap<String, u64>| {
                counts.get(path).copied().unwrap_or(0)
            };
            of(&after) - of(&before)
        };
        for path in ["/gone", "/was-gone", "/red", "/always"] {
            assert_eq!(count(path), 400, "{path}");
        }
        assert_eq!(count("/never"), 0);
        some.push(count("/some"));
    }
    // 100 ± 5 standard deviations of 8.7.
    assert!(
        some.iter().all(|count| (57..=143).contains(count)),
        "{some:?}"
    );
    assert_eq!(some[0], some[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_tried_until_its_check_holds_or_its_time_is_over() {
    let counter = Counter::default();
    let site = Site::plain(move |seen| {
        let tried = counter.next(seen);
        let status = if seen.path == "/job" && tried >= 2 {
            "200"
        } else {
            "202"
        };
        Answer::Bytes(text(status, "", format!("{{\"result\":{tried}}}")))
    })
    .await;
    let say = Language::new(&["result"]);
    let mut job = say.get("/job");
    job.checks = vec![status_is("200-299"), status_is("200")];
    job.extracts = vec![say.extract("result", "$.result", OnMissing::FailIteration)];
    let mut never = say.get("/never");
    never.checks = vec![status_is("200")];
    never.extracts = vec![say.extract("result", "$.nothing", OnMissing::FailIteration)];
    let steps = vec![
        until(job, 30, 5_000, 0),
        say.go("/result/$(result)"),
        until(never, 500, 1_400, 1),
        say.go("/after"),
    ];
    let ended = run(say.plan(site.address, one(steps), &[])).await;
    let counts = by_path(&site);
    assert_eq!(counts["/job"], 3);
    assert_eq!((counts["/result/2"], counts["/after"]), (1, 1));
    // At 0, 500 and 1,000 ms and a little; never after 1,400 ms.
    assert_eq!(counts["/never"], 3);
    assert_eq!((ended.total.requests, ended.total.failures), (8, 0));
    assert_eq!(ended.checks, [(3, 0), (1, 0), (0, 1)]);
    let (count, failures, longest) = told(&ended, 0);
    assert_eq!((count, failures), (1, 0));
    assert!((60..=5_000).contains(&longest), "{longest}");
    let (count, failures, longest) = told(&ended, 1);
    assert_eq!((count, failures), (1, 1));
    assert!((1_000..=5_000).contains(&longest), "{longest}");
    assert_eq!((ended.iterations, ended.iterations_failed), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_value_ends_the_iteration_and_a_failed_request_does_not() {
    let site = Site::plain(|seen| match seen.path.as_str() {
        "/bad" => Answer::Bytes(text("500", "", "{}")),
        "/html" => Answer::Bytes(text("200", "", "<p>")),
        _ => Answer::Bytes(text("200", "", "{\"id\":\"a b\"}")),
    })
    .await;
    let mut say = Language::new(&["id"]);
    say.value("kept", ValueScope::User);
    let extract = |path: &str, value: &str, at: &str, on_missing| {
        let mut request = say.get(path);
        request.extracts = vec![say.extract(value, at, on_missing)];
        crate::harness::step(request)
    };
    let steps = vec![
        say.go("/seen/$(id)-$(kept)"),
        say.go("/bad"),
        extract("/one", "id", "$.id", OnMissing::FailIteration),
        extract("/two", "kept", "$.id", OnMissing::FailIteration),
        extract("/html", "id", "$.id", OnMissing::Continue),
        say.go("/id/$(id)"),
        group(0, 0),
        say.go("/never"),
    ];
    let flow = [
        say.go("/inside"),
        extract("/three", "id", "$.missing", OnMissing::FailIteration),
        say.go("/never"),
    ];
    let mut plan = say.plan(
        site.address,
        scenario(iterations(1, 2), vec![task("all", 1, steps)]),
        &[&flow],
    );
    // Only the failed request is to be known by its name.
    plan.checks.clear();
    let ended = run(plan).await;
    let once = [
        "/seen/-",
        "/bad",
        "/one",
        "/two",
        "/html",
        "/id/a%20b",
        "/inside",
        "/three",
    ];
    let again = once.map(|path| {
        if path == "/seen/-" {
            "/seen/-a%20b"
        } else {
            path
        }
    });
    assert_eq!(paths(&site), [once, again].concat());
    assert_eq!((ended.iterations, ended.iterations_failed), (2, 2));
    let told_errors = errors(&ended);
    assert_eq!(
        told_errors[&("status".to_owned(), "status 500".to_owned())],
        2
    );
    let missing = (
        "extract".to_owned(),
        "no id in the answer: $.missing found nothing".to_owned(),
    );
    assert_eq!(told_errors[&missing], 2, "{told_errors:?}");
    assert_eq!(told_errors.len(), 2);
    let (count, failures, _) = told(&ended, 0);
    assert_eq!((count, failures), (2, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_lasts_from_its_first_step_to_the_end_of_its_last() {
    let site = Site::plain(|seen| {
        let status = if seen.path.ends_with("/3") {
            "500"
        } else {
            "200"
        };
        Answer::Bytes(text(status, "", "x"))
    })
    .await;
    let say = Language::new(&[]);
    let steps = vec![
        say.go("/before"),
        group(0, 0),
        say.go("/after/$(user.iteration)"),
    ];
    let outer = [Step::Pause(pause(40, 40)), group(1, 1), say.go("/end")];
    let inner = [say.go("/x/$(user.iteration)"), Step::Pause(pause(30, 30))];
    let scenario = scenario(iterations(1, 5), vec![task("all", 1, steps)]);
    let mut plan = say.plan(site.address, scenario, &[&outer, &inner]);
    let ended = run(plan.clone()).await;
    let (count, failures, outer) = told(&ended, 0);
    // The fourth iteration: one failed request inside of both, and one after them.
    assert_eq!((count, failures), (5, 1));
    let (count, failures, inner) = told(&ended, 1);
    assert_eq!((count, failures), (5, 1));
    assert!(ended.groups[0].duration.min() >= 70_000 && ended.groups[1].duration.min() >= 30_000);
    assert!(outer < 5_000 && inner < outer, "{inner} {outer}");
    assert_eq!(ended.total.failures, 2);
    // Of the warm-up nothing is told.
    plan.warm_up = Duration::from_secs(30);
    let ended = run(plan).await;
    assert_eq!(
        (
            ended.groups.iter().map(|g| g.count).sum::<u64>(),
            ended.iterations
        ),
        (0, 0)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn passes_that_the_end_of_the_run_cuts_off_are_not_told() {
    let site = Site::plain(ok).await;
    let say = Language::new(&[]);
    let mut scenario = scenario(
        users(2, Duration::from_millis(300)),
        vec![task("all", 1, vec![group(0, 0)])],
    );
    scenario.graceful_stop = Duration::ZERO;
    let flow = [
        say.go("/x"),
        Step::Pause(pause(20_000, 20_000)),
        say.go("/never"),
    ];
    let ended = run(say.plan(site.address, scenario, &[&flow])).await;
    assert_eq!(by_path(&site)["/x"], 2);
    assert_eq!(ended.groups.iter().map(|g| g.count).sum::<u64>(), 0);
    assert_eq!((ended.iterations, ended.iterations_failed), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn users_do_once_what_comes_first_and_what_comes_last() {
    let site = Site::plain(|seen| match seen.path.as_str() {
        "/login" => Answer::Bytes(text("200", "", "{\"token\":\"t\"}")),
        _ => ok(seen),
    })
    .await;
    let mut say = Language::default();
    say.value("token", ValueScope::User);
    let mut login = say.get("/login");
    login.extracts = vec![say.extract("token", "$.token", OnMissing::FailIteration)];
    let start = [crate::harness::step(login)];
    let stop = [say.go("/logout/$(token)")];
    let work = task("all", 1, vec![say.go("/work/$(token)")]);
    let loads = [
        (iterations(3, 4), 3, 12),
        (rate("20/s", Duration::from_secs(1), 1), 1, 20),
    ];
    for (load, people, work_done) in loads {
        let before = site.count();
        let mut scenario = scenario(load, vec![work.clone()]);
        scenario.flows.on_start = Some(0);
        scenario.flows.on_stop = Some(1);
        let ended = run(say.plan(site.address, scenario, &[&start, &stop])).await;
        let seen: Vec<_> = paths(&site).split_off(before as usize);
        let count = |path: &str| seen.iter().filter(|seen| *seen == path).count() as u64;
        assert_eq!((count("/login"), count("/logout/t")), (people, people));
        assert_eq!((count("/work/t"), ended.iterations), (work_done, work_done));
        assert_eq!(ended.total.requests, work_done + 2 * people);
        assert_eq!(seen.first().map(String::as_str), Some("/login"));
        assert_eq!(seen.last().map(String::as_str), Some("/logout/t"));
    }
}

/// Neither a step that never waits nor a loop of such steps keeps a worker from anything else.
#[tokio::test(flavor = "multi_thread")]
async fn steps_that_take_no_time_do_not_stop_the_world() {
    let site = Site::plain(ok).await;
    let say = Language::new(&["x"]);
    let nothing = vec![
        say.set("x", "1"),
        when(When::Probability(0.0), say.go("/never")),
        repeat(0, Loop::Times(1_000_000), 300),
    ];
    let scenario = scenario(
        users(3, Duration::from_millis(300)),
        vec![task("all", 1, nothing)],
    );
    let ended = run(say.plan(site.address, scenario, &[&[say.set("x", "2")]])).await;
    assert_eq!(ended.total.requests, 0);
    assert!(ended.iterations > 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn flows_in_a_circle_are_refused() {
    let site = Site::plain(ok).await;
    let say = Language::new(&[]);
    let flows: [&[Step]; 3] = [
        &[say.go("/x"), Step::Call(1)],
        &[when(When::Probability(0.5), Step::Parallel(vec![2, 2]))],
        &[repeat(1, Loop::Times(1), 1)],
    ];
    let plan = say.plan(site.address, one(vec![Step::Call(0)]), &flows);
    let mut run = crate::harness::Run::start(plan).await;
    let ended = run.end().await;
    assert_eq!(ended.codes, [Some(1)]);
    let message = format!("{:?}", ended.view);
    assert!(
        message.contains("in a circle: flow 1 → flow 2 → flow 1"),
        "{message}"
    );
    assert_eq!(site.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_of_an_open_load_is_due_with_its_arrival() {
    let site = Site::plain(ok).await;
    let say = Language::new(&[]);
    let flow = [say.go("/x"), Step::Pause(pause(200, 200))];
    // Each arrival but the first waits for the only user.
    let scenario = scenario(
        rate("10/s", Duration::from_millis(500), 1),
        vec![task("all", 1, vec![group(0, 0)])],
    );
    let ended = run_to_end(say.plan(site.address, scenario, &[&flow]))
        .await
        .merged;
    let (count, failures, longest) = told(&ended, 0);
    assert_eq!((count, failures), (5, 0));
    assert!(
        longest >= 580,
        "{longest}: the fifth was due at 400 ms and ended at a second"
    );
    assert!(
        site.seen()
            .iter()
            .all(|seen| header(seen, "host").is_some())
    );
}
