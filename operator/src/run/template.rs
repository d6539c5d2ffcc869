//! Merging a user's pod template over ours: objects by field, lists of objects by their key, and
//! everything else replaced.

use serde_json::{Map, Value};

/// Keys by which Kubernetes itself tells the items of pod lists apart; the first one that all items
/// have is taken.
const KEYS: [&str; 6] = [
    "name",
    "mountPath",
    "containerPort",
    "ip",
    "topologyKey",
    "devicePath",
];

/// `over` wins, down to single fields.
pub fn merge(base: &mut Value, over: &Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => merge_fields(base, over),
        (Value::Array(base), Value::Array(over)) => merge_items(base, over),
        (base, over) => *base = over.clone(),
    }
}

fn merge_fields(base: &mut Map<String, Value>, over: &Map<String, Value>) {
    for (field, value) in over {
        // As in a strategic merge patch, null takes a field away.
        if value.is_null() {
            base.remove(field);
        } else {
            merge(base.entry(field.clone()).or_insert(Value::Null), value);
        }
    }
}

fn merge_items(base: &mut Vec<Value>, over: &[Value]) {
    let has = |item: &Value, key: &str| item.get(key).is_some();
    let key = KEYS
        .into_iter()
        .find(|key| base.iter().chain(over).all(|item| has(item, key)))
        .filter(|_| !base.is_empty());
    let Some(key) = key else {
        *base = over.to_vec();
        return;
    };
    for item in over {
        match base.iter_mut().find(|ours| ours.get(key) == item.get(key)) {
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
