//! What a run shows while it goes on: a live view on a terminal, one line per interval in a log.

use std::{
    io::IsTerminal,
    time::{Duration, Instant},
};

use loadtest_core::{
    plan::Plan,
    report::ExportCounts,
    scalar::{format_duration, format_latency, format_rate, format_ratio},
    view::{Phase, Progress as Numbers, RunView},
};

use super::live::{
    picture::{Picture, phase, seconds},
    screen::Screen,
};
use crate::output::{table::grouped, terminal::say};

/// Between two lines in a log.
const LOG_INTERVAL: Duration = Duration::from_secs(5);

/// Shows the course of a run on standard error.
#[derive(Debug)]
pub struct Progress {
    form: Form,
    phase: Option<Phase>,
}

#[derive(Debug)]
enum Form {
    Quiet,
    Live(Box<(Picture, Screen)>),
    Log { last: Instant },
}

impl Progress {
    /// For the run of a plan.
    pub fn new(quiet: bool, plan: &Plan) -> Self {
        let form = if quiet {
            Form::Quiet
        } else if can_be_painted() {
            Form::Live(Box::new((Picture::new(plan), Screen::new())))
        } else {
            Form::Log {
                last: Instant::now(),
            }
        };
        Self { form, phase: None }
    }

    /// Shows a moment; may be called as often as one likes.
    pub fn show(&mut self, view: &RunView) {
        let moved = self.phase != Some(view.phase);
        self.phase = Some(view.phase);
        match &mut self.form {
            Form::Quiet => {}
            Form::Live(live) => {
                let (picture, screen) = &mut **live;
                screen.paint(&picture.lines(view, screen.width()));
            }
            Form::Log { last } => {
                // A new phase is news at once, the rest when it is due.
                if moved {
                    say(&phase_line(view));
                    *last = Instant::now();
                } else if last.elapsed() >= LOG_INTERVAL {
                    say(&log_line(view));
                    *last = Instant::now();
                }
            }
        }
    }

    /// Says something that must not be overwritten by the next picture.
    pub fn note(&mut self, text: &str) {
        self.clear();
        say(text);
    }

    /// Takes the picture away.
    pub fn clear(&mut self) {
        if let Form::Live(live) = &mut self.form {
            live.1.wipe();
        }
    }
}

/// Whether standard error is a terminal that can move its cursor.
fn can_be_painted() -> bool {
    let dumb = std::env::var("TERM").is_ok_and(|term| term == "dumb" || term.is_empty());
    std::io::stderr().is_terminal() && !dumb
}

fn phase_line(view: &RunView) -> String {
    let mut line = phase(view);
    if view.phase == Phase::Exporting {
        if backlog(view) > 0 {
            line = format!("{line}  backlog {}", grouped(backlog(view)));
        }
        if !view.export_problem.is_empty() {
            line = format!("{line}  ({})", view.export_problem);
        }
    }
    line
}

fn log_line(view: &RunView) -> String {
    match &view.progress {
        Some(numbers) => format!(
            "{} of {}  {}",
            format_duration(seconds(numbers.elapsed)),
            format_duration(seconds(numbers.elapsed + numbers.remaining)),
            numbers_line(numbers, view)
        ),
        None => phase_line(view),
    }
}

fn numbers_line(numbers: &Numbers, view: &RunView) -> String {
    let latencies = if numbers.rate > 0.0 {
        format!(
            "p50 {}  p95 {}  p99 {}  errors {}",
            format_latency(numbers.p50),
            format_latency(numbers.p95),
            format_latency(numbers.p99),
            format_ratio(numbers.error_ratio),
        )
    } else {
        "no request has ended".to_owned()
    };
    let limit = if view.generator.saturated {
        "  generator at its limit"
    } else {
        ""
    };
    format!(
        "{}  {latencies}  users {}  backlog {}{limit}",
        format_rate(numbers.rate),
        grouped(u64::from(numbers.users)),
        grouped(backlog(view))
    )
}

fn backlog(view: &RunView) -> u64 {
    view.export
        .as_ref()
        .map_or(0, |export: &ExportCounts| export.pending)
}
