//! What runners are told.

use std::collections::BTreeMap;

use super::{Coordinator, STOP_PATIENCE};
use crate::report::{Desired, EngineState, UnixMicros, micros};

impl Coordinator {
    pub(super) fn desired_of_engine(&self, index: u32, now: UnixMicros) -> Desired {
        if index == 0 && self.teardown_is_due() {
            return Desired::TearDown;
        }
        let ended = self.engine_ended(index);
        if self.judgement_durable && (ended || self.start.is_none()) {
            return Desired::Exit;
        }
        match self.start {
            _ if self.is_to_stop(now) => Desired::Stop,
            Some(start) if self.may_begin(index) => Desired::StartAt(start),
            None if index == 0 && self.is_setting_up() => Desired::SetUp,
            _ => Desired::Wait,
        }
    }

    /// Whether engines may hear of an early end. Before the start there is nothing to lose by it.
    fn is_to_stop(&self, now: UnixMicros) -> bool {
        self.ending.as_ref().is_some_and(|(_, at)| {
            self.ending_durable || self.start.is_none() || now >= at + micros(STOP_PATIENCE)
        })
    }

    /// Whether a runner has what it needs to begin: a successor may know of the start before it
    /// hears from runner 0 what the setup left.
    fn may_begin(&self, index: u32) -> bool {
        self.is_set_up() || !self.is_to_begin(index)
    }

    /// What the setup left, for an engine that has not begun.
    pub(super) fn setup_for(&self, index: u32) -> Option<BTreeMap<String, String>> {
        let values = self.setup_values().filter(|_| self.is_to_begin(index));
        values.cloned()
    }

    fn is_to_begin(&self, index: u32) -> bool {
        let runner = self.runners.get(index as usize);
        runner
            .and_then(|runner| runner.engine.as_ref())
            .is_none_or(|engine| engine.state == EngineState::Ready && engine.began.is_none())
    }

    pub(super) fn desired_of_exporter(&self) -> Desired {
        if self.completion_durable {
            return Desired::Exit;
        }
        match (&self.judged, self.start) {
            (Some(view), _) if self.judgement_durable => Desired::Finish(view.clone()),
            (_, Some(start)) => Desired::StartAt(start),
            (_, None) => Desired::Wait,
        }
    }
}
