use std::{collections::BTreeSet, path::PathBuf};

use loadtest_core::plan::DEFAULT_DATA_STREAM_PREFIX;

use super::*;

const DIALECTS: [(Dialect, &str); 3] = [
    (Dialect::Elasticsearch, "elasticsearch"),
    (
        Dialect::ElasticsearchWithoutHistogram,
        "elasticsearch-without-histogram",
    ),
    (Dialect::OpenSearch, "opensearch"),
];

/// Fails when a document has a field that the stream's strict mapping does not.
pub(in crate::export) fn assert_mapped(stream: Stream, document: &Value) {
    let fields = stream.fields();
    let mut found = BTreeSet::new();
    paths(document, String::new(), &mut found);
    for path in found {
        let mapped = fields.iter().any(|(field, kind)| {
            let inside = matches!(kind, Labels | Histogram | Stored)
                && path
                    .strip_prefix(field.as_str())
                    .is_some_and(|rest| rest.starts_with('.'));
            path == *field || inside
        });
        assert!(mapped, "{path} is not in the mapping of {}", stream.name());
    }
}

fn paths(value: &Value, path: String, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (name, inner) in fields {
                let dot = if path.is_empty() { "" } else { "." };
                paths(inner, format!("{path}{dot}{name}"), found);
            }
        }
        Value::Array(items) => {
            for item in items {
                paths(item, path.clone(), found);
            }
        }
        _ => {
            found.insert(path);
        }
    }
}

/// `LOADTEST_BLESS=1 cargo test -p loadtest-runner` writes the files anew.
#[test]
fn the_committed_templates_are_those_that_are_installed() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("templates");
    for stream in Stream::ALL {
        for (dialect, name) in DIALECTS {
            let path = folder.join(format!("{}.{name}.json", stream.name()));
            let text = format!(
                "{:#}\n",
                template(stream, DEFAULT_DATA_STREAM_PREFIX, Abilities::of(dialect))
            );
            if std::env::var_os("LOADTEST_BLESS").is_some() {
                std::fs::create_dir_all(&folder).unwrap();
                std::fs::write(&path, &text).unwrap();
            }
            let committed = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(
                committed == text,
                "{} is stale: run with LOADTEST_BLESS=1",
                path.display()
            );
        }
    }
}

#[test]
fn streams_stay_far_below_the_limit_of_fields() {
    for stream in Stream::ALL {
        let fields = stream.fields();
        assert!(
            fields.len() <= 160,
            "{} has {} fields",
            stream.name(),
            fields.len()
        );
        let names: BTreeSet<_> = fields.iter().map(|(path, _)| path).collect();
        assert_eq!(
            names.len(),
            fields.len(),
            "a field of {} is there twice",
            stream.name()
        );
    }
}

#[test]
fn servers_differ_only_where_they_must() {
    let of = |stream, dialect| {
        template(stream, DEFAULT_DATA_STREAM_PREFIX, Abilities::of(dialect)).to_string()
    };
    let text = |dialect| of(Stream::Metrics, dialect);
    assert!(text(Dialect::Elasticsearch).contains(r#""type":"histogram""#));
    assert!(!text(Dialect::ElasticsearchWithoutHistogram).contains("histogram\""));
    let requests = |dialect| of(Stream::Requests, dialect);
    assert!(requests(Dialect::OpenSearch).contains("flat_object"));
    assert!(!requests(Dialect::OpenSearch).contains("flattened"));
}

#[test]
fn a_template_does_without_what_its_refusal_names_and_nothing_else() {
    let all = Abilities::of(Dialect::Elasticsearch);
    let told = |words: &str| all.after_refusal(words).map(|(less, _)| less);
    let less = told("[1:20] [template] unknown field [lifecycle]").unwrap();
    assert_eq!(
        less,
        Abilities {
            lifecycle: false,
            ..all
        }
    );
    assert_eq!(less.after_refusal("unknown field [lifecycle]"), None);
    let plain = told("[index_template] unknown field [data_stream]").unwrap();
    let template = template(Stream::Runs, "p", plain);
    assert_eq!(template["data_stream"], Value::Null);
    assert_eq!(template["template"]["lifecycle"], Value::Null);
    assert_eq!(
        told("action [indices:admin/index_template/put] is unauthorized"),
        None
    );
}
