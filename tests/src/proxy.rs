//! A proxy in front of the real API server that lets calls fail: one of them, by number, or all of a
//! kind. Plain HTTP in, TLS out; credentials pass through, so the API server judges who asks.
//!
//! One request per connection: what is relayed is then everything until the server closes.

pub(crate) mod wire;

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use rustls::ClientConfig;

use crate::api::{self, Api};

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The connection ends before the server has seen the call.
    CutBefore,
    /// The connection ends when the server has done what was asked, before it can say so.
    CutAfter,
    /// Nobody ever answers.
    Hang,
    /// The server refuses with this status.
    Answer(u16),
}

/// A call as it was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// HTTP method.
    pub method: String,
    /// Path with query.
    pub path: String,
    /// What the server answered; `None`: it was not asked, or has not answered yet.
    pub status: Option<u16>,
}

impl Call {
    /// Whether it could change something. The lease is renewed for ever, and a dry run changes nothing.
    pub fn writes(&self) -> bool {
        self.method != "GET" && !self.is_about_the_lease() && !self.path.contains("dryRun=All")
    }

    /// Whether it made an object of this resource.
    pub fn made(&self, resource: &str) -> bool {
        let path = self.path.split('?').next().unwrap_or_default();
        let mut parts = path.rsplit('/');
        let last = parts.next() == Some(resource) || parts.next() == Some(resource);
        self.writes() && last && self.status == Some(201)
    }

    /// Whether it is one of those that keep a cache filled.
    pub fn feeds_a_cache(&self) -> bool {
        self.watches() || self.method == "GET" && self.path.contains("limit=")
    }

    /// Whether it is about the lease, which has rules of its own and never fails here.
    pub fn is_about_the_lease(&self) -> bool {
        self.path.contains("/leases")
    }

    fn watches(&self) -> bool {
        self.path.contains("watch=true")
    }
}

/// Calls among which one is to fail.
pub type Which = fn(&Call) -> bool;

#[derive(Debug)]
struct Armed {
    which: Which,
    /// So many of them are left, the one that fails included; 0: none fails.
    left: usize,
    fault: Fault,
}

#[derive(Debug, Default)]
struct State {
    calls: Vec<Call>,
    /// Which call fails, and how.
    armed: Option<Armed>,
    struck: bool,
    /// Watches of an earlier generation are cut.
    generation: u64,
}

#[derive(Debug)]
struct Shared {
    upstream: SocketAddr,
    tls: Arc<ClientConfig>,
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The proxy; it serves until the process ends.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Proxy {
    /// In front of the running cluster.
    ///
    /// # Errors
    /// When there is none.
    pub fn new() -> Result<Self> {
        let shared = Arc::new(Shared {
            upstream: Api::of_cluster()?.address(),
            tls: Arc::new(api::trusting()?.with_no_client_auth()),
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let serving = Arc::clone(&shared);
        thread::spawn(move || serve(&listener, &serving));
        Ok(Self { address, shared })
    }

    /// Where clients find it.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Lets one of these calls fail: that of this number, counted from now on and from 1.
    pub fn arm(&self, which: Which, number: usize, fault: Fault) {
        let mut state = self.shared.state();
        state.armed = Some(Armed {
            which,
            left: number,
            fault,
        });
        state.struck = false;
    }

    /// Lets nothing fail any more.
    pub fn disarm(&self) {
        self.shared.state().armed = None;
    }

    /// Whether the armed fault has happened.
    pub fn struck(&self) -> bool {
        self.shared.state().struck
    }

    /// Waits until the armed fault has happened, or `over` says that it never will.
    pub fn wait_struck(&self, mut over: impl FnMut() -> bool) -> bool {
        loop {
            let state = self.shared.state();
            let (state, _) = self
                .shared
                .changed
                .wait_timeout_while(state, Duration::from_millis(500), |state| !state.struck)
                .unwrap_or_else(PoisonError::into_inner);
            if state.struck {
                return true;
            }
            drop(state);
            if over() {
                return self.struck();
            }
        }
    }

    /// Cuts all watches.
    pub fn cut_watches(&self) {
        self.shared.state().generation += 1;
    }

    /// All calls so far.
    pub fn calls(&self) -> Vec<Call> {
        self.shared.state().calls.clone()
    }

    /// Waits until no write was made for a while.
    pub fn settle(&self, quiet: Duration) {
        let writes = || self.calls().iter().filter(|call| call.writes()).count();
        let (mut last, mut since) = (writes(), Instant::now());
        while since.elapsed() < quiet {
            thread::sleep(Duration::from_millis(100));
            let now = writes();
            if now != last {
                (last, since) = (now, Instant::now());
            }
        }
    }
}

fn serve(listener: &TcpListener, shared: &Arc<Shared>) {
    for client in listener.incoming().flatten() {
        let shared = Arc::clone(shared);
        // An error ends one connection: its client sees that and tries again.
        thread::spawn(move || handle(client, &shared));
    }
}

fn handle(mut client: TcpStream, shared: &Shared) -> io::Result<()> {
    let Some(request) = wire::Request::read(&mut client)? else {
        return Ok(());
    };
    let (index, fault, generation) = shared.note(&request);
    match fault {
        Some(Fault::CutBefore) => {
            shared.strike();
            return Ok(());
        }
        Some(Fault::Hang) => {
            shared.strike();
            return wire::wait_for_end(&client);
        }
        Some(Fault::Answer(status)) => {
            shared.strike();
            return wire::refuse(&mut client, status);
        }
        Some(Fault::CutAfter) | None => {}
    }
    let mut server = wire::connect(shared.upstream, &shared.tls)?;
    request.write(&mut server)?;
    let first = wire::read_answer(&mut server, &client)?;
    if let Some(call) = shared.state().calls.get_mut(index) {
        call.status = wire::status(&first);
    }
    if fault.is_some() {
        shared.strike();
        return Ok(());
    }
    let cut = || generation.is_some_and(|generation| shared.state().generation != generation);
    wire::relay(first, &mut server, &mut client, cut)
}

impl Shared {
    /// Notes a call: its place in the list, what happens to it, and for a watch its generation.
    fn note(&self, request: &wire::Request) -> (usize, Option<Fault>, Option<u64>) {
        let call = Call {
            method: request.method.clone(),
            path: request.path.clone(),
            status: None,
        };
        let mut state = self.state();
        let mut fault = None;
        if let Some(armed) = &mut state.armed
            && armed.left > 0
            && (armed.which)(&call)
        {
            armed.left -= 1;
            fault = (armed.left == 0).then_some(armed.fault);
        }
        let generation = call.watches().then_some(state.generation);
        state.calls.push(call);
        (state.calls.len() - 1, fault, generation)
    }

    fn strike(&self) {
        self.state().struck = true;
        self.changed.notify_all();
    }
}
