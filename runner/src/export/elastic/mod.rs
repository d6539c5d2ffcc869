//! The search server sink: Elasticsearch and `OpenSearch` by the `_bulk` API.
//!
//! Architecture invariant: only this module names the `elasticsearch` crate, and of it only the
//! raw transport: bodies are compressed here, and the media types are the plain ones that every
//! server of both kinds takes.

mod answer;
mod backoff;
mod bootstrap;
mod bulk;
mod client;
mod dead_letters;
mod rollover;
mod tls;
mod upgrade;

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use loadtest_core::plan;
use tokio::sync::Notify;

use super::{
    background::Background,
    batch::{Batch, Fate, Stream},
    sink::{GiveUp, Sink},
};
use backoff::Backoff;
use client::Client;

pub(super) use client::ClientError;
pub(super) use dead_letters::DeadLetters;

/// Uncompressed size of a bulk request: servers count the inflated size, and refuse 100 MB at the
/// latest; small requests keep a server's memory and a repeated one cheap.
const BULK_BYTES: usize = 4 << 20;

/// A busy server is not sent smaller requests than this: 100 usual documents.
const LEAST_BYTES: usize = 128 << 10;

/// How much larger a request may be after each success.
const GROWTH_BYTES: usize = 64 << 10;

/// Most bulk requests under way at once.
const MOST_IN_FLIGHT: usize = 4;

/// A server that is silent for so long is said to be; it is waited for all the same.
const SILENCE: Duration = Duration::from_secs(3);

/// Reasons of refusals that are kept, each once.
const KEPT_REASONS: usize = 5;

/// The sink.
#[derive(Debug)]
pub(super) struct Elastic {
    client: Client,
    /// Compresses requests.
    background: Background,
    dead_letters: DeadLetters,
    /// Of the names of streams and templates.
    prefix: String,
    namespace: String,
    /// Whether templates and streams are ours to make.
    manages_templates: bool,
    /// Runner 0 installs templates at once, the others give it a moment.
    first: bool,
    flavor: plan::Flavor,
    /// Bulk requests that the server can take at once: one more with each success, one after it
    /// pushed back.
    window: AtomicUsize,
    /// Largest bulk request that is sent now: halved when the server is busy, because what a
    /// server with little memory calls busy may be the request itself.
    cap: AtomicUsize,
    /// Largest bulk request that the server has not refused as too large.
    limit: AtomicUsize,
    /// Woken when the server answers after it did not.
    recovered: Notify,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What is wrong now.
    trouble: String,
    /// Why documents were refused.
    reasons: Vec<String>,
    rejected: u64,
}

impl Elastic {
    /// A sink for the streams of a namespace.
    ///
    /// # Errors
    /// When a url, certificate or credential file cannot be used.
    pub(super) fn new(
        settings: &plan::Elasticsearch,
        namespace: &str,
        runner: u32,
        background: Background,
        dead_letters: DeadLetters,
    ) -> Result<Self, ClientError> {
        Ok(Self {
            background,
            dead_letters,
            client: Client::new(settings)?,
            prefix: settings.data_stream_prefix.clone(),
            namespace: namespace.to_owned(),
            manages_templates: settings.manage_templates,
            first: runner == 0,
            flavor: settings.flavor,
            window: AtomicUsize::new(1),
            cap: AtomicUsize::new(BULK_BYTES),
            limit: AtomicUsize::new(BULK_BYTES),
            recovered: Notify::new(),
            state: Mutex::default(),
        })
    }

    /// How many batches may be under way now.
    pub(super) fn window(&self) -> usize {
        self.window.load(Ordering::Relaxed)
    }

    fn data_stream(&self, stream: Stream) -> String {
        stream.data_stream(&self.prefix, &self.namespace)
    }

    fn note_trouble(&self, trouble: &str) {
        let mut state = self.state();
        if state.trouble != trouble {
            tracing::warn!(
                problem = trouble,
                "the search server does not take documents"
            );
            trouble.clone_into(&mut state.trouble);
        }
        self.window.store(1, Ordering::Relaxed);
    }

    fn note_success(&self) {
        let mut state = self.state();
        if !state.trouble.is_empty() {
            tracing::info!("the search server takes documents again");
            state.trouble.clear();
            self.recovered.notify_waiters();
        }
        drop(state);
        let wider = (self.window() + 1).min(MOST_IN_FLIGHT);
        self.window.store(wider, Ordering::Relaxed);
        let larger = self.cap.load(Ordering::Relaxed) + GROWTH_BYTES;
        self.cap.store(
            larger.min(self.limit.load(Ordering::Relaxed)),
            Ordering::Relaxed,
        );
    }

    /// The server was busy with a request of this size.
    fn note_busy(&self, bytes: usize) {
        self.cap
            .fetch_min((bytes / 2).max(LEAST_BYTES), Ordering::Relaxed);
    }

    /// The server refuses requests of this size.
    fn note_too_large(&self, bytes: usize) {
        tracing::info!(bytes, "the search server takes only smaller requests");
        self.limit.fetch_min(bytes.div_ceil(2), Ordering::Relaxed);
        self.cap.fetch_min(bytes.div_ceil(2), Ordering::Relaxed);
    }

    fn note_rejected(&self, batch: &Batch, item: u32, reason: &str) {
        self.dead_letters.write(batch, item, reason);
        let mut state = self.state();
        state.rejected += 1;
        if state.reasons.len() < KEPT_REASONS && !state.reasons.iter().any(|kept| kept == reason) {
            tracing::error!(
                id = batch.id(item),
                reason,
                "the search server refused a document"
            );
            state.reasons.push(reason.to_owned());
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The outcome of an exchange. That it takes long is noted before it is known how it ends: a
    /// server that takes connections and never answers would not be named until the time limit.
    async fn awaited<T>(&self, exchange: impl Future<Output = T>) -> T {
        let mut exchange = std::pin::pin!(exchange);
        if let Ok(outcome) = tokio::time::timeout(SILENCE, &mut exchange).await {
            return outcome;
        }
        let seconds = SILENCE.as_secs();
        self.note_trouble(&format!(
            "the search server has not answered a request for {seconds} s"
        ));
        exchange.await
    }

    /// Waits before the next attempt, less when the server answers somebody else.
    async fn pause(&self, backoff: &mut Backoff) {
        tokio::select! {
            () = tokio::time::sleep(backoff.next()) => {}
            () = self.recovered.notified() => {}
        }
    }
}

impl Sink for Elastic {
    async fn deliver(&self, batch: Arc<Batch>, give_up: GiveUp) -> Fate {
        bulk::deliver(self, batch, give_up).await
    }

    fn problem(&self) -> String {
        let state = self.state();
        match (state.trouble.as_str(), state.reasons.first()) {
            ("", None) => String::new(),
            ("", Some(reason)) => format!("{} documents refused: {reason}", state.rejected),
            (trouble, _) => trouble.to_owned(),
        }
    }
}
