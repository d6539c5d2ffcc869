//! The codec against real servers: go-httpbin, nginx, Node and Python, each answer compared with
//! what hyper makes of it, and with what the server is known to have sent; a connection is used again
//! for as long as the codec says, and the server must agree.
//!
//! `make test-codec` starts the servers and runs this with `LOADTEST_TEST_HTTP_SERVERS`, pairs of a
//! server's name and address, separated by spaces.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a failed step fails the test

mod client;

use std::net::SocketAddr;

use loadtest_runner::http::{ContentEncoding, HeadMemory, ProtocolError};

use client::{Answer, Client, Request, by_hyper};

/// How often each request is made over one connection.
const ROUNDS: usize = 60;

/// How much is read at once, in turn.
const SIZES: [usize; 5] = [64 << 10, 1, 4096, 113, 16];

fn server(name: &str) -> SocketAddr {
    let servers = std::env::var("LOADTEST_TEST_HTTP_SERVERS").unwrap_or_else(|_| {
        panic!(
            "LOADTEST_TEST_HTTP_SERVERS is not set: `make test-codec` starts real HTTP servers \
             and runs this test against them"
        )
    });
    servers
        .split_whitespace()
        .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
        .unwrap_or_else(|| panic!("LOADTEST_TEST_HTTP_SERVERS has no {name}: {servers}"))
        .parse()
        .unwrap()
}

/// The first bytes of what all servers serve.
fn content(size: usize) -> Vec<u8> {
    (0..size).map(|i| (i * 31 + (i >> 8)) as u8).collect()
}

/// A request and what is known of the answer.
#[derive(Debug)]
struct Case {
    request: Request,
    status: u16,
    /// `None`: only hyper knows.
    body: Option<Vec<u8>>,
    /// Whether the connection stays.
    stays: bool,
}

fn get(path: &str, status: u16) -> Case {
    Case {
        request: Request {
            method: "GET",
            path: path.to_owned(),
            version: "1.1",
            headers: &[],
            body: Vec::new(),
        },
        status,
        body: None,
        stays: true,
    }
}

impl Case {
    fn method(mut self, method: &'static str) -> Self {
        self.request.method = method;
        self
    }

    fn headers(mut self, headers: &'static [(&'static str, &'static str)]) -> Self {
        self.request.headers = headers;
        self
    }

    fn send(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.request.method = "POST";
        self.request.body = body.into();
        self
    }

    fn http_10(mut self) -> Self {
        self.request.version = "1.0";
        self
    }

    fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self
    }

    fn closes(mut self) -> Self {
        self.stays = false;
        self
    }
}

/// Makes all requests in turn over one connection, again and again, in pieces of different sizes,
/// with and without a memory of heads. `most`: after so many answers the server closes.
fn check(server: SocketAddr, cases: &[Case], most: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .unwrap();
    let expected: Vec<Answer> = cases
        .iter()
        .map(|case| {
            let answer = runtime.block_on(by_hyper(server, &case.request));
            assert_eq!(answer.status, case.status, "by hyper: {case:?}");
            if let Some(body) = &case.body {
                assert!(answer.body == *body, "by hyper: {case:?}");
            }
            answer
        })
        .collect();
    let mut client = Client::new(server);
    let mut memories: Vec<HeadMemory> = cases.iter().map(|_| HeadMemory::new()).collect();
    let mut ended = 0;
    for round in 0..ROUNDS {
        for (index, (case, expected)) in cases.iter().zip(&expected).enumerate() {
            let memory = (round % 2 == 0).then(|| &mut memories[index]);
            // Byte by byte only what is small, and not each time.
            let size = match SIZES[(round + index) % SIZES.len()] {
                size if expected.body.len() > 10_000 => size.max(512),
                size => size,
            };
            let seen = client.ask(&case.request, size, memory);
            assert!(
                seen.as_ref() == Ok(expected),
                "{case:?} by {size} bytes: {:?} instead of {} and {} bytes",
                seen.map(|seen| (seen.status, seen.body.len())),
                expected.status,
                expected.body.len(),
            );
            let stays = case.stays && client.answers < most;
            assert_eq!(client.parser.keep_alive(), stays, "{case:?}");
            ended += usize::from(!stays);
        }
    }
    let last = cases.last().is_some_and(|case| case.stays) && client.answers < most;
    assert_eq!(client.connections, ended + usize::from(last));
    println!(
        "{server}: {} answers over {} connections",
        ROUNDS * cases.len(),
        client.connections
    );
}

#[test]
#[ignore = "needs real HTTP servers: make test-codec"]
fn go_httpbin_is_read_to_the_byte() {
    let cases = [
        get("/get?a=b", 200),
        get("/bytes/1024?seed=7", 200),
        get("/bytes/100000?seed=7", 200),
        get("/stream-bytes/50000?seed=7&chunk_size=1000", 200),
        get("/stream-bytes/100?seed=7&chunk_size=1", 200),
        get("/stream/20", 200),
        get("/trailers?X-A=1&X-B=2", 200),
        get("/gzip", 200),
        get("/deflate", 200),
        get("/drip?duration=20ms&numbytes=4&delay=0s", 200).body("****"),
        get("/range/26", 200).body("abcdefghijklmnopqrstuvwxyz"),
        get("/range/26", 206)
            .headers(&[("range", "bytes=2-4")])
            .body("cde"),
        get("/redirect/1", 302),
        get("/cookies/set?a=b", 302),
        get("/status/204", 204).body(""),
        get("/status/304", 304).body(""),
        get("/status/418", 418),
        get("/status/503", 503),
        get("/head", 200).method("HEAD").body(""),
        get("/get", 405).method("DELETE"),
        get("/post", 200).send("x=1"),
        get("/post", 200)
            .headers(&[("expect", "100-continue")])
            .send(vec![b'y'; 20_000]),
        get("/get", 200)
            .headers(&[("connection", "close")])
            .closes(),
        get("/get", 200).http_10().closes(),
        get("/stream-bytes/300?seed=7", 200).http_10().closes(),
    ];
    check(server("go-httpbin"), &cases, usize::MAX);
}

#[test]
#[ignore = "needs real HTTP servers: make test-codec"]
fn nginx_is_read_to_the_byte() {
    let cases = [
        get("/0.bin", 200).body(""),
        get("/1000.bin", 200).body(content(1000)),
        get("/300000.bin", 200).body(content(300_000)),
        get("/300000.bin", 200).method("HEAD").body(""),
        get("/300000.bin", 206)
            .headers(&[("range", "bytes=0-9")])
            .body(content(10)),
        get("/300000.bin", 416).headers(&[("range", "bytes=900000-")]),
        get("/page.html", 200).body("<p>hello</p>\n".repeat(500)),
        get("/page.html", 200).headers(&[("accept-encoding", "gzip")]),
        get("/page.html", 304)
            .headers(&[("if-modified-since", "Fri, 31 Dec 9999 23:59:59 GMT")])
            .body(""),
        get("/included.shtml", 200).body("a\0b".repeat(50)),
        get("/text", 200).body("text\n"),
        get("/no-content", 204).body(""),
        get("/found", 302),
        get("/folder", 301),
        get("/missing", 404),
        get("/text", 405).method("TRACE").closes(),
        get("/text", 200).body("text\n"),
        get("/unavailable", 503),
        get("/text", 200)
            .http_10()
            .headers(&[("connection", "keep-alive")])
            .body("text\n"),
        get("/text", 400)
            .headers(&[("content-length", "x")])
            .closes(),
        get("/included.shtml", 200)
            .http_10()
            .body("a\0b".repeat(50))
            .closes(),
    ];
    check(server("nginx"), &cases, 100);

    let mut client = Client::new(server("nginx"));
    let closed = client.ask(&get("/closed", 444).request, 1024, None);
    assert_eq!(closed, Err(ProtocolError::ClosedBeforeResponse));
}

#[test]
#[ignore = "needs real HTTP servers: make test-codec"]
fn node_is_read_to_the_byte() {
    let cases = [
        get("/length/0", 200).body(""),
        get("/length/5", 200).body(content(5)),
        get("/length/200000", 200).body(content(200_000)),
        get("/length/200000", 200).method("HEAD").body(""),
        get("/chunks/3/1", 200).body(content(1).repeat(3)),
        get("/chunks/20/5000", 200).body(content(5000).repeat(20)),
        get("/chunks/3/100", 200).method("HEAD").body(""),
        get("/chunks/0/0", 200).body(""),
        get("/trailers", 200)
            .headers(&[("te", "trailers")])
            .body("with trailers"),
        get("/hints", 200).body("after hints"),
        get("/status/204", 204).body(""),
        get("/status/304", 304).body(""),
        get("/status/404", 404).body("status 404"),
        get("/status/500", 500).body("status 500"),
        get("/headers/60", 200).body("many headers"),
        get("/gzip", 200),
        get("/cookies", 302).body(""),
        get("/echo", 200).send("said").body("said"),
        get("/echo", 200)
            .headers(&[("expect", "100-continue")])
            .send(content(70_000))
            .body(content(70_000)),
        get("/last", 200)
            .body("the last of this connection")
            .closes(),
        get("/close", 200)
            .body("until the connection closes")
            .closes(),
        get("/chunks/3/100", 200)
            .http_10()
            .body(content(100).repeat(3))
            .closes(),
        get("/length/5", 200)
            .http_10()
            .headers(&[("connection", "keep-alive")])
            .body(content(5)),
    ];
    check(server("node"), &cases, usize::MAX);

    let mut client = Client::new(server("node"));
    let broken = client.ask(&get("/broken", 200).request, 1024, None);
    assert_eq!(broken, Err(ProtocolError::TruncatedBody));
    let gzip = client.ask(&get("/gzip", 200).request, 1024, None);
    assert!(gzip.is_ok_and(|gzip| gzip.body.starts_with(&[0x1f, 0x8b])));
    assert_eq!(client.parser.content_encoding(), ContentEncoding::Gzip);
    for size in [1, 1024] {
        assert!(
            client
                .ask(&get("/cookies", 302).request, size, None)
                .is_ok()
        );
        let cookies: Vec<&[u8]> = client.parser.headers().named("set-cookie").collect();
        assert_eq!(cookies, [b"a=1; Path=/".as_slice(), b"b=2; HttpOnly"]);
        let location = client.parser.headers().named("location").next();
        assert_eq!(location, Some(b"/length/3".as_slice()));
    }
}

#[test]
#[ignore = "needs real HTTP servers: make test-codec"]
fn python_is_read_to_the_byte() {
    let cases = |http_11: bool| {
        let plain = |case: Case| if http_11 { case } else { case.closes() };
        let mut cases = vec![
            plain(get("/length/0", 200).body("")),
            plain(get("/length/100000", 200).body(content(100_000))),
            plain(get("/length/10", 200).method("HEAD").body("")),
            plain(get("/no-content", 204).body("")),
            plain(get("/not-modified", 304).body("")),
            get("/keep", 200).body("kept"),
            get("/until-close", 200).body("until the end").closes(),
            get("/missing", 404).closes(),
        ];
        if http_11 {
            let body = ["x", &"x".repeat(20), &"x".repeat(300)].concat();
            cases.push(get("/chunks", 200).body(body));
        }
        cases
    };
    check(server("python-1.0"), &cases(false), usize::MAX);
    check(server("python-1.1"), &cases(true), usize::MAX);
}
