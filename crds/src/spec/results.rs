//! Where results go.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ClientCertificateRef;
use crate::{
    rule,
    scalar::{DataKey, DataStreamPrefix, Duration, Name, ObjectName, Percentage, Size},
};

/// Where results go besides the status.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Results {
    /// Length of an exported interval, whole seconds from 1s to 10m; default 5s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<Duration>,
    /// Whether the first failed exchanges of each kind are kept with what the server said, secrets
    /// replaced; default true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub samples: Option<bool>,
    /// Elasticsearch or OpenSearch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub elasticsearch: Option<Elasticsearch>,
}

/// A search server that takes the results: one document per request, one per interval and name,
/// one per run.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::from(rule::SEARCH))]
pub struct Elasticsearch {
    /// Name of a search server in the operator's configuration, instead of urls. What is said here
    /// besides counts before what is said there. The Secrets and ConfigMaps that it names must be in
    /// the namespace of the test.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<Name>,
    /// Base urls of its nodes, http or https, tried in turn; 1 to 8.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 8))]
    pub urls: Vec<SearchUrl>,
    /// Which server it is; default Auto: it is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flavor: Option<Flavor>,
    /// What the names of its data streams begin with; default loadtest. There are
    /// <prefix>-requests-<namespace>, <prefix>-metrics-<namespace> and <prefix>-runs-<namespace>.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_stream_prefix: Option<DataStreamPrefix>,
    /// Whether the streams' templates are installed, and streams of older versions get the new fields;
    /// default true. False: both are the server's administrators' to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manage_templates: Option<bool>,
    /// Credentials by reference to a Secret, mounted into the runners' exporters only: exactly one
    /// of basic, apiKey and bearer. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_ref: Option<AuthRef>,
    /// TLS towards https urls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<SearchTls>,
    /// Which requests become documents; default: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub raw: Option<Raw>,
    /// How long sending may go on after the load has ended; default 5m, or as long as the test
    /// when that is longer. What is not sent by then is counted as lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain_timeout: Option<Duration>,
    /// Most that waits on a runner's disk while the server is slow or away, such as 512Mi; default
    /// 2Gi. 0Mi: nothing does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spool_limit: Option<Size>,
}

/// A base url of a search server.
pub type SearchUrl = url_text::SearchUrl;

mod url_text {
    use std::{borrow::Cow, ops::Deref};

    use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
    use serde::{Deserialize, Serialize};

    use crate::rule;

    /// An absolute http or https url.
    #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(transparent)]
    pub struct SearchUrl(pub String);

    impl Deref for SearchUrl {
        type Target = str;
        fn deref(&self) -> &str {
            &self.0
        }
    }

    impl JsonSchema for SearchUrl {
        fn inline_schema() -> bool {
            true
        }
        fn schema_name() -> Cow<'static, str> {
            "SearchUrl".into()
        }
        fn json_schema(_: &mut SchemaGenerator) -> Schema {
            json_schema!({
                "type": "string",
                "minLength": 1,
                "maxLength": 1024,
                "x-kubernetes-validations": [{
                    "rule": rule::SEARCH_URL.cel(),
                    "message": rule::SEARCH_URL.message(),
                }]
            })
        }
    }
}

/// Which search server it is; default Auto: it is asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(clippy::doc_markdown)]
pub enum Flavor {
    /// Ask the server.
    #[default]
    Auto,
    /// Elasticsearch 8 or 9.
    Elasticsearch,
    /// OpenSearch 2 or 3.
    OpenSearch,
}

/// Credentials by reference to a Secret: exactly one member.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::from(rule::AUTH))]
pub struct AuthRef {
    /// User name and password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub basic: Option<BasicAuth>,
    /// An encoded API key, as the server prints it in `encoded`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_key: Option<ApiKeyAuth>,
    /// A bearer token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bearer: Option<BearerAuth>,
}

/// A Secret with a user name and a password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BasicAuth {
    /// Name of the Secret.
    pub name: ObjectName,
    /// Key of the user name; default username.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username_key: Option<DataKey>,
    /// Key of the password; default password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_key: Option<DataKey>,
}

/// A key of a `ConfigMap` or Secret in the test's namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeyRef {
    /// Name of the object.
    pub name: ObjectName,
    /// Key within it.
    pub key: DataKey,
}

/// A Secret with an API key.
pub type ApiKeyAuth = KeyRef;
/// A Secret with a bearer token.
pub type BearerAuth = KeyRef;

/// TLS towards a search server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SearchTls {
    /// PEM certificates of the authorities to trust: exactly one of configMap and secret. Default:
    /// the public ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_ref: Option<CaRef>,
    /// What is shown to a server that asks for a certificate, beside the credentials of authRef.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_certificate_ref: Option<ClientCertificateRef>,
}

/// Where a CA certificate is: exactly one member.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::from(rule::CA))]
pub struct CaRef {
    /// A key of a ConfigMap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_map: Option<KeyRef>,
    /// A key of a Secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<KeyRef>,
}

/// Which requests become documents. Summary, intervals and thresholds are complete whatever it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Raw {
    /// All (default): one document per request. ErrorsAndSlow: requests that failed, or took at
    /// least slowerThan. Sample: the same, and a random share of the others. None: only intervals
    /// and the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<RawMode>,
    /// With mode Sample: the share of the others, such as 5%; default 10%.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample_rate: Option<Percentage>,
    /// With mode ErrorsAndSlow (default 500ms) and Sample (default: none is slow): a request that
    /// took at least this long from its intended start is slow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slower_than: Option<Duration>,
}

/// All (default): one document per request. ErrorsAndSlow: requests that failed, or took at least
/// slowerThan. Sample: the same, and a random share of the others. None: only intervals and the run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RawMode {
    /// One document per request.
    #[default]
    All,
    /// Requests that failed or were slow.
    ErrorsAndSlow,
    /// The same, and a random share of the others.
    Sample,
    /// Only intervals and the run.
    None,
}
