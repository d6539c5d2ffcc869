//! A target on loopback that does what a request's path asks for, and counts.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// A request as the target saw it.
#[derive(Debug, Clone)]
pub struct Seen {
    pub at: Instant,
    pub method: String,
    pub path: String,
    pub head: String,
    pub body: Vec<u8>,
    /// Number of the connection that it came over.
    pub connection: u64,
}

#[derive(Debug, Default)]
struct State {
    seen: Vec<Seen>,
    connections: usize,
}

/// The target; ends when it is dropped.
pub struct Target {
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Target {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Target {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::<Mutex<State>>::default();
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                shared.lock().unwrap().connections += 1;
                connections.spawn(serve(stream, Arc::clone(&shared)));
            }
        });
        Self {
            address,
            state,
            task,
        }
    }

    /// Requests that were wholly received.
    pub fn count(&self) -> u64 {
        self.state.lock().unwrap().seen.len() as u64
    }

    pub fn connections(&self) -> u64 {
        self.state.lock().unwrap().connections as u64
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.state.lock().unwrap().seen.clone()
    }

    pub fn by_path(&self) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for seen in self.seen() {
            *counts.entry(seen.path).or_insert(0) += 1;
        }
        counts
    }
}

async fn serve(mut stream: TcpStream, state: Arc<Mutex<State>>) {
    stream.set_nodelay(true).unwrap();
    let mut buffer = Vec::new();
    while let Some(seen) = read_request(&mut stream, &mut buffer).await {
        state.lock().unwrap().seen.push(seen.clone());
        if !answer(&mut stream, &seen).await {
            return;
        }
    }
}

/// The next request; `None` when the client has closed.
pub async fn read_request(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut Vec<u8>,
) -> Option<Seen> {
    let head_end = loop {
        if let Some(at) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(buffer[..head_end].to_vec()).unwrap();
    let length: usize = head
        .lines()
        .find_map(|line| {
            line.to_lowercase()
                .strip_prefix("content-length: ")?
                .parse()
                .ok()
        })
        .unwrap_or(0);
    while buffer.len() < head_end + length {
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
    let body = buffer[head_end..head_end + length].to_vec();
    buffer.drain(..head_end + length);
    let mut words = head.split(' ');
    Some(Seen {
        at: Instant::now(),
        method: words.next().unwrap().to_owned(),
        path: words.next().unwrap().to_owned(),
        head,
        body,
        connection: 0,
    })
}

/// Answers as the path says; false when the connection is to be closed.
async fn answer(stream: &mut TcpStream, seen: &Seen) -> bool {
    let path = seen.path.split('?').next().unwrap();
    let mut words = path.trim_start_matches('/').split('/');
    let (what, argument) = (words.next().unwrap(), words.next().unwrap_or("0"));
    let number: u64 = argument.parse().unwrap_or(0);
    let ok = |body: &str| {
        format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let text = match what {
        "slow" => {
            tokio::time::sleep(Duration::from_millis(number)).await;
            ok("slow")
        }
        "status" => format!("HTTP/1.1 {number} Whatever\r\nContent-Length: 0\r\n\r\n"),
        "garbage" => "SSH-2.0-OpenSSH_9.2\r\n".to_owned(),
        "hang" => {
            // Until the client closes.
            while stream.read_buf(&mut Vec::new()).await.is_ok_and(|n| n > 0) {}
            return false;
        }
        "reset" => {
            stream.set_zero_linger().unwrap();
            return false;
        }
        "cut" => {
            drop(
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
                    .await,
            );
            return false;
        }
        "leave" => {
            // Keeps alive by its words, closes by its deeds.
            drop(stream.write_all(ok("bye").as_bytes()).await);
            return false;
        }
        "close" => {
            let text = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok";
            drop(stream.write_all(text.as_bytes()).await);
            return false;
        }
        "chunked" => {
            for part in [
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chu",
                "nked\r\n\r\n4\r\nin s",
                "\r\n",
                "3\r\ntoc\r\n1\r\nk\r\n0\r\n\r\n",
            ] {
                drop(stream.write_all(part.as_bytes()).await);
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            return true;
        }
        _ => ok("hello"),
    };
    let text = if seen.method == "HEAD" {
        text.split_inclusive("\r\n\r\n").next().unwrap()
    } else {
        &text
    };
    stream.write_all(text.as_bytes()).await.is_ok()
}
