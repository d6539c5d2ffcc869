//! The processes of a local run: two for each runner, made from this executable or from a runner of
//! the user's own.
//!
//! Invariants: no child outlives this process, even one that is killed with SIGKILL, since each
//! child ends when its standard input does; no child sees the terminal's Ctrl-C, since each has a
//! process group of its own; every child is waited for.

use std::{
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use loadtest_core::report::Part;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, ChildStderr, Command},
    sync::{mpsc, watch},
};

/// What every child of a run is told.
#[derive(Debug, Clone)]
pub struct Orders {
    /// The plan file.
    pub plan: PathBuf,
    /// Its hash.
    pub plan_hash: String,
    /// Base url of the coordination server.
    pub control: String,
    /// File with the bearer token.
    pub token_file: PathBuf,
    /// A runner instead of this executable.
    pub runner: Option<PathBuf>,
    /// Directory of child logs, made when a child says something.
    pub logs: PathBuf,
}

/// Where one runner works.
#[derive(Debug, Clone)]
pub struct Place {
    /// Memory-backed directory of the record pool.
    pub pool: PathBuf,
    /// Output directory of the files sink.
    pub out: PathBuf,
}

/// A child that is no more.
#[derive(Debug)]
pub struct Ended {
    /// Of which runner.
    pub index: u32,
    /// Which of its processes.
    pub part: Part,
    /// How it ended and what it said last, as one clause.
    pub how: String,
}

/// All children of a run.
#[derive(Debug)]
pub struct Children {
    executable: PathBuf,
    orders: Orders,
    places: Vec<Place>,
    alive: usize,
    ended: mpsc::UnboundedReceiver<Ended>,
    tell: mpsc::UnboundedSender<Ended>,
    kill: watch::Sender<bool>,
}

impl Children {
    /// None yet.
    ///
    /// # Errors
    /// When the path of this executable is unknown.
    pub fn new(orders: Orders, places: Vec<Place>) -> io::Result<Self> {
        let (tell, ended) = mpsc::unbounded_channel();
        Ok(Self {
            executable: match &orders.runner {
                Some(runner) => runner.clone(),
                None => std::env::current_exe()?,
            },
            orders,
            places,
            alive: 0,
            ended,
            tell,
            kill: watch::Sender::new(false),
        })
    }

    /// Starts a process of a runner.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn start(&mut self, index: u32, part: Part) -> io::Result<()> {
        let Some(place) = self.places.get(index as usize) else {
            return Err(io::Error::other(format!("there is no runner {index}")));
        };
        let child = self.command(index, part, place).spawn()?;
        let log = self
            .orders
            .logs
            .join(format!("runner-{index}-{}.log", part.name()));
        let (tell, kill) = (self.tell.clone(), self.kill.subscribe());
        self.alive += 1;
        tokio::spawn(async move {
            let how = wait(child, log, kill).await;
            let _ = tell.send(Ended { index, part, how });
        });
        Ok(())
    }

    fn command(&self, index: u32, part: Part, place: &Place) -> Command {
        let mut command = Command::new(&self.executable);
        let orders = &self.orders;
        command.arg(match part {
            Part::Engine => "engine",
            Part::Exporter => "export",
        });
        command.arg("--plan").arg(&orders.plan);
        command.arg("--plan-hash").arg(&orders.plan_hash);
        command.arg("--index").arg(index.to_string());
        command.arg("--pool").arg(&place.pool);
        command.arg("--control").arg(&orders.control);
        command.arg("--token-file").arg(&orders.token_file);
        if part == Part::Exporter {
            command.arg("--out").arg(&place.out);
        }
        command
            // The coordinator is ours, whatever the environment says of another.
            .env_remove("LOADTEST_CONTROL_CA")
            // Its last line becomes part of a sentence: plain text, no colours.
            .env_remove("LOADTEST_LOG")
            .env("NO_COLOR", "1")
            // This executable does so by itself; a runner has to be told.
            .env("LOADTEST_END_WITH_STDIN", "true")
            .env_remove("LOADTEST_IMAGE")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        command
    }

    /// How many live.
    pub fn alive(&self) -> usize {
        self.alive
    }

    /// The next child that ends; waits for ever when none does.
    pub async fn next_end(&mut self) -> Ended {
        match self.ended.recv().await {
            Some(ended) => {
                self.alive -= 1;
                ended
            }
            // Cannot be: a sender lives in this value.
            None => std::future::pending().await,
        }
    }

    /// Kills every child at once.
    pub fn kill_all(&self) {
        self.kill.send_replace(true);
    }
}

async fn wait(mut child: Child, log: PathBuf, mut kill: watch::Receiver<bool>) -> String {
    // Closed when this task ends: that is what ends a child whose parent is gone.
    let _stdin = child.stdin.take();
    let stderr = child.stderr.take();
    let said = tokio::spawn(async move {
        match stderr {
            Some(stderr) => keep_log(stderr, &log).await,
            None => String::new(),
        }
    });
    let ended_by_itself = tokio::select! {
        status = child.wait() => Some(status),
        _ = kill.wait_for(|kill| *kill) => None,
    };
    let status = if let Some(status) = ended_by_itself {
        status
    } else {
        let _ = child.start_kill();
        child.wait().await
    };
    // A grandchild could hold the pipe open; what was said by then has to do.
    let last = tokio::time::timeout(Duration::from_secs(1), said).await;
    describe(&status, &last.ok().and_then(Result::ok).unwrap_or_default())
}

/// Copies what a child says into its log file and returns its last line. All is read, also what is
/// no text: whoever writes into a pipe that nobody reads ends.
async fn keep_log(stderr: ChildStderr, path: &Path) -> String {
    let mut stderr = BufReader::new(stderr);
    let mut file: Option<File> = None;
    let mut last = String::new();
    let mut bytes = Vec::new();
    while stderr
        .read_until(b'\n', &mut bytes)
        .await
        .is_ok_and(|read| read > 0)
    {
        let line =
            String::from_utf8_lossy(bytes.strip_suffix(b"\n").unwrap_or(&bytes)).into_owned();
        bytes.clear();
        if file.is_none() {
            let directory = path.parent().unwrap_or(Path::new("."));
            file = std::fs::create_dir_all(directory)
                .and_then(|()| File::options().create(true).append(true).open(path))
                .ok();
        }
        if let Some(file) = &mut file {
            let _ = writeln!(file, "{line}");
        }
        if !line.trim().is_empty() {
            last = line;
        }
    }
    last
}

fn describe(status: &io::Result<ExitStatus>, last_line: &str) -> String {
    use std::os::unix::process::ExitStatusExt;
    let how = match status {
        Ok(status) => match (status.code(), status.signal()) {
            (Some(code), _) => format!("ended with exit status {code}"),
            (None, Some(signal)) => format!("was killed by signal {signal}"),
            (None, None) => "ended".to_owned(),
        },
        Err(error) => format!("could not be waited for: {error}"),
    };
    let words = without_log_head(last_line.trim());
    if words.is_empty() {
        how
    } else {
        format!("{how}: {words}")
    }
}

/// A log line without time, level and module: `2026-… ERROR loadtest_runner::engine: no plan`;
/// nothing if it tells of no trouble.
fn without_log_head(line: &str) -> &str {
    let rest = line
        .split_once(char::is_whitespace)
        .map_or("", |(_, rest)| rest.trim_start());
    match rest.split_once(' ') {
        Some(("ERROR" | "WARN", rest)) => {
            rest.split_once(": ").map_or(rest, |(_, message)| message)
        }
        Some(("INFO" | "DEBUG" | "TRACE", _)) => "",
        _ => line,
    }
}

/// For the children themselves: ends this process when its standard input ends, that is when the
/// process that started it is gone, however it went.
pub fn end_with_parent() {
    std::thread::spawn(|| {
        // Nothing is ever sent; a read returns only at the end.
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        std::process::exit(i32::from(crate::exit::Exit::Error.code()));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_has_what_was_said_and_not_when() {
        let line =
            "2026-11-23T00:02:37.799882Z ERROR loadtest_runner::engine: cannot read the plan: gone";
        assert_eq!(without_log_head(line), "cannot read the plan: gone");
        assert_eq!(
            without_log_head("2026-11-23T00:02:37Z  WARN x: slow"),
            "slow"
        );
        assert_eq!(
            without_log_head("thread panicked at x.rs: y"),
            "thread panicked at x.rs: y"
        );
        assert_eq!(
            without_log_head("2026-11-23T00:02:37Z  INFO x: the start is set"),
            ""
        );
        assert_eq!(without_log_head(""), "");
    }

    #[test]
    fn exit_statuses_and_signals_are_named() {
        use std::os::unix::process::ExitStatusExt as _;
        let how = |raw, line| describe(&Ok(ExitStatus::from_raw(raw)), line);
        assert_eq!(how(2 << 8, ""), "ended with exit status 2");
        assert_eq!(how(9, ""), "was killed by signal 9");
        assert_eq!(
            how(1 << 8, " no space "),
            "ended with exit status 1: no space"
        );
    }
}
