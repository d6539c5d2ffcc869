//! Where documents go.

use std::sync::Arc;

use tokio::sync::watch;

use super::batch::{Batch, Fate};

/// Somewhere that keeps documents. There are two: [`elastic`](super::elastic) and
/// [`files`](super::files).
pub(super) trait Sink {
    /// Delivers a batch. Comes back when the fate of each document is known; when `give_up` says
    /// so, what is still open is lost.
    fn deliver(&self, batch: Arc<Batch>, give_up: GiveUp) -> impl Future<Output = Fate> + Send;

    /// The latest problem in the sink's own words; empty when there is none.
    fn problem(&self) -> String;
}

/// Tells deliveries to end now.
#[derive(Debug, Clone)]
pub(super) struct GiveUp(watch::Receiver<bool>);

/// The other end of [`GiveUp`].
#[derive(Debug)]
pub(super) struct GiveUpSwitch(watch::Sender<bool>);

impl GiveUpSwitch {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(false))
    }

    pub(super) fn listen(&self) -> GiveUp {
        GiveUp(self.0.subscribe())
    }

    pub(super) fn give_up(&self) {
        self.0.send_replace(true);
    }

    pub(super) fn given_up(&self) -> bool {
        *self.0.borrow()
    }
}

impl GiveUp {
    /// `None` when it is time to give up before `work` is done.
    pub(super) async fn or<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            // The switch is dropped only when nobody waits for the outcome any more.
            _ = self.0.wait_for(|given_up| *given_up) => None,
            done = work => Some(done),
        }
    }
}
