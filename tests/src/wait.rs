//! Waiting on conditions.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

/// Asks until there is an answer; fails with what was awaited after `limit`.
///
/// # Errors
/// When `limit` passed, or at once when `ask` fails.
pub fn until<T>(
    what: &str,
    limit: Duration,
    mut ask: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(answer) = ask()? {
            return Ok(answer);
        }
        if Instant::now() > deadline {
            bail!("waited {limit:?} for {what}");
        }
        thread::sleep(Duration::from_millis(250));
    }
}
