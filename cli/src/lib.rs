//! `loadtest`: the manifests of the operator, run and checked on this machine.
//!
//! A local run has the same plan, coordinator, engine, exporter and verdict as a run in a cluster;
//! only the driver differs ([`run`]). Nothing here talks to a cluster.

pub mod command;
pub mod demo;
pub mod exit;
pub mod manifest;
pub mod output;
pub mod push;
pub mod run;
pub mod target;
pub mod validate;
