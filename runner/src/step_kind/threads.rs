//! Where the code of step kinds runs: apart from all that sends requests.

use std::{
    any::Any,
    cell::Cell,
    io,
    panic::{self, PanicHookInfo},
    process,
    sync::{
        Once,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    thread,
};

use tokio::{runtime::Runtime, task::JoinHandle};

use super::{Done, Kind, Step};

/// Most pieces of blocking code at a time: threads that mostly wait, of which a machine has room for
/// some hundreds.
const BLOCKING: usize = 256;

/// So many panics are told in the log, with their place; the others are only counted, as outcomes.
const PANICS_TOLD: u32 = 16;

thread_local! {
    /// This thread runs code of step kinds.
    static OWN: Cell<bool> = const { Cell::new(false) };
}

/// A tokio runtime for the code of step kinds.
#[derive(Debug)]
pub(crate) struct Threads(Option<Runtime>);

impl Threads {
    /// One thread for each core: they take part in the machine as the workers do.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn start() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(thread::available_parallelism().map_or(1, usize::from))
            .max_blocking_threads(BLOCKING)
            .thread_name("step-kind")
            .on_thread_start(|| OWN.set(true))
            .enable_all()
            .build()?;
        Ok(Self(Some(runtime)))
    }

    /// Begins a step. `None` only when all of it is about to end.
    pub fn begin(
        &self,
        kind: std::sync::Arc<dyn Kind>,
        session: Option<Box<dyn Any + Send>>,
        step: Step,
    ) -> Option<JoinHandle<Done>> {
        let runtime = self.0.as_ref()?;
        Some(runtime.spawn(kind.run(session, step)))
    }

    /// Ends a session.
    pub fn end(&self, session: Box<dyn Any + Send>) {
        if let Some(runtime) = &self.0 {
            drop(runtime.spawn(async move { drop(session) }));
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        // The last one may be dropped within another runtime, which must not wait.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// What the message of a panic was.
pub(crate) fn said(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

/// A panic in a step kind is a failed step. One anywhere else ends the process, as it does in a
/// runner without step kinds, whose profile says so: a run that lost a worker would never end.
pub(crate) fn contain_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if cfg!(panic = "abort") {
            tracing::warn!(
                "this runner was built with panic = \"abort\": a panic in a step kind ends it"
            );
            return;
        }
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            if OWN.get() {
                tell(panic);
            } else {
                before(panic);
                process::abort();
            }
        }));
    });
}

fn tell(panic: &PanicHookInfo<'_>) {
    static TOLD: AtomicU32 = AtomicU32::new(0);
    let told = TOLD.fetch_update(Relaxed, Relaxed, |told| {
        (told < PANICS_TOLD).then_some(told + 1)
    });
    if let Ok(told) = told {
        let place = panic.location().map(ToString::to_string);
        let last = told + 1 == PANICS_TOLD;
        tracing::error!(place, last, "a step kind panicked: {}", said_by(panic));
    }
}

fn said_by<'a>(panic: &'a PanicHookInfo<'_>) -> &'a str {
    panic.payload_as_str().unwrap_or("no message")
}
