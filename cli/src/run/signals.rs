//! What asks a process of ours to stop.

use std::{io, process, thread};

use tokio::{
    runtime::Runtime,
    signal::unix::{Signal, SignalKind, signal},
};

use crate::exit::Exit;

/// Ctrl-C, `kill`, a closed terminal.
#[derive(Debug)]
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
    /// Not under `nohup`, which is there so that a closed terminal stops nothing.
    hangup: Option<Signal>,
}

impl Signals {
    /// From now on they no longer end the process. Belongs into a runtime.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn new() -> io::Result<Self> {
        let hangup = (!hangup_is_ignored()).then(|| signal(SignalKind::hangup()));
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: hangup.transpose()?,
        })
    }

    /// Waits for the next one.
    pub async fn next(&mut self) {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = hangup => {}
        }
    }

    /// From now on the next one, also one that was not waited for, ends the process once `last` is
    /// done. `runtime`: the one that they were made in.
    ///
    /// # Errors
    /// When the system has no thread for that.
    pub fn end_process(
        mut self,
        runtime: Runtime,
        last: impl FnOnce() + Send + 'static,
    ) -> io::Result<()> {
        let waiting = move || {
            runtime.block_on(self.next());
            last();
            process::exit(i32::from(Exit::Aborted.code()));
        };
        let named = thread::Builder::new().name("signals".to_owned());
        named.spawn(waiting).map(drop)
    }
}

/// Whether this process was started with SIGHUP ignored: its bit in the kernel's mask.
fn hangup_is_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask & 1 == 1)
}
