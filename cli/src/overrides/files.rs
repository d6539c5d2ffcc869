//! Secrets and data as files of a run's private directory: only this user can read them, and they
//! are gone with the run. Plans, logs and reports have their paths, never their content.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use loadtest_core::plan::ClientCertificate;
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
    /// As of the system calls; and when secrets would lie on a disk, which may keep them.
    pub fn write(&self, scratch: &Scratch) -> io::Result<Written> {
        if let (Some(why), false) = (scratch.not_in_memory(), self.secrets.is_empty()) {
            let message = format!("secrets are kept in memory only; {why}");
            return Err(io::Error::other(message));
        }
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

/// A client certificate of the options `<prefix>-cert` and `<prefix>-key`, which need each other.
///
/// # Errors
/// A file that cannot be read, by its option.
pub fn client_certificate(
    prefix: &str,
    certificate: Option<&Path>,
    key: Option<&Path>,
) -> Result<Option<ClientCertificate>, Vec<Problem>> {
    let certificate = readable(&format!("{prefix}-cert"), certificate)?;
    let key = readable(&format!("{prefix}-key"), key)?;
    let both = certificate.zip(key);
    Ok(both.map(|(certificate_file, key_file)| ClientCertificate {
        certificate_file,
        key_file,
    }))
}

/// The whole path of a file that can be read, since engines have a directory of their own.
///
/// # Errors
/// Why it cannot, by option.
pub fn readable(option: &str, path: Option<&Path>) -> Result<Option<String>, Vec<Problem>> {
    let refused = |message: String| vec![Problem::new(Stage::Acceptance, option, message)];
    let Some(path) = path else { return Ok(None) };
    let shown = path.display();
    std::fs::read_to_string(path)
        .map_err(|error| refused(format!("cannot read {shown}: {error}")))?;
    std::path::absolute(path)
        .ok()
        .and_then(|path| path.to_str().map(str::to_owned))
        .ok_or_else(|| {
            refused(format!(
                "{shown} is no name of a file that can be written down"
            ))
        })
        .map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_never_put_where_a_disk_may_keep_them() {
        let root = std::env::temp_dir().join(format!("loadtest-instead-{}", std::process::id()));
        std::fs::create_dir_all(&root).unwrap();
        let absent = root.join("absent");
        let scratch = Scratch::in_one_of(&absent, &root, "a").unwrap();
        let absent = absent.display();
        let why = format!(
            "{absent} cannot be written (No such file or directory (os error 2)), and {} may lie on a disk: mount a tmpfs at {absent}",
            root.display()
        );
        assert_eq!(scratch.not_in_memory(), Some(why.as_str()));
        let of = |text: &str| BTreeMap::from([("key".to_owned(), text.as_bytes().to_vec())]);
        let secret = PrivateFiles {
            secrets: of("hush"),
            data: of("rows"),
        };
        let refused = secret.write(&scratch).unwrap_err();
        assert_eq!(
            refused.to_string(),
            format!("secrets are kept in memory only; {why}")
        );
        let data = PrivateFiles {
            secrets: BTreeMap::new(),
            ..secret
        };
        assert_eq!(data.write(&scratch).unwrap().data.len(), 1);
        drop(scratch);
        let in_memory = Scratch::in_one_of(&root, Path::new("/absent"), "b").unwrap();
        assert_eq!(in_memory.not_in_memory(), None);
        drop(in_memory);
        std::fs::remove_dir_all(&root).unwrap();
    }
}
