//! From what was asked for to a plan, or to the reasons why there is none. Pure.

use std::sync::Arc;

use loadtest_core::{identity, plan::Plan};
use loadtest_crds::{Overrides, Problem, Stage, plan};

use super::observe::{Found, Observed};
use crate::error::Error;

/// A plan that can be carried out.
#[derive(Debug, Clone, PartialEq)]
pub struct Prepared {
    /// The plan.
    pub plan: Arc<Plan>,
    /// Its canonical bytes.
    pub bytes: Vec<u8>,
    /// Their hash.
    pub hash: String,
}

impl Prepared {
    /// A plan with its bytes.
    pub fn new(plan: Plan, bytes: Vec<u8>) -> Self {
        Self {
            plan: Arc::new(plan),
            hash: identity::plan_hash(&bytes),
            bytes,
        }
    }
}

/// Whether a run can be carried out.
#[derive(Debug, Clone, PartialEq)]
pub enum Validated {
    /// It can.
    Accepted(Box<Prepared>),
    /// It cannot, until somebody makes another.
    Refused(Vec<Problem>),
}

/// Makes the plan, or takes the one that runners were given.
///
/// # Errors
/// When a plan cannot be written down, which is a defect of ours.
pub fn validate(observed: &Observed, found: &Found) -> Result<Validated, Error> {
    let Observed {
        run,
        spec,
        malformed,
        ..
    } = observed;
    let refused = |path: &str, message: String| {
        Ok(Validated::Refused(vec![Problem::new(
            Stage::Acceptance,
            path,
            message,
        )]))
    };
    if let Some(message) = malformed {
        return refused(
            "spec",
            format!("cannot be read by this version of the operator: {message}"),
        );
    }
    if let Some(prepared) = &found.prepared {
        return Ok(Validated::Accepted(Box::new(prepared.clone())));
    }
    let Some(test) = &found.test else {
        let message = format!(
            "there is no LoadTest named {:?} in this namespace",
            run.test
        );
        return refused("spec.loadTestRef.name", message);
    };
    match plan::build(test, run.identity(), &Overrides::default()) {
        Ok(plan) => {
            let bytes = plan
                .to_bytes()
                .map_err(|error| Error::broken("the plan", error))?;
            Ok(Validated::Accepted(Box::new(Prepared::new(plan, bytes))))
        }
        Err(problems) => {
            // Said again with the path where it was written.
            let root = if spec.test.is_some() {
                "spec.test"
            } else {
                "spec"
            };
            Ok(Validated::Refused(
                plan::accept(test, root).err().unwrap_or(problems),
            ))
        }
    }
}
