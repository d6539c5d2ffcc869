//! Single requests: which were slow or failed, where did their time go, what else did the iteration do?

use super::{LATENCY, NAME, RUNNER, RUNNERS, of_runs, row};
use crate::panel::{
    Choice, Control, Dashboard,
    Documents::Requests,
    Height::{Middle, Tall},
    List, Panel, Row,
    Shape::{self, Areas, Bars, Lines, Table},
    Unit::{Micros, Number},
    Value::{Average, Count, Max, Percentile},
};

const OUTCOME: &str = "loadtest.request.outcome";

/// Parts of a request's time, in their order. DNS, connect and TLS are there for new connections only.
const PHASES: [(&str, &str); 7] = [
    ("late", "loadtest.request.time.scheduled_delay_us"),
    ("DNS", "loadtest.request.time.dns_us"),
    ("connect", "loadtest.request.time.connect_us"),
    ("TLS", "loadtest.request.time.tls_us"),
    ("send", "loadtest.request.time.send_us"),
    ("wait", "loadtest.request.time.wait_us"),
    ("receive", "loadtest.request.time.receive_us"),
];

pub(super) fn dashboard() -> Dashboard {
    let control = |name, title, field, choice| Control {
        name,
        title,
        field,
        documents: Requests,
        choice,
    };
    let mut controls = of_runs();
    controls.extend([
        control("request", "Request", NAME, Choice::List),
        control("outcome", "Outcome", OUTCOME, Choice::List),
        control("trace", "Trace", "trace.id", Choice::Text),
        control("slower", "At least µs", LATENCY, Choice::AtLeast),
    ]);
    Dashboard {
        id: "loadtest-requests",
        title: "Load test: requests",
        about: "Single requests: the slowest, the failed, those of one trace, and where their time went.",
        controls,
        rows: [over_time(), slices(), documents()].concat(),
    }
}

fn phases(panel: Panel) -> Panel {
    let show = |panel: Panel, (label, field)| panel.show(label, Average(field), Micros);
    PHASES.into_iter().fold(panel, show)
}

fn over_time() -> Vec<Row> {
    vec![
        row(
            Tall,
            [
                Panel::new("Requests by outcome", Areas, Requests)
                    .about("Documents for each interval of the chart.")
                    .by("outcome", OUTCOME, 20)
                    .show("documents", Count, Number)
                    .width(4),
                Panel::new("Latency", Lines, Requests)
                    .about("From the moment a request was due.")
                    .show("p50", Percentile(LATENCY, 50), Micros)
                    .show("p99", Percentile(LATENCY, 99), Micros)
                    .show("max", Max(LATENCY), Micros)
                    .width(4),
                phases(Panel::new("Where the time went", Areas, Requests))
                    .about("Means. DNS, connect and TLS: of requests with a new connection.")
                    .width(4),
            ],
        ),
        row(
            Tall,
            [phases(
                Panel::new("Where the time went, by request name", Table, Requests)
                    .by("request", NAME, 200)
                    .show("documents", Count, Number),
            )
            .about("Means. DNS, connect and TLS: of requests with a new connection.")],
        ),
    ]
}

fn slices() -> Vec<Row> {
    vec![row(
        Middle,
        [
            Panel::new("By outcome", Bars, Requests)
                .by("outcome", OUTCOME, 20)
                .show("documents", Count, Number)
                .width(3),
            Panel::new("By status", Bars, Requests)
                .about("Without those that had no answer.")
                .by("status", "http.response.status_code", 50)
                .show("documents", Count, Number)
                .width(3),
            Panel::new("By runner", Table, Requests)
                .about("A runner that stands out has a problem of its own.")
                .by("runner", RUNNER, RUNNERS)
                .show("documents", Count, Number)
                .show("p50", Percentile(LATENCY, 50), Micros)
                .show("p99", Percentile(LATENCY, 99), Micros)
                .show("max", Max(LATENCY), Micros)
                .width(6),
        ],
    )]
}

fn documents() -> Vec<Row> {
    let columns = || {
        vec![
            ("@timestamp", "sent"),
            (NAME, "request"),
            (OUTCOME, "outcome"),
            ("http.response.status_code", "status"),
            (LATENCY, "latency"),
            ("loadtest.request.time.total_us", "since sent"),
            ("loadtest.request.time.wait_us", "wait"),
            ("error.message", "error"),
            (RUNNER, "runner"),
            ("trace.id", "trace"),
        ]
    };
    let list = |title, sort, descending| {
        let columns = columns();
        let shape = Shape::List(List {
            columns,
            sort,
            descending,
        });
        Panel::new(title, shape, Requests)
    };
    vec![
        row(
            Tall,
            [list("Slowest requests", LATENCY, true)
                .about("Filter for a trace to see all requests of its iteration.")],
        ),
        row(
            Tall,
            [list("Requests in their order", "@timestamp", false)
                .about("With a trace chosen: what that iteration of that user did.")],
        ),
    ]
}
