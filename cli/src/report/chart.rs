//! Charts as shapes: scales, ticks, lines and bars in a plot of 1000 × 1000, stretched by the page.
//!
//! Text is never part of the drawing, so that it stays as large as the page's own on a phone and on
//! paper; ticks carry their place in percent.

use std::fmt::Write as _;

/// A chart with all that a page needs to show it.
#[derive(Debug, Clone, Default)]
pub struct Figure {
    /// Unique in the page.
    pub id: &'static str,
    /// Heading.
    pub title: String,
    /// What is to be seen, in a sentence, for those who cannot see it.
    pub alternative: String,
    /// Unit and scale of the vertical axis.
    pub axis: String,
    /// What the lines or bars are.
    pub legend: Vec<Legend>,
    /// Vertical axis.
    pub y: Vec<Tick>,
    /// Horizontal axis.
    pub x: Vec<Tick>,
    /// Stretches of the background, such as the warm-up.
    pub bands: Vec<Band>,
    /// What is drawn, later ones above.
    pub shapes: Vec<Shape>,
    /// Vertical lines with a word, such as percentiles.
    pub marks: Vec<Tick>,
    /// Headings of the table.
    pub columns: Vec<String>,
    /// The same numbers as a table.
    pub rows: Vec<Row>,
}

/// A label at an axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Tick {
    /// Percent of the length of the axis, from its beginning.
    pub at: String,
    /// Text.
    pub label: String,
    /// Left out where there is little room.
    pub minor: bool,
}

/// A stretch of the background.
#[derive(Debug, Clone)]
pub struct Band {
    /// Percent, where it begins.
    pub from: String,
    /// Percent, how wide it is.
    pub width: String,
    /// What it is.
    pub label: &'static str,
}

/// Something drawn.
#[derive(Debug, Clone)]
pub struct Shape {
    /// Class in the style sheet: colour and kind.
    pub class: String,
    /// SVG path.
    pub path: String,
}

/// A word for a colour.
#[derive(Debug, Clone)]
pub struct Legend {
    /// As of [`Shape::class`].
    pub class: String,
    /// Word.
    pub label: String,
}

/// A row of a figure's table.
#[derive(Debug, Clone)]
pub struct Row {
    /// Percent of the horizontal axis that it belongs to.
    pub at: String,
    /// Texts, as many as columns.
    pub cells: Vec<String>,
}

impl Figure {
    /// Adds a line and its word.
    pub fn line(&mut self, class: &str, label: &str, path: String) {
        self.legend.push(Legend {
            class: format!("{class} line"),
            label: label.to_owned(),
        });
        self.shapes.push(Shape {
            class: format!("{class} line"),
            path,
        });
    }
}

/// From values to places on an axis.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scale {
    /// Equal distances are equal differences.
    Linear(f64, f64),
    /// Equal distances are equal ratios; both ends are above 0.
    Log(f64, f64),
}

impl Scale {
    /// From 0 to a round number that is at least `most`.
    pub fn from_zero(most: f64) -> Self {
        let step = round_step(most.max(1e-9), 4.0, &[1.0, 2.0, 2.5, 5.0]);
        Self::Linear(0.0, (most / step).ceil().max(1.0) * step)
    }

    /// Place of a value, 0 to 1.
    pub fn at(self, value: f64) -> f64 {
        let share = match self {
            Self::Linear(from, to) => (value - from) / (to - from),
            Self::Log(from, to) => (value.max(from) / from).ln() / (to / from).ln(),
        };
        if share.is_finite() {
            share.clamp(0.0, 1.0)
        } else {
            0.0
        }
    }

    /// The value at a place, 0 to 1.
    pub fn value(self, share: f64) -> f64 {
        match self {
            Self::Linear(from, to) => from + share * (to - from),
            Self::Log(from, to) => from * (to / from).powf(share),
        }
    }

    /// Round values along the axis.
    pub fn round_values(self) -> Vec<f64> {
        match self {
            Self::Linear(from, to) => {
                let step = round_step(to - from, 4.0, &[1.0, 2.0, 2.5, 5.0]);
                multiples(step, from, to)
            }
            Self::Log(from, to) => {
                let wide = (to / from).log10() > 3.5;
                let of_decade: &[f64] = if wide { &[1.0] } else { &[1.0, 2.0, 5.0] };
                let (first, last) = (from.log10().floor() as i32, to.log10().ceil() as i32);
                (first..=last)
                    .flat_map(|decade| of_decade.iter().map(move |m| m * 10f64.powi(decade)))
                    .filter(|value| (from * 0.999..=to * 1.001).contains(value))
                    .collect()
            }
        }
    }

    /// Round values with their texts.
    pub fn ticks(self, text: impl Fn(f64) -> String) -> Vec<Tick> {
        let values = self.round_values();
        values
            .into_iter()
            .enumerate()
            .map(|(index, value)| Tick {
                at: percent(self.at(value)),
                label: text(value),
                minor: index % 2 == 1,
            })
            .collect()
    }
}

fn multiples(step: f64, from: f64, to: f64) -> Vec<f64> {
    let (first, last) = (
        (from / step).ceil() as i64,
        (to / step + 1e-9).floor() as i64,
    );
    (first..=last).map(|k| k as f64 * step).collect()
}

/// A round step that divides a length into about `parts`.
fn round_step(length: f64, parts: f64, steps: &[f64]) -> f64 {
    let rough = length / parts;
    let decade = 10f64.powf(rough.log10().floor());
    let chosen = steps
        .iter()
        .map(|step| step * decade)
        .find(|step| *step >= rough * 0.999);
    chosen.unwrap_or(10.0 * decade)
}

/// Ticks of time since the start: seconds, minutes or hours.
pub fn time_ticks(seconds: f64) -> Vec<Tick> {
    const STEPS: [f64; 20] = [
        0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1_800.0,
        3_600.0, 7_200.0, 14_400.0, 21_600.0, 86_400.0,
    ];
    let rough = seconds / 8.0;
    let step = STEPS
        .into_iter()
        .find(|step| *step >= rough)
        .unwrap_or(seconds / 4.0);
    let scale = Scale::Linear(0.0, seconds);
    let values = multiples(step.max(1e-3), 0.0, seconds);
    values
        .into_iter()
        .enumerate()
        .map(|(index, value)| Tick {
            at: percent(scale.at(value)),
            label: time_text(value),
            minor: index % 2 == 1,
        })
        .collect()
}

/// A time since the start: `0s`, `90s` as `1m30s`.
pub fn time_text(seconds: f64) -> String {
    let tenths = (seconds * 10.0).round() as u64;
    if tenths < 600 && !tenths.is_multiple_of(10) {
        return format!("{}s", tenths as f64 / 10.0);
    }
    loadtest_core::scalar::format_duration(std::time::Duration::from_secs((tenths + 5) / 10))
}

/// A share of one as percent with few digits.
pub fn percent(share: f64) -> String {
    format!("{}", (share * 1e4).round() / 1e2)
}

fn place(share: f64) -> f64 {
    (share * 1e4).round() / 10.0
}

/// A line through points of (place on the horizontal axis, place on the vertical one), broken where
/// there is nothing.
pub fn line(points: impl IntoIterator<Item = (f64, Option<f64>)>) -> String {
    let mut path = String::new();
    let mut pen_is_down = false;
    for (x, y) in points {
        let Some(y) = y else {
            pen_is_down = false;
            continue;
        };
        let (x, y) = (place(x), place(1.0 - y));
        if pen_is_down {
            let _ = write!(path, "L{x} {y}");
        } else {
            // With round ends a point alone is a dot.
            let _ = write!(path, "M{x} {y}h0");
        }
        pen_is_down = true;
    }
    path
}

/// A rectangle between two places on each axis.
pub fn bar(path: &mut String, (left, right): (f64, f64), (bottom, top): (f64, f64)) {
    if top > bottom {
        let _ = write!(
            path,
            "M{} {}H{}V{}H{0}z",
            place(left),
            place(1.0 - bottom),
            place(right),
            place(1.0 - top)
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_at_round_numbers() {
        assert_eq!(Scale::from_zero(187.0), Scale::Linear(0.0, 200.0));
        assert_eq!(Scale::from_zero(200.0), Scale::Linear(0.0, 200.0));
        assert!(Scale::from_zero(0.0).round_values().len() >= 2);
        assert_eq!(
            Scale::from_zero(187.0).round_values(),
            [0.0, 50.0, 100.0, 150.0, 200.0]
        );
        assert_eq!(
            Scale::Log(300.0, 30_000.0).round_values(),
            [500.0, 1e3, 2e3, 5e3, 1e4, 2e4]
        );
    }

    #[test]
    fn a_line_is_broken_where_nothing_was_measured() {
        let points = [
            (0.0, Some(0.0)),
            (0.5, Some(1.0)),
            (0.75, None),
            (1.0, Some(0.5)),
        ];
        assert_eq!(line(points), "M0 1000h0L500 0M1000 500h0");
    }

    #[test]
    fn no_value_leaves_the_plot() {
        for scale in [
            Scale::Linear(0.0, 0.0),
            Scale::Linear(0.0, 1.0),
            Scale::Log(1.0, 10.0),
        ] {
            for value in [f64::NAN, f64::INFINITY, -1.0, 0.0, 1e300] {
                assert!((0.0..=1.0).contains(&scale.at(value)), "{scale:?} {value}");
            }
        }
    }
}
