//! The life of a run, told by the coordinator alone: no clock, no network.
#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod baseline;
mod ends;
mod groups;
mod harness;
mod hostile;
mod lives;
mod once;
mod successors;
mod verdicts;
