//! What a run shows while it goes on: a bar on a terminal, one line per interval in a log.

use std::{
    io::IsTerminal,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use loadtest_core::{
    scalar::{format_duration, format_latency, format_rate, format_ratio},
    view::{Phase, Progress as Numbers, RunView},
};

use crate::output::{table::grouped, terminal::say};

/// Between two lines in a log.
const LOG_INTERVAL: Duration = Duration::from_secs(5);

/// Shows the course of a run on standard error.
#[derive(Debug)]
pub struct Progress {
    form: Form,
    name: String,
    phase: Option<Phase>,
}

#[derive(Debug)]
enum Form {
    Quiet,
    Bar(ProgressBar),
    Log { last: Instant },
}

impl Progress {
    /// For a load of this length.
    pub fn new(quiet: bool, name: &str, load: Duration) -> Self {
        let form = if quiet {
            Form::Quiet
        } else if std::io::stderr().is_terminal() {
            Form::Bar(bar(load))
        } else {
            Form::Log {
                last: Instant::now(),
            }
        };
        Self {
            form,
            name: name.to_owned(),
            phase: None,
        }
    }

    /// Shows a moment; may be called as often as one likes.
    pub fn show(&mut self, view: &RunView) {
        let moved = self.phase != Some(view.phase);
        self.phase = Some(view.phase);
        match &mut self.form {
            Form::Quiet => {}
            Form::Bar(bar) => show_bar(bar, &self.name, view),
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
    pub fn note(&self, text: &str) {
        match &self.form {
            Form::Bar(bar) => bar.suspend(|| say(text)),
            Form::Log { .. } | Form::Quiet => say(text),
        }
    }

    /// Takes the picture away.
    pub fn clear(&self) {
        if let Form::Bar(bar) = &self.form {
            bar.finish_and_clear();
        }
    }
}

fn bar(load: Duration) -> ProgressBar {
    let millis = load.as_millis().max(1) as u64;
    let bar = ProgressBar::with_draw_target(Some(millis), ProgressDrawTarget::stderr());
    let style =
        ProgressStyle::with_template("{bar:32.cyan/black.bright} {prefix:.bold}\n{wide_msg}")
            .unwrap_or_else(|_| ProgressStyle::default_bar())
            .progress_chars("━╸━");
    bar.set_style(style);
    bar
}

fn show_bar(bar: &ProgressBar, name: &str, view: &RunView) {
    match (&view.progress, view.phase) {
        (Some(numbers), Phase::Running) => {
            bar.set_position(numbers.elapsed.as_millis() as u64);
            let left = format_duration(seconds(numbers.remaining));
            bar.set_prefix(format!("{name}  {left} left"));
        }
        (_, Phase::Pending | Phase::Starting) => bar.set_prefix(format!("{name}  starting")),
        (_, phase) => {
            bar.set_position(bar.length().unwrap_or_default());
            bar.set_prefix(format!("{name}  {}", phase.name().to_lowercase()));
        }
    }
    bar.set_message(match &view.progress {
        Some(numbers) => numbers_line(numbers, view),
        None => phase_line(view),
    });
    bar.tick();
}

fn phase_line(view: &RunView) -> String {
    match view.phase {
        Phase::Pending | Phase::Starting => {
            format!(
                "starting: {} of {} runners are ready",
                view.runners.ready, view.runners.expected
            )
        }
        Phase::Running => "load is being sent".to_owned(),
        Phase::Stopping => "no new iterations; those under way may end".to_owned(),
        Phase::Exporting => {
            let mut line = "the load is over; results are being stored".to_owned();
            if backlog(view) > 0 {
                line = format!("{line}  backlog {}", grouped(backlog(view)));
            }
            if !view.export_problem.is_empty() {
                line = format!("{line}  ({})", view.export_problem);
            }
            line
        }
        Phase::Finished => "all results are stored or counted".to_owned(),
    }
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
    format!(
        "{}  {latencies}  users {}  backlog {}",
        format_rate(numbers.rate),
        grouped(u64::from(numbers.users)),
        grouped(backlog(view))
    )
}

fn backlog(view: &RunView) -> u64 {
    view.export.as_ref().map_or(0, |export| export.pending)
}

/// Whole seconds are enough for people.
fn seconds(duration: Duration) -> Duration {
    Duration::from_secs((duration.as_millis() as u64 + 500) / 1_000)
}
