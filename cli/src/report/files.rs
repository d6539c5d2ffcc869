//! The files of a run, as far as they are there.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use loadtest_core::plan::Plan;
use loadtest_crds::LoadTestRunStatus;

use super::{
    course::Course,
    samples::{self, Sample},
};
use crate::run::directory::{INTERVALS, SAMPLES, SUMMARY};

/// Why a directory cannot be reported.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// There is no status.
    #[error("cannot read {path}: {error}; name a directory that `loadtest run` wrote")]
    Missing {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The status is none.
    #[error("{path} is not the status of a run: {error}")]
    NotAStatus {
        /// Which file.
        path: PathBuf,
        /// Where and why.
        error: serde_json::Error,
    },
}

/// A run as its directory has it.
#[derive(Debug)]
pub struct RunFiles {
    /// The status: `summary.json`.
    pub status: LoadTestRunStatus,
    /// The plan, if it can be read.
    pub plan: Option<Plan>,
    /// The plan as it is in the file.
    pub plan_text: Option<String>,
    /// Name of the test, as far as it is known.
    pub test: String,
    /// How the run went on: the interval documents.
    pub course: Course,
    /// What the server said at each kind of failure, beside the errors of the status.
    pub samples: Vec<Vec<Sample>>,
    /// What is missing, for people.
    pub notes: Vec<String>,
}

impl RunFiles {
    /// Reads a directory. Only the status must be there: whatever else is missing or torn is noted.
    ///
    /// # Errors
    /// [`FilesError`].
    pub fn read(dir: &Path) -> Result<Self, FilesError> {
        let path = dir.join(SUMMARY);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) => return Err(FilesError::Missing { path, error }),
        };
        let status: LoadTestRunStatus = serde_json::from_slice(&bytes)
            .map_err(|error| FilesError::NotAStatus { path, error })?;
        let mut notes = Vec::new();
        if status.phase.as_deref() != Some("Finished") {
            notes.push(format!(
                "The run has not ended, or was cut off: these are its numbers by {}.",
                status
                    .progress
                    .as_ref()
                    .and_then(|p| p.updated_at.as_ref())
                    .map_or_else(|| "then".to_owned(), |time| time.0.to_string())
            ));
        }
        let (plan, plan_text) = read_plan(dir, &mut notes);
        let mut course = Course::read(&places(dir, INTERVALS), &mut notes);
        course.warm_up = plan.as_ref().map_or(0.0, |plan| plan.warm_up.as_secs_f64());
        let errors = status
            .summary
            .as_ref()
            .map_or(&[][..], |s| s.errors.as_slice());
        let samples = samples::find(errors, &places(dir, SAMPLES));
        let test = plan_text.as_deref().and_then(test_name);
        Ok(Self {
            status,
            test: test.unwrap_or_else(|| "run".to_owned()),
            plan,
            plan_text,
            course,
            samples,
            notes,
        })
    }

    /// The verdict, or that there is none.
    pub fn verdict(&self) -> &str {
        self.status
            .verdict
            .as_deref()
            .filter(|verdict| !verdict.is_empty())
            .unwrap_or("No verdict")
    }

    /// Why the verdict is what it is, or where the run stands.
    pub fn message(&self) -> &str {
        self.status.message.as_deref().unwrap_or_default()
    }
}

fn read_plan(dir: &Path, notes: &mut Vec<String>) -> (Option<Plan>, Option<String>) {
    let read = fs::read_to_string(dir.join("plan.json"));
    let Ok(text) = read else {
        notes.push("There is no plan.json: what was asked for is not known.".to_owned());
        return (None, None);
    };
    match Plan::from_bytes(text.as_bytes()) {
        Ok(plan) => {
            let pretty = serde_json::to_string_pretty(&plan).ok();
            (Some(plan), pretty.or(Some(text)))
        }
        Err(error) => {
            notes.push(format!(
                "plan.json is not a plan of this version ({error}); it is shown as it is."
            ));
            (None, Some(text))
        }
    }
}

/// The name of the test in a plan of any version.
fn test_name(plan: &str) -> Option<String> {
    let plan: serde_json::Value = serde_json::from_str(plan).ok()?;
    Some(plan.pointer("/run/test")?.as_str()?.to_owned())
}

/// Where a file is: in the directory, or still in those of the runners.
fn places(dir: &Path, name: &str) -> Vec<PathBuf> {
    let whole = dir.join(name);
    if whole.exists() {
        return vec![whole];
    }
    let parts = fs::read_dir(dir.join("parts")).into_iter().flatten();
    let mut found: Vec<_> = parts
        .flatten()
        .map(|part| part.path().join(name))
        .filter(|path| path.exists())
        .collect();
    found.sort();
    found
}
