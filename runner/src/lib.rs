//! A runner: the two processes that carry out one shard of a run.
//!
//! [`engine`] sends the load and measures it; [`export`] sends what was measured to where people
//! look for it. Between them lies a memory-backed [`pool`], so that a slow search server or a dead
//! exporter changes nothing that is measured. Both report to a coordinator over [`control`].
//!
//! Architecture invariant: nothing here knows Kubernetes. A runner gets a plan, a number, a
//! directory and a url.

pub mod clock;
pub mod command;
pub mod control;
pub mod engine;
pub mod export;
mod gzip;
mod hex;
pub mod http;
pub mod logging;
pub mod plan_file;
pub mod pool;
pub mod rehearsal;
pub mod step_kind;
mod sys;
