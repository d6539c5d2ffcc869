//! Secrets and `ConfigMap`s in the same FILE as the test: what the cluster would mount.

use std::collections::BTreeMap;

use base64::Engine as _;
use loadtest_crds::{TestSpec, yaml};
use serde_json::Value;

/// Contents by the name that plans know them by.
pub type Contents = BTreeMap<String, Vec<u8>>;

/// A field, and what is wrong with what it refers to.
pub type WrongField = (String, String);

/// The objects of a file by kind and name.
#[derive(Debug, Clone, Default)]
pub struct Objects {
    secrets: BTreeMap<String, Value>,
    config_maps: BTreeMap<String, Value>,
}

impl Objects {
    /// Those among all documents of a file; the others are not looked at.
    pub fn of(documents: &[yaml::Node]) -> Self {
        let mut objects = Self::default();
        for document in documents {
            let value = document.to_json();
            let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str);
            let (Some("v1"), Some(kind), Some(name)) =
                (text("/apiVersion"), text("/kind"), text("/metadata/name"))
            else {
                continue;
            };
            let kept = match kind {
                "Secret" => &mut objects.secrets,
                "ConfigMap" => &mut objects.config_maps,
                _ => continue,
            };
            kept.insert(name.to_owned(), value.clone());
        }
        objects
    }

    /// Every secret that a test refers to and that is here, by the name that plans know it by.
    ///
    /// # Errors
    /// Keys that are missing or not readable, with the field that refers to them.
    pub fn secrets(&self, spec: &TestSpec) -> Result<Contents, Vec<WrongField>> {
        let mut wanted = Vec::new();
        for (index, secret) in spec.secrets.iter().enumerate() {
            let path = format!("spec.secrets[{index}].secretRef");
            let key = &secret.secret_ref;
            wanted.push((
                secret.name.to_string(),
                path,
                key.name.to_string(),
                key.key.to_string(),
            ));
        }
        auth(spec, &mut wanted);
        collect(wanted, "Secret", &self.secrets, ["stringData", "data"])
    }

    /// The same of the data of `ConfigMap`s.
    ///
    /// # Errors
    /// As of [`Self::secrets`].
    pub fn data(&self, spec: &TestSpec) -> Result<Contents, Vec<WrongField>> {
        let wanted = spec.data.iter().enumerate().filter_map(|(index, data)| {
            let key = data.from.config_map_ref.as_ref()?;
            let path = format!("spec.data[{index}].from.configMapRef");
            Some((
                data.name.to_string(),
                path,
                key.name.to_string(),
                key.key.to_string(),
            ))
        });
        collect(
            wanted.collect(),
            "ConfigMap",
            &self.config_maps,
            ["data", "binaryData"],
        )
    }
}

/// Name, field that refers to it, object, key.
type Wanted = (String, String, String, String);

fn auth(spec: &TestSpec, wanted: &mut Vec<Wanted>) {
    let Some(auth) = &spec.auth else { return };
    let mut want = |name: &str, field: &str, object: &str, key: &str| {
        wanted.push((
            format!("auth.{name}"),
            format!("spec.auth.{field}"),
            object.to_owned(),
            key.to_owned(),
        ));
    };
    if let Some(basic) = &auth.basic {
        let reference = &basic.secret_ref;
        let username = reference.username_key.as_deref().unwrap_or("username");
        let password = reference.password_key.as_deref().unwrap_or("password");
        want("username", "basic.secretRef", &reference.name, username);
        want("password", "basic.secretRef", &reference.name, password);
    }
    if let Some(bearer) = &auth.bearer {
        let reference = &bearer.secret_ref;
        want("token", "bearer.secretRef", &reference.name, &reference.key);
    }
    if let Some(client) = &auth.client_credentials {
        let (id, secret) = (&client.client_id_ref, &client.client_secret_ref);
        want(
            "client-id",
            "oauth2ClientCredentials.clientIdRef",
            &id.name,
            &id.key,
        );
        want(
            "client-secret",
            "oauth2ClientCredentials.clientSecretRef",
            &secret.name,
            &secret.key,
        );
    }
}

/// Objects that are not in the file are left to the plan, which says how else they can be given.
fn collect(
    wanted: Vec<Wanted>,
    kind: &str,
    objects: &BTreeMap<String, Value>,
    members: [&str; 2],
) -> Result<Contents, Vec<WrongField>> {
    let (mut found, mut problems) = (BTreeMap::new(), Vec::new());
    for (name, path, object_name, key) in wanted {
        let Some(object) = objects.get(&object_name) else {
            continue;
        };
        match content(object, &key, members) {
            Some(Ok(bytes)) => drop(found.insert(name, bytes)),
            Some(Err(message)) => {
                problems.push((
                    path,
                    format!("the key {key} of the {kind} {object_name} {message}"),
                ));
            }
            None => {
                let keys = keys(object, members);
                problems.push((
                    path,
                    format!(
                        "the {kind} {object_name} of this file has no key {key}; it has {keys}"
                    ),
                ));
            }
        }
    }
    if problems.is_empty() {
        Ok(found)
    } else {
        Err(problems)
    }
}

fn content(object: &Value, key: &str, members: [&str; 2]) -> Option<Result<Vec<u8>, String>> {
    members.into_iter().find_map(|member| {
        let value = object.get(member)?.get(key)?;
        let Some(text) = value.as_str() else {
            return Some(Err("is no text: put it in quotes".to_owned()));
        };
        // Of a Secret `data`, of a ConfigMap `binaryData` is encoded.
        let encoded =
            member == "binaryData" || (member == "data" && members.contains(&"stringData"));
        Some(if encoded {
            let compact: String = text.split_whitespace().collect();
            base64::engine::general_purpose::STANDARD
                .decode(compact)
                .map_err(|_| "is not base64: put plain text below stringData".to_owned())
        } else {
            Ok(text.as_bytes().to_vec())
        })
    })
}

fn keys(object: &Value, members: [&str; 2]) -> String {
    let keys: Vec<_> = members
        .into_iter()
        .filter_map(|member| object.get(member)?.as_object())
        .flat_map(|members| members.keys().map(String::as_str))
        .collect();
    if keys.is_empty() {
        "none".to_owned()
    } else {
        keys.join(", ")
    }
}
