//! An origin's addresses, looked up per connection at most, never per request.
//!
//! One lookup serves all users of a worker for a few seconds: short enough that a target that moves
//! (a service, a failing-over name) is followed, long enough that a thousand users that connect at
//! once ask once. There is one look-up under way at a time, whoever gives up waiting for it.
//! Connections go to all addresses in turn.

use std::{
    cell::Cell,
    io,
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    rc::Rc,
};

use tokio::{sync::Mutex, task::JoinHandle};

use crate::clock::{self, MILLI, Nanos, SECOND};

/// How long addresses are used.
const FOUND_FOR: Nanos = 5 * SECOND;

/// How long a failure is believed, so that waiting users do not repeat it one after the other.
const FAILED_FOR: Nanos = 500 * MILLI;

/// Addresses of an origin, or why there are none.
pub type Lookup = Result<Rc<[SocketAddr]>, Rc<str>>;

/// Asks the system, which may take its time. Tests ask somebody else.
type Ask = fn(&str, u16) -> io::Result<Vec<SocketAddr>>;

fn ask_system(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    (host, port).to_socket_addrs().map(Iterator::collect)
}

/// Looks up one name.
#[derive(Debug)]
pub struct Resolver {
    host: String,
    port: u16,
    ask: Ask,
    turn: Cell<usize>,
    /// Held by the one that waits for the look-up under way; the others wait for that one.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    known: Option<Known>,
    /// Nobody can cut the system off. It is kept when whoever waits for it gives up, and the next
    /// one waits for the same: otherwise look-ups of a server of names that is silent would pile
    /// up behind each other, and after its return all of them would have to end first.
    under_way: Option<JoinHandle<Asked>>,
}

#[derive(Debug)]
struct Known {
    lookup: Lookup,
    until: Nanos,
}

/// What the system said, and when.
#[derive(Debug)]
struct Asked {
    said: io::Result<Vec<SocketAddr>>,
    at: Nanos,
}

impl Resolver {
    /// For a host name or address.
    pub fn new(host: &str, port: u16) -> Self {
        // An address is known for ever.
        let known = host.parse::<IpAddr>().ok().map(|address| Known {
            lookup: Ok([SocketAddr::new(address, port)].into()),
            until: Nanos::MAX,
        });
        let under_way = None;
        Self {
            host: host.to_owned(),
            port,
            ask: ask_system,
            turn: Cell::new(0),
            state: Mutex::new(State { known, under_way }),
        }
    }

    /// The addresses and the place of the one to try first.
    ///
    /// # Errors
    /// What the system's resolver said.
    pub async fn addresses(&self) -> Result<(Rc<[SocketAddr]>, usize), Rc<str>> {
        let addresses = self.look_up().await?;
        let turn = self.turn.get();
        self.turn.set(turn.wrapping_add(1));
        let first = turn % addresses.len().max(1);
        Ok((addresses, first))
    }

    async fn look_up(&self) -> Lookup {
        let mut state = self.state.lock().await;
        loop {
            let known = state.known.as_ref();
            if let Some(fresh) = known.filter(|known| clock::now() < known.until) {
                return fresh.lookup.clone();
            }
            let under_way = state.under_way.get_or_insert_with(|| self.begin());
            let asked = under_way.await.unwrap_or_else(|error| Asked {
                said: Err(error.into()),
                at: clock::now(),
            });
            state.under_way = None;
            // Perhaps it ended long ago and nobody waited for it: then another one begins.
            state.known = Some(self.known(asked));
        }
    }

    fn begin(&self) -> JoinHandle<Asked> {
        let (ask, host, port) = (self.ask, self.host.clone(), self.port);
        tokio::task::spawn_blocking(move || Asked {
            said: ask(&host, port),
            at: clock::now(),
        })
    }

    fn known(&self, asked: Asked) -> Known {
        let lookup: Lookup = match asked.said {
            Ok(found) if found.is_empty() => Err(format!("{} has no address", self.host).into()),
            Ok(found) => Ok(found.into()),
            Err(error) => Err(format!("cannot resolve {}: {error}", self.host).into()),
        };
        let age = if lookup.is_ok() {
            FOUND_FOR
        } else {
            FAILED_FOR
        };
        let until = asked.at + age;
        Known { lookup, until }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::pin,
        sync::{
            Mutex as Blocking,
            atomic::{AtomicU32, Ordering},
        },
        task::{Context, Waker},
    };

    use super::*;

    static ASKED: AtomicU32 = AtomicU32::new(0);
    /// While it is held nobody is answered.
    static BLACK_HOLE: Blocking<()> = Blocking::new(());

    fn ask_black_hole(_: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        ASKED.fetch_add(1, Ordering::SeqCst);
        drop(
            BLACK_HOLE
                .lock()
                .map_err(|_| io::Error::other("poisoned"))?,
        );
        Ok(vec![SocketAddr::from(([127, 0, 0, 9], port))])
    }

    /// Waits for the addresses until the request has run out of time, which is at once.
    fn ask_in_vain(resolver: &Resolver) {
        let mut context = Context::from_waker(Waker::noop());
        assert!(pin!(resolver.addresses()).poll(&mut context).is_pending());
    }

    #[tokio::test]
    async fn whoever_gives_up_leaves_the_look_up_to_the_next() {
        let resolver = Resolver {
            ask: ask_black_hole,
            ..Resolver::new("shop.test", 80)
        };
        let closed = BLACK_HOLE.lock().unwrap();
        for _ in 0..20 {
            ask_in_vain(&resolver);
        }
        drop(closed);
        let (addresses, _) = resolver.addresses().await.unwrap();
        assert_eq!(*addresses, [SocketAddr::from(([127, 0, 0, 9], 80))]);
        assert_eq!(ASKED.load(Ordering::SeqCst), 1);
    }

    static FAILED: AtomicU32 = AtomicU32::new(0);

    fn ask_nobody(_: &str, _: u16) -> io::Result<Vec<SocketAddr>> {
        FAILED.fetch_add(1, Ordering::SeqCst);
        Err(io::Error::other("nobody"))
    }

    #[tokio::test]
    async fn what_ended_long_ago_is_not_believed() {
        let resolver = Resolver {
            ask: ask_nobody,
            ..Resolver::new("shop.test", 80)
        };
        ask_in_vain(&resolver);
        let has_ended = || {
            let state = resolver.state.try_lock().unwrap();
            state.under_way.as_ref().unwrap().is_finished()
        };
        while !has_ended() {
            tokio::task::yield_now().await;
        }
        let old = clock::now() + FAILED_FOR;
        while clock::now() <= old {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        let said = resolver.addresses().await.unwrap_err();
        assert_eq!(&*said, "cannot resolve shop.test: nobody");
        assert_eq!(FAILED.load(Ordering::SeqCst), 2);
        // That one has just ended.
        resolver.addresses().await.unwrap_err();
        assert_eq!(FAILED.load(Ordering::SeqCst), 2);
    }
}
