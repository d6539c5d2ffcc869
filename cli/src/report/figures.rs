//! The charts of a run, from its course.

use std::collections::BTreeMap;

use loadtest_core::{
    histogram::Histogram,
    plan::Plan,
    scalar::{format_latency, format_rate, format_ratio},
};

use super::{
    chart::{
        Band, Figure, Legend, Row, Scale, Shape, Tick, bar, line, percent, time_text, time_ticks,
    },
    course::{Cell, Course},
};
use crate::output::table::grouped;

/// What is printed where there is nothing.
const NOTHING: &str = "–";

/// Beyond this ratio of the largest to the smallest value an axis is logarithmic: the small ones
/// would be one line at the bottom.
const LOG_RATIO: f64 = 30.0;

/// Every chart that there is something to show in.
pub fn all(course: &Course, plan: Option<&Plan>) -> Vec<Figure> {
    if course.cells.is_empty() {
        return Vec::new();
    }
    let mut figures = vec![
        latency(course),
        rate(course, plan),
        failures(course),
        users(course),
    ];
    if !course.latency.is_empty() {
        figures.push(distribution(&course.latency));
    }
    figures.push(generator(course));
    figures
}

/// A chart over time, without anything drawn yet.
fn over_time(course: &Course, id: &'static str, title: &str) -> Figure {
    let band = (course.warm_up > 0.0).then(|| Band {
        from: "0".to_owned(),
        width: percent(Scale::Linear(0.0, course.seconds()).at(course.warm_up)),
        label: "warm-up",
    });
    Figure {
        id,
        title: title.to_owned(),
        x: time_ticks(course.seconds()),
        bands: band.into_iter().collect(),
        ..Figure::default()
    }
}

/// Place of the middle of a cell, 0 to 1.
fn middle(course: &Course, cell: &Cell) -> f64 {
    let since = |at: i64| (at - course.start()) as f64 / 1e6;
    Scale::Linear(0.0, course.seconds()).at(f64::midpoint(since(cell.start), since(cell.end)))
}

fn row(course: &Course, cell: &Cell, texts: impl IntoIterator<Item = String>) -> Row {
    let since = |at: i64| time_text((at - course.start()) as f64 / 1e6);
    let when = format!("{} – {}", since(cell.start), since(cell.end));
    Row {
        at: percent(middle(course, cell)),
        cells: std::iter::once(when).chain(texts).collect(),
    }
}

fn columns(names: &[&str]) -> Vec<String> {
    std::iter::once("Time")
        .chain(names.iter().copied())
        .map(str::to_owned)
        .collect()
}

fn latency(course: &Course) -> Figure {
    const LINES: [(&str, &str, f64); 4] = [
        ("c5 thin", "max", 1.0),
        ("c3", "p99", 0.99),
        ("c2", "p95", 0.95),
        ("c1", "p50", 0.5),
    ];
    let mut figure = over_time(course, "latency", "Latency over time");
    let value = |cell: &Cell, quantile: f64| {
        (!cell.latency.is_empty()).then(|| match quantile {
            1.0 => cell.latency.max(),
            quantile => cell.latency.quantile(quantile),
        })
    };
    let all = || {
        let cells = course.cells.iter();
        cells.flat_map(|cell| LINES.iter().filter_map(move |(_, _, q)| value(cell, *q)))
    };
    let (least, most) = (
        all().min().unwrap_or(1).max(1),
        all().max().unwrap_or(1).max(1),
    );
    let scale = latency_scale(least as f64, most as f64);
    figure.axis = match scale {
        Scale::Linear(..) => "time to the last byte, from the intended start".to_owned(),
        Scale::Log(..) => "time to the last byte, from the intended start; logarithmic".to_owned(),
    };
    figure.y = scale.ticks(latency_tick);
    for (class, label, quantile) in LINES {
        let points = course.cells.iter().map(|cell| {
            let value = value(cell, quantile).map(|us| scale.at(us as f64));
            (middle(course, cell), value)
        });
        figure.line(class, label, line(points));
    }
    figure.legend.reverse();
    figure.columns = columns(&["p50", "p95", "p99", "max"]);
    figure.rows = course
        .cells
        .iter()
        .map(|cell| {
            let quantiles = LINES.iter().rev();
            row(
                course,
                cell,
                quantiles
                    .map(|(_, _, q)| value(cell, *q).map_or(NOTHING.to_owned(), format_latency)),
            )
        })
        .collect();
    let whole = &course.latency;
    figure.alternative = format!(
        "Line chart of latency over time. Over the whole load the median was {}, the 95th percentile {}, the 99th {} and the longest {}.",
        shown(whole, 0.5),
        shown(whole, 0.95),
        shown(whole, 0.99),
        shown(whole, 1.0),
    );
    figure
}

fn shown(histogram: &Histogram, quantile: f64) -> String {
    if histogram.is_empty() {
        NOTHING.to_owned()
    } else {
        format_latency(histogram.quantile(quantile))
    }
}

fn latency_scale(least: f64, most: f64) -> Scale {
    if most / least >= LOG_RATIO {
        Scale::Log(least * 0.8, most * 1.4)
    } else {
        Scale::from_zero(most)
    }
}

fn latency_tick(micros: f64) -> String {
    let short = |value: f64| (value * 1e3).round() / 1e3;
    match micros {
        us if us <= 0.0 => "0".to_owned(),
        us if us < 1e3 => format!("{}us", short(us)),
        us if us < 1e6 => format!("{}ms", short(us / 1e3)),
        us => format!("{}s", short(us / 1e6)),
    }
}

/// Class, word and count of a line.
type CountLine = (&'static str, &'static str, fn(&Cell) -> u64);

fn rate(course: &Course, plan: Option<&Plan>) -> Figure {
    let mut figure = over_time(course, "rate", "Rate");
    let open = plan.is_some_and(|plan| plan.scenarios.iter().all(|s| s.load.is_open()));
    let sum = |of: fn(&Cell) -> u64| course.cells.iter().map(of).sum::<u64>();
    let one_each = sum(|cell| cell.started) == sum(|cell| cell.requests);
    let mut lines: Vec<CountLine> = Vec::new();
    if open {
        let label = if one_each {
            "target"
        } else {
            "iterations asked for"
        };
        lines.push(("c6 dashed", label, |cell| cell.scheduled));
    }
    if !one_each && sum(|cell| cell.started) > 0 {
        lines.push(("c4", "iterations begun", |cell| cell.started));
    }
    lines.push(("c1", "requests", |cell| cell.requests));
    let per_second = |cell: &Cell, of: fn(&Cell) -> u64| of(cell) as f64 / cell.seconds();
    let most = course
        .cells
        .iter()
        .flat_map(|cell| lines.iter().map(move |(_, _, of)| per_second(cell, *of)))
        .fold(0.0, f64::max);
    let scale = Scale::from_zero(most);
    "per second".clone_into(&mut figure.axis);
    figure.y = scale.ticks(short_number);
    for (class, label, of) in &lines {
        let points = course
            .cells
            .iter()
            .map(|cell| (middle(course, cell), Some(scale.at(per_second(cell, *of)))));
        figure.line(class, label, line(points));
    }
    let names: Vec<_> = lines.iter().map(|(_, label, _)| *label).collect();
    figure.columns = columns(&names);
    figure.rows = course
        .cells
        .iter()
        .map(|cell| {
            row(
                course,
                cell,
                lines
                    .iter()
                    .map(|(_, _, of)| format_rate(per_second(cell, *of))),
            )
        })
        .collect();
    figure.alternative = format!(
        "Line chart of {} over time; the highest is {}.",
        names.join(", "),
        format_rate(most)
    );
    figure
}

fn short_number(value: f64) -> String {
    match value {
        v if v >= 1e6 => format!("{}M", (v / 1e4).round() / 1e2),
        v if v >= 1e4 => format!("{}k", (v / 1e2).round() / 1e1),
        v => format!("{}", (v * 1e3).round() / 1e3),
    }
}

/// Kinds of failure that have a colour of their own.
const KINDS: usize = 4;

fn failures(course: &Course) -> Figure {
    let mut figure = over_time(course, "failures", "Failures");
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for (kind, count) in course.cells.iter().flat_map(|cell| &cell.failures) {
        *counts.entry(kind).or_default() += count;
    }
    let mut kinds: Vec<_> = counts.into_iter().collect();
    kinds.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    if kinds.is_empty() {
        "No request failed.".clone_into(&mut figure.alternative);
        return figure;
    }
    let own_colour: Vec<&str> = kinds.iter().take(KINDS).map(|(kind, _)| *kind).collect();
    let mut names = own_colour.clone();
    if kinds.len() > KINDS {
        names.push("others");
    }
    // Per second, by name, for each cell.
    let table: Vec<Vec<f64>> = course
        .cells
        .iter()
        .map(|cell| by_name(cell, &own_colour, names.len()))
        .collect();
    let most = table
        .iter()
        .map(|rates| rates.iter().sum())
        .fold(0.0, f64::max);
    let scale = Scale::from_zero(most);
    "requests that failed per second".clone_into(&mut figure.axis);
    figure.y = scale.ticks(short_number);
    for (index, name) in names.iter().enumerate() {
        let class = format!(
            "{} area",
            ["c5", "c2", "c3", "c1", "c6"].get(index).unwrap_or(&"c6")
        );
        let mut path = String::new();
        for (cell, rates) in course.cells.iter().zip(&table) {
            let below: f64 = rates.iter().take(index).sum();
            let own = rates.get(index).copied().unwrap_or_default();
            bar(
                &mut path,
                edges(course, cell),
                (scale.at(below), scale.at(below + own)),
            );
        }
        figure.legend.push(Legend {
            class: class.clone(),
            label: (*name).to_owned(),
        });
        figure.shapes.push(Shape { class, path });
    }
    figure.columns = columns(&names);
    figure.rows = course
        .cells
        .iter()
        .zip(&table)
        .map(|(cell, rates)| row(course, cell, rates.iter().map(|rate| format_rate(*rate))))
        .collect();
    let parts = kinds
        .iter()
        .map(|(kind, count)| format!("{} {kind}", grouped(*count)));
    figure.alternative = format!(
        "Stacked bars of failed requests over time, the warm-up included: {}.",
        parts.collect::<Vec<_>>().join(", ")
    );
    figure
}

fn by_name(cell: &Cell, named: &[&str], columns: usize) -> Vec<f64> {
    let mut rates = vec![0.0; columns];
    for (kind, count) in &cell.failures {
        let column = named
            .iter()
            .position(|name| name == kind)
            .unwrap_or(named.len());
        if let Some(rate) = rates.get_mut(column) {
            *rate += *count as f64 / cell.seconds();
        }
    }
    rates
}

fn edges(course: &Course, cell: &Cell) -> (f64, f64) {
    let scale = Scale::Linear(0.0, course.seconds());
    let at = |time: i64| scale.at((time - course.start()) as f64 / 1e6);
    (at(cell.start), at(cell.end))
}

fn users(course: &Course) -> Figure {
    let mut figure = over_time(course, "users", "Users");
    let most = course
        .cells
        .iter()
        .map(Cell::users)
        .max()
        .unwrap_or_default();
    let scale = Scale::from_zero(f64::from(most));
    "users in an iteration or between two".clone_into(&mut figure.axis);
    figure.y = scale.ticks(short_number);
    let points = course.cells.iter().map(|cell| {
        (
            middle(course, cell),
            Some(scale.at(f64::from(cell.users()))),
        )
    });
    figure.line("c4", "users", line(points));
    figure.columns = columns(&["users"]);
    figure.rows = course
        .cells
        .iter()
        .map(|cell| row(course, cell, [grouped(u64::from(cell.users()))]))
        .collect();
    figure.alternative = format!(
        "Line chart of users over time; at most {}.",
        grouped(u64::from(most))
    );
    figure
}

fn generator(course: &Course) -> Figure {
    let mut figure = over_time(course, "generator", "CPU of the generator");
    let scale = Scale::Linear(0.0, 1.0);
    "busiest runner; above 95% its numbers speak of itself".clone_into(&mut figure.axis);
    figure.y = scale.ticks(format_ratio);
    let points = course
        .cells
        .iter()
        .map(|cell| (middle(course, cell), Some(scale.at(cell.cpu))));
    figure.line("c6", "CPU", line(points));
    figure.columns = columns(&["CPU"]);
    figure.rows = course
        .cells
        .iter()
        .map(|cell| row(course, cell, [format_ratio(cell.cpu)]))
        .collect();
    let most = course.cells.iter().map(|cell| cell.cpu).fold(0.0, f64::max);
    figure.alternative = format!(
        "Line chart of the generator's CPU over time; at most {}.",
        format_ratio(most)
    );
    figure
}

/// Bars of the distribution.
const BARS: usize = 60;

fn distribution(latency: &Histogram) -> Figure {
    let (least, most) = (latency.min().max(1) as f64, latency.max().max(1) as f64);
    let (scale, axis) = match most / least {
        ratio if ratio >= 5.0 => (Scale::Log(least, most), "requests; latency is logarithmic"),
        ratio if ratio > 1.0 => (Scale::Linear(least, most), "requests by latency"),
        _ => (
            Scale::Linear(least * 0.9, most * 1.1),
            "requests by latency",
        ),
    };
    let mut counts = [0_u64; BARS];
    for (value, count) in latency.buckets() {
        // The highest value of a bucket may lie above the highest that was measured.
        let place = scale.at((value as f64).min(most)) * BARS as f64;
        if let Some(bar) = counts.get_mut((place as usize).min(BARS - 1)) {
            *bar += count;
        }
    }
    let y = Scale::from_zero(counts.iter().copied().max().unwrap_or(1) as f64);
    let edge = |index: usize| index as f64 / BARS as f64;
    let mut path = String::new();
    let mut rows = Vec::new();
    for (index, count) in counts
        .into_iter()
        .enumerate()
        .filter(|(_, count)| *count > 0)
    {
        let (left, right) = (edge(index), edge(index + 1));
        bar(&mut path, (left, right - 0.002), (0.0, y.at(count as f64)));
        let text = |share| format_latency(scale.value(share).round() as u64);
        rows.push(Row {
            at: percent(f64::midpoint(left, right)),
            cells: vec![
                format!("{} – {}", text(left), text(right)),
                grouped(count),
                format_ratio(count as f64 / latency.count() as f64),
            ],
        });
    }
    Figure {
        id: "distribution",
        title: "Latency distribution".to_owned(),
        alternative: format!(
            "Histogram of the latencies of {} requests, from {} to {}; half of them took at most {}.",
            grouped(latency.count()),
            format_latency(latency.min()),
            format_latency(latency.max()),
            shown(latency, 0.5)
        ),
        axis: axis.to_owned(),
        y: y.ticks(short_number),
        x: scale.ticks(latency_tick),
        shapes: vec![Shape {
            class: "c1 area".to_owned(),
            path,
        }],
        marks: marks(latency, scale),
        columns: ["Latency", "Requests", "Share"].map(str::to_owned).into(),
        rows,
        ..Figure::default()
    }
}

/// Marks of percentiles; those that would lie on each other share one.
fn marks(latency: &Histogram, scale: Scale) -> Vec<Tick> {
    const APART: f64 = 0.06;
    let mut marks: Vec<(f64, Tick)> = Vec::new();
    for (label, quantile) in [("p50", 0.5), ("p95", 0.95), ("p99", 0.99)] {
        let place = scale.at(latency.quantile(quantile) as f64);
        match marks.last_mut() {
            Some((last, mark)) if place - *last < APART => {
                mark.label = format!("{} {label}", mark.label);
            }
            _ => marks.push((
                place,
                Tick {
                    at: percent(place),
                    label: label.to_owned(),
                    minor: false,
                },
            )),
        }
    }
    marks.into_iter().map(|(_, mark)| mark).collect()
}
