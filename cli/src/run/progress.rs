//! What a run shows while it goes on: a bar on a terminal, one line per interval in a log.

use std::{
    fmt::Write as _,
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
    phase: Option<Phase>,
}

#[derive(Debug)]
enum Form {
    Quiet,
    Bar(ProgressBar),
    Log { last: Option<Instant> },
}

impl Progress {
    /// For a load of this length.
    pub fn new(quiet: bool, name: &str, load: Duration) -> Self {
        let form = if quiet {
            Form::Quiet
        } else if std::io::stderr().is_terminal() {
            Form::Bar(bar(name, load))
        } else {
            Form::Log { last: None }
        };
        Self { form, phase: None }
    }

    /// Shows a moment; may be called as often as one likes.
    pub fn show(&mut self, view: &RunView) {
        let moved = self.phase != Some(view.phase);
        self.phase = Some(view.phase);
        match &mut self.form {
            Form::Quiet => {}
            Form::Bar(bar) => show_bar(bar, view),
            Form::Log { last } => {
                if moved {
                    say(&phase_line(view));
                }
                let due = last.is_none_or(|last| last.elapsed() >= LOG_INTERVAL);
                if let (true, Some(numbers)) = (due, &view.progress) {
                    // The first seconds have nothing to tell yet.
                    if last.is_some() && view.phase != Phase::Exporting {
                        say(&log_line(numbers, view));
                    }
                    *last = Some(Instant::now());
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

fn bar(name: &str, load: Duration) -> ProgressBar {
    let millis = load.as_millis().max(1) as u64;
    let bar = ProgressBar::with_draw_target(Some(millis), ProgressDrawTarget::stderr());
    let template = "{prefix:.bold} {bar:30.cyan/black.bright} {msg}";
    let style = ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("━╸━");
    bar.set_style(style);
    bar.set_prefix(name.to_owned());
    bar
}

fn show_bar(bar: &ProgressBar, view: &RunView) {
    let mut text = match (&view.progress, view.phase) {
        (Some(numbers), Phase::Running) => {
            bar.set_position(numbers.elapsed.as_millis() as u64);
            format!(
                "{} left  {}",
                format_duration(seconds(numbers.remaining)),
                numbers_line(numbers)
            )
        }
        (Some(numbers), _) => {
            bar.set_position(bar.length().unwrap_or(0));
            format!("stopping  {}", numbers_line(numbers))
        }
        (None, _) => phase_line(view),
    };
    let pending = backlog(view);
    if pending > 0 {
        let _ = write!(text, "  backlog {}", grouped(pending));
    }
    bar.set_message(text);
    bar.tick();
}

fn phase_line(view: &RunView) -> String {
    match view.phase {
        Phase::Pending | Phase::Starting => {
            format!(
                "starting {} of {} runners",
                view.runners.ready, view.runners.expected
            )
        }
        Phase::Running => "load is being sent".to_owned(),
        Phase::Stopping => "no new iterations; those under way may end".to_owned(),
        Phase::Exporting => "the load is over; results are being stored".to_owned(),
        Phase::Finished => "all results are stored or counted".to_owned(),
    }
}

fn log_line(numbers: &Numbers, view: &RunView) -> String {
    let mut line = format!(
        "{} of {}  {}",
        format_duration(seconds(numbers.elapsed)),
        format_duration(seconds(numbers.elapsed + numbers.remaining)),
        numbers_line(numbers)
    );
    let _ = write!(line, "  backlog {}", grouped(backlog(view)));
    line
}

fn numbers_line(numbers: &Numbers) -> String {
    format!(
        "{}  p50 {}  p95 {}  p99 {}  errors {}  users {}",
        format_rate(numbers.rate),
        format_latency(numbers.p50),
        format_latency(numbers.p95),
        format_latency(numbers.p99),
        format_ratio(numbers.error_ratio),
        grouped(u64::from(numbers.users)),
    )
}

fn backlog(view: &RunView) -> u64 {
    view.export.as_ref().map_or(0, |export| export.pending)
}

/// Whole seconds are enough for people.
fn seconds(duration: Duration) -> Duration {
    Duration::from_secs((duration.as_millis() as u64 + 500) / 1_000)
}
