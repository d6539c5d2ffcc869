//! The one place that reads the wall clock.

use std::time::{SystemTime, UNIX_EPOCH};

use loadtest_core::report::UnixMicros;

/// Now, in microseconds since 1970.
pub fn now() -> UnixMicros {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
