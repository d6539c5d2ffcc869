//! From a spec to a plan: every default is resolved here and nowhere else, every name is checked,
//! every template parsed. What cannot be built is what is not accepted, so there is one list of
//! problems for the operator (`Accepted=False`) and for `loadtest validate`.

mod answer;
mod body;
mod custom;
mod flow;
mod input;
mod limits;
mod load;
pub mod mounts;
mod pod;
mod request;
mod results;
mod scenario;
mod step;
mod target;
mod threshold;
mod tls;
mod value;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use loadtest_core::{
    plan::{
        Auth, ClientCertificate, GroupKey, Inputs, OnLost, Origin, Plan, RawMode, RunIdentity,
        SeriesKey, ValueKey,
    },
    scalar::{format_duration, parse_duration},
    template::{Names, Position, Template, TemplateError},
};

use crate::{
    problem::{Problem, Stage},
    spec::{self, TestSpec},
};

/// Iterations under way at the end may take this long.
pub const DEFAULT_GRACEFUL_STOP: Duration = Duration::from_secs(30);
/// From the first look for a connection to the last byte of the answer.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
/// Runners may take this long to be ready.
pub const DEFAULT_START_TIMEOUT: Duration = Duration::from_mins(5);
/// Length of an exported interval.
pub const DEFAULT_INTERVAL: Duration = Duration::from_secs(5);
/// Sending may go on at least this long after the load.
pub const DEFAULT_DRAIN_TIMEOUT: Duration = Duration::from_mins(5);
/// Loads of a number of iterations end after this long, done or not.
pub const DEFAULT_ITERATIONS_DURATION: Duration = Duration::from_mins(10);
/// Longest duration of anything in a test.
pub const LONGEST: Duration = Duration::from_hours(30 * 24);
/// What `maxDuration` allows beyond loads and `gracefulStop`.
pub const DURATION_MARGIN: Duration = Duration::from_mins(1);

/// What the command line says instead of the manifest.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Overrides {
    /// Instead of `target.url`.
    pub target: Option<String>,
    /// CA certificates for https, by file, instead of `target.tls`.
    pub target_ca_file: Option<String>,
    /// Client certificate for https, by files, instead of `target.tls`.
    pub target_certificate: Option<ClientCertificate>,
    /// Instead of, or beside, `variables`.
    pub variables: BTreeMap<String, String>,
    /// Instead of `runners.count`.
    pub runners: Option<u32>,
    /// Which requests become documents, instead of `raw.mode`; for files as well.
    pub raw: Option<RawMode>,
    /// A run on this machine: `results.elasticsearch` of the manifest, whose addresses and Secrets
    /// mean something in a cluster only, is left out.
    pub local: bool,
    /// Write result files.
    pub files: bool,
    /// Send results to this search server.
    pub elasticsearch: Option<SearchServer>,
    /// Files with the content of `data`, by its name: of `ConfigMap`s beside the test.
    pub data_files: BTreeMap<String, String>,
    /// Columns of `data` in `ConfigMap`s and files, by its name, where they are known: names of
    /// others are refused then.
    pub data_columns: BTreeMap<String, Vec<String>>,
    /// Files with secrets, by the name in `secrets`; those of `auth` are named `auth.username`,
    /// `auth.password`, `auth.token`, `auth.client-id` and `auth.client-secret`.
    pub secret_files: BTreeMap<String, String>,
    /// Directory of the manifest: files of bodies and of `data` whose paths are relative are found
    /// from there.
    pub directory: Option<String>,
}

/// A search server that the command line names, instead of the manifest's.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SearchServer {
    /// Base url.
    pub url: String,
    /// Credentials, by file.
    pub auth: Option<Auth>,
    /// CA certificates, by file.
    pub ca_file: Option<String>,
    /// What is shown to it, by files.
    pub client_certificate: Option<ClientCertificate>,
}

/// Makes the plan of a run.
///
/// # Errors
/// Every problem that keeps the test from being accepted, with paths below `spec`.
pub fn build(
    spec: &TestSpec,
    identity: RunIdentity,
    overrides: &Overrides,
) -> Result<Plan, Vec<Problem>> {
    build_at(spec, identity, overrides, "spec")
}

/// Everything that the schema cannot say of a test whose fields are at `root` (`spec` in a
/// `LoadTest`, `spec.test` in a `LoadTestRun`).
///
/// # Errors
/// Every problem, in the order of the spec.
pub fn accept(spec: &TestSpec, root: &str) -> Result<(), Vec<Problem>> {
    build_at(spec, RunIdentity::nobody(), &Overrides::default(), root).map(drop)
}

fn build_at(
    spec: &TestSpec,
    identity: RunIdentity,
    overrides: &Overrides,
    root: &str,
) -> Result<Plan, Vec<Problem>> {
    let mut builder = Builder::new(spec, overrides, root);
    let plan = builder.plan(spec, identity);
    limits::check(&plan, &mut builder);
    // A flow is built for each scenario that uses it: what is wrong in it is said once.
    let mut said = BTreeSet::new();
    let fresh = |problem: &Problem| said.insert((problem.path.clone(), problem.message.clone()));
    builder.problems.retain(fresh);
    if builder.problems.is_empty() {
        Ok(plan)
    } else {
        Err(builder.problems)
    }
}

/// A plan in the making. Problems are collected, not thrown, so that people see all of them.
struct Builder<'a> {
    spec: &'a TestSpec,
    root: &'a str,
    overrides: &'a Overrides,
    runners: u32,
    /// What templates may name where something is being built.
    names: Names,
    /// What they may name everywhere.
    everybodys: Names,
    /// Values of the test, whoever has them.
    values: Vec<ValueKey>,
    place: flow::Place,
    target: target::Targets,
    made: Made,
    /// Number of the next request that is done once for the whole run.
    once_steps: u32,
    /// The value of boundaries between the parts of a body.
    boundary: String,
    problems: Vec<Problem>,
}

/// What the steps that were built so far are counted and found by.
#[derive(Debug, Clone, Default)]
struct Made {
    series: Vec<SeriesKey>,
    checks: Vec<String>,
    groups: Vec<GroupKey>,
    files: Vec<String>,
    origins: Vec<Origin>,
    steps: u32,
    redirects: bool,
}

impl<'a> Builder<'a> {
    fn new(spec: &'a TestSpec, overrides: &'a Overrides, root: &'a str) -> Self {
        let mut builder = Self {
            spec,
            root,
            overrides,
            runners: overrides
                .runners
                .unwrap_or_else(|| spec.runner_count())
                .max(1),
            names: Names::default(),
            everybodys: Names::default(),
            values: Vec::new(),
            place: flow::Place::default(),
            target: target::Targets::default(),
            made: Made::default(),
            once_steps: u32::MAX,
            boundary: String::new(),
            problems: Vec::new(),
        };
        builder.target = builder.targets(spec);
        builder.everybodys = Names::of_variables(builder.variables(spec));
        builder
    }

    fn plan(&mut self, spec: &TestSpec, run: RunIdentity) -> Plan {
        self.boundary = format!("loadtest-{}", run.id);
        let mut inputs = self.known(spec);
        let scenarios = self.scenarios(spec);
        let once = self.once(spec);
        self.unused_flows(spec);
        inputs.files = std::mem::take(&mut self.made.files);
        let thresholds = self.thresholds(spec);
        let (start_timeout, template) = match &spec.runners {
            Some(runners) => (runners.start_timeout.as_deref(), runners.template.as_ref()),
            None => (None, None),
        };
        let path = format!("{}.runners.startTimeout", self.root);
        let start_timeout = self.duration(&path, start_timeout, DEFAULT_START_TIMEOUT);
        if let Some(template) = template {
            let path = format!("{}.runners.template", self.root);
            self.problems.extend(pod::check(&template.0, &path));
        }
        let needed = scenarios
            .iter()
            .map(|s| s.start_after + s.load.duration() + s.graceful_stop)
            .max()
            .unwrap_or_default();
        let path = format!("{}.maxDuration", self.root);
        let max_duration = self.duration(
            &path,
            spec.max_duration.as_deref(),
            needed + DURATION_MARGIN,
        );
        let longest = scenarios
            .iter()
            .map(|s| s.start_after + s.load.duration())
            .max()
            .unwrap_or_default();
        let results = self.results(spec, longest.min(max_duration));
        let path = format!("{}.warmUp", self.root);
        let warm_up = self.duration(&path, spec.warm_up.as_deref(), Duration::ZERO);
        let target = self.finished_target(spec);
        let on_lost = match spec.runners.as_ref().and_then(|runners| runners.on_lost) {
            Some(spec::OnLost::Continue) => OnLost::Continue,
            Some(spec::OnLost::Fail) | None => OnLost::Fail,
        };
        Plan {
            run,
            target,
            scenarios,
            series: std::mem::take(&mut self.made.series),
            checks: std::mem::take(&mut self.made.checks),
            groups: std::mem::take(&mut self.made.groups),
            inputs,
            once,
            thresholds,
            runners: self.runners,
            on_lost,
            start_timeout,
            warm_up,
            max_duration,
            results,
        }
    }

    /// Everything that templates may name, before any step is built.
    fn known(&mut self, spec: &TestSpec) -> Inputs {
        self.circles(spec);
        let (mut inputs, data) = self.inputs(spec);
        let (values, used) = self.values(spec);
        let setup = spec.setup.iter().flat_map(|flow| self.reachable_from(flow));
        let setup = setup.filter_map(|index| spec.flows.get(index));
        let setup = setup
            .flat_map(|flow| value::names_made(&flow.steps))
            .collect();
        inputs.setup_values = value::wanted_of_setup(spec, &setup);
        inputs.values = values.iter().take(used).cloned().collect();
        self.everybodys.made = values.iter().map(|value| value.name.clone()).collect();
        self.values = values;
        self.everybodys.data = data;
        self.everybodys.secrets = spec
            .secrets
            .iter()
            .map(|secret| secret.name.0.clone())
            .collect();
        self.everybodys.setup.clone_from(&inputs.setup_values);
        self.names = self.everybodys.clone();
        inputs
    }

    fn variables(&mut self, spec: &TestSpec) -> BTreeMap<String, String> {
        let mut variables = BTreeMap::new();
        for (name, value) in &spec.variables {
            let path = format!("{}.variables.{name}", self.root);
            if is_yaml_boolean(name) {
                self.problem(&path, BOOLEAN_KEY);
            } else if !is_identifier(name) {
                self.problem(
                    &path,
                    "a name of a variable is at most 63 characters of A-Z, a-z, 0-9, _ and -, beginning with a letter or _",
                );
            }
            variables.insert(name.clone(), value.to_string());
        }
        variables.extend(self.overrides.variables.clone());
        variables
    }

    fn problem(&mut self, path: &str, message: impl std::fmt::Display) {
        self.problems
            .push(Problem::new(Stage::Acceptance, path, message.to_string()));
    }

    /// A duration, or its default when there is none.
    fn duration(&mut self, path: &str, text: Option<&str>, default: Duration) -> Duration {
        let Some(text) = text else { return default };
        match parse_duration(text) {
            Ok(duration) if duration > LONGEST => {
                let message = format!("{text} is too long, at most {}", format_duration(LONGEST));
                self.problem(path, message);
                default
            }
            Ok(duration) => duration,
            Err(error) => {
                self.problem(path, error);
                default
            }
        }
    }

    fn template(&mut self, path: &str, text: &str, position: Position) -> Template {
        Template::parse(text, position, &self.names).unwrap_or_else(|error| {
            let message = self.not_here(&error).unwrap_or_else(|| error.to_string());
            self.problem(path, message);
            Template::default()
        })
    }

    /// What is said of a name that exists, but not where it stands.
    fn not_here(&self, error: &TemplateError) -> Option<String> {
        match error {
            TemplateError::UnknownMember { space, name, .. }
                if space == "setup" && self.everybodys.setup.contains(name) =>
            {
                Some(format!(
                    "$(setup.{name}) is known when the setup is done: within it write $({name})"
                ))
            }
            TemplateError::UnknownName { name, .. }
                if self.values.iter().any(|value| value.name == *name) =>
            {
                let whom = if self.place.once {
                    "setup and teardown, each for itself, have".to_owned()
                } else {
                    format!(
                        "the steps and flows of scenario {:?} have",
                        self.place.scenario
                    )
                };
                Some(format!(
                    "$({name}) is not known here: {whom} no step that extracts or sets it"
                ))
            }
            _ => None,
        }
    }

    /// Refuses a template where a text is taken as it is; says where that is and what to do. Whether
    /// there is none.
    fn no_template(&mut self, path: &str, text: &str, place: &str) -> bool {
        let is_plain = !text.contains("$(");
        if !is_plain {
            self.problem(path, format!("a template cannot stand {place}"));
        }
        is_plain
    }

    /// Names are shown in one line everywhere.
    fn plain_text(&mut self, path: &str, text: &str) {
        if text.chars().any(char::is_control) {
            self.problem(
                path,
                "a name has no line breaks, tabs or other control characters",
            );
        }
    }
}

/// Said of the keys `true` and `false` where people meant `y` or `no`.
const BOOLEAN_KEY: &str =
    "YAML reads y, n, yes, no, on and off as true or false: put the key in quotes";

fn is_yaml_boolean(key: &str) -> bool {
    key == "true" || key == "false"
}

fn is_identifier(name: &str) -> bool {
    name.len() <= 63
        && name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}
