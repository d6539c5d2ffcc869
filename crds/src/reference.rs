//! The page `docs/api-reference.md`, made of the schemas that the API server is given: what is
//! refused there and what is written here cannot differ.
//!
//! Each object has a section of its own with a row for each member. An object that occurs in several
//! places, such as a step, is described at the first one, and the others lead there.

use std::{
    collections::{HashMap, VecDeque},
    fmt::Write as _,
};

use schemars::{JsonSchema, SchemaGenerator};
use serde_json::Value;

use crate::{
    crd,
    scalar::{
        DataKey, Duration, DurationOrZero, Host, Identifier, Name, ObjectName, Percentage, Rate,
        RateOrZero, Size, Statuses,
    },
};

/// Where it is committed, from the root of the repository.
pub const FILE: &str = "docs/api-reference.md";

const HEAD: &str = "\
# API reference

<!-- Made of the types of crds/ by `make crds`: change those. -->

`loadtest.dev/v1alpha1`, both kinds, every field. `kubectl explain loadtest.spec --recursive` shows the
same. Nothing here is a default of the schema (but `observedGeneration`): the operator resolves defaults
in the plan of each run, so that applying a manifest again never finds a difference. A field without
*required* may be left out, and one that the tables do not have is refused.
";

/// Texts with a form have a name here instead of their pattern in each row.
struct Form {
    name: &'static str,
    meaning: &'static str,
    schema: Value,
}

fn form<T: JsonSchema>(name: &'static str, meaning: &'static str) -> Form {
    let schema = T::json_schema(&mut SchemaGenerator::default());
    Form {
        name,
        meaning,
        schema: schema.to_value(),
    }
}

fn forms() -> Vec<Form> {
    vec![
        form::<Duration>("duration", "A duration that is not zero: `500ms`, `1m30s`."),
        form::<DurationOrZero>("duration or zero", "The same, or `0s`."),
        form::<Rate>("rate", "How often per second or minute: `200/s`, `30/m`."),
        form::<RateOrZero>("rate or zero", "The same, or `0/s`."),
        form::<Percentage>("percentage", "A share: `20%`, `0.1%`."),
        form::<Size>("size", "A size on disk: `512Mi`, `2Gi`."),
        form::<Statuses>(
            "statuses",
            "A status code or a range of them: `404`, `200-399`.",
        ),
        form::<Name>("name", "A name within a test: a DNS label."),
        form::<Identifier>(
            "identifier",
            "A name that templates use: `token`, `cartId`.",
        ),
        form::<Host>(
            "host",
            "A host, perhaps with a port: `cdn.perf.svc`, `[::1]:8080`.",
        ),
        form::<ObjectName>("object name", "The name of another object."),
        form::<DataKey>("key", "A key of a Secret or ConfigMap."),
    ]
}

/// The whole page.
pub fn page() -> String {
    let mut writer = Writer {
        page: HEAD.to_owned(),
        forms: forms(),
        sections: HashMap::new(),
    };
    for (definition, purpose) in [
        (
            crd::load_test(),
            "What to test, and when. Applying it runs it.",
        ),
        (
            crd::load_test_run(),
            "One execution. The operator makes them for a `LoadTest`; a pipeline may make its own.",
        ),
    ] {
        writer.kind(&definition, purpose);
    }
    writer.texts();
    writer.page
}

/// An object that has a section still to be written.
struct Pending {
    path: String,
    schema: Value,
}

struct Writer {
    page: String,
    forms: Vec<Form>,
    /// Heading of the section of each object, by its schema without the description.
    sections: HashMap<String, String>,
}

impl Writer {
    fn kind(&mut self, definition: &Value, purpose: &str) {
        let names = &definition["spec"]["names"];
        let kind = text(&names["kind"]);
        let _ = write!(
            self.page,
            "\n## {kind}\n\n{purpose} `kubectl get {}`, or short `{}`.\n",
            text(&names["plural"]),
            text(&names["shortNames"][0]),
        );
        let schema = crd::schema(definition);
        self.rules(schema);
        let mut pending: VecDeque<_> = ["spec", "status"]
            .into_iter()
            .map(|part| Pending {
                path: format!("{kind}.{part}"),
                schema: schema["properties"][part].clone(),
            })
            .collect();
        for Pending { path, schema } in &pending {
            self.sections.insert(key(schema), path.clone());
        }
        while let Some(next) = pending.pop_front() {
            let found = self.section(&next);
            // Depth first: what a section leads to stands right behind it.
            for inner in found.into_iter().rev() {
                pending.push_front(inner);
            }
        }
    }

    /// Writes the section of an object and returns the objects in it that have none yet.
    fn section(&mut self, Pending { path, schema }: &Pending) -> Vec<Pending> {
        let _ = write!(
            self.page,
            "\n### {path}\n\n{}\n",
            escaped(text(&schema["description"]))
        );
        self.rules(schema);
        // Nobody writes a status, so what it must be like is of no interest.
        let told = path.contains(".status");
        self.page.push_str(if told {
            "\n| field | type | meaning |\n|---|---|---|\n"
        } else {
            "\n| field | type | default | bounds | meaning |\n|---|---|---|---|---|\n"
        });
        let required = schema["required"].as_array();
        let is_required =
            |name: &str| required.is_some_and(|all| all.iter().any(|one| one == name));
        let mut found = Vec::new();
        for (name, member) in schema["properties"].as_object().into_iter().flatten() {
            let kind = self.type_of(member, &format!("{path}.{name}"), &mut found);
            let described = text(&member["description"]);
            let _ = write!(self.page, "| `{name}` | {kind} | ");
            if !told {
                let default = if is_required(name) {
                    "*required*".to_owned()
                } else {
                    escaped(default_in(described))
                };
                let _ = write!(
                    self.page,
                    "{default} | {} | ",
                    self.bounds(member).join("; ")
                );
            }
            let meaning = escaped(described).replace("\n\n", "<br>");
            let _ = writeln!(self.page, "{meaning} |");
        }
        found
    }

    fn rules(&mut self, schema: &Value) {
        for rule in schema["x-kubernetes-validations"]
            .as_array()
            .into_iter()
            .flatten()
        {
            let _ = write!(self.page, "\nRule: {}.\n", escaped(text(&rule["message"])));
        }
    }

    /// The type in words; objects become links, and are found if they have no section yet.
    fn type_of(&mut self, schema: &Value, path: &str, found: &mut Vec<Pending>) -> String {
        if let Some(form) = self.form(schema) {
            return format!("[{}](#texts-with-a-form)", form.name);
        }
        if schema["x-kubernetes-int-or-string"] == true {
            return "integer or text".to_owned();
        }
        if schema["properties"].is_object() {
            let title = self.sections.entry(key(schema)).or_insert_with(|| {
                found.push(Pending {
                    path: path.to_owned(),
                    schema: schema.clone(),
                });
                path.to_owned()
            });
            return format!("[object](#{})", anchor(title));
        }
        let inner = |writer: &mut Self, inner: &str, found: &mut Vec<Pending>| {
            writer.type_of(&schema[inner], &format!("{path}[]"), found)
        };
        match text(&schema["type"]) {
            "array" => format!("list of {}", inner(self, "items", found)),
            "object" if schema["additionalProperties"].is_object() => {
                format!("map to {}", inner(self, "additionalProperties", found))
            }
            "object" => "any object".to_owned(),
            "string" if schema["format"] == "date-time" => "time".to_owned(),
            "string" => "text".to_owned(),
            "" => "any JSON".to_owned(),
            other => other.to_owned(),
        }
    }

    fn form(&self, schema: &Value) -> Option<&Form> {
        let described = without_description(schema);
        self.forms.iter().find(|form| form.schema == described)
    }

    /// What the schema demands of a value besides its type.
    fn bounds(&self, schema: &Value) -> Vec<String> {
        let mut bounds = Vec::new();
        for rule in schema["x-kubernetes-validations"]
            .as_array()
            .into_iter()
            .flatten()
        {
            // Those of objects stand in their sections.
            if !schema["properties"].is_object() {
                bounds.push(escaped(text(&rule["message"])));
            }
        }
        if let Some(values) = schema["enum"].as_array() {
            let values: Vec<_> = values
                .iter()
                .filter_map(Value::as_str)
                .map(|value| format!("`{value}`"))
                .collect();
            bounds.push(values.join(", "));
        }
        if self.form(schema).is_some() {
            return bounds;
        }
        bounds.extend(range(schema, "minimum", "maximum", ""));
        bounds.extend(range(schema, "minLength", "maxLength", " characters"));
        bounds.extend(range(schema, "minItems", "maxItems", " items"));
        bounds.extend(range(schema, "minProperties", "maxProperties", " members"));
        if let Some(pattern) = schema["pattern"].as_str() {
            bounds.push(format!("`{}`", pattern.replace('|', "\\|")));
        }
        if let Some(keys) = schema["x-kubernetes-list-map-keys"].as_array() {
            let keys: Vec<_> = keys.iter().filter_map(Value::as_str).collect();
            bounds.push(format!("unique {}", keys.join(", ")));
        }
        for inner in ["items", "additionalProperties"] {
            if schema[inner].is_object() {
                let of_each = self.bounds(&schema[inner]).join(", ");
                if !of_each.is_empty() {
                    bounds.push(format!("each {of_each}"));
                }
            }
        }
        bounds
    }

    fn texts(&mut self) {
        self.page
            .push_str("\n## Texts with a form\n\n| type | means | form |\n|---|---|---|\n");
        for form in &self.forms {
            let longest = range(&form.schema, "minLength", "maxLength", " characters");
            let pattern = form.schema["pattern"].as_str();
            let bounds: Vec<_> = pattern
                .map(|pattern| format!("`{}`", pattern.replace('|', "\\|")))
                .into_iter()
                .chain(longest)
                .collect();
            let _ = writeln!(
                self.page,
                "| {} | {} | {} |",
                form.name,
                form.meaning,
                bounds.join("; ")
            );
        }
    }
}

/// Bounds of one kind in words.
fn range(schema: &Value, low: &str, high: &str, of: &str) -> Option<String> {
    let (low, high) = (schema[low].as_i64(), schema[high].as_i64());
    match (low, high) {
        (None, None) => None,
        (Some(low), None) => Some(format!("at least {low}{of}")),
        (None, Some(high)) => Some(format!("at most {high}{of}")),
        (Some(low), Some(high)) if low == high => Some(format!("{low}{of}")),
        (Some(low), Some(high)) => Some(format!("{low} to {high}{of}")),
    }
}

/// The default as the description tells it: `Even (default): …`, `…; default 10s.`, `Default: none.`
fn default_in(described: &str) -> &str {
    if let Some((before, _)) = described.split_once(" (default)") {
        return before.rsplit([' ', '\n']).next().unwrap_or_default();
    }
    let Some(at) = ["default", "Default"]
        .iter()
        .filter_map(|word| described.find(word))
        .min()
    else {
        return "";
    };
    let (before, rest) = described.split_at(at);
    let rest = rest.get("default".len()..).unwrap_or_default();
    let rest = rest.trim_start_matches([':', ' ']);
    let ends: &[&str] = if before.ends_with('(') {
        &[")"]
    } else {
        &[";", ". ", ".\n"]
    };
    let end = ends.iter().filter_map(|end| rest.find(end)).min();
    let text = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
    text.trim_end_matches('.')
}

fn without_description(schema: &Value) -> Value {
    let mut schema = schema.clone();
    if let Value::Object(members) = &mut schema {
        members.remove("description");
    }
    schema
}

fn key(schema: &Value) -> String {
    without_description(schema).to_string()
}

/// How GitHub and mdBook name a heading.
fn anchor(heading: &str) -> String {
    heading
        .chars()
        .filter(|character| character.is_alphanumeric() || matches!(character, ' ' | '-' | '_'))
        .map(|character| {
            if character == ' ' {
                '-'
            } else {
                character.to_ascii_lowercase()
            }
        })
        .collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Text that Markdown shows as it is, within a table too.
fn escaped(text: &str) -> String {
    text.replace('|', "\\|")
        .replace('<', "&lt;")
        .replace('*', "\\*")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_taken_out_of_the_sentences_that_tell_them() {
        for (described, default) in [
            ("How. Even (default): evenly. Poisson: at random.", "Even"),
            ("Such as 2s; default 10s.", "10s"),
            ("Such as 2s; default 10s. Then more.", "10s"),
            ("Default GET.", "GET"),
            (
                "Some. Default: what is needed, and one minute. It never.",
                "what is needed, and one minute",
            ),
            (
                "With A (default 500ms) and B (default: none): slow.",
                "500ms",
            ),
            (
                "Its name; default item, which is $(item).",
                "item, which is $(item)",
            ),
            ("Nothing is said.", ""),
        ] {
            assert_eq!(default_in(described), default, "{described}");
        }
    }
}
