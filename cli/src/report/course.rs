//! How a run went on: the interval documents of all runners, merged.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fs::File,
    io::{BufRead as _, BufReader},
    path::PathBuf,
};

use jiff::Timestamp;
use loadtest_core::{
    histogram::{Histogram, TOTAL_DIGITS},
    report::UnixMicros,
};
use serde::Deserialize;

/// Most points of a chart: beyond, neighbouring intervals are merged.
const MAX_CELLS: i64 = 240;

/// A stretch of time over all runners.
#[derive(Debug, Clone, Default)]
pub struct Cell {
    /// Its beginning.
    pub start: UnixMicros,
    /// Its end.
    pub end: UnixMicros,
    /// Whether all of it is of the warm-up; both stages may have requests in the same interval.
    warm_up: bool,
    /// Requests that ended.
    pub requests: u64,
    /// Those that failed, by outcome.
    pub failures: BTreeMap<String, u64>,
    /// Iterations that were due.
    pub scheduled: u64,
    /// Iterations that began.
    pub started: u64,
    /// From the intended start.
    pub latency: Histogram,
    /// Highest CPU share of any runner.
    pub cpu: f64,
    users: BTreeMap<u32, u32>,
}

impl Cell {
    /// Length, seconds; never 0.
    pub fn seconds(&self) -> f64 {
        ((self.end - self.start) as f64 / 1e6).max(1e-3)
    }

    /// Most users at once.
    pub fn users(&self) -> u32 {
        self.users.values().sum()
    }

    fn merge(&mut self, other: &Self) {
        self.start = self.start.min(other.start);
        self.end = self.end.max(other.end);
        self.warm_up &= other.warm_up;
        self.requests += other.requests;
        for (outcome, count) in &other.failures {
            *self.failures.entry(outcome.clone()).or_default() += count;
        }
        self.scheduled += other.scheduled;
        self.started += other.started;
        self.latency.merge(&other.latency);
        self.cpu = self.cpu.max(other.cpu);
        for (runner, users) in &other.users {
            let most = self.users.entry(*runner).or_default();
            *most = (*most).max(*users);
        }
    }
}

/// The whole course.
#[derive(Debug, Default)]
pub struct Course {
    /// In order of time, without overlaps.
    pub cells: Vec<Cell>,
    /// All latencies after the warm-up.
    pub latency: Histogram,
    /// How long the warm-up was, seconds.
    pub warm_up: f64,
}

impl Course {
    /// Reads interval files; lines that are torn are noted and left out.
    pub fn read(paths: &[PathBuf], notes: &mut Vec<String>) -> Self {
        let (mut intervals, mut torn) = (Vec::new(), 0);
        for path in paths {
            let Ok(file) = File::open(path) else { continue };
            for line in BufReader::new(file).split(b'\n') {
                let Ok(line) = line else { break };
                match parse(&line) {
                    Ok(Some(cell)) => intervals.push(cell),
                    Ok(None) => {}
                    Err(_) => torn += 1,
                }
            }
        }
        if intervals.is_empty() {
            notes.push(
                "There are no interval documents: nothing is known of the course.".to_owned(),
            );
        }
        if torn > 0 {
            let lines = if torn == 1 {
                "1 line".to_owned()
            } else {
                format!("{torn} lines")
            };
            notes.push(format!(
                "{lines} of intervals.ndjson could not be read: torn or of another version."
            ));
        }
        Self::new(&intervals)
    }

    fn new(intervals: &[Cell]) -> Self {
        let mut latency = Histogram::default();
        for cell in intervals.iter().filter(|cell| !cell.warm_up) {
            latency.merge(&cell.latency);
        }
        Self {
            cells: cells(intervals),
            latency,
            warm_up: 0.0,
        }
    }

    /// When the first interval began.
    pub fn start(&self) -> UnixMicros {
        self.cells.first().map_or(0, |cell| cell.start)
    }

    /// From there to the end of the last.
    pub fn seconds(&self) -> f64 {
        let end = self.cells.last().map_or(0, |cell| cell.end);
        (end - self.start()) as f64 / 1e6
    }
}

/// Merges intervals of all runners on a grid of time.
fn cells(intervals: &[Cell]) -> Vec<Cell> {
    let length = |cell: &Cell| cell.end - cell.start;
    let (Some(first), Some(last), Some(longest)) = (
        intervals.iter().map(|cell| cell.start).min(),
        intervals.iter().map(|cell| cell.end).max(),
        intervals.iter().map(length).max(),
    ) else {
        return Vec::new();
    };
    // Whole milliseconds: the grid is the one that runners cut their intervals by.
    let interval = ((longest + 500) / 1_000 * 1_000).max(1_000);
    let grid = interval * ((last - first) / interval / MAX_CELLS + 1);
    let mut cells: BTreeMap<i64, Cell> = BTreeMap::new();
    for cell in intervals {
        match cells.entry(cell.start.div_euclid(grid)) {
            Entry::Occupied(mut merged) => merged.get_mut().merge(cell),
            Entry::Vacant(place) => drop(place.insert(cell.clone())),
        }
    }
    join_short(cells.into_values().collect(), grid)
}

/// A cut interval at either end would show as a peak that never was.
fn join_short(mut cells: Vec<Cell>, grid: i64) -> Vec<Cell> {
    let short = |cell: &Cell| cell.end - cell.start < grid / 2;
    if let [first, second, ..] = cells.as_mut_slice()
        && short(first)
    {
        second.merge(first);
        cells.remove(0);
    }
    if let [.., before, last] = cells.as_mut_slice()
        && short(last)
    {
        before.merge(last);
        cells.pop();
    }
    cells
}

#[derive(Deserialize)]
struct Line {
    loadtest: Document,
}

#[derive(Deserialize)]
struct Document {
    runner: Runner,
    #[serde(default)]
    stage: String,
    interval: Span,
    requests: Requests,
    iterations: Iterations,
    users: Users,
    latency: Latency,
    #[serde(default)]
    errors: BTreeMap<String, u64>,
    process: Process,
}

#[derive(Deserialize)]
struct Runner {
    index: u32,
}

#[derive(Deserialize)]
struct Span {
    start: String,
    end: String,
}

#[derive(Deserialize)]
struct Requests {
    count: u64,
}

#[derive(Deserialize)]
struct Iterations {
    scheduled: u64,
    started: u64,
}

#[derive(Deserialize)]
struct Users {
    active: u32,
}

#[allow(clippy::struct_field_names)] // as in the documents
#[derive(Deserialize)]
struct Latency {
    sum_us: u64,
    min_us: u64,
    max_us: u64,
    histogram_us: Option<Buckets>,
}

#[derive(Deserialize)]
struct Buckets {
    values: Vec<u64>,
    counts: Vec<u64>,
}

#[derive(Deserialize)]
struct Process {
    cpu_ratio: f64,
}

#[derive(Deserialize)]
struct Kind {
    loadtest: KindOf,
}

#[derive(Deserialize)]
struct KindOf {
    doc: String,
    scope: String,
}

/// The totals of an interval; `None` for other documents.
fn parse(line: &[u8]) -> Result<Option<Cell>, String> {
    if line.is_empty() {
        return Ok(None);
    }
    let said = |error: serde_json::Error| error.to_string();
    let kind: Kind = serde_json::from_slice(line).map_err(said)?;
    if kind.loadtest.doc != "interval" || kind.loadtest.scope != "total" {
        return Ok(None);
    }
    let Line { loadtest: document } = serde_json::from_slice(line).map_err(said)?;
    let at = |text: &str| {
        text.parse::<Timestamp>()
            .map(Timestamp::as_microsecond)
            .map_err(|error| error.to_string())
    };
    let latency = document.latency;
    let buckets = latency.histogram_us.map_or_else(Vec::new, |buckets| {
        buckets.values.into_iter().zip(buckets.counts).collect()
    });
    Ok(Some(Cell {
        start: at(&document.interval.start)?,
        end: at(&document.interval.end)?,
        warm_up: document.stage == "warm-up",
        requests: document.requests.count,
        failures: document
            .errors
            .into_iter()
            .filter(|(_, count)| *count > 0)
            .collect(),
        scheduled: document.iterations.scheduled,
        started: document.iterations.started,
        latency: Histogram::from_buckets(
            TOTAL_DIGITS,
            buckets,
            latency.sum_us,
            (latency.min_us, latency.max_us),
        ),
        cpu: document.process.cpu_ratio,
        users: BTreeMap::from([(document.runner.index, document.users.active)]),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(runner: u32, start: i64, end: i64, requests: u64) -> Cell {
        Cell {
            start: start * 1_000_000,
            end: end * 1_000_000,
            requests,
            users: BTreeMap::from([(runner, 2)]),
            ..Cell::default()
        }
    }

    #[test]
    fn runners_meet_on_the_grid_and_cut_ends_join_their_neighbours() {
        let cells = cells(&[
            cell(0, 4, 5, 1),
            cell(1, 4, 5, 2),
            cell(0, 5, 10, 10),
            cell(1, 5, 10, 20),
            cell(0, 10, 15, 5),
            cell(0, 15, 16, 1),
        ]);
        let spans: Vec<_> = cells
            .iter()
            .map(|c| {
                (
                    c.start / 1_000_000,
                    c.end / 1_000_000,
                    c.requests,
                    c.users(),
                )
            })
            .collect();
        assert_eq!(spans, [(4, 10, 33, 4), (10, 16, 6, 2)]);
    }

    #[test]
    fn a_day_has_no_more_points_than_a_page_can_show() {
        let day: Vec<_> = (0..17_280).map(|i| cell(0, i * 5, i * 5 + 5, 1)).collect();
        let cells = cells(&day);
        assert!((120..=241).contains(&cells.len()), "{}", cells.len());
        assert_eq!(cells.iter().map(|c| c.requests).sum::<u64>(), 17_280);
    }

    #[test]
    fn torn_lines_are_told_from_other_documents() {
        assert!(parse(br#"{"loadtest":{"doc":"int"#).is_err());
        assert_eq!(
            parse(br#"{"loadtest":{"doc":"interval","scope":"name"}}"#).map(|c| c.is_none()),
            Ok(true)
        );
    }
}
