//! Streams that an older version of this program made. A data stream keeps the mapping of the
//! template that it was made with, and the mapping is strict: without an upgrade it would refuse
//! every document that has a field which is new.
//!
//! The installed template's mapping is put on the stream's indices: nothing is copied, and a
//! mapping that only has more fields can always be put. When it cannot, because a field has
//! another type now, the stream rolls over to an index that is made from the new template.

use std::collections::BTreeMap;

use elasticsearch::http::Method;
use serde::Deserialize;
use serde_json::Value;

use super::{
    Elastic,
    answer::describe,
    bootstrap::parse,
    client::{Body, NoAnswer},
};
use crate::export::{batch::Stream, templates::VERSION};

#[derive(Deserialize)]
struct Index {
    #[serde(default)]
    mappings: Mappings,
}

#[derive(Default, Deserialize)]
struct Mappings {
    #[serde(rename = "_meta", default)]
    meta: Meta,
}

#[derive(Default, Deserialize)]
struct Meta {
    /// Of the template; the first ones did not say.
    #[serde(default)]
    version: u64,
}

impl Elastic {
    /// Whether the stream's documents go to an index that knows less than this version's fields.
    ///
    /// # Errors
    /// When the server does not say.
    pub(super) async fn is_outdated(&self, stream: Stream) -> Result<bool, String> {
        let path = format!("{}/_mapping", self.data_stream(stream));
        // Without `dynamic`, which all of ours have, an index of the first versions would not be
        // in the answer at all.
        let filter = [("filter_path", "*.mappings._meta,*.mappings.dynamic")];
        let sent = self
            .client
            .send(Method::Get, &path, &filter, Body::Empty)
            .await;
        let answer = sent.map_err(NoAnswer::trouble)?;
        match answer.status {
            404 => Ok(false), // It is made with the first document.
            401 | 403 => {
                tracing::warn!(
                    stream = stream.name(),
                    "whether the stream was made by an older version cannot be told without the \
                     right view_index_metadata"
                );
                Ok(false)
            }
            _ => {
                let indices: BTreeMap<String, Index> = parse(&answer)?;
                // An index without either is none of ours at all.
                Ok(written(&indices).is_none_or(|index| index.mappings.meta.version < VERSION))
            }
        }
    }

    /// Sees to it that the stream's documents go to an index with this version's fields.
    ///
    /// # Errors
    /// When the server refuses both ways, in its words.
    pub(super) async fn upgrade(&self, stream: Stream) -> Result<(), String> {
        let name = self.data_stream(stream);
        let mapping = self.installed_mapping(stream).await?.to_string();
        let path = format!("{name}/_mapping");
        let body = Body::Json(mapping.as_bytes());
        let put = self.ask(Method::Put, &path, body).await;
        let refused = match put {
            Ok(answer) if answer.status < 300 => {
                tracing::info!(stream = name, "an older stream has the new fields now");
                return Ok(());
            }
            Ok(answer) => describe(&answer),
            Err(refused) => refused,
        };
        let path = format!("{name}/_rollover");
        let rolled = self.ask(Method::Post, &path, Body::Empty).await;
        match rolled {
            Ok(answer) if answer.status < 300 => {
                tracing::info!(
                    stream = name,
                    refused,
                    "an older stream goes on in a new index, for the new fields"
                );
                Ok(())
            }
            Ok(answer) => Err(unfit(&name, &refused, &describe(&answer))),
            Err(trouble) => Err(unfit(&name, &refused, &trouble)),
        }
    }

    /// The mapping of the template as the server has it: perhaps a later version's, or one that
    /// was made for its kind of server.
    async fn installed_mapping(&self, stream: Stream) -> Result<Value, String> {
        let answer = self
            .ask(Method::Get, &self.template_path(stream), Body::Empty)
            .await?;
        let mut templates: Value = parse(&answer)?;
        templates
            .pointer_mut("/index_templates/0/index_template/template/mappings")
            .map(Value::take)
            .ok_or_else(|| format!("the template of {} has no mapping", stream.name()))
    }
}

/// The index that documents are written to: the last of a data stream's, which end with a number.
fn written(indices: &BTreeMap<String, Index>) -> Option<&Index> {
    let number = |name: &String| {
        let digits = name.rsplit('-').next().unwrap_or_default();
        digits.parse::<u64>().unwrap_or_default()
    };
    indices
        .iter()
        .max_by_key(|(name, _)| number(name))
        .map(|(_, index)| index)
}

fn unfit(stream: &str, mapping: &str, rollover: &str) -> String {
    format!(
        "{stream} lacks fields of this version: its mapping cannot be extended ({mapping}), nor can \
         it roll over ({rollover}); if a right is missing, `loadtest es-role` prints what is needed; \
         if {stream} was made by hand or by somebody else, reindex or delete it, because it must be \
         a data stream made from the template of that name"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_written_to_the_last_index() {
        let answer = r#"{
            ".ds-loadtest-runs-a-2026.11.22-000002": {"mappings": {"_meta": {"version": 2}}},
            ".ds-loadtest-runs-a-2026.09.22-000010": {"mappings": {"_meta": {"version": 7}}},
            ".ds-loadtest-runs-a-2026.11.23-000009": {"mappings": {"dynamic": "strict"}}
        }"#;
        let indices: BTreeMap<String, Index> = serde_json::from_str(answer).unwrap();
        assert_eq!(written(&indices).unwrap().mappings.meta.version, 7);
        assert!(written(&BTreeMap::new()).is_none());
    }
}
