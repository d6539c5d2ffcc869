//! How requests to the target prove who they are: one value of the `Authorization` header for all
//! users of a runner, made before the load and kept fresh while it lasts.
//!
//! A token that cannot be had at the start fails the runner, in the server's own words. Later the
//! old one is kept as long as there is no new one: whether the target still takes it, its answers
//! tell. What the target answers changes nothing here, so a 401 never becomes a storm of logins.

use std::{
    rc::Rc,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use loadtest_core::plan::{Plan, SecretFile, TargetAuth};

use super::{
    InputError,
    inputs::Secret,
    token::{Client, Token, TokenError},
};

/// How often a token in a file is read again: where it is mounted, others renew it.
const FILE_EVERY: Duration = Duration::from_secs(30);

/// Pauses between attempts to renew a token, each twice as long as the one before.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Why there is no authorization to begin with. The sentence becomes the run's message.
#[derive(Debug, thiserror::Error)]
pub enum AuthorizationError {
    /// A secret cannot be read.
    #[error("spec.auth: {0}")]
    Secret(#[from] InputError),
    /// The plan does not have a secret that it names.
    #[error("spec.auth names secret {0}, which the plan does not have")]
    Missing(u32),
    /// There is no token.
    #[error("spec.auth: {0}")]
    Token(#[from] TokenError),
    /// The system refuses what renewing needs.
    #[error("spec.auth: cannot renew the token: {0}")]
    System(#[from] std::io::Error),
}

/// The value of the `Authorization` header as of now. Workers look at its version, which is a load
/// of a word that hardly ever changes, and take the lock only when there is another.
#[derive(Debug, Default)]
pub struct Current {
    version: AtomicU32,
    value: Mutex<Secret>,
}

impl Current {
    /// From now on it is this.
    fn set(&self, value: String) {
        *self.value.lock().unwrap_or_else(PoisonError::into_inner) = value.into();
        self.version.fetch_add(1, Ordering::Release);
    }

    /// Version and value, if it is another version.
    pub fn newer_than(&self, known: u32) -> Option<(u32, Rc<str>)> {
        let version = self.version.load(Ordering::Acquire);
        (version != known).then(|| {
            let value = self.value.lock().unwrap_or_else(PoisonError::into_inner);
            (version, value.reveal().into())
        })
    }
}

/// Makes the first authorization, and keeps it fresh on a thread of its own, which lives as long as
/// somebody looks at `current`. Does nothing for a plan without one.
///
/// # Errors
/// When there is none to begin with.
pub fn start(plan: &Plan, current: &Arc<Current>) -> Result<(), AuthorizationError> {
    let Some(auth) = &plan.inputs.auth else {
        return Ok(());
    };
    let mut source = Source::new(plan, auth)?;
    if let Source::Basic(value) = source {
        current.set(value);
        return Ok(());
    }
    // The thread makes the first value, too: a client belongs to the runtime that it is used on.
    let (first, made) = mpsc::channel();
    let current = Arc::clone(current);
    thread::Builder::new()
        .name("authorization".to_owned())
        .spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            match runtime {
                Ok(runtime) => runtime.block_on(source.keep(&current, &first)),
                Err(error) => drop(first.send(Err(error.into()))),
            }
        })?;
    // It ends without a word only if it panics.
    let gone = || Err(std::io::Error::other("its thread has ended").into());
    made.recv().unwrap_or_else(|_| gone())
}

/// Where the value comes from.
enum Source {
    /// It is always the same.
    Basic(String),
    /// A token in a file.
    File(SecretFile),
    /// A server that gives tokens out.
    Server(Box<Client>),
}

impl Source {
    fn new(plan: &Plan, auth: &TargetAuth) -> Result<Self, AuthorizationError> {
        let file = |index: u32| {
            let file = plan.inputs.secrets.get(index as usize);
            file.cloned().ok_or(AuthorizationError::Missing(index))
        };
        Ok(match auth {
            TargetAuth::Basic { username, password } => {
                let (username, password) = (read(&file(*username)?)?, read(&file(*password)?)?);
                Self::Basic(basic(username.reveal(), password.reveal()))
            }
            TargetAuth::Bearer { token } => Self::File(file(*token)?),
            TargetAuth::ClientCredentials {
                token_url,
                client_id,
                client_secret,
                scope,
                refresh_before,
            } => Self::Server(Box::new(Client {
                url: token_url.clone(),
                id: file(*client_id)?,
                secret: file(*client_secret)?,
                scope: scope.clone(),
                refresh_before: *refresh_before,
                target: plan.target.clone(),
            })),
        })
    }

    /// The value, and when it is to be made anew.
    async fn make(&mut self) -> Result<(String, Duration), AuthorizationError> {
        match self {
            Self::Basic(value) => Ok((value.clone(), Duration::MAX)),
            Self::File(file) => Ok((format!("Bearer {}", read(file)?.reveal()), FILE_EVERY)),
            Self::Server(client) => {
                let Token { text, renew_after } = client.fetch().await?;
                Ok((format!("Bearer {}", text.reveal()), renew_after))
            }
        }
    }

    /// Says how the first time went, and goes on for ever if it went well.
    async fn keep(
        &mut self,
        current: &Arc<Current>,
        first: &mpsc::Sender<Result<(), AuthorizationError>>,
    ) {
        let mut renew_after = match self.make().await {
            Ok((value, renew_after)) => {
                current.set(value);
                drop(first.send(Ok(())));
                renew_after
            }
            Err(error) => return drop(first.send(Err(error))),
        };
        let mut pause = FIRST_PAUSE;
        loop {
            tokio::time::sleep(renew_after).await;
            if Arc::strong_count(current) == 1 {
                return;
            }
            match self.make().await {
                Ok((value, next)) => {
                    current.set(value);
                    (renew_after, pause) = (next, FIRST_PAUSE);
                }
                Err(error) => {
                    tracing::warn!(%error, "the authorization could not be renewed; the old one is kept");
                    renew_after = pause;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }
}

fn read(file: &SecretFile) -> Result<Secret, InputError> {
    Secret::read(&file.name, &file.path)
}

/// RFC 7617.
pub(super) fn basic(username: &str, password: &str) -> String {
    let both = BASE64_STANDARD.encode(format!("{username}:{password}"));
    format!("Basic {both}")
}
