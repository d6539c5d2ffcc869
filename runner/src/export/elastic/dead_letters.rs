//! What the server refuses for good, kept for whoever wants to know why: one line each with id,
//! stream, reason and the document.
//!
//! An exporter that was killed may write a document again; it is the same document by its id.

use std::{
    fs::{File, OpenOptions},
    io::Write,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use crate::export::{
    batch::Batch,
    json::{push_string, string},
};

/// No more is kept: when every document is refused, the first thousands tell why.
const MOST_BYTES: u64 = 16 << 20;

/// `dead-letters.ndjson` in a directory, made when the first document is refused.
#[derive(Debug, Default)]
pub(in crate::export) struct DeadLetters {
    path: Option<PathBuf>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    file: Option<File>,
    bytes: u64,
    over: bool,
}

impl DeadLetters {
    /// A file in `dir`; without one nothing is kept.
    pub(in crate::export) fn in_dir(dir: Option<PathBuf>) -> Self {
        Self {
            path: dir.map(|dir| dir.join("dead-letters.ndjson")),
            state: Mutex::default(),
        }
    }

    /// Keeps an item of a batch.
    pub(super) fn write(&self, batch: &Batch, item: u32, reason: &str) {
        let Some(path) = &self.path else { return };
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.over {
            return;
        }
        if let Err(error) = state.append(path, &line(batch, item, reason)) {
            tracing::warn!(%error, path = %path.display(), "refused documents are not kept");
            state.over = true;
        } else if state.bytes >= MOST_BYTES {
            tracing::warn!(path = %path.display(), "no more refused documents are kept");
            state.over = true;
        }
    }
}

impl State {
    fn append(&mut self, path: &PathBuf, line: &[u8]) -> std::io::Result<()> {
        if self.file.is_none() {
            let file = OpenOptions::new().append(true).create(true).open(path)?;
            self.bytes = file.metadata()?.len();
            self.file = Some(file);
        }
        if let Some(file) = &mut self.file {
            file.write_all(line)?;
            self.bytes += line.len() as u64;
        }
        Ok(())
    }
}

fn line(batch: &Batch, item: u32, reason: &str) -> Vec<u8> {
    let mut line = Vec::new();
    line.extend_from_slice(b"{\"id\":");
    push_string(&mut line, batch.id(item));
    line.extend_from_slice(b",\"stream\":");
    line.extend_from_slice(string(batch.stream.name()).as_bytes());
    line.extend_from_slice(b",\"reason\":");
    push_string(&mut line, reason);
    line.extend_from_slice(b",\"document\":");
    line.extend_from_slice(batch.document(item).trim_ascii_end());
    line.extend_from_slice(b"}\n");
    line
}
