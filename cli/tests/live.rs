//! The live view in a real pseudo-terminal, made by `script`.

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::{
    io::{BufRead as _, BufReader},
    process::Command,
    sync::mpsc,
    time::{Duration, Instant},
};

use common::{BINARY, Place, Started, Target, manifest, run_args};

/// Everything that a run writes to a terminal of so many columns.
fn seen(columns: u32, environment: &str) -> String {
    let (place, target) = (Place::new(), Target::start());
    let load = "{ constantRate: { rate: 50/s, duration: 3s } }";
    let name = "a-request-with-a-name-that-is-much-too-long-for-any-terminal-名前";
    let yaml = manifest(load, "/status/503", &[]).replace("timeout: 2s", &format!("name: {name}"));
    place.write("test.yaml", &yaml);
    let command = format!(
        "stty cols {columns} rows 24; {environment} exec {BINARY} run test.yaml --target {} --out out -o json >/dev/null",
        target.url
    );
    let output = Command::new("script")
        .args(["-q", "-e", "-c", &command, "/dev/null"])
        .current_dir(place.path())
        .env("TERM", "xterm-256color")
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// Without a terminal, as in a pipeline: every half minute the table is in the log, below the line of
/// its moment.
#[test]
fn a_log_has_lines_and_the_table_so_far() {
    let (place, target) = (Place::new(), Target::start());
    let load = "{ constantRate: { rate: 20/s, duration: 5m } }";
    place.write("test.yaml", &manifest(load, "/get", &[]));
    let mut started = Started::new(place.loadtest(&run_args(&target.url)));
    let log = started.child.as_mut().unwrap().stderr.take().unwrap();
    let (tell, lines) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        for line in BufReader::new(log).lines().map_while(Result::ok) {
            // Fails only when the test is over.
            let _ = tell.send(line);
        }
    });
    let (mut seen, deadline) = (Vec::new(), Instant::now() + Duration::from_secs(100));
    while !seen
        .last()
        .is_some_and(|line: &String| line.starts_with("Aggregated"))
    {
        let left = deadline.saturating_duration_since(Instant::now());
        let line = lines.recv_timeout(left);
        seen.push(line.unwrap_or_else(|error| panic!("{error} in\n{}", seen.join("\n"))));
    }
    started.signal("INT");
    let exited = started.child.as_mut().unwrap().wait().unwrap();
    reader.join().unwrap();
    assert_eq!(exited.code(), Some(130));
    let is_line = |line: &&String| line.contains(" of 5m  ") && line.contains("  p50 ");
    assert!(seen.iter().filter(is_line).count() >= 3, "{seen:#?}");
    let [.., line, heading, rule, row, second_rule, total] = seen.as_slice() else {
        panic!("{seen:#?}")
    };
    assert!(line.contains(" of 5m  "), "{seen:#?}");
    assert!(
        heading.starts_with("Name ") && heading.ends_with(" max"),
        "{heading}"
    );
    assert!(row.starts_with("GET /get ") && rule == second_rule, "{row}");
    let counts = |line: &str| {
        line.split("  ")
            .filter(|cell| !cell.is_empty())
            .nth(1)
            .unwrap()
            .trim()
            .to_owned()
    };
    assert_eq!(counts(row), counts(total));
    assert!(counts(row).parse::<u32>().unwrap() >= 400, "{row}");
}

/// Frames: what was painted between two wipes.
fn frames(text: &str) -> Vec<&str> {
    text.split("\x1b[J").skip(1).collect()
}

#[test]
fn no_line_is_wider_than_the_terminal_and_the_last_picture_is_taken_away() {
    for columns in [40, 80] {
        let text = seen(columns, "");
        let frames = frames(&text);
        assert!(frames.len() > 5, "{text}");
        for line in frames.iter().flat_map(|frame| frame.lines()) {
            let width = console::measure_text_width(line.trim_end_matches('\r'));
            assert!(width < columns as usize, "{width}: {line:?}");
        }
        let mut busy = frames.iter().filter(|frame| frame.contains("p50"));
        let busiest = busy.next_back().unwrap();
        for word in [
            "requests",
            "asked for",
            "latency",
            "p50",
            "failed",
            "users",
            "export",
            "generator",
            "status 503",
        ] {
            assert!(busiest.contains(word), "no {word:?} in\n{busiest}");
        }
        assert_eq!(frames.last().unwrap().trim(), "", "nothing is left");
    }
}

#[test]
fn colours_can_be_switched_off_and_dumb_terminals_get_lines() {
    let plain = seen(80, "NO_COLOR=1");
    assert!(plain.contains("▁") || plain.contains("█"));
    let is_colour = |sequence: &str| {
        let end = |c: char| !c.is_ascii_digit() && c != ';';
        sequence
            .find(end)
            .is_some_and(|at| sequence[at..].starts_with('m'))
    };
    assert!(!plain.split("\x1b[").skip(1).any(is_colour), "{plain:?}");
    let dumb = seen(80, "TERM=dumb");
    assert!(
        !dumb.contains('\x1b') && dumb.contains("load is being sent"),
        "{dumb:?}"
    );
}
