//! Delivers the files of a run that has ended to a search server: the same documents with the same
//! ids as if the server had been there, so doing it twice adds nothing.

use std::{
    cell::Cell,
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use flate2::read::MultiGzDecoder;
use loadtest_core::{
    plan::{Elasticsearch, Plan},
    report::UnixMicros,
    view::RunView,
};
use serde::Deserialize;

use super::{
    background::Background,
    batch::{Batch, Fate, Stream},
    elastic::{ClientError, DeadLetters, Elastic},
    run::RunEncoder,
    sink::{GiveUpSwitch, Sink},
};

/// The documents of a run's start and end, in the directory of a run.
pub const RUNS: &str = "runs.ndjson";

/// Samples of failed exchanges, in the directory of a run; there is none if nothing failed.
pub const SAMPLES: &str = "samples.ndjson";

/// Documents of one delivery.
const DOCUMENTS: usize = 2_000;

/// How often it is told how a delivery goes.
const TELL: Duration = Duration::from_secs(1);

/// Why a run's files cannot be delivered.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// A file cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// A line is no document of ours.
    #[error("line {line} of {} is not a document of this version: {error}", path.display())]
    Line {
        /// Which file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong with it.
        error: String,
    },
    /// The server's address or credentials cannot be used.
    #[error("{0}")]
    Server(String),
    /// The system gives no thread or runtime.
    #[error(transparent)]
    System(#[from] io::Error),
}

impl From<ClientError> for PushError {
    fn from(error: ClientError) -> Self {
        Self::Server(error.to_string())
    }
}

/// What a delivery came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pushed {
    /// Documents that the server has now, perhaps for long.
    pub indexed: u64,
    /// Documents that it refused.
    pub rejected: u64,
    /// Documents that were given up.
    pub lost: u64,
    /// What was wrong last, in the server's words; empty when nothing was.
    pub problem: String,
    /// Files that end in the middle of a document, because whoever wrote them was killed; what is
    /// whole in them was delivered.
    pub torn: Vec<PathBuf>,
}

/// The lines of [`RUNS`]: what an exporter with a search server writes there itself. A run that never
/// began has no start.
pub fn run_documents(plan: &Plan, plan_hash: &str, view: &RunView, now: UnixMicros) -> Vec<u8> {
    let run = RunEncoder::new(plan, plan_hash);
    let start = view.started.map(|at| run.start(at));
    let batches = [start, Some(run.end(view, now))];
    let lines = batches
        .iter()
        .flatten()
        .flat_map(|batch| batch.documents().flatten());
    lines.copied().collect()
}

/// A delivery that goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Going {
    /// Documents whose fate is known.
    pub settled: u64,
    /// Since when nothing more was.
    pub quiet: Duration,
    /// What is wrong, in the server's words; empty when nothing is.
    pub problem: String,
}

/// Delivers `requests.ndjson.gz`, `intervals.ndjson`, `samples.ndjson` and [`RUNS`] of a directory; a
/// file that is not there was not asked for. Blocks until everything is delivered, or for the plan's
/// `drainTimeout` nothing more was; about once a second it tells how it goes.
///
/// # Errors
/// [`PushError`]; what was delivered before stays there.
pub fn push(
    dir: &Path,
    plan: &Plan,
    server: &Elasticsearch,
    tell: impl FnMut(&Going),
) -> Result<Pushed, PushError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(push_all(dir, plan, server, tell))
}

pub(super) async fn push_all(
    dir: &Path,
    plan: &Plan,
    server: &Elasticsearch,
    mut tell: impl FnMut(&Going),
) -> Result<Pushed, PushError> {
    let background = Background::start()?;
    background.hurry();
    let letters = DeadLetters::in_dir(Some(dir.to_owned()));
    let elastic = Elastic::new(server, &plan.run.namespace, 0, background, letters)?;
    let push = Push {
        elastic,
        give_up: GiveUpSwitch::new(),
        settled: Cell::new(0),
    };
    let mut work = pin!(push.files(dir));
    let (mut settled, mut since) = (0, Instant::now());
    loop {
        if let Ok(pushed) = tokio::time::timeout(TELL, &mut work).await {
            return pushed;
        }
        if push.settled.get() > settled {
            (settled, since) = (push.settled.get(), Instant::now());
        }
        let going = Going {
            settled,
            quiet: since.elapsed(),
            problem: push.elastic.problem(),
        };
        tell(&going);
        if going.quiet >= plan.results.drain_timeout {
            push.give_up.give_up();
        }
    }
}

struct Push {
    elastic: Elastic,
    give_up: GiveUpSwitch,
    /// Documents whose fate is known.
    settled: Cell<u64>,
}

impl Push {
    async fn files(&self, dir: &Path) -> Result<Pushed, PushError> {
        self.elastic.prepare(self.give_up.listen()).await;
        let mut pushed = Pushed::default();
        for (name, stream) in [
            ("intervals.ndjson", Stream::Metrics),
            (SAMPLES, Stream::Metrics),
            (RUNS, Stream::Runs),
            ("requests.ndjson.gz", Stream::Requests),
        ] {
            self.file(&dir.join(name), stream, &mut pushed).await?;
        }
        pushed.problem = self.elastic.problem();
        Ok(pushed)
    }

    async fn file(
        &self,
        path: &Path,
        stream: Stream,
        pushed: &mut Pushed,
    ) -> Result<(), PushError> {
        let in_file = |error| PushError::File {
            path: path.to_owned(),
            error,
        };
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            file => file.map_err(in_file)?,
        };
        if file.metadata().map_err(in_file)?.len() == 0 {
            return Ok(()); // Opened, and nothing came; as gzip it would be torn.
        }
        let reader: Box<dyn Read> = match stream {
            Stream::Requests => Box::new(MultiGzDecoder::new(file)),
            Stream::Metrics | Stream::Runs => Box::new(file),
        };
        let mut lines = Lines::new(BufReader::new(reader));
        let mut batch = Batch::new(stream);
        while lines.advance().map_err(in_file)? {
            let id = match id_of(&lines.line) {
                // Whoever wrote it was killed in the middle of it.
                Err(error) if error.is_eof() && !lines.terminated => {
                    lines.torn = true;
                    break;
                }
                id => id.map_err(|error| PushError::Line {
                    path: path.to_owned(),
                    line: lines.number,
                    error: error.to_string(),
                })?,
            };
            batch.push(
                |out| out.extend_from_slice(id.as_bytes()),
                |out| out.extend_from_slice(&lines.line),
            );
            if batch.len() == DOCUMENTS {
                let whole = std::mem::replace(&mut batch, Batch::new(stream));
                self.deliver(whole, pushed).await;
            }
        }
        self.deliver(batch, pushed).await;
        if lines.torn {
            pushed.torn.push(path.to_owned());
        }
        Ok(())
    }

    async fn deliver(&self, mut batch: Batch, pushed: &mut Pushed) {
        // Whoever pushes may have pushed before.
        batch.suspect = true;
        let Fate {
            indexed,
            rejected,
            lost,
            retries: _,
        } = self
            .elastic
            .deliver(Arc::new(batch), self.give_up.listen())
            .await;
        pushed.indexed += indexed;
        pushed.rejected += rejected;
        pushed.lost += lost;
        let settled = pushed.indexed + pushed.rejected + pushed.lost;
        self.settled.set(settled);
    }
}

/// The lines of a file, up to where it is torn: a process that is killed may leave half a line, or
/// half a gzip member, at the end.
struct Lines<R> {
    reader: R,
    /// Where it is, without its line break.
    line: Vec<u8>,
    /// Of that line, from 1.
    number: usize,
    /// Whether the line has its line break.
    terminated: bool,
    torn: bool,
}

impl<R: BufRead> Lines<R> {
    fn new(reader: R) -> Self {
        Self {
            reader,
            line: Vec::new(),
            number: 0,
            terminated: true,
            torn: false,
        }
    }

    /// To the next line; false when there is none.
    fn advance(&mut self) -> io::Result<bool> {
        self.line.clear();
        match self.reader.read_until(b'\n', &mut self.line) {
            Ok(0) => return Ok(false),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                self.torn = true;
                return Ok(false);
            }
            Err(error) => return Err(error),
        }
        self.number += 1;
        self.terminated = self.line.pop_if(|last| *last == b'\n').is_some();
        Ok(true)
    }
}

/// The id that a document has in the server, which it also says itself.
fn id_of(line: &[u8]) -> Result<String, serde_json::Error> {
    #[derive(Deserialize)]
    struct Document {
        event: Event,
    }
    #[derive(Deserialize)]
    struct Event {
        id: String,
    }
    let document: Document = serde_json::from_slice(line)?;
    if document
        .event
        .id
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || c == '-')
    {
        Ok(document.event.id)
    } else {
        Err(serde::de::Error::custom("its event.id is none of ours"))
    }
}
