//! `loadtest`: the manifests of the operator, run and checked on this machine.
//!
//! A local run has the same plan, coordinator, engine, exporter and verdict as a run in a cluster;
//! only the driver differs ([`run`]). Only [`cluster`] talks to a cluster.

pub mod attempt;
pub mod cluster;
pub mod command;
pub mod completions;
pub mod demo;
pub mod es_role;
pub mod exit;
pub mod manifest;
pub mod output;
pub mod overrides;
pub mod push;
pub mod report;
pub mod run;
mod search_server;
pub mod target;
pub mod validate;
