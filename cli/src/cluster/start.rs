//! `run` and `rerun`: a new `LoadTestRun`.

use std::{path::PathBuf, time::Duration};

use kube::core::DynamicObject;
use loadtest_core::{plan::RunIdentity, scalar::parse_duration};
use loadtest_crds::{
    LoadTestRun, Overrides, Problem, Stage, names,
    spec::TestSpec,
    validate::{self, Manifest},
    yaml,
};
use serde_json::{Value, json};

use super::{
    Cluster, ClusterError, Run, answer,
    follow::{self, Patience},
};
use crate::{
    exit::Exit,
    manifest,
    output::terminal::{print, say},
    overrides::Changes,
    run::OutputForm,
};

/// Arguments of `run` in a cluster.
#[allow(clippy::doc_markdown)]
#[derive(Debug, clap::Args)]
#[command(mut_arg("secrets", |secrets| secrets.hide(true)))] // refused in words: the cluster has them
pub struct Args {
    /// Name of a LoadTest in the cluster.
    #[arg(required_unless_present = "file", conflicts_with = "file")]
    pub name: Option<String>,
    /// YAML file with one LoadTest or LoadTestRun; - reads standard input.
    #[arg(long, short, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Test this base url instead of target.url.
    #[arg(long, value_name = "URL")]
    pub target: Option<String>,
    /// What is changed of the test.
    #[command(flatten)]
    pub changes: Changes,
    /// Whether the end is waited for.
    #[command(flatten)]
    pub waiting: Waiting,
}

/// Arguments of `rerun`.
#[allow(clippy::doc_markdown)]
#[derive(Debug, clap::Args)]
pub struct RerunArgs {
    /// Name of a LoadTestRun, or of a LoadTest, whose last run it then is.
    pub name: String,
    /// Whether the end is waited for.
    #[command(flatten)]
    pub waiting: Waiting,
}

/// Whether the end of a new run is waited for, and what is printed.
#[allow(clippy::doc_markdown)]
#[derive(Debug, Clone, clap::Args)]
pub struct Waiting {
    /// Follow the run to its end; the exit code is that of its verdict. Ctrl-C stops the run, a
    /// second one leaves at once.
    #[arg(long, short)]
    pub wait: bool,
    /// Leave the run to itself: Ctrl-C and --timeout end the waiting, not the run.
    #[arg(long)]
    pub detach: bool,
    /// Wait no longer than this, such as 30m; then the run is told to stop, and the exit code is 3.
    #[arg(long, value_name = "DURATION", value_parser = duration, requires = "wait")]
    pub timeout: Option<Duration>,
    /// What is printed: with --wait of the answer, without it of the new run.
    #[arg(short, long, value_name = "FORM", default_value = "table")]
    pub output: OutputForm,
    /// No progress, no hints: only the answer, and problems.
    #[arg(long, short)]
    pub quiet: bool,
}

fn duration(text: &str) -> Result<Duration, String> {
    match parse_duration(text) {
        Ok(duration) if duration.is_zero() => Err("must be longer than 0s".to_owned()),
        Ok(duration) => Ok(duration),
        Err(error) => Err(error.to_string()),
    }
}

/// What is to be run, as far as it is known without a cluster.
#[derive(Debug)]
pub enum Request {
    /// A `LoadTest` that the cluster has.
    Named(String),
    /// One that the file has.
    Inline {
        /// Its name.
        name: String,
        /// Where the file says that it is.
        namespace: Option<String>,
        /// As the command line changed it.
        spec: Value,
    },
    /// A whole run.
    Whole(Box<LoadTestRun>),
}

impl Request {
    /// Where a file says that it is.
    fn namespace(&self) -> Option<&str> {
        match self {
            Self::Named(_) => None,
            Self::Inline { namespace, .. } => namespace.as_deref(),
            Self::Whole(run) => run.metadata.namespace.as_deref(),
        }
    }
}

/// Reads and checks what can be, before a cluster is asked.
///
/// # Errors
/// What is wrong with the file or with an option.
pub fn prepare(args: &Args, namespace: Option<&str>) -> Result<Request, ClusterError> {
    if !args.changes.secrets.is_empty() {
        return Err(ClusterError::Usage(
            "--secret is for runs on this machine; in a cluster a test reads Secrets: kubectl create secret generic NAME --from-literal=KEY=VALUE".to_owned(),
        ));
    }
    if let Some(name) = &args.name {
        return match name.split_once('/') {
            None => Ok(Request::Named(name.clone())),
            Some(("ltest" | "loadtest" | "loadtests", name)) => Ok(Request::Named(name.to_owned())),
            Some(_) => Err(ClusterError::Usage(format!(
                "run takes the name of a LoadTest, or a file with -f FILE: {name:?} is neither; `rerun` takes the name of a run"
            ))),
        };
    }
    let Some(path) = &args.file else {
        let message = "name a LoadTest of the cluster, or a file with -f FILE";
        return Err(ClusterError::Usage(message.to_owned()));
    };
    let text = manifest::read(path).map_err(|error| ClusterError::Usage(error.to_string()))?;
    let source_name = path.display().to_string();
    from_text(&text, args, namespace).map_err(|problems| ClusterError::Manifest {
        source_name,
        problems,
    })
}

fn from_text(
    manifest: &str,
    args: &Args,
    namespace: Option<&str>,
) -> Result<Request, Vec<Problem>> {
    let documents = yaml::parse(manifest).map_err(|problem| vec![problem])?;
    let of_kind = |wanted: &str| {
        let kinds = documents.iter().filter_map(kind_of_ours);
        kinds.filter(|kind| kind == wanted).count()
    };
    let (tests, runs) = (of_kind("LoadTest"), of_kind("LoadTestRun"));
    if documents.len() > tests + runs && !args.waiting.quiet {
        say(
            "note: only the test of the file is sent; what else is in it must be in the cluster already: kubectl apply -f FILE",
        );
    }
    if runs == 0 {
        // None, or more than one, is refused there.
        let test = manifest::one_changed_test(manifest, &args.all_changes())?;
        test.plan(RunIdentity::nobody(), &Overrides::default())?;
        let written = test.object.metadata.namespace.clone();
        same_namespace(written.as_deref(), namespace)?;
        return Ok(Request::Inline {
            name: test.name().to_owned(),
            namespace: written,
            spec: json_of(&test.object.spec.test),
        });
    }
    let loaded = validate::load(manifest)?;
    let mut whole = loaded.into_iter().filter_map(|manifest| match manifest {
        Manifest::LoadTestRun(run) => Some(run),
        _ => None,
    });
    match (whole.next(), tests + runs) {
        (Some(mut run), 1) => {
            same_namespace(run.metadata.namespace.as_deref(), namespace)?;
            if let (Some(test), true) = (&run.spec.test, args.changes_anything()) {
                run.spec.test = Some(changed("inline", &json_of(test), args)?);
            }
            Ok(Request::Whole(run))
        }
        _ => Err(vec![Problem::new(
            Stage::Yaml,
            "",
            format!(
                "there are {tests} LoadTests and {runs} LoadTestRuns in it; run takes one of them"
            ),
        )]),
    }
}

/// The kind of a document, if it is of our group.
fn kind_of_ours(node: &yaml::Node) -> Option<String> {
    let value = node.to_json();
    let text = |member: &str| value.get(member)?.as_str().map(str::to_owned);
    let ours = text("apiVersion")?.starts_with(names::GROUP);
    text("kind").filter(|_| ours)
}

fn same_namespace(written: Option<&str>, asked: Option<&str>) -> Result<(), Vec<Problem>> {
    match (written, asked) {
        (Some(written), Some(asked)) if written != asked => Err(vec![Problem::new(
            Stage::Acceptance,
            "metadata.namespace",
            format!("is {written:?}, but the command line says {asked:?}: leave one of them out"),
        )]),
        _ => Ok(()),
    }
}

impl Args {
    /// What the command line changes; `--target` is short for one of the others.
    fn all_changes(&self) -> Changes {
        let mut changes = self.changes.clone();
        let target = self.target.clone();
        changes
            .set
            .extend(target.map(|url| ("spec.target.url".to_owned(), url)));
        changes
    }

    fn changes_anything(&self) -> bool {
        let Changes {
            variables,
            secrets: _,
            set,
            overlays,
            scale,
        } = self.all_changes();
        !(variables.is_empty() && set.is_empty() && overlays.is_empty() && scale.is_none())
    }
}

/// A test with the changes of the command line, which are written as for a `LoadTest`.
fn changed(name: &str, spec: &Value, args: &Args) -> Result<TestSpec, Vec<Problem>> {
    let object = json!({
        "apiVersion": format!("{}/{}", names::GROUP, names::VERSION),
        "kind": "LoadTest",
        "metadata": {"name": name},
        "spec": spec,
    });
    let test = manifest::one_changed_test(&yaml::to_string(&object), &args.all_changes())
        .and_then(|test| {
            test.plan(RunIdentity::nobody(), &Overrides::default())
                .map(|_| test)
        })
        .map_err(without_places)?;
    Ok(test.object.spec.test)
}

/// Places in a text that nobody sees mean nothing.
fn without_places(problems: Vec<Problem>) -> Vec<Problem> {
    let unplaced = |problem| Problem {
        at: None,
        ..problem
    };
    problems.into_iter().map(unplaced).collect()
}

fn set(object: &mut Value, member: &str, value: Value) {
    if let Some(object) = object.as_object_mut() {
        object.insert(member.to_owned(), value);
    }
}

fn json_of(value: &impl serde::Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

/// Starts what was asked for, and follows it if that was asked for.
///
/// # Errors
/// When the run cannot be made or followed.
pub async fn run(cluster: &Cluster, request: Request, args: &Args) -> Result<Exit, ClusterError> {
    let cluster = &cluster.or_in(request.namespace());
    let object = match request {
        Request::Named(name) => named(cluster, &name, args).await?,
        Request::Inline { name, spec, .. } => cluster.new_run(&name, &json!({ "test": spec })),
        Request::Whole(run) => {
            let mut object = match (&run.spec.test, &run.spec.load_test_ref) {
                (None, Some(of)) if args.changes_anything() => {
                    named(cluster, &of.name.to_string(), args).await?
                }
                _ => cluster.new_run("", &json_of(&run.spec)),
            };
            object.metadata = run.metadata.clone();
            object
        }
    };
    started(cluster, &object, &args.waiting).await
}

/// A run of a `LoadTest` as it is now, with the changes of the command line. Like the operator's own
/// runs it has a copy of the test, so that `rerun` does the same once more.
async fn named(cluster: &Cluster, name: &str, args: &Args) -> Result<DynamicObject, ClusterError> {
    let test = cluster.test(name).await?;
    let written = test.data.get("spec").cloned().unwrap_or_default();
    let test = if args.changes_anything() {
        let changed = changed(name, &written, args).map_err(|problems| ClusterError::Manifest {
            source_name: format!("loadtest/{name}"),
            problems,
        })?;
        json_of(&changed)
    } else {
        of_a_run(written)
    };
    let spec = json!({"loadTestRef": {"name": name}, "test": test});
    Ok(cluster.new_run(name, &spec))
}

/// What a run does, without what says when one starts; fields of a newer version stay.
fn of_a_run(mut spec: Value) -> Value {
    if let Some(fields) = spec.as_object_mut() {
        fields.retain(|field, _| {
            field != "runToken" && !names::NOT_RUN_RELEVANT.contains(&field.as_str())
        });
    }
    spec
}

/// Does a run once more: what it was made from is copied.
///
/// # Errors
/// When there is no such run, or the new one cannot be made or followed.
pub async fn rerun(cluster: &Cluster, args: &RerunArgs) -> Result<Exit, ClusterError> {
    let last = cluster.find(&args.name).await?;
    let mut spec = json!({});
    for member in ["loadTestRef", "test"] {
        if let Some(value) = last.spec(member) {
            set(&mut spec, member, value.clone());
        }
    }
    let test = last.test().map_or_else(|| last.name(), str::to_owned);
    started(cluster, &cluster.new_run(&test, &spec), &args.waiting).await
}

async fn started(
    cluster: &Cluster,
    object: &DynamicObject,
    waiting: &Waiting,
) -> Result<Exit, ClusterError> {
    let run = cluster.create(object).await?;
    if !waiting.wait {
        created(cluster, &run, waiting)?;
        return Ok(Exit::Passed);
    }
    if !waiting.quiet {
        say(&format!(
            "loadtestrun/{} created in {}",
            run.name(),
            cluster.namespace
        ));
    }
    let patience = Patience {
        stops: !waiting.detach,
        timeout: waiting.timeout,
        quiet: waiting.quiet,
    };
    match follow::follow(cluster, run, patience).await? {
        Some(run) => answer::give(cluster, &run, waiting.output).await,
        None => Ok(Exit::Aborted),
    }
}

fn created(cluster: &Cluster, run: &Run, waiting: &Waiting) -> Result<(), ClusterError> {
    if waiting.output != OutputForm::Table {
        let made = answer::formatted(&json_of(&run.object), waiting.output);
        return Ok(print(&made)?);
    }
    print(&format!(
        "loadtestrun.loadtest.dev/{} created\n",
        run.name()
    ))?;
    if !waiting.quiet {
        say(&format!(
            "follow it with: kubectl loadtest watch {} -n {}",
            run.name(),
            cluster.namespace
        ));
    }
    Ok(())
}
