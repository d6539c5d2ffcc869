//! From registration to the start, with the setup between them.

use std::collections::BTreeMap;

use super::{Coordinator, END_GRACE, LONE_START_LEAD, SETUP_GRACE, START_LEAD};
use crate::{
    report::{UnixMicros, micros},
    scalar::format_duration,
    verdict::{Reason, Verdict},
};

impl Coordinator {
    pub(super) fn propose_start(&mut self, now: UnixMicros) {
        if self.start.is_some() || self.proposed.is_some() || self.ending.is_some() {
            return;
        }
        // A successor that lost the memory of a start takes the one that runners know.
        let begun = self
            .runners
            .iter()
            .filter_map(|runner| runner.engine.as_ref()?.began)
            .min();
        if !self.runners.iter().all(|runner| runner.engine.is_some()) {
            self.check_registration(now);
        } else if begun.is_some() || self.is_set_up() {
            let lead = match self.plan.runners {
                1 => LONE_START_LEAD,
                _ => START_LEAD,
            };
            self.proposed = Some(begun.unwrap_or(now + micros(lead)));
        } else {
            let since = *self.setup_began.get_or_insert(now);
            self.check_setup(since, now);
        }
    }

    /// Of a successor: runners have been awaited since then, and `startTimeout` counts from it.
    #[must_use]
    pub fn awaiting_since(mut self, since: UnixMicros) -> Self {
        self.awaited_since = since.min(self.created);
        self
    }

    /// Until when all runners must have registered. Those that are there have a while to find a
    /// successor.
    pub fn registers_until(&self) -> UnixMicros {
        let timeout = self.plan.start_timeout;
        let grace = self.created + micros(timeout.min(END_GRACE));
        grace.max(self.awaited_since + micros(timeout))
    }

    fn check_registration(&mut self, now: UnixMicros) {
        if now <= self.registers_until() {
            return;
        }
        let missing: Vec<_> = (0..)
            .zip(&self.runners)
            .filter(|(_, runner)| runner.engine.is_none())
            .map(|(index, _): (u32, _)| index.to_string())
            .collect();
        let message = format!(
            "{} {} did not register within {}",
            if missing.len() == 1 {
                "runner"
            } else {
                "runners"
            },
            missing.join(", "),
            format_duration(self.plan.start_timeout)
        );
        self.end_early(Verdict::Error, Reason::StartTimeout, &message, now);
    }

    /// The setup has as long as the registration before it had. An engine ends it by then, and says
    /// at which request it was; this is for one that does not.
    fn check_setup(&mut self, since: UnixMicros, now: UnixMicros) {
        if now - since > micros(self.plan.start_timeout + SETUP_GRACE) {
            let message = format!(
                "the setup did not end within startTimeout {}: see the log of runner 0, or raise spec.runners.startTimeout",
                format_duration(self.plan.start_timeout)
            );
            self.end_early(Verdict::Error, Reason::StartTimeout, &message, now);
        }
    }

    pub(super) fn has_setup(&self) -> bool {
        self.plan
            .once
            .as_ref()
            .is_some_and(|once| once.setup.is_some())
    }

    /// What the setup left, once it has ended: runner 0 says so in every report from then on, so a
    /// successor learns it, too.
    pub(super) fn setup_values(&self) -> Option<&BTreeMap<String, String>> {
        let first = self.runners.first()?.engine.as_ref()?;
        first.setup.as_ref().filter(|_| self.has_setup())
    }

    /// Nothing stands between registration and start.
    pub(super) fn is_set_up(&self) -> bool {
        !self.has_setup() || self.setup_values().is_some()
    }

    /// Runner 0 is doing the setup.
    pub(super) fn is_setting_up(&self) -> bool {
        self.setup_began.is_some()
            && self.start.is_none()
            && self.ending.is_none()
            && !self.is_set_up()
    }
}
