//! Ids of documents: derived from what a document is about, so that the same document always has
//! the same id, whoever sends it and how often.

use super::json::push_hex;

/// Lives of one runner's engine; a pod's engine and a local one have only one.
const INCARNATION: u32 = 0;

/// `<run>-<runner 4>-<incarnation 2>-`
pub(super) fn runner_prefix(run_id: &str, runner: u32) -> String {
    format!("{run_id}-{runner:04x}-{INCARNATION:02x}-")
}

/// `<prefix><n 10><worker 2>`
pub(super) fn push_request(out: &mut Vec<u8>, prefix: &str, n: u64, worker: u32) {
    out.extend_from_slice(prefix.as_bytes());
    push_hex(out, n, 10);
    push_hex(out, worker.into(), 2);
}

/// The totals of an interval.
pub(super) fn interval_total(prefix: &str, sequence: u64) -> String {
    format!("{prefix}i-{sequence:08x}-t")
}

/// A request name in an interval.
pub(super) fn interval_name(prefix: &str, sequence: u64, series: usize) -> String {
    format!("{prefix}i-{sequence:08x}-n{series:04x}")
}

/// A group in an interval.
pub(super) fn interval_group(prefix: &str, sequence: u64, group: usize) -> String {
    format!("{prefix}i-{sequence:08x}-g{group:04x}")
}

/// The histograms of a request name up to and with an interval.
pub(super) fn histogram(prefix: &str, sequence: u64, series: usize) -> String {
    format!("{prefix}h-{sequence:08x}-n{series:04x}")
}

/// The histogram of a group up to and with an interval.
pub(super) fn group_histogram(prefix: &str, sequence: u64, group: usize) -> String {
    format!("{prefix}h-{sequence:08x}-g{group:04x}")
}

/// A failed exchange that is kept.
pub(super) fn sample(prefix: &str, number: u32) -> String {
    format!("{prefix}s-{number:08x}")
}

/// The start or the end of a run.
pub(super) fn run(run_id: &str, action: &str) -> String {
    format!("{run_id}-{action}")
}
