//! What both controllers share.

use std::sync::Arc;

use futures::channel::mpsc::UnboundedSender;
use k8s_openapi::api::core::v1::{ObjectReference, Pod};
use kube::{
    Client,
    api::PatchParams,
    core::DynamicObject,
    runtime::{
        events::{Event, EventType, Recorder},
        reflector::{ObjectRef, Store},
    },
};

use crate::{
    coordination::{Authority, Registry},
    error::{Backoff, Error, is_namespace_ending},
    lease::Leadership,
    metrics::Metrics,
    names,
    objects::Kinds,
    rails::queue::Queue,
    settings::Settings,
};

/// What a reconcile may use.
pub struct Context {
    /// The API server, to read from.
    pub client: Client,
    /// The API server, to watch: it may be silent for longer.
    pub watching: Client,
    /// Whether this process may act.
    pub leadership: Leadership,
    /// What the installation decides.
    pub settings: Settings,
    /// Kinds of the roots.
    pub kinds: Kinds,
    /// Runs under way.
    pub registry: Arc<Registry>,
    /// Runs that wait for others.
    pub queue: Queue,
    /// All `LoadTest`s.
    pub tests: Store<DynamicObject>,
    /// All `LoadTestRun`s.
    pub runs: Store<DynamicObject>,
    /// All runner pods.
    pub pods: Store<Pod>,
    /// Has tests reconciled when one of their runs has changed.
    pub wake_test: UnboundedSender<ObjectRef<DynamicObject>>,
    /// Events.
    pub recorder: Recorder,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// What runners trust.
    pub authority: Authority,
    /// Waits after failures.
    pub backoff: Backoff,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Context")
    }
}

impl Context {
    /// The API server, to write to: asked for before each write, and refused without a valid lease.
    ///
    /// # Errors
    /// When this process may not act.
    pub fn writer(&self) -> Result<&Client, Error> {
        if self.leadership.is_valid() {
            Ok(&self.client)
        } else {
            Err(Error::NotLeading)
        }
    }

    /// How everything is applied: as the one manager, whoever else wrote the same fields.
    pub fn apply() -> PatchParams {
        PatchParams::apply(names::MANAGER).force()
    }

    /// Tells people what happened. An event that cannot be written changes nothing.
    pub async fn event(
        &self,
        about: &ObjectReference,
        type_: EventType,
        reason: &str,
        note: &str,
        action: &str,
    ) {
        if self.writer().is_err() {
            return;
        }
        let event = Event {
            type_,
            reason: reason.to_owned(),
            note: Some(cut(note)),
            action: action.to_owned(),
            secondary: None,
        };
        if let Err(error) = self.recorder.publish(&event, about).await
            && !is_namespace_ending(&error)
        {
            tracing::warn!(%error, reason, "cannot write an event");
        }
    }
}

/// An event's note has at most 1 kB.
fn cut(note: &str) -> String {
    note.char_indices()
        .take_while(|(at, _)| *at < 1_000)
        .map(|(_, character)| character)
        .collect()
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    /// Files that may use [`Context::client`](super::Context::client): they list, watch and get.
    const READERS: [&str; 3] = ["context.rs", "process/controllers.rs", "run/observe.rs"];
    /// How a file uses it, or [`Context::watching`](super::Context::watching).
    const READS: [&str; 4] = [
        "ctx.client",
        "context.client",
        "ctx.watching",
        "context.watching",
    ];

    fn visit(folder: &Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                visit(&path, found);
            } else {
                let text = fs::read_to_string(&path).unwrap();
                if READS.iter().any(|read| text.contains(read)) {
                    found.push(path.display().to_string());
                }
            }
        }
    }

    #[test]
    fn only_reads_go_around_the_lease() {
        let mut found = Vec::new();
        visit(
            Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")),
            &mut found,
        );
        found.retain(|file| !READERS.iter().any(|reader| file.ends_with(reader)));
        assert!(
            found.is_empty(),
            "these must use Context::writer: {found:?}"
        );
    }
}
