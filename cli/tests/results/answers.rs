//! What each answer must be, in the order of the page.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::truth::{Truth, count, name, sorted, text, time};

pub const CHECKS: [fn(&Truth, &Value); 18] = [
    requests,
    slowest,
    outcomes,
    averages,
    percentiles,
    statistics,
    runs,
    comparison,
    runners,
    errors,
    samples,
    trace,
    slowest_of_each,
    stages,
    labels,
    weights,
    generator,
    hosts,
];

fn hits(answer: &Value) -> Vec<&Value> {
    let hits = answer["hits"]["hits"].as_array().unwrap();
    hits.iter().map(|hit| &hit["_source"]).collect()
}

/// Buckets by key.
fn buckets(aggregation: &Value) -> BTreeMap<String, &Value> {
    let buckets = aggregation["buckets"].as_array().unwrap();
    let key = |bucket: &Value| match &bucket["key"] {
        Value::String(key) => key.clone(),
        other => other.to_string(),
    };
    buckets.iter().map(|bucket| (key(bucket), bucket)).collect()
}

/// Number of documents by key.
fn counts(aggregation: &Value) -> BTreeMap<String, u64> {
    let count = |bucket: &Value| bucket["doc_count"].as_u64().unwrap();
    buckets(aggregation)
        .into_iter()
        .map(|(key, bucket)| (key, count(bucket)))
        .collect()
}

fn equals(answer: &Value, truth: f64, what: &str) {
    let answer = answer
        .as_f64()
        .unwrap_or_else(|| panic!("{what}: {answer}"));
    let close = (answer - truth).abs() <= truth.abs() * 1e-9;
    assert!(close, "{what} is {answer} instead of {truth}");
}

/// HDR is right to three digits; which of two neighbours is meant is the engine's choice.
fn is_percentile(values: &Value, percent: f64, times: &[f64]) {
    let key = format!("{percent:.1}");
    let answer = values["values"][key.as_str()].as_f64().unwrap();
    let rank = (times.len() as f64 * percent / 100.0).ceil() as usize;
    let at = |rank: usize| times[rank.clamp(1, times.len()) - 1];
    let (least, most) = (at(rank - 1) * 0.998, at(rank + 1) * 1.002);
    assert!(
        (least..=most).contains(&answer),
        "p{percent} is {answer}, not between {least} and {most}"
    );
}

fn requests(truth: &Truth, answer: &Value) {
    let run = &truth.runs[0];
    assert_eq!(answer["hits"]["total"]["value"], run.requests.len());
    assert_eq!(hits(answer).len(), 5);
    for hit in hits(answer) {
        let same = run.of(|doc| doc["event"]["id"] == hit["event"]["id"]);
        assert_eq!(same, [hit]);
    }
}

fn slowest(truth: &Truth, answer: &Value) {
    let times = hits(answer).into_iter().map(|hit| time(hit, "total_us"));
    let mut all = sorted(&truth.runs[0].of(|_| true), "total_us");
    all.reverse();
    assert_eq!(times.collect::<Vec<_>>(), all[..5]);
}

fn outcomes(truth: &Truth, answer: &Value) {
    let outcome = |doc: &Value| text(&doc["loadtest"]["request"]["outcome"]);
    let mut found = BTreeMap::new();
    for (name, bucket) in buckets(&answer["aggregations"]["name"]) {
        for (outcome, count) in counts(&bucket["outcome"]) {
            found.insert(format!("{name} {outcome}"), count);
        }
    }
    let both = |doc: &Value| format!("{} {}", name(doc), outcome(doc));
    assert_eq!(found, count(&truth.runs[0].requests, both));
    // Every kind that the manifest provokes is there.
    assert!(found.contains_key("GET /get check") && found.contains_key("GET /status/404 status"));
}

fn averages(truth: &Truth, answer: &Value) {
    let found = buckets(&answer["aggregations"]["name"]);
    assert_eq!(found.len(), 5);
    for (of, bucket) in found {
        let times = sorted(&truth.runs[0].of(|doc| name(doc) == of), "total_us");
        let mean = times.iter().sum::<f64>() / times.len() as f64;
        equals(&bucket["average"]["value"], mean, &of);
    }
}

fn percentiles(truth: &Truth, answer: &Value) {
    let times = sorted(&truth.runs[0].load(), "from_schedule_us");
    for percent in [50.0, 90.0, 95.0, 99.0] {
        is_percentile(&answer["aggregations"]["latency"], percent, &times);
    }
}

fn statistics(truth: &Truth, answer: &Value) {
    let times = sorted(&truth.runs[0].of(|doc| name(doc) == "/delayed"), "total_us");
    let stats = &answer["aggregations"]["time"];
    let (count, sum) = (times.len() as f64, times.iter().sum::<f64>());
    let mean = sum / count;
    let variance = times.iter().map(|time| (time - mean).powi(2)).sum::<f64>() / count;
    equals(&stats["count"], count, "count");
    equals(&stats["min"], times[0], "min");
    equals(&stats["max"], times[times.len() - 1], "max");
    equals(&stats["avg"], mean, "avg");
    equals(&stats["sum"], sum, "sum");
    let deviation = stats["std_deviation"].as_f64().unwrap();
    assert!(
        (deviation / variance.sqrt() - 1.0).abs() < 1e-6,
        "{deviation}"
    );
    // It waited for 20 ms.
    assert!(times[0] >= 20_000.0, "{}", times[0]);
}

fn runs(truth: &Truth, answer: &Value) {
    let hits = hits(answer);
    // Other runs of the same server may be there, but these are the newest.
    for (hit, run) in hits.iter().zip(truth.runs.iter().rev()) {
        let (found, end) = (&hit["loadtest"]["run"], &run.end["loadtest"]["run"]);
        for field in ["id", "name", "number", "started"] {
            assert_eq!(found[field], end[field]);
        }
        // The server has it before the last report of all, the file after it.
        assert!(text(&found["started"]) < text(&found["completed"]));
        assert_eq!(hit["loadtest"]["verdict"], run.end["loadtest"]["verdict"]);
        assert_eq!(hit["loadtest"]["requests"]["count"], run.load().len());
        assert_eq!(hit["loadtest"]["latency"], run.end["loadtest"]["latency"]);
    }
    assert!(hits.len() >= 2);
}

fn comparison(truth: &Truth, answer: &Value) {
    let names = buckets(&answer["aggregations"]["name"]);
    assert_eq!(names.len(), 5);
    for (of, bucket) in names {
        let by_run = buckets(&bucket["run"]);
        for run in &truth.runs {
            let bucket = by_run[&run.id];
            let mut documents = run.load();
            documents.retain(|doc| name(doc) == of);
            let failed = documents
                .iter()
                .filter(|doc| doc["event"]["outcome"] == "failure");
            assert_eq!(bucket["doc_count"], documents.len(), "{of}");
            assert_eq!(bucket["failed"]["doc_count"], failed.count(), "{of}");
            is_percentile(
                &bucket["latency"],
                95.0,
                &sorted(&documents, "from_schedule_us"),
            );
        }
    }
}

fn runners(truth: &Truth, answer: &Value) {
    let run = &truth.runs[0];
    let all = sorted(&run.load(), "from_schedule_us");
    // What the status and the document of the end say is the same answer.
    let merged = run.end["loadtest"]["latency"]["p99_us"].as_f64().unwrap();
    for percent in [50.0, 99.0] {
        is_percentile(&answer["aggregations"]["all"], percent, &all);
    }
    is_percentile(&json!({"values": {"99.0": merged}}), 99.0, &all);
    let by_runner = buckets(&answer["aggregations"]["runner"]);
    assert_eq!(by_runner.len(), 2);
    for (index, bucket) in by_runner {
        let runner: u64 = index.parse().unwrap();
        let mut documents = run.load();
        documents.retain(|doc| doc["loadtest"]["runner"]["index"] == runner);
        assert_eq!(bucket["doc_count"], documents.len());
        let times = sorted(&documents, "from_schedule_us");
        is_percentile(&bucket["latency"], 50.0, &times);
    }
}

fn errors(truth: &Truth, answer: &Value) {
    let failed = truth.runs[0].of(|doc| doc["event"]["outcome"] == "failure");
    let mut found = BTreeMap::new();
    for (kind, of_kind) in buckets(&answer["aggregations"]["type"]) {
        for (message, bucket) in buckets(&of_kind["message"]) {
            for (name, count) in counts(&bucket["name"]) {
                found.insert(format!("{kind}: {message}: {name}"), count);
            }
            let first = &bucket["first"]["hits"]["hits"][0]["_source"];
            let mut same = failed.clone();
            same.retain(|doc| doc["error"]["message"] == message.as_str());
            let earliest = same.iter().map(|doc| text(&doc["@timestamp"])).min();
            assert_eq!(Some(text(&first["@timestamp"])), earliest);
        }
    }
    let row = |doc: &Value| {
        let error = &doc["error"];
        format!(
            "{}: {}: {}",
            text(&error["type"]),
            text(&error["message"]),
            name(doc)
        )
    };
    assert_eq!(found, count(failed, row));
}

/// Three of each kind from each runner, in the warm-up and after it.
fn samples(truth: &Truth, answer: &Value) {
    let run = &truth.runs[0];
    let hits = hits(answer);
    let mut kept = run.samples.iter().collect::<Vec<_>>();
    let order = |doc: &&Value| (name(doc), text(&doc["@timestamp"]));
    kept.sort_by_key(order);
    assert_eq!(
        hits.iter().map(order).collect::<Vec<_>>(),
        kept.iter().map(order).collect::<Vec<_>>()
    );
    let kind = |doc: &Value| {
        let loadtest = &doc["loadtest"];
        format!(
            "{} {} {}",
            name(doc),
            loadtest["stage"],
            loadtest["runner"]["index"]
        )
    };
    let failed = run.of(|doc| doc["event"]["outcome"] == "failure");
    let mut expected = count(failed, kind);
    for count in expected.values_mut() {
        *count = (*count).min(3);
    }
    assert_eq!(count(kept.clone(), kind), expected);
    for (hit, kept) in hits.into_iter().zip(kept) {
        for part in ["error", "http", "url", "trace"] {
            assert_eq!(hit[part], kept[part]);
        }
        // It is one of the failed requests that the run counted.
        let trace = &hit["trace"]["id"];
        let request = run.of(|doc| doc["trace"]["id"] == *trace && name(doc) == name(hit));
        assert_eq!(request[0]["@timestamp"], hit["@timestamp"]);
        assert_eq!(request[0]["event"]["outcome"], "failure");
        let body = text(&hit["http"]["response"]["body"]["content"]);
        if name(hit) == "GET /get" {
            assert_eq!(hit["loadtest"]["sample"]["check"], "says no");
            assert!(body.contains("\"url\""), "{body}");
        } else {
            assert_eq!(hit["http"]["response"]["status_code"], 404);
        }
    }
}

fn trace(truth: &Truth, answer: &Value) {
    let of_trace = |doc: &Value| doc["trace"]["id"] == truth.trace.as_str();
    let documents = truth.runs[0].of(of_trace);
    assert_eq!(count(hits(answer), name), count(documents.clone(), name));
    let names: Vec<_> = hits(answer).into_iter().map(name).collect();
    assert_eq!(
        names,
        ["/delayed", "POST /post"],
        "in the order of the steps"
    );
    // One iteration of one user, and each request a span of its own.
    let same = |field: &str| {
        count(documents.clone(), |d| {
            d["loadtest"]["request"][field].to_string()
        })
    };
    assert_eq!((same("user").len(), same("iteration").len()), (1, 1));
    assert_eq!(
        count(documents.clone(), |doc| text(&doc["span"]["id"])).len(),
        2
    );
}

fn slowest_of_each(truth: &Truth, answer: &Value) {
    let names = buckets(&answer["aggregations"]["name"]);
    assert_eq!(names.len(), 5);
    for (of, bucket) in names {
        let hit = &bucket["slowest"]["hits"]["hits"][0]["_source"];
        let times = sorted(&truth.runs[0].of(|doc| name(doc) == of), "from_schedule_us");
        let slowest = json!(time(hit, "from_schedule_us"));
        equals(&slowest, times[times.len() - 1], &of);
        assert_eq!(name(hit), of);
    }
}

fn stages(truth: &Truth, answer: &Value) {
    let run = &truth.runs[0];
    let stage = |doc: &Value| text(&doc["loadtest"]["stage"]);
    let found = &answer["aggregations"]["stage"];
    assert_eq!(counts(found), count(&run.requests, stage));
    for (of, bucket) in buckets(found) {
        let times = sorted(&run.of(|doc| stage(doc) == of), "from_schedule_us");
        let mean = times.iter().sum::<f64>() / times.len() as f64;
        equals(&bucket["average"]["value"], mean, &of);
    }
    assert_eq!(counts(found).len(), 2);
}

fn labels(truth: &Truth, answer: &Value) {
    let team = |doc: &Value| {
        doc["labels"]["team"]
            .as_str()
            .unwrap_or("nobody")
            .to_owned()
    };
    let truth = count(&truth.runs[0].requests, team);
    let buckets = answer["aggregations"]["team"]["buckets"]
        .as_object()
        .unwrap();
    let found: BTreeMap<_, _> = buckets
        .iter()
        .map(|(team, bucket)| (team.clone(), bucket["doc_count"].as_u64().unwrap()))
        .collect();
    assert_eq!(found, truth);
    // Everything of the catalogue has a label and fails; of the checkout nothing does.
    let failed = |team: &str| &buckets[team]["failed"]["doc_count"];
    assert_eq!(
        (failed("catalog"), failed("checkout")),
        (&json!(truth["catalog"]), &json!(0))
    );
}

fn weights(truth: &Truth, answer: &Value) {
    let times = sorted(&truth.runs[0].of(|_| true), "total_us");
    let count = times.len() as f64;
    let found = &answer["aggregations"];
    equals(&found["requests"]["value"], count, "requests");
    equals(
        &found["average"]["value"],
        times.iter().sum::<f64>() / count,
        "average",
    );
}

fn generator(truth: &Truth, answer: &Value) {
    let run = &truth.runs[0];
    let totals = run
        .intervals
        .iter()
        .filter(|doc| doc["loadtest"]["scope"] == "total" && doc["loadtest"]["doc"] == "interval");
    let worst = totals
        .map(|doc| doc["loadtest"]["latency"]["p99_us"].as_f64().unwrap())
        .fold(0.0, f64::max);
    let mut found = (0.0, 0.0_f64);
    for (_, bucket) in buckets(&answer["aggregations"]["time"]) {
        let value = |name: &str| bucket[name]["value"].as_f64().unwrap_or_default();
        found = (
            found.0 + value("requests"),
            found.1.max(value("worst_p99_us")),
        );
        assert!((0.0..=1.5).contains(&value("cpu")), "{bucket}");
        assert!(value("worst_lag_us") >= 0.0 && value("late_by_generator") >= 0.0);
    }
    assert_eq!(found, (run.requests.len() as f64, worst));
}

fn hosts(truth: &Truth, answer: &Value) {
    let found = buckets(&answer["aggregations"]["time"]);
    let values = |name: &str| -> Vec<f64> {
        let values = found
            .values()
            .filter_map(|bucket| bucket[name]["value"].as_f64());
        values.collect()
    };
    // Intervals begin within the run, but for those whose grid began before it.
    let requests: f64 = values("requests").into_iter().sum();
    assert!(requests > 0.0 && requests <= truth.runs[0].requests.len() as f64);
    assert!(values("worst_p99_us").iter().any(|us| *us > 0.0));
    let cpu: Vec<_> = values("host_cpu")
        .iter()
        .map(|share| (share * 100.0).round() as u64)
        .collect();
    // The two moments may be in one bucket.
    assert!(cpu == [25, 75] || cpu == [50], "{cpu:?}");
}
