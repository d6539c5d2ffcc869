//! The few system calls that std has no safe form of.
#![allow(unsafe_code)] // each block is one call with arguments that live on this stack

use std::{
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
    rc::Rc,
};

use tokio::io::{Interest, unix::AsyncFd};

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// Nanoseconds of `CLOCK_MONOTONIC`, the clock that timers are armed with.
#[inline]
pub fn monotonic_ns() -> u64 {
    clock_ns(libc::CLOCK_MONOTONIC)
}

/// CPU time of the calling thread in nanoseconds.
pub fn thread_cpu_ns() -> u64 {
    clock_ns(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// Time in which the calling thread ran or would have, had it been given a CPU: waiting for other
/// threads and for its cgroup's quota is in it. A kernel that does not tell counts the first only.
pub fn thread_wanted_cpu_ns() -> u64 {
    let said = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let mut fields = said.split(' ').map(|field| field.parse::<u64>().ok());
    match (fields.next().flatten(), fields.next().flatten()) {
        (Some(ran), Some(waited)) => ran + waited,
        _ => thread_cpu_ns(),
    }
}

#[inline]
fn clock_ns(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: writes one timespec; both clocks exist on every Linux.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    time.tv_sec as u64 * NANOS_PER_SECOND + time.tv_nsec as u64
}

/// A timer on `CLOCK_MONOTONIC` that becomes readable when it is due.
#[derive(Debug)]
pub struct TimerFd(OwnedFd);

impl TimerFd {
    /// A timer that is not armed.
    ///
    /// # Errors
    /// When no file descriptor is left.
    pub fn new() -> io::Result<Self> {
        // SAFETY: no pointers; the descriptor is owned by nobody else.
        unsafe {
            let fd = libc::timerfd_create(
                libc::CLOCK_MONOTONIC,
                libc::TFD_NONBLOCK | libc::TFD_CLOEXEC,
            );
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(Self(OwnedFd::from_raw_fd(fd)))
        }
    }

    /// Lets the runtime of this thread wait for the timer.
    ///
    /// # Errors
    /// When the runtime's poller does not take the descriptor.
    pub fn watch(self: Rc<Self>) -> io::Result<AsyncFd<Rc<Self>>> {
        // SAFETY: the descriptor is owned by `self`, which the `AsyncFd` keeps, and is never
        // replaced or closed before.
        Ok(unsafe { AsyncFd::register_with_interest(self, Interest::READABLE) }?)
    }

    /// Arms the timer for an absolute time, at once when that has passed. What was armed before,
    /// and an expiry that nobody has read, are forgotten.
    ///
    /// # Errors
    /// None that a valid descriptor could have; passed on all the same.
    pub fn arm(&self, at_ns: u64) -> io::Result<()> {
        // A time of zero would disarm.
        let at_ns = at_ns.max(1);
        let spec = libc::itimerspec {
            it_interval: libc::timespec {
                tv_sec: 0,
                tv_nsec: 0,
            },
            it_value: libc::timespec {
                tv_sec: (at_ns / NANOS_PER_SECOND).cast_signed(),
                tv_nsec: (at_ns % NANOS_PER_SECOND).cast_signed(),
            },
        };
        // SAFETY: reads one itimerspec; the old value is not asked for.
        let result = unsafe {
            libc::timerfd_settime(
                self.0.as_raw_fd(),
                libc::TFD_TIMER_ABSTIME,
                &raw const spec,
                std::ptr::null_mut(),
            )
        };
        if result == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }
}

impl AsRawFd for TimerFd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// Bytes of a page of memory: more than 4 KiB on some machines.
pub fn page_bytes() -> u64 {
    // SAFETY: no pointers.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    u64::try_from(bytes).unwrap_or(4_096)
}

/// Raises the soft limit of open files to the hard one and returns it.
///
/// # Errors
/// When the limits can neither be read nor raised.
pub fn raise_open_files() -> io::Result<u64> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: writes one rlimit.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: reads one rlimit.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(limit.rlim_max)
}

/// Lets the calling thread run only when nobody else on its core wants to.
///
/// # Errors
/// When the system refuses both the idle class and the lowest nice value. An unprivileged thread
/// cannot go back.
pub fn run_when_idle() -> io::Result<()> {
    let none = libc::sched_param { sched_priority: 0 };
    // SAFETY: reads one sched_param; 0 is the calling thread.
    if unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const none) } == 0 {
        return Ok(());
    }
    // SAFETY: no pointers; on Linux 0 is the calling thread.
    if unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, 19) } == 0 {
        return Ok(());
    }
    Err(io::Error::last_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_on() {
        let (wall, cpu) = (monotonic_ns(), thread_cpu_ns());
        let wanted = thread_wanted_cpu_ns();
        while thread_cpu_ns() - cpu < 1_000_000 {}
        assert!(monotonic_ns() - wall >= 1_000_000);
        std::thread::sleep(std::time::Duration::from_millis(20));
        // The kernel brings its books up to date when a thread sleeps.
        assert!(thread_wanted_cpu_ns() - wanted >= 500_000);
    }

    #[test]
    fn only_the_thread_that_asks_becomes_idle() {
        let policy = || std::fs::read_to_string("/proc/thread-self/sched").unwrap_or_default();
        std::thread::spawn(move || {
            run_when_idle().unwrap();
            // SCHED_IDLE is 5; a kernel without the file says nothing.
            let said = policy();
            let line = said.lines().find(|line| line.starts_with("policy"));
            assert!(
                line.is_none_or(|line| line.trim_end().ends_with('5')),
                "{line:?}"
            );
        })
        .join()
        .unwrap();
        let line = policy();
        let line = line.lines().find(|line| line.starts_with("policy"));
        assert!(
            line.is_none_or(|line| line.trim_end().ends_with('0')),
            "{line:?}"
        );
    }

    #[test]
    fn a_page_is_a_power_of_two() {
        assert!(page_bytes() >= 4_096 && page_bytes().is_power_of_two());
    }

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let raised = raise_open_files().unwrap();
        assert_eq!(raise_open_files().unwrap(), raised);
        assert!(raised > 64);
    }
}
