//! The status of a local run, in the shape that it has in a cluster.

use std::{cell::RefCell, io};

use loadtest_core::{plan::RunIdentity, view::RunView};
use loadtest_crds::status::{Condition, Facts, LoadTestRunStatus, run_status, time_of};

use super::{clock::Clock, directory::RunDirectory};

/// Makes views durable as statuses.
#[derive(Debug)]
pub struct Recorder<'a> {
    directory: &'a RunDirectory,
    identity: &'a RunIdentity,
    plan_hash: &'a str,
    clock: Clock,
    /// As they were written last: a condition keeps the time of its last change.
    conditions: RefCell<Vec<Condition>>,
}

impl<'a> Recorder<'a> {
    /// For a run that has written nothing yet.
    pub fn new(
        directory: &'a RunDirectory,
        identity: &'a RunIdentity,
        plan_hash: &'a str,
        clock: Clock,
    ) -> Self {
        Self {
            directory,
            identity,
            plan_hash,
            clock,
            conditions: RefCell::default(),
        }
    }

    /// The status of a view.
    pub fn status(&self, view: &RunView) -> LoadTestRunStatus {
        let mut conditions = self.conditions.borrow_mut();
        let facts = Facts {
            identity: self.identity,
            plan_hash: Some(self.plan_hash),
            // A file has no generations: what was read is the first.
            generation: 1,
            previous: &conditions,
            note: None,
            now: time_of(self.clock.now()),
        };
        let status = run_status(view, &facts);
        conditions.clone_from(&status.conditions);
        status
    }

    /// Writes it.
    ///
    /// # Errors
    /// As of the system calls.
    pub fn record(&self, view: &RunView) -> io::Result<()> {
        self.directory.write_summary(&self.status(view))
    }
}
