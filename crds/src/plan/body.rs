//! Request bodies. Templates are put together here once; the engine only fills in its slots.

use loadtest_core::template::{Position, Segment, Template};
use serde_json::Value;

use super::Builder;
use crate::{rule, spec};

impl Builder<'_> {
    /// The body; the content type that goes with it is added to the headers.
    pub(super) fn body(
        &mut self,
        path: &str,
        body: &spec::Body,
        headers: &mut Vec<(String, Template)>,
    ) -> Option<Template> {
        let spec::Body {
            json,
            text,
            form,
            multipart,
            file,
        } = body;
        let given = headers
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case("content-type"));
        let (template, content_type) = match (json, text, form, multipart, file) {
            (Some(json), None, None, None, None) => {
                let path = format!("{path}.json");
                (
                    self.json_body(&path, &json.0),
                    "application/json".to_owned(),
                )
            }
            (None, Some(text), None, None, None) => {
                return Some(self.template(&format!("{path}.text"), text, Position::Text));
            }
            (None, None, Some(fields), None, None) => {
                let template = self.form(&format!("{path}.form"), fields);
                (template, "application/x-www-form-urlencoded".to_owned())
            }
            (None, None, None, Some(parts), None) => {
                let path = format!("{path}.multipart");
                if given {
                    self.problem(
                        &path,
                        "has a content-type of its own, with the boundary between the parts: leave the header out",
                    );
                }
                let kind = format!("multipart/form-data; boundary={}", self.boundary);
                (self.multipart(&path, parts), kind)
            }
            (None, None, None, None, Some(file)) => {
                let index = self.file(&format!("{path}.file"), file);
                let segments = vec![Segment::File(index)];
                (Template { segments }, OCTETS.to_owned())
            }
            _ => {
                self.problem(path, "set exactly one of json, text, form, multipart, file");
                return None;
            }
        };
        if !given {
            let content_type = Template::literal(content_type);
            headers.push(("content-type".to_owned(), content_type));
        }
        Some(template)
    }

    fn json_body(&mut self, path: &str, json: &Value) -> Template {
        let problems = self.problems.len();
        let mut template = Template::default();
        self.json(path, json, &mut template);
        // A variable with `:raw` may be anything; what only a run knows is taken for a number.
        let written: String = template
            .segments
            .iter()
            .map(|segment| match segment {
                Segment::Text(text) => text.as_str(),
                _ => "0",
            })
            .collect();
        if self.problems.len() == problems
            && let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(&written)
        {
            self.problem(
                path,
                format!("is no JSON once its variables are put in: {error}"),
            );
        }
        template
    }

    /// Slots are looked for in texts, keys included, and nowhere else.
    fn json(&mut self, path: &str, value: &Value, to: &mut Template) {
        match value {
            Value::String(text) => self.json_value(path, text, to),
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

    /// A text, or what stands for another value.
    fn json_value(&mut self, path: &str, text: &str, to: &mut Template) {
        if Template::is_raw_value(text) {
            let template = self.template(path, text, Position::Json);
            to.push_template(template);
        } else {
            self.json_text(path, text, to);
        }
    }

    fn json_text(&mut self, path: &str, text: &str, to: &mut Template) {
        to.push_text("\"");
        let template = self.template(path, text, Position::Json);
        to.push_template(template);
        to.push_text("\"");
    }

    fn form(&mut self, path: &str, fields: &[spec::FormField]) -> Template {
        let mut form = Template::default();
        for (index, field) in fields.iter().enumerate() {
            let path = format!("{path}[{index}]");
            if index > 0 {
                form.push_text("&");
            }
            let name = self.template(&format!("{path}.name"), &field.name, Position::Form);
            form.push_template(name);
            form.push_text("=");
            let value = field.value.to_string();
            let value = self.template(&format!("{path}.value"), &value, Position::Form);
            form.push_template(value);
        }
        form
    }

    /// RFC 7578.
    fn multipart(&mut self, path: &str, parts: &[spec::Part]) -> Template {
        let mut body = Template::default();
        for (index, part) in parts.iter().enumerate() {
            let path = format!("{path}[{index}]");
            body.push_text(&format!("--{}\r\n", self.boundary));
            self.part(&path, part, &mut body);
            body.push_text("\r\n");
        }
        body.push_text(&format!("--{}--\r\n", self.boundary));
        body
    }

    fn part(&mut self, path: &str, part: &spec::Part, to: &mut Template) {
        let spec::Part {
            name,
            value,
            file,
            file_name,
            content_type,
        } = part;
        if value.is_some() == file.is_some() {
            self.problem(path, rule::PART.message());
            return;
        }
        for (field, text) in [
            ("name", Some(name.as_str())),
            ("fileName", file_name.as_deref()),
            ("contentType", content_type.as_deref()),
        ] {
            let (path, text) = (format!("{path}.{field}"), text.unwrap_or_default());
            self.plain_text(&path, text);
            self.no_template(&path, text, "here, only in value: write the text itself");
        }
        let last = file.as_deref().and_then(|file| file.rsplit('/').next());
        let file_name = file_name.as_deref().or(last);
        let content_type = content_type.as_deref().or(last.map(|_| OCTETS));
        let quoted = |text: &str| text.replace('"', "%22");
        to.push_text(&format!(
            "content-disposition: form-data; name=\"{}\"",
            quoted(name)
        ));
        if let Some(name) = file_name {
            to.push_text(&format!("; filename=\"{}\"", quoted(name)));
        }
        if let Some(content_type) = content_type {
            to.push_text(&format!("\r\ncontent-type: {content_type}"));
        }
        to.push_text("\r\n\r\n");
        if let Some(value) = value {
            let path = format!("{path}.value");
            let value = self.template(&path, &value.to_string(), Position::Text);
            to.push_template(value);
        }
        if let Some(file) = file {
            let index = self.file(&format!("{path}.file"), file);
            to.segments.push(Segment::File(index));
        }
    }
}

/// Media type of what is not known.
const OCTETS: &str = "application/octet-stream";
