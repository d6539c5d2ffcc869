//! `helm template`, by the Helm that tests/cluster/build.sh makes.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use loadtest_crds::yaml;
use loadtest_tests::root;
use serde_json::Value;

use super::objects::Object;

/// Of every release here.
pub const NAMESPACE: &str = "loadtest-system";

/// A release that is never installed.
#[derive(Debug)]
pub struct Release {
    name: String,
    /// The user's values.
    pub values: Value,
}

impl Release {
    /// A release of this name, in [`NAMESPACE`].
    pub fn new(name: &str, values: Value) -> Self {
        let name = name.to_owned();
        Self { name, values }
    }

    /// The YAML that Helm makes, or what it says.
    pub fn render(&self) -> Result<String, String> {
        let mut helm = Command::new(root().join("tests/cluster/helm"))
            .args(["template", &self.name, "charts/loadtest-operator"])
            .args(["--namespace", NAMESPACE, "--kube-version", "1.34.0"])
            .args(["--values", "-"])
            .current_dir(root())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = helm.stdin.take().unwrap();
        input.write_all(self.values.to_string().as_bytes()).unwrap();
        drop(input);
        let output = helm.wait_with_output().unwrap();
        if output.status.success() {
            Ok(String::from_utf8(output.stdout).unwrap())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    /// The objects that Helm makes.
    pub fn objects(&self) -> Vec<Object> {
        let text = self
            .render()
            .unwrap_or_else(|said| panic!("{}: {said}", self.values));
        let documents = parse(&text).into_iter();
        documents.filter(|one| !one.is_null()).map(Object).collect()
    }
}

/// The documents of a YAML text, read as kubectl reads it.
pub fn parse(text: &str) -> Vec<Value> {
    let nodes = yaml::parse(text).unwrap_or_else(|problem| panic!("{problem}\n{text}"));
    nodes.iter().map(yaml::Node::to_json).collect()
}
