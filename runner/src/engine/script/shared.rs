//! What the users of a worker share when texts are made.

use std::{cell::RefCell, rc::Rc, sync::Arc};

use loadtest_core::identity;

use super::Inputs;
use crate::engine::rng::Rng;

/// Tells the random numbers of functions from all others.
const FUNCTIONS: u64 = 0x6675_6e63;
/// Tells those of UUIDs from those of other functions.
const UNIQUE: u64 = 0x7575_6964;

/// What the users of a worker share when texts are made.
#[derive(Debug)]
pub struct Shared {
    /// What all workers read.
    pub inputs: Arc<Inputs>,
    /// Random choices that a seed repeats.
    pub rng: RefCell<Rng>,
    /// For what must be unique: with the run in it, or a run with the same seed would repeat it.
    pub unique: RefCell<Rng>,
    /// Number of the runner.
    pub runner: u32,
    /// The run's id.
    pub run_id: Box<str>,
    /// The run as a number, of which traces get their ids.
    pub run: u128,
    /// The run's seed.
    pub seed: u64,
    /// The authorization as it was last looked at, and its version then.
    authorization: RefCell<(u32, Rc<str>)>,
    /// Why a text could not be made.
    problem: RefCell<Option<String>>,
}

impl Shared {
    /// Of a worker of a runner.
    pub fn new(inputs: Arc<Inputs>, run_id: &str, seed: u64, runner: u32, worker: u32) -> Self {
        let run = identity::run_number(run_id);
        let place = [seed, u64::from(runner), u64::from(worker)];
        Self {
            inputs,
            rng: RefCell::new(Rng::new(&[FUNCTIONS, place[0], place[1], place[2]])),
            unique: RefCell::new(Rng::new(&[
                UNIQUE,
                (run >> 64) as u64,
                run as u64,
                place[1],
                place[2],
            ])),
            runner,
            run_id: run_id.into(),
            run,
            seed,
            authorization: RefCell::new((0, "".into())),
            problem: RefCell::new(None),
        }
    }

    /// The value of the `Authorization` header.
    pub fn authorization(&self) -> Rc<str> {
        let mut known = self.authorization.borrow_mut();
        if let Some(newer) = self.inputs.authorization.newer_than(known.0) {
            *known = newer;
        }
        Rc::clone(&known.1)
    }

    /// A text could not be made; the request that it was for will not be sent.
    pub fn complain(&self, problem: String) {
        self.problem.replace(Some(problem));
    }

    /// Why a text could not be made since this was last asked.
    pub fn take_problem(&self) -> Option<String> {
        self.problem.take()
    }
}
