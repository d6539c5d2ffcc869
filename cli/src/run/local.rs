//! A plan becomes a run: directory, server, processes, driver, files, answer.

use std::{io, path::Path, time::Duration};

use loadtest_core::{coordinator::Coordinator, identity, plan::Plan, scalar::format_duration};

use loadtest_crds::yaml;
use loadtest_runner::export::push::run_documents;

use super::{
    Options, OutputForm,
    children::{Children, Orders, Place},
    clock::Clock,
    control::Control,
    directory::{self, DirectoryError, RunDirectory},
    driver::{Driven, Driver},
    history::History,
    progress::Progress,
    recorder::Recorder,
    scratch::Scratch,
};
use crate::{
    exit::Exit,
    output::{
        locust::{self, HistoryWriter, Moment},
        table,
        terminal::{print, say},
    },
    report,
};

/// Why a run could not be carried out at all.
#[derive(Debug, thiserror::Error)]
enum LocalError {
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error("cannot write {0}: {1}")]
    Csv(String, csv::Error),
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
        // Found out now, not after the load.
        for name in locust::FILES {
            let path = with_prefix(prefix, name);
            std::fs::File::create(&path)
                .map_err(|error| LocalError::Csv(path.clone(), error.into()))?;
        }
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
    let driven = runtime.block_on(async {
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
            rows: Some(history(directory)?),
            plan,
        };
        if !options.quiet {
            say(&announcement(plan, directory.path()));
        }
        driver.drive().await.map_err(LocalError::Drive)
    })?;
    drop(scratch);
    write_files(plan, options, directory, &control, clock, &driven)?;
    recorder.record(&driven.view).map_err(LocalError::Write)?;
    if plan.results.files.is_some() {
        let lines = run_documents(plan, &hash, &driven.view, clock.now());
        directory.write_runs(&lines).map_err(LocalError::Write)?;
    }
    if let Err(error) = report::leave_page(directory.path()) {
        // The run is what it is, and the page can be made at any time.
        say(&format!("warning: {error}"));
    }
    answer(options, directory, &recorder, &driven);
    Ok(exit_of(&driven))
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

fn history(directory: &RunDirectory) -> Result<HistoryWriter, LocalError> {
    let path = own_csv(directory, "stats_history.csv");
    HistoryWriter::create(Path::new(&path)).map_err(|error| LocalError::Csv(path, error))
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

fn write_files(
    plan: &Plan,
    options: &Options,
    directory: &RunDirectory,
    control: &Control,
    clock: Clock,
    driven: &Driven,
) -> Result<(), LocalError> {
    directory
        .join_parts(plan, driven.files_whole)
        .map_err(LocalError::Write)?;
    let duration = driven
        .view
        .summary
        .as_ref()
        .map(|s| s.duration)
        .unwrap_or_default();
    let [stats, history, failures] = locust::FILES.map(|name| own_csv(directory, name));
    let shared = control.lock();
    let failed = |path: &str, error| LocalError::Csv(path.to_owned(), error);
    locust::write_stats(Path::new(&stats), &plan.series, &driven.merged, duration)
        .map_err(|error| failed(&stats, error))?;
    locust::write_failures(
        Path::new(&failures),
        &plan.series,
        &driven.merged,
        shared.history.seen(),
    )
    .map_err(|error| failed(&failures, error))?;
    last_row(Path::new(&history), clock, duration, driven)
        .map_err(|error| failed(&history, error))?;
    if let Some(prefix) = &options.csv {
        for name in locust::FILES {
            let to = with_prefix(prefix, name);
            std::fs::copy(own_csv(directory, name), &to)
                .map_err(|error| failed(&to, error.into()))?;
        }
    }
    Ok(())
}

/// The history ends with all requests, as the other files do.
fn last_row(path: &Path, clock: Clock, duration: Duration, driven: &Driven) -> csv::Result<()> {
    if driven.merged.is_nothing() {
        return Ok(());
    }
    HistoryWriter::append(path)?.write(&Moment {
        at: clock.now(),
        users: 0,
        window: &driven.last_window,
        window_length: History::window_length(duration),
        total: &driven.merged.total,
    })
}

fn own_csv(directory: &RunDirectory, name: &str) -> String {
    with_prefix(&directory.file("loadtest"), name)
}

fn with_prefix(prefix: &Path, name: &str) -> String {
    format!("{}_{name}", prefix.display())
}

fn answer(options: &Options, directory: &RunDirectory, recorder: &Recorder<'_>, driven: &Driven) {
    let status = recorder.status(&driven.view);
    match options.output {
        OutputForm::Json => match serde_json::to_string_pretty(&status) {
            Ok(text) => print(&format!("{text}\n")),
            Err(error) => say(&format!(
                "error: the status cannot be written as JSON: {error}"
            )),
        },
        OutputForm::Yaml => match serde_json::to_value(&status) {
            Ok(status) => print(&yaml::to_string(&status)),
            Err(error) => say(&format!(
                "error: the status cannot be written as YAML: {error}"
            )),
        },
        OutputForm::Table => print(&format!(
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
        )),
    }
}

fn exit_of(driven: &Driven) -> Exit {
    match &driven.view.judgement {
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
