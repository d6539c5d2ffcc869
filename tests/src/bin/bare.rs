//! A bare loop over epoll, beside which `make bench` puts the engine: one fixed request for each
//! connection, the least of HTTP that finds the end of an answer, one histogram, and nothing else.
//!
//! `bare CONNECTIONS SECONDS URL` prints `N requests in S s`.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::SocketAddr,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use hdrhistogram::Histogram;
use mio::{Events, Interest, Poll, Token, net::TcpStream};

/// Of an answer's head and body; more is not asked for.
const ROOM: usize = 16 * 1_024;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bare: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [connections, seconds, url] = &args[..] else {
        bail!("usage: bare CONNECTIONS SECONDS http://ADDRESS:PORT/PATH");
    };
    let place = url
        .strip_prefix("http://")
        .and_then(|rest| rest.split_once('/'));
    let (host, path) = place.context("the url must be http://ADDRESS:PORT/PATH")?;
    let address: SocketAddr = host.parse().context("ADDRESS:PORT")?;
    let request = format!("GET /{path} HTTP/1.1\r\nHost: {host}\r\n\r\n").into_bytes();
    let length = Duration::from_secs(seconds.parse().context("SECONDS")?);
    let mut poll = Poll::new()?;
    let mut users = Vec::new();
    for number in 0..connections.parse().context("CONNECTIONS")? {
        let mut stream = TcpStream::connect(address)?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        poll.registry()
            .register(&mut stream, Token(number), interest)?;
        users.push(User::new(stream));
    }
    let mut service_us = Histogram::<u64>::new_with_bounds(1, 60_000_000, 3)?;
    let mut events = Events::with_capacity(1_024);
    let begun = Instant::now();
    while begun.elapsed() < length {
        poll.poll(&mut events, Some(Duration::from_millis(100)))?;
        let now = Instant::now();
        for event in &events {
            if let Some(user) = users.get_mut(event.token().0) {
                user.go_on(&request, now, &mut service_us)?;
            }
        }
    }
    println!(
        "  {} requests in {} s, half of them within {} us",
        service_us.len(),
        length.as_secs(),
        service_us.value_at_quantile(0.5)
    );
    Ok(())
}

/// One connection, which asks again as soon as it is answered.
struct User {
    stream: TcpStream,
    sent: Option<Instant>,
    answer: Vec<u8>,
    filled: usize,
}

impl User {
    fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            sent: None,
            answer: vec![0; ROOM],
            filled: 0,
        }
    }

    /// Reads until nothing is there; events are told only once.
    fn go_on(&mut self, request: &[u8], now: Instant, times: &mut Histogram<u64>) -> Result<()> {
        if self.sent.is_none() {
            match self.stream.peer_addr() {
                Ok(_) => self.send(request, now)?,
                Err(error) if error.kind() == ErrorKind::NotConnected => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        loop {
            let read = match self.stream.read(&mut self.answer[self.filled..]) {
                Ok(0) => bail!("the target closed a connection, or its answer is too long"),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            self.filled += read;
            let end = end_of_answer(&self.answer[..self.filled])?;
            if let (Some(end), Some(sent)) = (end, self.sent) {
                if end != self.filled {
                    bail!("more came than was asked for");
                }
                times.saturating_record(sent.elapsed().as_micros() as u64);
                self.send(request, Instant::now())?;
                // What follows comes with another event.
                return Ok(());
            }
        }
    }

    fn send(&mut self, request: &[u8], now: Instant) -> io::Result<()> {
        self.filled = 0;
        self.sent = Some(now);
        self.stream.write_all(request)
    }
}

/// Where the answer ends, if all of it is there.
fn end_of_answer(bytes: &[u8]) -> Result<Option<usize>> {
    let Some(head) = memchr::memmem::find(bytes, b"\r\n\r\n") else {
        return Ok(None);
    };
    let text = std::str::from_utf8(&bytes[..head]).context("the answer's head")?;
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse::<usize>())
    });
    let end = head + 4 + length.context("an answer without content-length")??;
    Ok((bytes.len() >= end).then_some(end))
}
