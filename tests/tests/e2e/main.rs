//! The operator in a real cluster, from `kubectl apply` to the verdict.
//!
//! Run by `make e2e`, which installs the operator by Helm from our images.

mod common;
mod data;
mod ends;
mod features;
mod limits;
mod main_job;
mod outcomes;
mod plugin;
mod schedule;
