//! Delivers a batch: again and again, only what is still open, always with the same ids.

use std::sync::{Arc, atomic::Ordering};

use elasticsearch::http::Method;

use super::{
    Elastic,
    answer::{Meaning, Verdict, read},
    backoff::Backoff,
    client::{Body, NoAnswer},
};
use crate::{
    export::{
        batch::{Batch, Fate, Stream},
        sink::GiveUp,
    },
    gzip,
};

/// Only what decisions are made of: an answer for 2,048 items is 60 kB instead of 400.
const FILTER: &str = "errors,took,items.*.status,items.*.error.type,items.*.error.reason,\
                      items.*.failure_store";

pub(super) async fn deliver(elastic: &Elastic, batch: Arc<Batch>, mut give_up: GiveUp) -> Fate {
    let mut delivery = Delivery {
        elastic,
        path: format!("{}/_bulk", elastic.data_stream(batch.stream)),
        open: (0..batch.len() as u32).collect(),
        ambiguous: batch.suspect,
        batch,
        fate: Fate::default(),
        backoff: Backoff::new(),
    };
    while !delivery.open.is_empty() {
        if give_up.or(delivery.attempt()).await.is_none() {
            delivery.fate.lost += delivery.open.len() as u64;
            break;
        }
    }
    delivery.fate
}

struct Delivery<'a> {
    elastic: &'a Elastic,
    batch: Arc<Batch>,
    path: String,
    /// Items whose fate is not known.
    open: Vec<u32>,
    /// Whether the server may have some of them all the same. It lasts until a search has told, or
    /// the items have their verdicts: one that is only put off may be there as well.
    ambiguous: bool,
    fate: Fate,
    backoff: Backoff,
}

impl Delivery<'_> {
    /// One request with as many open items as it may have. Waits afterwards when it did not help.
    async fn attempt(&mut self) {
        if let Err(trouble) = self.resolve_ambiguity().await {
            return self.put_off(&trouble).await;
        }
        if self.open.is_empty() {
            return self.elastic.note_success();
        }
        let count = self.fitting();
        let body = self.body(count).await;
        let query = [("filter_path", FILTER)];
        let sent = self
            .elastic
            .client
            .send(Method::Post, &self.path, &query, Body::Gzip(&body));
        let meaning = match self.elastic.awaited(sent).await {
            Ok(answer) => {
                let meaning = read(&answer, count);
                // A gateway's error, or half an answer: the request behind it may have been done.
                self.ambiguous |= matches!(meaning, Meaning::Again(_))
                    && matches!(answer.status, 200..=299 | 500..);
                meaning
            }
            Err(NoAnswer::Unsent(trouble)) => Meaning::Again(trouble),
            Err(NoAnswer::Unknown(trouble)) => {
                self.ambiguous = true;
                Meaning::Again(trouble)
            }
        };
        let trouble = match meaning {
            Meaning::Verdicts(verdicts) => self.take(verdicts),
            Meaning::TooLarge => {
                self.halve(count);
                self.fate.retries += 1;
                return;
            }
            Meaning::Refused(trouble) => Some(self.with_credentials(trouble)),
            Meaning::Busy(trouble) => {
                self.elastic.note_busy(self.bytes(count));
                Some(trouble)
            }
            Meaning::Again(trouble) => Some(trouble),
        };
        match trouble {
            None => {
                self.elastic.note_success();
                self.backoff.reset();
            }
            Some(trouble) => self.put_off(&trouble).await,
        }
    }

    async fn put_off(&mut self, trouble: &str) {
        self.elastic.note_trouble(trouble);
        self.fate.retries += 1;
        self.elastic.pause(&mut self.backoff).await;
    }

    /// The credentials as they are now mounted, for the next attempt.
    fn with_credentials(&self, trouble: String) -> String {
        match self.elastic.client.read_credentials() {
            Ok(()) => trouble,
            Err(error) => format!("{trouble}; {error}"),
        }
    }

    /// Finds out which items the server has all the same, where sending them again could double
    /// them.
    async fn resolve_ambiguity(&mut self) -> Result<(), String> {
        if !self.ambiguous {
            return Ok(());
        }
        let ids: Vec<&str> = self.open.iter().map(|item| self.batch.id(*item)).collect();
        let there = self
            .elastic
            .there_after_rollover(self.batch.stream, &ids)
            .await?;
        let Some(there) = there else {
            // The stream may roll over before the next attempt: only verdicts end the doubt.
            return Ok(());
        };
        let before = self.open.len();
        self.open
            .retain(|item| !there.contains(self.batch.id(*item)));
        self.fate.indexed += (before - self.open.len()) as u64;
        self.ambiguous = false;
        Ok(())
    }

    /// How many of the open items fit into one request; at least one.
    fn fitting(&self) -> usize {
        let cap = self.elastic.cap.load(Ordering::Relaxed);
        let mut bytes = 0;
        let fitting = self.open.iter().take_while(|item| {
            bytes += self.batch.action(**item).len();
            bytes <= cap
        });
        fitting.count().max(1)
    }

    /// Uncompressed size of the first open items.
    fn bytes(&self, count: usize) -> usize {
        self.open
            .iter()
            .take(count)
            .map(|item| self.batch.action(*item).len())
            .sum()
    }

    /// The first open items, compressed: requests where it costs nobody anything, the few others
    /// at once.
    async fn body(&self, count: usize) -> Vec<u8> {
        let batch = self.batch.clone();
        let items: Vec<u32> = self.open.iter().take(count).copied().collect();
        match batch.stream {
            Stream::Requests => {
                let compress = move || compress(&batch, &items);
                self.elastic.background.run(compress).await
            }
            Stream::Metrics | Stream::Runs => compress(&batch, &items),
        }
    }

    /// Takes the verdicts of the first open items; why some of them stay open, if any do.
    fn take(&mut self, verdicts: Vec<Verdict>) -> Option<String> {
        let sent = verdicts.len();
        let (mut again, mut why) = (Vec::new(), None);
        for (item, verdict) in self.open.iter().zip(verdicts) {
            match verdict {
                Verdict::Indexed => self.fate.indexed += 1,
                Verdict::Again(reason) => {
                    again.push(*item);
                    why.get_or_insert(reason);
                }
                Verdict::Rejected(reason) => {
                    self.fate.rejected += 1;
                    self.elastic.note_rejected(&self.batch, *item, &reason);
                }
            }
        }
        let count = again.len();
        self.open.splice(..sent, again);
        let why = why?;
        let trouble = format!("the search server put {count} documents off: {why}");
        // A right that is missing may come with other credentials.
        Some(if why.starts_with("40") {
            self.with_credentials(trouble)
        } else {
            trouble
        })
    }

    /// Makes requests half as large as the one that was refused; a single document that is too
    /// large cannot be sent at all.
    fn halve(&mut self, count: usize) {
        let bytes = self.bytes(count);
        if count > 1 {
            return self.elastic.note_too_large(bytes);
        }
        let item = self.open.remove(0);
        self.fate.rejected += 1;
        let reason = format!("413: a single document of {bytes} bytes is too large");
        self.elastic.note_rejected(&self.batch, item, &reason);
    }
}

fn compress(batch: &Batch, items: &[u32]) -> Vec<u8> {
    gzip::compress(&batch.actions(items))
}
