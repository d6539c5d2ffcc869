//! What is worth telling of a run beside its verdict.

use std::{collections::BTreeMap, fmt::Write as _};

use super::{Coordinator, Runner};
use crate::plan::Uses;

/// Longest words of a runner or a driver in a note, in bytes; the message of a run has room for a few.
const LONGEST: usize = 200;

impl Coordinator {
    /// Takes what the driver has to tell of the judged run, which the message of the judgement ends
    /// with. Only before the judgement is durable.
    pub fn note(&mut self, note: &str) {
        let note = cut(note);
        let judged = self.judged.as_mut().filter(|_| !self.judgement_durable);
        if let Some(view) = judged
            && !view.notes.iter().any(|told| told == note)
        {
            if let Some(judgement) = &mut view.judgement {
                let _ = write!(judgement.message, "; {note}");
            }
            view.notes.push(note.to_owned());
        }
    }

    /// In the order in which things happen.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.is_setting_up() {
            notes.push("runner 0 is doing the setup".to_owned());
        }
        notes.extend(self.exhausted());
        if self.teardown_is_due() && !self.engine_ended(0) {
            notes.push("runner 0 is doing the teardown".to_owned());
        }
        notes.extend(self.teardown_failure());
        notes
    }

    /// Data that ran out of rows, each once.
    fn exhausted(&self) -> Vec<String> {
        let mut runners_of: BTreeMap<u32, usize> = BTreeMap::new();
        for engine in self
            .runners
            .iter()
            .filter_map(|runner| runner.engine.as_ref())
        {
            for feeder in &engine.exhausted {
                *runners_of.entry(*feeder).or_default() += 1;
            }
        }
        runners_of
            .into_iter()
            .filter_map(|(feeder, runners)| {
                let name = &self.plan.inputs.data.get(feeder as usize)?.name;
                let place = match self.runners.len() {
                    all if runners == all => String::new(),
                    all => format!(" on {runners} of {all} runners"),
                };
                Some(format!(
                    "data \"{name}\" ran out of rows{place}: {}",
                    self.ended_by(feeder)
                ))
            })
            .collect()
    }

    /// The scenarios that take rows of a feeder, and what became of them.
    fn ended_by(&self, feeder: u32) -> String {
        let all = self.plan.scenarios.iter();
        let takers = all.filter(|scenario| Uses::of(scenario).feeders().contains(&feeder));
        let names: Vec<_> = takers.map(|scenario| scenario.name.as_str()).collect();
        let scenarios = if names.len() == 1 {
            "scenario"
        } else {
            "scenarios"
        };
        format!("{scenarios} {} ended early", names.join(", "))
    }

    fn teardown_failure(&self) -> Option<String> {
        let first = self.runners.first()?;
        let said = first
            .engine
            .as_ref()
            .and_then(|e| e.teardown_failure.as_deref());
        match said {
            Some(words) => Some(format!("the teardown failed: {}", cut(words))),
            None if self.has_teardown() && first.lost && self.did_anything() => {
                Some("the teardown was not seen to end, since runner 0 was lost".to_owned())
            }
            None => None,
        }
    }

    /// Whether there is something that a teardown would have to take away.
    fn did_anything(&self) -> bool {
        self.start.is_some() || self.setup_values().is_some()
    }

    /// Whether a scenario began no more iterations because its data ended, as the test asks.
    pub(super) fn ran_out_of_data(&self) -> bool {
        let says_so = |runner: &Runner| {
            let engine = runner.engine.as_ref();
            engine.is_some_and(|engine| !engine.exhausted.is_empty())
        };
        self.runners.iter().any(says_so)
    }
}

fn cut(words: &str) -> &str {
    words
        .get(..words.floor_char_boundary(LONGEST))
        .unwrap_or(words)
}
