//! An origin's addresses, looked up per connection at most, never per request.
//!
//! One lookup serves all users of a worker for a few seconds: short enough that a target that moves
//! (a service, a failing-over name) is followed, long enough that a thousand users that connect at
//! once ask once. Connections go to all addresses in turn.

use std::{
    cell::Cell,
    net::{IpAddr, SocketAddr},
    rc::Rc,
};

use tokio::sync::Mutex;

use crate::clock::{self, MILLI, Nanos, SECOND};

/// How long addresses are used.
const FOUND_FOR: Nanos = 5 * SECOND;

/// How long a failure is believed, so that waiting users do not repeat it one after the other.
const FAILED_FOR: Nanos = 500 * MILLI;

/// Addresses of an origin, or why there are none.
pub type Lookup = Result<Rc<[SocketAddr]>, Rc<str>>;

/// Looks up one name.
#[derive(Debug)]
pub struct Resolver {
    host: String,
    port: u16,
    turn: Cell<usize>,
    /// Held while a lookup is under way, so that there is one at a time.
    known: Mutex<Option<Known>>,
}

#[derive(Debug)]
struct Known {
    lookup: Lookup,
    until: Nanos,
}

impl Resolver {
    /// For a host name or address.
    pub fn new(host: &str, port: u16) -> Self {
        // An address is known for ever.
        let known = host.parse::<IpAddr>().ok().map(|address| Known {
            lookup: Ok([SocketAddr::new(address, port)].into()),
            until: Nanos::MAX,
        });
        Self {
            host: host.to_owned(),
            port,
            turn: Cell::new(0),
            known: Mutex::new(known),
        }
    }

    /// The addresses and the place of the one to try first.
    ///
    /// # Errors
    /// What the system's resolver said.
    pub async fn addresses(&self) -> Result<(Rc<[SocketAddr]>, usize), Rc<str>> {
        let mut known = self.known.lock().await;
        let fresh = known.as_ref().filter(|known| clock::now() < known.until);
        let lookup = if let Some(known) = fresh {
            known.lookup.clone()
        } else {
            let lookup = self.look_up().await;
            let age = if lookup.is_ok() {
                FOUND_FOR
            } else {
                FAILED_FOR
            };
            let until = clock::now() + age;
            *known = Some(Known {
                lookup: lookup.clone(),
                until,
            });
            lookup
        };
        let addresses = lookup?;
        let turn = self.turn.get();
        self.turn.set(turn.wrapping_add(1));
        let first = turn % addresses.len().max(1);
        Ok((addresses, first))
    }

    async fn look_up(&self) -> Lookup {
        match tokio::net::lookup_host((self.host.as_str(), self.port)).await {
            Ok(found) => {
                let addresses: Rc<[SocketAddr]> = found.collect();
                if addresses.is_empty() {
                    Err(format!("{} has no address", self.host).into())
                } else {
                    Ok(addresses)
                }
            }
            Err(error) => Err(format!("cannot resolve {}: {error}", self.host).into()),
        }
    }
}
