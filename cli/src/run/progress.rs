//! What a run shows while it goes on: a live view on a terminal; in a log a line each few seconds, and
//! every half minute the table by request name.

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
use crate::output::{
    table::{grouped, so_far},
    terminal::say,
};

/// Between two lines in a log.
const LOG_INTERVAL: Duration = Duration::from_secs(5);

/// Between two tables in a log, which has one line for each name: often enough to see which request
/// gets slow, seldom enough for the log of a run of hours.
const TABLE_INTERVAL: Duration = Duration::from_secs(30);

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
    Log(Pace),
}

/// When what is due in a log.
#[derive(Debug)]
struct Pace {
    line: Instant,
    table: Instant,
}

/// What is due in a log.
#[derive(Debug, PartialEq, Eq)]
enum Due {
    Nothing,
    Phase,
    Line,
    LineAndTable,
}

impl Pace {
    fn from(now: Instant) -> Self {
        Self {
            line: now,
            table: now,
        }
    }

    /// A new phase is news at once, the rest when it is due. Tables stand below a line, which says
    /// when they are of.
    fn due(&mut self, now: Instant, moved: bool) -> Due {
        if moved {
            *self = Self { line: now, ..*self };
            return Due::Phase;
        }
        if now.duration_since(self.line) < LOG_INTERVAL {
            return Due::Nothing;
        }
        self.line = now;
        if now.duration_since(self.table) < TABLE_INTERVAL {
            return Due::Line;
        }
        self.table = now;
        Due::LineAndTable
    }
}

impl Progress {
    /// For the run of a plan.
    pub fn new(quiet: bool, plan: &Plan) -> Self {
        let form = if quiet {
            Form::Quiet
        } else if can_be_painted() {
            Form::Live(Box::new((Picture::new(plan), Screen::new())))
        } else {
            Form::Log(Pace::from(Instant::now()))
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
            Form::Log(pace) => match pace.due(Instant::now(), moved) {
                Due::Nothing => {}
                Due::Phase => say(&phase_line(view)),
                Due::Line => say(&log_line(view)),
                Due::LineAndTable => {
                    say(&log_line(view));
                    // While results are stored, the table is the one of the end.
                    if view.judgement.is_none()
                        && let Some(table) = so_far(view)
                    {
                        say(&table);
                    }
                }
            },
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_each_five_seconds_and_a_table_each_thirty() {
        let start = Instant::now();
        let mut pace = Pace::from(start);
        let mut due = |second, moved| pace.due(start + Duration::from_secs(second), moved);
        assert_eq!(due(0, true), Due::Phase);
        assert_eq!(due(4, false), Due::Nothing);
        assert_eq!(due(5, false), Due::Line);
        assert_eq!(due(9, false), Due::Nothing);
        assert_eq!(due(29, false), Due::Line);
        assert_eq!(due(31, true), Due::Phase);
        assert_eq!(due(35, false), Due::Nothing);
        assert_eq!(due(36, false), Due::LineAndTable);
        assert_eq!(due(41, false), Due::Line);
        assert_eq!(due(65, false), Due::Line);
        assert_eq!(due(70, false), Due::LineAndTable);
    }
}
