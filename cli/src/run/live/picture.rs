//! What the live view shows: a view of the run as lines of a given width.

use std::time::Duration;

use console::{Style, pad_str, truncate_str};
use loadtest_core::{
    plan::Plan,
    scalar::{format_duration, format_latency, format_rate, format_ratio},
    schedule::Schedule,
    view::{Phase, Progress, RunView, Summary},
};

use super::spark;
use crate::output::table::grouped;

/// Kinds of failure that are shown.
const ERRORS: usize = 3;

/// Most columns of the course of a number: a minute.
const COURSE: usize = 60;

/// Columns of the words at the beginning of lines.
const WORDS: usize = 11;

/// What the picture remembers: one value for each second.
#[derive(Debug)]
pub struct Picture {
    name: String,
    target: Target,
    second: Option<u64>,
    rates: Vec<f64>,
    targets: Vec<f64>,
    errors: Vec<f64>,
}

impl Picture {
    /// Of a run that has not begun.
    pub fn new(plan: &Plan) -> Self {
        Self {
            name: plan.run.test.clone(),
            target: Target::new(plan),
            second: None,
            rates: Vec::new(),
            targets: Vec::new(),
            errors: Vec::new(),
        }
    }

    /// The picture of a moment; no line is wider than `width`.
    pub fn lines(&mut self, view: &RunView, width: usize) -> Vec<String> {
        let mut lines = vec![self.head(view, width)];
        if let Some(progress) = &view.progress {
            lines.push(bar(progress, view.phase, width));
            self.remember(progress);
            lines.extend(self.rate(progress, view, width));
            lines.push(latency(progress));
            lines.push(self.failures(progress, view, width));
            let users = grouped(u64::from(progress.users));
            lines.push(word("users", &users));
        }
        lines.extend(export(view));
        lines.extend(generator(view));
        if let Some(summary) = &view.summary {
            lines.extend(errors(summary));
        }
        lines
            .iter()
            .map(|line| truncate_str(line, width, "…").into_owned())
            .collect()
    }

    fn head(&self, view: &RunView, width: usize) -> String {
        let name = Style::new()
            .for_stderr()
            .bold()
            .apply_to(&self.name)
            .to_string();
        let text = match (&view.progress, view.phase) {
            (Some(progress), Phase::Running) => format!(
                "{} of {}, {} left",
                format_duration(seconds(progress.elapsed)),
                format_duration(seconds(progress.elapsed + progress.remaining)),
                format_duration(seconds(progress.remaining))
            ),
            _ => phase(view),
        };
        let room = width.saturating_sub(console::measure_text_width(&text) + 2);
        let name = truncate_str(&name, room.max(8), "…").into_owned();
        format!(
            "{}  {text}",
            pad_str(&name, room, console::Alignment::Left, None)
        )
    }

    fn remember(&mut self, progress: &Progress) {
        let second = progress.elapsed.as_secs();
        if self.second == Some(second) {
            return;
        }
        self.second = Some(second);
        self.rates.push(progress.rate);
        self.targets
            .push(self.target.at(progress.elapsed).unwrap_or_default());
        self.errors.push(progress.error_ratio);
        for values in [&mut self.rates, &mut self.targets, &mut self.errors] {
            if values.len() > COURSE {
                values.remove(0);
            }
        }
    }

    fn rate(&self, progress: &Progress, view: &RunView, width: usize) -> Vec<String> {
        let asked = self.target.at(progress.elapsed);
        // One scale for both, so that a rate that falls behind looks lower.
        let most = self
            .targets
            .iter()
            .chain(&self.rates)
            .copied()
            .fold(0.0, f64::max);
        let cells = course_cells(width);
        let rate = format!("{:>9}", format_rate(progress.rate));
        let mut lines = vec![word(
            "requests",
            &format!("{rate}  {}", cyan(&spark::line(&self.rates, cells, most))),
        )];
        if let Some(asked) = asked {
            let delivered = view
                .summary
                .as_ref()
                .map_or(1.0, |summary| summary.delivered);
            let course = spark::line(&self.targets, cells, most);
            lines.push(word(
                "asked for",
                &format!(
                    "{:>9}  {}  iterations, {} delivered",
                    format_rate(asked),
                    dim(&course),
                    format_ratio(delivered)
                ),
            ));
        }
        lines
    }

    fn failures(&self, progress: &Progress, view: &RunView, width: usize) -> String {
        let ratio = format!("{:>9}", format_ratio(progress.error_ratio));
        let total = view.summary.as_ref().map(|summary| &summary.total);
        let all = total.map_or_else(String::new, |total| {
            format!(
                "  {} of {}",
                grouped(total.failures),
                grouped(total.requests)
            )
        });
        let failed = total.is_some_and(|total| total.failures > 0);
        let course = spark::line(&self.errors, course_cells(width), 1.0);
        let course = if failed { red(&course) } else { dim(&course) };
        word("failed", &format!("{ratio}  {course}{all}"))
    }
}

/// What the open models of a plan ask for.
#[derive(Debug)]
struct Target(Vec<(Duration, Schedule)>);

impl Target {
    fn new(plan: &Plan) -> Self {
        let open = plan.scenarios.iter();
        Self(
            open.filter_map(|scenario| Some((scenario.start_after, scenario.load.schedule()?)))
                .collect(),
        )
    }

    /// Iterations due in the second that begins at a time; `None` for closed models.
    fn at(&self, elapsed: Duration) -> Option<f64> {
        const SECOND: u64 = 1_000_000_000;
        if self.0.is_empty() {
            return None;
        }
        let due = self.0.iter().map(|(start_after, schedule)| {
            let end = elapsed.saturating_add(Duration::from_secs(1));
            let before = |at: Duration| {
                let since = at.saturating_sub(*start_after).as_nanos();
                schedule.count_before(u64::try_from(since).unwrap_or(u64::MAX - SECOND))
            };
            before(end).saturating_sub(before(elapsed))
        });
        Some(due.sum::<u64>() as f64)
    }
}

fn course_cells(width: usize) -> usize {
    // The word before it, the number, two gaps.
    width.saturating_sub(WORDS + 9 + 2).clamp(1, COURSE / 2)
}

fn word(word: &str, text: &str) -> String {
    format!("{word:WORDS$}{text}")
}

fn bar(progress: &Progress, phase: Phase, width: usize) -> String {
    let whole = (progress.elapsed + progress.remaining).as_secs_f64();
    let share = match phase {
        Phase::Running if whole > 0.0 => (progress.elapsed.as_secs_f64() / whole).min(1.0),
        Phase::Pending | Phase::Starting => 0.0,
        _ => 1.0,
    };
    let done = (share * width as f64).round() as usize;
    format!(
        "{}{}",
        cyan(&"━".repeat(done.min(width))),
        dim(&"─".repeat(width.saturating_sub(done)))
    )
}

fn latency(progress: &Progress) -> String {
    if progress.rate <= 0.0 {
        return word("latency", "no request has ended");
    }
    word(
        "latency",
        &format!(
            "p50 {}  p95 {}  p99 {}",
            format_latency(progress.p50),
            format_latency(progress.p95),
            format_latency(progress.p99)
        ),
    )
}

fn export(view: &RunView) -> Vec<String> {
    let Some(export) = &view.export else {
        return Vec::new();
    };
    let gone = export.rejected + export.dropped + export.lost;
    let mut text = format!(
        "{} stored, {} to go",
        grouped(export.indexed),
        grouped(export.pending)
    );
    if gone > 0 {
        text = format!("{text}, {}", red(&format!("{} not stored", grouped(gone))));
    }
    let mut lines = vec![word("export", &text)];
    if !view.export_problem.is_empty() {
        lines.push(word("", &one_line(&view.export_problem)));
    }
    lines
}

fn generator(view: &RunView) -> Option<String> {
    view.progress.as_ref()?;
    let generator = &view.generator;
    let mut text = format!(
        "CPU {}, {} late starts",
        format_ratio((generator.cpu * 100.0).round() / 100.0),
        grouped(generator.late_starts)
    );
    if generator.saturated {
        text = format!("{text}, {}", red("at its limit"));
    }
    Some(word("generator", &text))
}

fn errors(summary: &Summary) -> impl Iterator<Item = String> {
    summary.errors.iter().take(ERRORS).map(|error| {
        // The message first: names may be long, and are cut.
        let text = format!("{}  {}", error.message, error.name);
        format!("  {} × {}", grouped(error.count), one_line(&text))
    })
}

/// A text from outside must neither break a line nor steer the terminal.
fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

/// Where a run stands, in words.
pub fn phase(view: &RunView) -> String {
    match view.phase {
        Phase::Pending | Phase::Starting => format!(
            "starting: {} of {} runners are ready",
            view.runners.ready, view.runners.expected
        ),
        Phase::Running => "load is being sent".to_owned(),
        Phase::Stopping => "no new iterations; those under way may end".to_owned(),
        Phase::Exporting => "the load is over; results are being stored".to_owned(),
        Phase::Finished => "all results are stored or counted".to_owned(),
    }
}

/// Whole seconds are enough for people.
pub fn seconds(duration: Duration) -> Duration {
    Duration::from_secs((duration.as_millis() as u64 + 500) / 1_000)
}

fn cyan(text: &str) -> String {
    Style::new().for_stderr().cyan().apply_to(text).to_string()
}

fn red(text: &str) -> String {
    Style::new().for_stderr().red().apply_to(text).to_string()
}

fn dim(text: &str) -> String {
    Style::new().for_stderr().dim().apply_to(text).to_string()
}
