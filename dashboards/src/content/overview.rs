//! One run: what was asked for, what came, what it cost, whether it can be believed.

use super::{LATENCY, NAME, RUN, RUNNER, RUNNERS, of_runs, row};
use crate::panel::{
    Dashboard,
    Documents::{Ends, Groups, Names, Requests, Samples, Totals},
    Height::{Low, Middle, Tall},
    List, Panel, Row,
    Shape::{self, Areas, Lines, Number, Table},
    Unit::{self, Micros, Share},
    Value::{Average, Count, Max, Min, PerSecond, Percentile, Ratio, Sum},
};

/// Requests that the status counts.
const LOAD: &str = "loadtest.stage:load";

pub(super) fn dashboard() -> Dashboard {
    Dashboard {
        id: "loadtest-run",
        title: "Load test: run overview",
        about: "What a run came to, over time and by request name, and whether the generator held.",
        controls: of_runs(),
        rows: [
            verdict(),
            load(),
            names(),
            errors(),
            delivery(),
            generator(),
        ]
        .concat(),
    }
}

fn verdict() -> Vec<Row> {
    let number = |title, value, unit| {
        Panel::new(title, Number, Ends)
            .about("Of the chosen runs that have ended.")
            .show(title, value, unit)
            .width(2)
    };
    let thresholds = List {
        columns: vec![
            (RUN, "run"),
            ("loadtest.verdict", "verdict"),
            ("loadtest.thresholds.expr", "threshold"),
            ("loadtest.thresholds.observed", "observed"),
            ("loadtest.thresholds.passed", "held"),
            ("loadtest.message", "message"),
        ],
        sort: "@timestamp",
        descending: true,
    };
    vec![
        row(
            Low,
            [
                number("Requests", Sum("loadtest.requests.count"), Unit::Number),
                number("Rate", Max("loadtest.requests.rate"), Unit::Number),
                number("Failed", Max("loadtest.requests.failed_ratio"), Share),
                number("p95", Max("loadtest.latency.p95_us"), Micros),
                number("p99", Max("loadtest.latency.p99_us"), Micros),
                number(
                    "Delivered load",
                    Min("loadtest.iterations.delivered_ratio"),
                    Share,
                ),
            ],
        ),
        row(
            Middle,
            [Panel::new("Thresholds", Shape::List(thresholds), Ends)
                .about("What was demanded and what was observed, in the same order.")],
        ),
    ]
}

fn load() -> Vec<Row> {
    vec![
        row(
            Tall,
            [
                Panel::new("Iterations per second against the target", Lines, Totals)
                    .about(
                        "Scheduled is the target. Started below it: users or generator were busy.",
                    )
                    .show(
                        "scheduled",
                        PerSecond("loadtest.iterations.scheduled"),
                        Unit::Number,
                    )
                    .show(
                        "started",
                        PerSecond("loadtest.iterations.started"),
                        Unit::Number,
                    )
                    .show(
                        "ended",
                        PerSecond("loadtest.iterations.count"),
                        Unit::Number,
                    )
                    .width(6),
                Panel::new("Requests per second", Lines, Totals)
                    .about("All runners together, with the warm-up.")
                    .show(
                        "requests",
                        PerSecond("loadtest.requests.count"),
                        Unit::Number,
                    )
                    .show(
                        "failed",
                        PerSecond("loadtest.requests.failed"),
                        Unit::Number,
                    )
                    .width(6),
            ],
        ),
        row(
            Tall,
            [
                Panel::new("Latency", Lines, Requests)
                    .about("From the moment a request was due, all runners together.")
                    .show("p50", Percentile(LATENCY, 50), Micros)
                    .show("p95", Percentile(LATENCY, 95), Micros)
                    .show("p99", Percentile(LATENCY, 99), Micros)
                    .width(6),
                Panel::new("Latency of the worst runner and interval", Lines, Totals)
                    .about("Complete also where not every request is a document.")
                    .show("p95", Max("loadtest.latency.p95_us"), Micros)
                    .show("p99", Max("loadtest.latency.p99_us"), Micros)
                    .show("max", Max("loadtest.latency.max_us"), Micros)
                    .width(6),
            ],
        ),
        row(
            Tall,
            [
                Panel::new("Share of failed requests", Lines, Totals)
                    .show(
                        "failed",
                        Ratio("loadtest.requests.failed", "loadtest.requests.count"),
                        Share,
                    )
                    .width(4),
                Panel::new("Users", Areas, Totals)
                    .about("Active users of each runner.")
                    .by("runner", RUNNER, RUNNERS)
                    .show("users", Average("loadtest.users.active"), Unit::Number)
                    .width(4),
                Panel::new("Answers per second by status", Areas, Totals)
                    .show("2xx", PerSecond("loadtest.status.c2xx"), Unit::Number)
                    .show("3xx", PerSecond("loadtest.status.c3xx"), Unit::Number)
                    .show("4xx", PerSecond("loadtest.status.c4xx"), Unit::Number)
                    .show("5xx", PerSecond("loadtest.status.c5xx"), Unit::Number)
                    .show("no answer", PerSecond("loadtest.status.none"), Unit::Number)
                    .width(4),
            ],
        ),
    ]
}

fn names() -> Vec<Row> {
    vec![
        row(
            Tall,
            [
                Panel::new("By request name", Table, Names)
                    .about("Without the warm-up, as in the status. p99: of the worst runner and interval.")
                    .only(LOAD)
                    .by("scenario", "loadtest.scenario.name", 50)
                    .by("request", NAME, 200)
                    .show("requests", Sum("loadtest.requests.count"), Unit::Number)
                    .show("failed", Sum("loadtest.requests.failed"), Unit::Number)
                    .show(
                        "share failed",
                        Ratio("loadtest.requests.failed", "loadtest.requests.count"),
                        Share,
                    )
                    .show("worst p99", Max("loadtest.latency.p99_us"), Micros)
                    .show("max", Max("loadtest.latency.max_us"), Micros)
                    .width(6),
                Panel::new("Latency by request name", Table, Requests)
                    .about("Percentiles of all documents together, without the warm-up.")
                    .only(LOAD)
                    .by("request", NAME, 200)
                    .show("documents", Count, Unit::Number)
                    .show("p50", Percentile(LATENCY, 50), Micros)
                    .show("p95", Percentile(LATENCY, 95), Micros)
                    .show("p99", Percentile(LATENCY, 99), Micros)
                    .show("max", Max(LATENCY), Micros)
                    .width(6),
            ],
        ),
        row(
            Middle,
            [Panel::new("Groups", Table, Groups)
                .about("Empty without groups. p95: of the worst runner and interval.")
                .only(LOAD)
                .by("scenario", "loadtest.scenario.name", 50)
                .by("group", "loadtest.group.name", 200)
                .show("passes", Sum("loadtest.group.count"), Unit::Number)
                .show("failed", Sum("loadtest.group.failed"), Unit::Number)
                .show("worst p95", Max("loadtest.group.duration.p95_us"), Micros)
                .show("max", Max("loadtest.group.duration.max_us"), Micros)],
        ),
    ]
}

fn errors() -> Vec<Row> {
    let samples = List {
        columns: vec![
            ("@timestamp", "sent"),
            (NAME, "request"),
            ("error.message", "error"),
            ("http.response.status_code", "status"),
            ("http.response.body.content", "what the server said"),
            ("url.full", "url"),
            ("trace.id", "trace"),
        ],
        sort: "@timestamp",
        descending: true,
    };
    let kinds = row(
        Tall,
        [
            Panel::new("Errors", Table, Requests)
                .only("event.outcome:failure")
                .by("type", "error.type", 20)
                .by("message", "error.message", 20)
                .by("request", NAME, 20)
                .show("documents", Count, Unit::Number)
                .width(6),
            Panel::new("Errors over time", Areas, Requests)
                .about("Documents for each interval of the chart, by type.")
                .only("event.outcome:failure")
                .by("type", "error.type", 20)
                .show("documents", Count, Unit::Number)
                .width(4),
            Panel::new("Failed checks", Table, Requests)
                .only("_exists_:loadtest.check.failed_names")
                .by("check", "loadtest.check.failed_names", 50)
                .show("documents", Count, Unit::Number)
                .width(2),
        ],
    );
    let said = Panel::new("What failed answers said", Shape::List(samples), Samples)
        .about("The first few of each kind of failure; secrets are replaced.");
    vec![kinds, row(Tall, [said])]
}

fn delivery() -> Vec<Row> {
    vec![row(
        Middle,
        [
            Panel::new("Documents not yet in the search server", Areas, Totals)
                .about("How far each runner's export is behind.")
                .by("runner", RUNNER, RUNNERS)
                .show("pending", Max("loadtest.export.pending"), Unit::Number)
                .width(4),
            Panel::new("Documents", Table, Totals)
                .about("As far as each runner's last interval knew; the status has the last word.")
                .by("run", RUN, 50)
                .by("runner", RUNNER, RUNNERS)
                .show("produced", Max("loadtest.export.produced"), Unit::Number)
                .show("indexed", Max("loadtest.export.indexed"), Unit::Number)
                .show("rejected", Max("loadtest.export.rejected"), Unit::Number)
                .show(
                    "sampled out",
                    Max("loadtest.export.sampled_out"),
                    Unit::Number,
                )
                .show("dropped", Max("loadtest.export.dropped"), Unit::Number)
                .show("lost", Max("loadtest.export.lost"), Unit::Number)
                .show("retries", Max("loadtest.export.retries"), Unit::Number)
                .width(8),
        ],
    )]
}

fn generator() -> Vec<Row> {
    let by_runner = |title, label, value, unit| {
        Panel::new(title, Lines, Totals)
            .by("runner", RUNNER, RUNNERS)
            .show(label, value, unit)
            .width(3)
    };
    vec![row(
        Middle,
        [
            by_runner(
                "Generator: busiest CPU",
                "CPU",
                Max("loadtest.process.cpu_max_ratio"),
                Share,
            )
            .about("Near 100 % latency is partly the generator's own."),
            by_runner(
                "Generator: worst lag",
                "lag",
                Max("loadtest.process.worst_lag_us"),
                Micros,
            ),
            by_runner(
                "Generator: throttled",
                "throttled",
                Max("loadtest.process.throttled_us"),
                Micros,
            ),
            Panel::new("Late iterations per second", Lines, Totals)
                .about("Late by the generator counts against the run's credibility.")
                .show(
                    "by the generator",
                    PerSecond("loadtest.iterations.late_by_generator"),
                    Unit::Number,
                )
                .show(
                    "by the target",
                    PerSecond("loadtest.iterations.late_by_target"),
                    Unit::Number,
                )
                .width(3),
        ],
    )]
}
