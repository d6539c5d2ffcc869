//! Following a run to its end: one line for each change, Ctrl-C, and clusters that go away for a
//! while.

use std::time::{Duration, Instant};

use loadtest_crds::LoadTestRunStatus;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::Interval,
};

use super::{Cluster, ClusterError, Run, answer};
use crate::{exit::Exit, output::terminal::say, run::OutputForm};

/// Between two looks. A status has new numbers every five seconds; a new phase is worth a second.
const EVERY: Duration = Duration::from_secs(1);

/// A cluster that cannot be reached is tried again for this long: an API server that restarts must
/// not end a pipeline.
const GIVE_UP: Duration = Duration::from_mins(2);

/// An answer that takes longer is none.
const ANSWER: Duration = Duration::from_secs(20);

/// A run that nobody has looked at for this long has no operator.
const UNSEEN: Duration = Duration::from_secs(15);

/// Arguments of `watch`.
#[allow(clippy::doc_markdown)]
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of a LoadTestRun, or of a LoadTest, whose last run it then is.
    pub name: String,
    /// What is printed at the end.
    #[arg(short, long, value_name = "FORM", default_value = "table")]
    pub output: OutputForm,
    /// No progress: only the answer, and problems.
    #[arg(long, short)]
    pub quiet: bool,
}

/// How long a run is followed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Patience {
    /// Ctrl-C and the end of the patience stop the run, not only the following.
    pub stops: bool,
    /// How long at most.
    pub timeout: Option<Duration>,
    /// Say nothing of the course.
    pub quiet: bool,
}

/// Follows a run that somebody else started: Ctrl-C leaves it to itself.
///
/// # Errors
/// When there is no such run, or it cannot be followed.
pub async fn watch(cluster: &Cluster, args: &Args) -> Result<Exit, ClusterError> {
    let run = cluster.find(&args.name).await?;
    let patience = Patience {
        quiet: args.quiet,
        ..Patience::default()
    };
    match follow(cluster, run, patience).await? {
        Some(run) => answer::give(cluster, &run, args.output).await,
        None => Ok(Exit::Aborted),
    }
}

/// Follows a run until it is over; `None` when somebody at the keyboard left before.
///
/// # Errors
/// When the run is deleted, the time is up or the cluster stays away.
pub async fn follow(
    cluster: &Cluster,
    run: Run,
    patience: Patience,
) -> Result<Option<Run>, ClusterError> {
    let mut following = Following {
        cluster,
        name: run.name(),
        patience,
        began: Instant::now(),
        said: String::new(),
        stop: Stop::No,
        refused: String::new(),
        unseen_said: false,
        away_since: None,
    };
    let mut signals = Signals::new()?;
    let mut look = tokio::time::interval(EVERY);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut last = run;
    loop {
        following.show(&last);
        if last.is_finished() {
            return Ok(Some(last));
        }
        tokio::select! {
            biased;
            () = signals.next() => {
                if following.is_left_by_interrupt() {
                    return Ok(None);
                }
                look.reset_immediately();
            }
            looked = following.next(&mut look) => last = looked?.unwrap_or(last),
        }
    }
}

/// Whether the run is to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// Nobody wants that.
    No,
    /// Somebody does; the cluster has not taken it yet.
    Asked,
    /// The cluster knows.
    Told,
}

/// A run and what was said of it.
struct Following<'a> {
    cluster: &'a Cluster,
    name: String,
    patience: Patience,
    began: Instant,
    said: String,
    stop: Stop,
    /// Why it could not be told to stop, as it was said.
    refused: String,
    unseen_said: bool,
    away_since: Option<Instant>,
}

impl Following<'_> {
    fn note(&self, text: &str) {
        if !self.patience.quiet {
            say(text);
        }
    }

    fn show(&mut self, run: &Run) {
        if !run.is_seen() {
            if self.began.elapsed() > UNSEEN && !self.unseen_said {
                self.unseen_said = true;
                self.note(&format!(
                    "nobody has taken up the run for {} s: is the operator running? kubectl get pods -A -l app.kubernetes.io/name=loadtest-operator",
                    UNSEEN.as_secs()
                ));
            }
            return;
        }
        let line = line(&run.status);
        if line != self.said {
            self.note(&line);
            self.said = line;
        }
    }

    /// The run a moment later; `None` while the cluster cannot be reached.
    async fn next(&mut self, look: &mut Interval) -> Result<Option<Run>, ClusterError> {
        look.tick().await;
        self.check_time().await?;
        if self.stop == Stop::Asked {
            self.tell().await;
        }
        match self.answer(self.cluster.run(&self.name)).await {
            Ok(Some(run)) => {
                if self.away_since.take().is_some() {
                    self.note("the cluster answers again");
                }
                Ok(Some(run))
            }
            Ok(None) => Err(ClusterError::Deleted(self.name.clone())),
            Err(error) if error.is_passing() => {
                let since = *self.away_since.get_or_insert_with(|| {
                    if !self.patience.quiet {
                        say(&format!("{error}; the run goes on without us"));
                    }
                    Instant::now()
                });
                if since.elapsed() > GIVE_UP {
                    return Err(error);
                }
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// After Ctrl-C: whether it leaves. If not, it stops the run.
    fn is_left_by_interrupt(&mut self) -> bool {
        if self.patience.stops && self.stop == Stop::No {
            self.stop = Stop::Asked;
            return false;
        }
        let on = if self.stop == Stop::Told {
            "is stopping"
        } else {
            "goes on"
        };
        self.note(&format!(
            "left; the run {on}: kubectl loadtest watch {} -n {}",
            self.name, self.cluster.namespace
        ));
        true
    }

    /// Tells the run to stop; what does not work is tried again at the next look.
    async fn tell(&mut self) {
        match self.answer(self.cluster.cancel(&self.name)).await {
            Ok(()) => {
                self.stop = Stop::Told;
                self.note("the run is told to stop; once more Ctrl-C leaves at once");
            }
            Err(error) => {
                let refused = error.to_string();
                if refused != self.refused {
                    say(&format!(
                        "error: the run goes on: {refused}\nit is tried again; once more Ctrl-C leaves the run to itself"
                    ));
                    self.refused = refused;
                }
            }
        }
    }

    /// What the cluster says, if it says it soon.
    async fn answer<T>(
        &self,
        asked: impl Future<Output = Result<T, ClusterError>>,
    ) -> Result<T, ClusterError> {
        let answered = tokio::time::timeout(ANSWER, asked).await;
        answered.unwrap_or_else(|_| {
            Err(ClusterError::Unreachable {
                server: self.cluster.server.clone(),
                reason: format!("no answer within {} s", ANSWER.as_secs()),
            })
        })
    }

    async fn check_time(&self) -> Result<(), ClusterError> {
        let Some(limit) = self.patience.timeout else {
            return Ok(());
        };
        let Some(late) = self.began.elapsed().checked_sub(limit) else {
            return Ok(());
        };
        let limit = loadtest_core::scalar::format_duration(limit);
        let name = &self.name;
        if !self.patience.stops {
            return Err(ClusterError::Timeout(format!(
                "the run {name} is not over after {limit}, and goes on"
            )));
        }
        Err(ClusterError::Timeout(
            match self.answer(self.cluster.cancel(name)).await {
                Ok(()) => format!("the run {name} is not over after {limit}, and was told to stop"),
                Err(error) if error.is_passing() && late < GIVE_UP => return Ok(()),
                Err(error) => {
                    format!("the run {name} is not over after {limit}, and goes on: {error}")
                }
            },
        ))
    }
}

/// Where a run stands, as its status says it.
fn line(status: &LoadTestRunStatus) -> String {
    let phase = status.phase.as_deref().unwrap_or_default();
    let message = status.message.as_deref().unwrap_or_default();
    match (&status.progress, phase) {
        (Some(now), "Running") => format!(
            "{phase}  {}  {}  p95 {}  errors {}  users {}",
            now.elapsed, now.rate, now.p95, now.error_ratio, now.users
        ),
        _ => format!("{phase}  {message}"),
    }
}

/// Ctrl-C, and what pipelines send.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> Result<Self, ClusterError> {
        let listen = |kind| {
            signal(kind).map_err(|error| ClusterError::Other {
                doing: "listen for Ctrl-C",
                message: error.to_string(),
            })
        };
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
