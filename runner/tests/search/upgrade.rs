//! Streams that the program's version before this one made.

use serde_json::{Value, json};

use crate::{
    METRICS, complete, exporter::Exporter, measured::plan, namespace, server::Search, urls,
};

/// The template of a stream as it was before traces and groups.
pub fn before(stream: &str, flavor: &str) -> Value {
    let path = format!(
        "{}/templates/{stream}.{flavor}.json",
        env!("CARGO_MANIFEST_DIR")
    );
    let mut template: Value =
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    template["version"] = json!(2);
    let mappings = template["template"]["mappings"].as_object_mut().unwrap();
    mappings.remove("_meta").unwrap();
    let properties = &mut mappings["properties"];
    for (parent, new) in [
        ("", "trace"),
        ("", "span"),
        ("/loadtest/properties", "group"),
        ("/loadtest/properties", "group_rows"),
        ("/loadtest/properties/iterations/properties", "failed"),
        ("/loadtest/properties/errors/properties", "extract"),
    ] {
        if let Some(fields) = properties
            .pointer_mut(parent)
            .and_then(Value::as_object_mut)
        {
            fields.remove(new);
        }
    }
    template
}

/// Makes a namespace's stream with a document as it was before, with `change`.
fn make(search: &Search, stream: &str, namespace: &str, change: impl Fn(&mut Value)) {
    let name = format!("loadtest-{stream}-{namespace}");
    let install = |priority: u32| {
        let taken = ["opensearch", "elasticsearch-without-histogram"].map(|flavor| {
            let mut template = before(stream, flavor);
            template["index_patterns"] = json!([name]);
            template["priority"] = json!(priority);
            change(&mut template["template"]["mappings"]["properties"]);
            search.takes_template(&format!("before-{name}"), &template)
        });
        assert!(taken.contains(&true), "{}: {stream}", search.url());
    };
    install(1_000);
    let document = json!({"@timestamp": "2026-11-22T00:00:00Z"});
    let made = search.send("POST", &format!("{name}/_doc"), &document);
    assert_eq!(made.0, 201, "{made:?}");
    // A template that a stream was made from cannot be deleted, but be of no importance.
    install(1);
}

/// Backing indices of a stream.
fn indices(search: &Search, stream: &str, namespace: &str) -> usize {
    let (status, mapping) = search.send(
        "GET",
        &format!("loadtest-{stream}-{namespace}/_mapping"),
        &Value::Null,
    );
    assert_eq!(status, 200, "{mapping}");
    mapping.as_object().unwrap().len()
}

pub const STREAMS: [&str; 3] = ["requests", "metrics", "runs"];

#[test]
#[ignore = "needs real search servers: make test-search"]
fn streams_of_an_older_version_take_the_documents_of_this_one() {
    for url in urls() {
        // The templates of this version are there: they were installed for another namespace.
        let mut other = Exporter::new(plan(&url, &namespace("newer")));
        complete(&other.run(), &other);

        let extended = namespace("extended");
        let search = Search::new(&url, &extended);
        for stream in STREAMS {
            make(&search, stream, &extended, |_| {});
        }
        let mut exporter = Exporter::new(plan(&url, &extended));
        complete(&exporter.run(), &exporter);
        assert_eq!(
            search.count("metrics"),
            1 + METRICS,
            "{url}: the old one is kept"
        );
        assert_eq!(
            STREAMS.map(|stream| indices(&search, stream, &extended)),
            [1, 1, 1],
            "{url}: fields are added to what is there"
        );

        // A field of another type cannot be changed, so the stream goes on in a new index.
        let rolled = namespace("rolled");
        let search = Search::new(&url, &rolled);
        for stream in STREAMS {
            make(&search, stream, &rolled, |properties| {
                if stream == "metrics" {
                    properties["loadtest"]["properties"]["group"] = json!({"type": "keyword"});
                }
            });
        }
        let mut exporter = Exporter::new(plan(&url, &rolled));
        complete(&exporter.run(), &exporter);
        assert_eq!(
            search.count("metrics"),
            1 + METRICS,
            "{url}: the old one is kept"
        );
        assert_eq!(
            STREAMS.map(|stream| indices(&search, stream, &rolled)),
            [1, 2, 1],
            "{url}"
        );
        // Done once: the next run finds everything in order.
        complete(&exporter.run(), &exporter);
        assert_eq!(indices(&search, "metrics", &rolled), 2, "{url}");
    }
}
