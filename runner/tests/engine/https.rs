//! Targets over TLS: who is trusted, what fails under which name, what a handshake costs.

use std::{collections::BTreeMap, fs, path::PathBuf, time::Duration};

use loadtest_core::{
    plan::{
        ClientCertificate, Connections, Origin, Plan, RawMode, Scenario, Scheme, Step, TargetTls,
    },
    series::SeriesSet,
    template::Template,
};
use loadtest_runner::pool::Pool;
use rcgen::{BasicConstraints, IsCa};
use rustls::version::{TLS12, TLS13};
use tokio::{io::AsyncReadExt, net::TcpListener};

use crate::{
    harness::{
        Run, body_contains, errors, get, iterations, pause, plan, run, scenario, step, task,
        with_files,
    },
    site::{Answer, Authority, Site, ok, text},
    target::Seen,
};

/// A file that is gone when it is dropped.
struct File(PathBuf);

impl File {
    fn new(content: &str) -> Self {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("loadtest-https-{}-{number}.pem", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::write(&path, content).unwrap();
        Self(path)
    }

    fn path(&self) -> String {
        self.0.to_str().unwrap().to_owned()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.0));
    }
}

fn secure_plan(site: &Site, tls: TargetTls, scenario: Scenario) -> Plan {
    let mut plan = plan(site.address, vec![scenario]);
    plan.target.origin = site.origin();
    plan.target.tls = tls;
    plan
}

fn trusting(ca: &File) -> TargetTls {
    TargetTls {
        ca_file: Some(ca.path()),
        ..TargetTls::default()
    }
}

fn only_get(load: loadtest_core::plan::Load) -> Scenario {
    scenario(load, vec![task("only", 1, vec![step(get("/ok"))])])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_with_an_own_ca_is_verified_and_its_handshakes_are_timed_apart() {
    let authority = Authority::new();
    let ca = File::new(&authority.pem);
    let identity = authority.sign("127.0.0.1");
    let new = Site::secure(identity.server_of(&[&TLS13]), ok).await;
    let old = Site::secure(identity.server_of(&[&TLS12]), ok).await;
    let mut other = get("/old");
    other.origin = Some(0);
    let tasks = vec![task("only", 1, vec![step(get("/new")), step(other)])];
    let scenario = scenario(iterations(5, 20), tasks);
    let mut plan = secure_plan(&new, trusting(&ca), scenario);
    plan.target.other_origins = vec![old.origin()];
    let mut run = Run::start(with_files(plan, RawMode::All)).await;
    let ended = run.end().await;
    assert_eq!(ended.codes, [Some(0)]);
    let measured = ended.merged;
    assert_eq!((measured.total.requests, measured.total.failures), (200, 0));
    assert_eq!((new.count(), old.count()), (100, 100));
    let shaken: u64 = [new.handshakes(), old.handshakes()]
        .map(|(full, resumed)| full + resumed)
        .iter()
        .sum();
    assert_eq!(measured.connections, shaken);
    let pool = Pool::open(&run.pool(0)).unwrap();
    let blocks = pool
        .full_blocks()
        .into_iter()
        .chain(pool.unfinished_blocks());
    let (mut fresh, mut records) = (0, 0);
    for block in blocks.map(|id| pool.read(id)) {
        for (_, record) in block.records() {
            records += 1;
            fresh += u64::from(!record.reused);
            assert_eq!(record.tls_us > 0, !record.reused, "{record:?}");
        }
    }
    assert_eq!((records, fresh), (200, shaken));
}

/// A server that does something to each connection, counts nothing and never answers.
async fn raw(reset: bool, after: &'static [u8]) -> (Origin, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = Origin {
        scheme: Scheme::Https,
        host: "127.0.0.1".to_owned(),
        port: listener.local_addr().unwrap().port(),
    };
    let task = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                drop(stream.read(&mut [0; 4_096]).await);
                if reset {
                    stream.set_zero_linger().unwrap();
                } else if after.is_empty() {
                    drop(stream.read(&mut [0; 1]).await);
                }
                drop(tokio::io::AsyncWriteExt::write_all(&mut stream, after).await);
            });
        }
    });
    (origin, task)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_a_handshake_fails_has_its_sentence() {
    let authority = Authority::new();
    let ca = File::new(&authority.pem);
    let expired = authority.sign_with("127.0.0.1", |params| {
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2021, 2, 3);
    });
    let early = authority.sign_with("127.0.0.1", |params| {
        params.not_before = rcgen::date_time_ymd(2_100, 1, 1);
        params.not_after = rcgen::date_time_ymd(2_101, 1, 1);
    });
    let of_a_ca = authority.sign_with("127.0.0.1", |params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    });
    let good = authority.sign("127.0.0.1");
    let target = Site::secure(good.server(), ok).await;
    let sites = [
        Site::secure(Authority::new().sign("127.0.0.1").server(), ok).await,
        Site::secure(expired.server(), ok).await,
        Site::secure(early.server(), ok).await,
        Site::secure(of_a_ca.server(), ok).await,
        Site::secure(authority.sign("shop.example").server(), ok).await,
        Site::secure(authority.demanding(&good, &[&TLS13]), ok).await,
        Site::secure(authority.demanding(&good, &[&TLS12]), ok).await,
    ];
    let (http, first) = raw(false, b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    let (reset, second) = raw(true, b"").await;
    let (cut, third) = raw(false, b"\x16\x03\x03").await;
    let (hanging, fourth) = raw(false, b"").await;
    let mut origins: Vec<_> = sites.iter().map(Site::origin).collect();
    origins.extend([http, reset, cut, hanging]);
    let mut steps = vec![step(get("/ok"))];
    for number in 0..origins.len() as u32 {
        let mut request = get("/ok");
        request.origin = Some(number);
        // The last one hangs.
        if number as usize + 1 == origins.len() {
            request.timeout = Duration::from_millis(400);
        }
        steps.push(step(request));
    }
    let tasks = vec![task("only", 1, steps)];
    let scenario = scenario(iterations(5, 1), tasks);
    let mut plan = secure_plan(&target, trusting(&ca), scenario);
    plan.target.other_origins = origins;
    let measured = run(plan).await;
    for server in [first, second, third, fourth] {
        server.abort();
    }
    assert_eq!(target.count(), 5);
    let tls = |text: &str| (("tls".to_owned(), text.to_owned()), 5);
    let expected = BTreeMap::from([
        tls(
            "the certificate of 127.0.0.1 was issued by nobody that is trusted: name its CA in target.tls.caRef",
        ),
        tls("the certificate of 127.0.0.1 expired on 2021-02-03 00:00:00 UTC"),
        tls("the certificate of 127.0.0.1 is not valid before 2100-01-01 00:00:00 UTC"),
        tls(
            "the certificate of 127.0.0.1 is that of a CA (CA:TRUE, as openssl req -x509 makes them), which cannot be a server's: use one with CA:FALSE, or target.tls.insecureSkipVerify",
        ),
        tls(
            "the certificate of 127.0.0.1 is for shop.example, not for 127.0.0.1: see target.tls.serverName",
        ),
        (
            (
                "tls".to_owned(),
                "127.0.0.1 requires a client certificate: see target.tls.clientCertificateRef"
                    .to_owned(),
            ),
            10,
        ),
        tls("127.0.0.1 does not answer in TLS: it may speak plain http on this port"),
        tls("connection reset by peer in the TLS handshake"),
        tls("the connection was closed in the TLS handshake"),
        (
            (
                "connect_timeout".to_owned(),
                "no connection within 400ms".to_owned(),
            ),
            5,
        ),
    ]);
    assert_eq!(errors(&measured), expected);
    assert_eq!(sites.iter().map(Site::count).sum::<u64>(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_shown_names_asked_for_and_sessions_resumed() {
    let authority = Authority::new();
    let ca = File::new(&authority.pem);
    let client = authority.sign("a-client");
    let (certificate, key) = (
        File::new(&client.certificate_pem),
        File::new(&client.key.serialize_pem()),
    );
    let config = authority.demanding(&authority.sign("shop.example"), rustls::ALL_VERSIONS);
    let site = Site::secure(config, ok).await;
    let tls = TargetTls {
        client_certificate: Some(ClientCertificate {
            certificate_file: certificate.path(),
            key_file: key.path(),
        }),
        server_name: Some("shop.example".to_owned()),
        ..trusting(&ca)
    };
    let mut scenario = only_get(iterations(4, 25));
    scenario.connections = Connections::PerRequest;
    let measured = run(secure_plan(&site, tls, scenario)).await;
    well(&measured, &site);
    assert_eq!(measured.total.requests, 100);
    let asked = Some("shop.example".to_owned());
    assert!(site.names().iter().all(|name| *name == asked));
    let (full, resumed) = site.handshakes();
    assert_eq!((full + resumed, site.connections()), (100, 100));
    // Each worker begins without sessions, and users that meet need one each.
    assert!(resumed >= 80, "{full} in full, {resumed} resumed");
}

/// Keeps alive by its words, closes by its deeds.
fn leaving(seen: &Seen) -> Answer {
    match seen.path.as_str() {
        "/leave" => Answer::Last(text("200", "", "bye")),
        "/mirror" => Answer::Bytes(text("200", "", &seen.body)),
        _ => ok(seen),
    }
}

fn well(measured: &SeriesSet, site: &Site) {
    assert_eq!(measured.total.failures, 0, "{:?}", measured.errors);
    assert_eq!(measured.total.requests, site.count());
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_were_left_are_replaced_and_large_bodies_go_both_ways() {
    let authority = Authority::new();
    let ca = File::new(&authority.pem);
    let site = Site::secure(authority.sign("127.0.0.1").server(), leaving).await;
    let mut post = get("/mirror");
    post.method = "POST".to_owned();
    post.body = Some(Template::literal("0123456789".repeat(100_000) + "end"));
    post.checks = vec![body_contains("9end")];
    let tasks = vec![task(
        "only",
        1,
        vec![step(post), step(get("/leave")), Step::Pause(pause(10, 20))],
    )];
    let scenario = scenario(iterations(2, 3), tasks);
    let measured = run(secure_plan(&site, trusting(&ca), scenario)).await;
    well(&measured, &site);
    assert_eq!(measured.total.requests, 12);
    assert_eq!(measured.connections, site.connections());
    assert_eq!(measured.checks[0].1, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_cannot_be_used_end_the_run_with_a_sentence() {
    let key = File::new("no key");
    let site = Site::secure(Authority::new().sign("127.0.0.1").server(), ok).await;
    let mut run = Run::start(secure_plan(
        &site,
        trusting(&key),
        only_get(iterations(1, 1)),
    ))
    .await;
    let ended = run.end().await;
    assert_eq!(ended.codes, [Some(1)]);
    let report = run.server.reports().last().cloned();
    assert_eq!(
        report.unwrap().failure.unwrap(),
        format!(
            "target.tls.caRef: cannot use {}: it has no certificate in PEM form",
            key.path()
        )
    );
    assert_eq!(site.connections(), 0);
}
