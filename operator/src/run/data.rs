//! Rows of data in `ConfigMap`s: whether they are there and can be used. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use loadtest_core::{
    data::{DataError, Table},
    identity,
    plan::Plan,
    shard::Shard,
};
use loadtest_crds::{
    Problem, Stage, TestSpec,
    spec::{Data, DataFormat, KeyRef},
};

/// The `ConfigMap`s that a test names, `None` for those that do not exist.
pub type ConfigMaps = BTreeMap<String, Option<ConfigMap>>;

/// What came of looking at all data of a test that is in `ConfigMap`s.
#[derive(Debug, Default)]
pub struct Looked {
    /// What is there, by name.
    contents: BTreeMap<String, Content>,
    /// What is not there yet.
    pub missing: Vec<Problem>,
    /// What is there and cannot be used.
    pub unusable: Vec<Problem>,
}

#[derive(Debug)]
struct Content {
    columns: Vec<String>,
    sha256: String,
}

/// Names of the `ConfigMap`s.
pub fn config_maps(spec: &TestSpec) -> impl Iterator<Item = &str> {
    let references = spec
        .data
        .iter()
        .filter_map(|data| data.from.config_map_ref.as_ref());
    references.map(|reference| &*reference.name)
}

/// Looks at all of them; `root` is the field of the test's own.
pub fn look(spec: &TestSpec, maps: &ConfigMaps, namespace: &str, root: &str) -> Looked {
    let mut looked = Looked::default();
    for (index, data) in spec.data.iter().enumerate() {
        let Some(reference) = &data.from.config_map_ref else {
            continue;
        };
        let path = format!("{root}.data[{index}].from.configMapRef");
        let problem = |message: String| Problem::new(Stage::Acceptance, &path, message);
        match bytes(reference, maps, namespace) {
            Err(message) => looked.missing.push(problem(message)),
            Ok(bytes) => match content(data, bytes) {
                Ok(content) => {
                    looked.contents.insert(data.name.to_string(), content);
                }
                Err(error) => {
                    let (name, key) = (&*reference.name, &*reference.key);
                    let message = format!("key {key:?} of ConfigMap {name:?} {error}");
                    looked.unusable.push(problem(message));
                }
            },
        }
    }
    looked
}

impl Looked {
    /// Columns by name of the data.
    pub fn columns(&self) -> BTreeMap<String, Vec<String>> {
        let columns =
            |(name, content): (&String, &Content)| (name.clone(), content.columns.clone());
        self.contents.iter().map(columns).collect()
    }

    /// Writes down what was seen, so that runners refuse what came after.
    pub fn sign(self, plan: &mut Plan) {
        let mut contents = self.contents;
        for feeder in &mut plan.inputs.data {
            feeder.sha256 = contents.remove(&feeder.name).map(|content| content.sha256);
        }
    }
}

/// What a key holds, or what is missing.
fn bytes<'a>(
    reference: &KeyRef,
    maps: &'a ConfigMaps,
    namespace: &str,
) -> Result<&'a [u8], String> {
    let (name, key) = (&*reference.name, &*reference.key);
    let Some(map) = maps.get(name).and_then(Option::as_ref) else {
        return Err(format!(
            "there is no ConfigMap {name:?} with the key {key:?} in namespace {namespace:?}: create it, and the run goes on"
        ));
    };
    let text = map.data.as_ref().and_then(|data| data.get(key));
    let binary = map.binary_data.as_ref().and_then(|data| data.get(key));
    let bytes = text
        .map(String::as_bytes)
        .or(binary.map(|binary| binary.0.as_slice()));
    bytes.ok_or_else(|| {
        let texts = map.data.iter().flat_map(BTreeMap::keys);
        let all = texts.chain(map.binary_data.iter().flat_map(BTreeMap::keys));
        let all: Vec<_> = all.map(String::as_str).collect();
        let has = match all.as_slice() {
            [] => "it is empty".to_owned(),
            all => format!("it has {}", all.join(", ")),
        };
        format!("ConfigMap {name:?} in namespace {namespace:?} has no key {key:?}: {has}")
    })
}

fn content(data: &Data, bytes: &[u8]) -> Result<Content, DataError> {
    let format = match data.format.unwrap_or_default() {
        DataFormat::Csv => loadtest_core::plan::DataFormat::Csv,
        DataFormat::JsonLines => loadtest_core::plan::DataFormat::JsonLines,
    };
    let table = Table::parse(format, bytes, Shard::WHOLE)?;
    Ok(Content {
        columns: table.columns().to_vec(),
        sha256: identity::content_hash(bytes),
    })
}

#[cfg(test)]
mod tests {
    use loadtest_crds::{Overrides, plan};
    use serde_json::{Value, json};

    use super::*;
    use crate::run::fixtures;

    fn spec(data: &Value) -> TestSpec {
        let mut spec = fixtures::spec();
        spec.data = serde_json::from_value(data.clone()).unwrap();
        spec
    }

    fn shop(value: Value) -> ConfigMaps {
        let map = serde_json::from_value(value).unwrap();
        [("shop".to_owned(), Some(map))].into()
    }

    fn both() -> TestSpec {
        spec(&json!([
            {"name": "inline", "from": {"inline": "a\n1\n"}},
            {"name": "users", "from": {"configMapRef": {"name": "shop", "key": "users.csv"}}},
            {"name": "carts", "format": "JsonLines",
             "from": {"configMapRef": {"name": "shop", "key": "carts.jsonl"}}},
        ]))
    }

    #[test]
    fn what_is_there_is_signed_and_its_columns_are_known() {
        let spec = both();
        assert_eq!(config_maps(&spec).collect::<Vec<_>>(), ["shop", "shop"]);
        let maps = shop(json!({
            "data": {"users.csv": "id,name\n1,ada\n"},
            "binaryData": {"carts.jsonl": "eyJza3UiOiAxfQo="},
        }));
        let looked = look(&spec, &maps, "perf", "spec");
        assert_eq!(
            (looked.missing.len(), looked.unusable.len()),
            (0, 0),
            "{looked:?}"
        );
        let columns = looked.columns();
        assert_eq!(columns["users"], ["id", "name"]);
        assert_eq!(columns["carts"], ["sku"]);
        let identity = fixtures::run().identity();
        let mut plan = plan::build(&spec, identity, &Overrides::default()).unwrap();
        looked.sign(&mut plan);
        let signed: Vec<_> = plan
            .inputs
            .data
            .iter()
            .map(|feeder| feeder.sha256.clone())
            .collect();
        assert_eq!(signed[0], None, "the plan itself holds it");
        let users = identity::content_hash(b"id,name\n1,ada\n");
        assert_eq!(
            (signed[1].as_deref(), users.len()),
            (Some(users.as_str()), 64)
        );
        assert_eq!(signed[2], Some(identity::content_hash(b"{\"sku\": 1}\n")));
    }

    #[test]
    fn what_is_not_there_is_named_with_its_key() {
        let said = |maps: ConfigMaps| {
            let looked = look(&both(), &maps, "perf", "spec.test");
            let sentences = looked.missing.iter().chain(&looked.unusable);
            sentences.map(Problem::sentence).collect::<Vec<_>>()
        };
        let none = said([("shop".to_owned(), None)].into());
        assert_eq!(
            none,
            [
                "spec.test.data[1].from.configMapRef: there is no ConfigMap \"shop\" with the key \"users.csv\" in namespace \"perf\": create it, and the run goes on",
                "spec.test.data[2].from.configMapRef: there is no ConfigMap \"shop\" with the key \"carts.jsonl\" in namespace \"perf\": create it, and the run goes on",
            ]
        );
        let other = shop(json!({"data": {"users.csv": "a,b\n1\n", "x": ""}}));
        assert_eq!(
            said(other),
            [
                "spec.test.data[2].from.configMapRef: ConfigMap \"shop\" in namespace \"perf\" has no key \"carts.jsonl\": it has users.csv, x",
                "spec.test.data[1].from.configMapRef: key \"users.csv\" of ConfigMap \"shop\" line 2 has 1 field, the first line names 2: a field with a comma needs double quotes around it",
            ]
        );
    }
}
