//! The page that the numbers become: docs/performance.md.

use std::{
    fmt::{self, Write},
    process::Command,
};

use anyhow::Result;

use crate::{
    Results, Settings,
    client::WARM_UP,
    clients::Job,
    engine::GROWTH_RATE,
    goals::{MIB, goals, thousands},
    machine,
    pairs::Compared,
};

/// The page, in Markdown.
pub fn write(settings: &Settings, results: &Results) -> Result<String> {
    let mut page = String::new();
    page.push_str(
        "# Performance

<!-- Written by `make bench`. Change tests/src/bin/bench/page.rs, not this file. -->

How much load one CPU second of the client makes, beside other load generators on the same machine at
the same time, and what the engine needs of memory and time. Ours does what a real test does in all of
these: it draws each request from a weighted scenario, fills in its templates, measures it from its
intended start, checks status and body, keeps a histogram for each name, reports to a coordinator every
second and judges the result. *Export on* means that every single request also becomes a JSON document
in a compressed file. All of that is in its CPU time.

| what | goal | measured | |
|---|---|---|---|
",
    );
    for goal in goals(results) {
        writeln!(
            page,
            "| {} | {} | {} | {} |",
            goal.what, goal.asked, goal.measured, goal.verdict
        )?;
    }
    caveats(&mut page, results)?;
    pairs(&mut page, results)?;
    engine(&mut page, results)?;
    reproduce(&mut page, settings, results)?;
    Ok(page)
}

fn caveats(page: &mut String, results: &Results) -> fmt::Result {
    for failed in &results.failed {
        let failed = failed.replace('\n', " ");
        writeln!(page, "\n> **Not measured**: {failed}")?;
    }
    let busy = results
        .compared
        .iter()
        .fold(0.0f64, |busy, compared| busy.max(compared.busy));
    if busy > 0.1 {
        writeln!(
            page,
            "
> The machine was not quiet: others used up to {:.0} % of its CPU time just before a pair. Ratios of
> pairs stand this better than absolute numbers, but repeat it on a quiet machine before you rely on it.",
            busy * 100.0
        )?;
    }
    Ok(())
}

fn pairs(page: &mut String, results: &Results) -> fmt::Result {
    if results.compared.is_empty() {
        return Ok(());
    }
    writeln!(
        page,
        "
## Pair by pair

Thousand requests per CPU second, ours / the other, in the order of the pairs. *Chance* is by how much
two neighbouring runs of the other differ (median): the less, the more a single pair says.

| beside | ours / the other | chance |
|---|---|--:|"
    )?;
    for compared in &results.compared {
        let cells: Vec<String> = compared
            .pairs
            .iter()
            .map(|(ours, peer)| {
                format!(
                    "{:.1} / {:.1}",
                    ours.per_cpu_second() / 1e3,
                    peer.per_cpu_second() / 1e3
                )
            })
            .collect();
        writeln!(
            page,
            "| {} | {} | {:.0} % |",
            compared.comparison.what,
            cells.join(" · "),
            compared.noise.median * 100.0
        )?;
    }
    writeln!(
        page,
        "
Requests are those that the target counted; ours reported exactly as many in every run, or the
benchmark would have failed."
    )?;
    if let Some(Compared { ratio, .. }) = &results.limit {
        writeln!(
            page,
            "
How much there is to be had: a bare epoll loop ([bare.rs](../tests/src/bin/bare.rs)), which draws
nothing, fills in nothing and looks for nothing but the end of an answer, makes {:.2} ({:.2} to {:.2})
times the requests of wrk here, at 64 connections. The rest of the time is the kernel's.",
            ratio.median, ratio.lowest, ratio.highest
        )?;
    }
    Ok(())
}

fn engine(page: &mut String, results: &Results) -> fmt::Result {
    writeln!(page, "\n## The engine alone\n")?;
    if let Some(cost) = &results.export {
        writeln!(
            page,
            "- 99th percentile of the latency at {} requests per second: {:.0} µs with export off, \
             {:.0} µs with export on (medians).",
            thousands(cost.rate),
            cost.p99_us.0,
            cost.p99_us.1
        )?;
    }
    for punctuality in &results.punctuality {
        writeln!(
            page,
            "- At {} arrivals per second the engine used {:.0} % of its core. Its exporter had another \
             one; lateness is read from the documents.",
            thousands(punctuality.rate),
            punctuality.cpu * 100.0
        )?;
    }
    for users in results
        .users
        .iter()
        .filter(|users| users.job == Job::Product)
    {
        writeln!(
            page,
            "- Memory of {} users: {:.1} MiB once settled, {:.1} MiB at most. In it are the pages that \
             were in use of 16 MiB that engine and exporter share; what the kernel keeps for each \
             connection comes on top of it.",
            thousands(users.users),
            users.all.settled / MIB,
            users.all.highest / MIB
        )?;
    }
    if let Some(growth) = &results.growth {
        writeln!(
            page,
            "- Memory at {} requests per second: {:.1} MiB once settled, {:.1} MiB at most in {} s.",
            thousands(GROWTH_RATE),
            growth.settled / MIB,
            growth.highest / MIB,
            growth.seconds
        )?;
    }
    writeln!(
        page,
        "- What a request costs in instructions, system calls and allocations is watched by `make test` \
         ([costs](../tests/gate/costs.txt))."
    )?;
    features(page)
}

/// The prices that `make gate-features` wrote.
fn features(page: &mut String) -> fmt::Result {
    let Ok(table) = std::fs::read_to_string("tests/gate/features.md") else {
        return Ok(());
    };
    let table = table
        .lines()
        .filter(|line| line.starts_with('|'))
        .collect::<Vec<_>>();
    writeln!(
        page,
        "
## What each thing that a scenario may say costs

Instructions of the engine's worker and allocations for one request, 64 users, kernel not counted
(`make gate-features`).

{}",
        table.join("\n")
    )
}

fn reproduce(page: &mut String, settings: &Settings, results: &Results) -> fmt::Result {
    writeln!(
        page,
        "
## How it is measured, and how to repeat it

```sh
make bench                                 # installs the peers that are missing, then all that is above
tests/bench/run.sh --quick                 # the same in short, to try it
tests/bench/run.sh --pairs 9 --seconds 10  # longer
tests/bench/run.sh --only wrk              # only what has this in its name
```

- All clients ask for the same 224 bytes of JSON, or for 10 kB: over TLS the bundled target (`loadtest
  target`), else an epoll loop that repeats that target's answers with as little work as can be
  ([lean.rs](../tests/src/bin/lean.rs)). With a slower target it is the client that waits, and being
  woken for each answer costs it more CPU than being busy does. Ours, k6 and Locust do the scenario of [tests/bench](../tests/bench); the others cannot, and send one
  fixed request. The client has one core, the target the others; with one core they share it.
- Runs come in pairs, and who is first changes from pair to pair. Before each pair it waits until the
  machine is quiet, at most 20 s. The number is the median of the pairs' ratios.
- CPU time is user and system time of the client's whole process tree (for ours with exporter,
  coordinator and report) from {} s after its first request to its very end.
- TLS is version 1.3 with kept connections and no verification by wrk; ours verifies, once for each
  connection.
- Not measured here: more than one core; HTTP/2, which the same client does as proxies.

Command lines, with `URL` for the target's:

| | |
|---|---|",
        WARM_UP.as_secs()
    )?;
    let mut seen = Vec::new();
    for compared in &results.compared {
        for client in [&compared.comparison.ours, &compared.comparison.peer] {
            let line = format!(
                "| {} | `{}` |",
                client.name,
                without_ports(&client.to_string())
            );
            if !seen.contains(&line) {
                writeln!(page, "{line}")?;
                seen.push(line);
            }
        }
    }
    writeln!(
        page,
        "
Measured on {}; {} pairs of {} s. Versions: wrk {}, others as in
[peers.sh](../tests/bench/peers.sh).",
        machine::description(),
        settings.pairs,
        settings.seconds,
        wrk_version()
    )
}

/// A command line that does not change from run to run.
fn without_ports(line: &str) -> String {
    let words = line.split(' ').map(|word| {
        match word
            .find("http://127.0.0.1:")
            .or_else(|| word.find("https://127.0.0.1:"))
        {
            Some(at) => {
                let (before, url) = word.split_at(at);
                let path = url
                    .splitn(4, '/')
                    .nth(3)
                    .map(|path| format!("/{path}"))
                    .unwrap_or_default();
                format!("{before}URL{path}")
            }
            None => word.to_owned(),
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

fn wrk_version() -> String {
    let output = Command::new("wrk").arg("-v").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let text = text.unwrap_or_default();
    let first = text.split(" [").next().unwrap_or_default();
    first
        .trim_start_matches("wrk ")
        .trim_start_matches("debian/")
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_lines_name_no_port() {
        assert_eq!(
            without_ports("wrk -c64 http://127.0.0.1:4711/bytes/9 -e T=http://127.0.0.1:1 x"),
            "wrk -c64 URL/bytes/9 -e T=URL x"
        );
    }
}
