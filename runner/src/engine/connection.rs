//! One exchange over a user's connection: connect if needed, write, read, all under one deadline.
//!
//! Stale connections: a server may close an idle connection at any moment. One that is seen to be
//! closed before anything was written is replaced silently. One that breaks before a byte of the
//! answer is replaced once, if nothing was written or the request may be sent twice without harm;
//! otherwise nobody can know whether the server acted on it, and the request has failed.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use loadtest_core::series::Outcome;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use super::{
    compile::CompiledRequest,
    failure::Failure,
    message::Values,
    meter::Times,
    scenario::{Phase, ScenarioRun, Seat},
    worker::Worker,
};
use crate::{
    clock::{self, Nanos},
    http::{Progress, ResponseParser},
};

/// Most of a body that is kept for checks.
const MAX_BODY_BYTES: usize = 10 << 20;

/// Capacity that a user's buffers may keep from one request to the next.
const KEPT_CAPACITY: usize = 64 << 10;

/// A user's connection and what belongs to the exchange under way.
#[derive(Debug, Default)]
pub struct Connection {
    stream: Option<TcpStream>,
    parser: ResponseParser,
    /// What of the request could not be written at once.
    unwritten: Vec<u8>,
    /// Body, if a check looks at it.
    body: Vec<u8>,
    /// The body is longer than is kept.
    body_too_long: bool,
    /// The connection has served a request before this one.
    reused: bool,
    sent: u64,
    received: u64,
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
        self.parser.status()
    }
    /// The kept body, `None` when it was too long.
    pub fn body(&self) -> Option<&[u8]> {
        (!self.body_too_long).then_some(self.body.as_slice())
    }
    /// Bytes written and read for the request.
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
        worker: &Worker,
        scenario: &ScenarioRun,
        seat: &Seat,
        request: &CompiledRequest,
        values: &Values<'_>,
        times: &mut Times,
    ) -> Result<(), Failure> {
        let mut retried = false;
        (self.sent, self.received) = (0, 0);
        loop {
            self.drop_if_stale();
            self.reused = self.stream.is_some();
            if !self.reused {
                let connected =
                    Box::pin(self.connect(worker, scenario, seat, request, times)).await;
                if let Err(failure) = connected {
                    times.finish(clock::now());
                    return Err(failure);
                }
            }
            self.prepare(request);
            times.sent = clock::now();
            (times.written, times.first_byte) = (0, 0);
            let result = match self.write(worker, request, values, times) {
                Ok(()) => {
                    poll_fn(|context| {
                        self.poll_answer(context, worker, scenario, seat, request, times)
                    })
                    .await
                }
                Err(broken) => Err(broken),
            };
            let failure = match result {
                Ok(()) => {
                    let keep = self.parser.keep_alive()
                        && !request.kind.closes
                        && self.unwritten.is_empty();
                    if !keep {
                        self.stream = None;
                    }
                    return Ok(());
                }
                Err(Broken::Stale {
                    nothing_written,
                    failure,
                }) => {
                    self.stream = None;
                    if !retried && (nothing_written || request.kind.idempotent) {
                        retried = true;
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

    /// Closes the connection.
    pub fn close(&mut self) {
        self.stream = None;
    }

    /// An idle connection that became readable was closed, or has bytes that nobody asked for.
    /// Costs no system call while there is no news.
    fn drop_if_stale(&mut self) {
        if let Some(stream) = &self.stream {
            match stream.try_read(&mut [0; 1]) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                _ => self.stream = None,
            }
        }
    }

    fn prepare(&mut self, request: &CompiledRequest) {
        self.parser.reset(request.kind.head);
        for buffer in [&mut self.unwritten, &mut self.body] {
            buffer.clear();
            if buffer.capacity() > KEPT_CAPACITY {
                *buffer = Vec::new();
            }
        }
        self.body_too_long = false;
    }

    /// Cold, therefore boxed by the caller: its state is not part of every user.
    async fn connect(
        &mut self,
        worker: &Worker,
        scenario: &ScenarioRun,
        seat: &Seat,
        request: &CompiledRequest,
        times: &mut Times,
    ) -> Result<(), Failure> {
        (times.sent, times.written, times.first_byte) = (0, 0, 0);
        let begun = clock::now();
        let cut = |interrupt| match interrupt {
            Interrupt::Aborted => Failure::ABORTED,
            Interrupt::TimedOut => {
                Failure::timeout(Outcome::ConnectTimeout, worker.timeout(request))
            }
        };
        let lookup = interruptible(scenario, seat, worker.resolver.addresses()).await;
        times.dns = clock::now() - begun;
        let (addresses, first) = lookup.map_err(cut)?.map_err(Failure::dns)?;
        let mut failure = None;
        let in_turn = addresses.iter().cycle().skip(first).take(addresses.len());
        for address in in_turn {
            match interruptible(scenario, seat, TcpStream::connect(*address))
                .await
                .map_err(cut)?
            {
                Ok(stream) => {
                    if let Err(error) = stream.set_nodelay(true) {
                        return Err(Failure::connect(&error));
                    }
                    self.stream = Some(stream);
                    worker.meter.count(clock::now(), |set| set.connections += 1);
                    return Ok(());
                }
                Err(error) => {
                    failure.get_or_insert_with(|| Failure::connect(&error));
                }
            }
        }
        Err(failure.unwrap_or_else(|| Failure::dns("no address".into())))
    }

    /// Renders and writes as much as goes at once.
    fn write(
        &mut self,
        worker: &Worker,
        request: &CompiledRequest,
        values: &Values<'_>,
        times: &mut Times,
    ) -> Result<(), Broken> {
        let Some(stream) = &self.stream else {
            return Ok(());
        };
        let mut buffer = worker.render.borrow_mut();
        buffer.clear();
        request.message.render(values, &mut buffer);
        let written = match stream.try_write(&buffer) {
            Ok(written) => written,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => {
                let failure = Failure::broken(&error);
                return Err(if self.reused {
                    Broken::Stale {
                        nothing_written: true,
                        failure,
                    }
                } else {
                    Broken::Failed(failure)
                });
            }
        };
        self.sent += written as u64;
        if written == buffer.len() {
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
        worker: &Worker,
        scenario: &ScenarioRun,
        seat: &Seat,
        request: &CompiledRequest,
        times: &mut Times,
    ) -> Poll<Result<(), Broken>> {
        seat.register(context);
        if !self.unwritten.is_empty() {
            self.poll_rest(context, times);
        }
        let mut buffer = worker.read.borrow_mut();
        match self.poll_read(context, &mut buffer, request, times) {
            Poll::Ready(result) => Poll::Ready(result),
            // Only now: an answer that is here in time counts, even when we look too late.
            Poll::Pending => match interrupt(scenario, seat) {
                None => Poll::Pending,
                Some(Interrupt::Aborted) => Poll::Ready(Err(Broken::Failed(Failure::ABORTED))),
                Some(Interrupt::TimedOut) => Poll::Ready(Err(Broken::Failed(Failure::timeout(
                    Outcome::Timeout,
                    worker.timeout(request),
                )))),
            },
        }
    }

    /// Goes on writing while the answer is awaited: a server may answer (413) before it has read
    /// all, and would wait for ever for somebody who only writes.
    fn poll_rest(&mut self, context: &mut Context<'_>, times: &mut Times) {
        let Some(stream) = &mut self.stream else {
            return;
        };
        let mut done = 0;
        while let Some(rest) = self.unwritten.get(done..).filter(|rest| !rest.is_empty()) {
            match Pin::new(&mut *stream).poll_write(context, rest) {
                Poll::Ready(Ok(written)) if written > 0 => {
                    done += written;
                    self.sent += written as u64;
                }
                // A server that stopped reading may have answered: what it said decides.
                Poll::Ready(_) | Poll::Pending => break,
            }
        }
        self.unwritten.drain(..done);
        if self.unwritten.is_empty() {
            times.written = clock::now();
        }
    }

    #[inline]
    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
        request: &CompiledRequest,
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
            if let Err(error) = ready!(Pin::new(&mut *stream).poll_read(context, &mut read)) {
                return Poll::Ready(Err(self.broken(Failure::broken(&error))));
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
            let fed = parser.feed(bytes, |part| {
                if request.keep_body && !*body_too_long {
                    if body.len() + part.len() > MAX_BODY_BYTES {
                        *body_too_long = true;
                    } else {
                        body.extend_from_slice(part);
                    }
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

/// Why a wait ends before its time.
#[derive(Debug, Clone, Copy)]
pub enum Interrupt {
    /// The request's timeout passed.
    TimedOut,
    /// The run is over.
    Aborted,
}

fn interrupt(scenario: &ScenarioRun, seat: &Seat) -> Option<Interrupt> {
    if seat.timed_out.get() {
        Some(Interrupt::TimedOut)
    } else if scenario.phase.get() == Phase::Aborting {
        Some(Interrupt::Aborted)
    } else {
        None
    }
}

/// Waits for a future, the timeout or the end of the run, whichever comes first.
async fn interruptible<F: Future>(
    scenario: &ScenarioRun,
    seat: &Seat,
    future: F,
) -> Result<F::Output, Interrupt> {
    let mut future = std::pin::pin!(future);
    poll_fn(|context| {
        seat.register(context);
        match future.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Ok(output)),
            Poll::Pending => match interrupt(scenario, seat) {
                Some(interrupt) => Poll::Ready(Err(interrupt)),
                None => Poll::Pending,
            },
        }
    })
    .await
}
