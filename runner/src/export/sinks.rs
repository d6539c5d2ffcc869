//! Which documents go to which sink.
//!
//! The search server comes first when it wants a stream: the law is accounted on it, and files get
//! a copy when a batch is settled. So what the search server never took is in the files all the
//! same.

use std::{path::Path, sync::Arc};

use loadtest_core::plan::{Plan, RawMode};

use super::{
    background::Background,
    batch::{Batch, Fate, Stream},
    elastic::Elastic,
    files::{Files, FilesError, Lengths},
    sink::{GiveUp, Sink},
};
use crate::pool::Ledger;

/// All sinks of a run.
#[derive(Debug, Clone)]
pub(super) struct Sinks {
    pub(super) elastic: Option<Arc<Elastic>>,
    elastic_raw: bool,
    files: Option<Arc<Files>>,
    files_raw: bool,
}

impl Sinks {
    /// # Errors
    /// When the files cannot be opened.
    pub(super) fn new(
        plan: &Plan,
        elastic: Option<Arc<Elastic>>,
        out: Option<&Path>,
        ledger: &Ledger,
        background: &Background,
    ) -> Result<Self, FilesError> {
        let results = &plan.results;
        let elastic_raw = results
            .elasticsearch
            .as_ref()
            .is_some_and(|e| e.raw != RawMode::None);
        let files_raw = results
            .files
            .as_ref()
            .is_some_and(|files| files.raw != RawMode::None);
        let settled = Lengths {
            requests: ledger.requests_file,
            intervals: ledger.intervals_file,
            samples: ledger.samples_file,
        };
        let files = match (out, &results.files) {
            (Some(dir), Some(_)) => {
                let files = Files::open(dir, files_raw, settled, background.clone())?;
                Some(Arc::new(files))
            }
            _ => None,
        };
        let files_raw = files_raw && files.is_some();
        Ok(Self {
            elastic,
            elastic_raw,
            files,
            files_raw,
        })
    }

    /// How many batches of requests may be under way at once.
    pub(super) fn window(&self) -> usize {
        match &self.elastic {
            Some(elastic) if self.elastic_raw => elastic.window(),
            // A file is written in the order in which it is settled.
            _ => 1,
        }
    }

    /// Whether the search server is the one that counts for a stream.
    pub(super) fn searchable(&self, stream: Stream) -> bool {
        self.elastic.is_some() && (self.elastic_raw || stream != Stream::Requests)
    }

    /// Whether files get requests that the search server is given.
    pub(super) fn copies_requests(&self) -> bool {
        self.files_raw
    }

    /// Delivers to the sink that counts; then makes what [`Self::copy`] writes.
    pub(super) fn deliver(
        &self,
        batch: Arc<Batch>,
        give_up: GiveUp,
    ) -> impl Future<Output = (Fate, Option<Vec<u8>>)> + Send + 'static {
        let elastic = self
            .elastic
            .clone()
            .filter(|_| self.searchable(batch.stream));
        let files = self.files.clone();
        let copied = self.files_raw || batch.stream != Stream::Requests;
        async move {
            match (elastic, files) {
                (Some(elastic), files) => {
                    let fate = elastic.deliver(batch.clone(), give_up).await;
                    match files.filter(|_| copied) {
                        Some(files) => (fate, Some(files.form(&batch).await)),
                        None => (fate, None),
                    }
                }
                (None, Some(files)) => (files.deliver(batch, give_up).await, None),
                (None, None) => {
                    let lost = batch.len() as u64;
                    (
                        Fate {
                            lost,
                            ..Fate::default()
                        },
                        None,
                    )
                }
            }
        }
    }

    /// Copies a delivered batch to the files, and notes in the ledger how long they are.
    pub(super) fn copy(&self, batch: &Batch, copy: Option<&[u8]>, ledger: &mut Ledger) {
        let Some(files) = &self.files else { return };
        if let Some(copy) = copy {
            files.write(batch, copy);
        }
        let Lengths {
            requests,
            intervals,
            samples,
        } = files.lengths();
        (ledger.requests_file, ledger.intervals_file) = (requests, intervals);
        ledger.samples_file = samples;
    }

    /// What is wrong with the files, if anything.
    pub(super) fn files_problem(&self) -> Option<String> {
        self.files
            .as_ref()
            .map(|files| files.problem())
            .filter(|problem| !problem.is_empty())
    }
}
