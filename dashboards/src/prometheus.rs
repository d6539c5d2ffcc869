//! A dashboard of Grafana on the operator's own metrics (docs/metrics.md) in Prometheus.

use serde_json::{Value as Json, json};

use crate::{grafana, panel::Place};

/// A panel: title, the queries with what their lines are called, unit, width of 24.
type Chart = (
    &'static str,
    &'static [(&'static str, &'static str)],
    &'static str,
    u32,
);

/// Rows of panels; a row is 24 wide.
const ROWS: &[&[Chart]] = &[
    &[
        (
            "Acting replicas",
            &[("sum(loadtest_leader)", "acting")],
            "short",
            6,
        ),
        (
            "Runs",
            &[
                ("sum(loadtest_active_runs)", "under way"),
                ("sum(loadtest_queued_runs)", "waiting for others"),
            ],
            "short",
            6,
        ),
        (
            "Ready runners",
            &[("sum(loadtest_active_runners)", "runners")],
            "short",
            6,
        ),
        (
            "Documents not yet in the search server",
            &[("sum(loadtest_records_pending)", "pending")],
            "short",
            6,
        ),
    ],
    &[
        (
            "Finished runs an hour, by verdict",
            &[(
                "sum by (verdict) (increase(loadtest_runs_total[1h]))",
                "{{verdict}}",
            )],
            "short",
            12,
        ),
        (
            "Requests of finished runs an hour",
            &[
                ("sum(increase(loadtest_records_produced_total[1h]))", "made"),
                (
                    "sum(increase(loadtest_records_not_indexed_total[1h]))",
                    "not in the search server",
                ),
            ],
            "short",
            12,
        ),
    ],
    &[
        (
            "From a run's creation to its start",
            &[
                (
                    "histogram_quantile(0.5, sum by (le) (rate(loadtest_start_delay_seconds_bucket[1h])))",
                    "p50",
                ),
                (
                    "histogram_quantile(0.99, sum by (le) (rate(loadtest_start_delay_seconds_bucket[1h])))",
                    "p99",
                ),
            ],
            "s",
            12,
        ),
        (
            "Between the first and the last runner's beginning",
            &[(
                "histogram_quantile(0.99, sum by (le) (rate(loadtest_start_skew_seconds_bucket[1h])))",
                "p99",
            )],
            "s",
            12,
        ),
    ],
    &[
        (
            "Reconciles per second",
            &[(
                "sum by (controller) (rate(loadtest_reconciles_total[$__rate_interval]))",
                "{{controller}}",
            )],
            "ops",
            8,
        ),
        (
            "Failed reconciles per second",
            &[(
                "sum by (controller, class) (rate(loadtest_reconcile_errors_total[$__rate_interval]))",
                "{{controller}}: {{class}}",
            )],
            "ops",
            8,
        ),
        (
            "Length of a reconcile, p99",
            &[(
                "histogram_quantile(0.99, sum by (le, controller) (rate(loadtest_reconcile_duration_seconds_bucket[$__rate_interval])))",
                "{{controller}}",
            )],
            "s",
            8,
        ),
    ],
    &[
        (
            "Runners' reports per second",
            &[
                (
                    "sum(rate(loadtest_reports_total[$__rate_interval]))",
                    "taken",
                ),
                (
                    "sum by (reason) (rate(loadtest_reports_refused_total[$__rate_interval]))",
                    "refused: {{reason}}",
                ),
            ],
            "ops",
            12,
        ),
        (
            "Failed requests about the lease per second",
            &[(
                "sum(rate(loadtest_lease_failures_total[$__rate_interval]))",
                "failed",
            )],
            "ops",
            12,
        ),
    ],
];

/// The file.
pub(crate) fn file() -> String {
    const HEIGHT: u32 = 8;
    let mut panels = Vec::new();
    let mut y = 0;
    for row in ROWS {
        let mut x = 0;
        for chart in *row {
            let width = chart.3;
            let place = Place {
                x,
                y,
                width,
                height: HEIGHT,
            };
            panels.push(panel(panels.len() + 1, chart, place));
            x += width;
        }
        y += HEIGHT;
    }
    let source = json!([{
        "name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus",
        "refresh": 1, "regex": "", "multi": false, "includeAll": false, "hide": 0, "options": [],
    }]);
    grafana::frame(
        "loadtest-operator",
        "Load test: operator",
        "Whether the operator acts, and how its runs end.",
        &source,
        &json!(panels),
    )
}

fn panel(id: usize, (title, queries, unit, _): &Chart, place: Place) -> Json {
    let source = json!({"type": "prometheus", "uid": "${datasource}"});
    let targets: Vec<_> = queries
        .iter()
        .zip('A'..='Z')
        .map(|((expr, legend), letter)| {
            json!({
                "refId": letter.to_string(), "datasource": source, "expr": expr,
                "legendFormat": legend, "range": true, "editorMode": "code",
            })
        })
        .collect();
    json!({
        "id": id,
        "type": "timeseries",
        "title": title,
        "description": "",
        "datasource": source,
        "gridPos": grafana::grid(place),
        "targets": targets,
        "fieldConfig": {"defaults": {"unit": unit, "min": 0, "custom": {
            "drawStyle": "line", "lineWidth": 1, "fillOpacity": 0, "showPoints": "auto",
            "spanNulls": false, "stacking": {"mode": "none", "group": "A"},
        }}, "overrides": []},
        "options": {
            "legend": {"showLegend": true, "displayMode": "list", "placement": "bottom", "calcs": []},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
    })
}
