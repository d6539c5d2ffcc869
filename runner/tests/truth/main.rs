//! The engine as a process, judged by witnesses outside of it: a server that keeps its own clock
//! and its own count, the schedule computed by hand, the kernel.
//!
//! Machines that run tests are busy. Nothing here waits for a quiet one: what a late process can
//! change is measured (by the server's log and by the kernel's count of time spent waiting for a
//! CPU) and allowed for, and everything else is exact. On a quiet machine the allowance is nothing.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed step fails the test"
)]

#[path = "../engine/coordinator.rs"]
#[allow(dead_code, reason = "shared with the tests of the engine")]
mod coordinator;
#[path = "../engine/harness.rs"]
#[allow(dead_code, reason = "shared with the tests of the engine")]
mod harness;

mod faulty;
mod isolated;
mod measure;
mod quantile;
mod scripted;
mod witness;

mod analytic;

mod counts;
mod hostile;
mod nonsense;
mod scarce;
mod schedule;
