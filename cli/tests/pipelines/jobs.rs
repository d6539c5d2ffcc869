//! Jobs of pipelines, done step by step as their runners do them.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use loadtest_crds::yaml;
use serde_json::Value;

use crate::common::{BINARY, Place};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A file of the checkout, as one YAML document.
pub fn document(path: &str) -> Value {
    let text = fs::read_to_string(root().join(path)).unwrap();
    let documents = yaml::parse(&text).unwrap_or_else(|problem| panic!("{path}: {problem:?}"));
    assert_eq!(documents.len(), 1, "{path}");
    documents[0].to_json()
}

fn text(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("{value} is no text"))
        .to_owned()
}

fn lines(value: &Value) -> String {
    let lines = value
        .as_array()
        .unwrap_or_else(|| panic!("{value} is no list"));
    lines.iter().map(text).collect::<Vec<_>>().join("\n")
}

/// Where a job is done: a checkout of a service with `loadtest.yaml` in it, and a release to install from.
pub struct Machine {
    pub place: Place,
    environment: BTreeMap<String, String>,
}

impl Machine {
    /// `given` are the values of the pipeline's own variables.
    pub fn new(given: &[(&str, &str)]) -> Self {
        let place = Place::new();
        let manifest = root().join("examples/ci/loadtest.yaml");
        fs::copy(manifest, place.path().join("loadtest.yaml")).unwrap();
        for folder in ["release", "temp"] {
            fs::create_dir(place.path().join(folder)).unwrap();
        }
        let binary = Path::new(BINARY);
        let packed = Command::new("tar")
            .args(["--use-compress-program", "gzip -1", "-cf"])
            .arg(place.path().join("release/loadtest-linux-amd64.tar.gz"))
            .arg("-C")
            .args([binary.parent().unwrap().as_os_str(), "loadtest".as_ref()])
            .status();
        assert!(packed.unwrap().success());
        let mut machine = Self {
            environment: BTreeMap::new(),
            place,
        };
        for (name, value) in given {
            machine.set(name, value);
        }
        machine.set("NO_COLOR", "1");
        machine
    }

    pub fn set(&mut self, name: &str, value: &str) {
        self.environment.insert(name.to_owned(), value.to_owned());
    }

    /// From here on `LOADTEST_RELEASE`, which must be that of this version, is the folder `release`.
    fn release(&mut self, written: &str) {
        let cargo = fs::read_to_string(root().join("Cargo.toml")).unwrap();
        let (_, repository) = cargo.split_once("repository = \"").unwrap();
        let (repository, _) = repository.split_once('"').unwrap();
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(
            written,
            format!("{repository}/releases/download/v{version}")
        );
        let folder = self.place.path().join("release");
        self.set("LOADTEST_RELEASE", &format!("file://{}", folder.display()));
    }

    fn bash(&self, script: &str) -> Output {
        let mut command = Command::new("bash");
        command
            .args([
                "--noprofile",
                "--norc",
                "-e",
                "-o",
                "pipefail",
                "-c",
                script,
            ])
            .current_dir(self.place.path())
            .stdin(Stdio::null())
            .envs(&self.environment);
        command.output().unwrap()
    }

    pub fn read(&self, path: &str) -> String {
        fs::read_to_string(self.place.path().join(path))
            .unwrap_or_else(|error| panic!("{path}: {error}"))
    }
}

/// What each step of a job ended with, by its name.
pub type Steps = Vec<(String, Output)>;

/// The steps of a job of GitHub Actions that have a script, whether or not those before them failed.
/// `secrets` and variables in `${{ }}` have the values of `expressions`.
pub fn github(machine: &mut Machine, path: &str, job: &str, expressions: &[(&str, &str)]) -> Steps {
    let workflow = document(path);
    for file in ["path", "env", "summary"] {
        machine.place.write(file, "");
    }
    let folder = machine.place.path().to_owned();
    for (name, file) in [
        ("GITHUB_PATH", "path"),
        ("GITHUB_ENV", "env"),
        ("GITHUB_STEP_SUMMARY", "summary"),
        ("RUNNER_TEMP", "temp"),
    ] {
        let file = folder.join(file).display().to_string();
        machine.set(name, &file);
    }
    environment(machine, &workflow["env"], expressions);
    let job = &workflow["jobs"][job];
    environment(machine, &job["env"], expressions);
    let mut done = Steps::new();
    for step in job["steps"].as_array().unwrap() {
        let Some(script) = step["run"].as_str() else {
            let action = text(&step["uses"]);
            assert!(action.starts_with("actions/"), "{action}: not tested here");
            continue;
        };
        assert!(
            !script.contains("${{"),
            "a script with an expression in it can be injected into"
        );
        environment(machine, &step["env"], expressions);
        done.push((text(&step["name"]), machine.bash(script)));
        for pair in machine.read("env").lines() {
            let (name, value) = pair.split_once('=').unwrap();
            machine.set(name, value);
        }
        let added = machine.read("path");
        let before = std::env::var("PATH").unwrap();
        let path: Vec<_> = added.lines().chain([before.as_str()]).collect();
        let path = path.join(":");
        machine.set("PATH", &path);
    }
    done
}

fn environment(machine: &mut Machine, given: &Value, expressions: &[(&str, &str)]) {
    for (name, value) in given.as_object().into_iter().flatten() {
        let value = text(value);
        if name == "LOADTEST_RELEASE" {
            machine.release(&value);
            continue;
        }
        let expression = value
            .strip_prefix("${{ ")
            .and_then(|rest| rest.strip_suffix(" }}"));
        let known = |wanted: &str| {
            let found = expressions.iter().find(|(name, _)| *name == wanted);
            found
                .unwrap_or_else(|| panic!("nobody has given {wanted}"))
                .1
                .to_owned()
        };
        let value = expression.map_or_else(|| value.clone(), known);
        machine.set(name, &value);
    }
}

/// The script and the `after_script` of a job of GitLab.
pub fn gitlab(machine: &mut Machine, path: &str, job: &str) -> Steps {
    let pipeline = document(path);
    machine.release(&text(&pipeline["variables"]["LOADTEST_RELEASE"]));
    let job = &pipeline[job];
    let base = &pipeline[text(&job["extends"]).as_str()];
    assert_eq!(base["artifacts"]["reports"]["junit"], "results/junit.xml");
    let script = [lines(&base["before_script"]), lines(&job["script"])].join("\n");
    let script = machine.bash(&script);
    let after = machine.bash(&lines(&job["after_script"]));
    vec![
        ("script".to_owned(), script),
        ("after_script".to_owned(), after),
    ]
}

/// Asserts the exit codes of steps, and shows everything if they are others.
pub fn assert_codes(steps: &Steps, wanted: &[(&str, i32)]) {
    let codes: Vec<_> = steps
        .iter()
        .map(|(name, output)| (name.as_str(), output.status.code().unwrap_or(-1)))
        .collect();
    assert_eq!(codes, wanted, "{steps:#?}");
}
