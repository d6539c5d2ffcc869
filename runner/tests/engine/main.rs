//! The engine as a process, against a scripted target and the real coordinator.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a failed step fails the test

mod coordinator;
mod harness;
mod site;
mod target;

mod answers;
mod connections;
mod failures;
mod general;
mod https;
mod loads;
mod records;
mod reports;
mod stops;
