//! The driver's part in what is done once for the whole run: when it begins, what becomes of it.

use std::{collections::BTreeMap, time::Duration};

use loadtest_core::report::EngineState;

use super::{Driver, PATIENCE};
use crate::{
    clock,
    engine::{
        compile::nanos,
        once::{Errand, UnderWay},
    },
};

/// How long a runner that was told to end waits for a coordinator that is silent, before it does
/// the teardown of its own accord: little, since whoever told it will soon kill it.
const SHORT_PATIENCE: Duration = Duration::from_secs(5);

/// How an errand ended: with values, or a sentence.
pub type Result = std::result::Result<BTreeMap<String, String>, String>;

/// Where the setup and the teardown stand.
#[derive(Debug, Default)]
pub struct Errands {
    under_way: Option<UnderWay>,
    /// What the setup left.
    pub set_up: Option<BTreeMap<String, String>>,
    /// Why the teardown did not go well.
    pub teardown_failure: Option<String>,
    /// A signal has told to end: whoever sent it will not wait for long.
    pub is_hurried: bool,
}

impl Errands {
    /// Waits for the end of what is being done, for ever if that is nothing.
    pub async fn ended(&mut self) -> (Errand, Result) {
        match &mut self.under_way {
            Some(under_way) => (under_way.errand(), under_way.ended().await),
            None => std::future::pending().await,
        }
    }

    /// Cuts off what is being done; false if that is nothing.
    pub fn abort(&self) -> bool {
        if let Some(under_way) = &self.under_way {
            under_way.abort();
        }
        self.under_way.is_some()
    }
}

impl Driver {
    /// Does the setup or the teardown, if it is there and was not done.
    pub(super) fn begin(&mut self, errand: Errand) {
        let prepared = self.crew.as_mut().and_then(|crew| crew.take(errand));
        let Some(prepared) = prepared else {
            return;
        };
        match prepared.begin() {
            Ok(under_way) => self.errands.under_way = Some(under_way),
            Err(error) => {
                let name = errand.name();
                self.heed_errand(
                    errand,
                    Err(format!("the {name} could not be done: {error}")),
                );
            }
        }
    }

    /// The setup or the teardown has ended.
    pub(super) fn heed_errand(&mut self, errand: Errand, result: Result) {
        self.errands.under_way = None;
        match (errand, result) {
            (Errand::SetUp, Ok(values)) => {
                tracing::info!("the setup is done");
                self.errands.set_up = Some(values);
                self.may_be_over();
            }
            (Errand::SetUp, Err(problem)) => {
                tracing::error!(problem, "the setup is not done");
                // One that was cut off because the run was stopped is no failure.
                if !self.stopped {
                    self.failure.get_or_insert(problem);
                    self.stop();
                }
                self.may_be_over();
            }
            (Errand::TearDown, result) => {
                match result {
                    Ok(_) => tracing::info!("the teardown is done"),
                    Err(problem) => {
                        tracing::error!(problem, "the teardown is not done");
                        self.errands.teardown_failure = Some(problem);
                    }
                }
                self.state = EngineState::Finished;
            }
        }
    }

    /// All iterations have ended, perhaps before the first; nothing is left to be done but perhaps
    /// the teardown.
    pub(super) fn may_be_over(&mut self) {
        if self.workers_left > 0 || self.errands.under_way.is_some() {
            return;
        }
        self.hand_over_the_rest();
        self.state = if self.owes_teardown() {
            EngineState::LoadDone
        } else {
            EngineState::Finished
        };
        tracing::info!("the load is over");
    }

    /// What was set up is torn down, also when the run was stopped; without a setup, what the load
    /// has left behind.
    fn owes_teardown(&self) -> bool {
        let has = |errand| self.crew.as_ref().is_some_and(|crew| crew.has(errand));
        let once = self.plan.once.as_ref();
        let is_set_up = if once.is_some_and(|once| once.setup.is_some()) {
            self.errands.set_up.is_some()
        } else {
            self.began.is_some()
        };
        has(Errand::TearDown) && is_set_up
    }

    /// The coordinator does not answer. What was set up is torn down all the same, when the other
    /// runners have certainly ended.
    pub(super) fn waits_in_vain(&mut self) {
        if self.state != EngineState::LoadDone {
            return;
        }
        let all = self.plan.load_duration() + self.plan.graceful_stop();
        let end = self
            .start
            .map_or(0, |start| start.saturating_add(nanos(all)));
        let (patience, certain) = if self.errands.is_hurried {
            (SHORT_PATIENCE, true)
        } else {
            (PATIENCE, clock::now() >= end)
        };
        if certain && self.last_answer.elapsed() >= patience {
            tracing::warn!("the coordinator is silent: doing the teardown without being told");
            self.begin(Errand::TearDown);
        }
    }

    /// What the setup left, before the start.
    pub(super) fn take_setup(&mut self, values: Option<&BTreeMap<String, String>>) {
        let (Some(values), Some(crew)) = (values, &self.crew) else {
            return;
        };
        let wanted = self.plan.inputs.setup_values.iter();
        let found = wanted.map(|name| values.get(name).cloned());
        if let Some(found) = found.collect() {
            crew.inputs().set_setup(found);
        }
    }

    /// Whether texts can be made of what the setup left; otherwise the run has failed.
    pub(super) fn has_what_the_setup_left(&mut self) -> bool {
        let wanted = &self.plan.inputs.setup_values;
        let crew = self.crew.as_ref();
        if wanted.is_empty() || crew.is_none_or(|crew| crew.inputs().setup.get().is_some()) {
            return true;
        }
        let problem = format!(
            "this runner was to begin without the values of the setup ({}): start the run anew",
            wanted.join(", ")
        );
        self.failure.get_or_insert(problem);
        self.stop();
        false
    }

    /// Reports are near to each other while others, or the one start, wait for what is done here.
    pub(super) fn is_waited_for(&self) -> bool {
        match self.state {
            EngineState::Ready => self.plan.once.is_some() || self.plan.runners == 1,
            EngineState::LoadDone | EngineState::Finished => true,
            EngineState::Running | EngineState::Stopping => false,
        }
    }

    /// A second signal: nothing is waited for any more.
    pub(super) fn abandon(&mut self) {
        if !self.errands.abort() && self.state == EngineState::LoadDone {
            self.errands.teardown_failure = Some("the teardown was not done: killed".to_owned());
            self.state = EngineState::Finished;
        }
    }
}
