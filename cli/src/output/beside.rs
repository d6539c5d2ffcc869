//! A run beside its baseline, as lines for people.

use std::fmt::Write as _;

use loadtest_crds::status::BaselineRows;

use super::table::mark;

/// A line for each number that may not get worse.
pub fn lines(baseline: &BaselineRows) -> String {
    let rows = &baseline.tolerances;
    let widest = rows.iter().map(|row| row.metric.chars().count()).max();
    let width = widest.unwrap_or_default();
    let mut out = String::new();
    for row in rows {
        // Writing to a String never fails.
        let _ = writeln!(
            out,
            "  {} {:width$}  {} after {} ({}), {} is tolerated",
            mark(row.passed),
            row.metric,
            row.after,
            row.before,
            row.change,
            row.worse_by
        );
    }
    out
}
