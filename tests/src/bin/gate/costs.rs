//! The written costs, and what differs from them.

use std::{fmt, process::Command};

use anyhow::{Context, Result};

use crate::weigh::{Case, Cost};

/// Most that instructions may differ, in either direction: several times what was seen from one run
/// to the next.
const TOLERANCE: f64 = 0.01;

/// The same when compiler, valgrind or processor are others than those that the file was written
/// with: they choose other instructions for the same work.
const TOLERANCE_ELSEWHERE: f64 = 0.10;

/// Allocations happen at the start, when a buffer grows for the first time and once a second, so
/// that the share of one request is small, and 0 when rounded.
const MOST_ALLOCATIONS: f64 = 0.01;

/// What instructions depend on besides the code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tools(String);

impl Tools {
    /// Those of this machine.
    pub fn here() -> Result<Self> {
        let version = |program: &str| -> Result<String> {
            let output = Command::new(program)
                .arg("--version")
                .output()
                .with_context(|| format!("cannot start {program}"))?;
            let text = String::from_utf8_lossy(&output.stdout);
            // `rustc 1.2.3 (hash date)`, `valgrind-3.1.2`
            Ok(text.split('(').next().unwrap_or_default().trim().to_owned())
        };
        Ok(Self(format!(
            "{}, {}, {}{}",
            version("rustc")?,
            version("valgrind")?,
            std::env::consts::ARCH,
            vectors()
        )))
    }
}

/// Which of the code for vectors a library would choose.
fn vectors() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        return " with avx2";
    }
    ""
}

/// Costs of all cases.
#[derive(Debug)]
pub struct Costs {
    tools: Tools,
    rows: Vec<(String, Case, Cost)>,
}

/// One line of the file.
pub fn row(case: Case, cost: &Cost) -> String {
    format!(
        "{:<24}{:>12.0} instructions{:>8.2} system calls{:>8.2} allocations",
        case.to_string(),
        cost.instructions,
        cost.system_calls,
        cost.allocations
    )
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { users, export, .. } = self;
        let text = format!("{users} users, {}", if *export { "packing" } else { "no export" });
        f.pad(&text)
    }
}
