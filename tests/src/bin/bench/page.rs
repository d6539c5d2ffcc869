//! The page that the numbers become: docs/performance.md.

use std::{
    fmt::{self, Write},
    process::Command,
};

use anyhow::Result;

use crate::{Results, Settings, machine};

const MIB: f64 = 1_048_576.0;

/// The page, in Markdown.
pub fn write(settings: &Settings, results: &Results) -> Result<String> {
    let mut page = String::new();
    page.push_str(
        "# Performance

<!-- Written by `make bench`. Change tests/src/bin/bench/page.rs, not this file. -->

How much load one CPU second of the client makes, beside [wrk](https://github.com/wg/wrk), which is
written in C and does nothing but send requests. Ours draws each request from a scenario, measures it
from its intended start, keeps a histogram for each request name, reports to a coordinator every
second and judges the result; all of that is in its CPU time, and so is starting up.

",
    );
    ratio(&mut page, settings, results)?;
    pairs(&mut page, results)?;
    memory(&mut page, results)?;
    reproduce(&mut page, settings, results)?;
    Ok(page)
}

fn ratio(page: &mut String, settings: &Settings, results: &Results) -> fmt::Result {
    let Settings {
        pairs,
        seconds,
        connections,
        ..
    } = settings;
    let ratio = results.ratio;
    writeln!(
        page,
        "**Requests per client CPU second, ours over wrk: {:.2}** (median of {pairs} pairs, {:.2} to \
         {:.2}; more is better)",
        ratio.median, ratio.lowest, ratio.highest
    )?;
    writeln!(page)?;
    writeln!(
        page,
        "{connections} users on {connections} kept connections, no pause, {seconds} s a run, answers \
         of 100 bytes, no documents per request. From one run of wrk to its next there is a \
         difference of {:.0} % (median; {:.0} % at most): the less, the more a single pair says.",
        results.noise.median * 100.0,
        results.noise.highest * 100.0
    )?;
    if results.busy > 0.1 || results.noise.median > 0.1 {
        writeln!(page)?;
        writeln!(
            page,
            "> The machine was not quiet: others used up to {:.0} % of its CPU time just before a \
             pair. Ratios of pairs stand this better than absolute numbers, but repeat it on a quiet \
             machine before you rely on it.",
            results.busy * 100.0
        )?;
    }
    writeln!(page)
}

fn pairs(page: &mut String, results: &Results) -> fmt::Result {
    writeln!(
        page,
        "| pair | ours: requests | CPU s | per CPU s | per s | wrk: requests | CPU s | per CPU s | per s | ratio |"
    )?;
    writeln!(page, "|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|")?;
    for (number, pair) in results.pairs.iter().enumerate() {
        write!(page, "| {}", number + 1)?;
        for run in [&pair.ours, &pair.wrk] {
            write!(
                page,
                " | {} | {:.2} | {:.0} | {:.0}",
                run.requests,
                run.cpu_seconds,
                run.per_cpu_second(),
                run.per_second()
            )?;
        }
        writeln!(page, " | {:.2} |", pair.ratio())?;
    }
    let exact = results
        .pairs
        .iter()
        .all(|pair| pair.ours.requests == pair.ours.reported);
    writeln!(page)?;
    writeln!(
        page,
        "Requests are those that the target counted. {}",
        if exact {
            "Ours reported exactly as many in every run."
        } else {
            "Ours did not report exactly as many in every run; that is a defect, please report it."
        }
    )?;
    writeln!(page)
}

fn memory(page: &mut String, results: &Results) -> fmt::Result {
    let memory = results.memory;
    writeln!(page, "## Memory\n")?;
    writeln!(
        page,
        "The engine's resident memory over a run of {} s: {:.1} MiB once all users are connected, \
         {:.1} MiB at the end, {:.1} MiB at most; the trend is {:+.1} KiB a second.",
        memory.seconds,
        memory.settled as f64 / MIB,
        memory.last as f64 / MIB,
        memory.highest as f64 / MIB,
        memory.slope / 1024.0,
    )?;
    writeln!(page)
}

fn reproduce(page: &mut String, settings: &Settings, results: &Results) -> fmt::Result {
    let wrk = Command::new("wrk").arg("-v").output();
    let wrk = wrk.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let wrk = wrk.unwrap_or_default();
    let version = wrk
        .lines()
        .next()
        .and_then(|line| line.split(" [").next())
        .unwrap_or("wrk");
    writeln!(
        page,
        "## How it is measured, and how to repeat it

```
make bench                                             # what is above
tests/bench/run.sh --pairs 9 --seconds 10              # longer
tests/bench/run.sh --connections 1000                  # more connections
```

- Both clients ask the bundled target (`loadtest target`) for `/bytes/100`. The client has one core,
  the target the others; with one core they share it.
- Runs come in pairs, and who is first changes from pair to pair. One run of each goes before and is
  not counted. Before each pair it waits until the machine is quiet, at most 20 s.
- CPU time is user and system time of the client's whole process tree, as the kernel accounts it to
  the parent: for ours `loadtest run` with its engine, coordinator and report.
- What is left out: TLS, large bodies, more than one core, documents per request.

Measured on {}; {version}, {} pairs of {} s.",
        machine::description(),
        results.pairs.len(),
        settings.seconds
    )
}
