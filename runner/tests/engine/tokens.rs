//! How requests prove who they are: credentials from files, tokens from a server.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use loadtest_core::{
    plan::{Plan, Request, TargetAuth},
    template::{Escape, Expression, Segment, Source, Template},
};

use crate::{
    harness::{Run, pause, run, scenario, step, task, users},
    language::Language,
    site::{Answer, Authority, Site, header, ok, text},
    target::Seen,
};

/// Files with secrets; removed when it is dropped.
pub struct Files(PathBuf);

impl Files {
    pub fn new(secrets: &[(&str, &str)]) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("loadtest-tokens-{}-{number}", std::process::id());
        let files = Self(std::env::temp_dir().join(name));
        std::fs::create_dir_all(&files.0).unwrap();
        for (name, secret) in secrets {
            std::fs::write(files.0.join(name), secret).unwrap();
        }
        files
    }

    pub fn language(&self, names: &[&str]) -> Language {
        names.iter().fold(Language::default(), |say, name| {
            say.secret(name, &self.0.join(name))
        })
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// As the builder of plans puts it onto every request to the target.
pub fn authorized(mut request: Request) -> Request {
    let expression = Expression {
        source: Source::Authorization,
        escape: Escape::None,
    };
    let value = Template {
        segments: vec![Segment::Expression(Box::new(expression))],
    };
    request.headers.push(("authorization".to_owned(), value));
    request
}

/// One user that asks every 20 ms for so long.
fn asking(site: &Site, say: &Language, milliseconds: u64) -> Plan {
    let steps = vec![
        step(authorized(say.get("/a"))),
        loadtest_core::plan::Step::Pause(pause(20, 20)),
    ];
    let load = users(1, Duration::from_millis(milliseconds));
    say.plan(
        site.address,
        scenario(load, vec![task("all", 1, steps)]),
        &[],
    )
}

/// What was sent in the `Authorization` header, in the order of its first use.
fn proofs(site: &Site) -> Vec<String> {
    let mut proofs = Vec::new();
    for seen in site.seen() {
        let proof = header(&seen, "authorization").unwrap().to_owned();
        if !proofs.contains(&proof) {
            proofs.push(proof);
        }
    }
    proofs
}

fn client_credentials(token_url: String) -> TargetAuth {
    TargetAuth::ClientCredentials {
        token_url,
        client_id: 0,
        client_secret: 1,
        scope: Some("read write".to_owned()),
        refresh_before: Duration::from_secs(1),
    }
}

const CLIENT: [(&str, &str); 2] = [("id", "my app\n"), ("secret", "hush:hush\n")];

#[tokio::test(flavor = "multi_thread")]
async fn credentials_come_from_files() {
    let files = Files::new(&[("user", "Aladdin\n"), ("password", "open sesame")]);
    let basic = TargetAuth::Basic {
        username: 0,
        password: 1,
    };
    let bearer = TargetAuth::Bearer { token: 1 };
    for (auth, expected) in [
        // RFC 7617, 2.
        (basic, "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
        (bearer, "Bearer open sesame"),
    ] {
        let site = Site::plain(ok).await;
        let say = files.language(&["user", "password"]).auth(auth);
        let measured = run(asking(&site, &say, 200)).await;
        assert_eq!(measured.total.failures, 0);
        assert_eq!(proofs(&site), [expected]);
    }
}

/// Gives out a token that lives two seconds, with a number; from `until` on none any more.
fn issuer(until: u32) -> impl Fn(&Seen) -> Answer + Send + Sync {
    let next = AtomicU32::new(0);
    move |seen| {
        assert_eq!(
            (seen.method.as_str(), seen.path.as_str()),
            ("POST", "/token")
        );
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= until {
            return Answer::Bytes(text("500", "", "no more"));
        }
        let body = format!(
            "{{\"access_token\":\"t{number}\",\"token_type\":\"bearer\",\"expires_in\":\"2\"}}"
        );
        Answer::Bytes(text("200", "Content-Type: application/json\r\n", body))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_got_before_the_start_and_renewed_before_it_expires() {
    let files = Files::new(&CLIENT);
    let authority = Authority::new();
    let tokens = Site::secure(authority.sign("127.0.0.1").server(), issuer(2)).await;
    // A target that takes no token: its 401 must not make anybody ask for another.
    let site = Site::plain(|_| Answer::Bytes(text("401", "", ""))).await;
    let ca = files.0.join("ca.pem");
    std::fs::write(&ca, &authority.pem).unwrap();
    let auth = client_credentials(format!("https://{}/token", tokens.address));
    let say = files.language(&["id", "secret"]).auth(auth);
    let mut plan = asking(&site, &say, 3_500);
    plan.target.tls.ca_file = Some(ca.display().to_string());
    let measured = run(plan).await;
    assert_eq!(measured.total.failures, measured.total.requests);
    // The third one was refused, so the second one was kept. A slow start outlives the first.
    let proofs = proofs(&site);
    assert!(
        proofs == ["Bearer t0", "Bearer t1"] || proofs == ["Bearer t1"],
        "{proofs:?}"
    );
    let asked = tokens.seen();
    assert!((3..=10).contains(&asked.len()), "{}", asked.len());
    for seen in asked {
        let proof = BASE64_STANDARD.encode("my%20app:hush%3Ahush");
        assert_eq!(
            header(&seen, "authorization"),
            Some(&*format!("Basic {proof}"))
        );
        let form = b"grant_type=client_credentials&scope=read%20write";
        assert_eq!(
            String::from_utf8_lossy(&seen.body),
            String::from_utf8_lossy(form)
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_nothing_begins_and_the_server_is_heard() {
    let files = Files::new(&CLIENT);
    let refusing = Site::plain(|_| {
        let body = r#"{"error":"invalid_client","error_description":"hush:hush is wrong"}"#;
        Answer::Bytes(text("401", "", body))
    })
    .await;
    let senseless = Site::plain(|_| Answer::Bytes(text("200", "", "<html>"))).await;
    let site = Site::plain(ok).await;
    let url = |site: &Site| format!("http://{}/token", site.address);
    let (refused, useless) = (url(&refusing), url(&senseless));
    let gone = "http://127.0.0.1:1/token".to_owned();
    for (url, expected) in [
        (&refused, "status 401: invalid_client: [secret] is wrong"),
        (&useless, "the answer is no JSON with an access_token"),
        (&gone, "Connection refused (os error 111)"),
    ] {
        let auth = client_credentials(url.clone());
        let say = files.language(&["id", "secret"]).auth(auth);
        let mut run = Run::start(asking(&site, &say, 200)).await;
        let ended = run.end().await;
        assert_eq!(ended.codes, [Some(1)]);
        let failure = run
            .server
            .reports()
            .last()
            .and_then(|report| report.failure.clone());
        let expected = format!("spec.auth: no token from {url}: {expected}");
        assert_eq!(failure.as_deref(), Some(&*expected));
    }
    assert_eq!(site.count(), 0);
}
