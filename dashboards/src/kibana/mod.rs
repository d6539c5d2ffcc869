//! Saved objects of Kibana: data views, saved searches and a dashboard in one file that can be imported.
//!
//! Panels are Lens panels by value, so that a dashboard is one object. Objects carry the versions of
//! Kibana 8.9: every later one brings them up to date on import, and none before it takes them.

mod lens;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value as Json, json};

use crate::panel::{Choice, Dashboard, Documents, List, Panel, Place, Shape};

/// Columns of the grid.
const COLUMNS: u32 = 48;

/// Version of the form of all objects.
const CORE: &str = "8.8.0";

/// One kind of documents of each stream, the others share its data view.
const STREAMS: [(Documents, &str); 3] = [
    (Documents::Requests, "Load tests: requests"),
    (Documents::Totals, "Load tests: metrics"),
    (Documents::Ends, "Load tests: runs"),
];

/// The file of a dashboard. Data views are the same in all files, so they know the fields of `all`.
pub(crate) fn file(dashboard: &Dashboard, all: &[Dashboard]) -> String {
    let mut objects: Vec<Json> = STREAMS
        .iter()
        .map(|(documents, title)| data_view(*documents, title, all))
        .collect();
    let mut panels = Vec::new();
    let mut references = Vec::new();
    let placed = dashboard.placed(COLUMNS, |height| height.rows().0);
    for (number, (panel, place)) in placed.into_iter().enumerate() {
        let index = format!("panel-{}", number + 1);
        if let Shape::List(list) = &panel.shape {
            let search = saved_search(&format!("{}-{index}", dashboard.id), panel, list);
            references.push(json!({
                "type": "search", "id": search["id"], "name": format!("{index}:panel_{index}"),
            }));
            objects.push(search);
            let mut frame = frame(panel, place, &index, "search");
            frame["panelRefName"] = json!(format!("panel_{index}"));
            panels.push(frame);
        } else {
            let attributes = lens::attributes(panel);
            for reference in attributes["references"].as_array().into_iter().flatten() {
                let name = reference["name"].as_str().unwrap_or_default();
                references.push(json!({
                    "type": reference["type"], "id": reference["id"], "name": format!("{index}:{name}"),
                }));
            }
            let mut frame = frame(panel, place, &index, "lens");
            frame["embeddableConfig"]["attributes"] = attributes;
            panels.push(frame);
        }
    }
    let controls = controls(dashboard, &mut references);
    objects.push(object(
        "dashboard",
        dashboard.id,
        "8.9.0",
        &json!({
            "title": dashboard.title,
            "description": dashboard.about,
            "kibanaSavedObjectMeta": {"searchSourceJSON": json!({
                "query": {"query": "", "language": "kuery"}, "filter": [],
            }).to_string()},
            "optionsJSON": json!({
                "useMargins": true, "syncColors": false, "syncCursor": true, "syncTooltips": false,
                "hidePanelTitles": false,
            }).to_string(),
            "panelsJSON": json!(panels).to_string(),
            "controlGroupInput": controls,
            "timeRestore": true,
            "timeFrom": "now-24h",
            "timeTo": "now",
        }),
        &json!(references),
    ));
    let lines: Vec<_> = objects.iter().map(Json::to_string).collect();
    format!("{}\n", lines.join("\n"))
}

/// Id of the data view of a kind of documents.
fn data_view_id(documents: Documents) -> String {
    format!("loadtest-{}", documents.stream())
}

fn object(kind: &str, id: &str, version: &str, attributes: &Json, references: &Json) -> Json {
    json!({
        "type": kind,
        "id": id,
        "coreMigrationVersion": CORE,
        "typeMigrationVersion": version,
        "attributes": attributes,
        "references": references,
    })
}

fn data_view(documents: Documents, title: &str, all: &[Dashboard]) -> Json {
    let panels = all.iter().flat_map(|dashboard| &dashboard.rows);
    let fields: BTreeSet<_> = panels
        .flat_map(|row| &row.panels)
        .filter(|panel| panel.documents.stream() == documents.stream())
        .flat_map(Panel::fields)
        .collect();
    let formats: BTreeMap<_, _> = fields
        .into_iter()
        .filter_map(|field| Some((field, format_of(field)?)))
        .collect();
    let id = data_view_id(documents);
    object(
        "index-pattern",
        &id,
        "8.0.0",
        &json!({
            "title": format!("{id}-*"),
            "name": title,
            "timeFieldName": "@timestamp",
            "fieldFormatMap": json!(formats).to_string(),
        }),
        &json!([]),
    )
}

/// How values of a field are shown: its name says what they are.
fn format_of(field: &str) -> Option<Json> {
    if field.ends_with("_us") {
        let params = json!({
            "inputFormat": "microseconds", "outputFormat": "asMilliseconds", "outputPrecision": 2,
            "showSuffix": true, "useShortSuffix": true,
        });
        Some(json!({"id": "duration", "params": params}))
    } else if field.ends_with("ratio") {
        Some(json!({"id": "percent", "params": {"pattern": "0,0.[00]%"}}))
    } else {
        None
    }
}

/// A panel of the dashboard.
fn frame(panel: &Panel, place: Place, index: &str, kind: &str) -> Json {
    json!({
        "type": kind,
        "title": panel.title,
        "panelIndex": index,
        "gridData": {
            "x": place.x, "y": place.y, "w": place.width, "h": place.height, "i": index,
        },
        "embeddableConfig": {"description": panel.about, "enhancements": {}},
    })
}

fn saved_search(id: &str, panel: &Panel, list: &List) -> Json {
    let columns: Vec<_> = list
        .columns
        .iter()
        .map(|(field, _)| *field)
        .filter(|field| *field != "@timestamp") // Discover has its own column for it
        .collect();
    let reference = "kibanaSavedObjectMeta.searchSourceJSON.index";
    let source = json!({
        "query": {"query": panel.query(), "language": "lucene"},
        "filter": [],
        "indexRefName": reference,
    });
    object(
        "search",
        id,
        "8.0.0",
        &json!({
            "title": format!("Load test: {}", panel.title.to_lowercase()),
            "description": panel.about,
            "columns": columns,
            "sort": [[list.sort, if list.descending { "desc" } else { "asc" }]],
            "hideChart": true,
            "grid": {},
            "kibanaSavedObjectMeta": {"searchSourceJSON": source.to_string()},
        }),
        &json!([{
            "type": "index-pattern", "id": data_view_id(panel.documents), "name": reference,
        }]),
    )
}

/// The lists at the top. A chosen value filters every panel, whatever its data view.
fn controls(dashboard: &Dashboard, references: &mut Vec<Json>) -> Json {
    let mut panels = BTreeMap::new();
    let lists = dashboard
        .controls
        .iter()
        .filter(|control| control.choice != Choice::AtLeast);
    for (order, control) in lists.enumerate() {
        references.push(json!({
            "type": "index-pattern",
            "id": data_view_id(control.documents),
            "name": format!("controlGroup_{}:optionsListDataView", control.name),
        }));
        panels.insert(
            control.name,
            json!({
                "type": "optionsListControl",
                "order": order,
                "grow": true,
                "width": "medium",
                "explicitInput": {
                    "id": control.name,
                    "fieldName": control.field,
                    "title": control.title,
                    "selectedOptions": [],
                    "enhancements": {},
                },
            }),
        );
    }
    json!({
        "controlStyle": "oneLine",
        "chainingSystem": "HIERARCHICAL",
        "ignoreParentSettingsJSON": json!({
            "ignoreFilters": false, "ignoreQuery": false, "ignoreTimerange": false,
            "ignoreValidations": false,
        }).to_string(),
        "panelsJSON": json!(panels).to_string(),
    })
}
