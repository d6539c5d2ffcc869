//! What texts are made of and all workers read: secrets, files, what the setup found out.

use std::{
    fmt, fs, io,
    sync::{Arc, OnceLock},
};

use loadtest_core::plan::{Plan, ValueScope};

use super::{authorization::Current, private::Private};
use crate::engine::rehearsal::Witness;

/// Why something that the plan names cannot be used. The sentence becomes the run's message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InputError {
    /// A secret is missing or is no text.
    #[error("secret {name:?}: cannot use {path}: {reason}")]
    Secret {
        /// Its name.
        name: String,
        /// Its file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A file that a body is made of is missing.
    #[error("a body is made of {path}, which cannot be read: {reason}")]
    File {
        /// Which.
        path: String,
        /// What the system said.
        reason: String,
    },
}

/// What all workers read. Nothing in it changes once load is sent, but the authorization.
#[derive(Debug, Default)]
pub struct Inputs {
    /// How long each value is remembered.
    pub scopes: Box<[ValueScope]>,
    /// Names of the values, for messages.
    pub value_names: Box<[String]>,
    /// Names of the feeders, for messages.
    pub feeders: Box<[String]>,
    /// By their index in the plan.
    pub secrets: Box<[Secret]>,
    /// Contents, by their index in the plan.
    pub files: Box<[Arc<[u8]>]>,
    /// What the setup found out; empty until it is set.
    pub setup: OnceLock<Box<[String]>>,
    /// How many of a million iterations ask the target to record their trace.
    pub traces_per_million: u32,
    /// What proves to the target who we are.
    pub authorization: Arc<Current>,
    /// Names of the secrets, for whoever looks.
    pub secret_names: Box<[String]>,
    /// Values that are made of secrets.
    pub private: Private,
    /// Whoever looks at every request; nobody in a run.
    pub witness: Option<Arc<Witness>>,
}

/// A text that is shown nowhere.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Reads a secret from its file. One line break at the end is not part of it.
    ///
    /// # Errors
    /// When there is no such text.
    pub fn read(name: &str, path: &str) -> Result<Self, InputError> {
        let refused = |error: io::Error| InputError::Secret {
            name: name.to_owned(),
            path: path.to_owned(),
            reason: match error.kind() {
                io::ErrorKind::InvalidData => "it is not UTF-8 text".to_owned(),
                _ => error.to_string(),
            },
        };
        let mut text = fs::read_to_string(path).map_err(refused)?;
        if text.ends_with('\n') {
            text.pop();
            if text.ends_with('\r') {
                text.pop();
            }
        }
        Ok(Self(text))
    }

    /// The secret itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl Inputs {
    /// Reads what the plan names.
    ///
    /// # Errors
    /// [`InputError`] names the first file that cannot be used.
    pub fn read(plan: &Plan) -> Result<Self, InputError> {
        let inputs = &plan.inputs;
        let secrets = inputs.secrets.iter();
        let files = inputs.files.iter().map(|path| {
            let content = fs::read(path).map_err(|error| InputError::File {
                path: path.clone(),
                reason: error.to_string(),
            })?;
            Ok(content.into())
        });
        Ok(Self {
            scopes: inputs.values.iter().map(|value| value.scope).collect(),
            value_names: inputs.values.iter().map(|key| key.name.clone()).collect(),
            feeders: inputs
                .data
                .iter()
                .map(|feeder| feeder.name.clone())
                .collect(),
            secrets: secrets
                .map(|secret| Secret::read(&secret.name, &secret.path))
                .collect::<Result<_, _>>()?,
            files: files.collect::<Result<_, _>>()?,
            setup: OnceLock::new(),
            traces_per_million: plan.target.traces_per_million,
            authorization: Arc::default(),
            secret_names: inputs
                .secrets
                .iter()
                .map(|secret| secret.name.clone())
                .collect(),
            private: Private::of(plan),
            witness: None,
        })
    }

    /// Gives everybody what the setup found out, in the order of the plan's setup values. Only the
    /// first time counts.
    pub fn set_setup(&self, values: Vec<String>) {
        drop(self.setup.set(values.into()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_break_is_not_part_of_a_secret() {
        let path = std::env::temp_dir().join(format!("loadtest-secret-{}", std::process::id()));
        let name = path.display().to_string();
        for (content, secret) in [
            (&b"s3cret\n"[..], "s3cret"),
            (b"s3cret\r\n", "s3cret"),
            (b"two\n\n", "two\n"),
            (b"none", "none"),
            (b"", ""),
        ] {
            fs::write(&path, content).unwrap();
            let read = Secret::read("key", &name).unwrap();
            assert_eq!(read.reveal(), secret);
            assert_eq!(format!("{read:?}"), "[secret]");
        }
        fs::write(&path, b"\xff\xfe").unwrap();
        let refused = Secret::read("key", &name).unwrap_err().to_string();
        fs::remove_file(&path).unwrap();
        assert_eq!(
            refused,
            format!("secret \"key\": cannot use {name}: it is not UTF-8 text")
        );
    }
}
