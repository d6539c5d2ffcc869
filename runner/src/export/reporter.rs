//! Reports to the coordinator once a second, and what it says in return.

use std::{sync::Arc, time::Duration};

use loadtest_core::{report::Desired, view::RunView};
use tokio::{sync::watch, time::Instant};

use super::{account::Account, signals::Signals};
use crate::control::Control;

const PERIOD: Duration = Duration::from_secs(1);

/// The first time between two final reports, for which all wait; each is twice as long as the one
/// before.
const FIRST_PAUSE: Duration = Duration::from_millis(125);

/// How long a coordinator may be silent before it is taken for gone: longer than it takes an
/// operator to be replaced.
pub(super) const SILENCE: Duration = Duration::from_mins(1);

/// What is known from the coordinator.
#[derive(Debug, Clone)]
pub(super) struct Known {
    /// When it answered last.
    pub(super) contact: Instant,
    /// What all runners together came to, once it is over.
    pub(super) end: Option<Box<RunView>>,
    /// Whether the final report is recorded for good.
    pub(super) exit: bool,
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
        let known = watch::Sender::new(Known {
            contact: Instant::now(),
            end: None,
            exit: false,
        });
        Self {
            control,
            account,
            known,
        }
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

    /// Repeats the final report until it is recorded for good, `longest` at most, not longer than
    /// a coordinator may be silent, and only once for somebody in a hurry.
    pub(super) async fn report_final(&self, longest: Duration, signals: &Signals) {
        let (begin, mut pause) = (Instant::now(), FIRST_PAUSE);
        while !self.known.borrow().exit {
            let heard = self.report().await;
            let silent = self.known.borrow().contact.max(begin).elapsed() > SILENCE;
            let recorded = self.known.borrow().exit;
            if recorded || signals.asked_to_hurry() || silent || begin.elapsed() > longest {
                if !heard {
                    tracing::warn!("the coordinator did not hear the final report");
                }
                return;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PERIOD);
        }
    }

    /// One report; whether it was heard.
    async fn report(&self) -> bool {
        match self.control.send(&self.account.report()).await {
            Ok(exchange) => {
                self.known.send_modify(|known| {
                    known.contact = Instant::now();
                    match exchange.answer.desired {
                        Desired::Finish(view) => known.end = Some(view),
                        Desired::Exit => known.exit = true,
                        Desired::Wait
                        | Desired::SetUp
                        | Desired::StartAt(_)
                        | Desired::TearDown
                        | Desired::Stop => {}
                    }
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
