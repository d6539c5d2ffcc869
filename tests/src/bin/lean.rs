//! The target of `make bench` for plain HTTP: one epoll loop for each of its cores, which does as
//! little for an answer as can be. So it is the client whose work is measured: one that has to wait
//! for its target is woken for single answers, and that costs more CPU than being busy does.
//!
//! `lean ADDRESS:PORT PATH...` asks a server once for each path, prints `listening on URL`, and sends
//! the same bytes to whoever asks for the path again. `/__stats` tells how many have.

use std::{
    borrow::Cow,
    io::{ErrorKind, Read, Write},
    net::{self, TcpListener},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, Receiver, Sender},
    },
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use mio::{Events, Interest, Poll, Token, Waker, net::TcpStream};

/// For the requests that are in a connection at once: these clients send one, of a few hundred bytes.
const ROOM: usize = 16 * 1_024;

const NEW_CONNECTION: Token = Token(usize::MAX);

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lean: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [origin, paths @ ..] = &args[..] else {
        bail!("usage: lean ADDRESS:PORT PATH...");
    };
    let answers = Arc::new(Answers::of(origin, paths)?);
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("listening on http://{}", listener.local_addr()?);
    let cores = thread::available_parallelism()?.get();
    let doors = (0..cores)
        .map(|_| Door::open(&answers))
        .collect::<Result<Vec<_>>>()?;
    for (stream, door) in listener.incoming().zip(doors.iter().cycle()) {
        door.let_in(stream?)?;
    }
    Ok(())
}

/// What is sent, and how often.
struct Answers {
    /// By path.
    known: Vec<(String, Vec<u8>)>,
    requests: AtomicU64,
}

impl Answers {
    fn of(origin: &str, paths: &[String]) -> Result<Self> {
        let known = paths
            .iter()
            .map(|path| Ok((path.clone(), ask(origin, path)?)));
        Ok(Self {
            known: known.collect::<Result<_>>()?,
            requests: AtomicU64::new(0),
        })
    }

    /// The answer to the one request that these bytes are, and whether the connection goes on.
    fn to(&self, request: &[u8]) -> Result<(Cow<'_, [u8]>, bool)> {
        let target = request.split(|&byte| byte == b' ').nth(1);
        let target = str::from_utf8(target.context("was asked without a request line")?)?;
        // A proxy is asked with the whole url.
        let target = target.strip_prefix("http://").map_or(target, |rest| {
            rest.find('/').map_or("/", |path| &rest[path..])
        });
        let path = target.split('?').next().unwrap_or(target);
        if let Some((_, answer)) = self.known.iter().find(|(known, _)| known == path) {
            self.requests.fetch_add(1, Ordering::Relaxed);
            return Ok((answer.into(), true));
        }
        if path != "/__stats" {
            bail!("was asked for {path}");
        }
        let stats = serde_json::json!({ "requests": self.requests.load(Ordering::Relaxed) });
        let stats = stats.to_string();
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}", stats.len());
        Ok((format!("{head}\r\n\r\n{stats}").into_bytes().into(), false))
    }
}

/// A server's whole answer, head and body.
fn ask(origin: &str, path: &str) -> Result<Vec<u8>> {
    let mut stream = net::TcpStream::connect(origin)?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {origin}\r\n\r\n")?;
    // It would be kept open: all has come when nothing more comes.
    stream.set_read_timeout(Some(Duration::from_millis(300)))?;
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error.into()),
        _ if answer.starts_with(b"HTTP/1.1 200 ") => Ok(answer),
        _ => bail!("{origin} does not have {path}"),
    }
}

/// The way into a loop.
struct Door {
    streams: Sender<net::TcpStream>,
    waker: Waker,
}

impl Door {
    /// Starts a loop.
    fn open(answers: &Arc<Answers>) -> Result<Self> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), NEW_CONNECTION)?;
        let (streams, come) = mpsc::channel();
        let answers = Arc::clone(answers);
        thread::spawn(move || {
            if let Err(error) = answer_all(poll, &come, &answers) {
                eprintln!("lean: {error:#}");
                std::process::exit(1);
            }
        });
        Ok(Self { streams, waker })
    }

    fn let_in(&self, stream: net::TcpStream) -> Result<()> {
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        self.streams.send(stream).context("a loop is gone")?;
        Ok(self.waker.wake()?)
    }
}

fn answer_all(mut poll: Poll, come: &Receiver<net::TcpStream>, answers: &Answers) -> Result<()> {
    let mut events = Events::with_capacity(1_024);
    let mut connections: Vec<Option<TcpStream>> = Vec::new();
    let mut buffer = vec![0; ROOM];
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            polled => polled?,
        }
        for event in &events {
            let Token(number) = event.token();
            if event.token() == NEW_CONNECTION {
                for stream in come.try_iter() {
                    let mut stream = TcpStream::from_std(stream);
                    let token = Token(connections.len());
                    poll.registry()
                        .register(&mut stream, token, Interest::READABLE)?;
                    connections.push(Some(stream));
                }
            } else if let Some(place) = connections.get_mut(number)
                && let Some(stream) = place
                && !answer(stream, &mut buffer, answers)?
            {
                *place = None;
            }
        }
    }
}

/// Answers what has come; says whether the connection goes on. One read and one write: a client that
/// has not been answered sends nothing more, and then there is room for the whole answer.
fn answer(stream: &mut TcpStream, buffer: &mut [u8], answers: &Answers) -> Result<bool> {
    match stream.read(buffer) {
        Ok(0) => Ok(false),
        Ok(read) => {
            let request = &buffer[..read];
            if !request.ends_with(b"\r\n\r\n") {
                bail!("was asked for something in parts, or with a body");
            }
            let (bytes, goes_on) = answers.to(request)?;
            match stream.write_all(&bytes) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    bail!("a client does not read its answers")
                }
                written => Ok(goes_on && written.is_ok()),
            }
        }
        // Otherwise it has gone, which is its right at any moment.
        Err(error) => Ok(error.kind() == ErrorKind::WouldBlock),
    }
}
