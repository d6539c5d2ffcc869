//! The engine as a process, against a scripted target and the real coordinator.

mod coordinator;
mod harness;
mod target;

mod failures;
mod loads;
mod reports;
mod stops;
