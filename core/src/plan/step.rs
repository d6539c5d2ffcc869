//! What users do: tasks, flows, steps and requests.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    scalar::{StatusRange, duration_text, optional_duration_text},
    template::{Source, Template},
};

/// A list of steps; one pass is an iteration.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Task {
    /// Name, unique within the scenario.
    pub name: String,
    /// In each block of the sum of all weights a task runs exactly `weight` times.
    pub weight: u32,
    /// Wait after each iteration (closed models), drawn evenly from the range.
    pub think_time: Option<PauseRange>,
    /// Closed models: from the start of an iteration of this task to the start of the user's
    /// next one; at once when it took longer.
    #[serde(with = "optional_duration_text")]
    pub pacing: Option<Duration>,
    /// What to do.
    pub steps: Vec<Step>,
}

/// A named list of steps; the only way to nest.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Flow {
    /// Its name.
    pub name: String,
    /// What to do.
    pub steps: Vec<Step>,
}

/// One step of a task or flow. Flows are meant by their index in the scenario's
/// [`Flows`](super::Flows), values by their index in [`Inputs::values`](super::Inputs::values).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Step {
    /// Send a request and read the answer.
    Request(Box<Request>),
    /// Wait.
    Pause(PauseRange),
    /// Remember values.
    Set(Vec<Assignment>),
    /// Do a flow.
    Call(u32),
    /// Do a flow and record how long all of it took.
    Group {
        /// Index into [`Plan::groups`](super::Plan::groups).
        group: u32,
        /// Which flow.
        flow: u32,
    },
    /// Do a flow several times.
    Repeat(Box<Repeat>),
    /// Do flows side by side, each over a connection of its own, and wait for all.
    Parallel(Vec<u32>),
    /// Do a step if something is so.
    When(Box<Conditional>),
    /// Do what the runner's own code does.
    Custom(Box<Custom>),
}

/// A value that is remembered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Assignment {
    /// Which value.
    pub value: u32,
    /// What it becomes.
    pub to: Template,
}

/// A flow that is done several times.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Repeat {
    /// Which flow.
    pub flow: u32,
    /// How often.
    pub how: Loop,
    /// At most this often, whatever `how` says.
    pub max: u32,
}

/// How often a flow is done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Loop {
    /// So often.
    Times(u32),
    /// As long as this is so, looked at before each pass.
    While(When),
    /// Once for each item of a value: a list that was extracted with [`Pick::All`], or a JSON array.
    ForEach {
        /// The list.
        items: Source,
        /// The value that is the item.
        item: u32,
    },
}

/// A step that is done only if something is so.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Conditional {
    /// What must be so.
    pub when: When,
    /// The step.
    pub step: Step,
}

/// What must be so.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum When {
    /// In this share of the cases, 0 to 1, drawn by seed.
    Probability(f64),
    /// A value fulfils a test.
    Value {
        /// What is looked at.
        source: Source,
        /// What must hold.
        test: Test,
    },
}

/// What a text must fulfil.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Test {
    /// It is this text, of which the templates are rendered without escaping.
    Equals(Template),
    /// It is another text, or there is none.
    NotEquals(Template),
    /// It has this part.
    Contains(Template),
    /// This regular expression is found in it.
    Matches(String),
    /// There is one, or there is none.
    Exists(bool),
}

/// A wait, drawn evenly from `min..=max`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PauseRange {
    /// Shortest.
    #[serde(with = "duration_text")]
    pub min: Duration,
    /// Longest.
    #[serde(with = "duration_text")]
    pub max: Duration,
}

/// An HTTP request, what counts as its success, and how it is named.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// Number of this request step in the plan, from 0; raw records refer to it.
    pub step: u32,
    /// Index into [`Plan::series`].
    pub series: u32,
    /// Method in upper case.
    pub method: String,
    /// Index into [`Target::other_origins`], `None` for the target's own.
    pub origin: Option<u32>,
    /// Path and query, base path included, beginning with `/`.
    pub path: Template,
    /// Headers in order; `Host`, `User-Agent` and `Content-Length` are added by the engine
    /// unless they are here.
    pub headers: Vec<(String, Template)>,
    /// Body, if any.
    pub body: Option<Template>,
    /// From the moment the user turns to it to the last byte of the answer, connecting included.
    #[serde(with = "duration_text")]
    pub timeout: Duration,
    /// How many redirects are followed; each is a request of its own under the same name.
    pub follow_redirects: u8,
    /// Status codes of a success.
    pub success: Vec<StatusRange>,
    /// Into every raw document of this request.
    pub labels: BTreeMap<String, String>,
    /// A failed check makes the request failed.
    pub checks: Vec<Check>,
    /// What is remembered of the answer, in this order.
    pub extracts: Vec<Extract>,
    /// Send it again and again until a check holds.
    pub until: Option<Until>,
}

/// A step of a kind that a runner was built with.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Custom {
    /// Name of the kind.
    pub kind: String,
    /// What it is told, by name.
    pub with: BTreeMap<String, Template>,
    /// Indexes of the values that it may set.
    pub sets: Vec<u32>,
    /// As what it is recorded: number, row, timeout, labels, checks. Its method is the kind, and
    /// there is nothing in it to be sent.
    pub request: Request,
}

/// Something of an answer that is remembered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Extract {
    /// Index into [`Inputs::values`](super::Inputs::values).
    pub value: u32,
    /// Where it is.
    pub from: From,
    /// Which one, if there are several.
    pub pick: Pick,
    /// What becomes of the iteration if there is none.
    pub on_missing: OnMissing,
}

/// Where in an answer something is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum From {
    /// In the body, by RFC 9535. A text is taken as it is, anything else as its JSON.
    JsonPath(String),
    /// The value of a header; the name in lower case.
    Header(String),
    /// In the body, by a regular expression: its first group, or all of it if it has none.
    Regex(String),
}

/// Which of several.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Pick {
    /// The first.
    #[default]
    First,
    /// One of them, drawn by seed.
    Random,
    /// All, as a list.
    All,
}

/// What becomes of the iteration if there is nothing to remember.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnMissing {
    /// The request has failed (outcome `extract`), and the iteration ends.
    #[default]
    FailIteration,
    /// The value stays what it was.
    Continue,
}

/// How a request is repeated. Each try is a request; the whole is a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Until {
    /// Place of the check in [`Request::checks`]. It is not judged, and not counted, at each try:
    /// once, when it holds or the time is over.
    pub check: u32,
    /// From the end of a try to the next one.
    #[serde(with = "duration_text")]
    pub every: Duration,
    /// No try begins later than this after the first one was due.
    #[serde(with = "duration_text")]
    pub timeout: Duration,
    /// Index into [`Plan::groups`](super::Plan::groups).
    pub group: u32,
}

/// Something an answer must fulfil.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Check {
    /// Index into [`Plan::checks`].
    pub index: u32,
    /// What must hold.
    pub condition: Condition,
}

/// What a check looks at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Condition {
    /// The status code lies in one of the ranges.
    Status(Vec<StatusRange>),
    /// The body has this text.
    BodyContains(Template),
    /// At least one of what a JSON path (RFC 9535) finds in the body, a text as it is, anything else
    /// as its JSON.
    JsonPath {
        /// The path.
        path: String,
        /// What must hold.
        test: Test,
    },
    /// A header.
    Header {
        /// Its name, in lower case.
        name: String,
        /// What must hold.
        test: Test,
    },
    /// The latency is at most this.
    MaxLatency(#[serde(with = "duration_text")] Duration),
}

impl Step {
    /// The request, if it is one or recorded as one, conditional or not.
    pub fn as_request(&self) -> Option<&Request> {
        match self {
            Self::Request(request) => Some(request),
            Self::Custom(custom) => Some(&custom.request),
            Self::When(conditional) => conditional.step.as_request(),
            _ => None,
        }
    }

    /// The step of a step kind, if it is one, conditional or not.
    pub fn as_custom(&self) -> Option<&Custom> {
        match self {
            Self::Custom(custom) => Some(custom),
            Self::When(conditional) => conditional.step.as_custom(),
            _ => None,
        }
    }

    /// The flows that it does.
    pub fn flows(&self) -> Vec<u32> {
        match self {
            Self::Call(flow) | Self::Group { flow, .. } => vec![*flow],
            Self::Repeat(repeat) => vec![repeat.flow],
            Self::Parallel(flows) => flows.clone(),
            Self::When(conditional) => conditional.step.flows(),
            Self::Request(_) | Self::Pause(_) | Self::Set(_) | Self::Custom(_) => Vec::new(),
        }
    }
}
