//! Harness of the tests that need real parts: a cluster, its API server, a search server.
//!
//! `tests/environment.sh` starts the parts; this finds them, gives each test a namespace of its
//! own, waits on conditions with a deadline, and tells the state of everything when one fails.
//! Tests talk to the cluster as a user does, through `kubectl`; what they need before and beside that
//! they ask of its API server themselves.

pub mod api;
pub mod cluster;
pub mod operator;
pub mod proxy;
pub mod search;
pub mod wait;

use std::path::PathBuf;

/// The root of the checkout.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}
