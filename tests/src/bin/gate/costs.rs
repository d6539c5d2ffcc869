//! The costs that are written down, and what differs from them.

use std::process::Command;

use anyhow::{Context, Result};

use crate::weigh::{Case, Cost, kept_profile};

/// Most that instructions may differ, in either direction: several times what is seen from one run to
/// the next, which is 0.2 %, and from one build of the same source to the next in another directory,
/// where the compiler divides the crate otherwise and inlines other functions, which is 1 %.
const TOLERANCE: f64 = 0.03;

/// The same when compiler, valgrind or processor are not those that the file was written with: they
/// choose other instructions for the same work.
const TOLERANCE_ELSEWHERE: f64 = 0.10;

/// Memory is got at the start, when a buffer first grows and once a second, never for a request:
/// its share is 0 when rounded.
const MOST_ALLOCATIONS: f64 = 0.01;

const HEAD: &str = "\
# What one request costs the engine's worker thread, measured by tests/src/bin/gate. Not written by
# hand: after a change that is worth its price, `make gate-bless`.
";

const TOOLS: &str = "# Measured with: ";

/// What each case cost, and with which tools that was found out.
#[derive(Debug)]
pub struct Costs {
    tools: String,
    rows: Vec<(Case, Cost)>,
}

impl Costs {
    /// None yet, with the tools of this machine.
    pub fn new() -> Result<Self> {
        Ok(Self {
            tools: tools()?,
            rows: Vec::new(),
        })
    }

    /// Adds a case; returns its line.
    pub fn add(&mut self, case: Case, cost: Cost) -> String {
        self.rows.push((case, cost));
        row(case, &cost)
    }

    /// The file that `make gate-bless` writes.
    pub fn file(&self) -> String {
        let mut text = format!("{HEAD}{TOOLS}{}\n\n", self.tools);
        for (case, cost) in &self.rows {
            text.push_str(&row(*case, cost));
            text.push('\n');
        }
        text
    }

    /// Sentences on all that is not as it should be, beside the text of that file.
    pub fn problems(&self, file: &str) -> Vec<String> {
        let same = file
            .lines()
            .any(|line| line.strip_prefix(TOOLS) == Some(&self.tools));
        let tolerance = if same { TOLERANCE } else { TOLERANCE_ELSEWHERE };
        self.rows
            .iter()
            .flat_map(|(case, cost)| {
                let mut problems = beyond_goals(*case, cost);
                problems.extend(compare(*case, cost, file, tolerance));
                problems
            })
            .collect()
    }
}

fn row(case: Case, cost: &Cost) -> String {
    format!(
        "{:<20}{:>8.0} instructions{:>8.2} system calls{:>8.2} allocations",
        case.to_string(),
        cost.instructions,
        cost.system_calls,
        cost.allocations.abs()
    )
}

fn compare(case: Case, cost: &Cost, file: &str, tolerance: f64) -> Option<String> {
    let name = case.to_string();
    let written: Option<f64> = file
        .lines()
        .find_map(|line| line.strip_prefix(&name))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    let Some(written) = written else {
        return Some(format!(
            "{name}: not in the file; `make gate-bless` writes it"
        ));
    };
    let change = cost.instructions / written - 1.0;
    (change.abs() > tolerance).then(|| {
        format!(
            "{name}: {:.0} instructions per request, {written:.0} were written down: {:+.1} %, and {:.0} % \
             are allowed. {}",
            cost.instructions,
            change * 100.0,
            tolerance * 100.0,
            if change > 0.0 {
                format!(
                    "`callgrind_annotate {}` shows what they are spent on. If they are worth it, write \
                     them down with `make gate-bless` and say why in the commit.",
                    kept_profile(&case.to_string()).display()
                )
            } else {
                "It became cheaper: keep that with `make gate-bless`.".to_owned()
            }
        )
    })
}

fn beyond_goals(case: Case, cost: &Cost) -> Vec<String> {
    [
        ("system calls", cost.system_calls, case.most_system_calls),
        ("allocations", cost.allocations, MOST_ALLOCATIONS),
    ]
    .into_iter()
    .filter(|(_, count, most)| count > most)
    .map(|(what, count, most)| {
        format!("{case}: {count:.2} {what} per request, more than {most:.2}")
    })
    .collect()
}

/// What instructions depend on besides the code.
fn tools() -> Result<String> {
    Ok(format!(
        "{}, {}, {}{}",
        version("rustc")?,
        version("valgrind")?,
        std::env::consts::ARCH,
        vectors()
    ))
}

/// Of `rustc 1.2.3 (hash date)` and `valgrind-3.1.2` what comes before the parenthesis.
fn version(program: &str) -> Result<String> {
    let output = Command::new(program)
        .arg("--version")
        .output()
        .with_context(|| format!("cannot start {program}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.split('(').next().unwrap_or_default().trim().to_owned())
}

/// Which of their codes for vectors libraries choose at run time.
fn vectors() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        return " with avx2";
    }
    ""
}

#[cfg(test)]
mod tests {
    use super::*;

    const CASE: Case = Case {
        users: 64,
        export: true,
        most_system_calls: 2.1,
    };

    fn costs(instructions: f64, system_calls: f64, allocations: f64) -> Costs {
        let cost = Cost {
            instructions,
            system_calls,
            allocations,
        };
        Costs {
            tools: "t".to_owned(),
            rows: vec![(CASE, cost)],
        }
    }

    #[test]
    fn what_is_written_is_found_again_and_small_differences_pass() {
        let file = costs(5_000.0, 2.0, 0.0).file();
        assert_eq!(costs(5_149.0, 2.09, 0.009).problems(&file), [""; 0]);
        for other in [
            costs(5_151.0, 2.0, 0.0),
            costs(4_849.0, 2.0, 0.0),
            costs(5_000.0, 2.2, 0.0),
        ] {
            assert_eq!(other.problems(&file).len(), 1);
        }
        assert_eq!(costs(6_000.0, 2.2, 0.5).problems(&file).len(), 3);
        assert_eq!(costs(5_000.0, 2.0, 0.0).problems("").len(), 1);
    }

    #[test]
    fn other_tools_are_given_more_room() {
        let file = costs(5_000.0, 2.0, 0.0).file().replace(": t\n", ": u\n");
        assert_eq!(costs(5_400.0, 2.0, 0.0).problems(&file), [""; 0]);
        assert_eq!(costs(5_600.0, 2.0, 0.0).problems(&file).len(), 1);
    }
}
