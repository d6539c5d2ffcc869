//! The one way in which a document could be there twice: ids are unique within a backing index, so
//! a request whose answer was lost and that is repeated after its data stream rolled over would
//! make its documents again (seen on Elasticsearch 8, 9 and `OpenSearch` 3). So before such a
//! repetition the stream is asked which of the ids it has, and each time anew, because it may have
//! rolled over since. Only an answer of all its shards is one.
//!
//! What is left is the moment between that question and the repetition.

use std::{collections::HashSet, time::Duration};

use elasticsearch::http::Method;
use serde::Deserialize;
use serde_json::json;

use super::{
    Elastic,
    answer::describe,
    bootstrap::parse,
    client::{Answer, Body},
};
use crate::export::batch::Stream;

/// The server may still be working on a request whose sender is gone: what is there is believed
/// when it has not grown for so long.
const STILL: Duration = Duration::from_millis(500);

#[derive(Default, Deserialize)]
struct Found {
    #[serde(default)]
    timed_out: bool,
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
    /// Which of these documents a stream has. `None` as long as it has one backing index at most: in
    /// a single one the server itself tells a repetition (409), so nothing was looked for.
    ///
    /// # Errors
    /// When the server does not say; nothing should be repeated before it does.
    pub(super) async fn there_after_rollover(
        &self,
        stream: Stream,
        ids: &[&str],
    ) -> Result<Option<HashSet<String>>, String> {
        if !self.may_have_rolled_over(stream).await? {
            return Ok(None);
        }
        let Some(mut there) = self.there(stream, ids).await? else {
            return Ok(None);
        };
        while there.len() < ids.len() {
            tokio::time::sleep(STILL).await;
            let Some(now) = self.there(stream, ids).await? else {
                return Ok(None);
            };
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
        Ok(Some(there))
    }

    /// Which of these documents a search finds now; `None` when there is no such stream.
    async fn there(&self, stream: Stream, ids: &[&str]) -> Result<Option<HashSet<String>>, String> {
        // A search sees only what was refreshed.
        if !self.refresh(stream).await? {
            return Ok(None);
        }
        let query = json!({
            "size": ids.len(), "_source": false, "query": {"ids": {"values": ids}},
        })
        .to_string();
        let path = format!("{}/_search", self.data_stream(stream));
        // Servers leave out the shards that fail, or are late, unless they are told not to.
        let whole = [("allow_partial_search_results", "false")];
        let body = Body::Json(query.as_bytes());
        let answer = self.ask_with(Method::Post, &path, &whole, body).await?;
        all_shards(&answer)?;
        let found: Found = parse(&answer)?;
        if found.timed_out {
            return Err("the search server took too long to tell what it has".to_owned());
        }
        Ok(Some(
            found.hits.hits.into_iter().map(|hit| hit.id).collect(),
        ))
    }

    /// Lets searches see all that a stream has; false when there is no such stream, as before its
    /// first document.
    ///
    /// # Errors
    /// When the server did not do it for all of the stream.
    pub(super) async fn refresh(&self, stream: Stream) -> Result<bool, String> {
        let path = format!("{}/_refresh", self.data_stream(stream));
        let answer = self.ask(Method::Post, &path, Body::Empty).await?;
        if answer.status == 404 {
            return Ok(false);
        }
        all_shards(&answer)?;
        Ok(true)
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

/// That an answer is no refusal, and of all shards.
///
/// # Errors
/// When it is not.
pub(super) fn all_shards(answer: &Answer) -> Result<(), String> {
    #[derive(Default, Deserialize)]
    struct Answered {
        #[serde(rename = "_shards", default)]
        shards: Shards,
    }
    #[derive(Default, Deserialize)]
    struct Shards {
        #[serde(default)]
        failed: u64,
    }
    let Answered { shards } = parse(answer)?;
    match shards.failed {
        0 => Ok(()),
        failed => Err(format!(
            "{failed} shards of the search server did not answer: {}",
            describe(answer)
        )),
    }
}
