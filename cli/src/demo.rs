//! `loadtest demo`: a first run with nothing prepared, against a target that is started for it.

use std::{
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use crate::{
    exit::Exit,
    manifest,
    output::terminal::{answer, say},
    run::{self, Options, OutputForm},
};

/// What is run when no file is given: the first example of the documentation.
const QUICKSTART: &str = include_str!("../../examples/quickstart.yaml");

/// Arguments of `loadtest demo`.
#[allow(clippy::doc_markdown)]
#[derive(Debug, clap::Args)]
#[command(mut_arg("target", |target| target.hide(true)))] // refused below, in words
pub struct Args {
    /// YAML file with one LoadTest; default: the quickstart of the documentation.
    pub file: Option<PathBuf>,
    /// How it is run.
    #[command(flatten)]
    pub options: Options,
}

/// Starts the bundled target on a free port, runs the test against it and says how to go on.
pub fn run(args: Args) -> Exit {
    let mut options = args.options;
    if options.target.is_some() {
        say("error: demo starts a target of its own; use `loadtest run` with --target");
        return Exit::Usage;
    }
    let (source, text) = match &args.file {
        None => (
            PathBuf::from("examples/quickstart.yaml"),
            QUICKSTART.to_owned(),
        ),
        Some(file) => match manifest::read(file) {
            Ok(text) => (file.clone(), text),
            Err(error) => {
                say(&format!("error: {error}"));
                return Exit::Usage;
            }
        },
    };
    let target = match Target::start() {
        Ok(target) => target,
        Err(error) => {
            say(&format!("error: the target cannot be started: {error}"));
            return Exit::Error;
        }
    };
    options.target = Some(target.url.clone());
    let exit = run::run_text(&source, &text, &options);
    drop(target);
    if exit == Exit::Passed && options.output == OutputForm::Table && !options.quiet {
        return answer(NEXT);
    }
    exit
}

const NEXT: &str = "
Next
  against your own service, from here
    loadtest run examples/quickstart.yaml --target http://localhost:8080
  in a cluster (images and values: README.md), with target.url set to a Service
    helm install loadtest charts/loadtest-operator --namespace loadtest-system --create-namespace
    kubectl apply -f examples/quickstart.yaml
    kubectl wait --for=condition=Finished loadtest/quickstart --timeout=5m
    kubectl get loadtest quickstart
  no cluster at hand: make cluster-demo
";

/// The bundled target as a child process; gone when this value is.
struct Target {
    child: Child,
    url: String,
}

impl Target {
    fn start() -> std::io::Result<Self> {
        use std::os::unix::process::CommandExt as _;
        let mut child = Command::new(std::env::current_exe()?)
            .args(["demo-target", "--listen", "127.0.0.1:0"])
            // It ends with this process, and never by the terminal's Ctrl-C.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        if let Some(url) = line.trim().strip_prefix("listening on ") {
            return Ok(Self {
                url: url.to_owned(),
                child,
            });
        }
        let _ = child.kill();
        let _ = child.wait();
        Err(std::io::Error::other("it did not say where it listens"))
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
