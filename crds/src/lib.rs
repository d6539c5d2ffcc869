//! The Kubernetes API of the project: the kinds `LoadTest` and `LoadTestRun`, what is a valid one,
//! and the way from a spec to a [`Plan`](loadtest_core::plan::Plan).
//!
//! Architecture invariant: everything here is a pure function of its arguments. Nothing talks to
//! a cluster, and what `loadtest validate` refuses is what the API server and the operator refuse.

pub mod baseline;
pub mod crd;
pub mod names;
pub mod plan;
pub mod problem;
pub mod reference;
pub mod rule;
pub mod scalar;
pub mod schedule;
pub mod spec;
pub mod status;
pub mod validate;
pub mod yaml;

pub use names::run_key_of;
pub use plan::{Overrides, SearchServer, accept};
pub use problem::{Place, Problem, Problems, Stage};
pub use spec::{LoadTest, LoadTestRun, LoadTestRunSpec, LoadTestSpec, TestSpec};
pub use status::{LoadTestRunStatus, LoadTestStatus};
pub use validate::{Manifest, validate_yaml};
