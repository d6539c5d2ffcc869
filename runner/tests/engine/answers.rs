//! What an answer asks of its user: cookies to keep, redirects to follow, a body to decode.

use std::{collections::BTreeMap, io::Write};

use flate2::{Compression, write};
use loadtest_core::{
    plan::{Cookies, HostRule, Plan, Request, Scenario},
    template::{Names, Position, Template},
};

use crate::{
    harness::{self, body_contains, errors, get, plan, run, scenario, step, task},
    site::{Answer, Site, header, ok, text},
    target::Seen,
};

/// Each user does the steps so often; no times are involved.
fn times(users: u32, iterations: u64, steps: Vec<Request>) -> Scenario {
    let load = harness::iterations(users, iterations);
    let steps = steps.into_iter().map(step).collect();
    scenario(load, vec![task("only", 1, steps)])
}

fn follow(mut request: Request, most: u8) -> Request {
    request.follow_redirects = most;
    request
}

fn template_of(text: &str) -> Template {
    Template::parse(text, Position::Text, &Names::default()).unwrap()
}

fn with_header(mut request: Request, name: &str, value: &str) -> Request {
    request.headers.push((name.to_owned(), template_of(value)));
    request
}

fn login(seen: &Seen) -> Answer {
    let path = seen.path.as_str();
    match path.strip_prefix("/login?user=") {
        Some(user) => {
            let cookies = format!(
                "Set-Cookie: session=s{user}; HttpOnly; Path=/\r\nset-cookie: old=1; Max-Age=0\r\nSet-Cookie: deep=1; path=/deep\r\nSet-Cookie: other=1; Domain=elsewhere\r\n"
            );
            Answer::Bytes(text("200", &cookies, "in"))
        }
        None => ok(seen),
    }
}

/// Cookies of all requests to a path, counted.
fn cookies(site: &Site, path: &str) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for seen in site.seen().iter().filter(|seen| seen.path == path) {
        let cookie = header(seen, "cookie").unwrap_or("none").to_owned();
        *counts.entry(cookie).or_insert(0) += 1;
    }
    counts
}

fn counted(counts: &[(&str, u64)]) -> BTreeMap<String, u64> {
    let owned = counts.iter().map(|(name, n)| ((*name).to_owned(), *n));
    owned.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn cookies_are_kept_as_long_as_is_asked_for() {
    let steps = || {
        let mut post = with_header(get("/deep/inside"), "Content-Type", "text/plain");
        post.method = "POST".to_owned();
        post.body = Some(Template::literal("a body\r\n\r\n"));
        let own = with_header(get("/own"), "cookie", "mine=1");
        vec![get("/before"), get("/login?user=$(user.index)"), post, own]
    };
    let scopes = [Cookies::Iteration, Cookies::User, Cookies::Off];
    let sites = [
        Site::plain(login).await,
        Site::plain(login).await,
        Site::plain(login).await,
    ];
    let runs = sites.iter().zip(scopes).map(|(site, scope)| {
        let mut scenario = times(2, 3, steps());
        scenario.cookies = scope;
        tokio::spawn(run(plan(site.address, vec![scenario])))
    });
    for measured in runs.collect::<Vec<_>>() {
        let measured = measured.await.unwrap();
        assert_eq!((measured.total.requests, measured.total.failures), (24, 0));
    }
    let [iteration, user, off] = &sites;
    assert_eq!(cookies(iteration, "/before"), counted(&[("none", 6)]));
    let kept = [("none", 2), ("session=s0", 2), ("session=s1", 2)];
    assert_eq!(cookies(user, "/before"), counted(&kept));
    let inside = [("deep=1; session=s0", 3), ("deep=1; session=s1", 3)];
    for site in [iteration, user] {
        assert_eq!(cookies(site, "/deep/inside"), counted(&inside));
    }
    assert_eq!(cookies(off, "/deep/inside"), counted(&[("none", 6)]));
    for site in &sites {
        assert_eq!(cookies(site, "/own"), counted(&[("mine=1", 6)]));
        let bodies = site.seen();
        let posts = bodies.iter().filter(|seen| seen.method == "POST");
        assert!(posts.clone().all(|seen| seen.body == b"a body\r\n\r\n"));
        assert_eq!(posts.count(), 6);
    }
}

fn to(status: &str, location: &str) -> Answer {
    Answer::Bytes(text(status, &format!("Location: {location}\r\n"), "moved"))
}

fn redirecting(elsewhere: &str) -> impl Fn(&Seen) -> Answer + Send + Sync + use<> {
    let elsewhere = elsewhere.to_owned();
    move |seen| {
        let (path, query) = seen.path.split_once('?').unwrap_or((&seen.path, ""));
        match path {
            "/a/chain" => to("302", "../b?x=1"),
            "/b" => to("307", &format!("/c?{query}&y=2")),
            "/loop" => to("308", "/loop"),
            "/post" => to(query, "/landed"),
            "/away" => to("301", &format!("{elsewhere}/landed")),
            "/forbidden" => to("302", "https://evil.example/x"),
            "/nowhere" => Answer::Bytes(text("302", "", "")),
            "/odd" => to("303", "gopher://x"),
            "/login" => {
                let headers = "Location: /landed\r\nSet-Cookie: s=1\r\n";
                Answer::Bytes(text("303", headers, ""))
            }
            _ => ok(seen),
        }
    }
}

fn allowing(site: &Site, other: &Site, scenario: Scenario) -> Plan {
    let mut plan = plan(site.address, vec![scenario]);
    plan.target.allowed_hosts = vec![HostRule {
        host: other.origin().host,
        port: Some(other.address.port()),
    }];
    plan
}

fn seen_lines(site: &Site) -> Vec<String> {
    let seen = site.seen();
    let lines = seen.iter().map(|seen| {
        let body = String::from_utf8_lossy(&seen.body);
        let extra: Vec<_> = ["authorization", "content-type", "cookie"]
            .into_iter()
            .filter_map(|name| header(seen, name).map(|value| format!(" {name}={value}")))
            .collect();
        format!("{} {}{} {body}", seen.method, seen.path, extra.concat())
    });
    lines.map(|line| line.trim_end().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn redirects_are_followed_as_requests_of_their_own() {
    let other = Site::plain(ok).await;
    let away = format!("http://{}", other.address);
    let site = Site::plain(redirecting(&away)).await;
    let post = |status: &str| {
        let mut post = with_header(
            get(&format!("/post?{status}")),
            "content-type",
            "text/plain",
        );
        post.method = "POST".to_owned();
        post.body = Some(template_of("u=$(user.index)"));
        follow(post, 1)
    };
    let mut checked = follow(get("/a/chain"), 5);
    checked.checks = vec![body_contains("hello")];
    checked.success = vec!["200".parse().unwrap()];
    let steps = vec![
        checked,
        post("302"),
        post("307"),
        follow(with_header(get("/away"), "Authorization", "secret"), 1),
        follow(with_header(get("/login"), "authorization", "secret"), 1),
        get("/away"),
    ];
    let measured = run(allowing(&site, &other, times(1, 1, steps))).await;
    assert_eq!(
        (measured.total.requests, measured.total.failures),
        (12, 0),
        "{:?}",
        measured.errors
    );
    assert_eq!(measured.checks, [(1, 0)]);
    assert_eq!(measured.total.status_classes, [0, 5, 7, 0, 0]);
    // Hops are counted under the name of the request that led there.
    let by_name: Vec<_> = measured.by_name.iter().map(|s| s.requests).collect();
    assert_eq!(by_name, [3, 2, 2, 3, 2]);
    assert_eq!(
        seen_lines(&site),
        [
            "GET /a/chain",
            "GET /b?x=1",
            "GET /c?x=1&y=2",
            "POST /post?302 content-type=text/plain u=0",
            "GET /landed",
            "POST /post?307 content-type=text/plain u=0",
            "POST /landed content-type=text/plain u=0",
            "GET /away authorization=secret",
            "GET /login authorization=secret",
            "GET /landed authorization=secret cookie=s=1",
            "GET /away cookie=s=1",
        ]
    );
    assert_eq!(seen_lines(&other), ["GET /landed"]);
    assert_eq!((site.connections(), other.connections()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn redirects_that_cannot_be_followed_say_why() {
    let other = Site::plain(ok).await;
    let site = Site::plain(redirecting("http://x")).await;
    let steps = vec![
        follow(get("/loop"), 3),
        follow(get("/forbidden"), 1),
        follow(get("/nowhere"), 1),
        follow(get("/odd"), 1),
    ];
    let measured = run(allowing(&site, &other, times(2, 5, steps))).await;
    assert_eq!((measured.total.requests, measured.total.failures), (70, 40));
    assert_eq!(site.count(), 70);
    let redirect = |text: &str| (("redirect".to_owned(), text.to_owned()), 10);
    let expected = BTreeMap::from([
        redirect("status 308 after 3 redirects, more than followRedirects allows"),
        redirect(
            "leads to https://evil.example, which is neither the target nor in target.allowedHosts",
        ),
        redirect("status 302 has no location"),
        redirect("status 303 has the location \"gopher://x\", which is no http url"),
    ]);
    assert_eq!(errors(&measured), expected);
    // There was an answer, and its status counts.
    assert_eq!(measured.total.status_classes, [0, 0, 70, 0, 0]);
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = write::GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn coded(seen: &Seen) -> Answer {
    let answer = |coding: &str, body: &[u8]| {
        let headers = format!("Content-Encoding: {coding}\r\n");
        Answer::Bytes(text("200", &headers, body))
    };
    match seen.path.as_str() {
        "/gzip" => answer("gzip", &gzip(b"it is in stock")),
        "/br" => answer("br", b"\x0b\x02\x80hello\x03"),
        "/broken" => answer("gzip", b"it is in stock"),
        "/bomb" => answer("gzip", &gzip(&vec![b' '; 11 << 20])),
        "/other" => answer("zstd", b"..."),
        _ => ok(seen),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_are_decoded_when_a_check_reads_them_and_not_else() {
    let site = Site::plain(coded).await;
    let check = |path: &str, text: &str| {
        let mut request = get(path);
        request.checks = vec![body_contains(text)];
        request
    };
    let steps = vec![
        check("/gzip", "in stock"),
        check("/br", "hello"),
        check("/broken", "in stock"),
        get("/broken"),
        check("/bomb", " "),
        check("/other", "."),
        check("/plain", "hello"),
    ];
    let measured = run(plan(site.address, vec![times(1, 4, steps)])).await;
    assert_eq!((measured.total.requests, measured.total.failures), (28, 12));
    let expected = BTreeMap::from([
        (
            (
                "body",
                "the body is not the gzip that its content-encoding says",
            ),
            4,
        ),
        (
            (
                "body",
                "the body has a content-encoding other than gzip, deflate and br, so checks cannot read it",
            ),
            4,
        ),
        (
            (
                "check",
                "check \"check 3\" failed: the body is longer than the 10 MiB that are kept",
            ),
            4,
        ),
    ]);
    let found = errors(&measured);
    let found: BTreeMap<_, _> = found
        .iter()
        .map(|((outcome, text), count)| ((outcome.as_str(), text.as_str()), *count))
        .collect();
    assert_eq!(found, expected);
    assert_eq!(measured.total.status_classes, [0, 28, 0, 0, 0]);
    // The broken ones kept their connection: the answers were whole.
    assert_eq!(site.connections(), 1);
}
