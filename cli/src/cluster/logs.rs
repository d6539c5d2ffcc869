//! `logs`: what a run's engines and exporters said, each line with whose it is.

use std::collections::BTreeMap;

use futures::{AsyncBufReadExt as _, future::join_all, pin_mut};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, ResourceExt,
    api::{ListParams, LogParams},
};
use loadtest_crds::names;

use super::{Cluster, ClusterError, objects::patiently};
use crate::{
    exit::Exit,
    output::terminal::{print, say},
};

/// Annotation that the Job controller gives each pod.
const COMPLETION_INDEX: &str = "batch.kubernetes.io/job-completion-index";

/// Containers and what they are called in what is printed.
const CONTAINERS: [(&str, &str); 2] = [
    (names::CONTAINER_ENGINE, "engine"),
    (names::CONTAINER_EXPORTER, "exporter"),
];

/// Arguments of `logs`.
#[allow(clippy::doc_markdown)]
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of a LoadTestRun, or of a LoadTest, whose last run it then is.
    pub name: String,
    /// Only this runner, from 0.
    #[arg(long, value_name = "N")]
    pub runner: Option<u32>,
    /// Go on until the containers end.
    #[arg(long, short)]
    pub follow: bool,
    /// Only so many lines of each container, the last.
    #[arg(long, value_name = "N")]
    pub tail: Option<u32>,
}

/// Prints the logs, runner by runner; with --follow as they come.
///
/// # Errors
/// When there is no such run, its pods are gone, or they cannot be read.
pub async fn logs(cluster: &Cluster, args: &Args) -> Result<Exit, ClusterError> {
    let run = cluster.find(&args.name).await?.name();
    let pods = pods(cluster, &run, args.runner).await?;
    if pods.is_empty() {
        return Err(ClusterError::Nothing(match args.runner {
            Some(runner) => {
                format!("the run {run} has no pod of runner {runner}: runners count from 0")
            }
            None => format!(
                "the run {run} has no pods: it made none yet, or they were deleted after it (spec.cleanup of its LoadTest)"
            ),
        }));
    }
    let api: Api<Pod> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let sources = pods.iter().flat_map(|(index, pod)| {
        let there = CONTAINERS.into_iter().filter(|(name, _)| has(pod, name));
        there.map(move |(container, role)| Source {
            pod: pod.name_any(),
            container,
            prefix: format!("[{index}/{role}] "),
        })
    });
    let sources: Vec<_> = sources.collect();
    if args.follow {
        let all = sources
            .iter()
            .map(|source| source.print(cluster, &api, args));
        for printed in join_all(all).await {
            printed?;
        }
    } else {
        for source in &sources {
            source.print(cluster, &api, args).await?;
        }
    }
    Ok(Exit::Passed)
}

/// Whether a pod has a container; without a place for results there is no exporter.
fn has(pod: &Pod, name: &str) -> bool {
    let spec = pod.spec.as_ref();
    let sidecars = spec.and_then(|spec| spec.init_containers.as_ref());
    let main = spec.map(|spec| &spec.containers);
    let mut all = sidecars.into_iter().chain(main).flatten();
    all.any(|container| container.name == name)
}

/// By the runner's index.
async fn pods(
    cluster: &Cluster,
    run: &str,
    runner: Option<u32>,
) -> Result<BTreeMap<u32, Pod>, ClusterError> {
    let api: Api<Pod> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let of_run = ListParams::default().labels(&format!("{}={run}", names::LABEL_RUN));
    let list = patiently(|| api.list(&of_run)).await;
    let list = list.map_err(cluster.failed("list the run's pods"))?;
    let index = |pod: &Pod| pod.annotations().get(COMPLETION_INDEX)?.parse().ok();
    let by_index = list
        .items
        .into_iter()
        .filter_map(|pod| Some((index(&pod)?, pod)));
    Ok(by_index
        .filter(|(index, _)| runner.is_none_or(|runner| runner == *index))
        .collect())
}

struct Source {
    pod: String,
    container: &'static str,
    prefix: String,
}

impl Source {
    async fn print(
        &self,
        cluster: &Cluster,
        api: &Api<Pod>,
        args: &Args,
    ) -> Result<(), ClusterError> {
        let unread = || cluster.failed("read the runners' logs");
        let params = LogParams {
            container: Some(self.container.to_owned()),
            follow: args.follow,
            tail_lines: args.tail.map(i64::from),
            ..LogParams::default()
        };
        let stream = match patiently(|| api.log_stream(&self.pod, &params)).await {
            Ok(stream) => stream,
            // A container that has not begun yet has no log.
            Err(kube::Error::Api(status)) if status.code == 400 => {
                say(&format!("{}{}", self.prefix, status.message));
                return Ok(());
            }
            Err(error) => return Err(unread()(error)),
        };
        pin_mut!(stream);
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = stream.read_until(b'\n', &mut line).await;
            let read = read.map_err(kube::Error::ReadEvents);
            if read.map_err(unread())? == 0 {
                return Ok(());
            }
            let text = String::from_utf8_lossy(&line);
            print(&format!("{}{}\n", self.prefix, text.trim_end_matches('\n')))?;
        }
    }
}
