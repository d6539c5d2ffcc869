//! The engine as a process, against a scripted target and the real coordinator.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a failed step fails the test

mod coordinator;
mod harness;
mod language;
mod site;
mod target;

mod answers;
mod connections;
mod data;
mod failures;
mod flows;
mod general;
mod https;
mod loads;
mod once;
mod parallel;
mod ramps;
mod records;
mod reports;
mod samples;
mod stops;
mod tokens;
mod values;
