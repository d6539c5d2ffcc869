//! Secrets and data as files of a run's private directory: only this user can read them, and they
//! are gone with the run. Plans, logs and reports have their paths, never their content.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use loadtest_crds::{Problem, Stage, TestSpec};

use super::{
    Changes, Objects,
    objects::{Contents, WrongField},
    refused,
};
use crate::run::scratch::Scratch;

/// Largest secret: what a Secret of the cluster takes.
const MAX_SECRET: usize = 1 << 20;

/// What is said of a value that is no source.
const HOW_TO_GIVE: &str = "write NAME=env:VAR or NAME=file:PATH";

/// Where a secret comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// A variable of the environment.
    Environment(String),
    /// A file.
    File(PathBuf),
    /// Neither.
    Unreadable,
}

/// Reads `NAME=env:VAR` or `NAME=file:PATH`. What is neither is refused later, by name only: clap
/// would repeat the whole value, which may be the secret itself.
#[allow(clippy::unnecessary_wraps)] // the signature that clap asks for
pub(super) fn secret(text: &str) -> Result<(String, SecretSource), String> {
    let Some((name, source)) = text.split_once('=') else {
        return Ok((String::new(), SecretSource::Unreadable));
    };
    let source = match source.split_once(':') {
        Some(("env", variable)) if !variable.is_empty() => {
            SecretSource::Environment(variable.to_owned())
        }
        Some(("file", path)) if !path.is_empty() => SecretSource::File(path.into()),
        _ => SecretSource::Unreadable,
    };
    Ok((name.to_owned(), source))
}

impl SecretSource {
    fn read(&self) -> Result<Vec<u8>, String> {
        let bytes = match self {
            Self::Environment(variable) => {
                use std::os::unix::ffi::OsStringExt;
                std::env::var_os(variable)
                    .map(OsStringExt::into_vec)
                    .ok_or_else(|| format!("the environment has no variable {variable}"))?
            }
            Self::Unreadable => return Err(HOW_TO_GIVE.to_owned()),
            Self::File(path) => std::fs::read(path)
                .map_err(|error| format!("cannot read {}: {error}", path.display()))?,
        };
        if bytes.len() > MAX_SECRET {
            return Err("is longer than 1 MiB".to_owned());
        }
        Ok(bytes)
    }
}

/// What has to be written for a run, and where it was.
#[derive(Debug, Default)]
pub struct PrivateFiles {
    secrets: BTreeMap<String, Vec<u8>>,
    data: BTreeMap<String, Vec<u8>>,
}

/// The names of files by the names in the manifest.
#[derive(Debug, Default)]
pub struct Written {
    /// Secrets.
    pub secrets: BTreeMap<String, String>,
    /// Data.
    pub data: BTreeMap<String, String>,
}

impl PrivateFiles {
    /// Everything that the options give and that stands beside the test; options come first.
    ///
    /// # Errors
    /// Each secret that cannot be read or that the test does not have, each key that is missing.
    pub fn collect(
        changes: &Changes,
        objects: &Objects,
        spec: &TestSpec,
    ) -> Result<Self, Vec<Problem>> {
        let mut problems = changes.unknown_secrets(spec);
        let mut given = BTreeMap::new();
        let readable = |(_, source): &&(String, SecretSource)| *source != SecretSource::Unreadable;
        for (name, source) in changes.secrets.iter().filter(readable) {
            match source.read() {
                Ok(bytes) => drop(given.insert(name.clone(), bytes)),
                Err(message) => problems.push(refused(&format!("--secret {name}"), message)),
            }
        }
        let mut taken = |found: Result<Contents, Vec<WrongField>>| {
            found.unwrap_or_else(|wrong| {
                let of = |(path, message)| Problem::new(Stage::Acceptance, path, message);
                problems.extend(wrong.into_iter().map(of));
                BTreeMap::new()
            })
        };
        let mut secrets = taken(objects.secrets(spec));
        let data = taken(objects.data(spec));
        secrets.append(&mut given);
        if problems.is_empty() {
            Ok(Self { secrets, data })
        } else {
            Err(problems)
        }
    }

    /// Writes the files.
    ///
    /// # Errors
    /// As of the system calls.
    pub fn write(&self, scratch: &Scratch) -> io::Result<Written> {
        Ok(Written {
            secrets: write_all(scratch, "secrets", &self.secrets)?,
            data: write_all(scratch, "data", &self.data)?,
        })
    }
}

fn write_all(
    scratch: &Scratch,
    kind: &str,
    contents: &BTreeMap<String, Vec<u8>>,
) -> io::Result<BTreeMap<String, String>> {
    if contents.is_empty() {
        return Ok(BTreeMap::new());
    }
    scratch.directory(kind)?;
    let mut paths = BTreeMap::new();
    // Names are identifiers, but the file system should not have to rely on that.
    for (index, (name, bytes)) in contents.iter().enumerate() {
        let path = scratch.secret(&format!("{kind}/{index}"), bytes)?;
        paths.insert(name.clone(), path.display().to_string());
    }
    Ok(paths)
}

impl Changes {
    /// Problems of secrets that are given wrongly, or that the test does not have.
    pub fn unknown_secrets(&self, spec: &TestSpec) -> Vec<Problem> {
        let known = known_secrets(spec);
        let problem = |(name, source): &(String, SecretSource)| {
            let message = match source {
                SecretSource::Unreadable => HOW_TO_GIVE.to_owned(),
                _ if known.contains(name) => return None,
                _ if known.is_empty() => "the test has no secrets".to_owned(),
                _ => format!("the test has {}", known.join(", ")),
            };
            Some(refused(format!("--secret {name}").trim_end(), message))
        };
        self.secrets.iter().filter_map(problem).collect()
    }
}

fn known_secrets(spec: &TestSpec) -> Vec<String> {
    let mut known: Vec<_> = spec
        .secrets
        .iter()
        .map(|secret| secret.name.to_string())
        .collect();
    if let Some(auth) = &spec.auth {
        let of_auth: [(bool, &[&str]); 3] = [
            (auth.basic.is_some(), &["username", "password"]),
            (auth.bearer.is_some(), &["token"]),
            (
                auth.client_credentials.is_some(),
                &["client-id", "client-secret"],
            ),
        ];
        for (_, names) in of_auth.iter().filter(|(is_there, _)| *is_there) {
            known.extend(names.iter().map(|name| format!("auth.{name}")));
        }
    }
    known
}

/// Makes relative paths of data and bodies relative to the manifest's directory, since runners have
/// directories of their own.
pub fn anchor(spec: &mut TestSpec, directory: &Path) {
    let anchored = |path: &mut String| {
        if !path.starts_with('/')
            && let Some(whole) = std::path::absolute(directory.join(&*path))
                .ok()
                .and_then(|whole| whole.to_str().map(str::to_owned))
        {
            *path = whole;
        }
    };
    for data in &mut spec.data {
        data.from.path.iter_mut().for_each(anchored);
    }
    let tasks = spec
        .scenarios
        .iter_mut()
        .flat_map(|scenario| &mut scenario.tasks);
    let of_tasks = tasks.flat_map(|task| task.steps.iter_mut().flatten());
    let of_flows = spec.flows.iter_mut().flat_map(|flow| &mut flow.steps);
    for step in of_tasks.chain(of_flows) {
        let Some(body) = step
            .request
            .as_mut()
            .and_then(|request| request.body.as_mut())
        else {
            continue;
        };
        body.file.iter_mut().for_each(anchored);
        let parts = body.multipart.iter_mut().flatten();
        parts.for_each(|part| part.file.iter_mut().for_each(anchored));
    }
}
