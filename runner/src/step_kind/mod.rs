//! Step kinds of your own: what users of a test do that is no HTTP request.
//!
//! A manifest has no code in it. What it cannot say (a WebSocket, gRPC, a message queue) is a
//! [`StepKind`]: a type in a runner that you build with this library, and that does everything else
//! as ours does. Its `main` is [`command::main`](crate::command::main) with the kinds that it knows;
//! `examples/own-step` is a whole one.
//!
//! ```no_run
//! use std::process::ExitCode;
//!
//! use loadtest_runner::step_kind::{Failed, Given, Reply, Step, StepKind, StepKinds};
//! use tokio::{
//!     io::{AsyncReadExt, AsyncWriteExt},
//!     net::TcpStream,
//! };
//!
//! /// Sends a line and waits for an answer, over a connection that each user keeps.
//! struct Line;
//!
//! impl StepKind for Line {
//!     type Session = Option<TcpStream>;
//!
//!     fn check(&self, given: &Given) -> Result<(), String> {
//!         given.only(&["address", "line"], &[])
//!     }
//!
//!     async fn run(
//!         &self,
//!         session: &mut Self::Session,
//!         step: &mut Step,
//!     ) -> Result<Reply, Failed> {
//!         let stream = match session {
//!             Some(stream) => stream,
//!             None => {
//!                 let stream = TcpStream::connect(step.with("address")?).await?;
//!                 step.connected();
//!                 session.insert(stream)
//!             }
//!         };
//!         let line = format!("{}\n", step.with("line")?);
//!         stream.write_all(line.as_bytes()).await?;
//!         step.sent(line.len());
//!         let mut answer = vec![0; 1024];
//!         let length = stream.read(&mut answer).await?;
//!         step.received(length);
//!         answer.truncate(length);
//!         step.set("answer", String::from_utf8_lossy(&answer).trim())?;
//!         Ok(Reply::of(answer))
//!     }
//! }
//!
//! fn main() -> ExitCode {
//!     loadtest_runner::command::main(&StepKinds::default().with("line", Line))
//! }
//! ```
//!
//! # What becomes of it
//!
//! A step is recorded exactly as a request is: in the row of its name, in the histograms, as a
//! document, with its checks. Latency counts from the moment it was due, service time from
//! [`Step::connected`] or, without that, from its beginning; it ends when [`StepKind::run`] does.
//!
//! # Where it runs
//!
//! On threads of its own: a tokio runtime with one thread for each core and timers and I/O, which
//! exists only in a run that has such steps. The threads that send requests only hand steps over and
//! are woken when one is done, so that a slow kind holds up nobody but others of its sort. Code that
//! blocks belongs into [`tokio::task::spawn_blocking`], of which at most 256 run at a time.
//!
//! A step that has not ended at its timeout or at the end of the run is dropped at its next `await`;
//! what is recorded does not wait for that. A panic is the outcome `panic` of its step and nothing
//! else, if the binary is built with `panic = "unwind"`, as it is unless its profile says otherwise.

mod kinds;
mod step;
mod threads;

pub use kinds::{Given, StepKinds};
pub(crate) use kinds::{Kind, Known};
pub(crate) use step::{Done, Marks, Order, Session};
pub use step::{Failed, Reply, Step};
pub(crate) use threads::{Threads, contain_panics, said};

pub use loadtest_core::series::Outcome;

/// What steps of one kind do.
pub trait StepKind: Send + Sync + 'static {
    /// What a user keeps from one step of this kind to its next: a connection, for example, or `()`.
    ///
    /// It begins as its default and ends, by being dropped, as a user's connections do: with the user,
    /// after each iteration or step if the scenario's `connections` say so, and after a step that
    /// failed, ran out of time or panicked.
    type Session: Default + Send + 'static;

    /// Looks at a step before the run. A run in which a step is refused does not begin.
    ///
    /// # Errors
    /// What is wrong, as the end of a sentence: `with.url is missing`.
    fn check(&self, given: &Given) -> Result<(), String> {
        let _ = given;
        Ok(())
    }

    /// Where a step goes, as a url: what its documents have for one. Without it they have none.
    ///
    /// Documents of steps that went well have what this says before the run, with templates as the
    /// manifest has them ([`Given::shown`]), as those of requests do; samples of failed steps and
    /// `loadtest try` have what it says of the rendered texts. At most 2 KiB of it are kept, without
    /// user and password, and secrets and the values of secret parameters are taken out.
    fn url(&self, given: &Given) -> Option<String> {
        let _ = given;
        None
    }

    /// Does a step of one user.
    ///
    /// # Errors
    /// Why the step has failed; `?` makes it of an [`std::io::Error`].
    fn run(
        &self,
        session: &mut Self::Session,
        step: &mut Step,
    ) -> impl Future<Output = Result<Reply, Failed>> + Send;
}
