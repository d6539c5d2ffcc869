//! Steps: what users do, one thing after the other.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Check, JsonPathCheck, Pause, Request};
use crate::{
    rule,
    scalar::{Duration, Identifier, IntOrText, Name, Percentage, Statuses},
};

/// A named list of steps that tasks and other flows do by its name.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Flow {
    /// Unique name, at most 52 characters of a-z, 0-9 and -.
    pub name: Name,
    /// What is done, in order: 1 to 32 steps, each exactly one of request, pause, set, call, group,
    /// repeat, parallel and custom.
    #[schemars(length(min = 1, max = 32))]
    pub steps: Vec<Step>,
}

/// One step: exactly one of request, pause, set, call, group, repeat, parallel and custom. With when
/// it is done only if something is so.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::from(rule::STEP))]
pub struct Step {
    /// Send a request and read the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<Request>,
    /// Wait, drawn evenly from the range.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pause: Option<Pause>,
    /// Remember values, at most 16: with `{ cart: "$(randomInt 1 100)" }` later steps have `$(cart)`.
    /// A value is the user's own and is forgotten at the end of the iteration, or kept for the
    /// user's life if onStart or an extract with scope User makes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minProperties" = 1, "maxProperties" = 16))]
    pub set: Option<BTreeMap<String, IntOrText>>,
    /// Do the steps of a flow here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call: Option<Call>,
    /// Do the steps of a flow and record how long all of it took, pauses included: a transaction,
    /// with a row of its own in the results.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<Group>,
    /// Do the steps of a flow several times: exactly one of times, while and forEach says how often.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repeat: Option<Repeat>,
    /// Do flows side by side, as a browser loads the parts of a page, and wait until all are done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parallel: Option<Parallel>,
    /// Do a step of a kind of your own, such as a WebSocket exchange: code in a runner image that you
    /// build, which runners.template names. It is measured and recorded as a request is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub custom: Option<Custom>,
    /// Do the step only if this is so: by chance (probability), or by a value (var, and exactly one
    /// of equals, notEquals, contains, matches and exists).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when: Option<When>,
}

/// A flow that is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Call {
    /// Name of the flow in spec.flows.
    pub flow: Name,
}

/// A flow whose time is measured as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Group {
    /// Name in the results and for thresholds, unique within the scenario.
    #[schemars(length(min = 1, max = 128))]
    pub name: String,
    /// Name of the flow in spec.flows.
    pub flow: Name,
}

/// A flow that is done several times: exactly one of times, while and forEach.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::from(rule::REPEAT))]
pub struct Repeat {
    /// Name of the flow in spec.flows.
    pub flow: Name,
    /// So often.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    pub times: Option<i32>,
    /// As long as this is so, looked at before each pass: probability, or var with exactly one of
    /// equals, notEquals, contains, matches and exists.
    #[serde(rename = "while", skip_serializing_if = "Option::is_none")]
    pub as_long_as: Option<When>,
    /// Once for each item of a list: `{ items: ids, as: id }` has the item as `$(id)`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub for_each: Option<ForEach>,
    /// Never more passes than this, 1 to 10000; default: times, otherwise 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    pub max: Option<i32>,
}

/// A list whose items are taken one after the other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ForEach {
    /// Name of the list, without $(): a value that was extracted with pick All, or any other value
    /// that is a JSON array.
    #[schemars(length(min = 1, max = 128))]
    pub items: String,
    /// Name of the value that is the item in each pass; default item, which is $(item).
    #[serde(rename = "as", skip_serializing_if = "Option::is_none")]
    pub item: Option<Identifier>,
}

/// Flows that are done side by side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Parallel {
    /// Names of flows in spec.flows, 1 to 16. Each has a connection of its own of the user, and all
    /// share the user's values.
    #[schemars(length(min = 1, max = 16))]
    pub flows: Vec<Name>,
}

/// A step of a kind that the image of the runners has: any code, measured and recorded as a request
/// is. An image that does not have the kind refuses the run before its start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Custom {
    /// Which kind, as the image names it: webSocketEcho.
    pub kind: Identifier,
    /// Name in all results, as of a request; default: the kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub name: Option<String>,
    /// What the code is told, at most 32 texts by name; values may hold templates. Which there are is
    /// the kind's own affair.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub with: BTreeMap<String, IntOrText>,
    /// Names of values that the code sets, at most 16: later steps have them as `$(NAME)`. It can set
    /// no others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub sets: Vec<Identifier>,
    /// How long the step may take, such as 2s; default 10s. Then it is cut off and has failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// Go into the document of each such step.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub labels: BTreeMap<String, IntOrText>,
    /// What the step's outcome must fulfil, at most 8; a failed check makes the step failed, and the
    /// iteration goes on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub checks: Vec<CustomCheck>,
}

/// Something that the outcome of a step must fulfil: exactly one of status, bodyContains, jsonPath and
/// maxLatency. What status and body are is the kind's own affair.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::from(rule::CUSTOM_CHECK))]
pub struct CustomCheck {
    /// Name in the results; default: the check in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub name: Option<String>,
    /// The status is one of these, single or ranges: [200, 201-204].
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16))]
    pub status: Option<Vec<Statuses>>,
    /// The body has this text.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub body_contains: Option<String>,
    /// Something in a JSON body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub json_path: Option<JsonPathCheck>,
    /// The latency is at most this, such as 500ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_latency: Option<Duration>,
}

impl From<&CustomCheck> for Check {
    fn from(check: &CustomCheck) -> Self {
        let CustomCheck {
            name,
            status,
            body_contains,
            json_path,
            max_latency,
        } = check.clone();
        Self {
            name,
            status,
            body_contains,
            json_path,
            header: None,
            max_latency,
        }
    }
}

/// What must be so: exactly one of probability and var; with var exactly one of equals, notEquals,
/// contains, matches and exists.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::from(rule::WHEN), validation = Rule::from(rule::WHEN_TEST))]
pub struct When {
    /// In this share of the cases, such as 20%.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probability: Option<Percentage>,
    /// Name of what is looked at, without $(): a value, products.id, response.status, var.region.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub var: Option<String>,
    /// It is this text or number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub equals: Option<IntOrText>,
    /// It is another one, or there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_equals: Option<IntOrText>,
    /// It has this text in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contains: Option<IntOrText>,
    /// This regular expression is found in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub matches: Option<String>,
    /// true: it is not empty. false: it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exists: Option<bool>,
}
