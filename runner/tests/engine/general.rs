//! What the general client speaks: HTTP/2, with and without TLS, and HTTP/1.1 through a proxy.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use http_body_util::{BodyExt, Full};
use hyper::{
    Request, Response, Version,
    body::{Bytes, Incoming},
    server::conn::http2,
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use loadtest_core::{
    plan::{Connections, Origin, Plan, Protocol, Scenario, Scheme, TargetTls},
    template::Template,
};
use tokio::{
    io::{AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;

use crate::{
    harness::{self, body_contains, errors, get, plan, run, scenario, step, task},
    site::{Authority, Site, ok},
    target::read_request,
};

#[derive(Debug, Default)]
struct Served {
    connections: u64,
    lines: Vec<String>,
}

/// A server that speaks HTTP/2 and nothing else.
struct Http2 {
    origin: Origin,
    served: Arc<Mutex<Served>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Http2 {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Http2 {
    async fn start(tls: Option<rustls::ServerConfig>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = Origin {
            scheme: tls.as_ref().map_or(Scheme::Http, |_| Scheme::Https),
            host: "127.0.0.1".to_owned(),
            port: listener.local_addr().unwrap().port(),
        };
        let served = Arc::<Mutex<Served>>::default();
        let shared = Arc::clone(&served);
        let acceptor = tls.map(|mut config| {
            config.alpn_protocols = vec![b"h2".to_vec()];
            TlsAcceptor::from(Arc::new(config))
        });
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                shared.lock().unwrap().connections += 1;
                let (acceptor, served) = (acceptor.clone(), Arc::clone(&shared));
                tokio::spawn(async move {
                    let service = service_fn(|request| answer(request, Arc::clone(&served)));
                    let protocol = http2::Builder::new(TokioExecutor::new());
                    // Ends with the client's connection, in whatever way.
                    match acceptor {
                        None => drop(
                            protocol
                                .serve_connection(TokioIo::new(stream), service)
                                .await,
                        ),
                        Some(acceptor) => {
                            if let Ok(stream) = acceptor.accept(stream).await {
                                let stream = TokioIo::new(stream);
                                drop(protocol.serve_connection(stream, service).await);
                            }
                        }
                    }
                });
            }
        });
        Self {
            origin,
            served,
            task,
        }
    }

    fn lines(&self) -> Vec<String> {
        self.served.lock().unwrap().lines.clone()
    }

    fn connections(&self) -> u64 {
        self.served.lock().unwrap().connections
    }

    fn plan(&self, scenario: Scenario) -> Plan {
        let mut plan = plan(([127, 0, 0, 1], self.origin.port).into(), vec![scenario]);
        plan.target.origin = self.origin.clone();
        plan.target.protocol = Protocol::Http2;
        plan.target.tls = TargetTls {
            insecure_skip_verify: true,
            ..TargetTls::default()
        };
        plan
    }
}

async fn answer(
    request: Request<Incoming>,
    served: Arc<Mutex<Served>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    assert_eq!(head.version, Version::HTTP_2);
    let path = head.uri.path();
    let header = |name: &str| head.headers.get(name).map_or("", |v| v.to_str().unwrap());
    let line = format!(
        "{} {path} {} {}",
        head.method,
        header("cookie"),
        String::from_utf8_lossy(&body)
    );
    served
        .lock()
        .unwrap()
        .lines
        .push(line.trim_end().to_owned());
    let response = Response::builder();
    let response = match path {
        "/moved" => response
            .status(303)
            .header("location", "/here")
            .header("set-cookie", "s=1"),
        "/slow" => {
            tokio::time::sleep(Duration::from_secs(10)).await;
            response
        }
        _ => response,
    };
    Ok(response.body(Full::from("hello")).unwrap())
}

fn times(users: u32, iterations: u64, steps: Vec<loadtest_core::plan::Request>) -> Scenario {
    let load = harness::iterations(users, iterations);
    let steps = steps.into_iter().map(step).collect();
    scenario(load, vec![task("only", 1, steps)])
}

#[tokio::test(flavor = "multi_thread")]
async fn http_2_is_rendered_checked_and_counted_as_ever() {
    let identity = Authority::new().sign("127.0.0.1");
    let (plain, secure) = (
        Http2::start(None).await,
        Http2::start(Some(identity.server())).await,
    );
    let steps = || {
        let mut post = get("/moved");
        post.method = "POST".to_owned();
        post.body = Some(Template::literal("x=1"));
        post.follow_redirects = 1;
        post.checks = vec![body_contains("hello")];
        let mut slow = get("/slow");
        slow.timeout = Duration::from_secs(1);
        let mut wrong = get("/wrong");
        wrong.checks = vec![body_contains("absent")];
        vec![post, wrong, slow]
    };
    let (first, second) = tokio::join!(
        run(plain.plan(times(2, 2, steps()))),
        run(secure.plan(times(2, 2, steps()))),
    );
    for (measured, server) in [(&first, &plain), (&second, &secure)] {
        assert_eq!((measured.total.requests, measured.total.failures), (16, 8));
        assert_eq!(measured.checks, [(4, 0), (0, 4)]);
        let found = errors(measured);
        let found: Vec<_> = found
            .iter()
            .map(|((name, text), n)| (&**name, &**text, *n))
            .collect();
        assert_eq!(
            found,
            [
                ("check", "check \"check 1\" failed", 4),
                ("timeout", "no whole answer within 1s", 4)
            ]
        );
        let mut lines = server.lines();
        lines.sort();
        let of = |line: &str| vec![line.to_owned(); 4];
        let expected = [
            of("GET /here s=1"),
            of("GET /slow s=1"),
            of("GET /wrong s=1"),
            of("POST /moved  x=1"),
        ];
        assert_eq!(lines, expected.concat());
        // One at first, and one after each timeout.
        assert_eq!((measured.connections, server.connections()), (4, 4));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_for_each_request_is_counted_each_time() {
    let server = Http2::start(None).await;
    let mut scenario = times(2, 3, vec![get("/a"), get("/b")]);
    scenario.connections = Connections::PerRequest;
    let measured = run(server.plan(scenario)).await;
    assert_eq!((measured.total.requests, measured.total.failures), (12, 0));
    assert_eq!((measured.connections, server.connections()), (12, 12));
}

/// A proxy that opens tunnels and names where they led.
async fn tunnels() -> (
    SocketAddr,
    Arc<Mutex<Vec<String>>>,
    tokio::task::JoinHandle<()>,
) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let opened = Arc::<Mutex<Vec<String>>>::default();
    let shared = Arc::clone(&opened);
    let task = tokio::spawn(async move {
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let opened = Arc::clone(&shared);
            tokio::spawn(async move {
                let seen = read_request(&mut client, &mut Vec::new()).await.unwrap();
                opened
                    .lock()
                    .unwrap()
                    .push(format!("{} {}", seen.method, seen.path));
                let mut server = TcpStream::connect(&seen.path).await.unwrap();
                let established = b"HTTP/1.1 200 Connection established\r\n\r\n";
                client.write_all(established).await.unwrap();
                drop(copy_bidirectional(&mut client, &mut server).await);
            });
        }
    });
    (address, opened, task)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_gets_every_request_and_tunnels_tls() {
    let proxy = Site::plain(ok).await;
    let steps = || vec![get("/a?b=$(user.index)")];
    let mut forwarded = plan(proxy.address, vec![times(2, 10, steps())]);
    forwarded.target.origin = Origin {
        scheme: Scheme::Http,
        host: "shop.invalid".to_owned(),
        port: 80,
    };
    forwarded.target.proxy = Some(format!("http://{}", proxy.address));
    let site = Site::secure(Authority::new().sign("127.0.0.1").server(), ok).await;
    let (address, opened, task) = tunnels().await;
    let mut tunnelled = plan(site.address, vec![times(2, 10, steps())]);
    tunnelled.target.origin = site.origin();
    tunnelled.target.tls.insecure_skip_verify = true;
    tunnelled.target.proxy = Some(format!("http://{address}"));
    let (first, second) = tokio::join!(run(forwarded), run(tunnelled));
    for measured in [first, second] {
        assert_eq!(
            (measured.total.requests, measured.total.failures),
            (20, 0),
            "{:?}",
            measured.errors
        );
    }
    task.abort();
    let mut paths: Vec<_> = proxy.seen().into_iter().map(|seen| seen.path).collect();
    paths.sort();
    let of = |user: u32| vec![format!("http://shop.invalid/a?b={user}"); 10];
    assert_eq!(paths, [of(0), of(1)].concat());
    assert_eq!((proxy.connections(), site.count()), (2, 20));
    let tunnel = format!("CONNECT {}", site.address);
    assert_eq!(*opened.lock().unwrap(), [tunnel.clone(), tunnel]);
}
