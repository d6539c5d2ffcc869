//! The compose files of examples/compose, as far as they can be checked without a container engine;
//! with one they are run by `make test-containers`.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use clap::Parser;
use loadtest_cli::command::Cli;
use loadtest_crds::yaml;
use serde_json::{Map, Value};

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples")
}

/// The services of a file.
fn services(file: &str) -> Map<String, Value> {
    let text = std::fs::read_to_string(examples().join("compose").join(file)).unwrap();
    let documents = yaml::parse(&text).unwrap_or_else(|problem| panic!("{file}: {problem:?}"));
    let [document] = documents.as_slice() else {
        panic!("{file} is one document")
    };
    document.to_json()["services"].as_object().unwrap().clone()
}

const SEARCH: [&str; 2] = ["search.yaml", "search-three-nodes.yaml"];

#[test]
fn the_search_servers_are_of_one_version_and_reachable_by_the_load_test() {
    let mut versions = BTreeSet::new();
    for (file, nodes) in SEARCH.into_iter().zip([1, 3]) {
        let services = services(file);
        let of_kind = |kind: &str| {
            services
                .keys()
                .filter(|name| name.starts_with(kind))
                .count()
        };
        assert_eq!((of_kind("elasticsearch"), of_kind("kibana")), (nodes, 1));
        assert!(
            services.contains_key("elasticsearch"),
            "{file}: the name in compose.yaml"
        );
        for (name, service) in &services {
            assert_eq!(service["networks"], serde_json::json!(["search"]), "{name}");
            let image = service["image"].as_str().unwrap();
            for port in service["ports"].as_array().into_iter().flatten() {
                // No password: for nobody but this machine.
                assert!(port.as_str().unwrap().starts_with("127.0.0.1:"), "{name}");
            }
            versions.insert(image.rsplit(':').next().unwrap().to_owned());
            if let Some(needed) = service["depends_on"].as_object() {
                assert!(
                    needed.keys().all(|name| services.contains_key(name)),
                    "{name}"
                );
            }
        }
    }
    assert_eq!(versions.len(), 1, "{versions:?}");
}

#[test]
fn what_the_containers_start_is_a_command_line_of_ours() {
    let services = services("compose.yaml");
    assert_eq!(services.len(), 3);
    for (name, service) in services {
        let words = service["command"].as_array().unwrap();
        let words: Vec<_> = words
            .iter()
            .map(|word| with_defaults(word.as_str().unwrap()))
            .collect();
        // The image's entry point is the program.
        let line = std::iter::once("loadtest").chain(words.iter().map(String::as_str));
        Cli::try_parse_from(line).unwrap_or_else(|error| panic!("{name}: {error}"));
        let manifests = words
            .iter()
            .filter_map(|word| word.strip_prefix("/examples/"));
        for manifest in manifests {
            assert!(examples().join(manifest).exists(), "{name}: {manifest}");
        }
        if let Some(probe) = service["healthcheck"]["test"].as_array() {
            let words = probe.iter().map(|word| word.as_str().unwrap());
            Cli::try_parse_from(words.skip_while(|word| *word == "CMD")).unwrap();
        }
    }
}

/// `${NAME:-value}` is the value.
fn with_defaults(word: &str) -> String {
    let Some((before, rest)) = word.split_once("${") else {
        return word.to_owned();
    };
    let (variable, after) = rest.split_once('}').unwrap();
    let (_, value) = variable.split_once(":-").unwrap();
    format!("{before}{value}{after}")
}
