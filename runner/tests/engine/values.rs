//! What one answer says and the next request carries, what checks see of an answer, and which
//! trace a request belongs to.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use loadtest_core::{
    plan::{
        Check, Condition, Extract, From, HostRule, OnMissing, Pick, RawMode, Request, Scenario,
        Step, Test,
    },
    template::{Position, Template},
};
use loadtest_runner::pool::Pool;

use crate::{
    harness::{Run, errors, get, iterations, run, scenario, step, task, with_files},
    language::{Counter, Language, paths},
    site::{Answer, Site, header, ok, text},
    target::Seen,
};

fn times(users: u32, each: u64, steps: Vec<Step>) -> Scenario {
    scenario(iterations(users, each), vec![task("all", 1, steps)])
}

fn check(condition: Condition) -> Check {
    Check {
        index: 0,
        condition,
    }
}

fn equals(text: &str) -> Test {
    Test::Equals(Template::literal(text))
}

fn extract(say: &Language, value: &str, from: From, pick: Pick) -> Extract {
    Extract {
        value: say.index(value),
        from,
        pick,
        on_missing: OnMissing::FailIteration,
    }
}

fn with_header(mut request: Request, name: &str, value: Template) -> Request {
    request.headers.push((name.to_owned(), value));
    request
}

fn post(mut request: Request, body: Template) -> Request {
    "POST".clone_into(&mut request.method);
    request.body = Some(body);
    request
}

fn shop(seen: &Seen) -> Answer {
    let body = String::from_utf8_lossy(&seen.body);
    match seen.path.as_str() {
        "/login" => {
            let headers = "Location: /orders/a%20b\r\nX-Key: k\u{e9}y 1\r\n";
            let body = format!("{{\"token\":\"t/{body}?\",\"lines\":[{{\"n\":1}},{{\"n\":22}}]}}");
            Answer::Bytes(text("201", headers, body))
        }
        _ => Answer::Bytes(text("200", "", "<input name='csrf' value='c&\"s'>")),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_answer_says_is_in_the_next_request() {
    let site = Site::plain(shop).await;
    let say = Language::new(&["token", "order", "lines", "csrf"]);
    let mut login = post(
        say.get("/login"),
        say.template("u=$(user.index)$(token)", Position::Text),
    );
    login.extracts = vec![
        extract(
            &say,
            "token",
            From::JsonPath("$.token".to_owned()),
            Pick::First,
        ),
        extract(
            &say,
            "lines",
            From::JsonPath("$.lines[*].n".to_owned()),
            Pick::All,
        ),
        extract(
            &say,
            "order",
            From::Header("location".to_owned()),
            Pick::First,
        ),
    ];
    let mut form = say.get("/form?token=$(token)");
    let pattern = "name='csrf' value='([^']*)'".to_owned();
    form.extracts = vec![extract(&say, "csrf", From::Regex(pattern), Pick::First)];
    let mut body = Template::literal(r#"{"csrf":""#);
    body.push_template(say.template("$(csrf)", Position::Json));
    body.push_text(r#"","lines":"#);
    body.push_template(say.template("$(lines:raw)", Position::Json));
    body.push_text("}");
    let bearer = say.template("Bearer $(token)", Position::Header);
    let buy = with_header(post(say.get("$(order:raw)"), body), "Authorization", bearer);
    let steps = vec![step(login), step(form), step(buy)];
    let measured = run(say.plan(site.address, times(2, 2, steps), &[])).await;
    assert_eq!(
        (measured.total.requests, measured.total.failures),
        (12, 0),
        "{:?}",
        measured.errors
    );
    for user in ["0", "1"] {
        let token = format!("t/u={user}?");
        let form = format!("/form?token=t%2Fu%3D{user}%3F");
        let seen = site.seen();
        assert_eq!(seen.iter().filter(|seen| seen.path == form).count(), 2);
        let bearer = format!("Bearer {token}");
        let buys: Vec<_> = seen
            .iter()
            .filter(|seen| header(seen, "authorization") == Some(&bearer))
            .collect();
        assert_eq!(buys.len(), 2);
        for buy in buys {
            assert_eq!(buy.path, "/orders/a%20b");
            let body: serde_json::Value = serde_json::from_slice(&buy.body).unwrap();
            let expected = serde_json::json!({"csrf": "c&\"s", "lines": [1, 22]});
            assert_eq!(body, expected);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn checks_of_each_kind_are_counted() {
    let site = Site::plain(|seen| {
        let headers = "Content-Type: application/json\r\nX-Shard: 3\r\n";
        let body = match seen.path.as_str() {
            "/html" => "<html>".to_owned(),
            _ => r#"{"errors":[],"items":[{"id":"a"},{"id":"b"}]}"#.to_owned(),
        };
        Answer::Bytes(text("200", headers, body))
    })
    .await;
    let say = Language::new(&["wanted"]);
    let path = |path: &str, test: Test| {
        let path = path.to_owned();
        check(Condition::JsonPath { path, test })
    };
    let named = |name: &str, test: Test| {
        let name = name.to_owned();
        check(Condition::Header { name, test })
    };
    let mut all = say.get("/json");
    all.checks = vec![
        path(
            "$.items[*].id",
            Test::Equals(say.template("$(wanted)", Position::Text)),
        ),
        path("$.errors[0]", Test::Exists(false)),
        named("content-type", Test::Contains(Template::literal("json"))),
        named("x-shard", Test::Matches("^[0-9]+$".to_owned())),
        check(Condition::MaxLatency(Duration::from_mins(1))),
        check(Condition::BodyContains(
            say.template("\"$(wanted)\"", Position::Text),
        )),
        named("x-shard", equals("4")),
        check(Condition::MaxLatency(Duration::ZERO)),
    ];
    let mut html = say.get("/html");
    html.checks = vec![path("$.items", Test::Exists(false))];
    let mut ok = say.get("/ok");
    ok.checks = vec![path("$.items[0].id", equals("a"))];
    let steps = vec![say.set("wanted", "b"), step(all), step(html), step(ok)];
    let measured = run(say.plan(site.address, times(1, 5, steps), &[])).await;
    let held = [(5, 0); 6];
    let failed = [(0, 5), (0, 5), (0, 5)];
    let expected = [&held[..], &failed[..], &[(5, 0)]].concat();
    assert_eq!(measured.checks, expected);
    let expected = BTreeMap::from([
        (
            ("check".to_owned(), "check \"check 6\" failed".to_owned()),
            5,
        ),
        (
            (
                "check".to_owned(),
                "check \"check 8\" failed: the body is not JSON".to_owned(),
            ),
            5,
        ),
    ]);
    assert_eq!(errors(&measured), expected);
}

/// A check compares with what was known when the request was sent, not with what is taken out of
/// the very answer that it looks at.
#[tokio::test(flavor = "multi_thread")]
async fn checks_are_judged_before_values_are_taken_out() {
    let counter = Counter::default();
    let site = Site::plain(move |seen| {
        let body = format!("{{\"id\":{}}}", counter.next(seen));
        Answer::Bytes(text("200", "", &body))
    })
    .await;
    let say = Language::new(&["id"]);
    let mut next = say.get("/next");
    let known = say.template("$(id)", Position::Text);
    next.checks = vec![check(Condition::JsonPath {
        path: "$.id".to_owned(),
        test: Test::NotEquals(known),
    })];
    next.extracts = vec![say.extract("id", "$.id", OnMissing::FailIteration)];
    let steps = vec![
        say.set("id", "none"),
        step(next.clone()),
        step(next),
        say.go("/last/$(id)"),
    ];
    let measured = run(say.plan(site.address, times(1, 3, steps), &[])).await;
    assert_eq!(measured.checks, [(3, 0), (3, 0)]);
    let seen = paths(&site);
    let last: Vec<_> = seen.iter().filter(|path| path.contains("last")).collect();
    assert_eq!(last, ["/last/1", "/last/3", "/last/5"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_ends_the_iteration_and_is_named() {
    let site = Site::plain(|seen| {
        let (status, body) = match seen.path.as_str() {
            "/empty" => ("200", b"{}".to_vec()),
            "/refused" => ("503", b"later".to_vec()),
            "/huge" => ("200", vec![b' '; 11 << 20]),
            _ => ("200", b"{\"id\":7}".to_vec()),
        };
        Answer::Bytes(text(status, "", body))
    })
    .await;
    let say = Language::new(&["id"]);
    let of = |path: &str| {
        let mut request = say.get(path);
        request.checks = vec![check(Condition::Status(vec!["200".parse().unwrap()]))];
        let id = From::JsonPath("$.id".to_owned());
        request.extracts = vec![extract(&say, "id", id, Pick::First)];
        step(request)
    };
    let tasks = ["/empty", "/refused", "/huge", "/good"];
    let tasks = tasks.map(|path| task(path, 1, vec![of(path), say.go("/next/$(id)")]));
    let load = iterations(1, 8);
    let measured = run(say.plan(site.address, scenario(load, tasks.to_vec()), &[])).await;
    assert_eq!((measured.total.requests, measured.total.failures), (10, 6));
    assert_eq!((measured.iterations, measured.iterations_failed), (8, 6));
    let said = |outcome: &str, text: &str| ((outcome.to_owned(), text.to_owned()), 2);
    let too_long = "no id in the answer: the body is longer than the 10 MiB that are kept";
    let expected = BTreeMap::from([
        said("extract", "no id in the answer: $.id found nothing"),
        said("extract", too_long),
        // Why there is no id is the status, and it is said first.
        said("status", "status 503"),
    ]);
    assert_eq!(errors(&measured), expected);
    assert_eq!(
        paths(&site)
            .iter()
            .filter(|path| *path == "/next/7")
            .count(),
        2
    );
    // The checks of such answers are judged all the same.
    let held: u64 = measured.checks.iter().map(|(held, _)| held).sum();
    let failed: u64 = measured.checks.iter().map(|(_, failed)| failed).sum();
    assert_eq!((held, failed), (6, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_repeats_what_was_sent_and_keeps_secrets_at_home() {
    let other = Site::plain(ok).await;
    let away = format!("http://{}/landed", other.address);
    let site = Site::plain(move |seen| match seen.path.as_str() {
        "/same" => Answer::Bytes(text("307", "Location: /again\r\n", "")),
        "/away" => Answer::Bytes(text("307", &format!("Location: {away}\r\n"), "")),
        path if path.ends_with("/x") => Answer::Bytes(text("302", "Location: ./next\r\n", "")),
        _ => ok(seen),
    })
    .await;
    let directory = std::env::temp_dir().join(format!("loadtest-redirects-{}", std::process::id()));
    std::fs::write(&directory, "s3cret\n").unwrap();
    let say = Language::new(&["x"]).secret("key", &directory);
    let request = |path: &str| {
        let mut request = post(say.get(path), say.template("id=$(uuid)", Position::Text));
        request.follow_redirects = 1;
        let request = with_header(request, "X-Once", say.template("$(uuid)", Position::Header));
        let secret = say.template("key $(secret.key)", Position::Header);
        with_header(request, "X-Api-Key", secret)
    };
    let mut random = say.get("/dir/$(randomString 8)/x");
    random.follow_redirects = 1;
    let steps = vec![step(request("/same")), step(request("/away")), step(random)];
    let mut plan = say.plan(site.address, times(1, 1, steps), &[]);
    plan.target.allowed_hosts = vec![HostRule {
        host: other.origin().host,
        port: Some(other.address.port()),
    }];
    let measured = run(plan).await;
    std::fs::remove_file(&directory).unwrap();
    assert_eq!(
        (measured.total.requests, measured.total.failures),
        (6, 0),
        "{:?}",
        measured.errors
    );
    let seen = site.seen();
    let targets: Vec<_> = seen.iter().map(|seen| seen.path.as_str()).collect();
    assert_eq!(
        (targets[0], targets[1], targets[2]),
        ("/same", "/again", "/away")
    );
    // Relative to what was sent, not to what would be sent if it were rendered again.
    let directory = targets[3].strip_suffix("/x").unwrap();
    assert!(directory.len() == "/dir/".len() + 8, "{directory}");
    assert_eq!(targets[4], format!("{directory}/next"));
    let once = |seen: &Seen| {
        let header = header(seen, "x-once").unwrap().to_owned();
        (header, String::from_utf8(seen.body.clone()).unwrap())
    };
    assert_eq!(once(&seen[0]), once(&seen[1]));
    assert_eq!(once(&seen[2]), once(&other.seen()[0]));
    assert_ne!(once(&seen[0]), once(&seen[2]));
    assert!(
        seen[..3]
            .iter()
            .all(|seen| header(seen, "x-api-key") == Some("key s3cret"))
    );
    assert_eq!(header(&other.seen()[0], "x-api-key"), None);
    let traces: BTreeSet<_> = seen
        .iter()
        .map(|seen| header(seen, "traceparent"))
        .collect();
    assert_eq!(traces.len(), seen.len(), "each hop is a span of its own");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_iteration_is_one_trace_and_its_requests_are_numbered() {
    let site = Site::plain(ok).await;
    let own = with_header(get("/own"), "Traceparent", Template::literal("mine"));
    let steps = vec![step(get("/a")), step(get("/b")), step(get("/a")), step(own)];
    let mut plan = Language::default().plan(site.address, times(2, 3, steps), &[]);
    plan.target.traces_per_million = 1_000_000;
    let mut running = Run::start(with_files(plan, RawMode::All)).await;
    let ended = running.end().await;
    assert_eq!(ended.merged.total.failures, 0);
    let seen = site.seen();
    let mut traces: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for seen in seen.iter().filter(|seen| seen.path != "/own") {
        let parent = header(seen, "traceparent").unwrap();
        let parts: Vec<_> = parent.split('-').collect();
        let [version, trace, span, flag] = parts.as_slice() else {
            panic!("{parent}")
        };
        assert_eq!(
            (*version, trace.len(), span.len(), *flag),
            ("00", 32, 16, "01")
        );
        traces
            .entry((*trace).to_owned())
            .or_default()
            .insert((*span).to_owned());
    }
    assert_eq!(traces.len(), 6, "one for each iteration of each user");
    assert!(traces.values().all(|spans| spans.len() == 3));
    let own = seen.iter().filter(|seen| seen.path == "/own");
    assert!(
        own.clone()
            .all(|seen| header(seen, "traceparent") == Some("mine"))
    );
    assert_eq!(own.count(), 6);

    let pool = Pool::open(&running.pool(0)).unwrap();
    let mut numbers: BTreeMap<(u32, u32), Vec<(u32, u32)>> = BTreeMap::new();
    for id in pool
        .full_blocks()
        .into_iter()
        .chain(pool.unfinished_blocks())
    {
        for (_, record) in pool.read(id).records() {
            let of = numbers.entry((record.user, record.iteration)).or_default();
            of.push((record.step, record.sequence));
        }
    }
    assert_eq!(numbers.len(), 6);
    for of in numbers.values() {
        assert_eq!(*of, [(0, 0), (1, 1), (2, 2), (3, 3)]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_that_cannot_be_made_fails_its_request_and_is_named() {
    let site = Site::plain(ok).await;
    let say = Language::new(&["claims"]);
    let token = say.template("$(jwt HS256 key claims)", Position::Header);
    let signed = with_header(say.get("/signed"), "Authorization", token);
    let steps = vec![
        step(signed.clone()),
        say.set("claims", "{\"sub\":\"$(user.index)\"}"),
        step(signed.clone()),
    ];
    // Users that can send nothing at all rest, too: the run ends in time.
    let idle = scenario(
        crate::harness::users(2, Duration::from_secs(1)),
        vec![task("idle", 1, vec![step(signed.clone())])],
    );
    let idle = run(say.plan(site.address, idle, &[])).await;
    assert!(
        (2..=24).contains(&idle.total.failures),
        "{}",
        idle.total.failures
    );
    assert_eq!(idle.total.requests, idle.total.failures);
    let measured = run(say.plan(site.address, times(1, 3, steps), &[])).await;
    assert_eq!((measured.total.requests, measured.total.failures), (6, 3));
    let expected = (
        "extract".to_owned(),
        "$(jwt): the claims are no JSON object".to_owned(),
    );
    assert_eq!(errors(&measured), BTreeMap::from([(expected, 3)]));
    assert_eq!(site.count(), 3);
    assert!(site.seen().iter().all(|seen| {
        header(seen, "authorization").is_some_and(|token| token.split('.').count() == 3)
    }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_cannot_be_set_ends_its_own_iteration() {
    let site = Site::plain(ok).await;
    let say = Language::new(&["claims", "token", "fine"]);
    let unmade = "$(jwt HS256 key claims)";
    let steps = vec![say.set("token", unmade), say.go("/never")];
    let measured = run(say.plan(site.address, times(1, 3, steps), &[])).await;
    assert_eq!((measured.iterations, measured.iterations_failed), (3, 3));
    assert_eq!((measured.total.requests, errors(&measured).len()), (0, 0));

    // What the text of a check complained about is not the next step's.
    let mut checked = say.get("/checked");
    checked.checks = vec![check(Condition::JsonPath {
        path: "$.id".to_owned(),
        test: Test::Equals(say.template(unmade, Position::Text)),
    })];
    let steps = vec![
        step(checked),
        say.set("fine", "yes"),
        say.go("/after/$(fine)"),
    ];
    run(say.plan(site.address, times(1, 1, steps), &[])).await;
    assert_eq!(paths(&site), ["/checked", "/after/yes"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_never_be_made_is_refused_before_the_start() {
    let site = Site::plain(ok).await;
    let say = Language::new(&["id"]);
    let pattern = |pattern: &str| {
        let mut request = say.get("/");
        let regex = From::Regex(pattern.to_owned());
        request.extracts = vec![extract(&say, "id", regex, Pick::First)];
        request
    };
    let mut path = say.get("/");
    path.checks = vec![check(Condition::JsonPath {
        path: "$.items[".to_owned(),
        test: Test::Exists(true),
    })];
    let missing = Language::new(&["id"]).secret("key", "/nowhere/key".as_ref());
    for (say, request, expected) in [
        (
            &say,
            pattern("(a"),
            "request \"/\": the pattern \"(a\" cannot be used: unclosed group",
        ),
        (
            &say,
            pattern(r"(\w{900}){900}"),
            "request \"/\": the pattern \"(\\\\w{900}){900}\" cannot be used: it is too large once compiled",
        ),
        (
            &say,
            path,
            "request \"/\": \"$.items[\" is no JSON path (RFC 9535): ",
        ),
        (
            &missing,
            say.get("/"),
            "secret \"key\": cannot use /nowhere/key: No such file",
        ),
    ] {
        let plan = say.plan(site.address, times(1, 1, vec![step(request)]), &[]);
        let mut run = Run::start(plan).await;
        let ended = run.end().await;
        assert_eq!(ended.codes, [Some(1)]);
        let failure = run
            .server
            .reports()
            .last()
            .and_then(|report| report.failure.clone());
        let failure = failure.unwrap();
        assert!(failure.starts_with(expected), "{failure}");
    }
    assert_eq!(site.count(), 0);
}
