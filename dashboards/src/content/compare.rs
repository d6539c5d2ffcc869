//! Runs beside each other: is this one worse than the last?

use super::{LATENCY, NAME, RUN, of_runs, row};
use crate::panel::{
    Dashboard,
    Documents::{Ends, Requests, Totals},
    Height::Tall,
    Panel, Row,
    Shape::{Bars, Lines, Table},
    Unit::{self, Micros, Moment, Share},
    Value::{Count, Max, PerSecond, Percentile, Ratio},
};

pub(super) fn dashboard() -> Dashboard {
    Dashboard {
        id: "loadtest-compare",
        title: "Load test: compare runs",
        about: "Runs beside each other: verdicts, percentiles, rates, errors, by request name.",
        controls: of_runs(),
        rows: [runs(), details(), trend()].concat(),
    }
}

fn runs() -> Vec<Row> {
    let percentile = |panel: Panel| {
        panel
            .show("p50", Max("loadtest.latency.p50_us"), Micros)
            .show("p95", Max("loadtest.latency.p95_us"), Micros)
            .show("p99", Max("loadtest.latency.p99_us"), Micros)
    };
    let table = Panel::new("Runs", Table, Ends)
        .about("The newest first. The same numbers as in the status.")
        .by("test", "loadtest.test.name", 50)
        .by("run", RUN, 50)
        .by("verdict", "loadtest.verdict", 1)
        .by("reason", "loadtest.reason", 1)
        .show("ended", Max("@timestamp"), Moment)
        .show("requests", Max("loadtest.requests.count"), Unit::Number)
        .show("per second", Max("loadtest.requests.rate"), Unit::Number)
        .show("share failed", Max("loadtest.requests.failed_ratio"), Share);
    let table = percentile(table).show(
        "delivered",
        Max("loadtest.iterations.delivered_ratio"),
        Share,
    );
    vec![
        row(Tall, [table]),
        row(
            Tall,
            [
                percentile(Panel::new("Latency by run", Bars, Ends).by("run", RUN, 50)).width(6),
                Panel::new("Requests per second by run", Bars, Ends)
                    .by("run", RUN, 50)
                    .show("per second", Max("loadtest.requests.rate"), Unit::Number)
                    .width(3),
                Panel::new("Share of failed requests by run", Bars, Ends)
                    .by("run", RUN, 50)
                    .show("share failed", Max("loadtest.requests.failed_ratio"), Share)
                    .width(3),
            ],
        ),
    ]
}

fn details() -> Vec<Row> {
    vec![row(
        Tall,
        [
            Panel::new("Request names by run", Table, Requests)
                .about("Percentiles of all documents of the run together, without the warm-up.")
                .only("loadtest.stage:load")
                .by("request", NAME, 200)
                .by("run", RUN, 50)
                .show("documents", Count, Unit::Number)
                .show("p50", Percentile(LATENCY, 50), Micros)
                .show("p95", Percentile(LATENCY, 95), Micros)
                .show("p99", Percentile(LATENCY, 99), Micros)
                .show("max", Max(LATENCY), Micros)
                .width(8),
            Panel::new("Errors by run", Table, Requests)
                .only("event.outcome:failure")
                .by("run", RUN, 50)
                .by("type", "error.type", 20)
                .show("documents", Count, Unit::Number)
                .width(4),
        ],
    )]
}

fn trend() -> Vec<Row> {
    let by_run = |title, label, value, unit| {
        Panel::new(title, Lines, Totals)
            .by("run", RUN, 50)
            .show(label, value, unit)
            .width(4)
    };
    vec![row(
        Tall,
        [
            Panel::new("p99 over time by run", Lines, Requests)
                .by("run", RUN, 50)
                .show("p99", Percentile(LATENCY, 99), Micros)
                .width(4),
            by_run(
                "Requests per second over time by run",
                "requests",
                PerSecond("loadtest.requests.count"),
                Unit::Number,
            ),
            by_run(
                "Share of failed requests over time by run",
                "failed",
                Ratio("loadtest.requests.failed", "loadtest.requests.count"),
                Share,
            ),
        ],
    )]
}
