//! `loadtest target`: a small server to try things on and to measure against.
//!
//! It answers like httpbin where it has the same paths, and it counts what it was asked: the
//! counters under `/__stats` are the witness of tests and benchmarks, so they are kept apart from
//! everything that generates load. One thread per core, each with its own event loop; connections
//! never move between them.

mod body;
mod counters;
mod echo;
mod probe;
mod routes;
mod serve;
mod shop;
mod tls;

use std::{
    future::Future,
    io::{self, Write},
    net::{SocketAddr, ToSocketAddrs},
    num::NonZeroUsize,
    process::ExitCode,
    sync::Arc,
    thread,
};

use tokio::{
    net::{TcpListener, TcpSocket},
    runtime::{Builder, Runtime},
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

use crate::exit::Exit;
use counters::Counters;

/// Connections that may wait to be accepted. The kernel's own bound (somaxconn, 4096 by default)
/// cuts it; with less, thousands of users who connect at once would wait a second and more.
const BACKLOG: u32 = 1 << 14;

/// The command line of `loadtest target`.
#[derive(Debug, Clone, clap::Args)]
pub struct TargetArgs {
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    listen: String,
    /// Event loops, one thread each [default: one per core]
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
    /// Start nothing: exit with 0 if a target answers where --listen says, else with 3
    #[arg(long)]
    probe: bool,
    #[command(flatten)]
    tls: tls::TlsArgs,
}

/// Why the target could not begin.
#[derive(Debug, thiserror::Error)]
enum TargetError {
    #[error("{listen:?} is not an address to listen on: {source}; give one like 127.0.0.1:8080")]
    Address { listen: String, source: io::Error },
    #[error(
        "{0} is in use; stop what listens there, or choose another address with --listen (port 0 takes a free one)"
    )]
    InUse(SocketAddr),
    #[error("cannot listen on {address}: {source}")]
    Listen {
        address: SocketAddr,
        source: io::Error,
    },
    #[error("no target answers at {address}: {source}")]
    Silent {
        address: SocketAddr,
        source: io::Error,
    },
    #[error("cannot start an event loop: {0}")]
    Start(io::Error),
    #[error(transparent)]
    Tls(#[from] tls::TlsError),
}

impl TargetError {
    fn exit(&self) -> Exit {
        match self {
            Self::Address { .. } | Self::Tls(_) => Exit::Usage,
            Self::InUse(_) | Self::Listen { .. } | Self::Silent { .. } | Self::Start(_) => {
                Exit::Error
            }
        }
    }
}

/// Serves until SIGTERM or SIGINT, then lets running answers end. The first line on standard output
/// says where: `listening on http://ADDR`; with https, the second line says where that is.
pub fn run(args: &TargetArgs) -> ExitCode {
    let done = if args.probe {
        ask(&args.listen)
    } else {
        listen_and_serve(args)
    };
    match done {
        Ok(()) => Exit::Passed.into(),
        Err(error) => {
            eprintln!("loadtest target: {error}");
            error.exit().into()
        }
    }
}

/// Serves on `listener` until `shutdown` is over, then lets running answers end (at most 15 s).
/// Needs a runtime with I/O and time; counts for itself alone.
pub async fn serve(listener: TcpListener, shutdown: impl Future<Output = ()>) {
    serve::serve(listener, None, Arc::new(Counters::new()), shutdown).await;
}

fn ask(wanted: &str) -> Result<(), TargetError> {
    let address = resolve(wanted)?;
    probe::probe(address).map_err(|source| TargetError::Silent { address, source })
}

/// One listening socket, and what makes TLS of its connections.
struct Door {
    listener: std::net::TcpListener,
    tls: Option<TlsAcceptor>,
}

impl Door {
    fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            listener: self.listener.try_clone()?,
            tls: self.tls.clone(),
        })
    }
}

fn listen_and_serve(args: &TargetArgs) -> Result<(), TargetError> {
    let acceptor = args.tls.acceptor()?;
    let threads = args.threads.map_or_else(
        || thread::available_parallelism().map_or(1, NonZeroUsize::get),
        NonZeroUsize::get,
    );
    let signals = event_loop()?;
    let (doors, ends) = {
        let _inside = signals.enter();
        // Before anybody is told that it listens: a signal that comes right then must not kill it.
        let ends = EndSignals::new().map_err(TargetError::Start)?;
        let mut doors = vec![Door {
            listener: listen(&args.listen)?,
            tls: None,
        }];
        if let Some(wanted) = &args.tls.tls_listen {
            doors.push(Door {
                listener: listen(wanted)?,
                tls: acceptor,
            });
        }
        (doors, ends)
    };
    let counters = Arc::new(Counters::new());
    let (end, ended) = watch::channel(false);
    let serving = (0..threads)
        .map(|_| {
            let (counters, ended) = (Arc::clone(&counters), ended.clone());
            let doors = doors.iter().map(Door::try_clone).collect::<io::Result<_>>();
            let doors = doors.map_err(TargetError::Start)?;
            let runtime = event_loop()?;
            Ok(thread::spawn(move || {
                serve_on(&runtime, doors, &counters, &ended)
            }))
        })
        .collect::<Result<Vec<_>, TargetError>>()?;
    drop(ended);

    announce(&doors).map_err(TargetError::Start)?;
    // Only the threads' copies are left: with the last of them the port is free.
    drop(doors);
    signals.block_on(end_on_signals(ends, end));
    for thread in serving {
        // A thread that panicked has said so itself.
        thread
            .join()
            .unwrap_or(Ok(()))
            .map_err(TargetError::Start)?;
    }
    Ok(())
}

/// The same listeners in each event loop: whichever is idle accepts.
fn serve_on(
    runtime: &Runtime,
    doors: Vec<Door>,
    counters: &Arc<Counters>,
    ended: &watch::Receiver<bool>,
) -> io::Result<()> {
    runtime.block_on(async {
        let mut serving = JoinSet::new();
        for Door { listener, tls } in doors {
            let listener = TcpListener::from_std(listener)?;
            // That the receivers live says that this thread still serves.
            let (counters, mut ended) = (Arc::clone(counters), ended.clone());
            serving.spawn(async move {
                let end = async {
                    // The sender outlives every thread.
                    let _ = ended.wait_for(|ended| *ended).await;
                };
                serve::serve(listener, tls, counters, end).await;
            });
        }
        serving.join_all().await;
        Ok(())
    })
}

fn event_loop() -> Result<Runtime, TargetError> {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(TargetError::Start)
}

fn resolve(wanted: &str) -> Result<SocketAddr, TargetError> {
    let unusable = |source| TargetError::Address {
        listen: wanted.to_owned(),
        source,
    };
    wanted
        .to_socket_addrs()
        .map_err(unusable)?
        .next()
        .ok_or_else(|| unusable(io::Error::other("the name has no address")))
}

/// Binds; must be called inside a runtime.
fn listen(wanted: &str) -> Result<std::net::TcpListener, TargetError> {
    let address = resolve(wanted)?;
    let bind = || {
        let socket = if address.is_ipv4() {
            TcpSocket::new_v4()
        } else {
            TcpSocket::new_v6()
        }?;
        // A port whose last connections linger in TIME_WAIT is free; one with a listener is not.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)?.into_std()
    };
    bind().map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => TargetError::InUse(address),
        _ => TargetError::Listen { address, source },
    })
}

fn announce(doors: &[Door]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for Door { listener, tls } in doors {
        let scheme = if tls.is_some() { "https" } else { "http" };
        writeln!(out, "listening on {scheme}://{}", listener.local_addr()?)?;
    }
    out.flush()
}

/// The signals that end the target, caught from here on.
#[derive(Debug)]
struct EndSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl EndSignals {
    /// Must be called inside a runtime.
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// The first signal ends the target gracefully, the second at once. Returns when all threads, each
/// of which holds a receiver, have ended.
async fn end_on_signals(mut signals: EndSignals, end: watch::Sender<bool>) {
    tokio::select! {
        () = end.closed() => return,
        () = signals.next() => {}
    }
    end.send_replace(true);
    tokio::select! {
        () = end.closed() => {}
        () = signals.next() => std::process::exit(i32::from(Exit::Aborted.code())),
    }
}
