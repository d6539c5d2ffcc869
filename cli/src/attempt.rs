//! `loadtest try`: one iteration of a task, with all that was sent, answered, checked and taken out.

mod foreign;
mod stopped;

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use console::Style;
use loadtest_core::{
    plan::{Plan, Scenario, Task},
    scalar::format_latency,
};
use loadtest_crds::{Problem, Stage};
use loadtest_runner::{
    engine::{Seen, rehearse},
    step_kind::StepKinds,
};

use crate::{
    exit::Exit,
    manifest,
    output::terminal::{print, say},
    overrides::Changes,
    run::{Options, OutputForm, options::RawChoice},
    search_server::Access,
};

/// Most of a body that is shown, unless all of it is asked for.
const SHOWN_BYTES: usize = 2_000;

/// Arguments of `loadtest try`.
#[allow(clippy::doc_markdown)]
#[derive(Debug, clap::Args)]
pub struct Args {
    /// YAML file with one LoadTest; - reads standard input.
    file: PathBuf,
    /// Which scenario; needed if there are several.
    #[arg(long, value_name = "NAME")]
    scenario: Option<String>,
    /// Which task; needed if the scenario has several.
    #[arg(long, value_name = "NAME")]
    task: Option<String>,
    /// Ask this base url instead of the manifest's target.url.
    #[arg(long, value_name = "URL")]
    target: Option<String>,
    /// PEM file with the authorities to trust for https, instead of the manifest's target.tls.caRef.
    #[arg(long, value_name = "FILE")]
    target_ca: Option<PathBuf>,
    /// PEM file with the certificate to show, instead of the manifest's
    /// target.tls.clientCertificateRef; needs --target-key.
    #[arg(long, value_name = "FILE", requires = "target_key")]
    target_cert: Option<PathBuf>,
    /// PEM file with the private key of --target-cert.
    #[arg(long, value_name = "FILE", requires = "target_cert")]
    target_key: Option<PathBuf>,
    /// A runner with step kinds of your own (custom steps), which does the iteration.
    #[arg(long, value_name = "FILE")]
    runner_binary: Option<PathBuf>,
    /// Show bodies whole, not only their beginning.
    #[arg(long)]
    full: bool,
    /// What is changed of the manifest.
    #[command(flatten)]
    changes: Changes,
}

/// Does one iteration and prints it. Nothing is measured and no file is written.
pub fn run(args: &Args) -> Exit {
    show(args, print)
}

/// The same, shown elsewhere.
pub fn show<E: std::error::Error>(
    args: &Args,
    mut print: impl FnMut(&str) -> Result<(), E> + Send + 'static,
) -> Exit {
    let source = args.file.display().to_string();
    let text = match manifest::read(&args.file) {
        Ok(text) => text,
        Err(error) => {
            say(&format!("error: {error}"));
            return Exit::Usage;
        }
    };
    let planned = manifest::one_changed_test(&text, &args.changes).and_then(|mut test| {
        let directory = args.file.parent().unwrap_or(Path::new(""));
        args.options().plan(&mut test, directory)
    });
    let (plan, scratch) = match planned {
        Ok(planned) => planned,
        Err(problems) => return manifest::refuse(&source, &problems),
    };
    let (scenario, task) = match args.chosen(&plan) {
        Ok(chosen) => chosen,
        Err(problem) => return manifest::refuse(&source, &[problem]),
    };
    // A runner of the user's own is told the plan in a file.
    let orders = args.runner_binary.as_deref();
    let orders = orders.map(|runner| foreign::Orders::new(runner, &plan, &scratch));
    let (orders, scratch) = match (orders.transpose(), stopped::tidied(scratch)) {
        (Ok(orders), Ok(scratch)) => (orders, scratch),
        (Err(problem), _) => return failed(&problem),
        (_, Err(error)) => return failed(&format!("signals cannot be received: {error}")),
    };
    let full = args.full;
    let unprinted = Arc::new(OnceLock::new());
    let first = Arc::clone(&unprinted);
    let mut look = move |seen: &Seen| {
        if let Err(error) = print(&shown(seen, full)) {
            let _ = first.set(error.to_string());
        }
    };
    let result = match &orders {
        Some(orders) => orders.rehearse((scenario, task), look),
        None => rehearse(
            &plan,
            (scenario, task),
            &StepKinds::default(),
            move |seen| look(&seen),
        ),
    };
    drop(scratch);
    let exit = exit_of(result);
    match unprinted.get() {
        Some(error) => failed(error),
        None => exit,
    }
}

fn exit_of(result: Result<bool, String>) -> Exit {
    match result {
        Ok(true) => Exit::Passed,
        Ok(false) => {
            say("not every request and check succeeded");
            Exit::Failed
        }
        Err(problem) => failed(&problem),
    }
}

fn failed(problem: &str) -> Exit {
    say(&format!("error: {problem}"));
    Exit::Error
}

impl Args {
    fn options(&self) -> Options {
        Options {
            runners: None,
            runner_binary: self.runner_binary.clone(),
            out: None,
            raw: Some(RawChoice::None),
            csv: None,
            elasticsearch: None,
            access: Access::default(),
            target: self.target.clone(),
            target_ca: self.target_ca.clone(),
            target_cert: self.target_cert.clone(),
            target_key: self.target_key.clone(),
            changes: self.changes.clone(),
            output: OutputForm::Table,
            quiet: true,
        }
    }

    /// The only scenario and task, or those that were named.
    fn chosen<'p>(&self, plan: &'p Plan) -> Result<(&'p Scenario, &'p Task), Problem> {
        let scenarios = plan
            .scenarios
            .iter()
            .map(|scenario| (scenario.name.as_str(), scenario));
        let scenario = only(
            "--scenario",
            self.scenario.as_deref(),
            &scenarios.collect::<Vec<_>>(),
        )?;
        let tasks = scenario.tasks.iter().map(|task| (task.name.as_str(), task));
        let task = only("--task", self.task.as_deref(), &tasks.collect::<Vec<_>>())?;
        Ok((scenario, task))
    }
}

fn only<'p, T>(
    option: &str,
    wanted: Option<&str>,
    all: &[(&str, &'p T)],
) -> Result<&'p T, Problem> {
    let found = match (wanted, all) {
        (None, [(_, only)]) => Some(*only),
        (None, _) => None,
        (Some(wanted), all) => all
            .iter()
            .find(|(name, _)| *name == wanted)
            .map(|(_, found)| *found),
    };
    found.ok_or_else(|| {
        let names: Vec<_> = all.iter().map(|(name, _)| *name).collect();
        let message = format!("choose one of {}", names.join(", "));
        Problem::new(Stage::Acceptance, option, message)
    })
}

/// What happened, for people.
fn shown(seen: &Seen, full: bool) -> String {
    let mut out = String::new();
    // Writing to a String never fails.
    let _ = match seen {
        Seen::Begins(what) => writeln!(out, "{}", Style::new().bold().apply_to(what)),
        Seen::Sent { origin, text } => sent(&mut out, origin, text, full),
        Seen::Step { kind, name, with } => step(&mut out, (kind, name), with, full),
        Seen::Set { name, value } => writeln!(out, "  {name} = {}", cut(value, full)),
        Seen::Ended { .. } => ended(&mut out, seen, full),
    };
    out
}

fn sent(out: &mut String, origin: &str, text: &str, full: bool) -> std::fmt::Result {
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
    let mut lines = head.lines();
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (method, target) = (
        words.next().unwrap_or_default(),
        words.next().unwrap_or_default(),
    );
    let request = format!("{method} {origin}{target}");
    writeln!(out, "\n  {}", Style::new().bold().apply_to(request))?;
    for line in lines {
        writeln!(out, "  > {line}")?;
    }
    quoted(out, '>', body, full)
}

fn step(
    out: &mut String,
    (kind, name): (&str, &str),
    with: &[(String, String)],
    full: bool,
) -> std::fmt::Result {
    let heading = match name {
        name if name == kind => kind.to_owned(),
        name => format!("{kind} {name}"),
    };
    writeln!(out, "\n  {}", Style::new().bold().apply_to(heading))?;
    for (name, text) in with {
        writeln!(out, "  > {name}: {}", cut(text, full))?;
    }
    Ok(())
}

fn ended(out: &mut String, seen: &Seen, full: bool) -> std::fmt::Result {
    let Seen::Ended {
        origin,
        answered,
        status,
        headers,
        body,
        took,
        checks,
        extracts,
        failure,
    } = seen
    else {
        return Ok(());
    };
    if *answered {
        let took = format_latency(took.as_micros().try_into().unwrap_or(u64::MAX));
        match status {
            0 => writeln!(out, "  < done in {took}")?,
            status => writeln!(out, "  < {status} in {took}")?,
        }
        for (name, value) in headers {
            writeln!(out, "  < {name}: {value}")?;
        }
        quoted(out, '<', body, full)?;
    }
    for (name, holds) in checks.iter().filter(|_| *answered) {
        let (mark, style) = if *holds {
            ("✓", Style::new().green())
        } else {
            ("✗", Style::new().red())
        };
        writeln!(out, "  {} {name}", style.apply_to(mark))?;
    }
    for (name, value) in extracts.iter().filter(|_| *answered) {
        writeln!(out, "  {name} = {}", cut(value, full))?;
    }
    if let Some(failure) = failure {
        let mark = Style::new().red().apply_to("✗");
        match (status, origin.is_empty()) {
            (0, false) => writeln!(out, "  {mark} {origin}: {failure}")?,
            _ => writeln!(out, "  {mark} {failure}")?,
        }
    }
    Ok(())
}

/// A body, after an empty line as on the wire.
fn quoted(out: &mut String, mark: char, body: &str, full: bool) -> std::fmt::Result {
    if body.is_empty() {
        return Ok(());
    }
    writeln!(out, "  {mark}")?;
    for line in cut(body, full).lines() {
        writeln!(out, "  {mark} {line}")?;
    }
    Ok(())
}

/// Without what a terminal would take for an order, and not endless.
fn cut(text: &str, full: bool) -> String {
    let most = if full { usize::MAX } else { SHOWN_BYTES };
    let end = text.floor_char_boundary(most.min(text.len()));
    let mut shown: String = text
        .get(..end)
        .unwrap_or_default()
        .chars()
        .map(|c| {
            if c.is_control() && c != '\n' && c != '\t' {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect();
    if end < text.len() {
        let _ = write!(shown, "… ({} bytes in all; --full shows them)", text.len());
    }
    shown
}
