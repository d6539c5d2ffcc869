//! Identities that are derived, never drawn: the same inputs name the same thing again.

use sha2::{Digest, Sha256};

/// Bytes of a hash that make an identity.
const ID_BYTES: usize = 16;

/// First 32 hex digits of SHA-256 over the parts, each preceded by its length.
///
/// The lengths keep `("ab", "c")` and `("a", "bc")` apart.
pub fn derive(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    id_of(&hash.finalize())
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
    id_of(&Sha256::digest(plan))
}

/// SHA-256 of data in 64 hex digits: see [`Feeder::sha256`](crate::plan::Feeder::sha256).
pub fn content_hash(content: &[u8]) -> String {
    hex(&Sha256::digest(content))
}

fn id_of(hash: &[u8]) -> String {
    hex(hash.get(..ID_BYTES).unwrap_or(hash))
}

/// Bytes as lower-case hex digits.
pub fn hex(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Without `write!`, which costs a signed request ten thousand instructions.
        out.extend([byte >> 4, byte & 0xf].map(|digit| from_digit(digit.into())));
    }
    out
}

fn from_digit(digit: u32) -> char {
    char::from_digit(digit, 16).unwrap_or_default()
}

/// A run's id as the number that it is, of which traces get their ids.
pub fn run_number(run_id: &str) -> u128 {
    u128::from_str_radix(run_id, 16).unwrap_or_else(|_| {
        // Not one of ours: any text names a run.
        u128::from_str_radix(&derive(&["trace", run_id]), 16).unwrap_or(1)
    })
}

/// The trace of an iteration: every request in it belongs to it. Never 0, which is no trace.
pub fn trace_id(run: u128, scenario: u32, user: u32, iteration: u32) -> u128 {
    let low = mix(run as u64 ^ mix(u64::from(user) << 32 | u64::from(iteration)));
    let high = mix((run >> 64) as u64 ^ mix(low ^ u64::from(scenario)));
    (u128::from(high) << 64 | u128::from(low)).max(1)
}

/// The span of a request in its trace, by its step and its number within the iteration. Never 0,
/// which is no span.
pub fn span_id(trace: u128, step: u32, sequence: u32) -> u64 {
    mix(trace as u64 ^ (trace >> 64) as u64 ^ mix(u64::from(step) << 32 | u64::from(sequence)))
        .max(1)
}

/// Whether the target is asked to record the trace of an iteration: so many of a million are,
/// chosen by the run's seed.
pub fn is_trace_sampled(
    seed: u64,
    per_million: u32,
    scenario: u32,
    user: u32,
    iteration: u32,
) -> bool {
    if per_million == 0 {
        return false;
    }
    let drawn =
        mix(seed ^ mix(u64::from(scenario) ^ mix(u64::from(user) << 32 | u64::from(iteration))));
    ((u128::from(drawn) * 1_000_000) >> 64) < u128::from(per_million)
}

/// The finaliser of `SplitMix64` (Steele, Lea, Flood 2014): each bit of the input changes half of
/// the output's, and no two inputs have the same output.
pub(crate) fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn an_iteration_is_a_trace_and_a_request_a_span() {
        let run = run_number("0123456789abcdef0123456789abcdef");
        assert_eq!(run, 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);
        assert_ne!(run_number("not hex"), run_number("other"));
        let mut traces = BTreeSet::new();
        let mut spans = BTreeSet::new();
        for scenario in 0..4 {
            for user in 0..20 {
                for iteration in 0..20 {
                    let trace = trace_id(run, scenario, user, iteration);
                    assert!(traces.insert(trace));
                    for step in 0..3 {
                        for sequence in 0..3 {
                            assert!(spans.insert(span_id(trace, step, sequence)));
                        }
                    }
                }
            }
        }
        assert!(!traces.contains(&trace_id(run + 1, 0, 0, 0)));
        // Others compute the same: these ids are in documents.
        assert_eq!(trace_id(run, 0, 1, 2), trace_id(run, 0, 1, 2));
    }

    #[test]
    fn as_many_traces_are_sampled_as_asked_for() {
        let sampled = |seed, per_million| {
            let users =
                (0..100).flat_map(|user| (0..1_000).map(move |iteration| (user, iteration)));
            users
                .filter(|(user, n)| is_trace_sampled(seed, per_million, 0, *user, *n))
                .count()
        };
        assert_eq!((sampled(1, 0), sampled(1, 1_000_000)), (0, 100_000));
        // Six standard deviations around 1 %.
        let some = sampled(1, 10_000);
        assert!((811..1_189).contains(&some), "{some}");
        assert_ne!(sampled(2, 10_000), some);
    }
}
