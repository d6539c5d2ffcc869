use loadtest_core::plan::GroupKey;

use super::*;
use crate::export::{
    batch::Stream,
    templates::tests::assert_mapped,
    tests::{plan, runner::interval},
};

/// Every document of intervals of five seconds, by id.
fn documents(plan: &Plan, intervals: &[Interval]) -> BTreeMap<String, Value> {
    let mut encoder = IntervalEncoder::new(plan, 3, "host");
    let mut batch = Batch::new(Stream::Metrics);
    for interval in intervals {
        encoder.push(&mut batch, interval, &ExportCounts::default());
    }
    encoder.finish(&mut batch);
    (0..batch.len() as u32)
        .map(|item| {
            let document: Value = serde_json::from_slice(batch.document(item)).unwrap();
            assert_mapped(Stream::Metrics, &document);
            assert_eq!(document["event"]["id"], batch.id(item));
            (batch.id(item).to_owned(), document["loadtest"].clone())
        })
        .collect()
}

/// An interval in which the group `i` was done `count[i]` times, in 1 ms, 2 ms, …
fn with_groups(sequence: u64, counts: &[u64]) -> Interval {
    let mut interval = interval(sequence);
    interval.set.groups = vec![GroupSeries::default(); counts.len()];
    for (series, count) in interval.set.groups.iter_mut().zip(counts) {
        for k in 1..=*count {
            series.record(k % 4 == 0, k * 1_000, 3);
        }
    }
    interval.set.iterations = 9;
    interval.set.iterations_failed = 2;
    interval
}

#[test]
fn a_group_has_a_row_in_each_interval_and_its_histogram_once_a_minute() {
    let mut plan = plan();
    plan.groups = ["login", "checkout"]
        .map(|name| GroupKey {
            scenario: "shop".to_owned(),
            name: name.to_owned(),
        })
        .to_vec();
    let intervals = [with_groups(0, &[0, 10]), with_groups(1, &[0, 20])];
    let documents = documents(&plan, &intervals);
    let id = |tail: &str| format!("{}-0003-00-{tail}", plan.run.id);
    let groups: Vec<_> = documents
        .iter()
        .filter(|(_, loadtest)| loadtest["scope"] == "group")
        .collect();
    // A group that was not done has no document.
    let ids: Vec<_> = groups.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!(
        ids,
        [
            id("h-00000001-g0001"),
            id("i-00000000-g0001"),
            id("i-00000001-g0001")
        ]
    );
    let row = &documents[&id("i-00000001-g0001")];
    assert_eq!(row["scenario"]["name"], "shop");
    let expected = json!({
        "name": "checkout", "count": 20, "failed": 5, "failed_ratio": 0.25,
        "duration": latency_fields(&intervals[1].set.groups[1].duration, false),
    });
    assert_eq!(row["group"], expected);
    assert_eq!(row["group"]["duration"]["max_us"], 20_000);
    assert_eq!(row["group"]["duration"]["sum_us"], 210_000);
    let histogram = &documents[&id("h-00000001-g0001")]["group"]["duration"]["histogram_us"];
    let counts = histogram["counts"].as_array().unwrap().iter();
    assert_eq!(counts.filter_map(Value::as_u64).sum::<u64>(), 30);

    let total = &documents[&id("i-00000000-t")];
    assert_eq!(
        (
            &total["iterations"]["count"],
            &total["iterations"]["failed"]
        ),
        (&json!(9), &json!(2))
    );
}
