//! The API on a real kube-apiserver: what it takes, what it refuses and in which words.
//!
//! Run by `make test-api`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use loadtest_tests::{
    cluster::{self, Namespace},
    root,
};

fn manifests(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .with_context(|| folder.display().to_string())?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    files.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "yaml")
    });
    files.sort();
    Ok(files)
}

/// The text behind `# name:` at the top of a manifest.
fn note<'a>(manifest: &'a str, name: &str) -> Option<&'a str> {
    let prefix = format!("# {name}: ");
    manifest
        .lines()
        .take(4)
        .find_map(|line| line.strip_prefix(&prefix))
}

/// Whether `text` has all parts of `expected`, which are separated by ` … `, one after the other.
fn has_in_order(text: &str, expected: &str) -> bool {
    let rest = expected.split(" … ").try_fold(text, |rest, part| {
        rest.find(part).and_then(|at| rest.get(at + part.len()..))
    });
    rest.is_some()
}

#[test]
#[ignore = "needs an API server: make test-api"]
fn bad_manifests_are_refused_with_sentences() -> Result<()> {
    let namespace = Namespace::new("bad")?;
    let files = manifests(&root().join("crds/tests/manifests/bad"))?;
    let mut wrong = Vec::new();
    let mut refused = 0;
    for file in &files {
        let manifest = fs::read_to_string(file)?;
        if note(&manifest, "by") != Some("schema") {
            continue;
        }
        let expected = note(&manifest, "refused").context("no `# refused:` line")?;
        let arguments = [
            "-n",
            namespace.name(),
            "apply",
            "--dry-run=server",
            "-f",
            "-",
        ];
        let output = cluster::kubectl(&arguments, &manifest)?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if !output.status.success() && has_in_order(&said, expected) {
            refused += 1;
        } else {
            wrong.push(format!(
                "{}: expected {expected:?}, heard {:?}",
                file.display(),
                said.trim()
            ));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    ensure!(
        refused >= 25,
        "only {refused} manifests were refused by the API server"
    );
    Ok(())
}

#[test]
#[ignore = "needs an API server: make test-api"]
fn good_manifests_are_taken() -> Result<()> {
    let namespace = Namespace::new("good")?;
    for file in manifests(&root().join("crds/tests/manifests/good"))? {
        let manifest = fs::read_to_string(&file)?;
        let created = namespace.kubectl_with(&["create", "-f", "-"], &manifest);
        let said = created.context(file.display().to_string())?;
        ensure!(said.contains("created"), "{}: {said}", file.display());
    }
    Ok(())
}

/// What Flux and Argo CD do every few minutes must be no change, whichever way they apply.
#[test]
#[ignore = "needs an API server: make test-api"]
fn a_second_apply_of_an_example_changes_nothing() -> Result<()> {
    let client_side = Namespace::new("again")?;
    let server_side = Namespace::new("again-server")?;
    for folder in ["examples", "examples/scenarios"] {
        for file in manifests(&root().join(folder))? {
            let manifest = fs::read_to_string(&file)?;
            unchanged_client_side(&client_side, &manifest)
                .and_then(|()| unchanged_server_side(&server_side, &manifest))
                .context(file.display().to_string())?;
        }
    }
    Ok(())
}

fn unchanged_client_side(namespace: &Namespace, manifest: &str) -> Result<()> {
    namespace.apply(manifest)?;
    let again = namespace.apply(manifest)?;
    // Of a Secret with `stringData` kubectl always says "configured".
    let mut lines = again.lines().filter(|line| !line.starts_with("secret/"));
    ensure!(lines.all(|line| line.ends_with("unchanged")), "{again}");
    Ok(())
}

/// `kubectl apply --server-side` says the same of a change and of none: generation and diff tell.
fn unchanged_server_side(namespace: &Namespace, manifest: &str) -> Result<()> {
    let apply = || {
        let generation = "jsonpath={.metadata.generation}";
        let arguments = ["apply", "--server-side", "-f", "-", "-o", generation];
        namespace.kubectl_with(&arguments, manifest)
    };
    let (first, second) = (apply()?, apply()?);
    ensure!(first == second, "generations {first} and {second}");
    let diff = namespace.kubectl_with(&["diff", "--server-side", "-f", "-"], manifest)?;
    ensure!(diff.is_empty(), "{diff}");
    Ok(())
}

#[test]
#[ignore = "needs an API server: make test-api"]
fn kubectl_explains_every_field() -> Result<()> {
    let said = cluster::ok(&["explain", "loadtest.spec", "--recursive"], "")?;
    for field in [
        "scenarios",
        "constantRate",
        "thresholds",
        "elasticsearch",
        "runToken",
        "forEach",
        "oauth2ClientCredentials",
    ] {
        ensure!(said.contains(field), "no {field} in:\n{said}");
    }
    for path in [
        "loadtest.spec.scenarios.load",
        "loadtest.spec.flows.steps",
        "loadtest.spec.flows.steps.repeat",
        "loadtest.spec.flows.steps.request.extract",
        "loadtest.spec.data",
        "loadtest.spec.auth",
        "loadtest.status.summary",
        "loadtestrun.spec",
    ] {
        let said = cluster::ok(&["explain", path], "")?;
        ensure!(
            !said.contains("<no description>"),
            "{path} has a field without a description:\n{said}"
        );
    }
    Ok(())
}

#[test]
#[ignore = "needs an API server: make test-api"]
fn a_new_object_is_not_current_before_the_operator_saw_it() -> Result<()> {
    let namespace = Namespace::new("kstatus")?;
    let manifest = "apiVersion: loadtest.dev/v1alpha1
kind: LoadTest
metadata: { name: fresh }
spec:
  suspend: true
  target: { url: \"http://t\" }
  scenarios:
    - name: main
      load: { constantUsers: { users: 1, duration: 1s } }
      tasks: [ { steps: [ { request: { url: / } } ] } ]
";
    let arguments = [
        "-n",
        namespace.name(),
        "create",
        "--dry-run=server",
        "-f",
        "-",
        "-o",
    ];
    let path = "jsonpath={.status.observedGeneration}";
    let said = cluster::ok(&[&arguments[..], &[path]].concat(), manifest)?;
    ensure!(said == "-1", "observedGeneration is {said:?}");
    Ok(())
}
