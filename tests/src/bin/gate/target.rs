//! A target that always answers the same, and counts. It lives in the gate's own process, which is
//! not weighed, and answers long before an engine under valgrind looks again.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\n\
    Content-Type: application/json; charset=utf-8\r\n\
    Server: gate\r\n\
    Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n\
    Content-Length: 48\r\n\
    \r\n\
    {\"id\":17,\"state\":\"done\",\"text\":\"so all is well\"}";

/// Where it listens and what it counted. Lasts as long as the process.
#[derive(Debug)]
pub struct Target {
    pub address: SocketAddr,
    requests: Arc<AtomicU64>,
}

impl Target {
    pub fn start() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let requests = Arc::<AtomicU64>::default();
        let counter = Arc::clone(&requests);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let counter = Arc::clone(&counter);
                // A connection that breaks is the engine's to report.
                thread::spawn(move || drop(serve(stream, &counter)));
            }
        });
        Ok(Self { address, requests })
    }

    /// Requests so far.
    pub fn requests(&self) -> u64 {
        self.requests.load(Relaxed)
    }
}

/// Each request comes whole in one segment, since the engine sends it with one write.
fn serve(mut stream: TcpStream, requests: &AtomicU64) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; 16 << 10];
    while stream.read(&mut buffer)? > 0 {
        requests.fetch_add(1, Relaxed);
        stream.write_all(ANSWER)?;
    }
    Ok(())
}
