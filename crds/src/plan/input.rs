//! What templates draw from: data, secrets, files, and how requests prove who they are.

use std::{collections::BTreeSet, time::Duration};

use loadtest_core::{
    data::Table,
    plan::{
        DataFormat, DataOrder, DataScope, DataShare, DataSource, Feeder, Inputs, OnExhausted,
        SecretFile, TargetAuth,
    },
    shard::Shard,
    template::DataNames,
};
use url::Url;

use super::{Builder, mounts};
use crate::{
    rule,
    spec::{self, TestSpec},
};

/// Largest data in a manifest; `ConfigMap`s and files are for more.
const MAX_INLINE: usize = 64 << 10;

/// A token is renewed so long before it expires.
const DEFAULT_REFRESH_BEFORE: Duration = Duration::from_secs(30);

impl Builder<'_> {
    /// Everything but the values: their number is known only when all steps were looked at.
    pub(super) fn inputs(&mut self, spec: &TestSpec) -> (Inputs, Vec<DataNames>) {
        let (data, names) = self.data(spec);
        let mut secrets = self.secrets(spec);
        let auth = spec
            .auth
            .as_ref()
            .and_then(|auth| self.target_auth(auth, &mut secrets));
        let inputs = Inputs {
            data,
            secrets,
            auth,
            ..Inputs::default()
        };
        (inputs, names)
    }

    fn data(&mut self, spec: &TestSpec) -> (Vec<Feeder>, Vec<DataNames>) {
        let mut feeders = Vec::with_capacity(spec.data.len());
        let mut names = Vec::with_capacity(spec.data.len());
        let mut seen = BTreeSet::new();
        for (index, data) in spec.data.iter().enumerate() {
            let path = format!("{}.data[{index}]", self.root);
            if !seen.insert(&*data.name) {
                self.problem(
                    &path,
                    format!("there is other data named {:?}", &*data.name),
                );
            }
            self.free_name(&format!("{path}.name"), &data.name);
            let feeder = self.feeder(&path, data);
            let columns = match &feeder.source {
                DataSource::Inline(text) => {
                    self.columns(&format!("{path}.from.inline"), feeder.format, text)
                }
                DataSource::File(_) => self.overrides.data_columns.get(&*data.name).cloned(),
            };
            names.push(DataNames {
                name: feeder.name.clone(),
                columns,
            });
            feeders.push(feeder);
        }
        (feeders, names)
    }

    fn feeder(&mut self, path: &str, data: &spec::Data) -> Feeder {
        let spec::Data {
            name,
            from,
            format,
            order,
            share,
            scope,
            on_exhausted,
        } = data;
        Feeder {
            name: name.0.clone(),
            source: self.data_source(&format!("{path}.from"), name, from),
            format: match format.unwrap_or_default() {
                spec::DataFormat::Csv => DataFormat::Csv,
                spec::DataFormat::JsonLines => DataFormat::JsonLines,
            },
            order: match order.unwrap_or_default() {
                spec::DataOrder::Sequential => DataOrder::Sequential,
                spec::DataOrder::Random => DataOrder::Random,
            },
            share: match share.unwrap_or_default() {
                spec::DataShare::Split => DataShare::Split,
                spec::DataShare::Each => DataShare::Each,
            },
            scope: match scope.unwrap_or_default() {
                spec::DataScope::Iteration => DataScope::Iteration,
                spec::DataScope::User => DataScope::User,
            },
            on_exhausted: match on_exhausted.unwrap_or_default() {
                spec::OnExhausted::Recycle => OnExhausted::Recycle,
                spec::OnExhausted::Stop => OnExhausted::Stop,
            },
            sha256: None,
        }
    }

    fn data_source(&mut self, path: &str, name: &str, from: &spec::DataFrom) -> DataSource {
        let overridden = self.overrides.data_files.get(name).cloned();
        match (&from.inline, &from.config_map_ref, &from.path) {
            (Some(text), None, None) => DataSource::Inline(text.clone()),
            (None, Some(object), None) => {
                if self.overrides.local && overridden.is_none() {
                    let message = format!(
                        "is in the cluster, not on this machine: put the ConfigMap {} with its key {} into the same FILE",
                        &*object.name, &*object.key
                    );
                    self.problem(&format!("{path}.configMapRef"), message);
                }
                let mounted = || format!("{}/{name}", mounts::DATA_DIR);
                DataSource::File(overridden.unwrap_or_else(mounted))
            }
            (None, None, Some(file)) => {
                let file = self.path_of(&format!("{path}.path"), file);
                DataSource::File(overridden.unwrap_or(file))
            }
            _ => {
                self.problem(path, rule::DATA_FROM.message());
                DataSource::File(String::new())
            }
        }
    }

    fn columns(&mut self, path: &str, format: DataFormat, text: &str) -> Option<Vec<String>> {
        if text.len() > MAX_INLINE {
            let message = format!(
                "has {} KiB, at most {} KiB: put it into a ConfigMap or a file",
                text.len().div_ceil(1 << 10),
                MAX_INLINE >> 10
            );
            self.problem(path, message);
        }
        match Table::parse(format, text.as_bytes(), Shard::WHOLE) {
            Ok(table) => Some(table.columns().to_vec()),
            Err(error) => {
                self.problem(path, error);
                None
            }
        }
    }

    /// A file of the runner; on this machine one that is found from where the manifest is.
    fn path_of(&mut self, path: &str, file: &str) -> String {
        self.plain_text(path, file);
        if file.contains("$(") {
            let message = "is read once, before the load: a template cannot stand in it";
            self.problem(path, message);
        }
        match &self.overrides.directory {
            Some(directory) if !file.starts_with('/') => format!("{directory}/{file}"),
            _ => file.to_owned(),
        }
    }

    /// Index of a file that bodies are made of.
    pub(super) fn file(&mut self, path: &str, file: &str) -> u32 {
        let file = self.path_of(path, file);
        let files = &mut self.made.files;
        let known = files.iter().position(|other| *other == file);
        let index = known.unwrap_or_else(|| {
            files.push(file);
            files.len() - 1
        });
        index as u32
    }

    fn secrets(&mut self, spec: &TestSpec) -> Vec<SecretFile> {
        let mut secrets: Vec<SecretFile> = Vec::with_capacity(spec.secrets.len());
        for (index, secret) in spec.secrets.iter().enumerate() {
            let path = format!("{}.secrets[{index}]", self.root);
            let name = &*secret.name;
            if secrets.iter().any(|other| other.name == *name) {
                self.problem(&path, format!("there is another secret named {name:?}"));
            }
            let mounted = format!("{}/{name}", mounts::SECRETS_DIR);
            let path = format!("{path}.secretRef");
            secrets.push(self.secret_file(&path, name, mounted));
        }
        secrets
    }

    /// A secret where the operator mounts it, or where the command line put it.
    fn secret_file(&mut self, path: &str, name: &str, mounted: String) -> SecretFile {
        let given = self.overrides.secret_files.get(name).cloned();
        if self.overrides.local && given.is_none() {
            let message = format!(
                "is in the cluster, not on this machine: give it with --secret {name}=env:VAR or --secret {name}=file:PATH, or put the Secret into the same FILE"
            );
            self.problem(path, message);
        }
        SecretFile {
            name: name.to_owned(),
            path: given.unwrap_or(mounted),
        }
    }

    fn target_auth(
        &mut self,
        auth: &spec::TargetAuth,
        secrets: &mut Vec<SecretFile>,
    ) -> Option<TargetAuth> {
        let path = format!("{}.auth", self.root);
        let mut secret = |builder: &mut Self, field: &str, file: &str| {
            let mounted = format!("{}/{file}", mounts::TARGET_AUTH_DIR);
            let name = format!("auth.{file}");
            secrets.push(builder.secret_file(&format!("{path}.{field}"), &name, mounted));
            (secrets.len() - 1) as u32
        };
        match (&auth.basic, &auth.bearer, &auth.client_credentials) {
            (Some(_), None, None) => Some(TargetAuth::Basic {
                username: secret(self, "basic.secretRef", mounts::USERNAME),
                password: secret(self, "basic.secretRef", mounts::PASSWORD),
            }),
            (None, Some(_), None) => Some(TargetAuth::Bearer {
                token: secret(self, "bearer.secretRef", mounts::TOKEN),
            }),
            (None, None, Some(credentials)) => {
                let field = "oauth2ClientCredentials";
                let client_id = secret(self, &format!("{field}.clientIdRef"), mounts::CLIENT_ID);
                let client_secret = secret(
                    self,
                    &format!("{field}.clientSecretRef"),
                    mounts::CLIENT_SECRET,
                );
                if let Err(message) = check_token_url(&credentials.token_url) {
                    self.problem(&format!("{path}.{field}.tokenUrl"), message);
                }
                Some(TargetAuth::ClientCredentials {
                    token_url: credentials.token_url.clone(),
                    client_id,
                    client_secret,
                    scope: credentials.scope.clone(),
                    refresh_before: self.duration(
                        &format!("{path}.{field}.refreshBefore"),
                        credentials.refresh_before.as_deref(),
                        DEFAULT_REFRESH_BEFORE,
                    ),
                })
            }
            _ => {
                self.problem(&path, rule::TARGET_AUTH.message());
                None
            }
        }
    }
}

/// RFC 6749, 3.2: a query is part of it, a fragment is not.
fn check_token_url(text: &str) -> Result<(), String> {
    let url = Url::parse(text).map_err(|error| format!("{text:?} is not a url: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(rule::TOKEN_URL.message().to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(
            "must not hold a user name or password: use clientIdRef and clientSecretRef".to_owned(),
        );
    }
    if url.fragment().is_some() || text.contains("$(") {
        return Err("must not hold a fragment or a template".to_owned());
    }
    Ok(())
}
