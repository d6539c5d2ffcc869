//! What is asked for, and the answer to it.

use std::{
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use hyper::{
    HeaderMap, Method, Response, StatusCode,
    body::Bytes,
    header::{ALLOW, CONTENT_TYPE, HeaderValue, SERVER, USER_AGENT},
    http::request::Parts,
};
use serde::Serialize;
use serde_json::json;

use super::{
    body::{AnswerBody, mix, noise},
    counters::ConnectionCounter,
    echo::{Echo, Headers},
    shop,
};

/// Longest `/delay`.
const MAX_DELAY: Duration = Duration::from_secs(10);

/// Most bytes of `/bytes`, and of a request's body.
pub(super) const MAX_BYTES: usize = 10 << 20;

/// Most lines of `/stream`.
const MAX_LINES: u32 = 1_000;

const SERVER_NAME: HeaderValue =
    HeaderValue::from_static(concat!("loadtest-target/", env!("CARGO_PKG_VERSION")));

const INDEX: &str = "\
A small target for load tests.

  /get /post /put /patch /delete   the request as JSON, for that method
  /anything[/...]                  the same for every method
  /headers /ip /user-agent /uuid   parts of it
  /status/{code}                   that status, no body
  /delay/{seconds}                 like /anything, up to 10 s later; decimals allowed
  /bytes/{n}                       n bytes of noise, up to 10 MiB
  /stream/{n}                      n lines of JSON in chunks, up to 1000
  /json                            a fixed document
  /__stats                         what was asked so far; not counted itself
";

macro_rules! segments {
    ($($variant:ident = $name:literal),+ $(,)?) => {
        /// First segment of a path: what is served, and what is counted under one name.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Segment { $(#[doc = $name] $variant),+ }

        impl Segment {
            pub(super) const ALL: &[Self] = &[$(Self::$variant),+];

            /// The segment itself, or a name in parentheses that no path has.
            pub(super) fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }

            fn of(name: &str) -> Self {
                match name { $($name => Self::$variant,)+ _ => Self::Other }
            }
        }
    };
}

segments! {
    Root = "(root)",
    Get = "get",
    Post = "post",
    Put = "put",
    Patch = "patch",
    Delete = "delete",
    Anything = "anything",
    Headers = "headers",
    Ip = "ip",
    UserAgent = "user-agent",
    Uuid = "uuid",
    Status = "status",
    Delay = "delay",
    Bytes = "bytes",
    Stream = "stream",
    Json = "json",
    Shop = "shop",
    Stats = "__stats",
    Other = "(other)",
}

impl Segment {
    /// Segment of a path, and what follows it.
    pub(super) fn split(path: &str) -> (Self, &str) {
        let path = path.strip_prefix('/').unwrap_or(path);
        let (first, rest) = path.split_once('/').unwrap_or((path, ""));
        (
            if path.is_empty() {
                Self::Root
            } else {
                Self::of(first)
            },
            rest,
        )
    }

    /// The only methods that it takes; `None` for any.
    fn methods(self) -> Option<&'static [Method]> {
        match self {
            Self::Post => Some(&[Method::POST]),
            Self::Put => Some(&[Method::PUT]),
            Self::Patch => Some(&[Method::PATCH]),
            Self::Delete => Some(&[Method::DELETE]),
            Self::Anything | Self::Status | Self::Delay | Self::Shop | Self::Other => None,
            _ => Some(&[Method::GET, Method::HEAD]),
        }
    }
}

/// Answers one request. Its body has been read.
pub(super) async fn answer(
    request: &Parts,
    body: Option<&Bytes>,
    origin: IpAddr,
    counter: &ConnectionCounter,
) -> Response<AnswerBody> {
    let (segment, rest) = Segment::split(request.uri.path());
    if let Some(methods) = segment.methods()
        && !methods.contains(&request.method)
    {
        return method_not_allowed(methods);
    }
    let headers = &request.headers;
    let echo = || {
        let echo = Echo::new(&request.uri, headers, origin);
        match body {
            Some(body) => echo.with_body(body),
            None if matches!(request.method, Method::GET | Method::HEAD) => echo,
            None => echo.with_body(&Bytes::new()),
        }
    };
    match segment {
        Segment::Root => text(format!("{INDEX}\n{}", shop::INDEX)),
        Segment::Get | Segment::Post | Segment::Put | Segment::Patch | Segment::Delete => {
            as_json(StatusCode::OK, &echo())
        }
        Segment::Anything => as_json(StatusCode::OK, &echo().with_method(&request.method)),
        Segment::Headers => as_json(StatusCode::OK, &json!({ "headers": json_of(headers) })),
        Segment::Ip => as_json(StatusCode::OK, &json!({ "origin": origin })),
        Segment::UserAgent => {
            let agent = headers
                .get(USER_AGENT)
                .map(|agent| String::from_utf8_lossy(agent.as_bytes()));
            as_json(StatusCode::OK, &json!({ "user-agent": agent }))
        }
        Segment::Uuid => as_json(StatusCode::OK, &json!({ "uuid": uuid() })),
        Segment::Status => status(rest),
        Segment::Delay => match delay(rest) {
            Some(delay) => {
                tokio::time::sleep(delay).await;
                as_json(StatusCode::OK, &echo().with_method(&request.method))
            }
            None => refused("/delay/{seconds} takes a number from 0 to 10"),
        },
        Segment::Bytes => match rest.parse() {
            Ok(n) if n <= MAX_BYTES => {
                with_type("application/octet-stream", AnswerBody::whole(noise(n)))
            }
            _ => refused("/bytes/{n} takes a whole number from 0 to 10485760"),
        },
        Segment::Stream => match rest.parse() {
            Ok(left) if left <= MAX_LINES => {
                let mut chunk = serde_json::to_vec(&echo()).unwrap_or_default();
                chunk.push(b'\n');
                with_type(
                    "application/json",
                    AnswerBody::Chunks {
                        left,
                        chunk: chunk.into(),
                    },
                )
            }
            _ => refused("/stream/{n} takes a whole number from 0 to 1000"),
        },
        Segment::Json => with_type("application/json", AnswerBody::whole(document())),
        Segment::Shop => counter.shop().answer(request, body, rest),
        Segment::Stats => as_json(StatusCode::OK, &counter.stats()),
        Segment::Other => problem(
            StatusCode::NOT_FOUND,
            "there is nothing here; / lists what there is",
        ),
    }
}

/// The answer to a body that is too large.
pub(super) fn too_large() -> Response<AnswerBody> {
    problem(
        StatusCode::PAYLOAD_TOO_LARGE,
        "the body is larger than 10 MiB",
    )
}

fn status(code: &str) -> Response<AnswerBody> {
    match code
        .parse()
        .ok()
        .and_then(|code: u16| StatusCode::from_u16(code).ok())
    {
        // Interim statuses are no answer.
        Some(code) if code.as_u16() >= 200 => {
            let mut response = Response::new(AnswerBody::Whole(None));
            *response.status_mut() = code;
            response.headers_mut().insert(SERVER, SERVER_NAME);
            response
        }
        _ => refused("/status/{code} takes a number from 200 to 999"),
    }
}

fn delay(seconds: &str) -> Option<Duration> {
    let delay = Duration::try_from_secs_f64(seconds.parse().ok()?).ok()?;
    (delay <= MAX_DELAY).then_some(delay)
}

/// A version 4 UUID. Unique, not secret.
fn uuid() -> String {
    static SEED: OnceLock<(u64, u64)> = OnceLock::new();
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let (a, b) = SEED.get_or_init(|| {
        let random = RandomState::new();
        (random.hash_one(1), random.hash_one(2))
    });
    let n = NEXT
        .fetch_add(1, Relaxed)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let (high, low) = (mix(n ^ a), mix(n ^ b));
    let (version, variant) = (0x4000 | (high & 0x0fff), 0x8000 | ((low >> 48) & 0x3fff));
    format!(
        "{:08x}-{:04x}-{version:04x}-{variant:04x}-{:012x}",
        high >> 32,
        (high >> 16) & 0xffff,
        low & 0xffff_ffff_ffff,
    )
}

/// The same bytes each time: benchmarks ask for it.
fn document() -> Bytes {
    static DOCUMENT: OnceLock<Bytes> = OnceLock::new();
    let document = || {
        json!({
            "catalogue": {
                "title": "Garden tools",
                "items": [
                    { "sku": "GT-1001", "name": "Spade", "price": 24.5, "stock": 12 },
                    { "sku": "GT-1002", "name": "Rake", "price": 17.0, "stock": 0 },
                    { "sku": "GT-1003", "name": "Watering can", "price": 9.99, "stock": 48 },
                ],
            },
        })
        .to_string()
    };
    DOCUMENT.get_or_init(|| document().into()).clone()
}

fn json_of(headers: &HeaderMap) -> serde_json::Value {
    serde_json::to_value(Headers(headers)).unwrap_or_default()
}

pub(super) fn as_json(status: StatusCode, value: &impl Serialize) -> Response<AnswerBody> {
    // The values are made of strings and numbers: there is nothing that cannot be written.
    let mut bytes = Vec::with_capacity(512);
    let written = serde_json::to_writer(&mut bytes, value);
    let mut response = with_type("application/json", AnswerBody::whole(bytes));
    *response.status_mut() = if written.is_ok() {
        status
    } else {
        StatusCode::INTERNAL_SERVER_ERROR
    };
    response
}

fn text(text: String) -> Response<AnswerBody> {
    with_type("text/plain; charset=utf-8", AnswerBody::whole(text))
}

pub(super) fn with_type(kind: &'static str, body: AnswerBody) -> Response<AnswerBody> {
    let mut response = Response::new(body);
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(SERVER, SERVER_NAME);
    response
}

pub(super) fn problem(status: StatusCode, message: &str) -> Response<AnswerBody> {
    as_json(status, &json!({ "error": message }))
}

fn refused(message: &str) -> Response<AnswerBody> {
    problem(StatusCode::BAD_REQUEST, message)
}

fn method_not_allowed(methods: &[Method]) -> Response<AnswerBody> {
    let names: Vec<_> = methods.iter().map(Method::as_str).collect();
    let names = names.join(", ");
    let mut response = problem(
        StatusCode::METHOD_NOT_ALLOWED,
        &format!("this path takes only {names}"),
    );
    if let Ok(names) = HeaderValue::from_str(&names) {
        response.headers_mut().insert(ALLOW, names);
    }
    response
}
