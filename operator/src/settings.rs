//! What an installation decides: flags and environment as they come ([`Args`]), and what they mean
//! ([`Settings`]).

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use clap::Parser;
use k8s_openapi::api::core::v1::ResourceRequirements;

use crate::rails::{GuardRails, RailsError};

/// The operator of `LoadTest` and `LoadTestRun`.
#[derive(Debug, Clone, Parser)]
#[command(name = "loadtest-operator", version)]
pub struct Args {
    /// Watch this namespace only; default: all.
    #[arg(long, env = "LOADTEST_WATCH_NAMESPACE", value_name = "NAMESPACE")]
    pub watch_namespace: Option<String>,
    /// Namespace of the operator itself.
    #[arg(long, env = "LOADTEST_NAMESPACE", value_name = "NAMESPACE")]
    pub namespace: String,
    /// Name of the operator's pod, for its events and its lease.
    #[arg(long, env = "LOADTEST_POD_NAME", value_name = "NAME")]
    pub pod_name: Option<String>,
    /// Uid of the operator's pod; needed with --service.
    #[arg(long, env = "LOADTEST_POD_UID", value_name = "UID")]
    pub pod_uid: Option<String>,
    /// Address of the operator's pod; needed with --service.
    #[arg(long, env = "LOADTEST_POD_IP", value_name = "IP")]
    pub pod_ip: Option<String>,
    /// Lease in the operator's namespace. Of all replicas with the same one, one acts.
    #[arg(
        long,
        env = "LOADTEST_LEASE",
        default_value = "loadtest-operator",
        value_name = "NAME"
    )]
    pub lease: String,
    /// Service without a selector in front of the coordination server: the replica that acts writes
    /// its `EndpointSlice`. Default: --control-url leads to the one replica by itself.
    #[arg(long, env = "LOADTEST_SERVICE", value_name = "NAME")]
    pub service: Option<String>,
    /// Secret in the operator's namespace that keeps its certificate authority.
    #[arg(long, env = "LOADTEST_CA_SECRET", value_name = "NAME")]
    pub ca_secret: String,
    /// Url at which runners reach the coordination server, such as
    /// `https://loadtest-operator.loadtest-system.svc:8443`.
    #[arg(long, env = "LOADTEST_CONTROL_URL", value_name = "URL")]
    pub control_url: String,
    /// Where the coordination server listens.
    #[arg(
        long,
        env = "LOADTEST_COORDINATION_LISTEN",
        default_value = "0.0.0.0:8443",
        value_name = "ADDR"
    )]
    pub coordination_listen: SocketAddr,
    /// Where `/livez`, `/readyz` and `/metrics` are served.
    #[arg(
        long,
        env = "LOADTEST_HEALTH_LISTEN",
        default_value = "0.0.0.0:8080",
        value_name = "ADDR"
    )]
    pub health_listen: SocketAddr,
    /// Image of the runners.
    #[arg(long, env = "LOADTEST_RUNNER_IMAGE", value_name = "IMAGE")]
    pub runner_image: String,
    /// When the kubelet pulls the runners' image; default: its own rule.
    #[arg(long, env = "LOADTEST_RUNNER_PULL_POLICY", value_name = "POLICY")]
    pub runner_pull_policy: Option<String>,
    /// Names of Secrets to pull the runners' image with, separated by commas.
    #[arg(
        long,
        env = "LOADTEST_RUNNER_PULL_SECRETS",
        value_delimiter = ',',
        value_name = "NAME"
    )]
    pub runner_pull_secrets: Vec<String>,
    /// Resources of the engine's container, as JSON.
    #[arg(
        long,
        env = "LOADTEST_RUNNER_RESOURCES",
        default_value = r#"{"requests":{"cpu":"1","memory":"256Mi"},"limits":{"cpu":"1","memory":"256Mi"}}"#,
        value_name = "JSON"
    )]
    pub runner_resources: String,
    /// Resources of the exporter's container, as JSON.
    #[arg(
        long,
        env = "LOADTEST_EXPORTER_RESOURCES",
        default_value = r#"{"requests":{"cpu":"100m","memory":"256Mi"},"limits":{"memory":"256Mi"}}"#,
        value_name = "JSON"
    )]
    pub exporter_resources: String,
    /// Largest size of the memory that engine and exporter share.
    #[arg(
        long,
        env = "LOADTEST_POOL_SIZE",
        default_value = "128Mi",
        value_name = "QUANTITY"
    )]
    pub pool_size: String,
    /// File with guard rails and result profiles; default: none.
    #[arg(long, env = "LOADTEST_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Write logs as JSON lines.
    #[arg(long, env = "LOADTEST_LOG", value_name = "json|text")]
    pub log: Option<String>,
}

/// What the flags mean.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `None`: all namespaces.
    pub watch_namespace: Option<String>,
    /// Where the operator itself lives.
    pub namespace: String,
    /// Name of the operator's pod.
    pub pod_name: Option<String>,
    /// Lease that the replicas share.
    pub lease: String,
    /// How runners are led to the replica that acts; `None`: there is only one.
    pub announcement: Option<Announcement>,
    /// Secret of the certificate authority.
    pub ca_secret: String,
    /// How runners reach the coordination server.
    pub control: ControlUrl,
    /// Where the coordination server listens.
    pub coordination_listen: SocketAddr,
    /// Where health and metrics are served.
    pub health_listen: SocketAddr,
    /// How runner pods are made.
    pub runner: RunnerSettings,
    /// What tests may do.
    pub rails: GuardRails,
}

/// The url that runners are given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlUrl {
    /// As given, without a trailing slash.
    pub url: String,
    /// The host that the server's certificate must name.
    pub host: String,
}

/// What the leader writes into the `EndpointSlice` of its Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    /// The Service, in the operator's own namespace.
    pub service: String,
    /// Address of this pod.
    pub address: IpAddr,
    /// Where the coordination server listens.
    pub port: u16,
    /// Name of this pod.
    pub pod: String,
    /// Uid of this pod.
    pub pod_uid: String,
}

/// How runner pods are made.
#[derive(Debug, Clone, PartialEq)]
pub struct RunnerSettings {
    /// Image of both containers.
    pub image: String,
    /// `imagePullPolicy`.
    pub pull_policy: Option<String>,
    /// `imagePullSecrets`.
    pub pull_secrets: Vec<String>,
    /// Of the engine's container.
    pub resources: ResourceRequirements,
    /// Of the exporter's container.
    pub exporter_resources: ResourceRequirements,
    /// Size limit of the memory-backed volume.
    pub pool_size: String,
}

/// A flag that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// Not an https url with a host.
    #[error("--control-url {0:?} is not of the form https://host:port")]
    ControlUrl(String),
    /// Not resource requirements.
    #[error("{flag} is not a ResourceRequirements object in JSON: {source}")]
    Resources {
        /// Which flag.
        flag: &'static str,
        /// Where the JSON went wrong.
        source: serde_json::Error,
    },
    /// None of the three.
    #[error("--runner-pull-policy {0:?} is none of Always, IfNotPresent, Never")]
    PullPolicy(String),
    /// Not an IP address.
    #[error("--pod-ip {0:?} is no IP address")]
    PodIp(String),
    /// A flag that another one needs.
    #[error("--service needs {0}: the leader names its own pod in the EndpointSlice")]
    ServiceNeeds(&'static str),
    /// The configuration file cannot be used.
    #[error("--config: {0}")]
    Config(#[from] RailsError),
    /// A name that must be given is empty.
    #[error("{0} is empty")]
    Empty(&'static str),
}

impl TryFrom<Args> for Settings {
    type Error = SettingsError;

    fn try_from(args: Args) -> Result<Self, SettingsError> {
        for (flag, value) in [
            ("--namespace", &args.namespace),
            ("--ca-secret", &args.ca_secret),
            ("--lease", &args.lease),
            ("--runner-image", &args.runner_image),
        ] {
            if value.is_empty() {
                return Err(SettingsError::Empty(flag));
            }
        }
        let announcement = Announcement::of(&args)?;
        let pull_policy = filled(args.runner_pull_policy);
        if let Some(policy) = &pull_policy
            && !matches!(policy.as_str(), "Always" | "IfNotPresent" | "Never")
        {
            return Err(SettingsError::PullPolicy(policy.clone()));
        }
        Ok(Self {
            watch_namespace: filled(args.watch_namespace),
            namespace: args.namespace,
            pod_name: filled(args.pod_name),
            lease: args.lease,
            announcement,
            ca_secret: args.ca_secret,
            control: ControlUrl::parse(&args.control_url)?,
            coordination_listen: args.coordination_listen,
            health_listen: args.health_listen,
            runner: RunnerSettings {
                image: args.runner_image,
                pull_policy,
                pull_secrets: args
                    .runner_pull_secrets
                    .into_iter()
                    .filter(|name| !name.is_empty())
                    .collect(),
                resources: resources("--runner-resources", &args.runner_resources)?,
                exporter_resources: resources("--exporter-resources", &args.exporter_resources)?,
                pool_size: args.pool_size,
            },
            rails: match args.config.filter(|path| !path.as_os_str().is_empty()) {
                Some(path) => GuardRails::read(&path)?,
                None => GuardRails::default(),
            },
        })
    }
}

/// An environment variable that is set to nothing is not set.
fn filled(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

impl Announcement {
    fn of(args: &Args) -> Result<Option<Self>, SettingsError> {
        let Some(service) = filled(args.service.clone()) else {
            return Ok(None);
        };
        let needed = |value: &Option<String>, flag| {
            filled(value.clone()).ok_or(SettingsError::ServiceNeeds(flag))
        };
        let address = needed(&args.pod_ip, "--pod-ip")?;
        Ok(Some(Self {
            service,
            address: address.parse().map_err(|_| SettingsError::PodIp(address))?,
            port: args.coordination_listen.port(),
            pod: needed(&args.pod_name, "--pod-name")?,
            pod_uid: needed(&args.pod_uid, "--pod-uid")?,
        }))
    }
}

impl ControlUrl {
    fn parse(text: &str) -> Result<Self, SettingsError> {
        let url = text.trim_end_matches('/');
        let refused = || SettingsError::ControlUrl(text.to_owned());
        let authority = url.strip_prefix("https://").ok_or_else(refused)?;
        let host = match authority.rsplit_once(':') {
            Some((host, port)) if port.parse::<u16>().is_ok() => host,
            _ => authority,
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() || host.contains(['/', '@', '?', '#']) {
            return Err(refused());
        }
        Ok(Self {
            url: url.to_owned(),
            host: host.to_owned(),
        })
    }
}

fn resources(flag: &'static str, json: &str) -> Result<ResourceRequirements, SettingsError> {
    serde_json::from_str(json).map_err(|source| SettingsError::Resources { flag, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEEDED: [&str; 9] = [
        "loadtest-operator",
        "--namespace",
        "loadtest-system",
        "--ca-secret",
        "loadtest-ca",
        "--control-url",
        "https://loadtest-operator.loadtest-system.svc:8443/",
        "--runner-image",
        "runner:1",
    ];

    fn settings(more: &[&str]) -> Result<Settings, SettingsError> {
        Args::try_parse_from(NEEDED.iter().chain(more))
            .expect("flags are known")
            .try_into()
    }

    #[test]
    fn the_least_that_must_be_said_is_enough() {
        let settings = settings(&[]).unwrap();
        assert_eq!(settings.watch_namespace, None);
        assert_eq!(
            settings.control.url,
            "https://loadtest-operator.loadtest-system.svc:8443"
        );
        assert_eq!(
            settings.control.host,
            "loadtest-operator.loadtest-system.svc"
        );
        let cpu = settings
            .runner
            .resources
            .limits
            .unwrap()
            .get("cpu")
            .unwrap()
            .0
            .clone();
        assert_eq!(cpu, "1");
    }

    #[test]
    fn an_empty_environment_variable_counts_as_none() {
        let settings = settings(&[
            "--watch-namespace",
            "",
            "--runner-pull-secrets",
            "",
            "--pod-name",
            "",
        ])
        .unwrap();
        assert_eq!(settings.watch_namespace, None);
        assert_eq!(settings.pod_name, None);
        assert!(settings.runner.pull_secrets.is_empty());
    }

    #[test]
    fn what_cannot_be_used_is_refused_by_name() {
        for (flag, value, message) in [
            (
                "--runner-resources",
                "{",
                "--runner-resources is not a ResourceRequirements object in JSON: EOF while parsing an object at line 1 column 1",
            ),
            (
                "--runner-pull-policy",
                "Sometimes",
                "--runner-pull-policy \"Sometimes\" is none of Always, IfNotPresent, Never",
            ),
        ] {
            let error = settings(&[flag, value]).unwrap_err();
            assert_eq!(error.to_string(), message);
        }
        for url in [
            "http://host:1",
            "https://",
            "https://user@host",
            "host:8443",
        ] {
            assert!(ControlUrl::parse(url).is_err(), "{url}");
        }
    }

    #[test]
    fn the_leader_announces_its_own_pod() {
        assert_eq!(settings(&["--service", ""]).unwrap().announcement, None);
        let pod = ["--pod-name", "operator-1", "--pod-uid", "u-1"];
        let whole = [&["--service", "s", "--pod-ip", "10.1.2.3"][..], &pod].concat();
        let expected = Announcement {
            service: "s".to_owned(),
            address: [10, 1, 2, 3].into(),
            port: 8443,
            pod: "operator-1".to_owned(),
            pod_uid: "u-1".to_owned(),
        };
        assert_eq!(settings(&whole).unwrap().announcement, Some(expected));
        let nameless = settings(&["--service", "s", "--pod-ip", "10.1.2.3"]).unwrap_err();
        assert_eq!(
            nameless.to_string(),
            "--service needs --pod-name: the leader names its own pod in the EndpointSlice"
        );
        let wrong = [&["--service", "s", "--pod-ip", "host"][..], &pod].concat();
        let wrong = settings(&wrong).unwrap_err();
        assert_eq!(wrong.to_string(), "--pod-ip \"host\" is no IP address");
    }

    #[test]
    fn an_ipv6_address_is_a_host() {
        assert_eq!(ControlUrl::parse("https://[::1]:8443").unwrap().host, "::1");
    }
}
