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
    engine::{ExportCost, Memory, Punctuality, UserMemory},
    machine,
    pairs::Compared,
};

const MIB: f64 = 1_048_576.0;

/// Arrivals a second while memory is watched.
pub const GROWTH_RATE: u32 = 2_000;

/// The time that the goal for growing memory speaks of.
const GROWTH_SECONDS: f64 = 600.0;

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

/// A line of the first table.
struct Goal {
    what: String,
    asked: String,
    measured: String,
    verdict: String,
}

/// Whether a number is at most what was asked for, and by how much not.
fn at_most(number: f64, limit: f64) -> String {
    let times = number / limit;
    if times <= 1.0 {
        "met".to_owned()
    } else if times < 2.0 {
        format!("**missed** by {:.0} %", (times - 1.0) * 100.0)
    } else {
        format!("**missed**: {times:.1} times as much")
    }
}

fn goals(results: &Results) -> Vec<Goal> {
    let mut goals: Vec<Goal> = results.compared.iter().map(compared_goal).collect();
    goals.extend(results.export.iter().flat_map(export_goals));
    goals.extend(results.punctuality.iter().map(punctuality_goal));
    goals.extend(results.users.iter().flat_map(user_goals));
    goals.extend(results.growth.iter().map(growth_goal));
    goals
}

fn compared_goal(compared: &Compared) -> Goal {
    let ratio = compared.ratio;
    let verdict = match compared.comparison.goal {
        None => String::new(),
        Some(goal) if compared.is_undecided(goal) => {
            format!(
                "no verdict: chance makes {:.0} % here",
                compared.noise.median * 100.0
            )
        }
        Some(goal) if ratio.median >= goal => "met".to_owned(),
        Some(goal) => format!("**missed** by {:.0} %", (1.0 - ratio.median / goal) * 100.0),
    };
    Goal {
        what: format!(
            "requests per CPU second, ours over {}",
            compared.comparison.what
        ),
        asked: compared
            .comparison
            .goal
            .map(|goal| format!("≥ {goal:.2}"))
            .unwrap_or_default(),
        measured: format!(
            "{:.2} ({:.2} to {:.2})",
            ratio.median, ratio.lowest, ratio.highest
        ),
        verdict,
    }
}

fn export_goals(cost: &ExportCost) -> [Goal; 2] {
    let goal = |what: &str, limit: f64, spread: crate::statistics::Spread| Goal {
        what: format!(
            "{what}, export on over off, at {} requests per second (60 % load)",
            thousands(cost.rate)
        ),
        asked: format!("≤ {limit:.2}"),
        measured: format!(
            "{:.2} ({:.2} to {:.2})",
            spread.median, spread.lowest, spread.highest
        ),
        verdict: at_most(spread.median, limit),
    };
    [
        goal("CPU of the engine per request", 1.03, cost.cpu),
        goal(
            "99th percentile of the latency, engine and exporter on one core",
            1.10,
            cost.p99,
        ),
    ]
}

fn punctuality_goal(punctuality: &Punctuality) -> Goal {
    let Punctuality {
        rate, median, p99, ..
    } = punctuality;
    let worse = if median / 100.0 > p99 / 250.0 {
        at_most(*median, 100.0)
    } else {
        at_most(*p99, 250.0)
    };
    Goal {
        what: format!(
            "requests sent after their due time, {} per second",
            thousands(*rate)
        ),
        asked: "half ≤ 100 µs, 99 % ≤ 250 µs".to_owned(),
        measured: format!("half ≤ {median:.0} µs, 99 % ≤ {p99:.0} µs"),
        verdict: worse,
    }
}

fn user_goals(memory: &UserMemory) -> Vec<Goal> {
    let users = thousands(memory.users);
    let (over, each) = match memory.job {
        Job::Secure => (" over TLS", 24.0),
        Job::Product | Job::Bodies => ("", 4.0),
    };
    let all = Goal {
        what: format!("resident memory of an engine with {users} connected users, export on"),
        asked: "≤ 64 MiB".to_owned(),
        measured: format!("{:.0} MiB", memory.all.highest / MIB),
        verdict: at_most(memory.all.highest, 64.0 * MIB),
    };
    let each = Goal {
        what: format!("resident memory for each user{over}"),
        asked: format!("≤ {each:.0} KiB"),
        measured: format!("{:.1} KiB", memory.each / 1024.0),
        verdict: at_most(memory.each, each * 1024.0),
    };
    if memory.job == Job::Secure {
        vec![each]
    } else {
        vec![all, each]
    }
}

fn growth_goal(memory: &Memory) -> Goal {
    let limit = 2.0 * MIB;
    let growth = (memory.slope * GROWTH_SECONDS).max(0.0);
    Goal {
        what: format!(
            "growth of the engine's memory in 10 minutes at {} requests per second, export on",
            thousands(GROWTH_RATE)
        ),
        asked: "≤ 2 MiB".to_owned(),
        measured: format!("{:.1} MiB", growth / MIB),
        verdict: if f64::from(memory.seconds) < GROWTH_SECONDS / 2.0 {
            format!("no verdict: watched only for {} s", memory.seconds)
        } else {
            at_most(growth, limit)
        },
    }
}

fn caveats(page: &mut String, results: &Results) -> fmt::Result {
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
    )
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
             were in use of 32 MiB that engine and exporter share; what the kernel keeps for each \
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
    )
}

fn reproduce(page: &mut String, settings: &Settings, results: &Results) -> fmt::Result {
    writeln!(
        page,
        "
## How it is measured, and how to repeat it

```
make bench                                 # installs the peers that are missing, then all that is above
tests/bench/run.sh --quick                 # the same in short, to try it
tests/bench/run.sh --pairs 9 --seconds 10  # longer
tests/bench/run.sh --only wrk              # only what has this in its name
```

- All clients ask the bundled target (`loadtest target`) for the same 224 bytes of JSON, or for 10 kB.
  Ours, k6 and Locust do the scenario of [tests/bench](../tests/bench); the others cannot, and send one
  fixed request. The client has one core, the target the others; with one core they share it.
- Runs come in pairs, and who is first changes from pair to pair. Before each pair it waits until the
  machine is quiet, at most 20 s. The number is the median of the pairs' ratios.
- CPU time is user and system time of the client's whole process tree (for ours with exporter,
  coordinator and report) from {} s after its first request to its very end.
- TLS is version 1.3 with kept connections and no verification by wrk; ours verifies, once for each
  connection.
- Not measured here: more than one core, HTTP/2.

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

/// `10,000`
fn thousands(number: u32) -> String {
    if number < 1_000 {
        number.to_string()
    } else {
        format!("{},{:03}", number / 1_000, number % 1_000)
    }
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

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(
            [thousands(64), thousands(1_000), thousands(52_000)],
            ["64", "1,000", "52,000"]
        );
    }
}
