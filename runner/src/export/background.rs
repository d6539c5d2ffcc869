//! A thread for the work that costs CPU: making documents and compressing them.
//!
//! It runs only when nobody else on its core wants to, so the engine beside it does not feel it.
//! When it gets no time at all, blocks wait in the pool and then on disk; the exchange with the
//! search server, reports and aggregates go on at normal priority.

use std::{io, sync::mpsc};

use tokio::sync::oneshot;

use crate::sys;

type Job = Box<dyn FnOnce() + Send>;

/// The thread; it ends when the last of its clones is dropped.
#[derive(Debug, Clone)]
pub(super) struct Background {
    jobs: mpsc::Sender<Job>,
}

impl Background {
    /// # Errors
    /// When the system refuses a thread.
    pub(super) fn start() -> io::Result<Self> {
        let (jobs, queue) = mpsc::channel::<Job>();
        std::thread::Builder::new()
            .name("encoder".to_owned())
            .spawn(move || {
                if let Err(error) = sys::run_when_idle() {
                    tracing::warn!(%error, "the encoder competes with the engine for the CPU");
                }
                queue.into_iter().for_each(|job| job());
            })?;
        Ok(Self { jobs })
    }

    /// Does a job and waits for it; jobs are done one after the other, in order.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        let (tell, done) = oneshot::channel();
        let job = Box::new(move || {
            // Nobody listens any more when the delivery was given up.
            let _ = tell.send(job());
        });
        let sent = self.jobs.send(job);
        match done.await {
            Ok(result) if sent.is_ok() => result,
            // Only a panic ends it, and what it was to do is not done.
            _ => std::panic::resume_unwind(Box::new("the encoder has ended")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn jobs_are_done_in_order_on_an_idle_thread() {
        let background = Background::start().unwrap();
        let name = background
            .run(|| std::thread::current().name().map(str::to_owned))
            .await;
        assert_eq!(name.as_deref(), Some("encoder"));
        let list = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let push = |k: u8| {
            let list = list.clone();
            background.run(move || list.lock().unwrap().push(k))
        };
        tokio::join!(push(1), push(2), push(3));
        assert_eq!(*list.lock().unwrap(), [1, 2, 3]);
    }
}
