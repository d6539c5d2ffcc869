//! What ends an exchange before its answer is here: the timeout of the request, the end of the run.

use std::{future::poll_fn, task::Poll};

use loadtest_core::series::Outcome;

use super::Exchange;
use crate::engine::{failure::Failure, scenario::Phase};

/// Why a wait ends before its time.
#[derive(Debug, Clone, Copy)]
pub(super) enum Interrupt {
    /// The request's timeout passed.
    TimedOut,
    /// The run is over.
    Aborted,
}

impl Exchange<'_> {
    #[inline]
    pub(super) fn interrupt(&self) -> Option<Interrupt> {
        if self.seat.timed_out.get() {
            Some(Interrupt::TimedOut)
        } else if self.scenario.phase.get() == Phase::Aborting {
            Some(Interrupt::Aborted)
        } else {
            None
        }
    }

    /// What the request fails with; `timeout` says what it waited for.
    #[cold]
    pub(super) fn interrupted(&self, interrupt: Interrupt, timeout: Outcome) -> Failure {
        match interrupt {
            Interrupt::Aborted => Failure::ABORTED,
            Interrupt::TimedOut => Failure::timeout(timeout, self.worker.timeout(self.request)),
        }
    }

    /// Waits for a future, the timeout or the end of the run, whichever comes first.
    pub(super) async fn interruptible<F: Future>(&self, future: F) -> Result<F::Output, Interrupt> {
        let mut future = std::pin::pin!(future);
        poll_fn(|context| {
            self.seat.register(context);
            match future.as_mut().poll(context) {
                Poll::Ready(output) => Poll::Ready(Ok(output)),
                Poll::Pending => match self.interrupt() {
                    Some(interrupt) => Poll::Ready(Err(interrupt)),
                    None => Poll::Pending,
                },
            }
        })
        .await
    }
}
