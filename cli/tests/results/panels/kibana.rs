//! What Kibana's Lens and saved searches ask for a panel.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{Answer, Asked, STEP, always, file, rows, value};

/// Panels by title: Lens attributes, or the saved search.
pub fn panels(dashboard: &str) -> Vec<(String, Value)> {
    let text = file(&format!("kibana/{dashboard}.ndjson"));
    let objects: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let dashboard = objects
        .iter()
        .find(|object| object["type"] == "dashboard")
        .unwrap();
    let panels = inner(&dashboard["attributes"]["panelsJSON"]);
    let references = dashboard["references"].as_array().unwrap();
    let panels = panels.as_array().unwrap().iter().map(|panel| {
        let attributes = &panel["embeddableConfig"]["attributes"];
        let shown = if panel["type"] == "lens" {
            attributes.clone()
        } else {
            let index = panel["panelIndex"].as_str().unwrap();
            let name = format!("{index}:{}", panel["panelRefName"].as_str().unwrap());
            let reference = references
                .iter()
                .find(|one| one["name"] == name.as_str())
                .unwrap();
            objects
                .iter()
                .find(|object| object["id"] == reference["id"])
                .unwrap()
                .clone()
        };
        (panel["title"].as_str().unwrap().to_owned(), shown)
    });
    panels.collect()
}

fn inner(value: &Value) -> Value {
    serde_json::from_str(value.as_str().unwrap()).unwrap()
}

pub fn ask(asked: &Asked<'_>, panel: &Value) -> Answer {
    let view = panel["references"][0]["id"].as_str().unwrap();
    let path = format!("{view}-*/_search");
    if panel["type"] == "search" {
        let source = inner(&panel["attributes"]["kibanaSavedObjectMeta"]["searchSourceJSON"]);
        let sort = &panel["attributes"]["sort"][0];
        let request = json!({
            "size": 500,
            "query": query(asked, &source["query"]),
            "sort": [{sort[0].as_str().unwrap(): {"order": sort[1], "unmapped_type": "boolean"}}],
        });
        let response = asked.server.post(&path, &request);
        let hits = response["hits"]["hits"].as_array().unwrap().iter();
        let documents = hits.map(|hit| hit["_source"].clone()).collect();
        return Answer {
            documents,
            ..Answer::default()
        };
    }
    let state = &panel["state"];
    let layer = &state["datasourceStates"]["formBased"]["layers"]["layer"];
    let order: Vec<_> = layer["columnOrder"].as_array().unwrap().iter().collect();
    let order: Vec<_> = order
        .iter()
        .map(|id| id.as_str().unwrap().to_owned())
        .collect();
    let columns = &layer["columns"];
    let (groups, metrics): (Vec<_>, Vec<_>) = order
        .into_iter()
        .partition(|id| columns[id]["isBucketed"] == true);
    let mut aggregations = metric_aggregations(columns, &metrics);
    for id in groups.iter().rev() {
        let group = grouped(&columns[id], aggregations, columns);
        aggregations = [(id.clone(), group)].into_iter().collect();
    }
    let request = json!({"size": 0, "query": query(asked, &state["query"]), "aggs": aggregations});
    let response = asked.server.post(&path, &request);
    let mut found = response["aggregations"].clone();
    found["doc_count"] = response["hits"]["total"]["value"].clone();
    let each = |bucket: &Value| shown(columns, &metrics, bucket);
    Answer {
        rows: rows(&found, &groups, "time", &each),
        estimated: true,
        ..Answer::default()
    }
}

/// The panel's query, the time, and a filter for each choice in the controls.
fn query(asked: &Asked<'_>, query: &Value) -> Value {
    assert_eq!(query["language"], "lucene");
    let mut filter = vec![
        json!({"query_string": {"query": query["query"], "analyze_wildcard": true}}),
        always(),
        json!({"terms": {"loadtest.run.name": asked.runs}}),
    ];
    if let Some(trace) = &asked.trace {
        filter.push(json!({"match_phrase": {"trace.id": trace}}));
    }
    json!({"bool": {"filter": filter}})
}

fn metric_aggregations(columns: &Value, ids: &[String]) -> Map<String, Value> {
    let mut all = Map::new();
    for id in ids {
        let column = &columns[id];
        let field = &column["sourceField"];
        let aggregation = match column["operationType"].as_str().unwrap() {
            "count" | "formula" | "math" => continue,
            "average" => json!({"avg": {"field": field}}),
            "percentile" => {
                json!({"percentiles": {"field": field, "percents": [column["params"]["percentile"]]}})
            }
            operation => json!({operation: {"field": field}}),
        };
        all.insert(id.clone(), aggregation);
    }
    all
}

fn grouped(column: &Value, mut inner: Map<String, Value>, columns: &Value) -> Value {
    let field = &column["sourceField"];
    let params = &column["params"];
    if column["operationType"] == "date_histogram" {
        assert_eq!(params["interval"], "auto");
        return json!({"date_histogram": {
            "field": field, "fixed_interval": format!("{STEP}ms"), "min_doc_count": 1,
        }, "aggs": inner});
    }
    let by = params["orderBy"]["columnId"].as_str();
    let order = match by.map(|id| (id, columns[id]["operationType"].as_str().unwrap())) {
        None => "_key",
        Some((_, "count")) => "_count",
        Some((id, _)) => {
            inner.extend(metric_aggregations(columns, &[id.to_owned()]));
            id
        }
    };
    json!({"terms": {
        "field": field, "size": params["size"], "order": {order: params["orderDirection"]},
    }, "aggs": inner})
}

fn shown(columns: &Value, ids: &[String], bucket: &Value) -> BTreeMap<String, f64> {
    let number = |id: &String| value(bucket, id, columns[id]["operationType"].as_str().unwrap());
    let mut values = BTreeMap::new();
    for id in ids.iter().filter(|id| !id.contains('X')) {
        let column = &columns[id];
        let found = match column["operationType"].as_str().unwrap() {
            "formula" => {
                let [part, whole] = [0, 1].map(|at| number(&format!("{id}X{at}")).unwrap());
                assert!(
                    column["params"]["formula"]
                        .as_str()
                        .unwrap()
                        .contains(") / sum(")
                );
                (whole > 0.0).then(|| part / whole)
            }
            _ if column["timeScale"] == "s" => number(id).map(|sum| sum * 1_000.0 / STEP as f64),
            _ => number(id),
        };
        if let Some(found) = found {
            values.insert(column["label"].as_str().unwrap().to_owned(), found);
        }
    }
    values
}
