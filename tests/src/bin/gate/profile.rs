//! What callgrind wrote of one thread.
//!
//! The format is described in "Callgrind Format Specification" of valgrind's manual. Of it this
//! needs `summary:` (what the thread executed) and calls of some functions: a line `cfn=` names the
//! callee of the line `calls=` that follows. A name is written out once for each number.

use std::{collections::HashMap, iter::Sum};

/// Everything by which memory is got in Rust's allocator and in the C library.
const ALLOCATIONS: [&str; 6] = [
    "malloc",
    "calloc",
    "realloc",
    "posix_memalign",
    "aligned_alloc",
    "memalign",
];

/// Valgrind hides the vDSO, so reading the clock, which costs no system call, becomes one.
const CLOCK: &str = "clock_gettime";

/// What a thread did from its start to its end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Profile {
    pub instructions: u64,
    /// Without readings of the clock.
    pub system_calls: u64,
    pub allocations: u64,
}

impl Sum for Profile {
    fn sum<I: Iterator<Item = Self>>(threads: I) -> Self {
        threads.fold(Self::default(), |sum, thread| Self {
            instructions: sum.instructions + thread.instructions,
            system_calls: sum.system_calls + thread.system_calls,
            allocations: sum.allocations + thread.allocations,
        })
    }
}

/// Reads a profile with the events `Ir sysCount …`.
pub fn parse(text: &str) -> Option<Profile> {
    let mut names = HashMap::new();
    let mut profile = Profile::default();
    let mut callee = "";
    let mut clock_readings = 0;
    for line in text.lines() {
        if let Some(named) = line.strip_prefix("fn=") {
            name(&mut names, named);
        } else if let Some(named) = line.strip_prefix("cfn=") {
            callee = name(&mut names, named);
        } else if let Some(calls) = line.strip_prefix("calls=") {
            let count: u64 = calls.split(' ').next()?.parse().ok()?;
            if ALLOCATIONS.contains(&callee) {
                profile.allocations += count;
            } else if callee == CLOCK {
                clock_readings += count;
            }
        } else if let Some(summary) = line.strip_prefix("summary: ") {
            let mut events = summary.split(' ').map(|event| event.parse().ok());
            profile.instructions = events.next()??;
            profile.system_calls = events.next()??;
        }
    }
    profile.system_calls = profile.system_calls.saturating_sub(clock_readings);
    (profile.instructions > 0).then_some(profile)
}

/// The name that `(7) name` gives to number 7 or `(7)` has from before, without symbol version.
fn name<'a>(names: &mut HashMap<&'a str, &'a str>, text: &'a str) -> &'a str {
    let (number, name) = text.split_once(' ').unwrap_or((text, ""));
    if !name.is_empty() {
        names.insert(number, name.split_once("@@").map_or(name, |(name, _)| name));
    }
    names.get(number).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_by_name_whether_it_is_written_out_or_not() {
        let text = "events: Ir sysCount\nsummary: 900 12\n\nfn=(1) main\n7 100\n\
                    cfn=(2) malloc\ncalls=3 0\n7 60\ncfn=(3) clock_gettime@@GLIBC_2.17\ncalls=5 0\n8 20 5\n\
                    fn=(2)\n9 40\nfn=(4) other\ncfn=(2)\ncalls=2 0\n7 40\ncfn=(1)\ncalls=9 0\n7 1\n";
        let expected = Profile {
            instructions: 900,
            system_calls: 7,
            allocations: 5,
        };
        assert_eq!(parse(text), Some(expected));
        assert_eq!(parse("nothing of the kind"), None);
    }
}
