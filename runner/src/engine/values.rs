//! What one request's texts are made of: who sends it, in which trace, and what its user remembers.

use std::cell::RefCell;

use loadtest_core::{identity, template::Slot};

use super::script::{Memory, Shared};
use crate::hex;

/// The header that says which trace a request belongs to (W3C Trace Context).
pub const TRACEPARENT: &str = "traceparent";

/// What texts of a request are made of.
#[derive(Debug, Clone, Copy)]
pub struct Values<'a> {
    /// Number of the user over all runners.
    pub user: u32,
    /// Number of the user's iteration.
    pub iteration: u32,
    /// Number of the scenario in the plan.
    pub scenario: u32,
    /// Number of the step in the plan.
    pub step: u32,
    /// Number of the request within the iteration, from 0; redirects are requests of their own.
    pub sequence: u32,
    /// What the user remembers, if anything of the plan does.
    pub memory: Option<&'a RefCell<Memory>>,
    /// What it shares with the others.
    pub shared: &'a Shared,
}

impl Values<'_> {
    /// How many bytes a slot needs.
    pub fn length(&self, slot: Slot) -> usize {
        match slot {
            Slot::RunId => self.shared.run_id.len(),
            slot => decimal_length(self.number(slot)),
        }
    }

    /// Writes a slot to the end of `out`.
    pub fn write(&self, slot: Slot, out: &mut Vec<u8>) {
        match slot {
            Slot::RunId => out.extend_from_slice(self.shared.run_id.as_bytes()),
            slot => {
                let number = self.number(slot);
                out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
            }
        }
    }

    /// What a slot is, but for the run's id, which is no number.
    pub fn number(&self, slot: Slot) -> u32 {
        match slot {
            Slot::UserIndex => self.user,
            Slot::UserIteration => self.iteration,
            Slot::RunnerIndex => self.shared.runner,
            Slot::ResponseStatus => {
                let memory = self.memory.map(RefCell::borrow);
                memory.map_or(0, |memory| memory.status.into())
            }
            Slot::RunId => 0,
        }
    }

    /// Writes the value of [`TRACEPARENT`] to the end of `out`: one trace is one iteration, one
    /// span a request. Nobody but the target decides to record it, unless it was asked for.
    pub fn write_trace(&self, out: &mut Vec<u8>) {
        let shared = self.shared;
        let (scenario, user, iteration) = (self.scenario, self.user, self.iteration);
        let trace = identity::trace_id(shared.run, scenario, user, iteration);
        let span = identity::span_id(trace, self.step, self.sequence);
        let per_million = shared.inputs.traces_per_million;
        let sampled =
            identity::is_trace_sampled(shared.seed, per_million, scenario, user, iteration);
        let mut text = *b"00-0123456789abcdef0123456789abcdef-0123456789abcdef-00";
        text[3..19].copy_from_slice(&hex::digits((trace >> 64) as u64));
        text[19..35].copy_from_slice(&hex::digits(trace as u64));
        text[36..52].copy_from_slice(&hex::digits(span));
        text[54] += u8::from(sampled);
        out.extend_from_slice(&text);
    }
}

fn decimal_length(number: u32) -> usize {
    number
        .checked_ilog10()
        .map_or(1, |digits| digits as usize + 1)
}
