//! What a panel is in Lens.

use serde_json::{Map, Value as Json, json};

use super::data_view_id;
use crate::panel::{Metric, Panel, Shape, Terms, Unit, Value};

/// The one layer of each panel.
const LAYER: &str = "layer";

/// A column's id and what it is, in the order in which Lens nests and shows them.
type Columns = Vec<(String, Json)>;

/// The attributes of a Lens visualization.
pub(super) fn attributes(panel: &Panel) -> Json {
    let mut columns = Columns::new();
    for (number, terms) in panel.by.iter().enumerate() {
        columns.push((group_id(number), group(panel, *terms)));
    }
    if over_time(panel) {
        columns.push((TIME.to_owned(), time()));
    }
    for (number, metric) in panel.metrics.iter().enumerate() {
        metric_columns(&metric_id(number), metric, &mut columns);
    }
    let order: Vec<_> = columns.iter().map(|(id, _)| id.clone()).collect();
    let columns: Map<_, _> = columns.into_iter().collect();
    json!({
        "title": "",
        "type": "lens",
        "visualizationType": visualization_type(panel),
        "references": [{
            "type": "index-pattern",
            "id": data_view_id(panel.documents),
            "name": format!("indexpattern-datasource-layer-{LAYER}"),
        }],
        "state": {
            "query": {"query": panel.query(), "language": "lucene"},
            "filters": [],
            "internalReferences": [],
            "adHocDataViews": {},
            "datasourceStates": {"formBased": {"layers": {LAYER: {
                "columnOrder": order,
                "columns": columns,
                "incompleteColumns": {},
                "sampling": 1,
            }}}},
            "visualization": visualization(panel),
        },
    })
}

const TIME: &str = "time";

fn group_id(number: usize) -> String {
    format!("by-{number}")
}

fn metric_id(number: usize) -> String {
    format!("metric-{number}")
}

fn over_time(panel: &Panel) -> bool {
    matches!(panel.shape, Shape::Lines | Shape::Areas)
}

fn time() -> Json {
    json!({
        "label": "@timestamp",
        "dataType": "date",
        "operationType": "date_histogram",
        "sourceField": "@timestamp",
        "isBucketed": true,
        "scale": "interval",
        "params": {"interval": "auto", "includeEmptyRows": true, "dropPartials": false},
    })
}

fn group(panel: &Panel, terms: Terms) -> Json {
    let order = panel.sorted_by().map_or_else(
        || json!({"type": "alphabetical", "fallback": true}),
        |metric| json!({"type": "column", "columnId": metric_id(metric)}),
    );
    let direction = match panel.sorted_by() {
        Some(_) => "desc",
        None => "asc",
    };
    json!({
        "label": terms.label,
        "customLabel": true,
        "dataType": if terms.is_number() { "number" } else { "string" },
        "operationType": "terms",
        "sourceField": terms.field,
        "isBucketed": true,
        "scale": "ordinal",
        "params": {
            "size": terms.size,
            "orderBy": order,
            "orderDirection": direction,
            "otherBucket": false,
            "missingBucket": false,
            "parentFormat": {"id": "terms"},
            "include": [],
            "exclude": [],
            "includeIsRegex": false,
            "excludeIsRegex": false,
        },
    })
}

/// The column of a metric, and those that a formula is computed from.
fn metric_columns(id: &str, metric: &Metric, columns: &mut Columns) {
    let column = |operation: &str, field: &str, params: Json| {
        json!({
            "label": metric.label,
            "customLabel": true,
            "dataType": if metric.unit == Unit::Moment { "date" } else { "number" },
            "operationType": operation,
            "sourceField": field,
            "isBucketed": false,
            "scale": "ratio",
            "params": params,
        })
    };
    let single = match metric.value {
        Value::Count => column("count", "___records___", json!({"emptyAsNull": true})),
        Value::Sum(field) => column("sum", field, json!({"emptyAsNull": true})),
        Value::Average(field) => column("average", field, json!({})),
        Value::Max(field) => column("max", field, json!({})),
        Value::Min(field) => column("min", field, json!({})),
        Value::Percentile(field, percentile) => {
            column("percentile", field, json!({"percentile": percentile}))
        }
        Value::PerSecond(field) => {
            let mut sum = column("sum", field, json!({"emptyAsNull": true}));
            sum["timeScale"] = json!("s");
            sum
        }
        Value::Ratio(part, whole) => return ratio(id, metric.label, part, whole, columns),
    };
    columns.push((id.to_owned(), single));
}

/// A formula as Lens keeps it: the text, the tree, and a column for each function in it.
fn ratio(id: &str, label: &str, part: &str, whole: &str, columns: &mut Columns) {
    let formula = format!("sum({part}) / sum({whole})");
    let column = |operation: &str, label: &str| {
        json!({
            "label": label,
            "customLabel": true,
            "dataType": "number",
            "operationType": operation,
            "isBucketed": false,
            "scale": "ratio",
        })
    };
    let [first, second, math] = [0, 1, 2].map(|number| format!("{id}X{number}"));
    let mut whole_formula = column("formula", label);
    whole_formula["references"] = json!([math]);
    whole_formula["params"] = json!({
        "formula": formula,
        "isFormulaBroken": false,
        "format": {"id": "percent", "params": {"decimals": 2}},
    });
    columns.push((id.to_owned(), whole_formula));
    let inner = format!("Part of {label}");
    for (id, field) in [(&first, part), (&second, whole)] {
        let mut sum = column("sum", &inner);
        sum["sourceField"] = json!(field);
        sum["params"] = json!({"emptyAsNull": false});
        columns.push((id.clone(), sum));
    }
    let mut tree = column("math", &inner);
    tree["references"] = json!([first, second]);
    tree["params"] = json!({"tinymathAst": {
        "type": "function",
        "name": "divide",
        "args": [first, second],
        "location": {"min": 0, "max": formula.len()},
        "text": formula,
    }});
    columns.push((math, tree));
}

fn visualization_type(panel: &Panel) -> &'static str {
    match panel.shape {
        Shape::Number => "lnsMetric",
        Shape::Lines | Shape::Areas | Shape::Bars => "lnsXY",
        Shape::Table | Shape::List(_) => "lnsDatatable",
    }
}

fn visualization(panel: &Panel) -> Json {
    let metrics: Vec<_> = (0..panel.metrics.len()).map(metric_id).collect();
    match panel.shape {
        Shape::Number => json!({
            "layerId": LAYER, "layerType": "data", "metricAccessor": metric_id(0),
        }),
        Shape::Lines => xy(panel, "line", &metrics),
        Shape::Areas => xy(panel, "area_stacked", &metrics),
        Shape::Bars => xy(panel, "bar_horizontal", &metrics),
        Shape::Table | Shape::List(_) => {
            let groups = (0..panel.by.len()).map(group_id);
            let columns: Vec<_> = groups
                .chain(metrics)
                .map(|id| json!({"columnId": id}))
                .collect();
            let mut table = json!({
                "layerId": LAYER,
                "layerType": "data",
                "columns": columns,
                "paging": {"enabled": true, "size": 20},
            });
            if let Some(metric) = panel.sorted_by() {
                table["sorting"] = json!({"columnId": metric_id(metric), "direction": "desc"});
            }
            table
        }
    }
}

fn xy(panel: &Panel, kind: &str, metrics: &[String]) -> Json {
    let mut layer = json!({
        "layerId": LAYER,
        "layerType": "data",
        "seriesType": kind,
        "position": "top",
        "showGridlines": false,
        "accessors": metrics,
        "xAccessor": if over_time(panel) { TIME.to_owned() } else { group_id(0) },
    });
    if over_time(panel) && !panel.by.is_empty() {
        layer["splitAccessor"] = json!(group_id(0));
    }
    json!({
        "legend": {"isVisible": true, "position": "bottom"},
        "valueLabels": "hide",
        "fittingFunction": "None",
        "preferredSeriesType": kind,
        "axisTitlesVisibilitySettings": {"x": false, "yLeft": false, "yRight": false},
        "layers": [layer],
    })
}
