//! `loadtest report`: a finished run as one page, as text, for a pipeline, as a table.
//!
//! Every number is the run's own: the status ([`files::RunFiles::status`], ready to be read) for all
//! that is said of the whole run, the interval documents for its course. Nothing is measured or
//! judged again here.

pub mod chart;
pub mod course;
pub mod figures;
pub mod files;
pub mod html;
pub mod junit;
pub mod load;
pub mod markdown;
pub mod samples;

use std::{fs, io::Write as _, path::PathBuf};

use clap::ValueEnum;

use crate::{
    exit::Exit,
    output::terminal::{Unprinted, print, say},
};
use files::{FilesError, RunFiles};

/// The page that every run leaves in its directory.
pub const PAGE: &str = "report.html";

/// Arguments of `loadtest report`.
#[allow(clippy::doc_markdown)]
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Directory that `loadtest run` wrote; of a run that has not ended, what is there by now.
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// What is made of it.
    #[arg(short, long, value_name = "FORM", default_value = "html")]
    pub output: Form,
    /// File to write; default: DIR/report.html for html, standard output for the others.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// What a report can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// One self-contained page with charts.
    Html,
    /// For summaries of pipelines and comments.
    Markdown,
    /// One test case for each threshold and one for the verdict.
    Junit,
    /// Requests by name in Locust's columns.
    Csv,
    /// Exactly the `.status` of the run.
    Json,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The run's files cannot be used.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// The page cannot be made.
    #[error("the page cannot be made: {0}")]
    Page(#[from] askama::Error),
    /// The status cannot be written.
    #[error("the status cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// There is no table yet.
    #[error("cannot read {path}: {error}; a run writes it when it has ended")]
    Csv {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// The report cannot be printed.
    #[error(transparent)]
    Print(#[from] Unprinted),
    /// The report cannot be written.
    #[error("cannot write {path}: {error}; choose another file with --out FILE")]
    Write {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
}

/// Makes the report. The exit code tells whether it was made, not how the run went.
pub fn run(args: &Args) -> Exit {
    match report(args) {
        Ok(()) => Exit::Passed,
        Err(error) => {
            say(&format!("error: {error}"));
            match error {
                ReportError::Files(_) | ReportError::Csv { .. } => Exit::Usage,
                _ => Exit::Error,
            }
        }
    }
}

fn report(args: &Args) -> Result<(), ReportError> {
    let files = RunFiles::read(&args.dir)?;
    let text = match args.output {
        Form::Html => html::render(&files)?,
        Form::Markdown => markdown::render(&files),
        Form::Junit => junit::render(&files)?,
        Form::Json => serde_json::to_string_pretty(&files.status)? + "\n",
        Form::Csv => {
            let path = args.dir.join("loadtest_stats.csv");
            fs::read_to_string(&path).map_err(|error| ReportError::Csv { path, error })?
        }
    };
    let to = match (&args.out, args.output) {
        (Some(path), _) => path.clone(),
        (None, Form::Html) => args.dir.join(PAGE),
        (None, _) => {
            return Ok(print(&text)?);
        }
    };
    write(&to, &text)?;
    say(&format!("the report is in {}", to.display()));
    Ok(())
}

/// Writes the page of a run that has just ended.
///
/// # Errors
/// [`ReportError`]; the run's own files are whole without it.
pub fn leave_page(dir: &std::path::Path) -> Result<(), ReportError> {
    let page = html::render(&RunFiles::read(dir)?)?;
    write(&dir.join(PAGE), &page)
}

fn write(path: &std::path::Path, text: &str) -> Result<(), ReportError> {
    fs::File::create(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|error| ReportError::Write {
            path: path.to_owned(),
            error,
        })
}
