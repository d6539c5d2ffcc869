//! Carries the election's requests to the API server.

use std::{sync::Arc, time::Duration};

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
    jiff::Timestamp,
};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};
use loadtest_core::report::UnixMicros;
use tokio::sync::watch;

use super::{
    Leadership,
    election::{Answer, Election, LocalTime, Record, Request, Step, Stored, Timing},
};
use crate::{clock, metrics::Metrics, names};

/// A request without an answer is given up after this long: two more fit before the renew deadline.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);

/// What this replica is, for whoever waits for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The lease has not been read yet.
    Unknown,
    /// Another holds it, or nobody yet.
    Standby,
    /// This one holds it.
    Leading,
}

/// Keeps the lease, or waits for it.
#[derive(Debug)]
pub struct Keeper {
    election: Election,
    leases: Api<Lease>,
    name: String,
    /// Of the object that was read last: labels and annotations of others stay.
    metadata: ObjectMeta,
    leadership: Leadership,
    standing: watch::Sender<Standing>,
    metrics: Arc<Metrics>,
}

impl Keeper {
    /// A candidate for the Lease `name`.
    pub fn new(
        client: Client,
        (namespace, name): (&str, &str),
        identity: String,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            election: Election::new(identity, Timing::DEFAULT),
            leases: Api::namespaced(client, namespace),
            name: name.to_owned(),
            metadata: ObjectMeta::default(),
            leadership: Leadership::none(),
            standing: watch::Sender::new(Standing::Unknown),
            metrics,
        }
    }

    /// Whether this process may act, as this keeper knows it.
    pub fn leadership(&self) -> Leadership {
        self.leadership.clone()
    }

    /// Tells when the standing changes.
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.subscribe()
    }

    /// Waits for the lease and keeps it. Returns when it is lost; the process must end then. It may
    /// be dropped at any moment.
    pub async fn run(&mut self) {
        loop {
            let now = self.leadership.now();
            match self.election.step(now, clock::now()) {
                Step::Over => break,
                Step::Wait(until) => tokio::time::sleep(until.saturating_sub(now)).await,
                Step::Ask(request) => self.ask(&request, now).await,
            }
            self.publish();
        }
        self.publish();
    }

    /// Gives the lease back. Nothing may be written any more, and nothing be under way.
    pub async fn resign(&mut self) {
        self.election.resign();
        self.publish();
        self.run().await;
    }

    async fn ask(&mut self, request: &Request, sent: LocalTime) {
        // Not beyond the end of the claim, which must be noticed in time.
        let left = self
            .election
            .valid_until()
            .map_or(REQUEST_TIMEOUT, |until| until.saturating_sub(sent));
        let limit = left.min(REQUEST_TIMEOUT);
        let answer = match tokio::time::timeout(limit, self.send(request)).await {
            Ok(Ok(lease)) => {
                let stored = stored(&lease);
                self.metadata = ObjectMeta {
                    managed_fields: None,
                    ..lease.metadata
                };
                Answer::Stored(stored)
            }
            Ok(Err(error)) => self.failed(request, &error),
            Err(_) => {
                tracing::warn!(lease = self.name, "no answer about the lease in {limit:?}");
                Answer::Unknown
            }
        };
        if answer == Answer::Unknown {
            self.metrics.lease_failures.inc();
        }
        self.election
            .take(request, sent, self.leadership.now(), answer);
    }

    async fn send(&self, request: &Request) -> Result<Lease, kube::Error> {
        let post = PostParams {
            dry_run: false,
            field_manager: Some(names::MANAGER.to_owned()),
        };
        match request {
            Request::Read => self.leases.get(&self.name).await,
            Request::Create(record) => {
                let metadata = ObjectMeta {
                    name: Some(self.name.clone()),
                    ..ObjectMeta::default()
                };
                self.leases.create(&post, &lease(metadata, record)).await
            }
            Request::Replace { version, record } => {
                let metadata = ObjectMeta {
                    resource_version: Some(version.clone()),
                    ..self.metadata.clone()
                };
                let lease = lease(metadata, record);
                self.leases.replace(&self.name, &post, &lease).await
            }
        }
    }

    fn failed(&self, request: &Request, error: &kube::Error) -> Answer {
        match (request, error) {
            (_, kube::Error::Api(status)) if status.code == 409 => Answer::Refused,
            (Request::Read | Request::Replace { .. }, kube::Error::Api(status))
                if status.code == 404 =>
            {
                Answer::Missing
            }
            _ => {
                tracing::warn!(lease = self.name, %error, "cannot keep the lease");
                Answer::Unknown
            }
        }
    }

    fn publish(&self) {
        let until = self.election.valid_until();
        self.leadership.publish(until);
        self.metrics.leader.set(i64::from(until.is_some()));
        let standing = match (until, self.election.holder()) {
            (Some(_), _) => Standing::Leading,
            (None, Some(_)) => Standing::Standby,
            (None, None) => Standing::Unknown,
        };
        let changed = self.standing.send_if_modified(|before| {
            let changed = *before != standing;
            *before = standing;
            changed
        });
        if changed {
            let holder = self.election.holder().unwrap_or_default();
            tracing::info!(lease = self.name, holder, "{standing:?}");
        }
    }
}

fn stored(lease: &Lease) -> Stored {
    let spec = lease.spec.clone().unwrap_or_default();
    let micros = |time: Option<MicroTime>| time.map_or(0, |time| time.0.as_microsecond());
    let seconds = spec.lease_duration_seconds.unwrap_or_default();
    Stored {
        version: lease.metadata.resource_version.clone().unwrap_or_default(),
        record: Record {
            holder: spec.holder_identity.unwrap_or_default(),
            duration: Duration::from_secs(u64::try_from(seconds).unwrap_or_default()),
            acquired: micros(spec.acquire_time),
            renewed: micros(spec.renew_time),
            transitions: spec.lease_transitions.unwrap_or_default(),
        },
    }
}

fn lease(metadata: ObjectMeta, record: &Record) -> Lease {
    let time = |micros: UnixMicros| Timestamp::from_microsecond(micros).ok().map(MicroTime);
    Lease {
        metadata,
        spec: Some(LeaseSpec {
            holder_identity: Some(record.holder.clone()),
            lease_duration_seconds: i32::try_from(record.duration.as_secs()).ok(),
            acquire_time: time(record.acquired),
            renew_time: time(record.renewed),
            lease_transitions: Some(record.transitions),
            ..LeaseSpec::default()
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_survives_being_written_and_read() {
        let record = Record {
            holder: "operator-1_4f".to_owned(),
            duration: Duration::from_secs(15),
            acquired: 1_700_000_000_000_001,
            renewed: 1_700_000_000_000_002,
            transitions: 3,
        };
        let metadata = ObjectMeta {
            resource_version: Some("17".to_owned()),
            ..ObjectMeta::default()
        };
        let text = serde_json::to_string(&lease(metadata, &record)).unwrap();
        let read = stored(&serde_json::from_str(&text).unwrap());
        assert_eq!(
            read,
            Stored {
                version: "17".to_owned(),
                record
            }
        );
    }

    #[test]
    fn a_lease_that_was_never_held_has_no_holder() {
        let empty = r#"{"metadata": {"name": "l", "resourceVersion": "1"}}"#;
        let read = stored(&serde_json::from_str(empty).unwrap());
        assert_eq!(read.record, Record::default());
    }
}
