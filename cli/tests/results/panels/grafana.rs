//! What Grafana's data source for Elasticsearch asks for a target.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{Answer, Asked, Row, STEP, always, file, rows, value};

/// Panels by title.
pub fn panels(dashboard: &str) -> Vec<(String, Value)> {
    let dashboard: Value =
        serde_json::from_str(&file(&format!("grafana/{dashboard}.json"))).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    panels
        .map(|panel| (text(&panel["title"]), panel.clone()))
        .collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

/// All targets together: in a chart each is a line.
pub fn ask(asked: &Asked<'_>, panel: &Value) -> Answer {
    let mut answer = Answer::default();
    for target in list(&panel["targets"]) {
        let response = asked
            .server
            .post("loadtest-*/_search", &request(asked, target));
        if target["metrics"][0]["type"] == "raw_data" {
            let hits = list(&response["hits"]["hits"]).iter();
            answer.documents = hits.map(|hit| hit["_source"].clone()).collect();
        } else {
            merge(
                &mut answer.rows,
                shown(asked, panel, target, &response["aggregations"]),
            );
        }
    }
    if panel["type"] == "stat" {
        answer.rows = vec![reduced(&panel["options"]["reduceOptions"], &answer.rows)];
    }
    answer
}

/// Puts values of the same group and time into one row.
fn merge(all: &mut Vec<Row>, more: Vec<Row>) {
    for row in more {
        let same = all
            .iter_mut()
            .find(|old| old.keys == row.keys && old.time == row.time);
        match same {
            Some(old) => old.values.extend(row.values),
            None => all.push(row),
        }
    }
}

/// The one number of a panel that shows a number.
fn reduced(options: &Value, rows: &[Row]) -> Row {
    let mut all: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for (name, value) in rows.iter().flat_map(|row| &row.values) {
        all.entry(name.clone()).or_default().push(*value);
    }
    let reduce = |values: Vec<f64>| match options["calcs"][0].as_str().unwrap() {
        "sum" => values.iter().sum(),
        "max" => values.into_iter().fold(f64::MIN, f64::max),
        "min" => values.into_iter().fold(f64::MAX, f64::min),
        other => panic!("{other}"),
    };
    let values = all
        .into_iter()
        .map(|(name, values)| (name, reduce(values)))
        .collect();
    Row {
        values,
        ..Row::default()
    }
}

fn request(asked: &Asked<'_>, target: &Value) -> Value {
    let query = interpolated(asked, target["query"].as_str().unwrap());
    let filter = json!([
        always(),
        {"query_string": {"query": query, "analyze_wildcard": true}},
    ]);
    let mut request = json!({"size": 0, "query": {"bool": {"filter": filter}}});
    if target["metrics"][0]["type"] == "raw_data" {
        let size: u64 = target["metrics"][0]["settings"]["size"]
            .as_str()
            .unwrap()
            .parse()
            .unwrap();
        request["size"] = json!(size);
        request["sort"] = json!([
            {"@timestamp": {"order": "desc", "unmapped_type": "boolean"}}, {"_doc": {"order": "desc"}},
        ]);
        return request;
    }
    let mut aggregations = metrics(asked, target);
    for group in list(&target["bucketAggs"]).iter().rev() {
        aggregations = grouped(group, aggregations, target);
    }
    request["aggs"] = Value::Object(aggregations);
    request
}

/// Variables as Grafana fills them in: one value with Lucene's signs escaped, `allValue` as it is.
fn interpolated(asked: &Asked<'_>, query: &str) -> String {
    let quoted = |name: &String| format!("\"{}\"", name.replace('-', "\\-"));
    let runs = match asked.runs.as_slice() {
        [one] => one.replace('-', "\\-"),
        several => {
            let names: Vec<_> = several.iter().map(quoted).collect();
            format!("({})", names.join(" OR "))
        }
    };
    [
        ("${trace:raw}", asked.trace.as_deref().unwrap_or("*")),
        ("${slower:raw}", "0"),
        ("$namespace", "*"),
        ("$test", "results"),
        ("$request", "*"),
        ("$outcome", "*"),
        ("$run", &runs),
    ]
    .iter()
    .fold(query.to_owned(), |query, (name, value)| {
        query.replace(name, value)
    })
}

fn metrics(asked: &Asked<'_>, target: &Value) -> Map<String, Value> {
    let mut all = Map::new();
    for metric in list(&target["metrics"]) {
        let kind = metric["type"].as_str().unwrap();
        let mut settings = metric["settings"].as_object().cloned().unwrap_or_default();
        match kind {
            "count" => continue,
            "bucket_script" if !asked.scripts => continue,
            "bucket_script" => {
                let script = settings["script"].as_str().unwrap();
                let script = script.replace("$__interval_ms", &STEP.to_string());
                settings.insert("script".into(), json!(script));
                let paths: Map<_, _> = list(&metric["pipelineVariables"])
                    .iter()
                    .map(|one| (text(&one["name"]), one["pipelineAgg"].clone()))
                    .collect();
                settings.insert("buckets_path".into(), json!(paths));
            }
            _ => drop(settings.insert("field".into(), metric["field"].clone())),
        }
        all.insert(text(&metric["id"]), json!({kind: settings}));
    }
    all
}

fn grouped(group: &Value, mut inner: Map<String, Value>, target: &Value) -> Map<String, Value> {
    let settings = &group["settings"];
    let number = |name: &str| settings[name].as_str().unwrap().parse::<u64>().unwrap();
    let field = &group["field"];
    let aggregation = if group["type"] == "terms" {
        let by = settings["orderBy"].as_str().unwrap();
        let of = |metric: &&Value| metric["id"] == by;
        let order = match list(&target["metrics"]).iter().find(of) {
            Some(metric) if metric["type"] == "count" => "_count",
            Some(metric) => {
                let kind = metric["type"].as_str().unwrap();
                inner.insert(by.to_owned(), json!({kind: {"field": metric["field"]}}));
                by
            }
            None => by,
        };
        json!({"terms": {
            "field": field, "size": number("size"), "min_doc_count": number("min_doc_count"),
            "order": {order: settings["order"]},
        }, "aggs": inner})
    } else {
        assert_eq!(settings["interval"], "auto");
        json!({"date_histogram": {
            "field": field, "fixed_interval": format!("{STEP}ms"), "format": "epoch_millis",
            "min_doc_count": number("min_doc_count"),
        }, "aggs": inner})
    };
    [(text(&group["id"]), aggregation)].into_iter().collect()
}

/// Rows with the names that the panel gives its metrics.
fn shown(asked: &Asked<'_>, panel: &Value, target: &Value, aggregations: &Value) -> Vec<Row> {
    let groups: Vec<_> = list(&target["bucketAggs"])
        .iter()
        .map(|group| text(&group["id"]))
        .collect();
    let metrics = list(&target["metrics"]);
    let visible: Vec<_> = metrics
        .iter()
        .filter(|metric| metric["hide"] != true)
        .collect();
    let each = |bucket: &Value| {
        let number = |metric: &&Value| {
            let kind = metric["type"].as_str().unwrap();
            let found = match kind {
                "bucket_script" if !asked.scripts => computed(metric, bucket),
                _ => value(bucket, metric["id"].as_str().unwrap(), kind),
            };
            Some((name(panel, target, metric, &visible), found?))
        };
        visible.iter().filter_map(number).collect()
    };
    rows(aggregations, &groups, "200", &each)
}

/// What the two scripts there are come to.
fn computed(metric: &Value, bucket: &Value) -> Option<f64> {
    let sum = |number: usize| {
        let id = metric["pipelineVariables"][number]["pipelineAgg"]
            .as_str()
            .unwrap();
        bucket[id]["value"].as_f64().unwrap()
    };
    let computed = match metric["settings"]["script"].as_str().unwrap() {
        "params.v0 * 1000 / $__interval_ms" => sum(0) * 1000.0 / STEP as f64,
        "params.v0 / params.v1" => sum(0) / sum(1),
        other => panic!("{other}"),
    };
    computed.is_finite().then_some(computed)
}

/// Of a line its alias, of a column what the transformation calls it.
fn name(panel: &Value, target: &Value, metric: &Value, visible: &[&Value]) -> String {
    let alias = target["alias"].as_str().unwrap();
    if panel["type"] == "stat" {
        return alias.to_owned();
    }
    if panel["type"] == "timeseries" {
        // The rest of an alias is the group.
        let label = alias.rsplit("}} ").next().unwrap();
        return if label.contains("{{") {
            "value".to_owned()
        } else {
            label.to_owned()
        };
    }
    let names = panel["transformations"][0]["options"]["renameByName"]
        .as_object()
        .unwrap();
    let all = list(&target["metrics"]);
    let kind = metric["type"].as_str().unwrap();
    let alone = all.iter().filter(|other| other["type"] == kind).count() == 1;
    let field = metric["field"].as_str().unwrap_or_default();
    let column = match kind {
        "count" => "Count".to_owned(),
        "percentiles" => format!(
            "p{}.0 {field}",
            metric["settings"]["percents"][0].as_str().unwrap()
        ),
        "bucket_script" if alone => "Bucket Script".to_owned(),
        "bucket_script" => metric["settings"]["script"].as_str().unwrap().to_owned(),
        _ => {
            let word = match kind {
                "avg" => "Average",
                "sum" => "Sum",
                "max" => "Max",
                "min" => "Min",
                other => panic!("{other}"),
            };
            if alone {
                word.to_owned()
            } else {
                format!("{word} {field}")
            }
        }
    };
    let name = names
        .get(&column)
        .unwrap_or_else(|| panic!("{column} of {visible:?} has no name"));
    text(name)
}
