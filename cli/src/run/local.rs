//! A plan becomes a run: directory, server, processes, driver, files, answer.

use std::{io, path::Path};

use loadtest_core::{coordinator::Coordinator, identity, plan::Plan, scalar::format_duration};

use loadtest_crds::yaml;
use tokio::runtime::Runtime;

use super::{
    Options, OutputForm,
    children::{Children, Orders, Place},
    clock::Clock,
    control::Control,
    directory::{self, DirectoryError, RunDirectory},
    driver::{Driven, Driver},
    leave::{self, Leave, Unwritten},
    progress::Progress,
    recorder::Recorder,
    scratch::Scratch,
    signals::Signals,
};
use crate::{
    exit::Exit,
    output::{
        table,
        terminal::{Unprinted, print, say},
    },
    report,
};

/// Why a run could not be carried out at all.
#[derive(Debug, thiserror::Error)]
enum LocalError {
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error(transparent)]
    Unwritten(#[from] Unwritten),
    #[error("cannot make a memory-backed directory for the runners: {0}")]
    Scratch(io::Error),
    #[error("cannot write the run directory: {0}")]
    Write(io::Error),
    #[error("the plan cannot be written as JSON: {0}")]
    Plan(#[from] serde_json::Error),
    #[error("cannot serve the runners on the loopback interface: {0}")]
    Serve(io::Error),
    #[error("the run cannot be driven: {0}")]
    Drive(io::Error),
}

/// Why a run that was carried out has no answer on standard output.
#[derive(Debug, thiserror::Error)]
enum Unanswered {
    #[error("the status cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error(transparent)]
    Print(#[from] Unprinted),
}

/// Carries out a plan and answers; `scratch` is gone when it returns.
pub fn run(plan: &Plan, options: &Options, scratch: Scratch) -> Exit {
    let clock = Clock::start();
    let carried_out = RunDirectory::create(options.out.as_deref(), &plan.run.test, clock.now())
        .map_err(LocalError::from)
        .and_then(|directory| carry_out(plan, options, clock, &directory, scratch));
    match carried_out {
        Ok(exit) => exit,
        Err(error) => {
            say(&format!("error: {error}"));
            Exit::Error
        }
    }
}

fn carry_out(
    plan: &Plan,
    options: &Options,
    clock: Clock,
    directory: &RunDirectory,
    scratch: Scratch,
) -> Result<Exit, LocalError> {
    if let Some(prefix) = &options.csv {
        leave::begin_tables(prefix)?;
    }
    let bytes = plan.to_bytes()?;
    let hash = identity::plan_hash(&bytes);
    let recorder = Recorder::new(directory, &plan.run, &hash, clock);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(LocalError::Drive)?;
    let coordinator = Coordinator::new(
        plan.clone().into(),
        hash.clone(),
        plan.run.seed | 1,
        clock.now(),
    );
    let token = random_hex().map_err(LocalError::Scratch)?;
    let control = Control::new(coordinator, clock, &token);
    let (driven, signals) = runtime.block_on(async {
        let mut signals = Signals::new().map_err(LocalError::Drive)?;
        let orders = Orders {
            plan: directory.write_plan(&bytes).map_err(LocalError::Write)?,
            plan_hash: hash.clone(),
            control: control.serve().await.map_err(LocalError::Serve)?,
            token_file: scratch
                .secret("token", &token)
                .map_err(LocalError::Scratch)?,
            // A name without a slash would be looked for elsewhere.
            runner: options
                .runner_binary
                .as_deref()
                .map(std::path::absolute)
                .transpose()
                .map_err(LocalError::Drive)?,
            logs: directory.file("logs"),
        };
        let driver = Driver {
            control: &control,
            children: Children::new(orders, places(plan, directory, &scratch)?)
                .map_err(LocalError::Drive)?,
            clock,
            progress: Progress::new(options.quiet, plan),
            record: &|view| recorder.record(view),
            rows: Some(leave::begin_history(directory)?),
            plan,
        };
        if !options.quiet {
            say(&announcement(plan, directory.path()));
        }
        Ok::<_, LocalError>((driver.drive(&mut signals).await, signals))
    })?;
    drop(scratch);
    end_while_joining(directory, runtime, signals)?;
    let leave = Leave {
        plan,
        plan_hash: &hash,
        directory,
        csv: options.csv.as_deref(),
        control: &control,
        recorder: &recorder,
        clock,
    };
    let unwritten = leave.files(&driven);
    let answered = answer(options, directory, &recorder, &driven);
    Ok(exit_of(&driven, &unwritten, answered.err().as_ref()))
}

/// From now on a signal ends this process: the runners have ended, and files of many gigabytes take
/// minutes.
fn end_while_joining(
    directory: &RunDirectory,
    runtime: Runtime,
    signals: Signals,
) -> Result<(), LocalError> {
    let told = format!(
        "stopped while the runners' files were joined: what is not joined yet is in {}, and the verdict is in {}",
        directory.file(directory::PARTS).display(),
        directory.file(directory::SUMMARY).display()
    );
    signals
        .end_process(runtime, move || say(&told))
        .map_err(LocalError::Drive)
}

fn places(
    plan: &Plan,
    directory: &RunDirectory,
    scratch: &Scratch,
) -> Result<Vec<Place>, LocalError> {
    (0..plan.runners)
        .map(|index| {
            Ok(Place {
                pool: scratch
                    .directory(&format!("pool-{index}"))
                    .map_err(LocalError::Scratch)?,
                out: directory.part(index).map_err(LocalError::Write)?,
            })
        })
        .collect()
}

fn announcement(plan: &Plan, directory: &Path) -> String {
    let runners = if plan.runners == 1 {
        "1 runner".to_owned()
    } else {
        format!("{} runners", plan.runners)
    };
    format!(
        "{}: {} of load from {runners} against {}, results in {}",
        plan.run.test,
        format_duration(plan.load_duration()),
        plan.target.url,
        directory.display()
    )
}

fn answer(
    options: &Options,
    directory: &RunDirectory,
    recorder: &Recorder<'_>,
    driven: &Driven,
) -> Result<(), Unanswered> {
    let status = recorder.status(&driven.view);
    let text = match options.output {
        OutputForm::Json => serde_json::to_string_pretty(&status)? + "\n",
        OutputForm::Yaml => yaml::to_string(&serde_json::to_value(&status)?),
        OutputForm::Table => format!(
            "\n{}Files     {}: {}\n",
            table::render(&driven.view),
            directory.path().display(),
            [
                directory::SUMMARY,
                directory::REQUESTS,
                directory::INTERVALS,
                directory::SAMPLES,
                report::PAGE,
                "loadtest_*.csv"
            ]
            .into_iter()
            .filter(|name| name.contains('*') || directory.file(name).exists())
            .collect::<Vec<_>>()
            .join(", ")
        ),
    };
    Ok(print(&text)?)
}

/// The verdict, if all of it is where it belongs; says what is not.
fn exit_of(driven: &Driven, unwritten: &[Unwritten], unanswered: Option<&Unanswered>) -> Exit {
    let files = unwritten.iter().map(ToString::to_string);
    let missing: Vec<_> = files.chain(unanswered.map(ToString::to_string)).collect();
    for error in &missing {
        say(&format!("error: {error}"));
    }
    match &driven.view.judgement {
        _ if !missing.is_empty() => Exit::Error,
        _ if driven.killed => Exit::Aborted,
        Some(judgement) => judgement.verdict.into(),
        None => Exit::Error,
    }
}

/// 128 bits that nobody can guess.
fn random_hex() -> io::Result<String> {
    use std::io::Read as _;
    let mut bytes = [0; 16];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(identity::hex(&bytes))
}
