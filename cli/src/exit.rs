//! What the process answers to the shell. Scripts and pipelines rely on these numbers.

use std::process::ExitCode;

use loadtest_core::verdict::Verdict;

/// How `loadtest` ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 0: the run passed, or the command did what was asked.
    Passed,
    /// 1: a threshold was breached.
    Failed,
    /// 2: the command line or a manifest is wrong; nothing was sent.
    Usage,
    /// 3: the run could not be carried out on this machine.
    Error,
    /// 4: the generator did not deliver the load, so the numbers say nothing about the target.
    Invalid,
    /// 130: somebody stopped it.
    Aborted,
}

impl Exit {
    /// The number.
    pub fn code(self) -> u8 {
        match self {
            Self::Passed => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Error => 3,
            Self::Invalid => 4,
            Self::Aborted => 130,
        }
    }
}

impl From<Verdict> for Exit {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Passed => Self::Passed,
            Verdict::Failed => Self::Failed,
            Verdict::Invalid => Self::Invalid,
            Verdict::Error => Self::Error,
            Verdict::Aborted => Self::Aborted,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
