//! The directory that a run leaves behind.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use loadtest_core::{plan::Plan, report::UnixMicros};
use serde::Serialize;

use super::clock::timestamp;

/// One document per request.
pub const REQUESTS: &str = "requests.ndjson.gz";
/// One document per interval, name and runner.
pub const INTERVALS: &str = "intervals.ndjson";
/// Failed exchanges that were kept, if any.
pub const SAMPLES: &str = loadtest_runner::export::push::SAMPLES;
/// Documents that a search server refused, with its reasons.
pub const DEAD_LETTERS: &str = "dead-letters.ndjson";
/// Exactly what `.status` of a run is in a cluster.
pub const SUMMARY: &str = "summary.json";

/// What the runners wrote, until it is joined: a directory for each.
pub const PARTS: &str = "parts";

/// Where default directories are made, in the working directory.
const DEFAULT_PARENT: &str = "loadtest-runs";

/// Why there is no run directory.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// It cannot be made or written.
    #[error("cannot write the run directory {path}: {source}; choose another with --out DIR")]
    Unwritable {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It has another run's results.
    #[error("{0} already holds the results of a run; choose another directory with --out DIR")]
    Occupied(PathBuf),
}

/// The directory of one run.
#[derive(Debug, Clone)]
pub struct RunDirectory {
    path: PathBuf,
}

impl RunDirectory {
    /// The directory that was asked for, or `loadtest-runs/<test>-<time>` with a link `latest` to
    /// it. Nothing of another run is ever overwritten.
    ///
    /// # Errors
    /// When it cannot be written, or holds a run already.
    pub fn create(
        asked: Option<&Path>,
        test: &str,
        now: UnixMicros,
    ) -> Result<Self, DirectoryError> {
        let path = match asked {
            Some(path) => {
                if path.join(SUMMARY).exists() {
                    return Err(DirectoryError::Occupied(path.to_owned()));
                }
                fs::create_dir_all(path).map(|()| path.to_owned())
            }
            None => create_default(test, now),
        };
        let unwritable = |source| DirectoryError::Unwritable {
            path: asked.unwrap_or(Path::new(DEFAULT_PARENT)).to_owned(),
            source,
        };
        let directory = Self {
            path: path.map_err(unwritable)?,
        };
        // Found out now, not when a run's results are to be written.
        directory.probe().map_err(unwritable)?;
        Ok(directory)
    }

    fn probe(&self) -> io::Result<()> {
        let probe = self.path.join(".probe");
        File::create(&probe)?.write_all(b"x")?;
        fs::remove_file(&probe)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Output directory of a runner's exporter while the run goes on.
    ///
    /// # Errors
    /// As of the system call.
    pub fn part(&self, index: u32) -> io::Result<PathBuf> {
        let path = self.path.join(PARTS).join(index.to_string());
        fs::create_dir_all(&path)?;
        Ok(path)
    }

    /// Writes the plan; returns its file.
    ///
    /// # Errors
    /// As of the system calls.
    pub fn write_plan(&self, bytes: &[u8]) -> io::Result<PathBuf> {
        let path = self.file("plan.json");
        fs::write(&path, bytes)?;
        Ok(path)
    }

    /// Writes the status as it is now: a reader sees the old one or the new one, whole.
    ///
    /// # Errors
    /// As of the system calls.
    pub fn write_summary<T: Serialize>(&self, status: &T) -> io::Result<()> {
        let mut bytes = serde_json::to_vec_pretty(status)?;
        bytes.push(b'\n');
        let fresh = self.file(".summary.json.new");
        fs::write(&fresh, bytes)?;
        fs::rename(&fresh, self.file(SUMMARY))
    }

    /// Writes the documents of the run's start and end.
    ///
    /// # Errors
    /// As of the system calls.
    pub fn write_runs(&self, lines: &[u8]) -> io::Result<()> {
        fs::write(self.file(loadtest_runner::export::push::RUNS), lines)
    }

    /// Joins what the runners wrote into one file of each kind and removes the parts. `whole`: every
    /// part was closed in order.
    ///
    /// # Errors
    /// As of the system calls; parts that could not be joined stay where they are.
    pub fn join_parts(&self, plan: &Plan, whole: bool) -> io::Result<()> {
        if plan.results.files.is_none() {
            return Ok(());
        }
        let parts = self.path.join(PARTS);
        let directories: Vec<_> = (0..plan.runners)
            .map(|index| parts.join(index.to_string()))
            .collect();
        super::parts::join_gzip(&directories, REQUESTS, &self.file(REQUESTS), whole)?;
        super::parts::join_text(&directories, INTERVALS, &self.file(INTERVALS), whole)?;
        super::parts::join_text(&directories, SAMPLES, &self.file(SAMPLES), whole)?;
        super::parts::join_text(&directories, DEAD_LETTERS, &self.file(DEAD_LETTERS), whole)?;
        fs::remove_dir_all(&parts)
    }
}

fn create_default(test: &str, now: UnixMicros) -> io::Result<PathBuf> {
    let parent = Path::new(DEFAULT_PARENT);
    fs::create_dir_all(parent)?;
    let time = timestamp(now).strftime("%Y%m%dT%H%M%SZ").to_string();
    let mut name = format!("{test}-{time}");
    let mut again = 1;
    // Two runs may begin in the same second.
    while let Err(error) = fs::create_dir(parent.join(&name)) {
        if error.kind() != io::ErrorKind::AlreadyExists || again > 99 {
            return Err(error);
        }
        again += 1;
        name = format!("{test}-{time}-{again}");
    }
    point_latest(parent, &name);
    Ok(parent.join(name))
}

/// `latest` is a convenience: a file system without links has none, and no run fails over it.
fn point_latest(parent: &Path, name: &str) {
    let fresh = parent.join(format!(".latest-{name}"));
    if std::os::unix::fs::symlink(name, &fresh).is_ok()
        && fs::rename(&fresh, parent.join("latest")).is_err()
    {
        let _ = fs::remove_file(&fresh);
    }
}
