//! What the exporter says of itself: the conservation law, for requests and for aggregates.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use loadtest_core::report::{ExportCounts, ExporterReport, ExporterState};

use super::{elastic::Elastic, sink::Sink};
use crate::pool::{Ledger, Pool};

/// Shared by the one who delivers and the one who reports.
#[derive(Debug, Default)]
pub(super) struct Account {
    pool: OnceLock<Pool>,
    elastic: Option<Arc<Elastic>>,
    notes: Mutex<Notes>,
}

#[derive(Debug, Default, Clone)]
struct Notes {
    aggregates_under_way: u64,
    requests_verified: Option<bool>,
    aggregates_verified: Option<bool>,
    /// Problems that stay: what was lost and why.
    lasting: Vec<String>,
    /// Why blocks cannot go to disk, now.
    spool_trouble: String,
    /// Why they last could not.
    last_spool_trouble: String,
    finished: bool,
}

impl Account {
    pub(super) fn new(elastic: Option<Arc<Elastic>>) -> Self {
        Self {
            elastic,
            ..Self::default()
        }
    }

    /// From now on the pool's counters are what is reported.
    pub(super) fn opened(&self, pool: &Pool) {
        let _ = self.pool.set(pool.clone());
    }

    pub(super) fn aggregates_under_way(&self, documents: u64) {
        self.notes(|notes| notes.aggregates_under_way = documents);
    }

    pub(super) fn verified(&self, requests: Option<bool>, aggregates: Option<bool>) {
        self.notes(|notes| {
            notes.requests_verified = requests;
            notes.aggregates_verified = aggregates;
        });
    }

    /// Notes a problem that does not go away.
    pub(super) fn lasting_problem(&self, problem: String) {
        tracing::error!(problem, "results are not complete");
        self.notes(|notes| {
            if !notes.lasting.contains(&problem) {
                notes.lasting.push(problem);
            }
        });
    }

    /// Blocks cannot go to disk, or can again.
    pub(super) fn trouble_of_spool(&self, trouble: Option<&str>) {
        self.notes(|notes| {
            let trouble = trouble.unwrap_or_default();
            if notes.spool_trouble == trouble {
                return;
            }
            trouble.clone_into(&mut notes.spool_trouble);
            if trouble.is_empty() {
                tracing::info!("blocks go to disk again");
            } else {
                tracing::warn!(problem = trouble, "blocks have to wait in memory");
                trouble.clone_into(&mut notes.last_spool_trouble);
            }
        });
    }

    pub(super) fn finished(&self) {
        self.notes(|notes| notes.finished = true);
    }

    /// The law of the requests.
    pub(super) fn requests(&self) -> ExportCounts {
        let Some(pool) = self.pool.get() else {
            return ExportCounts::default();
        };
        let (verified, finished) = self.notes(|notes| (notes.requests_verified, notes.finished));
        let mut counts = ExportCounts {
            verified,
            ..requests(pool)
        };
        if finished {
            // An engine that goes on after its exporter was told to hurry.
            counts.lost += std::mem::take(&mut counts.pending);
        }
        counts
    }

    /// The report of this moment.
    pub(super) fn report(&self) -> ExporterReport {
        let notes = self.notes(|notes| notes.clone());
        let ledger = self.pool.get().map(Pool::ledger).unwrap_or_default();
        ExporterReport {
            state: if notes.finished {
                ExporterState::Finished
            } else {
                ExporterState::Running
            },
            requests: self.requests(),
            aggregates: aggregates(&ledger, &notes),
            problem: self.problem(&notes),
        }
    }

    fn problem(&self, notes: &Notes) -> String {
        let now = self
            .elastic
            .as_ref()
            .map(|elastic| elastic.problem())
            .unwrap_or_default();
        let mut problems = notes.lasting.clone();
        if !now.is_empty() && !problems.iter().any(|problem| problem.contains(&now)) {
            problems.push(now);
        }
        let dropped = self.pool.get().map_or(0, |pool| pool.counts().dropped);
        if dropped > 0 {
            problems.push(dropped_because(dropped, &notes.last_spool_trouble));
        } else if !notes.spool_trouble.is_empty() {
            problems.push(notes.spool_trouble.clone());
        }
        problems.join("; ")
    }

    fn notes<T>(&self, look: impl FnOnce(&mut Notes) -> T) -> T {
        look(&mut self.notes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn dropped_because(dropped: u64, spool_trouble: &str) -> String {
    let records = if dropped == 1 {
        "record was"
    } else {
        "records were"
    };
    let because = "the memory for them was full";
    match spool_trouble {
        "" => format!("{dropped} {records} dropped: {because}"),
        trouble => format!("{dropped} {records} dropped: {because}, and {trouble}"),
    }
}

/// The law of the requests as the pool knows it.
pub(super) fn requests(pool: &Pool) -> ExportCounts {
    // The exporter's part first: what the engine counts rises before it.
    let ledger = pool.ledger();
    let records = pool.counts();
    let Ledger {
        indexed,
        rejected,
        lost,
        retries,
        ..
    } = ledger;
    let known = indexed + rejected + lost + records.sampled_out + records.dropped;
    ExportCounts {
        produced: records.produced,
        indexed,
        rejected,
        sampled_out: records.sampled_out,
        dropped: records.dropped,
        lost,
        pending: records.produced.saturating_sub(known),
        retries,
        verified: None,
    }
}

fn aggregates(ledger: &Ledger, notes: &Notes) -> ExportCounts {
    ExportCounts {
        produced: ledger.aggregates_produced + notes.aggregates_under_way,
        indexed: ledger.aggregates_indexed,
        rejected: ledger.aggregates_rejected,
        lost: ledger.aggregates_lost,
        pending: notes.aggregates_under_way,
        retries: ledger.aggregates_retries,
        verified: notes.aggregates_verified,
        ..ExportCounts::default()
    }
}
