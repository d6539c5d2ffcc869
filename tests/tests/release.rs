//! One version stands everywhere, and what the workflows and make targets name exists.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "in a test, a panic is the report"
)]

use std::{collections::BTreeSet, fs, process::Command};

use loadtest_crds::yaml;
use loadtest_tests::root;
use serde_json::Value;

const VERSION: &str = env!("CARGO_PKG_VERSION");

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn document(path: &str) -> Value {
    let documents =
        yaml::parse(&read(path)).unwrap_or_else(|problem| panic!("{path}: {problem:?}"));
    assert_eq!(documents.len(), 1, "{path}");
    documents[0].to_json()
}

fn repository() -> String {
    after(&read("Cargo.toml"), "repository = \"")[0].to_owned()
}

/// What a script prints.
fn printed(script: &str, arguments: &[&str]) -> String {
    let output = Command::new(root().join(script))
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{script}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The words that follow a text.
fn after<'a>(text: &'a str, before: &str) -> Vec<&'a str> {
    let found = text.split(before).skip(1);
    found
        .map(|rest| {
            let end = rest.find(|c: char| c.is_whitespace() || "\"'`,;)}".contains(c));
            &rest[..end.unwrap_or(rest.len())]
        })
        .collect()
}

#[test]
fn one_version_stands_everywhere() {
    assert_eq!(printed("dist/version.sh", &[]).trim(), VERSION);
    let chart = document("charts/loadtest-operator/Chart.yaml");
    assert_eq!(chart["version"], VERSION);
    assert_eq!(chart["appVersion"], VERSION);
    assert!(
        read("CHANGELOG.md").contains(&format!("\n## [{VERSION}] - ")),
        "CHANGELOG.md has no section of {VERSION}"
    );
    for file in ["argo-rollouts.yaml", "flagger.yaml"] {
        let text = read(&format!("examples/gitops/{file}"));
        let tags = after(&text, "ghcr.io/loadtest-dev/loadtest:");
        assert!(
            !tags.is_empty() && tags.iter().all(|tag| *tag == VERSION),
            "{file}: {tags:?}"
        );
    }
    for file in ["github-actions.yaml", "gitlab-ci.yml"] {
        let text = read(&format!("examples/ci/{file}"));
        let tags = after(&text, "/releases/download/v");
        assert!(
            !tags.is_empty() && tags.iter().all(|tag| *tag == VERSION),
            "{file}: {tags:?}"
        );
    }
}

#[test]
fn the_picture_of_a_report_is_small() {
    let picture = fs::metadata(root().join("docs/report.png")).unwrap();
    assert!(picture.len() <= 300_000, "{} bytes", picture.len());
}

/// Each step of each job of a workflow.
fn steps(workflow: &Value) -> Vec<&Value> {
    let jobs = workflow["jobs"].as_object().unwrap();
    let steps = jobs
        .values()
        // A job without steps is another workflow's.
        .flat_map(|job| job["steps"].as_array().into_iter().flatten());
    steps.collect()
}

#[test]
fn nothing_is_released_that_has_not_passed_ci() {
    let jobs = &document(".github/workflows/release.yaml")["jobs"];
    assert_eq!(jobs["test"]["uses"], "./.github/workflows/ci.yaml");
    // Not by the parser, for which `on` may be the word for true.
    assert!(read(".github/workflows/ci.yaml").contains("\n  workflow_call:"));
    let needs = jobs["build"]["needs"].as_array().unwrap();
    assert!(needs.iter().any(|job| job == "test"), "{needs:?}");
    for (name, job) in jobs.as_object().unwrap() {
        let publishes =
            job["permissions"]["packages"] == "write" || job["permissions"]["contents"] == "write";
        let after_build = name == "build"
            || job["needs"]
                .as_array()
                .is_some_and(|needs| needs.iter().any(|job| job == "build"))
            || job["needs"] == "build";
        assert!(
            !publishes || after_build,
            "{name} publishes before anything is tested"
        );
    }
}

#[test]
fn workflows_name_what_exists() {
    let stages: BTreeSet<String> = after(&read("Dockerfile"), " AS ")
        .into_iter()
        .map(str::to_owned)
        .collect();
    for path in [
        ".github/workflows/ci.yaml",
        ".github/workflows/release.yaml",
    ] {
        let workflow = document(path);
        assert_eq!(workflow["permissions"]["contents"], "read", "{path}");
        for step in steps(&workflow) {
            if let Some(action) = step["uses"].as_str() {
                let (name, version) = action.split_once('@').unwrap();
                assert_eq!(name.split('/').count(), 2, "{path}: {action}");
                assert!(
                    version
                        .strip_prefix('v')
                        .is_some_and(|v| v.starts_with(char::is_numeric)),
                    "{path}: {action} has no version"
                );
                continue;
            }
            let script = step["run"]
                .as_str()
                .unwrap_or_else(|| panic!("{path}: {step}"));
            // Outside of these, an expression is somebody else's text in our shell.
            assert!(
                !script.replace("${{ matrix.", "").contains("${{"),
                "{path}: {script}"
            );
            let words = script
                .split_whitespace()
                .map(|word| word.trim_matches(['"', '\'', '(', ')', '$']));
            for word in words {
                let ours = ["tests/", "dist/", "charts/", ".ci/"]
                    .iter()
                    .any(|folder| word.starts_with(folder));
                assert!(!ours || root().join(word).exists(), "{path}: no {word}");
            }
            for stage in after(script, "--target ")
                .into_iter()
                .filter(|stage| !stage.is_empty())
            {
                assert!(
                    stages.contains(stage),
                    "{path}: Dockerfile has no stage {stage}"
                );
            }
            let understood = Command::new("bash")
                .args(["-n", "-c", script])
                .status()
                .unwrap();
            assert!(understood.success(), "{path}: {script}");
        }
    }
    for stage in ["operator", "runner", "cli", "binaries"] {
        assert!(stages.contains(stage), "{stages:?}");
    }
}

#[test]
fn images_are_built_from_every_member_of_the_workspace() {
    let cargo = read("Cargo.toml");
    let (_, members) = cargo.split_once("members = [").unwrap();
    let (members, _) = members.split_once(']').unwrap();
    let sent = read(".dockerignore");
    let sent: BTreeSet<_> = sent.lines().collect();
    for member in members
        .split(',')
        .map(|member| member.trim().trim_matches('"'))
    {
        let sent = sent.contains(format!("!{member}").as_str())
            || sent.contains(format!("!{member}/src").as_str());
        assert!(sent, ".dockerignore leaves out {member}, which cargo needs");
    }
}

/// The layers that `tests/run.sh` knows.
fn layers() -> BTreeSet<String> {
    let script = read("tests/run.sh");
    let cases = script.split("case $layer in").nth(1).unwrap();
    cases
        .lines()
        .filter_map(|line| line.trim_start().split_once(") stage "))
        .map(|(layer, _)| layer.to_owned())
        .collect()
}

#[test]
fn make_targets_and_workflows_know_the_layers() {
    let layers = layers();
    assert!(layers.len() > 8, "{layers:?}");
    let makefile = read("Makefile");
    let asked = after(&makefile, "tests/run.sh ");
    assert!(asked.len() > 5, "{asked:?}");
    for layer in asked {
        assert!(layers.contains(layer), "Makefile: no layer {layer}");
    }
    let workflow = document(".github/workflows/ci.yaml");
    let jobs = workflow["jobs"].as_object().unwrap().values();
    let mut run: BTreeSet<_> = jobs
        .flat_map(|job| job["strategy"]["matrix"]["layer"].as_array().unwrap())
        .map(|layer| layer.as_str().unwrap().to_owned())
        .collect();
    // A measurement.
    run.insert("scale".to_owned());
    assert_eq!(run, layers);
}

#[test]
fn the_chart_is_told_of_by_the_name_that_it_is_released_under() {
    let workflow = read(".github/workflows/release.yaml");
    assert!(workflow.contains("REGISTRY: ghcr.io/${{ github.repository_owner }}"));
    assert!(workflow.contains("\"oci://$REGISTRY/charts\""));
    let owner = repository();
    let owner = owner.split('/').nth(3).unwrap();
    let chart = format!("oci://ghcr.io/{owner}/charts/loadtest-operator");
    for path in ["dist/krew/loadtest.yaml", "cli/src/cluster/error.rs"] {
        assert!(read(path).contains(&chart), "{path}");
    }
}

#[test]
fn every_target_of_make_that_is_told_of_exists() {
    let makefile = read("Makefile");
    let targets: BTreeSet<_> = makefile
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, _)| name)
        .collect();
    for path in ["README.md", "CONTRIBUTING.md", "ARCHITECTURE.md"] {
        let text = read(path);
        // In backticks, and as the command of a block.
        let told = after(&text, "`make ")
            .into_iter()
            .chain(after(&text, "\nmake "));
        for target in told.filter(|target| !target.is_empty()) {
            assert!(
                targets.contains(target),
                "{path}: make has no target {target}"
            );
        }
    }
}

/// Of the texts `amd64` and `arm64`.
const SUMS: [&str; 2] = [
    "5861314d7fccb39c2192173240eab44fa35ca66426201ca2acd0630a6258dd51",
    "f69162950f235e3cdbbad33f1f912d1a504be90d8a37d002c735d6f3e3882265",
];

#[test]
fn the_entry_for_krew_has_the_checksums_of_the_archives() {
    let folder = std::env::temp_dir().join(format!("loadtest-krew-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    for arch in ["amd64", "arm64"] {
        fs::write(folder.join(format!("loadtest-linux-{arch}.tar.gz")), arch).unwrap();
    }
    let tag = format!("v{VERSION}");
    let text = printed("dist/krew/render.sh", &[&tag, folder.to_str().unwrap()]);
    fs::remove_dir_all(&folder).unwrap();
    let entry = yaml::parse(&text).unwrap()[0].to_json();
    assert_eq!(entry["spec"]["version"], tag.as_str());
    let platforms = entry["spec"]["platforms"].as_array().unwrap();
    assert_eq!(platforms.len(), SUMS.len());
    for (platform, sum) in platforms.iter().zip(SUMS) {
        let arch = platform["selector"]["matchLabels"]["arch"]
            .as_str()
            .unwrap();
        let repository = repository();
        let uri = format!("{repository}/releases/download/{tag}/loadtest-linux-{arch}.tar.gz");
        assert_eq!(platform["uri"], uri.as_str());
        assert_eq!(platform["sha256"], sum);
        assert_eq!(platform["bin"], "loadtest");
    }
}
