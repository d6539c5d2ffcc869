//! What people see at the end of a run.

use std::time::Duration;

use loadtest_core::{
    baseline::Delta,
    report::ExportCounts,
    threshold::ThresholdResult,
    verdict::{Judgement, Reason},
    view::{CheckStats, ErrorStats, Generator, LatencyStats, Phase, RunnerCounts},
};

use super::*;

fn stats(requests: u64, failures: u64) -> RequestStats {
    let latency = LatencyStats {
        p50: 950,
        p90: 12_400,
        p95: 20_000,
        p99: 251_000,
        max: 1_250_000,
        ..LatencyStats::default()
    };
    RequestStats {
        requests,
        failures,
        rate: 61.7,
        latency,
        ..RequestStats::default()
    }
}

fn named(method: &str, name: &str, requests: u64, failures: u64) -> NamedStats {
    NamedStats {
        method: method.to_owned(),
        name: name.to_owned(),
        stats: stats(requests, failures),
        ..NamedStats::default()
    }
}

fn view() -> RunView {
    RunView {
        phase: Phase::Finished,
        judgement: Some(Judgement {
            verdict: Verdict::Failed,
            reason: Reason::ThresholdBreached,
            message: "threshold latency.p99 < 250ms was breached: 251ms".to_owned(),
        }),
        started: Some(0),
        completed: Some(20_000_000),
        start_skew_us: None,
        runners: RunnerCounts::default(),
        summary: Some(Summary {
            duration: Duration::from_micros(20_000_400),
            warm_up_requests: 200,
            resent: 0,
            total: stats(1_234, 10),
            iterations: 1_000,
            iterations_failed: 0,
            offered_rate: Some(50.0),
            delivered: 1.0,
            by_name: vec![
                named("GET", "GET /get", 1_224, 0),
                named("POST", "/delayed", 10, 10),
            ],
            errors: vec![ErrorStats {
                kind: "status".to_owned(),
                name: "/delayed".to_owned(),
                message: "status 503".to_owned(),
                count: 10,
            }],
            checks: vec![CheckStats {
                name: "in stock".to_owned(),
                passed: 9,
                failed: 1,
            }],
            checks_ratio: Some(0.9),
            groups: Vec::new(),
        }),
        progress: None,
        generator: Generator::default(),
        delivery: None,
        thresholds: vec![
            ThresholdResult {
                name: "fast".to_owned(),
                expr: "latency.p99 < 250ms".to_owned(),
                observed: Some("251ms".to_owned()),
                passed: false,
                first_breach: None,
            },
            ThresholdResult {
                name: "checks".to_owned(),
                expr: "checks.ratio == 100%".to_owned(),
                observed: None,
                passed: false,
                first_breach: None,
            },
        ],
        export: Some(ExportCounts {
            produced: 1_234,
            indexed: 1_200,
            lost: 34,
            ..ExportCounts::default()
        }),
        aggregates: None,
        export_problem: "no server answers".to_owned(),
        notes: Vec::new(),
        baseline: None,
    }
}

#[test]
fn the_whole_answer() {
    console::set_colors_enabled(false);
    let expected = "\
Name            Requests   Failures    Rate    p50     p90     p95    p99    max
────────────────────────────────────────────────────────────────────────────────
GET /get           1,224          0  61.7/s  950us  12.4ms  20.0ms  251ms  1.25s
POST /delayed         10  10 (100%)  61.7/s  950us  12.4ms  20.0ms  251ms  1.25s
────────────────────────────────────────────────────────────────────────────────
Aggregated         1,234  10 (0.81%)  61.7/s  950us  12.4ms  20.0ms  251ms  1.25s
";
    let text = render(&view());
    let lines: Vec<_> = text.lines().collect();
    // The columns are as wide as their widest cell, so compare without the padding.
    let squeeze = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    for (line, wanted) in lines
        .iter()
        .zip(expected.lines())
        .filter(|(l, _)| !l.starts_with('─'))
    {
        assert_eq!(squeeze(line), squeeze(wanted));
    }
    let width = lines[0].chars().count();
    assert!(
        lines[..6].iter().all(|line| line.chars().count() == width),
        "{text}"
    );
    assert_eq!(
        lines[6..],
        [
            "",
            "Thresholds",
            "  ✗ latency.p99 < 250ms   observed 251ms",
            "  ✗ checks.ratio == 100%  observed nothing",
            "",
            "Checks",
            "  ✗ in stock  9 of 10",
            "",
            "Errors",
            "  10 × /delayed: status 503",
            "",
            "Load      1,000 iterations in 20s after a warm-up of 200 requests, 50/s offered, 100% delivered, generator CPU 0%",
            "Export    1,234 produced = 1,200 indexed + 34 lost",
            "          no server answers",
            "Verdict   Failed: threshold latency.p99 < 250ms was breached: 251ms",
        ]
    );
}

#[test]
fn tables_are_no_wider_than_the_terminal() {
    console::set_colors_enabled(false);
    let mut view = view();
    let summary = view.summary.as_mut().unwrap();
    let name = "GET /a-long-name-that-is-not-at-all-short/商品";
    summary.by_name.push(named("GET", name, 1_234_567, 0));
    let whole = render_within(&view, None);
    let widths = |text: &str| -> Vec<_> {
        let table = text.lines().take_while(|line| !line.is_empty());
        table.map(console::measure_text_width).collect()
    };
    for within in [120, 80, 60, 40] {
        let text = render_within(&view, Some(within));
        let widths = widths(&text);
        assert!(widths.iter().all(|width| *width <= within), "{text}");
        let heading = text.lines().next().unwrap();
        for column in ["Name", "Requests", "p99"] {
            assert!(heading.contains(column), "{text}");
        }
        assert!(text.contains("GET /a-long-name-th"), "{text}");
    }
    assert_eq!(render_within(&view, Some(widths(&whole)[0])), whole);
    let heading = |within| {
        let text = render_within(&view, Some(within));
        let heading = text.lines().next().unwrap().split_whitespace();
        heading.map(str::to_owned).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(heading(80), "Name Requests Failures Rate p50 p95 p99 max");
    assert_eq!(heading(40), "Name Requests p99");
}

#[test]
fn of_nothing_there_are_no_times_and_no_judgement_of_checks() {
    console::set_colors_enabled(false);
    let mut view = view();
    let summary = view.summary.as_mut().unwrap();
    summary.by_name.clear();
    summary.total = RequestStats::default();
    summary.checks[0].passed = 0;
    summary.checks[0].failed = 0;
    let text = render(&view);
    let total = text.lines().find(|line| line.starts_with("Aggregated"));
    let cells: Vec<_> = total.unwrap().split_whitespace().collect();
    assert_eq!(
        cells,
        ["Aggregated", "0", "0", "0/s", "–", "–", "–", "–", "–"]
    );
    assert!(text.contains("\n  – in stock  0 of 0\n"), "{text}");
}

#[test]
fn what_a_baseline_said_stands_below_the_thresholds() {
    console::set_colors_enabled(false);
    let mut view = view();
    let delta = |metric: &str, change: Option<&str>, regressed| Delta {
        metric: metric.to_owned(),
        before: change.map(|_| "80.0ms".to_owned()),
        after: Some("101ms".to_owned()),
        change: change.map(str::to_owned),
        worse_by: "10%".to_owned(),
        regressed,
    };
    view.baseline = Some(Comparison::Done {
        run: "shop-2".to_owned(),
        deltas: vec![
            delta("latency.p99", Some("+26.25%"), true),
            delta("serviceTime.p99", None, false),
        ],
    });
    let expected = "
Beside its baseline shop-2
  ✗ latency.p99      101ms after 80.0ms (+26.25%), 10% is tolerated
  ✓ serviceTime.p99  101ms after – (–), 10% is tolerated

Checks
";
    let text = render(&view);
    assert!(text.contains(expected), "{text}");
    view.baseline = Some(Comparison::Missing {
        reason: "NoBaseline".to_owned(),
        message: "no run has passed yet".to_owned(),
    });
    let text = render(&view);
    let expected = "\nBaseline\n  not compared: no run has passed yet\n\nChecks\n";
    assert!(text.contains(expected), "{text}");
}

#[test]
fn the_table_so_far_is_the_one_of_the_end() {
    console::set_colors_enabled(false);
    let mut view = view();
    let table = so_far(&view).unwrap();
    assert!(render(&view).starts_with(&format!("{table}\n\nThresholds\n")));
    view.summary.as_mut().unwrap().total.requests = 0;
    assert_eq!(so_far(&view), None);
    view.summary = None;
    assert_eq!(so_far(&view), None);
}

#[test]
fn groups_and_iterations_that_ended_early() {
    console::set_colors_enabled(false);
    let mut view = view();
    let group = |name: &str, count, failures| GroupStats {
        name: name.to_owned(),
        count,
        failures,
        duration: stats(count, failures).latency,
        ..GroupStats::default()
    };
    let summary = view.summary.as_mut().unwrap();
    summary.iterations_failed = 7;
    summary.groups = vec![group("checkout", 1_000, 10), group("job until done", 0, 0)];
    let text = render(&view);
    let begin = text.find("Group ").unwrap();
    let lines: Vec<_> = text[begin..].lines().take(4).collect();
    assert_eq!(
        lines,
        [
            "Group           Passes  Failures    p50     p90     p95    p99    max",
            "─────────────────────────────────────────────────────────────────────",
            "checkout         1,000   10 (1%)  950us  12.4ms  20.0ms  251ms  1.25s",
            "job until done       0         0      –       –       –      –      –",
        ]
    );
    let load = "Load      1,000 iterations (7 ended early for want of a value) in 20s after";
    assert!(text.contains(load), "{text}");
}

#[test]
fn counts_are_read_in_threes() {
    let texts = [0, 999, 1_000, 1_234_567].map(grouped);
    assert_eq!(texts, ["0", "999", "1,000", "1,234,567"]);
}
