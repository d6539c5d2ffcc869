//! SIGTERM and SIGINT: the first asks to end, the second to hurry.

use std::{io, sync::Arc};

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
    time::Instant,
};

/// What was asked for so far.
#[derive(Debug, Clone, Copy, Default)]
struct Asked {
    to_end: Option<Instant>,
    to_hurry: bool,
}

/// Listens for signals until it is dropped.
#[derive(Debug)]
pub(super) struct Signals {
    asked: Arc<watch::Sender<Asked>>,
    listener: Option<tokio::task::JoinHandle<()>>,
}

impl Signals {
    /// # Errors
    /// When the system refuses a signal handler.
    pub(super) fn listen() -> io::Result<Self> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let asked = Arc::new(watch::Sender::new(Asked::default()));
        let sender = asked.clone();
        let listener = tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                sender.send_modify(Asked::again);
            }
        });
        Ok(Self {
            asked,
            listener: Some(listener),
        })
    }

    /// When it was asked for.
    pub(super) fn asked_to_end(&self) -> Option<Instant> {
        self.asked.borrow().to_end
    }

    /// Whether somebody has lost patience.
    pub(super) fn asked_to_hurry(&self) -> bool {
        self.asked.borrow().to_hurry
    }
}

impl Asked {
    fn again(&mut self) {
        match self.to_end {
            None => self.to_end = Some(Instant::now()),
            Some(_) => self.to_hurry = true,
        }
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        if let Some(listener) = &self.listener {
            listener.abort();
        }
    }
}

#[cfg(test)]
impl Signals {
    /// Nobody's signals: tests of one process cannot share real ones.
    pub(super) fn none() -> Self {
        Self {
            asked: Arc::new(watch::Sender::new(Asked::default())),
            listener: None,
        }
    }

    /// As if a signal came.
    pub(super) fn raise(&self) {
        self.asked.send_modify(Asked::again);
    }
}
