//! Why a request failed, small enough to be compared and counted without making text of it.

use std::{io, rc::Rc};

use loadtest_core::{scalar::format_duration, series::Outcome};

use super::script::Unreadable;
use crate::{clock::Nanos, http::ProtocolError};

/// How a request ended that did not end well.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Failure {
    /// The closed name.
    pub outcome: Outcome,
    /// What makes up the message.
    pub detail: Detail,
}

/// What a failure's message is made of.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Detail {
    /// A status that is no success.
    Status(u16),
    /// Index of the first check that failed, and why it could not even look, if it could not.
    Check(u32, Option<Unreadable>),
    /// The answer broke the protocol, or off.
    Protocol(ProtocolError),
    /// What the system said, by number.
    Os(i32),
    /// What a library said.
    Said(Rc<str>),
    /// A timeout of this length.
    After(Nanos),
    /// TLS was cut off.
    NoCloseNotify,
    /// The outcome says all.
    Nothing,
}

impl Failure {
    /// The request was cut off because the run ended.
    pub const ABORTED: Self = Self {
        outcome: Outcome::Aborted,
        detail: Detail::Nothing,
    };

    /// What came over TLS ended without its close notice, so nobody knows whether it was all.
    pub const NO_CLOSE_NOTIFY: Self = Self {
        outcome: Outcome::Reset,
        detail: Detail::NoCloseNotify,
    };

    /// With a text that holds nothing that differs from one request to the next.
    pub fn said(outcome: Outcome, text: String) -> Self {
        Self {
            outcome,
            detail: Detail::Said(text.into()),
        }
    }

    /// A status that is no success.
    pub fn status(status: u16) -> Self {
        Self {
            outcome: Outcome::Status,
            detail: Detail::Status(status),
        }
    }

    /// TLS failed.
    pub fn tls(text: String) -> Self {
        Self::said(Outcome::Tls, text)
    }

    /// The body is not what its coding says.
    pub fn body(text: &str) -> Self {
        Self::said(Outcome::Body, text.to_owned())
    }

    /// A redirect that cannot be followed.
    pub fn redirect(text: String) -> Self {
        Self::said(Outcome::Redirect, text)
    }

    /// Whether there is a whole answer all the same.
    pub fn has_answer(&self) -> bool {
        matches!(
            self.outcome,
            Outcome::Body | Outcome::Redirect | Outcome::Extract
        )
    }

    /// No connection could be made.
    pub fn connect(error: &io::Error) -> Self {
        let outcome = match error.raw_os_error() {
            Some(libc::ECONNREFUSED) => Outcome::ConnectRefused,
            Some(libc::ETIMEDOUT) => Outcome::ConnectTimeout,
            Some(libc::EADDRNOTAVAIL) => Outcome::LocalPorts,
            Some(libc::EMFILE | libc::ENFILE) => Outcome::LocalFiles,
            _ => Outcome::Connect,
        };
        Self {
            outcome,
            detail: Detail::of(error),
        }
    }

    /// The target's name has no address.
    pub fn dns(text: Rc<str>) -> Self {
        Self {
            outcome: Outcome::Dns,
            detail: Detail::Said(text),
        }
    }

    /// An established connection broke while it was written to or read from.
    pub fn broken(error: &io::Error) -> Self {
        Self {
            outcome: Outcome::Reset,
            detail: Detail::of(error),
        }
    }

    /// The server closed before the answer was whole.
    pub fn closed(error: ProtocolError) -> Self {
        Self {
            outcome: Outcome::Reset,
            detail: Detail::Protocol(error),
        }
    }

    /// The answer is not one.
    pub fn protocol(error: ProtocolError) -> Self {
        Self {
            outcome: Outcome::Protocol,
            detail: Detail::Protocol(error),
        }
    }

    /// The request's timeout passed.
    pub fn timeout(outcome: Outcome, after: Nanos) -> Self {
        Self {
            outcome,
            detail: Detail::After(after),
        }
    }

    /// Whether an exchange ended before there was a connection, or a text to send over it: a
    /// closed-model user rests before it tries again, or it would do nothing else.
    pub fn before_connection(&self) -> bool {
        matches!(
            self.outcome,
            Outcome::Dns
                | Outcome::ConnectRefused
                | Outcome::ConnectTimeout
                | Outcome::Connect
                | Outcome::Tls
                | Outcome::LocalPorts
                | Outcome::LocalFiles
                | Outcome::Extract
        )
    }

    /// What people read.
    pub fn message(&self, check_names: &[String]) -> String {
        match &self.detail {
            Detail::Status(status) => format!("status {status}"),
            Detail::Check(index, reason) => {
                let name = check_names.get(*index as usize).map_or("", String::as_str);
                match reason {
                    None => format!("check {name:?} failed"),
                    Some(reason) => format!("check {name:?} failed: {reason}"),
                }
            }
            Detail::Protocol(error) => error.to_string(),
            Detail::Os(number) => os_text(*number),
            Detail::Said(text) => text.to_string(),
            Detail::After(after) => {
                let after = format_duration(std::time::Duration::from_nanos(*after));
                match self.outcome {
                    Outcome::ConnectTimeout => format!("no connection within {after}"),
                    _ => format!("no whole answer within {after}"),
                }
            }
            Detail::NoCloseNotify => {
                "the connection was closed without TLS's notice: the body may be cut".to_owned()
            }
            Detail::Nothing => match self.outcome {
                Outcome::Aborted => "stopped while it was under way".to_owned(),
                outcome => outcome.name().to_owned(),
            },
        }
    }
}

impl Detail {
    fn of(error: &io::Error) -> Self {
        match error.raw_os_error() {
            Some(number) => Self::Os(number),
            None => Self::Said(error.to_string().into()),
        }
    }
}

/// `connection refused` rather than `Connection refused (os error 111)`.
fn os_text(number: i32) -> String {
    let text = io::Error::from_raw_os_error(number).to_string();
    text.split(" (os error")
        .next()
        .unwrap_or_default()
        .to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_errors_have_their_names() {
        let of = |number| Failure::connect(&io::Error::from_raw_os_error(number));
        assert_eq!(of(libc::ECONNREFUSED).outcome, Outcome::ConnectRefused);
        assert_eq!(of(libc::EADDRNOTAVAIL).outcome, Outcome::LocalPorts);
        assert_eq!(of(libc::EMFILE).outcome, Outcome::LocalFiles);
        assert_eq!(of(libc::EHOSTUNREACH).outcome, Outcome::Connect);
        assert_eq!(of(libc::ECONNREFUSED).message(&[]), "connection refused");
        assert!(of(libc::EMFILE).before_connection());
    }

    #[test]
    fn messages_name_what_people_know() {
        let names = vec!["ok".to_owned(), "in stock".to_owned()];
        let check = Failure {
            outcome: Outcome::Check,
            detail: Detail::Check(1, None),
        };
        assert_eq!(check.message(&names), "check \"in stock\" failed");
        let timeout = Failure::timeout(Outcome::Timeout, 1_500_000_000);
        assert_eq!(timeout.message(&[]), "no whole answer within 1s500ms");
        assert_eq!(
            Failure::ABORTED.message(&[]),
            "stopped while it was under way"
        );
    }
}
