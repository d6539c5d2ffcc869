//! What every object has: apiVersion, kind and metadata.

use serde_json::Value;

use crate::{
    names::{GROUP, VERSION},
    problem::{Problem, Stage},
};

/// Our kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    LoadTest,
    LoadTestRun,
}

/// Which of our kinds a document is; `None` for other people's.
pub(super) fn kind(value: &Value) -> Result<Option<Kind>, Problem> {
    let refused = |path: &str, message: String| Err(Problem::new(Stage::Schema, path, message));
    if !value.is_object() {
        return refused(
            "",
            "is no Kubernetes object: a mapping with apiVersion and kind is needed".to_owned(),
        );
    }
    let text = |name: &str| value.get(name).and_then(Value::as_str);
    let (Some(api_version), Some(kind)) = (text("apiVersion"), text("kind")) else {
        let missing = if text("kind").is_none() {
            "kind"
        } else {
            "apiVersion"
        };
        return refused(
            missing,
            format!("Required value: such as apiVersion: {GROUP}/{VERSION}, kind: LoadTest"),
        );
    };
    if api_version
        .split_once('/')
        .is_none_or(|(group, _)| group != GROUP)
    {
        return Ok(None);
    }
    match kind {
        _ if api_version != format!("{GROUP}/{VERSION}") => refused(
            "apiVersion",
            format!(
                "no matches for kind \"{kind}\" in version \"{api_version}\": use {GROUP}/{VERSION}"
            ),
        ),
        "LoadTest" => Ok(Some(Kind::LoadTest)),
        "LoadTestRun" => Ok(Some(Kind::LoadTestRun)),
        _ => refused(
            "kind",
            format!(
                "no matches for kind \"{kind}\" in version \"{api_version}\": use LoadTest or LoadTestRun"
            ),
        ),
    }
}

/// Fields of `ObjectMeta`; most are the server's own, but none of them is unknown.
const FIELDS: [&str; 15] = [
    "name",
    "generateName",
    "namespace",
    "labels",
    "annotations",
    "ownerReferences",
    "finalizers",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "managedFields",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// Everything wrong with the metadata. The longest name is a rule of the schema.
pub(super) fn metadata(value: &Value) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut refuse = |path: &str, message: String| {
        problems.push(Problem::new(Stage::Schema, path, message));
    };
    let Some(Value::Object(metadata)) = value.get("metadata") else {
        refuse(
            "metadata.name",
            "Required value: name or generateName is required".to_owned(),
        );
        return problems;
    };
    for name in metadata
        .keys()
        .filter(|name| !FIELDS.contains(&name.as_str()))
    {
        refuse("", format!("unknown field \"metadata.{name}\""));
    }
    for field in ["name", "generateName", "namespace"] {
        if let Some(value) = metadata.get(field).filter(|value| !value.is_string()) {
            refuse(
                &format!("metadata.{field}"),
                format!("must be a text, not {value}: put it in quotes"),
            );
        }
    }
    let text = |field: &str| {
        metadata
            .get(field)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let (name, generated) = (text("name"), text("generateName"));
    if name.is_empty() && generated.is_empty() && !metadata.contains_key("name") {
        refuse(
            "metadata.name",
            "Required value: name or generateName is required".to_owned(),
        );
    } else if !name.is_empty() && !is_subdomain(name) {
        refuse(
            "metadata.name",
            format!(
                "Invalid value: \"{name}\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character"
            ),
        );
    }
    for map in ["labels", "annotations"] {
        let members = metadata
            .get(map)
            .and_then(Value::as_object)
            .into_iter()
            .flatten();
        for (key, value) in members.filter(|(_, value)| !value.is_string()) {
            refuse(
                &format!("metadata.{map}.{key}"),
                format!("must be a text, not {value}: put it in quotes"),
            );
        }
    }
    problems
}

fn is_subdomain(name: &str) -> bool {
    name.len() <= 253
        && name.split('.').all(|label| {
            let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
            label.bytes().next().is_some_and(inner)
                && label.bytes().last().is_some_and(inner)
                && label.bytes().all(|byte| inner(byte) || byte == b'-')
        })
}
