//! A server that notes when it had each request and when it began to answer it, on the clock that
//! the engine's records refer to.
//!
//! Two threads of their own, so that it keeps its times beside whatever else the tests do: one
//! reads, one answers at the due times, sleeping until shortly before and spinning for the rest.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, mpsc},
    time::Duration,
};

use loadtest_runner::clock::{self, MICRO, Nanos};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::oneshot,
};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// The part of a wait that is spun: about what the kernel is late with a sleeper.
const SPIN: Nanos = 150 * MICRO;

/// Which request of which user: the path `/STEP?u=USER&i=ITERATION` of [`path`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Number of the request step in the plan.
    pub step: u32,
    /// Number of the user over all runners.
    pub user: u32,
    /// Number of the user's iteration.
    pub iteration: u32,
}

/// The path of a request that the witness can tell from all others.
pub fn path(step: u32) -> String {
    format!("/{step}?u=$(user.index)&i=$(user.iteration)")
}

impl Key {
    /// Reads what became of [`path`].
    pub fn parse(path: &str) -> Option<Self> {
        let (step, query) = path.strip_prefix('/')?.split_once("?u=")?;
        let (user, iteration) = query.split_once("&i=")?;
        Some(Self {
            step: step.parse().ok()?,
            user: user.parse().ok()?,
            iteration: iteration.parse().ok()?,
        })
    }
}

/// A request as the server saw it.
#[derive(Debug, Clone, Copy)]
pub struct Served {
    /// Which.
    pub key: Key,
    /// When its last byte had been read.
    pub arrived: Nanos,
    /// When it was to be answered.
    pub due: Nanos,
    /// Just before the answer was written; 0 before that.
    pub replied: Nanos,
}

/// How long the server takes.
#[derive(Debug, Clone, Copy)]
pub enum Service {
    /// No time: the answer is written by the thread that read.
    AtOnce,
    /// A fixed time for each request, any number of them side by side; but a request that arrives
    /// during a stall is only begun at the stall's end.
    Stalling {
        /// Time per request.
        takes: Duration,
        /// When the first stall begins, from the first request.
        first: Duration,
        /// From one stall to the next.
        every: Duration,
        /// How long.
        stall: Duration,
    },
}

impl Service {
    /// When a request is answered, in time since the first request.
    fn due(self, arrived: Nanos) -> Nanos {
        let Self::Stalling {
            takes,
            first,
            every,
            stall,
        } = self
        else {
            return arrived;
        };
        let nanos = |duration: Duration| duration.as_nanos() as Nanos;
        let begun = match arrived.checked_sub(nanos(first)) {
            Some(after) if after % nanos(every) < nanos(stall) => {
                arrived - after % nanos(every) + nanos(stall)
            }
            _ => arrived,
        };
        begun + nanos(takes)
    }
}

struct Job {
    due: Nanos,
    number: usize,
    stream: Arc<TcpStream>,
}

struct Shared {
    service: Service,
    log: Mutex<Vec<Served>>,
    jobs: mpsc::Sender<Job>,
}

/// The server; ends when it is dropped.
pub struct Witness {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    _stop: oneshot::Sender<()>,
}

impl Witness {
    pub fn start(service: Service) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (jobs, due) = mpsc::channel();
        let shared = Arc::new(Shared {
            service,
            log: Mutex::default(),
            jobs,
        });
        let (stop, stopped) = oneshot::channel();
        let of_reader = Arc::clone(&shared);
        std::thread::spawn(move || read_all(listener, &of_reader, stopped));
        let of_writer = Arc::downgrade(&shared);
        std::thread::spawn(move || {
            while let Ok(job) = due.recv() {
                wait_until(job.due);
                let Some(shared) = of_writer.upgrade() else {
                    return;
                };
                answer(&shared, &job.stream, job.number);
            }
        });
        Self {
            address,
            shared,
            _stop: stop,
        }
    }

    /// All requests so far in the order in which they came.
    pub fn log(&self) -> Vec<Served> {
        self.shared.log.lock().unwrap().clone()
    }
}

fn wait_until(due: Nanos) {
    if let Some(long) = due.checked_sub(clock::now() + SPIN) {
        std::thread::sleep(Duration::from_nanos(long));
    }
    while clock::now() < due {
        std::hint::spin_loop();
    }
}

fn answer(shared: &Shared, stream: &TcpStream, number: usize) {
    shared.log.lock().unwrap()[number].replied = clock::now();
    // A client that has gone away has its own word for it.
    drop(stream.try_write(ANSWER));
}

fn read_all(listener: std::net::TcpListener, shared: &Arc<Shared>, stopped: oneshot::Receiver<()>) {
    tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .unwrap()
        .block_on(async {
            let listener = TcpListener::from_std(listener).unwrap();
            let accept = async {
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    tokio::spawn(read(Arc::new(stream), Arc::clone(shared)));
                }
            };
            tokio::select! {
                () = accept => {}
                _ = stopped => {}
            }
        });
}

async fn read(stream: Arc<TcpStream>, shared: Arc<Shared>) {
    stream.set_nodelay(true).unwrap();
    let mut buffer = Vec::with_capacity(1 << 12);
    while stream.readable().await.is_ok() {
        match stream.try_read_buf(&mut buffer) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
            Err(_) => return,
        }
        if !buffer.ends_with(b"\r\n\r\n") {
            continue;
        }
        let arrived = clock::now();
        let head = std::str::from_utf8(&buffer).unwrap();
        let key = Key::parse(head.split(' ').nth(1).unwrap()).unwrap();
        buffer.clear();
        let (number, due) = {
            let mut log = shared.log.lock().unwrap();
            let first = log.first().map_or(arrived, |served| served.arrived);
            let due = first + shared.service.due(arrived - first);
            log.push(Served {
                key,
                arrived,
                due,
                replied: 0,
            });
            (log.len() - 1, due)
        };
        if matches!(shared.service, Service::AtOnce) {
            answer(&shared, &stream, number);
        } else {
            let stream = Arc::clone(&stream);
            drop(shared.jobs.send(Job {
                due,
                number,
                stream,
            }));
        }
    }
}
