//! One exchange over a user's connection: connect if needed, write, read, all under one deadline.
//!
//! Stale connections: a server may close an idle connection at any moment. One that is seen to be
//! closed before anything was written is replaced silently. One that breaks before a byte of the
//! answer is replaced once, if nothing was written or the request may be sent twice without harm;
//! otherwise nobody can know whether the server acted on it, and the request has failed.
//!
//! A user's connection to the origin that it talks to is here, inline; what few users have is in
//! one box beside it: connections to other origins, cookies, the general client.

mod connect;
mod cookies;
mod decode;
mod general;
mod interrupt;
mod redirect;
mod rest;
mod said;
mod stream;

use std::{
    future::poll_fn,
    io,
    task::{Context, Poll, ready},
};

use loadtest_core::{
    plan::{Connections, Cookies},
    series::Outcome,
};
use tokio::io::ReadBuf;

pub use redirect::Hop;
use rest::Rest;
pub use said::Said;
use stream::Stream;

use super::{
    compile::{Client, CompiledRequest, CompiledScenario, Sending},
    failure::Failure,
    message::Values,
    scenario::{ScenarioRun, Seat},
    times::Times,
    worker::Worker,
};
use crate::{
    clock::{self, Nanos},
    http::{ContentEncoding, Progress, ResponseParser},
};

/// Most of a body that is kept for checks, also after decoding.
pub const MAX_BODY_BYTES: usize = 10 << 20;

/// Capacity that a user's buffers may keep from one request to the next.
const KEPT_CAPACITY: usize = 64 << 10;

/// A request that is to be sent, and whose it is.
#[derive(Debug, Clone, Copy)]
pub struct Exchange<'a> {
    /// The user's worker.
    pub worker: &'a Worker,
    /// The user's scenario.
    pub scenario: &'a ScenarioRun,
    /// The user's seat.
    pub seat: &'a Seat,
    /// The step.
    pub request: &'a CompiledRequest,
    /// What is sent for it.
    pub sending: &'a Sending,
    /// What slots render to.
    pub values: Values<'a>,
}

/// A user's connection and what belongs to the exchange under way.
#[derive(Debug, Default)]
pub struct Connection {
    stream: Option<Stream>,
    /// Number of the origin that `stream` leads to.
    origin: u32,
    parser: ResponseParser,
    /// What of the request could not be written at once.
    unwritten: Vec<u8>,
    /// All of the request has left.
    written: bool,
    /// Body, if a check looks at it.
    body: Vec<u8>,
    /// The body is longer than is kept.
    body_too_long: bool,
    /// The connection has served a request before this one.
    reused: bool,
    sent: u64,
    received: u64,
    rest: Option<Box<Rest>>,
}

/// Why an exchange has no whole answer.
enum Broken {
    /// The request has failed.
    Failed(Failure),
    /// Nothing came back over a connection that was used before.
    Stale {
        nothing_written: bool,
        failure: Failure,
    },
}

impl Connection {
    /// Status of the answer.
    pub fn status(&self) -> u16 {
        match self.rest.as_deref().and_then(Rest::general_status) {
            Some(status) => status,
            None => self.parser.status(),
        }
    }

    /// Bytes written and read for the request, without those of TLS.
    pub fn bytes(&self) -> (u64, u64) {
        (self.sent, self.received)
    }

    /// Whether the connection had served a request before.
    pub fn reused(&self) -> bool {
        self.reused
    }

    /// Sends a request and reads its answer. `times.intended` and `times.turned` are set; the
    /// others are set here, whatever happens.
    pub async fn exchange(
        &mut self,
        exchange: &Exchange<'_>,
        times: &mut Times,
    ) -> Result<(), Failure> {
        let mut retried = false;
        (self.sent, self.received) = (0, 0);
        if exchange.sending.kind.client == Client::General {
            return Box::pin(self.exchange_generally(exchange, times)).await;
        }
        if self.origin != exchange.sending.origin {
            self.turn_to(exchange.sending.origin);
        }
        let varies = exchange.sending.message.varies();
        if varies {
            self.render_once(exchange, times)?;
        }
        loop {
            if self.stream.as_mut().is_some_and(|s| !s.is_quiet()) {
                self.stream = None;
            }
            self.reused = self.stream.is_some();
            if !self.reused {
                let connected = Box::pin(self.connect(exchange, times)).await;
                if let Err(failure) = connected {
                    times.finish(clock::now());
                    return Err(failure);
                }
            }
            self.prepare(exchange.sending);
            // The clock is looked at again only when something has taken time.
            let at_once = self.reused && !varies;
            times.sent = if at_once { times.turned } else { clock::now() };
            (times.written, times.first_byte) = (0, 0);
            let result = match self.write(exchange, times) {
                Ok(()) => poll_fn(|context| self.poll_answer(context, exchange, times)).await,
                Err(broken) => Err(broken),
            };
            let failure = match result {
                Ok(()) => return self.conclude(exchange),
                Err(Broken::Stale {
                    nothing_written,
                    failure,
                }) => {
                    self.stream = None;
                    if !retried && (nothing_written || exchange.sending.kind.idempotent) {
                        retried = true;
                        if !nothing_written {
                            let meter = &exchange.worker.meter;
                            meter.count(clock::now(), times.intended, |set| set.resent += 1);
                        }
                        continue;
                    }
                    failure
                }
                Err(Broken::Failed(failure)) => failure,
            };
            self.stream = None;
            times.finish(clock::now());
            return Err(failure);
        }
    }

    /// Closes all connections.
    pub fn close(&mut self) {
        self.close_stream();
        if let Some(rest) = &mut self.rest {
            rest.close();
        }
    }

    /// An iteration is over: what belongs to it alone ends with it.
    pub fn end_iteration(&mut self, scenario: &CompiledScenario) {
        if scenario.connections == Connections::PerIteration {
            self.close();
        }
        if scenario.cookies == Cookies::Iteration
            && let Some(rest) = &mut self.rest
        {
            rest.jar.borrow_mut().clear();
        }
    }

    fn close_stream(&mut self) {
        if let Some(stream) = self.stream.take() {
            stream.close();
        }
    }

    fn rest(&mut self) -> &mut Rest {
        self.rest.get_or_insert_default()
    }

    /// Makes the connection to another origin the one at hand.
    #[cold]
    fn turn_to(&mut self, origin: u32) {
        let (from, stream) = (self.origin, self.stream.take());
        self.stream = self.rest().swap(from, stream, origin);
        self.origin = origin;
    }

    #[inline]
    fn prepare(&mut self, sending: &Sending) {
        self.parser
            .reset_keeping(sending.kind.head, sending.kind.keep);
        empty(&mut self.unwritten);
        empty(&mut self.body);
        self.written = false;
        self.body_too_long = false;
    }

    /// A whole answer is here: what becomes of the connection, the cookies and the body.
    #[inline]
    fn conclude(&mut self, exchange: &Exchange<'_>) -> Result<(), Failure> {
        let closes = exchange.sending.kind.closes;
        if !self.parser.keep_alive() || closes || !self.written {
            self.close_stream();
        }
        if self.parser.sets_cookies() {
            self.keep_cookies(exchange);
        }
        let encoding = self.parser.content_encoding();
        if exchange.request.keep_body && encoding != ContentEncoding::Identity {
            return self.decode_body(exchange, encoding);
        }
        Ok(())
    }

    /// Renders and writes as much as goes at once.
    fn write(&mut self, exchange: &Exchange<'_>, times: &mut Times) -> Result<(), Broken> {
        let Some(stream) = &mut self.stream else {
            return Ok(());
        };
        let mut buffer = exchange.worker.render.borrow_mut();
        let rest = self.rest.as_deref();
        Rest::render(rest, exchange, &mut buffer);
        if let Some(rest) = rest {
            rest.add_cookies(exchange, &mut buffer);
        }
        if let Some(witness) = &exchange.worker.shared.inputs.witness {
            witness.sent(exchange, &buffer);
        }
        let written = match stream.try_write(&buffer) {
            Ok(written) => written,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) if self.reused => {
                return Err(Broken::Stale {
                    nothing_written: !stream.may_have_written(buffer.len()),
                    failure: Failure::broken(&error),
                });
            }
            // A server that refuses a client after the handshake says so before it closes.
            Err(_) if matches!(stream, Stream::Tls(_)) => 0,
            Err(error) => return Err(Broken::Failed(Failure::broken(&error))),
        };
        self.sent += written as u64;
        if written == buffer.len() && stream.is_flushed() {
            self.written = true;
            times.written = clock::now();
        } else {
            self.unwritten
                .extend_from_slice(buffer.get(written..).unwrap_or_default());
        }
        Ok(())
    }

    fn poll_answer(
        &mut self,
        context: &mut Context<'_>,
        exchange: &Exchange<'_>,
        times: &mut Times,
    ) -> Poll<Result<(), Broken>> {
        exchange.seat.register(context);
        if !self.written {
            self.poll_rest(context, times);
        }
        let mut buffer = exchange.worker.read.borrow_mut();
        match self.poll_read(context, &mut buffer, exchange, times) {
            Poll::Ready(result) => Poll::Ready(result),
            // Only now: an answer that is here in time counts, even when we look too late.
            Poll::Pending => match exchange.interrupt() {
                None => Poll::Pending,
                Some(interrupt) => Poll::Ready(Err(Broken::Failed(
                    exchange.interrupted(interrupt, Outcome::Timeout),
                ))),
            },
        }
    }

    /// Goes on writing while the answer is awaited: a server may answer (413) before it has read
    /// all, and would wait for ever for somebody who only writes.
    #[cold]
    fn poll_rest(&mut self, context: &mut Context<'_>, times: &mut Times) {
        let Some(stream) = &mut self.stream else {
            return;
        };
        let mut done = 0;
        while let Some(rest) = self.unwritten.get(done..).filter(|rest| !rest.is_empty()) {
            match stream.poll_write(context, rest) {
                Poll::Ready(Ok(written)) if written > 0 => {
                    done += written;
                    self.sent += written as u64;
                }
                // A server that stopped reading may have answered: what it said decides.
                Poll::Ready(_) | Poll::Pending => break,
            }
        }
        self.unwritten.drain(..done);
        if self.unwritten.is_empty() && matches!(stream.poll_flush(context), Poll::Ready(Ok(()))) {
            self.written = true;
            times.written = clock::now();
        }
    }

    #[inline]
    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
        exchange: &Exchange<'_>,
        times: &mut Times,
    ) -> Poll<Result<(), Broken>> {
        let Self {
            stream,
            parser,
            body,
            body_too_long,
            received,
            ..
        } = self;
        let Some(stream) = stream else {
            return Poll::Ready(Ok(()));
        };
        loop {
            let mut read = ReadBuf::new(buffer);
            if let Err(error) = ready!(stream.poll_read(context, &mut read)) {
                return Poll::Ready(Err(self.read_failed(&error, exchange)));
            }
            let bytes = read.filled();
            let now = clock::now();
            if bytes.is_empty() {
                let ended = parser.end_of_stream();
                return Poll::Ready(match ended {
                    Ok(()) => {
                        times.finish(now);
                        Ok(())
                    }
                    Err(error) => Err(self.broken(Failure::closed(error))),
                });
            }
            if *received == 0 {
                times.first_byte = now;
            }
            *received += bytes.len() as u64;
            let mut heads = exchange.worker.heads.borrow_mut();
            let memory = heads.get_mut(exchange.request.series as usize);
            let request = exchange.request;
            let fed = parser.feed_knowing_status(bytes, memory, |status, part| {
                if request.keep_body && !*body_too_long {
                    if body.len() + part.len() > MAX_BODY_BYTES {
                        *body_too_long = true;
                    } else {
                        body.extend_from_slice(part);
                    }
                } else if !request.expected.contains(status) && !request.keep_body {
                    exchange.keep_beginning(status, part, body, times.intended);
                }
            });
            match fed {
                Ok(Progress::NeedMore) => {}
                Ok(Progress::Done { .. }) => {
                    times.finish(now);
                    return Poll::Ready(Ok(()));
                }
                Err(error) => {
                    return Poll::Ready(Err(Broken::Failed(Failure::protocol(error))));
                }
            }
        }
    }

    #[cold]
    fn read_failed(&mut self, error: &io::Error, exchange: &Exchange<'_>) -> Broken {
        // Over TLS a close without notice may have been anybody's.
        if error.kind() == io::ErrorKind::UnexpectedEof {
            return match self.parser.end_of_stream() {
                Err(error) => self.broken(Failure::closed(error)),
                Ok(()) => Broken::Failed(Failure::NO_CLOSE_NOTIFY),
            };
        }
        match connect::tls_failure(error, exchange.worker, self.origin) {
            Some(failure) => Broken::Failed(failure),
            None => self.broken(Failure::broken(error)),
        }
    }

    fn broken(&self, failure: Failure) -> Broken {
        if self.reused && !self.parser.started() {
            Broken::Stale {
                nothing_written: self.sent == 0,
                failure,
            }
        } else {
            Broken::Failed(failure)
        }
    }
}

/// Makes a user's buffer ready for the next request, with no more room than users may keep.
#[inline]
fn empty(buffer: &mut Vec<u8>) {
    buffer.clear();
    if buffer.capacity() > KEPT_CAPACITY {
        *buffer = Vec::new();
    }
}

impl Times {
    /// The request is over. Marks that were not reached are the mark after them; an answer may
    /// have come before all was written.
    fn finish(&mut self, now: Nanos) {
        self.end = now;
        if self.first_byte == 0 {
            self.first_byte = now;
        }
        if self.written == 0 || self.written > self.first_byte {
            self.written = self.first_byte;
        }
        if self.sent == 0 {
            self.sent = self.written;
        }
    }
}
