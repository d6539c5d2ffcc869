//! What connections of a worker are made with: where to, over which addresses, how TLS is spoken.

use std::{cell::RefCell, rc::Rc, sync::Arc};

use loadtest_core::plan::{Origin, Scheme};
use rustls::{ClientConfig, client::Resumption, pki_types::ServerName};

use super::{compile::Compiled, resolver::Resolver, tls};

/// Most origins that a worker knows. A target whose redirects name ever new ports of an allowed
/// host would otherwise be remembered without end.
const MAX_SITES: usize = 256;

/// Sessions that a worker keeps for resumption, over all origins.
const SESSIONS: usize = 256;

/// An origin as a worker sees it.
#[derive(Debug)]
pub struct Site {
    /// Scheme, host and port.
    pub origin: Origin,
    /// Its addresses.
    pub resolver: Resolver,
    /// Name that is verified with TLS; `None` when it cannot have a certificate.
    pub server_name: Option<ServerName<'static>>,
}

/// The origins of a worker.
#[derive(Debug)]
pub struct Network {
    sites: RefCell<Vec<Rc<Site>>>,
    server_name: Option<String>,
    /// `None` when the system has nobody to trust; of a plan that needs it that was refused.
    pub tls: Option<Arc<ClientConfig>>,
    /// For what is rare, has no place of its own and is over at once.
    pub scratch: RefCell<Vec<u8>>,
}

impl Network {
    /// With the origins of the plan, by their numbers.
    pub fn new(compiled: &Compiled) -> Self {
        let network = Self {
            sites: RefCell::default(),
            server_name: compiled.target.tls.server_name.clone(),
            tls: compiled.tls.as_ref().map(|shared| {
                let mut own = ClientConfig::clone(shared);
                own.resumption = Resumption::in_memory_sessions(SESSIONS);
                Arc::new(own)
            }),
            scratch: RefCell::default(),
        };
        for origin in &compiled.origins {
            network.add(origin);
        }
        network
    }

    /// The origin of a number that came from the plan or from [`Self::number_of`].
    pub fn site(&self, number: u32) -> Option<Rc<Site>> {
        self.sites.borrow().get(number as usize).cloned()
    }

    /// The number of an origin, which may be new; `None` when there are too many.
    pub fn number_of(&self, origin: &Origin) -> Option<u32> {
        let known = self.sites.borrow().iter().position(|s| s.origin == *origin);
        if let Some(number) = known {
            return u32::try_from(number).ok();
        }
        if self.sites.borrow().len() >= MAX_SITES {
            return None;
        }
        self.add(origin);
        u32::try_from(self.sites.borrow().len() - 1).ok()
    }

    fn add(&self, origin: &Origin) {
        let name = self.server_name.as_deref().unwrap_or(&origin.host);
        let site = Site {
            origin: origin.clone(),
            resolver: Resolver::new(&origin.host, origin.port),
            server_name: (origin.scheme == Scheme::Https)
                .then(|| tls::server_name(name))
                .flatten(),
        };
        self.sites.borrow_mut().push(Rc::new(site));
    }
}
