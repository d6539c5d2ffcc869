//! What the pods of a run show: why they do not start, and which parts are gone. Everything is
//! said in the words of the kubelet and the scheduler.

use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, Event, Pod};
use kube::ResourceExt;

use crate::{
    coordination::{Loss, Trouble},
    names::{COMPLETION_INDEX, ENGINE_CONTAINER, EXPORTER_CONTAINER},
};

/// Longest piece of a kubelet's message that is repeated.
const WORDS: usize = 300;

/// Index of a runner's pod.
pub fn index(pod: &Pod) -> Option<u32> {
    pod.annotations().get(COMPLETION_INDEX)?.parse().ok()
}

/// Whether a pod will do no more.
pub fn is_over(pod: &Pod) -> bool {
    let phase = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// The first reason why pods do not start.
pub fn trouble<'a>(pods: impl IntoIterator<Item = &'a Pod>) -> Option<Trouble> {
    pods.into_iter()
        .filter(|pod| !is_over(pod))
        .find_map(|pod| {
            let runner = index(pod)?;
            unschedulable(pod)
                .or_else(|| containers(pod).find_map(waiting))
                .map(|(reason, words, hopeless)| Trouble {
                    reason: reason.to_owned(),
                    message: format!("runner {runner}: {}", cut(&words)),
                    hopeless,
                })
        })
}

/// Whether the containers of a pod have not begun.
pub fn is_pending(pod: &Pod) -> bool {
    let phase = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    matches!(phase, None | Some("Pending"))
}

/// The last warning about a pod that does not start.
pub fn warned(pod: &Pod, events: &[Event]) -> Option<Trouble> {
    let runner = index(pod)?;
    let last = events.iter().max_by_key(|event| {
        let series = event
            .series
            .as_ref()
            .and_then(|series| series.last_observed_time.as_ref());
        let micro = series.or(event.event_time.as_ref()).map(|time| time.0);
        micro.max(event.last_timestamp.as_ref().map(|time| time.0))
    })?;
    let message = last.message.as_deref().map(cut).unwrap_or_default();
    Some(Trouble {
        // What is missing for a mount has many names; the kubelet's own is the plainest.
        reason: last
            .reason
            .clone()
            .unwrap_or_else(|| "PodNotStarted".to_owned()),
        message: format!("runner {runner}: {message}"),
        hopeless: false,
    })
}

/// The parts of a runner that its pod shows to be gone.
pub fn losses(pod: &Pod) -> Vec<Loss> {
    let Some(index) = index(pod) else {
        return Vec::new();
    };
    let mut losses = Vec::new();
    let status = pod.status.as_ref();
    let evicted = status
        .filter(|status| status.reason.is_some())
        .filter(|_| is_over(pod));
    let ended = container(pod, ENGINE_CONTAINER)
        .and_then(|status| status.state.as_ref()?.terminated.as_ref());
    if let Some(status) = evicted {
        let words = status.message.clone().unwrap_or_default();
        losses.push(Loss::Engine {
            index,
            reason: status.reason.clone(),
            message: format!("runner {index} was ended by the cluster: {}", cut(&words)),
        });
    } else if let Some(ended) = ended {
        losses.push(engine_ended(index, ended));
    } else if is_over(pod) {
        losses.push(Loss::Engine {
            index,
            reason: None,
            message: format!("runner {index}: its pod ended before the engine began"),
        });
    }
    if is_over(pod) {
        losses.push(Loss::Exporter { index });
    } else if losses.is_empty() && pod.metadata.deletion_timestamp.is_some() {
        losses.push(Loss::Leaving {
            index,
            message: leaving(pod, index),
        });
    }
    losses
}

/// Both parts of a runner whose pod does not exist any more.
pub fn gone(index: u32) -> [Loss; 2] {
    let message = format!("runner {index}: its pod was deleted");
    [
        Loss::Engine {
            index,
            reason: None,
            message,
        },
        Loss::Exporter { index },
    ]
}

/// Who drains a node says why; who deletes a pod does not.
fn leaving(pod: &Pod, index: u32) -> String {
    let conditions = pod
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_deref());
    let disruption = conditions
        .unwrap_or_default()
        .iter()
        .find(|condition| condition.type_ == "DisruptionTarget");
    match disruption.and_then(|condition| condition.message.as_deref()) {
        Some(words) => format!("runner {index} was ended by the cluster: {}", cut(words)),
        None => format!("runner {index}: its pod was deleted"),
    }
}

fn engine_ended(index: u32, ended: &ContainerStateTerminated) -> Loss {
    let word = ended.reason.as_deref().unwrap_or("Error");
    // The end of the log, because of terminationMessagePolicy: its last line is the reason.
    let said = ended
        .message
        .as_deref()
        .unwrap_or_default()
        .trim()
        .lines()
        .last();
    let said = said
        .map(|line| format!(": {}", cut(line)))
        .unwrap_or_default();
    // What a shell says of a process that was ended by a signal.
    let signal = ended
        .exit_code
        .checked_sub(128)
        .filter(|signal| *signal > 0);
    let (reason, message) = match (word, signal) {
        ("OOMKilled", _) => (
            Some("OOMKilled".to_owned()),
            format!("runner {index} used more memory than its limit and was killed"),
        ),
        ("Completed", _) => (
            None,
            format!("runner {index} ended before its final report{said}"),
        ),
        ("Error", Some(signal)) => (
            None,
            format!("runner {index} was killed by signal {signal}"),
        ),
        ("Error", None) => (
            None,
            format!(
                "runner {index} ended with exit code {}{said}",
                ended.exit_code
            ),
        ),
        (word, _) => (
            Some(word.to_owned()),
            format!("runner {index} ended: {word}{said}"),
        ),
    };
    Loss::Engine {
        index,
        reason,
        message,
    }
}

fn unschedulable(pod: &Pod) -> Option<(&'static str, String, bool)> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let scheduled = conditions
        .iter()
        .find(|condition| condition.type_ == "PodScheduled")?;
    (scheduled.status == "False" && scheduled.reason.as_deref() == Some("Unschedulable")).then(
        || {
            (
                "Unschedulable",
                scheduled.message.clone().unwrap_or_default(),
                false,
            )
        },
    )
}

fn waiting(status: &ContainerStatus) -> Option<(&'static str, String, bool)> {
    let waiting = status.state.as_ref()?.waiting.as_ref()?;
    let word = waiting.reason.as_deref()?;
    let (reason, hopeless) = match word {
        "ErrImagePull" | "ImagePullBackOff" | "RegistryUnavailable" | "ImageInspectError" => {
            ("ImagePullFailed", false)
        }
        "InvalidImageName" | "ErrImageNeverPull" => ("ImagePullFailed", true),
        "CreateContainerConfigError" => ("ContainerConfigError", false),
        "CrashLoopBackOff" if status.name == EXPORTER_CONTAINER => ("ExporterFailed", false),
        "CrashLoopBackOff" | "CreateContainerError" | "RunContainerError" => {
            ("ContainerError", false)
        }
        _ => return None,
    };
    let said = waiting.message.clone().unwrap_or_default();
    let last = status
        .last_state
        .as_ref()
        .and_then(|state| state.terminated.as_ref());
    let last = last
        .and_then(|ended| ended.message.as_deref())
        .unwrap_or_default();
    let words = [word, &said, last.trim()];
    let words: Vec<_> = words
        .into_iter()
        .filter(|words| !words.is_empty())
        .collect();
    Some((reason, words.join(": "), hopeless))
}

fn containers(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    let status = pod.status.as_ref();
    let init = status.and_then(|status| status.init_container_statuses.as_deref());
    let main = status.and_then(|status| status.container_statuses.as_deref());
    init.unwrap_or_default()
        .iter()
        .chain(main.unwrap_or_default())
}

fn container<'a>(pod: &'a Pod, name: &str) -> Option<&'a ContainerStatus> {
    containers(pod).find(|status| status.name == name)
}

fn cut(text: &str) -> String {
    text.trim()
        .chars()
        .take(WORDS)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

/// Indexes in the notation of a Job's status: `0,2-4`.
pub fn indexes(text: &str) -> Vec<u32> {
    text.split(',')
        .filter_map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            Some(first.trim().parse().ok()?..=last.trim().parse().ok()?)
        })
        .flatten()
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(status: &Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "p", "annotations": {COMPLETION_INDEX: "1"}},
            "status": status,
        }))
        .unwrap()
    }

    fn state(name: &str, state: &Value) -> Value {
        json!([{"name": name, "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": state}])
    }

    #[test]
    fn trouble_is_told_in_the_clusters_words() {
        let waiting = |reason: &str, message: &str| json!({"phase": "Pending", "containerStatuses": state("runner", &json!({"waiting": {"reason": reason, "message": message}}))});
        let unschedulable = json!({"phase": "Pending", "conditions": [{
            "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
            "message": "0/1 nodes are available: 1 Insufficient cpu.",
        }]});
        for (status, reason, message, hopeless) in [
            (
                unschedulable,
                "Unschedulable",
                "runner 1: 0/1 nodes are available: 1 Insufficient cpu.",
                false,
            ),
            (
                waiting("ImagePullBackOff", "Back-off pulling image \"x\""),
                "ImagePullFailed",
                "runner 1: ImagePullBackOff: Back-off pulling image \"x\"",
                false,
            ),
            (
                waiting("InvalidImageName", "bad"),
                "ImagePullFailed",
                "runner 1: InvalidImageName: bad",
                true,
            ),
            (
                waiting("CreateContainerConfigError", "secret \"es\" not found"),
                "ContainerConfigError",
                "runner 1: CreateContainerConfigError: secret \"es\" not found",
                false,
            ),
        ] {
            let trouble = trouble([&pod(&status)]).expect(reason);
            assert_eq!(
                (trouble.reason.as_str(), trouble.message.as_str()),
                (reason, message)
            );
            assert_eq!(trouble.hopeless, hopeless);
        }
        assert_eq!(trouble([&pod(&waiting("ContainerCreating", ""))]), None);
        assert_eq!(trouble([&pod(&waiting("PodInitializing", ""))]), None);
    }

    #[test]
    fn the_last_warning_is_the_reason_when_the_status_has_none() {
        let event = |reason: &str, at: &str| -> Event {
            serde_json::from_value(json!({
                "metadata": {}, "involvedObject": {}, "reason": reason, "lastTimestamp": at,
                "message": "MountVolume.SetUp failed for volume \"exporter-files\" : secret \"es\" not found",
            }))
            .unwrap()
        };
        let events = [
            event("FailedMount", "2026-01-01T00:00:02Z"),
            event("FailedScheduling", "2026-01-01T00:00:01Z"),
        ];
        let pending = pod(&json!({"phase": "Pending"}));
        assert!(is_pending(&pending));
        let trouble = warned(&pending, &events).unwrap();
        assert_eq!(trouble.reason, "FailedMount");
        assert_eq!(
            trouble.message,
            "runner 1: MountVolume.SetUp failed for volume \"exporter-files\" : secret \"es\" not found"
        );
        assert_eq!(warned(&pending, &[]), None);
    }

    #[test]
    fn an_ended_engine_is_lost_and_its_exporter_is_not_until_the_pod_is_over() {
        let ended = |reason: &str, code: i32, message: &str| {
            state(
                "runner",
                &json!({"terminated": {"reason": reason, "exitCode": code, "message": message}}),
            )
        };
        let running = json!({"phase": "Running", "containerStatuses": ended("OOMKilled", 137, "")});
        assert_eq!(
            losses(&pod(&running)),
            [Loss::Engine {
                index: 1,
                reason: Some("OOMKilled".into()),
                message: "runner 1 used more memory than its limit and was killed".into(),
            }]
        );
        let over = json!({"phase": "Failed", "containerStatuses": ended("Error", 1, "hello\nno plan here\n")});
        assert_eq!(
            losses(&pod(&over)),
            [
                Loss::Engine {
                    index: 1,
                    reason: None,
                    message: "runner 1 ended with exit code 1: no plan here".into(),
                },
                Loss::Exporter { index: 1 }
            ]
        );
        let evicted = json!({"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory."});
        assert_eq!(
            losses(&pod(&evicted)),
            [
                Loss::Engine {
                    index: 1,
                    reason: Some("Evicted".into()),
                    message:
                        "runner 1 was ended by the cluster: The node was low on resource: memory."
                            .into(),
                },
                Loss::Exporter { index: 1 }
            ]
        );
        assert_eq!(losses(&pod(&json!({"phase": "Running"}))), []);
        let killed = json!({"phase": "Running", "containerStatuses": ended("Error", 137, "a log")});
        assert_eq!(
            losses(&pod(&killed)),
            [Loss::Engine {
                index: 1,
                reason: None,
                message: "runner 1 was killed by signal 9".into(),
            }]
        );
    }

    #[test]
    fn a_pod_that_is_being_deleted_is_leaving_until_its_engine_has_ended() {
        let deleted = |status: &Value| {
            let mut pod = pod(status);
            let at = serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
            pod.metadata.deletion_timestamp = Some(at);
            losses(&pod)
        };
        let leaving = |message: &str| {
            [Loss::Leaving {
                index: 1,
                message: message.into(),
            }]
        };
        assert_eq!(
            deleted(&json!({"phase": "Running"})),
            leaving("runner 1: its pod was deleted")
        );
        let drained = json!({"phase": "Running", "conditions": [{
            "type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI",
            "message": "Eviction API: evicting",
        }]});
        assert_eq!(
            deleted(&drained),
            leaving("runner 1 was ended by the cluster: Eviction API: evicting")
        );
        let over = json!({"phase": "Failed"});
        assert!(
            !deleted(&over)
                .iter()
                .any(|loss| matches!(loss, Loss::Leaving { .. }))
        );
    }

    #[test]
    fn indexes_of_a_jobs_status() {
        assert_eq!(indexes(""), Vec::<u32>::new());
        assert_eq!(indexes("0"), [0]);
        assert_eq!(indexes("0,2-4,7"), [0, 2, 3, 4, 7]);
    }
}
