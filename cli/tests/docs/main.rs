//! The pages keep what they promise: every command is run, or a test that does it is named; every
//! link leads somewhere; and what a reader is told to expect is what comes.

// Helpers of tests may fail like tests.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[path = "../common/mod.rs"]
mod common;
mod page;
mod play;
mod proofs;
mod shell;

use std::{collections::BTreeSet, fs, path::Path};

use page::{Page, read, root};
use play::{PLAYED, Played};

/// What a fence may say. `text` is output, `python` and `js` are of other tools; `http` are queries,
/// which `every_query_of_the_page_gets_the_true_answer` asks.
const LANGUAGES: [&str; 11] = [
    "sh",
    "text",
    "yaml",
    "json",
    "toml",
    "rust",
    "dockerfile",
    "lua",
    "python",
    "js",
    "http",
];

/// Words that begin a command, which output never does.
const COMMANDS: [&str; 8] = [
    "loadtest ",
    "kubectl ",
    "helm ",
    "make ",
    "cargo ",
    "curl ",
    "docker ",
    "$ ",
];

/// Everything that people read.
fn pages() -> Vec<Page> {
    let mut paths: Vec<_> = fs::read_dir(root().join("docs"))
        .unwrap()
        .map(|entry| format!("docs/{}", entry.unwrap().file_name().to_string_lossy()))
        .filter(|path| Path::new(path).extension().is_some_and(|kind| kind == "md"))
        .collect();
    let others = [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "charts/loadtest-operator/README.md",
        "examples/own-step/README.md",
    ];
    let others = others.into_iter().filter(|path| root().join(path).exists());
    paths.extend(others.map(str::to_owned));
    paths.sort();
    assert!(paths.len() > 20, "{paths:?}");
    paths.iter().map(|path| Page::read(path)).collect()
}

/// Fails with all that is wrong at once.
fn assert_none(wrong: &[String]) {
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn every_block_says_what_it_is_and_commands_are_not_hidden_in_output() {
    let mut wrong = Vec::new();
    for page in pages() {
        for block in &page.blocks {
            let place = format!("{}:{}", page.path, block.line);
            let language = block.language.as_str();
            if !LANGUAGES.contains(&language) {
                wrong.push(format!("{place}: say what it is: one of {LANGUAGES:?}"));
            }
            if language == "http" && page.path != "docs/results.md" {
                wrong.push(format!(
                    "{place}: queries that are tested stand in docs/results.md"
                ));
            }
            let hidden = block
                .text
                .lines()
                .find(|line| COMMANDS.iter().any(|command| line.starts_with(command)));
            if let Some(line) = hidden.filter(|_| language == "text") {
                wrong.push(format!(
                    "{place}: `{line}` is a command, not output: use sh"
                ));
            }
        }
    }
    assert_none(&wrong);
}

#[test]
fn every_command_is_run_or_has_a_test_that_does_it() {
    let (mut wrong, mut commands) = (Vec::new(), 0);
    for page in pages() {
        let played = PLAYED.contains(&page.path.as_str());
        for block in page.blocks_of("sh") {
            for line in shell::lines(&block.text) {
                let alone = line.commands.iter().all(|words| words[0] == "loadtest");
                for words in &line.commands {
                    commands += 1;
                    let problem = proofs::problem(words, played && alone);
                    wrong.extend(
                        problem.map(|problem| format!("{}:{}: {problem}", page.path, block.line)),
                    );
                }
                let manifest = line.input.filter(|input| input.contains("loadtest.dev/"));
                for problem in manifest
                    .iter()
                    .flat_map(|text| loadtest_crds::validate_yaml(text))
                {
                    wrong.push(format!("{}:{}: {problem}", page.path, block.line));
                }
            }
        }
        for code in &page.code {
            // The other halves of these tables are about other tools.
            let foreign = code.starts_with('-') && page.path.contains("migrating");
            for line in shell::lines(code).into_iter().filter(|_| !foreign) {
                let problem = proofs::mentioned(&line.commands[0]);
                wrong.extend(problem.map(|problem| format!("{}: {problem}", page.path)));
            }
        }
    }
    assert!(commands > 30, "{commands}");
    assert_none(&wrong);
}

#[test]
fn every_link_leads_somewhere() {
    let mut wrong = Vec::new();
    for page in pages() {
        for link in page.links.iter().filter(|link| !link.contains("://")) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let path = match file {
                "" => page.path.clone(),
                file => Path::new(&page.path)
                    .with_file_name(file)
                    .to_string_lossy()
                    .into_owned(),
            };
            if !root().join(&path).exists() {
                wrong.push(format!("{}: {link} is not there", page.path));
            } else if !anchor.is_empty()
                && !Page::read(&path)
                    .anchors
                    .iter()
                    .any(|known| known == anchor)
            {
                wrong.push(format!("{}: {link} has no such heading", page.path));
            }
        }
    }
    assert_none(&wrong);
}

#[test]
fn every_page_is_in_the_book_once() {
    let book = Page::read("docs/SUMMARY.md");
    let listed: BTreeSet<_> = book
        .links
        .iter()
        .map(|link| format!("docs/{link}"))
        .collect();
    assert_eq!(listed.len(), book.links.len(), "a page is listed twice");
    let pages: BTreeSet<_> = pages()
        .into_iter()
        .map(|page| page.path)
        .filter(|path| path.starts_with("docs/") && path != "docs/SUMMARY.md")
        .collect();
    assert_eq!(listed, pages);
}

#[test]
fn the_way_from_nothing_to_a_verdict_is_as_it_is_told() {
    let played = Played::page("docs/getting-started.md");
    let said = played.said();
    for expected in [
        "Verdict   Passed: all 4 thresholds held",
        "first.yaml: 1 object, all accepted",
    ] {
        assert!(said.contains(expected), "no {expected}: {said}");
    }
    let place = played.place.path();
    let report = fs::read_to_string(place.join("report.md")).unwrap();
    assert!(report.contains("Passed"), "{report}");
    sizes_are_as_told(&place.join("loadtest-runs"));
}

/// What docs/sizing.md says of the documents of examples/quickstart.yaml, of which 4,000 are there.
fn sizes_are_as_told(runs: &Path) {
    let sizing = read("docs/sizing.md");
    let mut quickstart = fs::read_dir(runs)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let quickstart = quickstart
        .find(|path| path.to_string_lossy().contains("/quickstart-"))
        .unwrap();
    let packed = fs::metadata(quickstart.join("requests.ndjson.gz"))
        .unwrap()
        .len();
    let plain: usize = common::raw_documents(&quickstart)
        .iter()
        .map(|one| one.to_string().len() + 1)
        .sum();
    for (row, measured) in [
        ("JSON", plain as f64),
        (
            "as it is sent or stored in `requests.ndjson.gz`",
            packed as f64,
        ),
    ] {
        let (_, after) = sizing
            .split_once(&format!("| of its document, {row} | about "))
            .unwrap();
        let said: f64 = after
            .split_once(' ')
            .unwrap()
            .0
            .replace(',', "")
            .parse()
            .unwrap();
        let ratio = measured / 4_000.0 / said;
        assert!(
            (0.8..1.2).contains(&ratio),
            "{row}: {said} is said, {} is",
            measured / 4_000.0
        );
    }
}

#[test]
fn the_page_of_scenarios_is_played() {
    let said = Played::page("docs/scenarios.md").said();
    assert!(said.contains("/shop/"), "{said}");
}

/// The first number behind a text of docs/performance.md.
fn measured(after: &str) -> f64 {
    let page = read("docs/performance.md");
    let (_, rest) = page
        .split_once(after)
        .unwrap_or_else(|| panic!("docs/performance.md has no {after}"));
    let number: String = rest
        .chars()
        .take_while(|c| c.is_ascii_digit() || *c == '.')
        .collect();
    number
        .parse()
        .unwrap_or_else(|error| panic!("{after}{number}: {error}"))
}

#[test]
fn sizing_plans_with_no_more_than_was_measured() {
    let sizing = read("docs/sizing.md");
    let planned = |row: &str| -> f64 {
        let (_, after) = sizing
            .split_once(&format!("| {row} | "))
            .unwrap_or_else(|| panic!("no row {row}"));
        let number: String = after
            .chars()
            .take_while(|c| c.is_ascii_digit() || *c == ',')
            .collect();
        number.replace(',', "").parse().unwrap()
    };
    let busy = measured("At 10,000 arrivals per second the engine used ");
    let rate = planned("requests per second and CPU at a given rate (open models)");
    assert!(
        rate / 10_000.0 * busy <= 75.0,
        "{rate}/s keep a core {busy} % busy"
    );
    let page = read("docs/performance.md");
    let pairs = page
        .lines()
        .find(|line| line.starts_with("| wrk, 1000 connections, export on |"))
        .unwrap();
    let pairs = pairs.split('|').nth(2).unwrap().split('·');
    let slowest = pairs.map(|pair| {
        pair.split('/')
            .next()
            .unwrap()
            .trim()
            .parse::<f64>()
            .unwrap()
    });
    let slowest = slowest.fold(f64::MAX, f64::min) * 1_000.0;
    let full = planned(
        "requests per second and CPU at full speed (closed models), every request exported",
    );
    assert!(
        full * 1.2 <= slowest,
        "{full}/s are planned, {slowest}/s measured"
    );
    for (row, after) in [
        (
            "memory per connected user",
            "| resident memory for each user | ≤ 4 KiB | ",
        ),
        (
            "memory per connected user over TLS",
            "| resident memory for each user over TLS | ≤ 24 KiB | ",
        ),
        (
            "memory of an engine without users",
            "Memory at 2,000 requests per second: ",
        ),
    ] {
        assert!(planned(row) >= measured(after), "{row}");
    }
}
