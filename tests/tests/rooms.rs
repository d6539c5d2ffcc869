//! The rooms of ARCHITECTURE.md: who may know whom.
#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use loadtest_tests::root;
use serde_json::Value;

/// Normal and build dependencies of every package in the graph, by package name.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--locked"])
        .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let names: BTreeMap<&str, &str> = metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| (p["id"].as_str().unwrap(), p["name"].as_str().unwrap()))
        .collect();
    let mut graph: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for node in metadata["resolve"]["nodes"].as_array().unwrap() {
        let of = graph
            .entry(names[node["id"].as_str().unwrap()].to_owned())
            .or_default();
        for dependency in node["deps"].as_array().unwrap() {
            let kinds = dependency["dep_kinds"].as_array().unwrap();
            if kinds.iter().any(|kind| kind["kind"] != "dev") {
                of.insert(names[dependency["pkg"].as_str().unwrap()].to_owned());
            }
        }
    }
    graph
}

fn reachable(graph: &BTreeMap<String, BTreeSet<String>>, from: &str) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    let mut open = vec![from.to_owned()];
    while let Some(name) = open.pop() {
        for next in graph.get(&name).into_iter().flatten() {
            if seen.insert(next.clone()) {
                open.push(next.clone());
            }
        }
    }
    seen
}

#[test]
fn rooms_depend_only_on_the_rooms_below_them() {
    let graph = dependencies();
    let allowed: [(&str, &[&str]); 7] = [
        ("loadtest-core", &[]),
        ("loadtest-crds", &["loadtest-core"]),
        ("loadtest-runner", &["loadtest-core"]),
        ("loadtest-operator", &["loadtest-core", "loadtest-crds"]),
        (
            "loadtest-cli",
            &["loadtest-core", "loadtest-crds", "loadtest-runner"],
        ),
        ("loadtest-dashboards", &[]),
        (
            "loadtest-tests",
            &["loadtest-core", "loadtest-crds", "loadtest-runner"],
        ),
    ];
    for (room, may) in allowed {
        let ours: Vec<_> = graph[room]
            .iter()
            .filter(|name| name.starts_with("loadtest-"))
            .collect();
        assert!(
            ours.iter().all(|name| may.contains(&name.as_str())),
            "{room} depends on {ours:?}"
        );
    }
}

#[test]
fn core_knows_no_runtime_and_the_runner_knows_no_cluster() {
    let graph = dependencies();
    let forbidden: [(&str, &[&str]); 2] = [
        (
            "loadtest-core",
            &[
                "tokio",
                "kube",
                "reqwest",
                "hyper",
                "k8s-openapi",
                "elasticsearch",
            ],
        ),
        (
            "loadtest-runner",
            &["kube", "kube-core", "kube-client", "k8s-openapi"],
        ),
    ];
    for (room, not) in forbidden {
        let all = reachable(&graph, room);
        for name in not {
            assert!(
                !all.contains(*name),
                "{room} must not depend on {name}, not even indirectly"
            );
        }
    }
}

#[test]
fn one_crate_names_each_outside_world() {
    let graph = dependencies();
    let naming = |dependency: &str| -> Vec<&str> {
        graph
            .iter()
            .filter(|(name, on)| name.starts_with("loadtest-") && on.contains(dependency))
            .map(|(name, _)| name.as_str())
            .collect()
    };
    assert_eq!(naming("elasticsearch"), ["loadtest-runner"]);
    assert_eq!(
        naming("kube"),
        ["loadtest-cli", "loadtest-crds", "loadtest-operator"]
    );
    let in_cli: Vec<PathBuf> = sources(&root().join("cli/src"))
        .into_iter()
        .filter(|path| fs::read_to_string(path).unwrap().contains("kube::"))
        .filter(|path| !path.to_string_lossy().contains("cli/src/cluster"))
        .collect();
    assert_eq!(
        in_cli,
        Vec::<PathBuf>::new(),
        "only cli::cluster talks to a cluster"
    );
    let outside: Vec<PathBuf> = sources(&root().join("runner/src"))
        .into_iter()
        .filter(|path| {
            fs::read_to_string(path)
                .unwrap()
                .contains("elasticsearch::")
        })
        .filter(|path| !path.to_string_lossy().contains("runner/src/export/elastic"))
        .collect();
    assert_eq!(
        outside,
        Vec::<PathBuf>::new(),
        "only runner::export::elastic names elasticsearch"
    );
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}
