//! An iteration that somebody stops: what is private is removed first, since secrets are in it.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

use crate::{
    output::terminal::say,
    run::{scratch::Scratch, signals::Signals},
};

/// Private files that are gone when this value is, or when the process is asked to stop.
#[derive(Debug)]
pub(super) struct Tidied(Arc<Mutex<Option<Scratch>>>);

/// Sees to it that a signal removes the files before it ends the process.
///
/// # Errors
/// When signals cannot be received.
pub(super) fn tidied(scratch: Scratch) -> io::Result<Tidied> {
    let scratch = Arc::new(Mutex::new(Some(scratch)));
    let watched = Arc::clone(&scratch);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let signals = {
        let _inside = runtime.enter();
        Signals::new()?
    };
    signals.end_process(runtime, move || {
        remove(&watched);
        say(
            "stopped in the middle of the iteration: what was to come, a teardown too, is not done",
        );
    })?;
    Ok(Tidied(scratch))
}

fn remove(scratch: &Mutex<Option<Scratch>>) {
    let mut scratch = scratch.lock().unwrap_or_else(PoisonError::into_inner);
    drop(scratch.take());
}

impl Drop for Tidied {
    fn drop(&mut self) {
        remove(&self.0);
    }
}
