//! The service under test: where load goes, and how it is spoken to.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::CaRef;
use crate::{
    rule,
    scalar::{Host, ObjectName, Percentage},
};

/// The service under test.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// Base of all step urls, such as http://shop.perf.svc:8080 or https://shop.perf.svc/api. Load
    /// goes to this host and port, and to allowedHosts.
    #[schemars(length(min = 1, max = 1024))]
    #[x_kube(validation = Rule::from(rule::TARGET_HTTP))]
    pub url: String,
    /// Hosts besides the target's own that absolute step urls and redirects may lead to, at most
    /// 32: cdn.perf.svc (any port), cdn.perf.svc:8443, [::1]:8080.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub allowed_hosts: Vec<Host>,
    /// TLS towards https urls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<TargetTls>,
    /// Version of HTTP. Http1 (default): HTTP/1.1. Http2: HTTP/2, by a general-purpose client that
    /// costs several times as much CPU for each request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    /// A proxy that all requests go through, by a general-purpose client that costs several times
    /// as much CPU for each request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy: Option<Proxy>,
    /// Share of the iterations whose trace the target is asked to keep, such as 1%; default 0%.
    /// Each request has a traceparent header (W3C) whatever this is, one trace for an iteration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_sampling: Option<Percentage>,
}

/// TLS towards https urls of the target and of allowedHosts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TargetTls {
    /// PEM certificates of the authorities to trust: exactly one of configMap and secret. Default:
    /// the public ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_ref: Option<CaRef>,
    /// What is shown to servers that ask for a certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_certificate_ref: Option<ClientCertificateRef>,
    /// Name that is asked for (SNI) and verified instead of the url's host.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub server_name: Option<String>,
    /// true: take any certificate. For test systems only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub insecure_skip_verify: Option<bool>,
}

/// A Secret of type kubernetes.io/tls, with tls.crt and tls.key, in the test's namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClientCertificateRef {
    /// Name of the Secret.
    pub name: ObjectName,
}

/// Version of HTTP; default Http1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2.
    Http2,
}

/// A proxy.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Proxy {
    /// Its url, such as http://proxy.perf.svc:3128.
    #[schemars(length(min = 1, max = 1024))]
    #[x_kube(validation = Rule::from(rule::PROXY_HTTP))]
    pub url: String,
}
