//! `loadtest push`: the results of a run on this machine, delivered to a search server afterwards.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use loadtest_core::{
    plan::{DEFAULT_DATA_STREAM_PREFIX, Elasticsearch, Flavor, Plan, RawMode},
    scalar::format_rounded_duration,
};
use loadtest_crds::Problem;
use loadtest_runner::export::push::{Going, PushError, Pushed, push};

use crate::{
    exit::Exit,
    output::{
        table::grouped,
        terminal::{answer, say},
    },
    search_server::Access,
};

/// Between two lines that say how it goes.
const TELL: Duration = Duration::from_secs(5);

/// How long a server may keep silent before that is said.
const QUIET: Duration = Duration::from_secs(3);

/// Between two lines that say that it still does.
const STILL_QUIET: Duration = Duration::from_secs(30);

/// Arguments of `loadtest push`.
#[allow(clippy::doc_markdown)]
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Directory that `loadtest run` wrote.
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// Base url of the Elasticsearch or OpenSearch that is to have the documents.
    #[arg(long, value_name = "URL")]
    pub elasticsearch: String,
    /// How to reach it.
    #[command(flatten)]
    pub access: Access,
    /// What the names of the streams begin with.
    #[arg(long, value_name = "PREFIX", default_value = DEFAULT_DATA_STREAM_PREFIX)]
    pub data_stream_prefix: String,
    /// Leave templates and streams as they are: somebody else has made them.
    #[arg(long)]
    pub no_templates: bool,
}

/// Delivers the files of a run.
pub fn run(args: &Args) -> Exit {
    let plan = match plan_of(&args.dir) {
        Ok(plan) => plan,
        Err(message) => {
            say(&format!("error: {message}"));
            return Exit::Usage;
        }
    };
    let server = match args.server() {
        Ok(server) => server,
        Err(problems) => {
            for problem in problems {
                say(&format!("error: {problem}"));
            }
            return Exit::Usage;
        }
    };
    let mut course = Course::new(plan.results.drain_timeout);
    match push(&args.dir, &plan, &server, |going| course.tell(going)) {
        Ok(pushed) => tell(args, &pushed),
        Err(error @ PushError::Server(_)) => {
            say(&format!("error: {error}"));
            Exit::Usage
        }
        Err(error) => {
            say(&format!("error: {error}"));
            Exit::Error
        }
    }
}

/// What is said while it goes on.
struct Course {
    patience: Duration,
    told: Instant,
    settled: u64,
    quiet: Option<Instant>,
}

impl Course {
    fn new(patience: Duration) -> Self {
        Self {
            patience,
            told: Instant::now(),
            settled: 0,
            quiet: None,
        }
    }

    fn tell(&mut self, going: &Going) {
        if going.settled > self.settled {
            self.quiet = None;
            if self.told.elapsed() >= TELL {
                (self.told, self.settled) = (Instant::now(), going.settled);
                say(&format!("{} documents so far", grouped(going.settled)));
            }
        } else if going.quiet >= QUIET
            && !going.problem.is_empty()
            && self.quiet.is_none_or(|said| said.elapsed() >= STILL_QUIET)
        {
            self.quiet = Some(Instant::now());
            let left = self.patience.saturating_sub(going.quiet);
            say(&format!(
                "waiting for the server: {}; given up in {}, and Ctrl-C loses nothing: push again",
                going.problem,
                format_rounded_duration(left)
            ));
        }
    }
}

fn tell(args: &Args, pushed: &Pushed) -> Exit {
    let Pushed {
        indexed,
        rejected,
        lost,
        problem,
        torn,
    } = pushed;
    let told = answer(&format!(
        "{indexed} documents are in {}\n",
        args.elasticsearch
    ));
    for file in torn {
        say(&format!(
            "note: the end of {} is not whole and was left out: whoever wrote it was killed",
            file.display()
        ));
    }
    if rejected + lost == 0 {
        return told;
    }
    say(&format!(
        "error: {rejected} documents were refused and {lost} given up: {problem}"
    ));
    Exit::Error
}

/// The plan of a run that has ended.
fn plan_of(dir: &Path) -> Result<Plan, String> {
    let shown = dir.display();
    let path = dir.join("plan.json");
    let bytes = std::fs::read(&path).map_err(|error| {
        format!(
            "cannot read {}: {error}; name a directory that `loadtest run` wrote",
            path.display()
        )
    })?;
    if dir.join("parts").exists() {
        return Err(format!(
            "the run in {shown} has not ended, or not in order: its files are still in parts"
        ));
    }
    Plan::from_bytes(&bytes)
        .map_err(|error| format!("{} is not a plan of this version: {error}", path.display()))
}

impl Args {
    fn server(&self) -> Result<Elasticsearch, Vec<Problem>> {
        let server = self.access.to(&self.elasticsearch)?;
        Ok(Elasticsearch {
            urls: vec![server.url.trim_end_matches('/').to_owned()],
            flavor: Flavor::Auto,
            data_stream_prefix: self.data_stream_prefix.clone(),
            manage_templates: !self.no_templates,
            auth: server.auth,
            ca_file: server.ca_file,
            client_certificate: server.client_certificate,
            raw: RawMode::All,
        })
    }
}
