//! Dashboards of Grafana on its data source for Elasticsearch, whose index is `loadtest-*`.
//!
//! Grafana keeps a query as lists of metrics and groups and makes the request of them. Scripts are
//! the only way there to divide one number by another.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use crate::panel::{
    Choice, Control, Dashboard, List, Metric, Panel, Place, Shape, Terms, Unit, Value,
};

/// Columns of the grid.
const COLUMNS: u32 = 24;

/// Version of the form of dashboards: of Grafana 11; later ones bring it up to date.
pub(crate) const SCHEMA: u32 = 39;

/// Lists of objects within a document. Grafana shows them under their own name, not under their fields'.
const LISTS: [&str; 1] = ["loadtest.thresholds"];

/// The file of a dashboard.
pub(crate) fn file(dashboard: &Dashboard) -> String {
    let clauses = clauses(&dashboard.controls);
    let placed = dashboard.placed(COLUMNS, |height| height.rows().1);
    let panels: Vec<_> = placed
        .into_iter()
        .enumerate()
        .map(|(number, (panel, place))| {
            let query = format!("{}{clauses}", panel.query());
            let mut shown = shown(panel, &query);
            shown["id"] = json!(number + 1);
            shown["title"] = json!(panel.title);
            shown["description"] = json!(panel.about);
            shown["datasource"] = data_source();
            shown["gridPos"] = grid(place);
            shown
        })
        .collect();
    let mut variables = vec![json!({
        "name": "datasource", "label": "Data source", "type": "datasource", "query": "elasticsearch",
        "refresh": 1, "regex": "", "multi": false, "includeAll": false, "hide": 0, "options": [],
    })];
    variables.extend(variables_of(&dashboard.controls));
    frame(
        dashboard.id,
        dashboard.title,
        dashboard.about,
        &json!(variables),
        &json!(panels),
    )
}

/// A dashboard around its panels.
pub(crate) fn frame(id: &str, title: &str, about: &str, variables: &Json, panels: &Json) -> String {
    let dashboard = json!({
        "uid": id,
        "title": title,
        "description": about,
        "tags": ["loadtest"],
        "schemaVersion": SCHEMA,
        "version": 1,
        "editable": true,
        "graphTooltip": 1,
        "timezone": "browser",
        "time": {"from": "now-24h", "to": "now"},
        "refresh": "",
        "annotations": {"list": []},
        "links": [{
            "type": "dashboards", "tags": ["loadtest"], "title": "Load tests", "asDropdown": true,
            "includeVars": true, "keepTime": true, "targetBlank": false, "icon": "external link",
            "tooltip": "", "url": "",
        }],
        "templating": {"list": variables},
        "panels": panels,
    });
    format!("{dashboard:#}\n")
}

/// A place as Grafana writes it.
pub(crate) fn grid(place: Place) -> Json {
    json!({"x": place.x, "y": place.y, "w": place.width, "h": place.height})
}

fn data_source() -> Json {
    json!({"type": "elasticsearch", "uid": "${datasource}"})
}

/// What the controls add to every query. A typed value is taken as it is, so that `*` means all.
fn clauses(controls: &[Control]) -> String {
    controls
        .iter()
        .map(
            |Control {
                 name,
                 field,
                 choice,
                 ..
             }| match choice {
                Choice::List => format!(" AND {field}:${name}"),
                Choice::Text => format!(" AND {field}:${{{name}:raw}}"),
                Choice::AtLeast => format!(" AND {field}:>=${{{name}:raw}}"),
            },
        )
        .collect()
}

fn variables_of(controls: &[Control]) -> Vec<Json> {
    let typed = |control: &Control, value: &str| {
        json!({
            "name": control.name, "label": control.title, "type": "textbox", "hide": 0,
            "query": value, "current": {"text": value, "value": value},
            "options": [{"selected": true, "text": value, "value": value}],
        })
    };
    let listed = |control: &Control, before: &[Control]| {
        let lists: Vec<_> = before
            .iter()
            .filter(|c| c.choice == Choice::List)
            .copied()
            .collect();
        let query = format!("{}{}", control.documents.query(), clauses(&lists));
        let look_up = json!({"find": "terms", "field": control.field, "query": query}).to_string();
        json!({
            "name": control.name, "label": control.title, "type": "query", "hide": 0,
            "datasource": data_source(), "query": look_up,
            "refresh": 2, "sort": 2, "regex": "", "multi": true, "includeAll": true, "allValue": "*",
            "options": [], "current": {"selected": true, "text": ["All"], "value": ["$__all"]},
        })
    };
    let variables = controls.iter().enumerate();
    variables
        .map(|(number, control)| match control.choice {
            Choice::List => listed(control, controls.get(..number).unwrap_or_default()),
            Choice::Text => typed(control, "*"),
            Choice::AtLeast => typed(control, "0"),
        })
        .collect()
}

/// A panel without its place and title.
fn shown(panel: &Panel, query: &str) -> Json {
    match &panel.shape {
        Shape::Lines => chart(panel, query, 0, "none"),
        Shape::Areas => chart(panel, query, 30, "normal"),
        Shape::Number => number(panel, query),
        Shape::Bars => bars(panel, query),
        Shape::Table => table(panel, query),
        Shape::List(list) => documents(list, query),
    }
}

/// Lines over time: a query for each, because only then has each the name that it is given.
fn chart(panel: &Panel, query: &str, fill: u32, stacking: &str) -> Json {
    let several = panel.metrics.len() > 1;
    let targets: Vec<_> = panel
        .metrics
        .iter()
        .enumerate()
        .map(|(number, metric)| {
            let alias = match (panel.by.first(), several) {
                (None, _) => metric.label.to_owned(),
                (Some(terms), false) => format!("{{{{term {}}}}}", terms.field),
                (Some(terms), true) => format!("{{{{term {}}}}} {}", terms.field, metric.label),
            };
            let mut groups = groups(panel);
            groups.push(histogram());
            target(
                number,
                query,
                &alias,
                &metrics(std::slice::from_ref(metric)),
                &groups,
            )
        })
        .collect();
    json!({
        "type": "timeseries",
        "interval": "5s",
        "targets": targets,
        "fieldConfig": {
            "defaults": {
                "unit": unit(panel.metrics.first()),
                "min": 0,
                "custom": {
                    "drawStyle": "line", "lineWidth": 1, "fillOpacity": fill, "showPoints": "auto",
                    "spanNulls": false, "stacking": {"mode": stacking, "group": "A"},
                },
            },
            "overrides": [],
        },
        "options": {
            "legend": {"showLegend": true, "displayMode": "list", "placement": "bottom", "calcs": []},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
    })
}

fn number(panel: &Panel, query: &str) -> Json {
    let calculation = match panel.metrics.first().map(|metric| metric.value) {
        Some(Value::Sum(_) | Value::Count) => "sum",
        Some(Value::Min(_)) => "min",
        _ => "max",
    };
    json!({
        "type": "stat",
        "targets": [target(0, query, panel.title, &metrics(&panel.metrics), &[histogram()])],
        "fieldConfig": {"defaults": {"unit": unit(panel.metrics.first())}, "overrides": []},
        "options": {
            "reduceOptions": {"calcs": [calculation], "fields": "", "values": false},
            "colorMode": "none", "graphMode": "none", "textMode": "value", "justifyMode": "auto",
            "orientation": "auto",
        },
    })
}

fn table(panel: &Panel, query: &str) -> Json {
    let mut table = json!({
        "type": "table",
        "targets": [target(0, query, "", &metrics(&panel.metrics), &groups(panel))],
        "transformations": [organized(panel)],
        "fieldConfig": {"defaults": {}, "overrides": units(panel)},
        "options": {"showHeader": true, "cellHeight": "sm"},
    });
    if let Some(metric) = panel
        .sorted_by()
        .and_then(|number| panel.metrics.get(number))
    {
        table["options"]["sortBy"] = json!([{"displayName": metric.label, "desc": true}]);
    }
    table
}

fn bars(panel: &Panel, query: &str) -> Json {
    let label = panel.by.first().map_or("", |terms| terms.label);
    json!({
        "type": "barchart",
        "targets": [target(0, query, "", &metrics(&panel.metrics), &groups(panel))],
        // A bar's name must be a text.
        "transformations": [organized(panel), {"id": "convertFieldType", "options": {
            "conversions": [{"targetField": label, "destinationType": "string"}], "fields": {},
        }}],
        "fieldConfig": {"defaults": {"unit": unit(panel.metrics.first())}, "overrides": []},
        "options": {
            "orientation": "horizontal", "xField": label, "stacking": "none", "showValue": "auto",
            "legend": {"showLegend": true, "displayMode": "list", "placement": "bottom", "calcs": []},
            "tooltip": {"mode": "single", "sort": "none"},
        },
    })
}

/// Documents: the newest 500, because Grafana cannot ask for another order; the table sorts them.
fn documents(list: &List, query: &str) -> Json {
    let mut columns: Vec<(&str, &str)> = Vec::new();
    for (field, label) in &list.columns {
        let outer = LISTS.iter().find(|outer| {
            field
                .strip_prefix(**outer)
                .is_some_and(|rest| rest.starts_with('.'))
        });
        let column = match outer {
            Some(outer) => (*outer, outer.rsplit('.').next().unwrap_or(outer)),
            None => (*field, *label),
        };
        if !columns.contains(&column) {
            columns.push(column);
        }
    }
    let names: Vec<_> = columns.iter().map(|(field, _)| *field).collect();
    let renamed: BTreeMap<_, _> = columns.iter().copied().collect();
    let order: BTreeMap<_, _> = names
        .iter()
        .enumerate()
        .map(|(at, name)| (*name, at))
        .collect();
    let sort = renamed.get(list.sort).unwrap_or(&list.sort);
    let overrides: Vec<_> = columns
        .iter()
        .filter(|(field, _)| field.ends_with("_us"))
        .map(|(_, label)| unit_of(label, Unit::Micros))
        .collect();
    let raw = json!([{"id": "1", "type": "raw_data", "settings": {"size": "500"}}]);
    json!({
        "type": "table",
        "targets": [target(0, query, "", &raw, &[])],
        "transformations": [
            {"id": "filterFieldsByName", "options": {"include": {"names": names}}},
            {"id": "organize", "options": {
                "excludeByName": {}, "indexByName": order, "renameByName": renamed,
            }},
        ],
        "fieldConfig": {"defaults": {}, "overrides": overrides},
        "options": {
            "showHeader": true, "cellHeight": "sm",
            "sortBy": [{"displayName": sort, "desc": list.descending}],
        },
    })
}

/// A query; `number` 0 is A.
fn target(number: usize, query: &str, alias: &str, metrics: &Json, groups: &[Json]) -> Json {
    let letter = char::from(b'A' + u8::try_from(number).unwrap_or_default());
    json!({
        "refId": letter.to_string(),
        "datasource": data_source(),
        "query": query,
        "alias": alias,
        "timeField": "@timestamp",
        "metrics": metrics,
        "bucketAggs": groups,
    })
}

/// Metrics are numbered from 1, groups from 100: the two share their names in a request.
fn groups(panel: &Panel) -> Vec<Json> {
    let order = panel
        .sorted_by()
        .map(|_| metrics(&panel.metrics)[0]["id"].clone());
    let group = |(number, terms): (usize, &Terms)| {
        let (by, direction) = match &order {
            Some(metric) => (metric.clone(), "desc"),
            None => (json!("_key"), "asc"),
        };
        json!({
            "id": (100 + number).to_string(),
            "type": "terms",
            "field": terms.field,
            "settings": {
                "size": terms.size.to_string(), "order": direction, "orderBy": by, "min_doc_count": "1",
            },
        })
    };
    panel.by.iter().enumerate().map(group).collect()
}

fn histogram() -> Json {
    json!({
        "id": "200",
        "type": "date_histogram",
        "field": "@timestamp",
        "settings": {"interval": "auto", "min_doc_count": "1", "trimEdges": "0"},
    })
}

/// The metrics of a query, with those that scripts compute from.
fn metrics(metrics: &[Metric]) -> Json {
    let mut all: Vec<Json> = Vec::new();
    for metric in metrics {
        let plain = |kind: &str, field: &str| json!({"type": kind, "field": field});
        let added = match metric.value {
            Value::Count => vec![json!({"type": "count"})],
            Value::Sum(field) => vec![plain("sum", field)],
            Value::Average(field) => vec![plain("avg", field)],
            Value::Max(field) => vec![plain("max", field)],
            Value::Min(field) => vec![plain("min", field)],
            Value::Percentile(field, percentile) => vec![json!({
                "type": "percentiles",
                "field": field,
                "settings": {
                    "percents": [percentile.to_string()],
                    "hdr": {"number_of_significant_value_digits": 3},
                },
            })],
            Value::PerSecond(field) => {
                scripted("params.v0 * 1000 / $__interval_ms", &[field], all.len())
            }
            Value::Ratio(part, whole) => {
                scripted("params.v0 / params.v1", &[part, whole], all.len())
            }
        };
        for mut one in added {
            one["id"] = json!((all.len() + 1).to_string());
            all.push(one);
        }
    }
    json!(all)
}

/// Hidden sums and a script over them; `before` metrics have their numbers already.
fn scripted(script: &str, fields: &[&str], before: usize) -> Vec<Json> {
    let mut all: Vec<_> = fields
        .iter()
        .map(|field| json!({"type": "sum", "field": field, "hide": true}))
        .collect();
    let variables: Vec<_> = (0..fields.len())
        .map(|number| {
            let sum = (before + number + 1).to_string();
            json!({"name": format!("v{number}"), "pipelineAgg": sum})
        })
        .collect();
    all.push(json!({
        "type": "bucket_script", "pipelineVariables": variables, "settings": {"script": script},
    }));
    all
}

/// Gives a table's columns their names and hides those that are only computed with.
fn organized(panel: &Panel) -> Json {
    let mut names = BTreeMap::new();
    let mut hidden = BTreeMap::new();
    let mut order: BTreeMap<String, usize> = BTreeMap::new();
    for terms in &panel.by {
        order.insert(terms.field.to_owned(), order.len());
        names.insert(terms.field.to_owned(), terms.label);
    }
    let asked = metrics(&panel.metrics);
    let asked: Vec<&Json> = asked.as_array().into_iter().flatten().collect();
    let mut labels = panel.metrics.iter().map(|metric| metric.label);
    for metric in &asked {
        let column = column(metric, &asked);
        if metric["hide"] == true {
            // A sum may be shown as well, and then there is one column for both.
            hidden.entry(column).or_insert(true);
        } else {
            order.insert(column.clone(), order.len());
            names.insert(column, labels.next().unwrap_or_default());
        }
    }
    hidden.retain(|column, _| !names.contains_key(column));
    json!({"id": "organize", "options": {
        "excludeByName": hidden, "indexByName": order, "renameByName": names,
    }})
}

/// What Grafana calls a metric's column in a table.
fn column(metric: &Json, all: &[&Json]) -> String {
    let kind = metric["type"].as_str().unwrap_or_default();
    let field = metric["field"].as_str().unwrap_or_default();
    let name = match kind {
        "count" => return "Count".to_owned(),
        "percentiles" => {
            let percent = metric["settings"]["percents"][0]
                .as_str()
                .unwrap_or_default();
            return format!("p{percent}.0 {field}");
        }
        "avg" => "Average",
        "max" => "Max",
        "min" => "Min",
        "sum" => "Sum",
        _ => "Bucket Script",
    };
    let alone = all.iter().filter(|other| other["type"] == kind).count() == 1;
    match (alone, kind) {
        (true, _) => name.to_owned(),
        (false, "bucket_script") => metric["settings"]["script"]
            .as_str()
            .unwrap_or_default()
            .to_owned(),
        (false, _) => format!("{name} {field}"),
    }
}

fn units(panel: &Panel) -> Vec<Json> {
    let metrics = panel.metrics.iter();
    metrics
        .map(|metric| unit_of(metric.label, metric.unit))
        .collect()
}

fn unit_of(column: &str, what: Unit) -> Json {
    json!({
        "matcher": {"id": "byName", "options": column},
        "properties": [{"id": "unit", "value": unit_name(what)}],
    })
}

fn unit(metric: Option<&Metric>) -> &'static str {
    metric.map_or("short", |metric| unit_name(metric.unit))
}

fn unit_name(unit: Unit) -> &'static str {
    match unit {
        Unit::Number => "short",
        Unit::Micros => "µs",
        Unit::Share => "percentunit",
        Unit::Moment => "dateTimeAsIso",
    }
}
