//! Delivers a batch: again and again, only what is still open, always with the same ids.

use std::{
    io::Write,
    sync::{Arc, atomic::Ordering},
};

use elasticsearch::http::Method;
use flate2::{Compression, write::GzEncoder};

use super::{
    Elastic,
    answer::{Meaning, Verdict, read},
    backoff::Backoff,
    client::Body,
};
use crate::export::{
    batch::{Batch, Fate, Stream},
    sink::GiveUp,
};

/// Only what decisions are made of: an answer for 2,048 items is 60 kB instead of 400.
const FILTER: &str = "errors,took,items.*.status,items.*.error.type,items.*.error.reason,\
                      items.*.failure_store";

pub(super) async fn deliver(elastic: &Elastic, batch: Arc<Batch>, mut give_up: GiveUp) -> Fate {
    let mut delivery = Delivery {
        elastic,
        path: format!("{}/_bulk", elastic.data_stream(batch.stream)),
        open: (0..batch.len() as u32).collect(),
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
    fate: Fate,
    backoff: Backoff,
}

impl Delivery<'_> {
    /// One request with as many open items as it may have. Waits afterwards when it did not help.
    async fn attempt(&mut self) {
        let count = self.fitting();
        let body = self.body(count).await;
        let query = [("filter_path", FILTER)];
        let answer = self
            .elastic
            .client
            .send(Method::Post, &self.path, &query, Body::Gzip(&body))
            .await;
        let meaning = match &answer {
            Ok(answer) => read(answer, count),
            Err(trouble) => Meaning::Again(trouble.clone()),
        };
        let trouble = match meaning {
            Meaning::Verdicts(verdicts) => match self.take(verdicts) {
                0 => None,
                again => Some(format!("the search server put {again} documents off")),
            },
            Meaning::TooLarge => {
                self.halve(count);
                self.fate.retries += 1;
                return;
            }
            Meaning::Refused(trouble) => match self.elastic.client.read_credentials() {
                Ok(()) => Some(trouble),
                Err(error) => Some(format!("{trouble}; {error}")),
            },
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
            Some(trouble) => {
                self.elastic.note_trouble(&trouble);
                self.fate.retries += 1;
                self.elastic.pause(&mut self.backoff).await;
            }
        }
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

    /// Takes the verdicts of the first open items; answers how many of them stay open.
    fn take(&mut self, verdicts: Vec<Verdict>) -> usize {
        let sent = verdicts.len();
        let mut again = Vec::new();
        for (item, verdict) in self.open.iter().zip(verdicts) {
            match verdict {
                Verdict::Indexed => self.fate.indexed += 1,
                Verdict::Again => again.push(*item),
                Verdict::Rejected(reason) => {
                    self.fate.rejected += 1;
                    self.elastic.note_rejected(self.batch.id(*item), &reason);
                }
            }
        }
        let count = again.len();
        self.open.splice(..sent, again);
        count
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
        self.elastic.note_rejected(self.batch.id(item), &reason);
    }
}

fn compress(batch: &Batch, items: &[u32]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::with_capacity(batch.bytes() / 8), Compression::fast());
    for item in items {
        // Writing to a vector does not fail.
        let _ = gzip.write_all(batch.action(*item));
    }
    gzip.finish().unwrap_or_default()
}
