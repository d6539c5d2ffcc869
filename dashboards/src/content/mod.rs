//! What the dashboards show.

mod compare;
mod overview;
mod requests;

use crate::panel::{Choice, Control, Dashboard, Documents, Height, Panel, Row};

/// Every dashboard on results.
pub fn all() -> Vec<Dashboard> {
    vec![
        overview::dashboard(),
        compare::dashboard(),
        requests::dashboard(),
    ]
}

const LATENCY: &str = "loadtest.request.time.from_schedule_us";
const RUN: &str = "loadtest.run.name";
const NAME: &str = "loadtest.request.name";
const RUNNER: &str = "loadtest.runner.index";

/// Runners with a line of their own. More than that no eye tells apart.
const RUNNERS: u32 = 50;

/// What every dashboard lets choose.
fn of_runs() -> Vec<Control> {
    let list = |name, title, field| Control {
        name,
        title,
        field,
        documents: Documents::Ends,
        choice: Choice::List,
    };
    vec![
        list("namespace", "Namespace", "orchestrator.namespace"),
        list("test", "Test", "loadtest.test.name"),
        list("run", "Run", RUN),
    ]
}

fn row<const N: usize>(height: Height, panels: [Panel; N]) -> Row {
    Row {
        height,
        panels: panels.into(),
    }
}
