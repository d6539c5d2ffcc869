//! The one way in which a document could be there twice: ids are unique within a backing index, so
//! a request whose answer was lost and that is repeated after its data stream rolled over would
//! make its documents again (seen on Elasticsearch 8, 9 and `OpenSearch` 3). So before such a
//! repetition the stream is asked which of the ids it has.

use std::{collections::HashSet, time::Duration};

use elasticsearch::http::Method;
use serde::Deserialize;
use serde_json::json;

use super::{Elastic, answer::describe, bootstrap::parse, client::Body};
use crate::export::batch::Stream;

/// The server may still be working on a request whose sender is gone: what is there is believed
/// when it has not grown for so long.
const STILL: Duration = Duration::from_millis(500);

#[derive(Default, Deserialize)]
struct Found {
    #[serde(default)]
    hits: Hits,
}

#[derive(Default, Deserialize)]
struct Hits {
    #[serde(default)]
    hits: Vec<Hit>,
}

#[derive(Deserialize)]
struct Hit {
    #[serde(rename = "_id")]
    id: String,
}

impl Elastic {
    /// Which of these documents a stream has, if it has more than one backing index: in a single
    /// one the server itself tells a repetition (409).
    ///
    /// # Errors
    /// When the server does not say; nothing should be repeated before it does.
    pub(super) async fn there_after_rollover(
        &self,
        stream: Stream,
        ids: &[&str],
    ) -> Result<HashSet<String>, String> {
        if ids.is_empty() || !self.may_have_rolled_over(stream).await? {
            return Ok(HashSet::new());
        }
        let mut there = self.there(stream, ids).await?;
        while there.len() < ids.len() {
            tokio::time::sleep(STILL).await;
            let now = self.there(stream, ids).await?;
            if now.len() == there.len() {
                break;
            }
            there = now;
        }
        tracing::info!(
            stream = stream.name(),
            asked = ids.len(),
            there = there.len(),
            "an answer was lost, and the stream has rolled over at some time: asked what is there"
        );
        Ok(there)
    }

    async fn there(&self, stream: Stream, ids: &[&str]) -> Result<HashSet<String>, String> {
        let name = self.data_stream(stream);
        // A search sees only what was refreshed.
        let refreshed = self
            .ask(Method::Post, &format!("{name}/_refresh"), Body::Empty)
            .await?;
        if refreshed.status >= 300 {
            return Err(describe(&refreshed));
        }
        let query = json!({
            "size": ids.len(), "_source": false, "query": {"ids": {"values": ids}},
        })
        .to_string();
        let path = format!("{name}/_search");
        let answer = self
            .ask(Method::Post, &path, Body::Json(query.as_bytes()))
            .await?;
        let found: Found = parse(&answer)?;
        Ok(found.hits.hits.into_iter().map(|hit| hit.id).collect())
    }

    async fn may_have_rolled_over(&self, stream: Stream) -> Result<bool, String> {
        #[derive(Deserialize)]
        struct Streams {
            #[serde(default)]
            data_streams: Vec<DataStream>,
        }
        #[derive(Deserialize)]
        struct DataStream {
            #[serde(default)]
            indices: Vec<serde_json::Value>,
        }
        let path = format!("_data_stream/{}", self.data_stream(stream));
        let sent = self.client.send(Method::Get, &path, &[], Body::Empty).await;
        let answer = sent.map_err(super::client::NoAnswer::trouble)?;
        match answer.status {
            // No such stream, or a server without streams: one index at most.
            400 | 404 | 405 => Ok(false),
            // It may not be asked for, but searched.
            401 | 403 => Ok(true),
            _ => {
                let streams: Streams = parse(&answer)?;
                Ok(streams
                    .data_streams
                    .iter()
                    .any(|stream| stream.indices.len() > 1))
            }
        }
    }
}
