//! The files sink: `requests.ndjson.gz`, `intervals.ndjson` and, if a request failed,
//! `samples.ndjson` in a directory.
//!
//! Each batch of requests is a gzip member of its own, so a file can be cut at the end of any
//! batch: after a restart the exporter cuts what it had not yet settled and writes it again.

use std::{
    fs::{File, OpenOptions},
    io::{self, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use super::{
    background::Background,
    batch::{Batch, Fate, Stream},
    push::SAMPLES,
    sink::{GiveUp, Sink},
};
use crate::gzip;

/// Why the files cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}: {error}", path.display())]
pub(super) struct FilesError {
    path: PathBuf,
    error: io::Error,
}

/// The sink.
#[derive(Debug)]
pub(super) struct Files {
    inner: Mutex<Inner>,
    background: Background,
}

#[derive(Debug)]
struct Inner {
    requests: Option<Output>,
    intervals: Output,
    /// Made with the first sample.
    samples: Option<Output>,
    samples_path: PathBuf,
    problem: String,
}

#[derive(Debug)]
struct Output {
    file: File,
    path: PathBuf,
    len: u64,
}

/// How long the files are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Lengths {
    pub(super) requests: u64,
    pub(super) intervals: u64,
    pub(super) samples: u64,
}

/// Makes the directory and tries whether files can be made in it, before anything is measured.
///
/// # Errors
/// When they cannot.
pub(super) fn check(dir: &Path) -> Result<(), FilesError> {
    let path = dir.join("intervals.ndjson");
    std::fs::create_dir_all(dir)
        .and_then(|()| OpenOptions::new().append(true).create(true).open(&path))
        .map(drop)
        .map_err(|error| FilesError { path, error })
}

impl Files {
    /// Opens the files in `dir` and cuts them to what was settled. Without `raw` there is no file
    /// of requests.
    ///
    /// # Errors
    /// When the directory or a file cannot be made.
    pub(super) fn open(
        dir: &Path,
        raw: bool,
        settled: Lengths,
        background: Background,
    ) -> Result<Self, FilesError> {
        std::fs::create_dir_all(dir).map_err(|error| FilesError {
            path: dir.to_owned(),
            error,
        })?;
        let open = |name: &str, len| Output::open(dir.join(name), len);
        let requests = raw
            .then(|| open("requests.ndjson.gz", settled.requests))
            .transpose()?;
        let intervals = open("intervals.ndjson", settled.intervals)?;
        let samples_path = dir.join(SAMPLES);
        let samples = samples_path
            .exists()
            .then(|| open(SAMPLES, settled.samples))
            .transpose()?;
        let inner = Inner {
            requests,
            intervals,
            samples,
            samples_path,
            problem: String::new(),
        };
        Ok(Self {
            inner: Mutex::new(inner),
            background,
        })
    }

    /// What a batch is in its file; compressed where it costs nobody anything.
    pub(super) async fn form(&self, batch: &Arc<Batch>) -> Vec<u8> {
        match batch.stream {
            Stream::Requests => {
                let batch = batch.clone();
                self.background.run(move || form(&batch)).await
            }
            Stream::Metrics | Stream::Runs => form(batch),
        }
    }

    /// How long the files are now.
    pub(super) fn lengths(&self) -> Lengths {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        Lengths {
            requests: inner.requests.as_ref().map_or(0, |output| output.len),
            intervals: inner.intervals.len,
            samples: inner.samples.as_ref().map_or(0, |output| output.len),
        }
    }

    /// Writes a batch in its [form](form); a disk is asked once.
    pub(super) fn write(&self, batch: &Batch, form: &[u8]) -> Fate {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let documents = batch.len() as u64;
        let written = match batch.stream {
            Stream::Requests => match &mut inner.requests {
                Some(output) => output.append(form),
                None => Ok(()),
            },
            Stream::Metrics if batch.samples => inner.append_samples(form),
            Stream::Metrics => inner.intervals.append(form),
            // The end of a run is the directory's summary, which its owner writes.
            Stream::Runs => Ok(()),
        };
        match written {
            Ok(()) => Fate {
                indexed: documents,
                ..Fate::default()
            },
            Err(error) => {
                tracing::error!(%error, documents, "documents are lost");
                inner.problem = error.to_string();
                Fate {
                    lost: documents,
                    ..Fate::default()
                }
            }
        }
    }
}

impl Sink for Files {
    async fn deliver(&self, batch: Arc<Batch>, _give_up: GiveUp) -> Fate {
        let form = self.form(&batch).await;
        self.write(&batch, &form)
    }

    fn problem(&self) -> String {
        self.inner
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .problem
            .clone()
    }
}

impl Inner {
    fn append_samples(&mut self, form: &[u8]) -> Result<(), FilesError> {
        let output = match &mut self.samples {
            Some(output) => output,
            None => self
                .samples
                .insert(Output::open(self.samples_path.clone(), 0)?),
        };
        output.append(form)
    }
}

impl Output {
    fn open(path: PathBuf, len: u64) -> Result<Self, FilesError> {
        let open = || {
            let mut file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false)
                .open(&path)?;
            file.set_len(len)?;
            file.seek(SeekFrom::Start(len))?;
            Ok(file)
        };
        match open() {
            Ok(file) => Ok(Self { file, path, len }),
            Err(error) => Err(FilesError { path, error }),
        }
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), FilesError> {
        let written = self.file.write_all(bytes).or_else(|error| {
            // Half a batch would make the file unreadable from there on.
            self.file.set_len(self.len)?;
            self.file.seek(SeekFrom::Start(self.len))?;
            Err(error)
        });
        written.map_err(|error| FilesError {
            path: self.path.clone(),
            error,
        })?;
        self.len += bytes.len() as u64;
        Ok(())
    }
}

/// What a batch is in its file: requests are a gzip member, intervals and samples lines.
fn form(batch: &Batch) -> Vec<u8> {
    match batch.stream {
        Stream::Requests => gzip::compress(&batch.documents().collect::<Vec<_>>().concat()),
        Stream::Metrics => batch.documents().collect::<Vec<_>>().concat(),
        Stream::Runs => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use serde_json::json;

    use super::*;
    use crate::pool::tests::Scratch;

    fn batch(stream: Stream, names: &[&str]) -> Batch {
        let mut batch = Batch::new(stream);
        for name in names {
            batch.push_value(name, &json!({"name": name}));
        }
        batch
    }

    fn samples(names: &[&str]) -> Batch {
        let mut batch = batch(Stream::Metrics, names);
        batch.samples = true;
        batch
    }

    fn read_gz(path: &Path) -> String {
        let mut text = String::new();
        let file = File::open(path).unwrap();
        flate2::read::MultiGzDecoder::new(file)
            .read_to_string(&mut text)
            .unwrap();
        text
    }

    #[test]
    fn a_restart_cuts_what_was_not_settled_and_loses_nothing() {
        let scratch = Scratch::new();
        let path = scratch.0.join("requests.ndjson.gz");
        let open =
            |settled| Files::open(&scratch.0, true, settled, Background::start().unwrap()).unwrap();
        let write = |files: &Files, batch: &Batch| files.write(batch, &form(batch)).indexed;
        let files = open(Lengths::default());
        assert_eq!(write(&files, &batch(Stream::Requests, &["a", "b"])), 2);
        write(&files, &batch(Stream::Metrics, &["m"]));
        assert!(!scratch.0.join(SAMPLES).exists(), "nothing failed");
        write(&files, &samples(&["s"]));
        let settled = files.lengths();
        write(&files, &batch(Stream::Requests, &["c"]));
        write(&files, &samples(&["t"]));
        drop(files);

        let files = open(settled);
        write(&files, &batch(Stream::Requests, &["c"]));
        write(&files, &samples(&["u"]));
        let lines = std::fs::read_to_string(scratch.0.join(SAMPLES)).unwrap();
        assert_eq!(lines, "{\"name\":\"s\"}\n{\"name\":\"u\"}\n");
        assert_eq!(
            read_gz(&path),
            "{\"name\":\"a\"}\n{\"name\":\"b\"}\n{\"name\":\"c\"}\n"
        );
        let intervals = std::fs::read_to_string(scratch.0.join("intervals.ndjson")).unwrap();
        assert_eq!(intervals, "{\"name\":\"m\"}\n");
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_named() {
        let background = Background::start().unwrap();
        let dir = Path::new("/proc/none");
        let error = Files::open(dir, true, Lengths::default(), background).unwrap_err();
        assert!(error.to_string().contains("/proc/none"), "{error}");
    }
}
