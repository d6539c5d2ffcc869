//! Logs of both processes: to stderr, filtered by `RUST_LOG`, JSON with `LOADTEST_LOG=json`.

use tracing_subscriber::EnvFilter;

/// Starts logging; later calls change nothing, so a test may run several engines.
pub fn start() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let json = std::env::var("LOADTEST_LOG").is_ok_and(|form| form == "json");
    let started = if json {
        logs.json().try_init()
    } else {
        logs.try_init()
    };
    drop(started);
}
