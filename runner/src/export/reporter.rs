//! Reports to the coordinator once a second, and what it says in return.

use std::{sync::Arc, time::Duration};

use loadtest_core::report::{Desired, Final};
use tokio::{sync::watch, time::Instant};

use super::account::Account;
use crate::control::Control;

const PERIOD: Duration = Duration::from_secs(1);

/// How long the final report is tried: longer than it takes an operator to be replaced.
const FINAL_REPORT: Duration = Duration::from_secs(30);

/// What is known from the coordinator.
#[derive(Debug, Clone)]
pub(super) struct Known {
    /// When it answered last.
    pub(super) contact: Instant,
    /// What all runners together came to, once it is over.
    pub(super) end: Option<Box<Final>>,
}

/// Sends reports.
#[derive(Debug)]
pub(super) struct Reporter {
    control: Control,
    account: Arc<Account>,
    known: watch::Sender<Known>,
}

impl Reporter {
    pub(super) fn new(control: Control, account: Arc<Account>) -> Self {
        let known = watch::Sender::new(Known { contact: Instant::now(), end: None });
        Self { control, account, known }
    }

    pub(super) fn known(&self) -> watch::Receiver<Known> {
        self.known.subscribe()
    }

    /// Reports until it is dropped.
    pub(super) async fn keep_reporting(&self) {
        let mut every = tokio::time::interval(PERIOD);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            every.tick().await;
            self.report().await;
        }
    }

    /// Reports until it was heard, within bounds.
    pub(super) async fn report_final(&self) {
        let deadline = Instant::now() + FINAL_REPORT;
        while !self.report().await {
            if Instant::now() + PERIOD > deadline {
                tracing::warn!("the coordinator did not hear the final report");
                return;
            }
            tokio::time::sleep(PERIOD).await;
        }
    }

    /// One report; whether it was heard.
    async fn report(&self) -> bool {
        match self.control.send(&self.account.report()).await {
            Ok(exchange) => {
                let end = match exchange.answer.desired {
                    Desired::Finish(end) => Some(end),
                    Desired::Wait | Desired::StartAt(_) | Desired::Stop => None,
                };
                self.known.send_modify(|known| {
                    known.contact = Instant::now();
                    known.end = end.or(known.end.take());
                });
                true
            }
            Err(error) => {
                tracing::warn!(%error, "the coordinator did not hear a report");
                false
            }
        }
    }
}
