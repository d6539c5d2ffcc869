//! The operator: two controllers and the coordination server, in one process.
//!
//! - [`loadtest`]: is a run of a `LoadTest` due? Create it, mirror the last one.
//! - [`run`]: from a `LoadTestRun` to a plan, a Job, a coordinated start, a verdict.
//! - [`lease`]: of all replicas one acts.
//! - [`coordination`]: the server that runners report to, and one coordinator for each run.
//!
//! Architecture invariant: the operator reads no Secret but its own authority's. Credentials are
//! mounted into runner pods only.

pub mod clock;
pub mod context;
pub mod coordination;
pub mod error;
pub mod health;
pub mod lease;
pub mod loadtest;
pub mod metrics;
pub mod names;
pub mod objects;
pub mod process;
pub mod rails;
pub mod run;
pub mod settings;

#[cfg(test)]
pub(crate) mod scripted;
