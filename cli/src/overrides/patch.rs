//! Setting and merging nodes. What is put in has the place of what it replaces or is put into, so
//! that problems name a line of the manifest.

use loadtest_crds::{
    Place,
    yaml::{Content, Entry, Node},
};

use super::path::{self, Part};

/// Sets a field, or removes it with `None`. Mappings on the way are made; an index one behind the
/// last item adds one.
///
/// # Errors
/// Why there is no such place.
pub fn set(root: &mut Node, path: &str, value: Option<Node>) -> Result<(), String> {
    set_at(root, &path::parse(path)?, value, path)
}

/// Sets a member by the exact names on the way to it.
///
/// # Errors
/// When something on the way is no mapping.
pub fn set_member(root: &mut Node, names: &[&str], value: Node) -> Result<(), String> {
    let parts: Vec<_> = names.iter().map(|name| Part::Member(name)).collect();
    set_at(root, &parts, Some(value), &names.join("."))
}

fn set_at(
    node: &mut Node,
    parts: &[Part<'_>],
    value: Option<Node>,
    path: &str,
) -> Result<(), String> {
    let Some((part, rest)) = parts.split_first() else {
        if let Some(value) = value {
            let place = node.place;
            *node = value;
            put(node, place);
        }
        return Ok(());
    };
    let place = node.place;
    if node.content == Content::Null {
        node.content = match part {
            Part::Member(_) => Content::Map(Vec::new()),
            Part::Index(_) | Part::Named(_) => Content::List(Vec::new()),
        };
    }
    match (&mut node.content, part) {
        (Content::Map(entries), Part::Member(name)) => {
            let known = entries.iter().position(|entry| entry.key == *name);
            if rest.is_empty() && value.is_none() {
                known.map(|at| entries.remove(at));
                return Ok(());
            }
            let at = known.unwrap_or_else(|| {
                entries.push(Entry {
                    key: (*name).to_owned(),
                    place,
                    value: nothing(place),
                });
                entries.len() - 1
            });
            match entries.get_mut(at) {
                Some(entry) => set_at(&mut entry.value, rest, value, path),
                None => Ok(()),
            }
        }
        (Content::List(items), Part::Index(_) | Part::Named(_)) => {
            let at = item(items, part, path)?;
            if rest.is_empty() && value.is_none() {
                items.remove(at);
                return Ok(());
            }
            match items.get_mut(at) {
                Some(item) => set_at(item, rest, value, path),
                None => Ok(()),
            }
        }
        (_, Part::Member(name)) => Err(format!("there is no mapping that could have {name:?}")),
        (_, Part::Index(_) | Part::Named(_)) => Err("there is no list where it has [ ]".to_owned()),
    }
}

fn item(items: &mut Vec<Node>, part: &Part<'_>, path: &str) -> Result<usize, String> {
    let count = items.len();
    match part {
        Part::Index(index) if *index == count => {
            let place = items
                .last()
                .map_or(Place { line: 1, column: 1 }, |item| item.place);
            items.push(nothing(place));
            Ok(count)
        }
        Part::Index(index) if *index < count => Ok(*index),
        Part::Named(name) => items
            .iter()
            .position(|item| name_of(item) == Some(name))
            .ok_or_else(|| {
                let names: Vec<_> = items.iter().filter_map(name_of).collect();
                format!("no item is named {name}; there is {}", names.join(", "))
            }),
        _ => Err(format!(
            "the list has {count} items, counted from 0, in {path:?}"
        )),
    }
}

fn nothing(place: Place) -> Node {
    Node {
        place,
        content: Content::Null,
    }
}

fn name_of(item: &Node) -> Option<&str> {
    let Content::Map(entries) = &item.content else {
        return None;
    };
    let name = entries.iter().find(|entry| entry.key == "name")?;
    match &name.value.content {
        Content::Text(name) => Some(name),
        _ => None,
    }
}

/// Merges a node over another: mappings member by member, lists whose items all have names by name,
/// everything else is replaced; null removes.
pub fn merge(under: &mut Node, over: Node) {
    let place = under.place;
    match (&mut under.content, over.content) {
        (Content::Map(entries), Content::Map(changes)) => {
            for change in changes {
                let known = entries.iter().position(|entry| entry.key == change.key);
                if change.value.content == Content::Null {
                    known.map(|at| entries.remove(at));
                    continue;
                }
                if let Some(entry) = known.and_then(|at| entries.get_mut(at)) {
                    merge(&mut entry.value, change.value);
                    continue;
                }
                let mut value = change.value;
                put(&mut value, place);
                entries.push(Entry {
                    place,
                    value,
                    ..change
                });
            }
        }
        (Content::List(items), Content::List(changes))
            if all_named(items) && all_named(&changes) =>
        {
            for mut change in changes {
                let known = items
                    .iter_mut()
                    .find(|item| name_of(item) == name_of(&change));
                if let Some(item) = known {
                    merge(item, change);
                } else {
                    put(&mut change, place);
                    items.push(change);
                }
            }
        }
        (content, change) => {
            *content = change;
            put(under, place);
        }
    }
}

fn all_named(items: &[Node]) -> bool {
    !items.is_empty() && items.iter().all(|item| name_of(item).is_some())
}

/// Gives a node and all in it a place.
fn put(node: &mut Node, place: Place) {
    node.place = place;
    match &mut node.content {
        Content::List(items) => items.iter_mut().for_each(|item| put(item, place)),
        Content::Map(entries) => {
            for entry in entries {
                entry.place = place;
                put(&mut entry.value, place);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use loadtest_crds::yaml;
    use serde_json::json;

    use super::*;

    fn node(text: &str) -> Node {
        yaml::parse(text).unwrap().remove(0)
    }

    #[test]
    fn maps_and_named_items_are_merged_and_the_rest_is_replaced() {
        let mut under =
            node("a: {b: 1, c: 2}\nl: [1, 2]\nnamed: [{name: x, v: 1}, {name: q, v: 2}]");
        merge(
            &mut under,
            node("a: {c: null, d: 3}\nl: [9]\nnamed: [{name: q, v: 5}, {name: z}]"),
        );
        assert_eq!(
            under.to_json(),
            json!({"a": {"b": 1, "d": 3}, "l": [9],
                "named": [{"name": "x", "v": 1}, {"name": "q", "v": 5}, {"name": "z"}]})
        );
    }

    #[test]
    fn fields_are_set_made_and_removed() {
        let mut under = node("a: {l: [{name: x, v: 1}]}");
        set(&mut under, "a.l[x].v", Some(node("7"))).unwrap();
        set(&mut under, "a.l[1]", Some(node("{name: q}"))).unwrap();
        set(&mut under, "b.c.d", Some(node("on"))).unwrap();
        assert_eq!(
            under.to_json(),
            json!({"a": {"l": [{"name": "x", "v": 7}, {"name": "q"}]}, "b": {"c": {"d": true}}})
        );
        set(&mut under, "b.c", None).unwrap();
        set(&mut under, "a.l[0]", None).unwrap();
        assert_eq!(
            under.to_json(),
            json!({"a": {"l": [{"name": "q"}]}, "b": {}})
        );
        assert!(
            set(&mut under, "a.l[z].v", None)
                .unwrap_err()
                .contains("there is q")
        );
        assert!(set(&mut under, "a.l[5]", None).is_err());
        assert!(set(&mut under, "a.l.x", Some(node("1"))).is_err());
    }
}
