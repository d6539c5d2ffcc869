//! Engines that measure nothing and report all the same: real tokens, TLS, bodies and rhythm.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, ensure};
use loadtest_core::{
    histogram::{NAME_DIGITS, TOTAL_DIGITS},
    report::{
        Answer, Delta, Desired, EngineReport, EngineState, GeneratorHealth, Part, RecordCounts,
        decode, encode, report_path,
    },
    series::{Outcome, Sample, Series, SeriesSet},
};
use rustls::{ClientConfig, ClientConnection, StreamOwned, pki_types::ServerName};

const RHYTHM: Duration = Duration::from_secs(1);
/// Requests that each engine makes a second.
const REQUESTS: u64 = 50;

/// A run as its runners know it.
#[derive(Clone)]
pub struct Run {
    pub server: SocketAddr,
    pub tls: Arc<ClientConfig>,
    pub id: String,
    pub plan_hash: String,
}

/// What the engines saw.
#[derive(Default)]
pub struct Seen {
    /// Answers since all have begun.
    pub answers: Mutex<Vec<Duration>>,
    pub bytes: Mutex<usize>,
    pub problems: Mutex<Vec<String>>,
    pub stop: AtomicBool,
}

pub fn lock<T>(what: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts an engine for each token, spread over the second; they end when `seen.stop` is set.
pub fn start(run: &Run, tokens: Vec<String>, seen: &Arc<Seen>) -> Vec<thread::JoinHandle<()>> {
    let count = u32::try_from(tokens.len()).unwrap_or(u32::MAX);
    let begin = |(index, token): (usize, String)| {
        let (run, seen) = (run.clone(), Arc::clone(seen));
        let index = u32::try_from(index).unwrap_or(u32::MAX);
        thread::spawn(move || {
            thread::sleep(RHYTHM * index / count.max(1));
            let mut engine = Engine::new(run, index, token);
            while !seen.stop.load(Ordering::Relaxed) {
                if let Err(error) = engine.turn(&seen) {
                    lock(&seen.problems).push(format!("runner {index}: {error:#}"));
                    engine.connection = None;
                }
                thread::sleep(engine.next.saturating_duration_since(Instant::now()));
            }
        })
    };
    tokens.into_iter().enumerate().map(begin).collect()
}

type Connection = StreamOwned<ClientConnection, TcpStream>;

struct Engine {
    run: Run,
    index: u32,
    token: String,
    connection: Option<Connection>,
    next: Instant,
    epoch: u64,
    sequence: u64,
    acknowledged: u64,
    start: Option<i64>,
}

impl Engine {
    fn new(run: Run, index: u32, token: String) -> Self {
        Self {
            run,
            index,
            token,
            connection: None,
            next: Instant::now(),
            epoch: 0,
            sequence: 0,
            acknowledged: 0,
            start: None,
        }
    }

    fn turn(&mut self, seen: &Seen) -> Result<()> {
        self.next += RHYTHM;
        let running = self.start.is_some_and(|start| now() >= start);
        if running && self.sequence == self.acknowledged {
            self.sequence += 1;
        }
        let body = encode(&self.report(running))?;
        let size = body.len();
        let asked = Instant::now();
        let answer = self.exchange(&body)?;
        if running {
            lock(&seen.answers).push(asked.elapsed());
            *lock(&seen.bytes) += size;
        }
        self.epoch = answer.epoch;
        self.acknowledged = answer.acknowledged.unwrap_or(self.acknowledged);
        if let Desired::StartAt(start) = answer.desired {
            self.start = Some(start);
        }
        Ok(())
    }

    fn report(&self, running: bool) -> EngineReport {
        let produced = self.sequence * REQUESTS;
        EngineReport {
            incarnation: 0,
            plan_hash: self.run.plan_hash.clone(),
            state: if running {
                EngineState::Running
            } else {
                EngineState::Ready
            },
            epoch: self.epoch,
            delta: running.then(|| Delta {
                sequence: self.sequence,
                full: self.sequence == 1,
                set: measured(self.sequence, self.index),
                warm_up: Series::default(),
            }),
            began: self.start,
            load_ended: None,
            users: 10,
            records: RecordCounts {
                produced,
                ..RecordCounts::default()
            },
            health: GeneratorHealth {
                cpu: 0.3,
                ..GeneratorHealth::default()
            },
            interrupted: false,
            failure: None,
            setup: None,
            teardown_failure: None,
            exhausted: Vec::new(),
        }
    }

    fn exchange(&mut self, body: &[u8]) -> Result<Answer> {
        if self.connection.is_none() {
            let socket = TcpStream::connect(self.run.server)?;
            socket.set_nodelay(true)?;
            socket.set_read_timeout(Some(Duration::from_secs(10)))?;
            let name = ServerName::IpAddress(self.run.server.ip().into());
            let client = ClientConnection::new(Arc::clone(&self.run.tls), name)?;
            self.connection = Some(StreamOwned::new(client, socket));
        }
        let connection = self.connection.as_mut().context("no connection")?;
        let path = report_path(&self.run.id, self.index, Part::Engine);
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: operator\r\nauthorization: Bearer {}\r\ncontent-length: {}\r\n\r\n",
            self.token,
            body.len()
        );
        connection.write_all(head.as_bytes())?;
        connection.write_all(body)?;
        connection.flush()?;
        let answer = read_answer(connection)?;
        Ok(decode(&answer)?)
    }
}

/// The body of a whole answer with status 200.
fn read_answer(connection: &mut Connection) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 8 << 10];
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).to_lowercase();
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.context("no content-length")?.parse()?;
            let body = bytes.get(end + 4..).unwrap_or_default();
            if body.len() >= length {
                let said = String::from_utf8_lossy(body);
                ensure!(head.starts_with("http/1.1 200"), "{head}: {said}");
                return Ok(body.to_vec());
            }
        }
        let count = connection.read(&mut buffer)?;
        ensure!(count > 0, "the server closed the connection");
        bytes.extend_from_slice(buffer.get(..count).unwrap_or_default());
    }
}

/// A second of an engine: latencies from half a millisecond to 50, and by name every fifth second, as
/// a fleet of a thousand does it.
fn measured(second: u64, runner: u32) -> SeriesSet {
    let mut set = SeriesSet {
        iterations: REQUESTS,
        scheduled: REQUESTS,
        started: REQUESTS,
        ..SeriesSet::default()
    };
    let mut named = Series::default();
    for request in 0..REQUESTS {
        let seed = request * 7_919 + second * 104_729 + u64::from(runner) * 1_299_709;
        let latency_us = 500 + seed % 50_000;
        let sample = Sample {
            outcome: Outcome::Ok,
            status: 200,
            latency_us,
            service_us: latency_us - 100,
            bytes_sent: 120,
            bytes_received: 900,
        };
        set.total.record(&sample, TOTAL_DIGITS);
        named.record(&sample, NAME_DIGITS);
    }
    if second.is_multiple_of(5) {
        set.by_name = vec![named];
    }
    set
}

fn now() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
