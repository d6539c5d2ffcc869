//! A target that does something wrong with half of its requests and keeps an exact count.
//!
//! A request counts as seen when its head was received in full. What becomes of it is drawn from
//! its key, so a failure can be repeated. Some connections are never read from: what was sent into
//! them nobody has seen, and they are counted instead.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use loadtest_core::series::Outcome;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::witness::Key;

/// What the target does with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Answers.
    Good,
    /// Answers in small pieces.
    Dribbled,
    /// Answers and closes, as it says.
    Closed,
    /// Answers and closes its own half without a word; what still comes is read and never answered.
    HalfClosed,
    /// Answers that it cannot.
    Refused,
    /// Closes after so many bytes of the answer.
    Cut(usize),
    /// Resets the connection after so many bytes of the answer.
    Reset(usize),
    /// Says nothing.
    Hung,
    /// Came after the target had closed its half.
    Unanswered,
}

const GOOD: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

impl Fate {
    fn of(key: Key) -> Self {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        let hash = hasher.finish();
        let bytes = (hash >> 32) as usize % GOOD.len();
        match hash % 16 {
            0..8 => Self::Good,
            8 => Self::Dribbled,
            9 => Self::Closed,
            10 => Self::HalfClosed,
            11 => Self::Refused,
            12 => Self::Cut(bytes),
            13 => Self::Cut(0),
            14 => Self::Reset(bytes),
            _ => Self::Hung,
        }
    }

    /// How a request must end that the run did not cut off.
    pub fn outcome(self) -> Outcome {
        match self {
            Self::Good | Self::Dribbled | Self::Closed | Self::HalfClosed => Outcome::Ok,
            Self::Refused => Outcome::Status,
            Self::Cut(_) | Self::Reset(_) | Self::Unanswered => Outcome::Reset,
            Self::Hung => Outcome::Timeout,
        }
    }
}

#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// What became of each request, each time that it came.
    pub requests: HashMap<Key, Vec<Fate>>,
    /// Connections that were reset or held without reading.
    pub unread: u64,
}

#[derive(Default)]
struct State {
    seen: Seen,
    connections: u64,
    /// Never read from, open until the end.
    held: Vec<TcpStream>,
}

/// The target; ends when it is dropped.
pub struct Faulty {
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Faulty {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Faulty {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::<Mutex<State>>::default();
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                if let Some(stream) = turn_away_some(stream, &shared) {
                    connections.spawn(serve(stream, Arc::clone(&shared)));
                }
            }
        });
        Self {
            address,
            state,
            task,
        }
    }

    /// What was seen once all of it was: an engine that has gone may have left some in the
    /// sockets' buffers.
    pub async fn seen(&self, complete: impl Fn(&Seen) -> bool) -> Seen {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(5);
        loop {
            let seen = self.state.lock().unwrap().seen.clone();
            if complete(&seen) || tokio::time::Instant::now() > deadline {
                return seen;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

fn turn_away_some(stream: TcpStream, state: &Mutex<State>) -> Option<TcpStream> {
    let mut state = state.lock().unwrap();
    state.connections += 1;
    match state.connections % 16 {
        5 => {
            state.seen.unread += 1;
            stream.set_zero_linger().unwrap();
            None
        }
        11 => {
            state.seen.unread += 1;
            state.held.push(stream);
            None
        }
        _ => Some(stream),
    }
}

async fn serve(mut stream: TcpStream, state: Arc<Mutex<State>>) {
    stream.set_nodelay(true).unwrap();
    let mut buffer = Vec::new();
    let mut closed = false;
    while let Some(key) = read_request(&mut stream, &mut buffer).await {
        let fate = if closed {
            Fate::Unanswered
        } else {
            Fate::of(key)
        };
        note(&state, key, fate);
        if !answer(&mut stream, fate).await {
            return;
        }
        closed = matches!(fate, Fate::HalfClosed | Fate::Unanswered);
    }
}

fn note(state: &Mutex<State>, key: Key, fate: Fate) {
    let seen = &mut state.lock().unwrap().seen;
    seen.requests.entry(key).or_default().push(fate);
}

/// Reads a head, and a body of the one length that the tests send.
async fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Key> {
    loop {
        if let Some(end) = buffer.windows(4).position(|part| part == b"\r\n\r\n") {
            let head = std::str::from_utf8(&buffer[..end]).unwrap();
            let length = usize::from(head.starts_with("POST ")) * BODY.len();
            if buffer.len() >= end + 4 + length {
                let key = Key::parse(head.split(' ').nth(1).unwrap()).unwrap();
                buffer.drain(..end + 4 + length);
                return Some(key);
            }
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}

/// The body of every `POST`.
pub const BODY: &str = "x=1";

/// False when the connection is to be closed.
async fn answer(stream: &mut TcpStream, fate: Fate) -> bool {
    let write = async |stream: &mut TcpStream, text: &str| {
        // A client that has gone away has its own word for it.
        stream.write_all(text.as_bytes()).await.is_ok()
    };
    match fate {
        Fate::Good => write(stream, GOOD).await,
        Fate::Dribbled => {
            for piece in GOOD.as_bytes().chunks(5) {
                if stream.write_all(piece).await.is_err() {
                    return false;
                }
                tokio::task::yield_now().await;
            }
            true
        }
        Fate::Closed => {
            let text = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok";
            write(stream, text).await;
            false
        }
        Fate::HalfClosed => {
            write(stream, GOOD).await;
            stream.shutdown().await.is_ok()
        }
        Fate::Refused => {
            let text = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";
            write(stream, text).await
        }
        Fate::Cut(bytes) => {
            write(stream, &GOOD[..bytes]).await;
            false
        }
        Fate::Reset(bytes) => {
            write(stream, &GOOD[..bytes]).await;
            stream.set_zero_linger().unwrap();
            false
        }
        // Until the client closes.
        Fate::Hung | Fate::Unanswered => true,
    }
}
