//! The judgement of a run: verdict, reason and a sentence a person can act on.

use std::fmt::Write as _;

use super::{Coordinator, Runner};
use crate::{
    report::UnixMicros,
    threshold::Threshold,
    verdict::{Judgement, Reason, Verdict},
    view::{Delivery, RunView, delivered, generator_exhausted, generator_late},
};

impl Coordinator {
    pub(super) fn judge(&mut self, now: UnixMicros) {
        if self.judged.is_some() {
            return;
        }
        let never_began = self.start.is_none() && self.ending.is_some();
        let all_ended = self.runners.iter().all(Runner::engine_ended);
        // Before a start nobody has anything to report: runners are told to exit.
        if !(never_began || all_ended && (self.start.is_some() || self.ending.is_some())) {
            return;
        }
        if never_began && self.owes_teardown(now) {
            return;
        }
        self.load_ended = Some(now);
        // A generator is judged by what was due on the runners that were there.
        let (delivery, due) = (self.delivery(), self.merged.scheduled);
        self.count_what_was_lost();
        let mut view = self.view_under_way(now);
        view.progress = None;
        view.delivery = Some(delivery);
        let mut judgement = match &self.ending {
            Some((judgement, _)) => judgement.clone(),
            None => self.judge_load(&view, delivery, due),
        };
        for note in &view.notes {
            let _ = write!(judgement.message, "; {note}");
        }
        view.judgement = Some(judgement);
        self.judged = Some(Box::new(view));
    }

    fn judge_load(&self, view: &RunView, delivery: Delivery, due: u64) -> Judgement {
        let set = &self.merged;
        let breached: Vec<_> = view.thresholds.iter().filter(|t| !t.passed).collect();
        let about_errors = self.plan.thresholds.iter().any(Threshold::is_about_errors);
        let (verdict, reason, message) = if set.total.requests == 0 {
            let message = "no request was made, so nothing is known of the target".to_owned();
            (Verdict::Invalid, Reason::NoRequests, message)
        } else if delivery == Delivery::GeneratorLate {
            let message = format!(
                "{} of {} arrivals began late because of the generator: give the runners more CPU or use more of them",
                set.late_by_generator, due
            );
            (Verdict::Invalid, Reason::LoadNotDelivered, message)
        } else if delivery == Delivery::GeneratorExhausted {
            let message = format!(
                "{} of {} requests could not be made because the runners had no local ports or open files left: use more runners, or keep connections alive",
                set.failed_by_generator(),
                set.total.requests
            );
            (Verdict::Invalid, Reason::LoadNotDelivered, message)
        } else if let Some(first) = breached.first() {
            let observed = first.observed.as_deref().unwrap_or("nothing");
            let more = match breached.len() - 1 {
                0 => String::new(),
                more => format!(" (and {more} more)"),
            };
            let message = format!("threshold {} was breached: {observed}{more}", first.expr);
            (Verdict::Failed, Reason::ThresholdBreached, message)
        } else if set.total.failures == set.total.requests && !about_errors {
            let worst = view
                .summary
                .as_ref()
                .and_then(|summary| summary.errors.first());
            let why = worst.map(|e| e.message.clone()).unwrap_or_default();
            let message = format!("all {} requests failed: {why}", set.total.requests);
            (Verdict::Failed, Reason::AllRequestsFailed, message)
        } else {
            (
                Verdict::Passed,
                Reason::ThresholdsMet,
                passed_message(view, delivery),
            )
        };
        Judgement {
            verdict,
            reason,
            message,
        }
    }

    /// What a runner that is gone was still to begin counts as not delivered.
    fn count_what_was_lost(&mut self) {
        if self.runners.iter().any(Runner::is_gone) {
            let planned: u64 = self
                .plan
                .scenarios
                .iter()
                .filter_map(|scenario| scenario.load.planned_iterations())
                .sum();
            self.merged.scheduled = self.merged.scheduled.max(planned);
        }
    }

    fn delivery(&self) -> Delivery {
        let set = &self.merged;
        if self.ending.is_some() {
            Delivery::Incomplete
        } else if generator_late(set) {
            // Also of a run that went on without a runner: what the others measured is judged, and
            // it is not the target's.
            Delivery::GeneratorLate
        } else if generator_exhausted(set) {
            Delivery::GeneratorExhausted
        } else if self.runners.iter().any(Runner::is_gone) {
            Delivery::Incomplete
        } else if set.late_by_target > 0 {
            Delivery::TargetSaturated
        } else if delivered(set) < 1.0 && !self.ran_out_of_data() {
            if self.plan.scenarios.iter().any(|s| s.load.is_open()) {
                Delivery::TargetSaturated
            } else {
                Delivery::OutOfTime
            }
        } else {
            Delivery::Delivered
        }
    }
}

fn passed_message(view: &RunView, delivery: Delivery) -> String {
    let mut message = match view.thresholds.len() {
        0 => "the load was sent; no thresholds are set".to_owned(),
        1 => "the threshold held".to_owned(),
        count => format!("all {count} thresholds held"),
    };
    match delivery {
        Delivery::TargetSaturated => {
            message
                .push_str("; but all users were busy waiting for the target, so arrivals waited");
        }
        Delivery::Incomplete => {
            let runners = view.runners;
            let _ = write!(
                message,
                "; but {} of {} runners were lost, and with them a part of the load",
                runners.lost, runners.expected
            );
        }
        Delivery::OutOfTime => {
            message.push_str("; but not all iterations had begun when their maxDuration was over");
        }
        _ if view.generator.saturated => {
            message.push_str("; the generator's CPU was full, so latencies may be its own");
        }
        _ => {}
    }
    message
}
