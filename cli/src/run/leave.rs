//! What a run leaves in its directory when it is over: files that do not depend on each other, so one
//! that cannot be written keeps none of the others from being.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use loadtest_core::plan::Plan;
use loadtest_runner::export::push::{RUNS, run_documents};

use super::{
    clock::Clock,
    control::Control,
    directory::{PARTS, RunDirectory, SUMMARY},
    driver::Driven,
    history::History,
    recorder::Recorder,
};
use crate::{
    output::{
        locust::{self, HistoryWriter, Moment},
        terminal::say,
    },
    report,
};

/// A file of a run is not there, or not whole.
#[derive(Debug, thiserror::Error)]
pub enum Unwritten {
    /// A table in Locust's columns.
    #[error("cannot write {0}: {1}")]
    Csv(String, csv::Error),
    /// Another file.
    #[error("cannot write {0}: {1}")]
    File(String, io::Error),
    /// Some of what the runners wrote is still in directories of its own.
    #[error("cannot join what the runners wrote, which stays in {0}: {1}")]
    Parts(String, io::Error),
}

/// A run that is over.
#[derive(Debug)]
pub struct Leave<'a> {
    /// Its plan.
    pub plan: &'a Plan,
    /// The plan's hash.
    pub plan_hash: &'a str,
    /// Where its files are.
    pub directory: &'a RunDirectory,
    /// Where its tables are wanted as well.
    pub csv: Option<&'a Path>,
    /// What was merged.
    pub control: &'a Control,
    /// Makes the status.
    pub recorder: &'a Recorder<'a>,
    /// The coordinator's clock.
    pub clock: Clock,
}

impl Leave<'_> {
    /// Writes every file; returns what could not be.
    pub fn files(&self, driven: &Driven) -> Vec<Unwritten> {
        let wanted = [
            self.parts(driven),
            self.stats(driven),
            self.failures(driven),
            self.last_row(driven),
            self.tables_elsewhere(),
            self.runs(driven),
            self.file(SUMMARY, self.recorder.record(&driven.view)),
        ];
        if let Err(error) = report::leave_page(self.directory.path()) {
            // The run is what it is, and the page can be made at any time.
            say(&format!("warning: {error}"));
        }
        wanted.into_iter().filter_map(Result::err).collect()
    }

    fn parts(&self, driven: &Driven) -> Result<(), Unwritten> {
        let joined = self.directory.join_parts(self.plan, driven.files_whole);
        let parts = || self.directory.file(PARTS).display().to_string();
        joined.map_err(|error| Unwritten::Parts(parts(), error))
    }

    fn stats(&self, driven: &Driven) -> Result<(), Unwritten> {
        let (path, duration) = (own_table(self.directory, "stats.csv"), duration_of(driven));
        locust::write_stats(&path, &self.plan.series, &driven.merged, duration)
            .map_err(|error| unwritten(&path, error))
    }

    fn failures(&self, driven: &Driven) -> Result<(), Unwritten> {
        let path = own_table(self.directory, "failures.csv");
        let shared = self.control.lock();
        let seen = shared.history.seen();
        locust::write_failures(&path, &self.plan.series, &driven.merged, seen)
            .map_err(|error| unwritten(&path, error))
    }

    /// The history ends with all requests, as the other files do.
    fn last_row(&self, driven: &Driven) -> Result<(), Unwritten> {
        if driven.merged.is_nothing() {
            return Ok(());
        }
        let path = own_table(self.directory, "stats_history.csv");
        let moment = Moment {
            at: self.clock.now(),
            users: 0,
            window: &driven.last_window,
            window_length: History::window_length(duration_of(driven)),
            total: &driven.merged.total,
        };
        HistoryWriter::append(&path)
            .and_then(|mut rows| rows.write(&moment))
            .map_err(|error| unwritten(&path, error))
    }

    fn tables_elsewhere(&self) -> Result<(), Unwritten> {
        let Some(prefix) = self.csv else {
            return Ok(());
        };
        for name in locust::FILES {
            let (own, to) = (own_table(self.directory, name), with_prefix(prefix, name));
            is_same_file(&own, &to)
                // A copy onto itself would empty it.
                .and_then(|same| if same { Ok(0) } else { fs::copy(&own, &to) })
                .map_err(|error| unwritten(&to, error.into()))?;
        }
        Ok(())
    }

    fn runs(&self, driven: &Driven) -> Result<(), Unwritten> {
        if self.plan.results.files.is_none() {
            return Ok(());
        }
        let lines = run_documents(self.plan, self.plan_hash, &driven.view, self.clock.now());
        self.file(RUNS, self.directory.write_runs(&lines))
    }

    fn file(&self, name: &str, written: io::Result<()>) -> Result<(), Unwritten> {
        let path = || self.directory.file(name).display().to_string();
        written.map_err(|error| Unwritten::File(path(), error))
    }
}

/// Finds out before the load, and not after it, that tables cannot be written where they are wanted.
///
/// # Errors
/// The first that cannot.
pub fn begin_tables(prefix: &Path) -> Result<(), Unwritten> {
    for name in locust::FILES {
        let path = with_prefix(prefix, name);
        File::create(&path).map_err(|error| unwritten(&path, error.into()))?;
    }
    Ok(())
}

/// Begins the history of a run.
///
/// # Errors
/// When it cannot be written.
pub fn begin_history(directory: &RunDirectory) -> Result<HistoryWriter, Unwritten> {
    let path = own_table(directory, "stats_history.csv");
    HistoryWriter::create(&path).map_err(|error| unwritten(&path, error))
}

fn unwritten(path: &Path, error: csv::Error) -> Unwritten {
    Unwritten::Csv(path.display().to_string(), error)
}

fn duration_of(driven: &Driven) -> Duration {
    let summary = driven.view.summary.as_ref();
    summary.map(|summary| summary.duration).unwrap_or_default()
}

fn own_table(directory: &RunDirectory, name: &str) -> PathBuf {
    with_prefix(&directory.file("loadtest"), name)
}

fn is_same_file(one: &Path, other: &Path) -> io::Result<bool> {
    let (one, other) = (fs::metadata(one)?, fs::metadata(other)?);
    Ok((one.dev(), one.ino()) == (other.dev(), other.ino()))
}

fn with_prefix(prefix: &Path, name: &str) -> PathBuf {
    let mut path = prefix.as_os_str().to_owned();
    path.push("_");
    path.push(name);
    path.into()
}
