//! A target whose answers are whatever a test writes.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpStream},
};

/// A target that reads one request per connection and then does what a function does; ends when it
/// is dropped.
pub struct Scripted {
    pub address: SocketAddr,
    requests: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Scripted {
    /// `act` is given the number of the request, its path and the connection.
    pub async fn start<F>(
        act: impl Fn(usize, String, TcpStream) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = std::io::Result<()>> + Send,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::<AtomicUsize>::default();
        let (count, act) = (Arc::clone(&requests), Arc::new(act));
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let (count, act) = (Arc::clone(&count), Arc::clone(&act));
                connections.spawn(async move {
                    if let Some(path) = read_head(&mut stream).await {
                        let number = count.fetch_add(1, Ordering::Relaxed);
                        // A client that had enough closes: that ends the connection as well.
                        drop(act(number, path, stream).await);
                    }
                });
            }
        });
        Self {
            address,
            requests,
            task,
        }
    }

    /// Requests whose heads were read.
    pub fn count(&self) -> u64 {
        self.requests.load(Ordering::Relaxed) as u64
    }
}

async fn read_head(stream: &mut TcpStream) -> Option<String> {
    stream.set_nodelay(true).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut head).await.ok()? == 0 {
            return None;
        }
    }
    let head = String::from_utf8(head).unwrap();
    Some(head.split(' ').nth(1).unwrap().to_owned())
}
