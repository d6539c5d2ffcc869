//! What the command line changes of a manifest, the same wherever a FILE is taken.
//!
//! Order: overlays in the order given, then `--set`, then `--var`, then `--scale`. Everything is
//! changed before anything is checked, so what is refused is what would have been run.

mod files;
mod objects;
mod patch;
mod path;
mod scale;

use std::path::PathBuf;

use loadtest_crds::{Place, Problem, Stage, yaml};

pub use files::{PrivateFiles, SecretSource, anchor, client_certificate, readable};
pub use objects::Objects;

use crate::{manifest, run::options::name_and_value};

/// Options that change a manifest.
#[allow(clippy::doc_markdown)]
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Changes {
    /// Set a variable of the manifest; may be repeated.
    #[arg(long = "var", value_name = "NAME=VALUE", value_parser = name_and_value)]
    pub variables: Vec<(String, String)>,
    /// Give a secret of the manifest, from the environment or a file; may be repeated. Secrets of
    /// spec.auth are named auth.username, auth.password, auth.token, auth.client-id and
    /// auth.client-secret.
    #[arg(long = "secret", value_name = "NAME=env:VAR|file:PATH", value_parser = files::secret)]
    pub secrets: Vec<(String, SecretSource)>,
    /// Set a field, such as spec.scenarios[0].load.constantRate.rate=5/s; [NAME] finds an item of a
    /// list by its name, null removes the field; may be repeated.
    #[arg(long = "set", value_name = "PATH=VALUE", value_parser = path_and_value)]
    pub set: Vec<(String, String)>,
    /// Merge a file over the manifest: maps are merged, items of lists by their name, other lists
    /// are replaced, null removes; may be repeated.
    #[arg(long = "overlay", value_name = "FILE")]
    pub overlays: Vec<PathBuf>,
    /// Scale all users, rates and iterations, such as 5%. Rounded up: users and iterations to whole
    /// ones, rates to whole ones per minute, so nothing that is not 0 becomes 0.
    #[arg(long, value_name = "PERCENT", value_parser = scale::factor)]
    pub scale: Option<scale::Factor>,
}

impl Changes {
    /// Changes a `LoadTest`.
    ///
    /// # Errors
    /// What cannot be done, by option.
    pub fn apply(&self, test: &mut yaml::Node) -> Result<(), Vec<Problem>> {
        let mut problems = Vec::new();
        for overlay in &self.overlays {
            if let Err(message) = overlaid(test, overlay) {
                problems.push(refused(
                    &format!("--overlay {}", overlay.display()),
                    message,
                ));
            }
        }
        for (path, value) in &self.set {
            let done = value_of(value).and_then(|value| patch::set(test, path, value));
            if let Err(message) = done {
                problems.push(refused(&format!("--set {path}"), message));
            }
        }
        let known = Variables::of(test);
        for (name, value) in &self.variables {
            if let Err(message) = known.has(name) {
                problems.push(refused(&format!("--var {name}"), message));
                continue;
            }
            let place = test.locate("spec.variables");
            let value = text(value, place);
            if let Err(message) = patch::set_member(test, &["spec", "variables", name], value) {
                problems.push(refused(&format!("--var {name}"), message));
            }
        }
        if let Some(factor) = self.scale {
            scale::all(test, factor);
        }
        if problems.is_empty() {
            Ok(())
        } else {
            Err(problems)
        }
    }
}

/// The variables of a test, and its text, which may use others that an option gives.
struct Variables {
    declared: Vec<String>,
    text: String,
}

impl Variables {
    fn of(test: &yaml::Node) -> Self {
        let value = test.to_json();
        let declared = value.pointer("/spec/variables");
        let declared = declared.and_then(serde_json::Value::as_object);
        Self {
            declared: declared
                .into_iter()
                .flatten()
                .map(|(name, _)| name.clone())
                .collect(),
            text: value.to_string(),
        }
    }

    /// A slip of the pen would change nothing, and nobody would know.
    fn has(&self, name: &str) -> Result<(), String> {
        let written = format!("var.{name}");
        let is_used = || {
            let mut found = self.text.match_indices(&written);
            // The beginning of another name is another name.
            found.any(|(at, _)| {
                let behind = self.text.get(at + written.len()..).unwrap_or_default();
                !behind.starts_with(|next: char| next.is_alphanumeric() || next == '_')
            })
        };
        if self.declared.iter().any(|declared| declared == name) || is_used() {
            return Ok(());
        }
        let none = format!("the test neither has such a variable nor uses $(var.{name})");
        Err(match self.declared.as_slice() {
            [] => none,
            declared => format!("{none}; it has {}", declared.join(", ")),
        })
    }
}

/// Reads `PATH=VALUE`.
fn path_and_value(text: &str) -> Result<(String, String), String> {
    name_and_value(text)
        .map_err(|_| "write PATH=VALUE, such as spec.target.url=http://localhost:8080".to_owned())
}

/// What is wrong with an option.
fn refused(option: &str, message: impl Into<String>) -> Problem {
    Problem::new(Stage::Acceptance, option, message)
}

fn text(value: &str, place: Place) -> yaml::Node {
    yaml::Node {
        place,
        content: yaml::Content::Text(value.to_owned()),
    }
}

/// A value as YAML; `None` for null.
fn value_of(value: &str) -> Result<Option<yaml::Node>, String> {
    if value.trim().is_empty() {
        return Ok(Some(text("", Place { line: 1, column: 1 })));
    }
    let mut documents = yaml::parse(value).map_err(|problem| problem.sentence())?;
    match documents.len() {
        0 | 1 => Ok(documents.pop()),
        _ => Err("is more than one value".to_owned()),
    }
}

fn overlaid(test: &mut yaml::Node, path: &std::path::Path) -> Result<(), String> {
    let patch_text = manifest::read(path).map_err(|error| error.to_string())?;
    let mut documents = yaml::parse(&patch_text).map_err(|problem| problem.to_string())?;
    let (Some(overlay), true) = (documents.pop(), documents.is_empty()) else {
        return Err("must be one document, such as spec: { … }".to_owned());
    };
    let value = overlay.to_json();
    let name = |value: &serde_json::Value| {
        let name = value.pointer("/metadata/name")?;
        name.as_str().map(str::to_owned)
    };
    if let (Some(theirs), Some(ours)) = (name(&value), name(&test.to_json()))
        && theirs != ours
    {
        return Err(format!("is for the test {theirs}, and this one is {ours}"));
    }
    if value.get("spec").is_none() && value.get("metadata").is_none() {
        return Err("changes nothing: write it as in the test, below spec:".to_owned());
    }
    patch::merge(test, overlay);
    Ok(())
}
