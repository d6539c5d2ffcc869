//! Merging a user's pod template over ours: objects by field, lists of objects by their key, and
//! everything else replaced.

use serde_json::{Map, Value};

/// Keys by which Kubernetes itself tells the items of pod lists apart; the first one that all items
/// have is taken.
const KEYS: [&str; 4] = ["name", "containerPort", "ip", "topologyKey"];

/// The lists whose items have a name that is another object's, and a key of their own: one volume may
/// be mounted at many places.
const PLACES: [(&str, &str); 2] = [
    ("volumeMounts", "mountPath"),
    ("volumeDevices", "devicePath"),
];

/// `over` wins, down to single fields.
pub fn merge(base: &mut Value, over: &Value) {
    merge_value(base, over, &KEYS);
}

/// `keys` are those of its items if it is a list.
fn merge_value(base: &mut Value, over: &Value, keys: &[&str]) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => merge_fields(base, over),
        (Value::Array(base), Value::Array(over)) => merge_items(base, over, keys),
        (base, over) => *base = over.clone(),
    }
}

fn merge_fields(base: &mut Map<String, Value>, over: &Map<String, Value>) {
    for (field, value) in over {
        // As in a strategic merge patch, null takes a field away.
        if value.is_null() {
            base.remove(field);
        } else {
            let place = PLACES.iter().find(|(list, _)| list == field);
            let keys = place.map_or(&KEYS[..], |(_, key)| std::slice::from_ref(key));
            merge_value(
                base.entry(field.clone()).or_insert(Value::Null),
                value,
                keys,
            );
        }
    }
}

fn merge_items(base: &mut Vec<Value>, over: &[Value], keys: &[&str]) {
    let has = |item: &Value, key: &str| item.get(key).is_some();
    let key = keys
        .iter()
        .find(|key| base.iter().chain(over).all(|item| has(item, key)))
        .filter(|_| !base.is_empty());
    let Some(key) = key else {
        *base = over.to_vec();
        return;
    };
    for item in over {
        match base
            .iter_mut()
            .find(|ours| ours.get(*key) == item.get(*key))
        {
            Some(ours) => merge(ours, item),
            None => base.push(item.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_template_changes_what_it_names_and_nothing_else() {
        let mut base = json!({
            "metadata": {"labels": {"a": "1"}},
            "spec": {
                "containers": [{"name": "runner", "image": "i", "env": [{"name": "A", "value": "1"}]}],
                "securityContext": {"runAsNonRoot": true, "runAsUser": 65532},
                "terminationGracePeriodSeconds": 10,
            },
        });
        let over = json!({
            "metadata": {"labels": {"b": "2"}},
            "spec": {
                "containers": [
                    {"name": "runner", "env": [{"name": "B", "value": "2"}], "args": ["x"]},
                    {"name": "proxy", "image": "p"},
                ],
                "nodeSelector": {"pool": "load"},
                "securityContext": {"runAsUser": null},
                "tolerations": [{"key": "load", "operator": "Exists"}],
            },
        });
        merge(&mut base, &over);
        assert_eq!(
            base,
            json!({
                "metadata": {"labels": {"a": "1", "b": "2"}},
                "spec": {
                    "containers": [
                        {
                            "name": "runner", "image": "i", "args": ["x"],
                            "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
                        },
                        {"name": "proxy", "image": "p"},
                    ],
                    "nodeSelector": {"pool": "load"},
                    "securityContext": {"runAsNonRoot": true},
                    "terminationGracePeriodSeconds": 10,
                    "tolerations": [{"key": "load", "operator": "Exists"}],
                },
            })
        );
    }

    /// One volume may be mounted at many places, and one place has one volume.
    #[test]
    fn mounts_are_told_apart_by_where_they_are() {
        let mut base = json!({
            "volumeMounts": [{"name": "pool", "mountPath": "/pool", "readOnly": true}],
            "volumeDevices": [{"name": "disk", "devicePath": "/dev/a"}],
        });
        let over = json!({
            "volumeMounts": [
                {"name": "certs", "mountPath": "/a"},
                {"name": "certs", "mountPath": "/b"},
                {"name": "big", "mountPath": "/pool"},
            ],
            "volumeDevices": [{"name": "disk", "devicePath": "/dev/b"}],
        });
        merge(&mut base, &over);
        let expected = json!({
            "volumeMounts": [
                {"name": "big", "mountPath": "/pool", "readOnly": true},
                {"name": "certs", "mountPath": "/a"},
                {"name": "certs", "mountPath": "/b"},
            ],
            "volumeDevices": [
                {"name": "disk", "devicePath": "/dev/a"},
                {"name": "disk", "devicePath": "/dev/b"},
            ],
        });
        assert_eq!(base, expected);
    }

    #[test]
    fn lists_without_a_key_are_replaced() {
        let mut base = json!({"args": ["engine"], "drop": ["ALL"]});
        merge(&mut base, &json!({"args": ["engine", "--precise"]}));
        assert_eq!(
            base,
            json!({"args": ["engine", "--precise"], "drop": ["ALL"]})
        );
    }
}
