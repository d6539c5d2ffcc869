//! Requests and their bodies.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Check, Extract, Until};
use crate::{
    rule,
    scalar::{AnyJson, Duration, IntOrText, Statuses},
};

/// An HTTP request, what counts as its success and what is remembered of its answer.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// Name in all results; requests of one name are one row. Default: method and url as written,
    /// so that `$(user.index)` in a url does not make a row for each user.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub name: Option<String>,
    /// Default GET.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<Method>,
    /// Path and query relative to target.url, beginning with /, or an absolute url of the target
    /// or of one of target.allowedHosts. After the host it may hold templates:
    /// `/product/$(products.id)?user=$(user.index)`.
    #[schemars(length(min = 1, max = 2048))]
    #[x_kube(validation = Rule::from(rule::STEP_URL))]
    pub url: String,
    /// Headers; values may hold templates. Host, User-Agent, Content-Length and traceparent are
    /// added, and Authorization by spec.auth.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub headers: BTreeMap<String, IntOrText>,
    /// Body: exactly one of json, text, form, multipart and file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<Body>,
    /// From the first look for a connection, with name look-up, connect and TLS if one is made, to
    /// the last byte of the answer, such as 2s; default 10s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// How many redirects in a row are followed, 0 to 10; default 0. Each hop is a request of its
    /// own under the same name, goes to the target or allowedHosts only, and is a success when it
    /// is followed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 10))]
    pub follow_redirects: Option<i32>,
    /// Status codes of a success, single or ranges: [200-299, 404]; default 200-399.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16))]
    pub success: Option<Vec<Statuses>>,
    /// Go into the document of each such request.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub labels: BTreeMap<String, IntOrText>,
    /// What the answer must fulfil, at most 8; a failed check makes the request failed, and the
    /// iteration goes on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub checks: Vec<Check>,
    /// What is remembered of the answer for later steps, at most 8.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub extract: Vec<Extract>,
    /// Send the request again and again until one of its checks holds, as one waits for a job to
    /// be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Until>,
}

/// Method of the request; default GET.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
#[allow(missing_docs)]
pub enum Method {
    #[default]
    Get,
    Head,
    Post,
    Put,
    Patch,
    Delete,
    Options,
}

impl Method {
    /// In upper case.
    pub fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
            Self::Options => "OPTIONS",
        }
    }
}

/// A request body: exactly one member. CEL cannot see `json`, which has no type, so this union
/// counts its properties; the API server's sentence for that is a poorer one.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
pub struct Body {
    /// Any JSON value; templates inside its texts are escaped as JSON, and a text that is nothing
    /// but `$(NAME:raw)` becomes a number, boolean, list or object. Adds the header
    /// `content-type: application/json` unless there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub json: Option<AnyJson>,
    /// Text, sent as it is after templates.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 65_536))]
    pub text: Option<String>,
    /// Fields of an HTML form, at most 64. Adds the header
    /// `content-type: application/x-www-form-urlencoded` unless there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub form: Option<Vec<FormField>>,
    /// Parts of a form with files, at most 16. The header content-type is ours, with the boundary.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16))]
    pub multipart: Option<Vec<Part>>,
    /// Path of a file in the runner that is sent as it is, such as /data/image.png: mounted by
    /// runners.template. Adds the header `content-type: application/octet-stream` unless there is
    /// one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub file: Option<String>,
}

/// A form field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FormField {
    /// Name; may hold templates.
    #[schemars(length(min = 1, max = 256))]
    pub name: String,
    /// Value; may hold templates.
    pub value: IntOrText,
}

/// A part of a multipart body: a name and exactly one of value and file.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::from(rule::PART))]
pub struct Part {
    /// Name of the field.
    #[schemars(length(min = 1, max = 256))]
    pub name: String,
    /// Value; may hold templates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<IntOrText>,
    /// Path of a file in the runner, such as /data/image.png: mounted by runners.template.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub file: Option<String>,
    /// Name of the file for the server; default: the last part of the path.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub file_name: Option<String>,
    /// Media type of the part; default application/octet-stream for a file, none for a value.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub content_type: Option<String>,
}
