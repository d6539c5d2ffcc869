//! All waiting of one worker: one heap, one timer of the system.
//!
//! Arrivals are exact. Pauses end on a grid of whole milliseconds: ten thousand users that wait
//! then cost a thousand wake-ups per second instead of ten thousand, and since the step after a
//! pause is due at the grid's line, nothing of this shows up as latency.

use std::{
    cell::{Cell, RefCell},
    cmp::Reverse,
    collections::BinaryHeap,
    io,
    rc::Rc,
};

use crate::{
    clock::{MILLI, Nanos},
    sys::TimerFd,
};

/// The timers of a worker.
#[derive(Debug)]
pub struct Timers {
    fd: Rc<TimerFd>,
    heap: RefCell<BinaryHeap<Reverse<(Nanos, u32)>>>,
    /// When the system's timer will fire.
    armed: Cell<Nanos>,
}

impl Timers {
    /// Nothing to wait for.
    ///
    /// # Errors
    /// When no file descriptor is left.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            fd: Rc::new(TimerFd::new()?),
            heap: RefCell::default(),
            armed: Cell::new(Nanos::MAX),
        })
    }

    /// The system's timer, to wait on.
    pub fn fd(&self) -> Rc<TimerFd> {
        Rc::clone(&self.fd)
    }

    /// The line of the grid on which a pause ends that may end at `at`.
    pub fn grid(at: Nanos) -> Nanos {
        at.div_ceil(MILLI) * MILLI
    }

    /// A user is to be woken at a time.
    pub fn add(&self, at: Nanos, user: u32) {
        self.heap.borrow_mut().push(Reverse((at, user)));
        if at < self.armed.get() {
            self.arm(at);
        }
    }

    /// Removes and returns a user whose time has come. A user that no longer waits may be among
    /// them.
    pub fn due(&self, now: Nanos) -> Option<u32> {
        let mut heap = self.heap.borrow_mut();
        if heap.peek().is_some_and(|Reverse((at, _))| *at <= now) {
            heap.pop().map(|Reverse((_, user))| user)
        } else {
            None
        }
    }

    /// The earliest time that somebody waits for.
    pub fn earliest(&self) -> Option<Nanos> {
        self.heap.borrow().peek().map(|Reverse((at, _))| *at)
    }

    /// When the system's timer will fire, or did.
    pub fn armed(&self) -> Nanos {
        self.armed.get()
    }

    /// Arms the system's timer.
    pub fn arm(&self, at: Nanos) {
        self.armed.set(at);
        if let Err(error) = self.fd.arm(at) {
            // Not seen to happen: the descriptor is ours and valid.
            tracing::error!(%error, "cannot arm the timer");
        }
    }
}
