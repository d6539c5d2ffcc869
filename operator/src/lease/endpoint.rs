//! Leads runners to the replica that acts: the Service in front of the coordination server has no
//! selector, and the leader writes its one `EndpointSlice`.
//!
//! A redirect from the other replicas would not do: HTTP clients leave the Authorization header out
//! when they follow one.

use std::{net::IpAddr, time::Duration};

use k8s_openapi::{
    api::{
        core::v1::ObjectReference,
        discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice},
    },
    apimachinery::pkg::apis::meta::v1::OwnerReference,
};
use kube::{
    Api,
    api::{ObjectMeta, Patch},
};

use crate::{context::Context, error::Error, names, settings::Announcement};

/// What somebody else changed is put right after this long: a leader that was on its way out and wrote
/// late, or the garbage collector, to which the slice goes with the pod of the leader before.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// A failed write is tried again after this long.
const RETRY: Duration = Duration::from_secs(2);
/// Name of the port, in the Service too.
const PORT: &str = "coordination";
/// By this label the slice belongs to its Service.
const SERVICE_LABEL: &str = "kubernetes.io/service-name";
/// Who keeps a slice: the cluster's own controllers leave those of others alone.
const KEEPER_LABEL: &str = "endpointslice.kubernetes.io/managed-by";

/// Keeps the slice as it must be, as long as this process acts.
pub async fn keep(context: &Context, announcement: &Announcement) {
    let wanted = slice(announcement);
    loop {
        let pause = match look(context, announcement, &wanted).await {
            Ok(()) => LOOK_AGAIN,
            Err(error) => {
                tracing::warn!(%error, service = announcement.service, "runners cannot be led here");
                RETRY
            }
        };
        tokio::time::sleep(pause).await;
    }
}

async fn look(
    context: &Context,
    announcement: &Announcement,
    wanted: &EndpointSlice,
) -> Result<(), Error> {
    let client = context.writer()?.clone();
    let slices: Api<EndpointSlice> = Api::namespaced(client, &context.settings.namespace);
    let name = name(announcement);
    let found = slices.get_opt(&name).await;
    let found = found.map_err(Error::api("read the leader's EndpointSlice"))?;
    if found.is_some_and(|found| leads_to(&found, wanted)) {
        return Ok(());
    }
    let patch = Patch::Apply(wanted);
    let written = slices.patch(&name, &Context::apply(), &patch).await;
    written.map_err(Error::api("write the leader's EndpointSlice"))?;
    let address = announcement.address;
    tracing::info!(%address, service = announcement.service, "runners are led here");
    Ok(())
}

fn name(announcement: &Announcement) -> String {
    format!("{}-leader", announcement.service)
}

/// Whether a slice says what `wanted` says, whatever else the API server filled in.
fn leads_to(found: &EndpointSlice, wanted: &EndpointSlice) -> bool {
    let labels = |slice: &EndpointSlice| slice.metadata.labels.clone().unwrap_or_default();
    let all = labels(found);
    found.endpoints == wanted.endpoints
        && found.ports == wanted.ports
        && labels(wanted)
            .iter()
            .all(|(key, value)| all.get(key) == Some(value))
}

/// It goes with the pod that it leads to.
fn slice(announcement: &Announcement) -> EndpointSlice {
    let Announcement {
        service,
        address,
        port,
        pod,
        pod_uid,
    } = announcement;
    let labels = [
        (SERVICE_LABEL, service.as_str()),
        (KEEPER_LABEL, names::MANAGER),
        (names::MANAGED_BY_LABEL, names::MANAGER),
    ];
    let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let owner = OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Pod".to_owned(),
        name: pod.clone(),
        uid: pod_uid.clone(),
        ..OwnerReference::default()
    };
    EndpointSlice {
        metadata: ObjectMeta {
            name: Some(name(announcement)),
            labels: Some(labels.into()),
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        address_type: match address {
            IpAddr::V4(_) => "IPv4".to_owned(),
            IpAddr::V6(_) => "IPv6".to_owned(),
        },
        endpoints: vec![Endpoint {
            addresses: vec![address.to_string()],
            conditions: Some(EndpointConditions {
                ready: Some(true),
                ..EndpointConditions::default()
            }),
            target_ref: Some(ObjectReference {
                kind: Some("Pod".to_owned()),
                name: Some(pod.clone()),
                uid: Some(pod_uid.clone()),
                ..ObjectReference::default()
            }),
            ..Endpoint::default()
        }],
        ports: Some(vec![EndpointPort {
            name: Some(PORT.to_owned()),
            port: Some(i32::from(*port)),
            protocol: Some("TCP".to_owned()),
            ..EndpointPort::default()
        }]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn announcement(address: &str) -> Announcement {
        Announcement {
            service: "loadtest-operator".to_owned(),
            address: address.parse().unwrap(),
            port: 8443,
            pod: "loadtest-operator-1".to_owned(),
            pod_uid: "u-1".to_owned(),
        }
    }

    #[test]
    fn a_slice_leads_to_this_pod_and_goes_with_it() {
        let slice = serde_json::to_value(slice(&announcement("10.1.2.3"))).unwrap();
        assert_eq!(
            slice,
            serde_json::json!({
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": {
                    "name": "loadtest-operator-leader",
                    "labels": {
                        "app.kubernetes.io/managed-by": "loadtest-operator",
                        "endpointslice.kubernetes.io/managed-by": "loadtest-operator",
                        "kubernetes.io/service-name": "loadtest-operator",
                    },
                    "ownerReferences": [
                        {"apiVersion": "v1", "kind": "Pod", "name": "loadtest-operator-1", "uid": "u-1"},
                    ],
                },
                "addressType": "IPv4",
                "endpoints": [{
                    "addresses": ["10.1.2.3"],
                    "conditions": {"ready": true},
                    "targetRef": {"kind": "Pod", "name": "loadtest-operator-1", "uid": "u-1"},
                }],
                "ports": [{"name": "coordination", "port": 8443, "protocol": "TCP"}],
            })
        );
    }

    #[test]
    fn a_slice_of_another_leader_is_written_anew_and_ones_own_is_not() {
        let wanted = slice(&announcement("10.1.2.3"));
        let mut stored = wanted.clone();
        stored.metadata.resource_version = Some("7".to_owned());
        assert!(leads_to(&stored, &wanted));
        assert!(!leads_to(&slice(&announcement("10.1.2.4")), &wanted));
        stored.metadata.labels = None;
        assert!(!leads_to(&stored, &wanted));
    }
}
