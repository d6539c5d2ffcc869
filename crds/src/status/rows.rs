//! Messages and conditions of a run, and the mirror of it in its `LoadTest`.

use loadtest_core::{
    baseline::Comparison,
    report::ExportCounts,
    scalar::format_ratio,
    verdict::{Judgement, Reason, Verdict},
    view::{Delivery, Phase, RunView},
};

use super::{
    ConditionStatus, Observed,
    convert::{MAX_MESSAGE, cut},
    kind,
};

/// One sentence on where the run stands, with what is worth telling besides.
pub(super) fn message(view: &RunView, note: Option<&str>) -> String {
    let counts = view.runners;
    let own = match (view.phase, &view.judgement) {
        (Phase::Finished, Some(judgement)) => judgement.message.clone(),
        (Phase::Finished, None) => "the run is over".to_owned(),
        (_, _) if note.is_some() => note.unwrap_or_default().to_owned(),
        (Phase::Pending, _) => "the run is about to be prepared".to_owned(),
        (Phase::Starting, _) => {
            format!(
                "waiting for runners: {} of {} are ready",
                counts.ready, counts.expected
            )
        }
        (Phase::Running, _) => format!("{} send load", runners(counts.expected)),
        (Phase::Stopping, _) => "no new iterations begin; those under way may end".to_owned(),
        (Phase::Exporting, _) => "the load is over; results are being sent".to_owned(),
    };
    // The judgement says it already.
    let notes: &[String] = match view.phase {
        Phase::Finished => &[],
        _ => &view.notes,
    };
    let parts: Vec<&str> = std::iter::once(own.as_str())
        .chain(notes.iter().map(String::as_str))
        .collect();
    cut(&parts.join("; "), MAX_MESSAGE)
}

fn runners(count: u32) -> String {
    if count == 1 {
        "1 runner".to_owned()
    } else {
        format!("{count} runners")
    }
}

/// Collects conditions of one generation.
struct Conditions {
    generation: i64,
    all: Vec<Observed>,
}

impl Conditions {
    fn add(
        &mut self,
        kind: &'static str,
        status: impl Into<ConditionStatus>,
        reason: &str,
        message: &str,
    ) {
        self.all.push(Observed {
            kind,
            status: status.into(),
            reason: word(reason),
            message: message.to_owned(),
            generation: self.generation,
        });
    }
}

/// A reason that the schema of conditions takes, whatever the cluster said.
fn word(reason: &str) -> String {
    let word: String = reason
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .take(64)
        .collect();
    if word.starts_with(|first: char| first.is_ascii_alphabetic()) {
        word
    } else {
        "Unknown".to_owned()
    }
}

/// The conditions of a run.
pub(super) fn run_conditions(view: &RunView, generation: i64, message: &str) -> Vec<Observed> {
    let finished = view.phase == Phase::Finished;
    let phase = view.phase.name();
    let verdict = view.judgement.as_ref().filter(|_| finished);
    let reason = verdict.map_or(phase, |judgement| judgement.reason.name());
    let passed = verdict.is_some_and(|judgement| judgement.verdict == Verdict::Passed);
    let mut to = Conditions {
        generation,
        all: Vec::with_capacity(8),
    };

    to.add(kind::ACCEPTED, true, "Accepted", "the test was understood");
    match view.started {
        Some(_) => to.add(kind::STARTED, true, "LoadStarted", "load was sent"),
        None => to.add(kind::STARTED, false, reason, message),
    }
    to.add(kind::FINISHED, finished, reason, message);
    match verdict {
        Some(_) => to.add(kind::SUCCEEDED, passed, reason, message),
        None => to.add(kind::SUCCEEDED, ConditionStatus::Unknown, reason, message),
    }
    load_delivered(&mut to, view);
    results_exported(&mut to, view);
    regressed(&mut to, view);
    if finished {
        to.add(kind::RECONCILING, false, "Finished", "");
    } else {
        to.add(kind::RECONCILING, true, phase, message);
    }
    match verdict {
        Some(judgement) if !passed => {
            to.add(kind::STALLED, true, judgement.verdict.name(), message);
        }
        _ => to.add(
            kind::STALLED,
            false,
            if finished { "Passed" } else { phase },
            "",
        ),
    }
    to.all
}

fn load_delivered(to: &mut Conditions, view: &RunView) {
    let over = matches!(view.phase, Phase::Exporting | Phase::Finished);
    let Some(Judgement { reason, .. }) = view.judgement.as_ref().filter(|_| over) else {
        to.add(
            kind::LOAD_DELIVERED,
            ConditionStatus::Unknown,
            view.phase.name(),
            "",
        );
        return;
    };
    let (reason, message) = match view.delivery {
        Some(Delivery::Delivered) => {
            to.add(kind::LOAD_DELIVERED, true, "Delivered", "the load was sent as the test asks");
            return;
        }
        Some(Delivery::GeneratorLate) => (
            Reason::LoadNotDelivered.name(),
            "iterations began late because the runners were at their limit: give them more CPU, or use more of them".to_owned(),
        ),
        Some(Delivery::GeneratorExhausted) => (
            Reason::LoadNotDelivered.name(),
            "requests could not be made because the runners had no local ports or open files left: use more runners, or keep connections alive".to_owned(),
        ),
        Some(Delivery::TargetSaturated) => ("TargetSaturated", saturated(view)),
        Some(Delivery::OutOfTime) => ("OutOfTime", out_of_time(view)),
        Some(Delivery::Incomplete) | None => {
            (reason.name(), "the load was not sent as the test asks".to_owned())
        }
    };
    to.add(kind::LOAD_DELIVERED, false, reason, &message);
}

/// Share of the iterations that began.
fn delivered(view: &RunView) -> String {
    let summary = view.summary.as_ref();
    format_ratio(summary.map_or(0.0, |summary| summary.delivered))
}

fn out_of_time(view: &RunView) -> String {
    format!(
        "only {} of the iterations had begun when their maxDuration was over",
        delivered(view)
    )
}

fn saturated(view: &RunView) -> String {
    format!(
        "all users waited for the target: {} of the iterations began, {} of them late; raise maxUsers if the target should have got more load",
        delivered(view),
        view.generator
            .late_starts
            .saturating_sub(view.generator.late_by_generator),
    )
}

/// Said once there is something to say: at the end of a run with a baseline.
fn regressed(to: &mut Conditions, view: &RunView) {
    match &view.baseline {
        None => {}
        Some(Comparison::Missing { reason, message }) => {
            let message = cut(message, MAX_MESSAGE);
            to.add(kind::REGRESSED, ConditionStatus::Unknown, reason, &message);
        }
        Some(comparison @ Comparison::Done { run, deltas }) => {
            if let Some(sentence) = comparison.regression() {
                let sentence = cut(&sentence, MAX_MESSAGE);
                to.add(kind::REGRESSED, true, "Regressed", &sentence);
                return;
            }
            let what = match deltas.len() {
                1 => "the tolerance".to_owned(),
                count => format!("all {count} tolerances"),
            };
            let message = format!("{what} held beside run {run}");
            to.add(kind::REGRESSED, false, "WithinTolerances", &message);
        }
    }
}

fn results_exported(to: &mut Conditions, view: &RunView) {
    let Some(requests) = &view.export else {
        let text = "the test names no place for results besides the status";
        to.add(kind::RESULTS_EXPORTED, true, "NothingToExport", text);
        return;
    };
    if view.phase != Phase::Finished {
        to.add(
            kind::RESULTS_EXPORTED,
            ConditionStatus::Unknown,
            view.phase.name(),
            "",
        );
        return;
    }
    let whole = |counts: &ExportCounts| {
        counts.balanced() && counts.complete() && counts.verified != Some(false)
    };
    if whole(requests) && view.aggregates.as_ref().is_none_or(whole) {
        let text = format!("all {} documents are stored", requests.indexed);
        to.add(kind::RESULTS_EXPORTED, true, "Exported", &text);
        return;
    }
    let mut parts = vec![format!(
        "{} of {} documents are stored: rejected {}, dropped {}, lost {}, pending {}",
        requests.indexed,
        requests.produced.saturating_sub(requests.sampled_out),
        requests.rejected,
        requests.dropped,
        requests.lost,
        requests.pending
    )];
    if let Some(aggregates) = view.aggregates.as_ref().filter(|counts| !whole(counts)) {
        parts.push(format!(
            "{} of {} intervals",
            aggregates.indexed, aggregates.produced
        ));
    }
    for (counts, what) in [(view.export, "requests"), (view.aggregates, "intervals")] {
        if counts.is_some_and(|counts| counts.verified == Some(false)) {
            parts.push(format!(
                "the server itself counts another number of {what} than it confirmed: some are there twice, or were removed"
            ));
        }
    }
    if !view.export_problem.is_empty() {
        parts.push(view.export_problem.clone());
    }
    let text = parts.join("; ");
    to.add(
        kind::RESULTS_EXPORTED,
        false,
        "ExportIncomplete",
        &cut(&text, MAX_MESSAGE),
    );
}

/// Why a run waits whose data is not there yet.
pub const DATA_MISSING: &str = "DataMissing";

/// Why a run waits for others to end: limits of the operator's configuration.
pub const QUEUED: &str = "Queued";

/// The conditions of a run that waits for others to end.
pub(super) fn queued_conditions(generation: i64, message: &str) -> Vec<Observed> {
    let mut to = Conditions {
        generation,
        all: Vec::with_capacity(6),
    };
    to.add(kind::ACCEPTED, true, "Accepted", "the test was understood");
    to.add(kind::STARTED, false, QUEUED, message);
    to.add(kind::FINISHED, false, QUEUED, "");
    to.add(kind::SUCCEEDED, ConditionStatus::Unknown, QUEUED, "");
    to.add(kind::RECONCILING, true, QUEUED, message);
    to.add(kind::STALLED, false, QUEUED, "");
    to.all
}

/// The conditions of a run whose data is not there yet.
pub(super) fn waiting_conditions(generation: i64, message: &str) -> Vec<Observed> {
    let mut to = Conditions {
        generation,
        all: Vec::with_capacity(6),
    };
    to.add(kind::ACCEPTED, false, DATA_MISSING, message);
    to.add(kind::STARTED, false, DATA_MISSING, "");
    to.add(kind::FINISHED, false, DATA_MISSING, "");
    to.add(kind::SUCCEEDED, ConditionStatus::Unknown, DATA_MISSING, "");
    to.add(kind::RECONCILING, true, DATA_MISSING, message);
    to.add(kind::STALLED, false, DATA_MISSING, "");
    to.all
}

/// The conditions of an object whose spec was refused: nothing is made, and whoever waits for the
/// end is told at once.
pub(super) fn refused_conditions(generation: i64, message: &str) -> Vec<Observed> {
    const REASON: &str = "InvalidSpec";
    let mut to = Conditions {
        generation,
        all: Vec::with_capacity(6),
    };
    to.add(kind::ACCEPTED, false, REASON, message);
    to.add(kind::STARTED, false, REASON, "");
    to.add(kind::FINISHED, true, REASON, message);
    to.add(kind::SUCCEEDED, false, REASON, message);
    to.add(kind::RECONCILING, false, REASON, "");
    to.add(kind::STALLED, true, REASON, message);
    to.all
}
