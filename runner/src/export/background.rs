//! Threads for the work that costs CPU: making documents and compressing them.
//!
//! While the engine measures there is one, and it runs only when nobody else on its core wants to,
//! so the engine beside it does not feel it. When it gets no time at all, blocks wait in the pool
//! and then on disk; the exchange with the search server, reports and aggregates go on at normal
//! priority. When the engine has ended a second thread does what is left at normal priority: the
//! first may not take it back without privileges.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::Builder,
};

use tokio::sync::oneshot;

use crate::sys;

type Job = Box<dyn FnOnce() + Send>;

/// The threads; they end when the last of its clones is dropped.
#[derive(Debug, Clone)]
pub(super) struct Background(Arc<Owner>);

#[derive(Debug)]
struct Owner(Arc<Queue>);

#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    hurried: bool,
    over: bool,
}

impl Background {
    /// # Errors
    /// When the system refuses a thread.
    pub(super) fn start() -> io::Result<Self> {
        let queue = Arc::new(Queue::default());
        let theirs = queue.clone();
        Builder::new().name("encoder".to_owned()).spawn(move || {
            if let Err(error) = sys::run_when_idle() {
                tracing::warn!(%error, "the encoder competes with the engine for the CPU");
            }
            theirs.work();
        })?;
        Ok(Self(Arc::new(Owner(queue))))
    }

    /// From now on there is nobody to be considerate of.
    pub(super) fn hurry(&self) {
        let queue = &self.0.0;
        if std::mem::replace(&mut queue.state().hurried, true) {
            return;
        }
        let theirs = queue.clone();
        let started = Builder::new()
            .name("encoder-2".to_owned())
            .spawn(move || theirs.work());
        if let Err(error) = started {
            tracing::warn!(%error, "the encoder goes on only when nobody else wants the CPU");
        }
    }

    /// Does a job and waits for it; jobs are begun in order.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        let (tell, done) = oneshot::channel();
        let queue = &self.0.0;
        queue.state().jobs.push_back(Box::new(move || {
            // Nobody listens any more when the delivery was given up.
            let _ = tell.send(job());
        }));
        queue.changed.notify_one();
        match done.await {
            Ok(result) => result,
            // Only a panic drops a job, and what it was to do is not done.
            Err(_) => std::panic::resume_unwind(Box::new("the encoder has ended")),
        }
    }
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        while let Some(job) = self.next() {
            job();
        }
    }

    fn next(&self) -> Option<Job> {
        let idle = |state: &mut State| state.jobs.is_empty() && !state.over;
        let mut state = self
            .changed
            .wait_while(self.state(), idle)
            .unwrap_or_else(PoisonError::into_inner);
        state.jobs.pop_front()
    }
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").finish_non_exhaustive()
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.state().over = true;
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name_of_this_thread() -> Option<String> {
        std::thread::current().name().map(str::to_owned)
    }

    #[tokio::test]
    async fn jobs_are_done_in_order_on_a_thread_of_their_own() {
        let background = Background::start().unwrap();
        let name = background.run(name_of_this_thread).await;
        assert_eq!(name.as_deref(), Some("encoder"));
        let list = Arc::new(Mutex::new(Vec::new()));
        let push = |k: u8| {
            let list = list.clone();
            background.run(move || list.lock().unwrap().push(k))
        };
        tokio::join!(push(1), push(2), push(3));
        assert_eq!(*list.lock().unwrap(), [1, 2, 3]);
    }

    #[tokio::test]
    async fn a_second_thread_helps_in_a_hurry() {
        let background = Background::start().unwrap();
        background.hurry();
        background.hurry();
        // Two jobs that wait for each other need two threads.
        let barrier = Arc::new(std::sync::Barrier::new(2));
        let meet = || {
            let barrier = barrier.clone();
            background.run(move || {
                barrier.wait();
                name_of_this_thread()
            })
        };
        let names = tokio::join!(meet(), meet());
        assert_ne!(names.0, names.1);
    }
}
