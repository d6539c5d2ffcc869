//! The general-purpose client, for what our own does not speak: HTTP/2 and proxies.
//!
//! It is several times as dear per request, and tells less: its connections are made inside it, so
//! look-up, connecting and TLS are part of the wait for the first byte, and bytes received are
//! those of bodies. Everything else is ours: rendering, deadlines, redirects, cookies, decoding,
//! checks and records.

use std::{error::Error, io};

use loadtest_core::{
    plan::{Origin, Protocol},
    series::Outcome,
};
use reqwest::{
    Client, Method, Proxy, Request, Url,
    header::{HeaderMap, HeaderName, HeaderValue},
    redirect, retry,
};

use super::{
    Connection, Exchange, MAX_BODY_BYTES,
    connect::tls_failure,
    empty,
    rest::{Rest, store},
};
use crate::{
    clock,
    engine::{compile::Compiled, failure::Failure, times::Times, tls, worker::Worker},
    http::ContentEncoding,
};

/// Headers that belong to a connection of HTTP/1.1 and have no place in HTTP/2 (RFC 9113, 8.2.2).
const OF_HTTP_1: [&str; 7] = [
    "connection",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
];

/// One user's client and what it received last.
#[derive(Debug)]
pub struct General {
    client: Client,
    status: u16,
    headers: HeaderMap,
}

impl General {
    fn new(compiled: &Compiled) -> Result<Self, Failure> {
        let target = &compiled.target;
        let http2 = target.protocol == Protocol::Http2;
        let mut tls = match &compiled.tls {
            Some(config) => rustls::ClientConfig::clone(config),
            None => tls::trusting_nobody().map_err(|error| Failure::tls(error.to_string()))?,
        };
        let alpn: &[u8] = if http2 { b"h2" } else { b"http/1.1" };
        tls.alpn_protocols = vec![alpn.to_vec()];
        // Nothing is followed, repeated or taken from the environment behind the test's back.
        let mut builder = Client::builder()
            .no_proxy()
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .referer(false)
            .pool_idle_timeout(None)
            .tcp_nodelay(true)
            .tls_backend_preconfigured(tls);
        builder = if http2 {
            builder.http2_prior_knowledge()
        } else {
            builder.http1_only()
        };
        let unusable = |error: reqwest::Error| Failure::said(Outcome::Connect, deepest(&error));
        if let Some(proxy) = &target.proxy {
            builder = builder.proxy(Proxy::all(proxy).map_err(unusable)?);
        }
        Ok(Self {
            client: builder.build().map_err(unusable)?,
            status: 0,
            headers: HeaderMap::new(),
        })
    }

    /// Status of the last answer, 0 without one.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Values of a header of the last answer.
    pub fn headers(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.headers.get_all(name).iter().map(HeaderValue::as_bytes)
    }

    /// All headers of the last answer.
    pub fn all_headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// How the body of the last answer is coded.
    pub fn content_encoding(&self) -> ContentEncoding {
        let values = self.headers("content-encoding");
        let codings: Vec<_> = values
            .flat_map(|value| value.split(|byte| *byte == b','))
            .map(|coding| coding.trim_ascii().to_ascii_lowercase())
            .filter(|coding| !coding.is_empty() && coding != b"identity")
            .collect();
        match codings.as_slice() {
            [] => ContentEncoding::Identity,
            [one] => match one.as_slice() {
                b"gzip" | b"x-gzip" => ContentEncoding::Gzip,
                b"deflate" => ContentEncoding::Deflate,
                b"br" => ContentEncoding::Brotli,
                _ => ContentEncoding::Other,
            },
            _ => ContentEncoding::Other,
        }
    }
}

impl Connection {
    /// As [`Connection::exchange`], by the general client.
    pub(super) async fn exchange_generally(
        &mut self,
        exchange: &Exchange<'_>,
        times: &mut Times,
    ) -> Result<(), Failure> {
        if exchange.sending.message.varies() {
            self.render_once(exchange, times)?;
        }
        empty(&mut self.body);
        self.body_too_long = false;
        times.sent = clock::now();
        times.written = times.sent;
        let result = self.try_generally(exchange, times).await;
        times.finish(clock::now());
        if let Err(failure) = result {
            // What is left of an answer that was not awaited stays with its connection.
            if let Some(rest) = &mut self.rest {
                rest.general = None;
            }
            return Err(failure);
        }
        if let Some(rest) = &mut self.rest
            && let Some(general) = rest.general.take()
        {
            store(&mut self.rest, exchange, general.headers("set-cookie"));
            let encoding = general.content_encoding();
            self.rest().general = Some(general);
            if exchange.request.keep_body && encoding != ContentEncoding::Identity {
                return self.decode_body(exchange, encoding);
            }
        }
        Ok(())
    }

    async fn try_generally(
        &mut self,
        exchange: &Exchange<'_>,
        times: &mut Times,
    ) -> Result<(), Failure> {
        let worker = exchange.worker;
        let origin = exchange.sending.origin;
        let rest = self.rest.get_or_insert_default();
        // The answer before has been looked at by now.
        let kept = rest.general.take();
        let kept = kept.filter(|_| !exchange.sending.kind.closes);
        self.reused = kept.is_some();
        let (request, length) = {
            let mut rendered = worker.render.borrow_mut();
            Rest::render(Some(rest), exchange, &mut rendered);
            rest.add_cookies(exchange, &mut rendered);
            if let Some(witness) = &worker.shared.inputs.witness {
                witness.sent(exchange, &rendered);
            }
            let site = worker.network.site(origin);
            let request = site.and_then(|site| {
                let http2 = worker.compiled.target.protocol == Protocol::Http2;
                request(&site.origin, &rendered, http2)
            });
            (request, rendered.len() as u64)
        };
        let request = request.ok_or_else(|| {
            let text = "the general client cannot send this request";
            Failure::said(Outcome::Protocol, text.to_owned())
        })?;
        if !self.reused {
            worker
                .meter
                .count(times.sent, times.intended, |set| set.connections += 1);
        }
        let mut general = match kept {
            Some(general) => general,
            None => General::new(&worker.compiled)?,
        };
        let received = (&mut self.body, &mut self.body_too_long, &mut self.received);
        let answer = receive(&mut general, request, times, exchange, received);
        let outcome = exchange.interruptible(answer).await;
        self.sent = length;
        self.rest().general = Some(general);
        match outcome {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(failure(&error, worker, origin)),
            Err(interrupt) => Err(exchange.interrupted(interrupt, Outcome::Timeout)),
        }
    }
}

/// Sends a request and reads the answer to its end.
async fn receive(
    general: &mut General,
    request: Request,
    times: &mut Times,
    exchange: &Exchange<'_>,
    (body, too_long, received): (&mut Vec<u8>, &mut bool, &mut u64),
) -> Result<(), reqwest::Error> {
    general.status = 0;
    let mut response = general.client.execute(request).await?;
    times.first_byte = clock::now();
    general.status = response.status().as_u16();
    general.headers = std::mem::take(response.headers_mut());
    let keep_body = exchange.request.keep_body;
    let is_expected = exchange.request.expected.contains(general.status);
    while let Some(part) = response.chunk().await? {
        *received += part.len() as u64;
        if keep_body && !*too_long {
            if body.len() + part.len() > MAX_BODY_BYTES {
                *too_long = true;
            } else {
                body.extend_from_slice(&part);
            }
        } else if !is_expected && !keep_body {
            exchange.keep_beginning(general.status, &part, body, times.intended);
        }
    }
    Ok(())
}

/// The rendered request in the general client's form; `None` if that has no form for it.
fn request(origin: &Origin, rendered: &[u8], http2: bool) -> Option<Request> {
    let end = memchr::memmem::find(rendered, b"\r\n\r\n")?;
    let head = std::str::from_utf8(rendered.get(..end)?).ok()?;
    let (first, headers) = head.split_once("\r\n").unwrap_or((head, ""));
    let mut words = first.split(' ');
    let method = Method::from_bytes(words.next()?.as_bytes()).ok()?;
    let (scheme, authority) = (origin.scheme.name(), origin.authority());
    let url = Url::parse(&format!("{scheme}://{authority}{}", words.next()?)).ok()?;
    let mut request = Request::new(method, url);
    for line in headers.lines() {
        let (name, value) = line.split_once(':')?;
        let is = |other: &&str| name.eq_ignore_ascii_case(other);
        if is(&"content-length") || (http2 && OF_HTTP_1.iter().any(is)) {
            continue;
        }
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        let value = HeaderValue::from_bytes(value.trim().as_bytes()).ok()?;
        request.headers_mut().append(name, value);
    }
    let body = rendered.get(end + 4..).unwrap_or_default();
    if !body.is_empty() {
        *request.body_mut() = Some(body.to_vec().into());
    }
    Some(request)
}

/// Gives the client's errors the names that our own client's have.
fn failure(error: &reqwest::Error, worker: &Worker, origin: u32) -> Failure {
    let connecting = error.is_connect();
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(this) = cause {
        if let Some(error) = this.downcast_ref::<io::Error>() {
            if let Some(failure) = tls_failure(error, worker, origin) {
                return failure;
            }
            if error.raw_os_error().is_some() {
                return if connecting {
                    Failure::connect(error)
                } else {
                    Failure::broken(error)
                };
            }
        }
        if this.to_string().starts_with("dns error") {
            return Failure::dns(deepest(this).into());
        }
        cause = this.source();
    }
    let outcome = if connecting {
        Outcome::Connect
    } else if error.is_body() || error.is_decode() {
        Outcome::Reset
    } else {
        Outcome::Protocol
    };
    Failure::said(outcome, deepest(error))
}

/// What lies at the bottom of an error, which is what happened.
fn deepest(error: &(dyn Error + 'static)) -> String {
    let mut this = error;
    while let Some(cause) = this.source() {
        this = cause;
    }
    this.to_string()
}
