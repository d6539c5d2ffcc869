//! Identities that are derived, never drawn: the same inputs name the same thing again.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

/// First 32 hex digits of SHA-256 over the parts, each preceded by its length.
///
/// The lengths keep `("ab", "c")` and `("a", "bc")` apart.
pub fn derive(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    hex(&hash.finalize())
}

/// The id of a run: the same object (uid) is the same run, however often the operator restarts.
pub fn run_id(uid: &str) -> String {
    derive(&["loadtest-run", uid])
}

/// The key that decides whether an edit of a test asks for another run.
///
/// It covers the user's own JSON of the fields that change what a run does, and the run token; so
/// re-applying, an operator upgrade or new defaults never start a run.
pub fn run_key(run_relevant: &serde_json::Value) -> String {
    // serde_json keeps object keys sorted (no preserve_order), so equal JSON is equal text.
    format!("v1:{}", derive(&["run-key", &run_relevant.to_string()]))
}

/// The hash of a serialised plan, which every runner verifies before it starts.
pub fn plan_hash(plan: &[u8]) -> String {
    hex(&Sha256::digest(plan))
}

/// The first 16 bytes as hex digits.
fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .take(16)
        .fold(String::with_capacity(32), |mut out, byte| {
            let _ = write!(out, "{byte:02x}");
            out
        })
}
