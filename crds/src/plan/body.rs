//! Request bodies. Templates are put together here once; the engine only fills in its slots.

use loadtest_core::template::{Position, Segment, Template, percent_encode};
use serde_json::Value;

use super::Builder;
use crate::spec;

impl Builder<'_> {
    /// The body and the content type that goes with it.
    pub(super) fn body(
        &mut self,
        path: &str,
        body: &spec::Body,
    ) -> Option<(Template, Option<&'static str>)> {
        match (&body.json, &body.text, &body.form) {
            (Some(json), None, None) => {
                let mut template = Template::default();
                self.json(&format!("{path}.json"), &json.0, &mut template);
                Some((template, Some("application/json")))
            }
            (None, Some(text), None) => Some((
                self.template(&format!("{path}.text"), text, Position::Text),
                None,
            )),
            (None, None, Some(fields)) => {
                let template = self.form(&format!("{path}.form"), fields);
                Some((template, Some("application/x-www-form-urlencoded")))
            }
            _ => {
                self.problem(path, "set exactly one of json, text, form");
                None
            }
        }
    }

    /// Slots are looked for in texts, keys included, and nowhere else.
    fn json(&mut self, path: &str, value: &Value, to: &mut Template) {
        match value {
            Value::String(text) => self.json_text(path, text, to),
            Value::Array(items) => {
                to.push_text("[");
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        to.push_text(",");
                    }
                    self.json(&format!("{path}[{index}]"), item, to);
                }
                to.push_text("]");
            }
            Value::Object(members) => {
                to.push_text("{");
                for (index, (key, member)) in members.iter().enumerate() {
                    if index > 0 {
                        to.push_text(",");
                    }
                    let path = format!("{path}.{key}");
                    self.json_text(&path, key, to);
                    to.push_text(":");
                    self.json(&path, member, to);
                }
                to.push_text("}");
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => to.push_text(&value.to_string()),
        }
    }

    fn json_text(&mut self, path: &str, text: &str, to: &mut Template) {
        // The literal parts are escaped before they are parsed: quoting leaves `$(name)` as it is.
        let quoted = Value::String(text.to_owned()).to_string();
        let template = self.template(path, &quoted, Position::Json);
        to.push_template(template);
    }

    fn form(&mut self, path: &str, fields: &[spec::FormField]) -> Template {
        let mut form = Template::default();
        for (index, field) in fields.iter().enumerate() {
            let path = format!("{path}[{index}]");
            if index > 0 {
                form.push_text("&");
            }
            let name = self.template(&format!("{path}.name"), &field.name, Position::Form);
            form.push_template(encoded(name));
            form.push_text("=");
            let value = field.value.to_string();
            let value = self.template(&format!("{path}.value"), &value, Position::Form);
            form.push_template(encoded(value));
        }
        form
    }
}

/// Percent-encodes the texts of a template; slots are digits and hex, which stay as they are.
fn encoded(template: Template) -> Template {
    let mut out = Template::default();
    for segment in template.segments {
        match segment {
            Segment::Text(text) => out.push_text(&percent_encode(&text)),
            other => out.segments.push(other),
        }
    }
    out
}
