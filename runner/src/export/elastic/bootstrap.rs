//! What must be there before the first document: the index templates, and in streams that are
//! there already the fields of this version. Without the templates a server would make plain
//! indices with guessed mappings.

use std::time::Duration;

use elasticsearch::http::Method;
use loadtest_core::plan::Flavor;
use serde::Deserialize;
use serde_json::json;

use super::{
    Elastic,
    answer::describe,
    backoff::Backoff,
    client::{Answer, Body, NoAnswer},
    rollover::all_shards,
};
use crate::export::{
    batch::Stream,
    sink::GiveUp,
    templates::{Abilities, Dialect, VERSION, template},
};

/// How long the other runners leave it to runner 0 to install the templates.
const OTHERS_WAIT: Duration = Duration::from_secs(5);

/// How often the server is asked for its count: one lost answer is no doubt about documents.
const COUNT_ATTEMPTS: usize = 5;

/// For how long, in all.
const COUNT_TIME: Duration = Duration::from_secs(30);

impl Elastic {
    /// Sees to it that the templates are there, if that is ours to do; keeps trying. False when it
    /// was given up.
    pub(in crate::export) async fn prepare(&self, mut give_up: GiveUp) -> bool {
        if !self.manages_templates {
            return true;
        }
        give_up.or(self.prepare_patiently()).await.is_some()
    }

    async fn prepare_patiently(&self) {
        let mut backoff = Backoff::new();
        let wait_until = tokio::time::Instant::now() + OTHERS_WAIT;
        loop {
            let install = self.first || tokio::time::Instant::now() >= wait_until;
            match self.prepare_once(install).await {
                Ok(true) => {
                    self.note_success();
                    return;
                }
                Ok(false) => {}
                Err(trouble) => self.note_trouble(&trouble),
            }
            tokio::time::sleep(backoff.next()).await;
        }
    }

    /// True when all templates are there and all streams are of this version.
    async fn prepare_once(&self, install: bool) -> Result<bool, String> {
        let (mut missing, mut outdated) = (Vec::new(), Vec::new());
        for stream in Stream::ALL {
            if !self.has_template(stream).await? {
                missing.push(stream);
            }
            if self.is_outdated(stream).await? {
                outdated.push(stream);
            }
        }
        if !install {
            return Ok(missing.is_empty() && outdated.is_empty());
        }
        if !missing.is_empty() {
            let mut abilities = Abilities::of(self.dialect().await?);
            for stream in missing {
                abilities = self.install(stream, abilities).await?;
            }
        }
        for stream in outdated {
            self.upgrade(stream).await?;
        }
        Ok(true)
    }

    /// Whether the server has this version of a template, or a later one.
    async fn has_template(&self, stream: Stream) -> Result<bool, String> {
        #[derive(Deserialize)]
        struct Templates {
            #[serde(default)]
            index_templates: Vec<Named>,
        }
        #[derive(Deserialize)]
        struct Named {
            index_template: Versioned,
        }
        #[derive(Deserialize)]
        struct Versioned {
            #[serde(default)]
            version: u64,
        }
        let answer = self
            .ask(Method::Get, &self.template_path(stream), Body::Empty)
            .await?;
        if answer.status == 404 {
            return Ok(false);
        }
        let templates: Templates = parse(&answer)?;
        Ok(templates
            .index_templates
            .iter()
            .any(|t| t.index_template.version >= VERSION))
    }

    async fn dialect(&self) -> Result<Dialect, String> {
        #[derive(Deserialize)]
        struct Root {
            version: Version,
        }
        #[derive(Deserialize)]
        struct Version {
            distribution: Option<String>,
        }
        match self.flavor {
            Flavor::OpenSearch => Ok(Dialect::OpenSearch),
            Flavor::Elasticsearch => Ok(Dialect::Elasticsearch),
            Flavor::Auto => {
                let root: Root = parse(&self.ask(Method::Get, "/", Body::Empty).await?)?;
                Ok(match root.version.distribution.as_deref() {
                    Some("opensearch") => Dialect::OpenSearch,
                    _ => Dialect::Elasticsearch,
                })
            }
        }
    }

    /// Returns what the server took: it need not refuse the next template for the same.
    async fn install(&self, stream: Stream, abilities: Abilities) -> Result<Abilities, String> {
        let mut abilities = abilities;
        loop {
            let body = template(stream, &self.prefix, abilities).to_string();
            let path = self.template_path(stream);
            let answer = self
                .ask(Method::Put, &path, Body::Json(body.as_bytes()))
                .await?;
            if answer.status < 300 {
                return Ok(abilities);
            }
            // Each time it is asked for less, so this ends.
            let Some((less, without)) = abilities.after_refusal(&answer.text) else {
                return Err(refused(stream, &answer));
            };
            tracing::info!("the server has no {without}");
            abilities = less;
        }
    }

    /// Whether the server itself counts as many documents of this runner as it confirmed; `None`
    /// when it cannot say.
    pub(in crate::export) async fn verify(
        &self,
        stream: Stream,
        run_id: &str,
        runner: Option<u32>,
        indexed: u64,
    ) -> Option<bool> {
        let count = self.count_patiently(stream, run_id, runner);
        let count = match tokio::time::timeout(COUNT_TIME, count).await {
            Ok(count) => count,
            Err(_) => Err(format!("no count within {} s", COUNT_TIME.as_secs())),
        };
        match count {
            Ok(count) if count == indexed => Some(true),
            Ok(count) => {
                tracing::warn!(
                    stream = stream.name(),
                    count,
                    indexed,
                    "the search server counts another number of documents than it confirmed"
                );
                Some(false)
            }
            Err(error) => {
                tracing::warn!(%error, "the number of documents could not be verified");
                None
            }
        }
    }

    async fn count_patiently(
        &self,
        stream: Stream,
        run_id: &str,
        runner: Option<u32>,
    ) -> Result<u64, String> {
        let mut backoff = Backoff::new();
        for _ in 1..COUNT_ATTEMPTS {
            match self.count(stream, run_id, runner).await {
                Ok(count) => return Ok(count),
                Err(error) => tracing::info!(%error, "the server is asked for its count again"),
            }
            self.pause(&mut backoff).await;
        }
        self.count(stream, run_id, runner).await
    }

    async fn count(
        &self,
        stream: Stream,
        run_id: &str,
        runner: Option<u32>,
    ) -> Result<u64, String> {
        #[derive(Deserialize)]
        struct Count {
            count: u64,
        }
        if !self.refresh(stream).await? {
            return Ok(0); // No document was ever sent.
        }
        let mut filter = vec![json!({"term": {"loadtest.run.id": run_id}})];
        if let Some(runner) = runner {
            filter.push(json!({"term": {"loadtest.runner.index": runner}}));
        }
        let query = json!({"query": {"bool": {"filter": filter}}}).to_string();
        let path = format!("{}/_count", self.data_stream(stream));
        let answer = self
            .ask(Method::Post, &path, Body::Json(query.as_bytes()))
            .await?;
        all_shards(&answer)?;
        parse::<Count>(&answer).map(|count| count.count)
    }

    pub(super) fn template_path(&self, stream: Stream) -> String {
        format!("_index_template/{}", stream.template_name(&self.prefix))
    }

    /// An exchange in which refused credentials are read again, for the next attempt.
    pub(super) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Body<'_>,
    ) -> Result<Answer, String> {
        self.ask_with(method, path, &[], body).await
    }

    /// The same with a query.
    pub(super) async fn ask_with(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: Body<'_>,
    ) -> Result<Answer, String> {
        let sent = self.awaited(self.client.send(method, path, query, body));
        let answer = sent.await.map_err(NoAnswer::trouble)?;
        if matches!(answer.status, 401 | 403) {
            let trouble = describe(&answer);
            return Err(match self.client.read_credentials() {
                Ok(()) => trouble,
                Err(error) => format!("{trouble}; {error}"),
            });
        }
        Ok(answer)
    }
}

fn refused(stream: Stream, answer: &Answer) -> String {
    format!(
        "the template of {} was refused: {}",
        stream.name(),
        describe(answer)
    )
}

pub(super) fn parse<T: for<'de> Deserialize<'de>>(answer: &Answer) -> Result<T, String> {
    if answer.status >= 300 {
        return Err(describe(answer));
    }
    serde_json::from_str(&answer.text)
        .map_err(|error| format!("the search server's answer cannot be understood: {error}"))
}
