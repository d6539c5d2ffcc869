//! Kibana's saved objects.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::{
    assert_grid, committed,
    mappings::{Mapping, Use},
};

/// A file's objects, by type and id.
fn objects(text: &str) -> BTreeMap<(String, String), Value> {
    let lines = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let key = |object: &Value| (string(&object["type"]), string(&object["id"]));
    lines.map(|object| (key(&object), object)).collect()
}

fn dashboard(objects: &BTreeMap<(String, String), Value>) -> &Value {
    let mut found = objects.iter().filter(|(key, _)| key.0 == "dashboard");
    found.next().unwrap().1
}

fn string(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("{value} is no text"))
        .to_owned()
}

/// JSON within a text.
fn inner(value: &Value) -> Value {
    serde_json::from_str(value.as_str().unwrap()).unwrap()
}

/// An object's references, by name.
fn references(object: &Value) -> BTreeMap<String, (String, String)> {
    let all = object["references"].as_array().unwrap();
    let references: BTreeMap<_, _> = all
        .iter()
        .map(|one| {
            (
                string(&one["name"]),
                (string(&one["type"]), string(&one["id"])),
            )
        })
        .collect();
    assert_eq!(references.len(), all.len(), "two references of one name");
    references
}

/// The mapping of a data view.
fn mapping(view: &(String, String)) -> Mapping {
    assert_eq!(view.0, "index-pattern");
    Mapping::of(view.1.strip_prefix("loadtest-").unwrap())
}

/// Texts of a list.
fn texts(value: &Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(string).collect()
}

#[test]
fn every_reference_leads_to_an_object_of_the_same_file_and_is_used() {
    let files = committed("kibana");
    assert_eq!(files.len(), 3);
    let mut views: Vec<Vec<Value>> = Vec::new();
    for (file, text) in files {
        let objects = objects(&text);
        assert_eq!(
            objects.len(),
            text.lines().count(),
            "{file}: two objects of one id"
        );
        for object in objects.values() {
            for (name, target) in references(object) {
                assert!(
                    objects.contains_key(&target),
                    "{file}: {name} leads nowhere"
                );
            }
        }
        let dashboard = dashboard(&objects);
        let mut unused = references(dashboard);
        for panel in inner(&dashboard["attributes"]["panelsJSON"])
            .as_array()
            .unwrap()
        {
            let index = string(&panel["panelIndex"]);
            let attributes = &panel["embeddableConfig"]["attributes"];
            match panel["type"].as_str().unwrap() {
                "search" => {
                    let name = format!("{index}:{}", string(&panel["panelRefName"]));
                    assert_eq!(unused.remove(&name).unwrap().0, "search");
                }
                _ => {
                    for (name, target) in references(attributes) {
                        let outer = unused.remove(&format!("{index}:{name}"));
                        assert_eq!(outer.as_ref(), Some(&target), "{file}: {index}");
                    }
                }
            }
        }
        let controls = inner(&dashboard["attributes"]["controlGroupInput"]["panelsJSON"]);
        for id in controls.as_object().unwrap().keys() {
            let name = format!("controlGroup_{id}:optionsListDataView");
            assert!(unused.remove(&name).is_some(), "{file}: {name}");
        }
        assert_eq!(unused, BTreeMap::new(), "{file}");
        let of_views = objects.iter().filter(|(key, _)| key.0 == "index-pattern");
        views.push(of_views.map(|(_, view)| view.clone()).collect());
    }
    // Importing a second file does not change what the first one brought.
    assert!(views.windows(2).all(|two| two[0] == two[1]));
}

#[test]
fn every_field_is_in_the_templates_of_its_data_view() {
    for (_, text) in committed("kibana") {
        for ((kind, id), object) in objects(&text) {
            let attributes = &object["attributes"];
            match kind.as_str() {
                "index-pattern" => {
                    let mapping = Mapping::of(id.strip_prefix("loadtest-").unwrap());
                    assert_eq!(attributes["title"], format!("{id}-*"));
                    mapping.check(attributes["timeFieldName"].as_str().unwrap(), Use::Time);
                    for field in inner(&attributes["fieldFormatMap"])
                        .as_object()
                        .unwrap()
                        .keys()
                    {
                        mapping.check(field, Use::Shown);
                    }
                }
                "search" => search(&object),
                _ => {
                    for panel in inner(&attributes["panelsJSON"]).as_array().unwrap() {
                        if panel["type"] == "lens" {
                            lens(&panel["embeddableConfig"]["attributes"]);
                        }
                    }
                    let references = references(&object);
                    let controls = inner(&attributes["controlGroupInput"]["panelsJSON"]);
                    for (id, control) in controls.as_object().unwrap() {
                        let view = &references[&format!("controlGroup_{id}:optionsListDataView")];
                        let field = string(&control["explicitInput"]["fieldName"]);
                        mapping(view).check(&field, Use::Terms);
                    }
                }
            }
        }
    }
}

fn search(object: &Value) {
    let attributes = &object["attributes"];
    let source = inner(&attributes["kibanaSavedObjectMeta"]["searchSourceJSON"]);
    let mapping = mapping(&references(object)[&string(&source["indexRefName"])]);
    assert_eq!(source["query"]["language"], "lucene");
    mapping.check_query(source["query"]["query"].as_str().unwrap());
    for column in texts(&attributes["columns"]) {
        mapping.check(&column, Use::Shown);
    }
    mapping.check(attributes["sort"][0][0].as_str().unwrap(), Use::Extreme);
}

fn lens(attributes: &Value) {
    let layers = &attributes["state"]["datasourceStates"]["formBased"]["layers"];
    let [(id, layer)] = *layers.as_object().unwrap().iter().collect::<Vec<_>>() else {
        panic!("more than one layer");
    };
    let view = &references(attributes)[&format!("indexpattern-datasource-layer-{id}")];
    let mapping = mapping(view);
    let query = &attributes["state"]["query"];
    assert_eq!(query["language"], "lucene");
    mapping.check_query(query["query"].as_str().unwrap());
    let columns = layer["columns"].as_object().unwrap();
    let order: BTreeSet<_> = texts(&layer["columnOrder"]).into_iter().collect();
    assert_eq!(order, columns.keys().cloned().collect());
    for column in columns.values() {
        check_column(column, &mapping, &order);
    }
    for id in accessors(&attributes["state"]["visualization"]) {
        assert!(order.contains(&id), "no column {id}: {attributes}");
    }
}

fn check_column(column: &Value, mapping: &Mapping, columns: &BTreeSet<String>) {
    let operation = column["operationType"].as_str().unwrap();
    for inner in column["references"].as_array().into_iter().flatten() {
        assert!(columns.contains(inner.as_str().unwrap()), "{column}");
    }
    let bucketed = ["terms", "date_histogram"].contains(&operation);
    assert_eq!(column["isBucketed"], bucketed);
    let usage = match operation {
        "terms" => Use::Terms,
        "date_histogram" => Use::Time,
        "max" | "min" => Use::Extreme,
        "sum" | "average" | "percentile" => Use::Number,
        "formula" | "math" => return,
        "count" => return assert_eq!(column["sourceField"], "___records___"),
        other => panic!("no operation {other}"),
    };
    let field = column["sourceField"].as_str().unwrap();
    mapping.check(field, usage);
    if operation == "terms" {
        assert_eq!(
            column["dataType"] == "number",
            mapping.is_number(field),
            "{field}"
        );
        let order = &column["params"]["orderBy"];
        let by = order["columnId"].as_str();
        assert!(order["type"] == "alphabetical" || columns.contains(by.unwrap()));
    }
}

/// Columns that are shown.
fn accessors(visualization: &Value) -> Vec<String> {
    let mut ids = Vec::new();
    for key in ["metricAccessor", "xAccessor", "splitAccessor", "columnId"] {
        ids.extend(visualization.get(key).map(string));
    }
    for key in ["layers", "columns"] {
        for inner in visualization[key].as_array().into_iter().flatten() {
            ids.extend(accessors(inner));
        }
    }
    ids.extend(
        visualization
            .get("sorting")
            .map(|sorting| string(&sorting["columnId"])),
    );
    ids.extend(
        visualization
            .get("accessors")
            .map(texts)
            .unwrap_or_default(),
    );
    ids
}

#[test]
fn panels_fill_the_grid() {
    for (file, text) in committed("kibana") {
        let objects = objects(&text);
        let dashboard = dashboard(&objects);
        let panels = inner(&dashboard["attributes"]["panelsJSON"]);
        let places: Vec<_> = panels
            .as_array()
            .unwrap()
            .iter()
            .map(|panel| ["x", "y", "w", "h"].map(|key| panel["gridData"][key].as_u64().unwrap()))
            .collect();
        assert_grid(&file, 48, &places);
    }
}
