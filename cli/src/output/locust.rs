//! CSV files in the columns that Locust writes, so that scripts made for Locust keep working.
//!
//! Three differences, all towards the truth: response times are latencies from the *intended*
//! start; percentiles come from the merged histograms of all runners; and the last row of each file
//! has every request, so `Aggregated` equals `summary.requests`.

use std::{collections::BTreeMap, fs::File, path::Path, time::Duration};

use loadtest_core::{
    histogram::Histogram,
    plan::SeriesKey,
    report::UnixMicros,
    series::{ErrorKey, Series, SeriesSet},
};

use crate::run::clock::timestamp;

/// The quantiles of the percentile columns, `100%` being the maximum.
const QUANTILES: [f64; 11] = [
    0.5, 0.66, 0.75, 0.8, 0.9, 0.95, 0.98, 0.99, 0.999, 0.9999, 1.0,
];

/// Columns of percentiles, in every file that has any.
pub const PERCENTILES: [&str; 11] = [
    "50%", "66%", "75%", "80%", "90%", "95%", "98%", "99%", "99.9%", "99.99%", "100%",
];

/// Columns of `stats.csv` before those of percentiles.
pub const COLUMNS: [&str; 11] = [
    "Type",
    "Name",
    "Request Count",
    "Failure Count",
    "Median Response Time",
    "Average Response Time",
    "Min Response Time",
    "Max Response Time",
    "Average Content Size",
    "Requests/s",
    "Failures/s",
];

/// Endings of the three files.
pub const FILES: [&str; 3] = ["stats.csv", "stats_history.csv", "failures.csv"];

/// Writes `stats.csv`: a row for each method and name, then `Aggregated`.
///
/// # Errors
/// When the file cannot be written.
pub fn write_stats(
    path: &Path,
    names: &[SeriesKey],
    set: &SeriesSet,
    duration: Duration,
) -> csv::Result<()> {
    let mut out = writer(path)?;
    out.write_record(COLUMNS.iter().chain(&PERCENTILES))?;
    for ((name, method), series) in by_name_and_method(names, set) {
        out.write_record(stats_row(method, name, &series, duration))?;
    }
    out.write_record(stats_row("", "Aggregated", &set.total, duration))?;
    Ok(out.flush()?)
}

/// Scenarios are unknown to Locust: the same name in two of them is one row.
fn by_name_and_method<'a>(
    names: &'a [SeriesKey],
    set: &SeriesSet,
) -> BTreeMap<(&'a str, &'a str), Series> {
    let mut rows: BTreeMap<(&str, &str), Series> = BTreeMap::new();
    for (key, series) in names.iter().zip(&set.by_name) {
        if series.requests > 0 {
            let row = rows.entry((locust_name(&key.method, &key.name), key.method.as_str()));
            row.or_default().merge(series);
        }
    }
    rows
}

/// A default name is method and url; Locust's is the url, and the method has its own column.
pub fn locust_name<'a>(method: &str, name: &'a str) -> &'a str {
    match name
        .strip_prefix(method)
        .and_then(|rest| rest.strip_prefix(' '))
    {
        Some(url) if url.starts_with('/') => url,
        _ => name,
    }
}

fn stats_row(method: &str, name: &str, series: &Series, duration: Duration) -> Vec<String> {
    let mut row = vec![
        method.to_owned(),
        name.to_owned(),
        series.requests.to_string(),
        series.failures.to_string(),
    ];
    row.extend(latency_columns(series));
    row.push(per_second(series.requests, duration));
    row.push(per_second(series.failures, duration));
    row.extend(percentiles(&series.latency));
    row
}

/// Median, average, minimum, maximum in milliseconds, then the average size of an answer.
fn latency_columns(series: &Series) -> [String; 5] {
    let latency = &series.latency;
    let size = series.bytes_received as f64 / series.requests.max(1) as f64;
    [
        whole_millis(latency.quantile(0.5)),
        (latency.mean() / 1e3).to_string(),
        millis(latency.min()),
        millis(latency.max()),
        size.to_string(),
    ]
}

fn percentiles(latency: &Histogram) -> impl Iterator<Item = String> {
    QUANTILES
        .map(|q| whole_millis(latency.quantile(q)))
        .into_iter()
}

/// Microseconds as whole milliseconds.
pub fn whole_millis(micros: u64) -> String {
    ((micros + 500) / 1_000).to_string()
}

/// Microseconds as milliseconds with their fraction.
pub fn millis(micros: u64) -> String {
    (micros as f64 / 1e3).to_string()
}

fn per_second(count: u64, duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    let rate = if seconds > 0.0 {
        count as f64 / seconds
    } else {
        0.0
    };
    rate.to_string()
}

/// Writes `stats_history.csv` while the run goes on: one `Aggregated` row a second.
pub struct HistoryWriter {
    out: csv::Writer<File>,
}

/// What one row of the history tells.
#[derive(Debug, Clone, Copy)]
pub struct Moment<'a> {
    /// When.
    pub at: UnixMicros,
    /// Users of all runners.
    pub users: u32,
    /// The last seconds.
    pub window: &'a Series,
    /// How many seconds.
    pub window_length: Duration,
    /// Since the start.
    pub total: &'a Series,
}

impl HistoryWriter {
    /// Begins the file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn create(path: &Path) -> csv::Result<Self> {
        let mut out = writer(path)?;
        let before = [
            "Timestamp",
            "User Count",
            "Type",
            "Name",
            "Requests/s",
            "Failures/s",
        ];
        let after = [
            "Total Request Count",
            "Total Failure Count",
            "Total Median Response Time",
            "Total Average Response Time",
            "Total Min Response Time",
            "Total Max Response Time",
            "Total Average Content Size",
        ];
        out.write_record(before.iter().chain(&PERCENTILES).chain(&after))?;
        out.flush()?;
        Ok(Self { out })
    }

    /// Goes on with a file that was begun.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn append(path: &Path) -> csv::Result<Self> {
        let file = File::options().append(true).open(path)?;
        Ok(Self {
            out: csv_builder().from_writer(file),
        })
    }

    /// Adds a row.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&mut self, moment: &Moment<'_>) -> csv::Result<()> {
        let window = moment.window;
        let mut row = vec![
            (moment.at / 1_000_000).to_string(),
            moment.users.to_string(),
            String::new(),
            "Aggregated".to_owned(),
            per_second(window.requests, moment.window_length),
            per_second(window.failures, moment.window_length),
        ];
        if window.requests == 0 {
            row.extend(PERCENTILES.map(|_| "N/A".to_owned()));
        } else {
            row.extend(percentiles(&window.latency));
        }
        row.push(moment.total.requests.to_string());
        row.push(moment.total.failures.to_string());
        row.extend(latency_columns(moment.total));
        self.out.write_record(row)?;
        Ok(self.out.flush()?)
    }
}

/// Writes `failures.csv`: how often each kind of failure came, and when first and last.
///
/// # Errors
/// When the file cannot be written.
pub fn write_failures(
    path: &Path,
    names: &[SeriesKey],
    set: &SeriesSet,
    seen: &BTreeMap<ErrorKey, (UnixMicros, UnixMicros)>,
) -> csv::Result<()> {
    let mut out = writer(path)?;
    let columns = [
        "Method",
        "Name",
        "Error",
        "Occurrences",
        "First Seen",
        "Last Seen",
    ];
    out.write_record(columns)?;
    for (key, count) in &set.errors {
        let (method, name) = names.get(key.series as usize).map_or(("", "(other)"), |s| {
            (s.method.as_str(), locust_name(&s.method, &s.name))
        });
        let (first, last) = seen.get(key).copied().unwrap_or_default();
        out.write_record([
            method,
            name,
            &key.message,
            &count.to_string(),
            &timestamp(first).to_string(),
            &timestamp(last).to_string(),
        ])?;
    }
    Ok(out.flush()?)
}

fn writer(path: &Path) -> csv::Result<csv::Writer<File>> {
    csv_builder().from_path(path)
}

fn csv_builder() -> csv::WriterBuilder {
    let mut builder = csv::WriterBuilder::new();
    builder.terminator(csv::Terminator::CRLF);
    builder
}

#[cfg(test)]
mod tests {
    use loadtest_core::{
        histogram::TOTAL_DIGITS,
        series::{Outcome, Sample},
    };

    use super::*;

    fn series(latencies: &[u64], outcome: Outcome) -> Series {
        let mut series = Series::default();
        for latency_us in latencies.iter().copied() {
            let sample = Sample {
                outcome,
                status: 200,
                latency_us,
                service_us: latency_us,
                bytes_sent: 10,
                bytes_received: 100,
            };
            series.record(&sample, TOTAL_DIGITS);
        }
        series
    }

    #[test]
    fn names_are_as_locust_has_them() {
        assert_eq!(locust_name("GET", "GET /get"), "/get");
        assert_eq!(locust_name("GET", "GETTER"), "GETTER");
        assert_eq!(locust_name("GET", "GET well"), "GET well");
        assert_eq!(locust_name("POST", "/delayed"), "/delayed");
    }

    #[test]
    fn a_row_has_counts_milliseconds_and_rates() {
        let series = series(&[1_000, 2_000, 2_500, 40_000], Outcome::Ok);
        let row = stats_row("GET", "/get", &series, Duration::from_secs(2));
        assert_eq!(
            row[..11],
            [
                "GET", "/get", "4", "0", "2", "11.375", "1", "40", "100", "2", "0"
            ]
        );
        assert_eq!(row.len(), 22);
        assert_eq!(row.last().unwrap(), "40");
    }

    #[test]
    fn quantiles_of_nothing_are_not_available_and_errors_are_quoted() {
        let place = std::env::temp_dir().join(format!("loadtest-locust-{}", std::process::id()));
        std::fs::create_dir_all(&place).unwrap();
        let path = place.join("h.csv");
        let empty = Series::default();
        let moment = Moment {
            at: 5_000_000,
            users: 3,
            window: &empty,
            window_length: Duration::from_secs(1),
            total: &empty,
        };
        HistoryWriter::create(&path)
            .unwrap()
            .write(&moment)
            .unwrap();
        HistoryWriter::append(&path)
            .unwrap()
            .write(&moment)
            .unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let row = format!("5,3,,Aggregated,0,0,{}0,0,0,0,0,0,0\r\n", "N/A,".repeat(11));
        assert!(
            text.ends_with(&format!("Content Size\r\n{row}{row}")),
            "{text}"
        );

        let mut set = SeriesSet::default();
        let key = ErrorKey {
            outcome: Outcome::Check,
            series: 0,
            message: "check \"a, b\" failed".to_owned(),
        };
        set.count_error(key.clone(), 7);
        let seen = BTreeMap::from([(key, (1_700_000_000_000_000, 1_700_000_001_000_000))]);
        let names = [SeriesKey {
            scenario: "main".to_owned(),
            name: "GET /get".to_owned(),
            method: "GET".to_owned(),
        }];
        write_failures(&path, &names, &set, &seen).unwrap();
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            "Method,Name,Error,Occurrences,First Seen,Last Seen\r\n\
             GET,/get,\"check \"\"a, b\"\" failed\",7,2023-11-14T22:13:20Z,2023-11-14T22:13:21Z\r\n"
        );
        std::fs::remove_dir_all(&place).unwrap();
    }
}
