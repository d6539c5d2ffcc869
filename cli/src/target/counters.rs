//! The witness: how many requests came in, by path and by who sent them.
//!
//! A request is counted when its head has been read, before anything is answered, so a client
//! cannot have an answer that is not counted.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use hyper::header::HeaderValue;
use serde::Serialize;

use super::{routes::Segment, shop::Shop};

/// Most user agents that are told apart; the rest is one.
const MAX_USER_AGENTS: usize = 1_000;

/// Shared by all connections of a target.
#[derive(Debug)]
pub(super) struct Counters {
    connections: AtomicU64,
    by_path: [AtomicU64; Segment::ALL.len()],
    by_user_agent: Mutex<BTreeMap<String, Arc<AtomicU64>>>,
    shop: Shop,
}

/// What `/__stats` says.
#[derive(Debug, Serialize)]
pub(super) struct Stats {
    requests: u64,
    connections: u64,
    by_path: BTreeMap<&'static str, u64>,
    by_user_agent: BTreeMap<String, u64>,
    /// The shop's requests by operation.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    shop: BTreeMap<String, u64>,
}

impl Counters {
    pub(super) fn new() -> Self {
        Self {
            connections: AtomicU64::new(0),
            by_path: [const { AtomicU64::new(0) }; Segment::ALL.len()],
            by_user_agent: Mutex::default(),
            shop: Shop::default(),
        }
    }

    /// Counts a connection and gives it its own counter.
    pub(super) fn connection(self: Arc<Self>) -> ConnectionCounter {
        self.connections.fetch_add(1, Relaxed);
        ConnectionCounter {
            counters: self,
            last: Mutex::new(None),
        }
    }

    /// All numbers as they are now; `requests` is the sum of those by path.
    pub(super) fn stats(&self) -> Stats {
        let by_path: BTreeMap<_, _> = Segment::ALL
            .iter()
            .zip(&self.by_path)
            .map(|(segment, count)| (segment.name(), count.load(Relaxed)))
            .filter(|(_, count)| *count > 0)
            .collect();
        let agents = self
            .by_user_agent
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        Stats {
            requests: by_path.values().sum(),
            connections: self.connections.load(Relaxed),
            by_path,
            by_user_agent: agents
                .iter()
                .map(|(agent, count)| (agent.clone(), count.load(Relaxed)))
                .collect(),
            shop: self.shop.counts(),
        }
    }

    fn agent(&self, agent: Option<&HeaderValue>) -> Arc<AtomicU64> {
        let name = agent.map_or("(none)".into(), |agent| {
            String::from_utf8_lossy(agent.as_bytes())
        });
        let mut agents = self
            .by_user_agent
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = agents.get(name.as_ref()) {
            return Arc::clone(count);
        }
        let name = if agents.len() < MAX_USER_AGENTS {
            name.into_owned()
        } else {
            "(other)".into()
        };
        Arc::clone(agents.entry(name).or_default())
    }
}

/// Counts the requests of one connection. Whoever keeps a connection rarely changes its name, so
/// the counter of the last one is at hand.
#[derive(Debug)]
pub(super) struct ConnectionCounter {
    counters: Arc<Counters>,
    last: Mutex<Option<(Option<HeaderValue>, Arc<AtomicU64>)>>,
}

impl ConnectionCounter {
    pub(super) fn count(&self, segment: Segment, agent: Option<&HeaderValue>) {
        if let Some(count) = self.counters.by_path.get(segment as usize) {
            count.fetch_add(1, Relaxed);
        }
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some((known, count)) if known.as_ref() == agent => {
                count.fetch_add(1, Relaxed);
            }
            _ => {
                let count = self.counters.agent(agent);
                count.fetch_add(1, Relaxed);
                *last = Some((agent.cloned(), count));
            }
        }
    }

    pub(super) fn stats(&self) -> Stats {
        self.counters.stats()
    }

    pub(super) fn shop(&self) -> &Shop {
        &self.counters.shop
    }
}
