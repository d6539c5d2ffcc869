//! What is kept of failed exchanges: the first of each kind, bounded, without secrets.

use std::{collections::BTreeMap, io::Write as _, time::Duration};

use flate2::{Compression, write::GzEncoder};
use loadtest_core::{
    plan::{Check, Condition, HostRule, Plan, RawMode, Request, TargetAuth, ValueScope},
    series::Outcome,
    template::Position,
};
use loadtest_runner::pool::{FailureSample, Next, Pool};

use crate::{
    harness::{Run, body_contains, get, iterations, plan, scenario, step, task, with_files},
    language::{Counter, Language},
    site::{Answer, Site, text},
    target::Seen,
    tokens::{Files, authorized},
};

/// Samples that the engine of a plan hands to its exporter, by path and then in order.
async fn samples(plan: Plan) -> BTreeMap<String, Vec<FailureSample>> {
    let paths: Vec<_> = plan.series.iter().map(|key| key.name.clone()).collect();
    let mut run = Run::start(plan).await;
    let ended = run.end().await;
    assert_eq!(ended.codes, [Some(0)]);
    let pool = Pool::open(&run.pool(0)).unwrap();
    let mut lane = pool.aggregates_from(0).unwrap();
    let mut samples = BTreeMap::<_, Vec<_>>::new();
    let mut number = 0;
    loop {
        match lane.next_entry().unwrap() {
            Next::Sample(sample) => {
                assert_eq!(sample.number, number);
                number += 1;
                let path = paths[sample.series as usize].clone();
                samples.entry(path).or_default().push(*sample);
            }
            Next::Interval(_) => {}
            Next::End => return samples,
            Next::Damaged => panic!("a damaged entry"),
        }
    }
}

/// One user that does all of these, so many times.
fn doing(site: &Site, say: &Language, requests: Vec<Request>, times: u64) -> Plan {
    let steps = requests.into_iter().map(step).collect();
    let scenario = scenario(iterations(1, times), vec![task("all", 1, steps)]);
    with_files(say.plan(site.address, scenario, &[]), RawMode::None)
}

fn json(status: &str, body: impl AsRef<[u8]>) -> Answer {
    let headers = "Content-Type: application/json\r\nSet-Cookie: session=c00k1e\r\n";
    Answer::Bytes(text(status, headers, body))
}

/// The server repeats the secret in every coding, and then goes on for long.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_of_each_kind_are_kept_without_secrets() {
    let files = Files::new(&[("key", "a s\"cret\n"), ("token", "t0k3n-of-the-target\n")]);
    let say = files
        .language(&["key", "token"])
        .auth(TargetAuth::Bearer { token: 1 });
    let counter = Counter::default();
    let site = Site::plain(move |seen: &Seen| {
        let n = counter.next(seen);
        let mut body = format!(
            "{{\"n\":{n},\"head\":{},\"plain\":\"a s\"cret\"}}",
            serde_json::to_string(&seen.head).unwrap()
        );
        // A secret across the end of what is shown.
        body.push_str(&"x".repeat(1_020 - body.len()));
        body.push_str("a s\"cret and more");
        match &*seen.path {
            path if path.starts_with("/ok") => json("200", body),
            _ => json("500", body),
        }
    })
    .await;
    let mut unread = say.get("/ok?unread");
    unread.checks = vec![Check {
        index: 0,
        condition: Condition::MaxLatency(Duration::ZERO),
    }];
    let mut read = say.get("/ok?read");
    read.checks = vec![body_contains("in stock")];
    let mut judged = say.get("/ok?judged");
    judged.checks = vec![crate::language::status_is("201")];
    let failing = authorized(say.get("/fail?key=$(secret.key)&x=1"));
    let requests = vec![say.get("/ok"), unread, read, judged, failing];
    let samples = samples(doing(&site, &say, requests, 10)).await;

    let counts: Vec<_> = samples
        .iter()
        .map(|(path, samples)| (path.split('?').next_back().unwrap(), samples.len()))
        .collect();
    assert_eq!(
        counts,
        [
            ("key=$(secret.key)&x=1", 3),
            ("judged", 3),
            ("read", 3),
            ("unread", 3)
        ]
    );
    let (origin, all) = (
        format!("http://{}", site.address),
        samples.values().flatten(),
    );
    for sample in all {
        let texts = [
            &sample.url,
            &sample.message,
            &sample.content_type,
            &sample.body,
        ];
        let shown = texts.map(String::as_str).join("\n");
        for secret in ["\"cret", "%22cret", "a s", "t0k3n", "c00k1e"] {
            assert!(!shown.contains(secret), "{secret} in {shown}");
        }
        assert!(sample.body.len() <= 1_024);
    }
    let failing = samples.values().next().unwrap();
    for (n, sample) in failing.iter().enumerate() {
        assert_eq!(sample.url, format!("{origin}/fail?key=[secret.key]&x=1"));
        assert_eq!((sample.outcome, sample.status), (Outcome::Status, 500));
        assert_eq!((&*sample.message, &sample.check), ("status 500", &None));
        assert_eq!(sample.content_type, "application/json");
        assert!(
            sample.body.starts_with(&format!("{{\"n\":{n},")),
            "{}",
            sample.body
        );
        assert!(sample.body.contains("authorization: [authorization]"));
        assert!(sample.body.contains("\"plain\":\"[secret.key]\""));
        assert_eq!(sample.body_bytes, 1_037);
        assert_eq!(sample.note, "cut, the body has 1037 bytes");
        assert_eq!(sample.iteration, n as u32);
    }
    for path in ["/ok?read", "/ok?judged"] {
        let sample = &samples[path][0];
        assert_eq!((sample.outcome, sample.status), (Outcome::Check, 200));
        assert!(sample.message.contains(sample.check.as_deref().unwrap()));
        assert!(sample.body.starts_with("{\"n\":0,"), "{}", sample.body);
    }
    let unread = &samples["/ok?unread"][0];
    assert_eq!(unread.body, "");
    assert!(
        unread.note.starts_with("the body was not kept"),
        "{}",
        unread.note
    );
}

/// A value that is set from a secret is one, however often it is made into another.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_made_of_a_secret_is_hidden_and_stays_with_its_origin() {
    let files = Files::new(&[("key", "hush hushy\n")]);
    let mut say = files.language(&["key"]);
    for name in ["both", "again", "plain"] {
        say.value(name, ValueScope::Iteration);
    }
    let other = Site::plain(|_: &Seen| json("200", "{}")).await;
    let elsewhere = other.address;
    let site = Site::plain(move |seen: &Seen| match &*seen.path {
        "/moved" => Answer::Bytes(text(
            "302",
            &format!("Location: http://{elsewhere}/there\r\n"),
            "",
        )),
        path => json("500", path),
    })
    .await;
    let mut moved = say.get("/moved");
    moved.follow_redirects = 1;
    for (name, value) in [("x-made", "$(again)"), ("x-plain", "$(plain)")] {
        let value = say.template(value, Position::Header);
        moved.headers.push((name.to_owned(), value));
    }
    let steps = vec![
        say.set("plain", "seen"),
        say.set("both", "me1:$(secret.key)"),
        say.set("again", "<$(both)>"),
        say.go("/fail?a=$(base64 both)&b=$(hex again)&c=$(plain)"),
        step(moved),
    ];
    let scenario = scenario(iterations(1, 1), vec![task("all", 1, steps)]);
    let mut plan = with_files(say.plan(site.address, scenario, &[]), RawMode::None);
    plan.target.allowed_hosts = vec![HostRule {
        host: elsewhere.ip().to_string(),
        port: None,
    }];
    let samples = samples(plan).await;
    let shown = &samples.values().next().unwrap()[0];
    let query = "/fail?a=[both]&b=[again]&c=seen";
    assert_eq!(shown.url, format!("http://{}{query}", site.address));
    assert_eq!(shown.body, query);
    let there = other.seen().remove(0);
    assert_eq!(there.path, "/there");
    assert!(there.head.contains("x-plain: seen"), "{}", there.head);
    assert!(!there.head.contains("x-made"), "{}", there.head);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_is_shown_as_the_server_meant_it() {
    let site = Site::plain(|seen: &Seen| {
        let long = format!("{{\"error\":\"{}\"}}", "no stock, ".repeat(1_000));
        let mut gzip = GzEncoder::new(Vec::new(), Compression::none());
        gzip.write_all(long.as_bytes()).unwrap();
        let gzip = gzip.finish().unwrap();
        Answer::Bytes(match &*seen.path {
            "/gzip" => text("503", "Content-Encoding: gzip\r\n", gzip),
            "/chunked" => b"HTTP/1.1 500 x\r\nTransfer-Encoding: chunked\r\n\r\n\
                2\r\nno\r\n6\r\n stock\r\n0\r\n\r\n"
                .to_vec(),
            "/bytes" => text("500", "", b"a\xff\xfeb"),
            "/other" => text("500", "Content-Encoding: zstd\r\n", b"1234"),
            _ => text("404", "", ""),
        })
    })
    .await;
    let say = Language::default();
    let paths = ["/gzip", "/chunked", "/bytes", "/other", "/nothing"];
    let requests = paths.map(|path| say.get(path)).into();
    let samples = samples(doing(&site, &say, requests, 1)).await;
    let of = |path: &str| (&*samples[path][0].body, &*samples[path][0].note);
    let (body, note) = of("/gzip");
    assert!(
        body.starts_with("{\"error\":\"no stock, no stock, "),
        "{body}"
    );
    assert_eq!(body.len(), 1_024);
    assert!(note.starts_with("cut, the body has 10"), "{note}");
    assert_eq!(of("/chunked"), ("no stock", ""));
    let lossy = "not UTF-8, other bytes are shown as \u{fffd}";
    assert_eq!(of("/bytes"), ("a\u{fffd}\u{fffd}b", lossy));
    let coded = "the body is coded in a way that cannot be shown";
    assert_eq!(of("/other"), ("", coded));
    assert_eq!(of("/nothing"), ("", ""));
}

/// However many kinds of failure there are, and never where nobody would get them.
#[tokio::test(flavor = "multi_thread")]
async fn all_together_are_bounded_and_can_be_left_out() {
    let site = Site::plain(|_: &Seen| json("500", "no")).await;
    let say = Language::default();
    let requests = || (0..50).map(|n| say.get(&format!("/{n}"))).collect();
    let whole = doing(&site, &say, requests(), 5);
    let kept = samples(whole.clone()).await;
    let counts: Vec<_> = kept.values().map(Vec::len).collect();
    assert_eq!(counts.iter().sum::<usize>(), 100);
    assert!(counts.iter().all(|count| (1..=3).contains(count)));
    let mut without = whole;
    without.results.samples = false;
    assert!(samples(without).await.is_empty());
}

/// Nothing is said where there was no whole answer.
#[tokio::test(flavor = "multi_thread")]
async fn without_an_answer_the_url_is_left() {
    let address = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    let tasks = vec![task("only", 1, vec![step(get("/ok?x=1"))])];
    let plan = plan(address, vec![scenario(iterations(1, 4), tasks)]);
    let samples = samples(with_files(plan, RawMode::All)).await;
    let refused = &samples["/ok?x=1"];
    assert_eq!(refused.len(), 3);
    for sample in refused {
        assert_eq!(sample.outcome, Outcome::ConnectRefused);
        assert_eq!(sample.url, format!("http://{address}/ok?x=1"));
        assert_eq!((sample.status, sample.body_bytes), (0, 0));
        assert_eq!((&*sample.body, &*sample.note), ("", ""));
    }
}
