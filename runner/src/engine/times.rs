//! When the parts of a request happened, and how long each was.

use crate::clock::{MICRO, Nanos};

/// When the parts of a request happened. Later ones are never before earlier ones.
#[derive(Debug, Clone, Copy, Default)]
pub struct Times {
    /// When it was to begin.
    pub intended: Nanos,
    /// When the user turned to it.
    pub turned: Nanos,
    /// How long the target's name was looked up.
    pub dns: Nanos,
    /// How long the TLS handshake took.
    pub tls: Nanos,
    /// When there was a connection and sending began; the end if there never was one.
    pub sent: Nanos,
    /// When all was written.
    pub written: Nanos,
    /// When the first byte of the answer was here.
    pub first_byte: Nanos,
    /// When it was over.
    pub end: Nanos,
}

/// Lengths in whole microseconds that add up: times are cut to microseconds first, then
/// subtracted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Phases {
    /// From the intended start to the moment the user turned to it.
    pub late: u32,
    /// Looking up the name.
    pub dns: u32,
    /// Connecting, without the handshake of TLS.
    pub connect: u32,
    /// The handshake of TLS.
    pub tls: u32,
    /// From the send to the last byte written.
    pub send: u32,
    /// From there to the first byte read.
    pub wait: u32,
    /// From there to the last byte read.
    pub receive: u32,
}

impl Phases {
    /// Of a request, with times cut relative to `origin`.
    #[inline]
    pub fn new(times: &Times, origin: Nanos) -> Self {
        let us = |at: Nanos| at.saturating_sub(origin) / MICRO;
        let between =
            |from: u64, to: u64| u32::try_from(to.saturating_sub(from)).unwrap_or(u32::MAX);
        let (turned, sent) = (us(times.turned), us(times.sent));
        let (written, first) = (us(times.written), us(times.first_byte));
        let before_send = between(turned, sent);
        let dns = u32::try_from(times.dns / MICRO)
            .unwrap_or(u32::MAX)
            .min(before_send);
        let tls = u32::try_from(times.tls / MICRO)
            .unwrap_or(u32::MAX)
            .min(before_send - dns);
        Self {
            late: between(us(times.intended), turned),
            dns,
            connect: before_send - dns - tls,
            tls,
            send: between(sent, written),
            wait: between(written, first),
            receive: between(first, us(times.end)),
        }
    }

    /// From the send to the end.
    pub fn service_us(&self) -> u64 {
        u64::from(self.send) + u64::from(self.wait) + u64::from(self.receive)
    }

    /// From the intended start to the end.
    pub fn latency_us(&self) -> u64 {
        let before_send = u64::from(self.dns) + u64::from(self.connect) + u64::from(self.tls);
        u64::from(self.late) + before_send + self.service_us()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_add_up_to_the_whole() {
        let times = Times {
            intended: 1_999,
            turned: 3_001,
            dns: 2_500,
            tls: 1_999,
            sent: 7_999,
            written: 9_000,
            first_byte: 19_999,
            end: 20_000,
        };
        let phases = Phases::new(&times, 0);
        assert_eq!(
            phases,
            Phases {
                late: 2,
                dns: 2,
                connect: 1,
                tls: 1,
                send: 2,
                wait: 10,
                receive: 1
            }
        );
        assert_eq!(phases.latency_us(), 19);
        assert_eq!(phases.service_us(), 13);
    }
}
