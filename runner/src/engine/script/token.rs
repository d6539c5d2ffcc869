//! Tokens by RFC 6749, 4.4: the runner itself is the client.

use std::time::Duration;

use loadtest_core::{
    plan::{Scheme, SecretFile, Target, TargetTls},
    template::percent_encode,
};
use reqwest::{Proxy, header, redirect};
use serde::Deserialize;
use url::Url;

use super::{InputError, authorization::basic, inputs::Secret};
use crate::engine::tls::{self, TlsSetUpError};

/// How long a server may take.
const TIMEOUT: Duration = Duration::from_secs(15);

/// How long a token is kept whose server does not say how long it is good.
const UNKNOWN_LIFE: Duration = Duration::from_mins(5);

/// A token is never renewed sooner, however short it lives.
const SOONEST: Duration = Duration::from_secs(1);

/// Most of an answer that is read: tokens are a few KiB.
const ANSWER_BYTES: usize = 256 << 10;

/// Most of a server's words that a message shows.
const SHOWN: usize = 200;

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// A secret cannot be read.
    #[error(transparent)]
    Secret(#[from] InputError),
    /// TLS cannot be spoken as the plan says.
    #[error(transparent)]
    Tls(#[from] TlsSetUpError),
    /// There is no answer.
    #[error("no token from {url}: {reason}")]
    Unreachable {
        /// Where it was asked for.
        url: String,
        /// What lies at the bottom of it.
        reason: String,
    },
    /// The server gives none.
    #[error("no token from {url}: status {status}: {words}")]
    Refused {
        /// Where it was asked for.
        url: String,
        /// Status of the answer.
        status: u16,
        /// What the server says.
        words: String,
    },
    /// The answer holds none.
    #[error("no token from {url}: {reason}")]
    Answer {
        /// Where it was asked for.
        url: String,
        /// What is wrong with the answer.
        reason: &'static str,
    },
}

/// A token, and when it is time for the next one.
#[derive(Debug)]
pub(super) struct Token {
    pub text: Secret,
    pub renew_after: Duration,
}

/// Asks a server for tokens. Secrets are read anew each time: others may renew them, too.
#[derive(Debug)]
pub(super) struct Client {
    pub url: String,
    pub id: SecretFile,
    pub secret: SecretFile,
    pub scope: Option<String>,
    pub refresh_before: Duration,
    /// Whose TLS and proxy count for this server, too.
    pub target: Target,
}

/// RFC 6749, 5.1.
#[derive(Deserialize)]
struct Granted {
    access_token: String,
    token_type: Option<String>,
    /// A number, though some servers send it as a text.
    #[serde(default)]
    expires_in: serde_json::Value,
}

/// RFC 6749, 5.2.
#[derive(Deserialize)]
struct Refusal {
    error: String,
    error_description: Option<String>,
}

impl Client {
    /// Asks for a token.
    ///
    /// # Errors
    /// When there is none.
    pub async fn fetch(&self) -> Result<Token, TokenError> {
        let id = Secret::read(&self.id.name, &self.id.path)?;
        let secret = Secret::read(&self.secret.name, &self.secret.path)?;
        let mut form = "grant_type=client_credentials".to_owned();
        if let Some(scope) = &self.scope {
            form.push_str("&scope=");
            form.push_str(&percent_encode(scope));
        }
        // Both are form-encoded first (RFC 6749, 2.3.1).
        let (user, password) = (percent_encode(id.reveal()), percent_encode(secret.reveal()));
        let unreachable = |error: &reqwest::Error| TokenError::Unreachable {
            url: self.url.clone(),
            reason: reason(error),
        };
        let mut response = self
            .client()?
            .post(&self.url)
            .header(header::AUTHORIZATION, basic(&user, &password))
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(form)
            .send()
            .await
            .map_err(|error| unreachable(&error))?;
        let status = response.status();
        let mut answer = Vec::new();
        while let Some(part) = response
            .chunk()
            .await
            .map_err(|error| unreachable(&error))?
        {
            if answer.len() + part.len() > ANSWER_BYTES {
                return Err(self.useless("the answer is longer than 256 KiB"));
            }
            answer.extend_from_slice(&part);
        }
        if !status.is_success() {
            let hidden = [secret.reveal(), &password, id.reveal(), &user];
            return Err(TokenError::Refused {
                url: self.url.clone(),
                status: status.as_u16(),
                words: words(&answer, &hidden),
            });
        }
        self.read(&answer)
    }

    fn client(&self) -> Result<reqwest::Client, TokenError> {
        let https = Url::parse(&self.url).is_ok_and(|url| url.scheme() == Scheme::Https.name());
        let tls = if https || self.target.proxy.is_some() {
            tls::client_config(&TargetTls {
                // A name for the target's certificate is no name for this server's.
                server_name: None,
                ..self.target.tls.clone()
            })?
        } else {
            tls::trusting_nobody()?
        };
        let mut builder = reqwest::Client::builder()
            .no_proxy()
            .redirect(redirect::Policy::none())
            .timeout(TIMEOUT)
            .tls_backend_preconfigured(tls);
        let unusable = |error: reqwest::Error| TokenError::Unreachable {
            url: self.url.clone(),
            reason: reason(&error),
        };
        if let Some(proxy) = &self.target.proxy {
            builder = builder.proxy(Proxy::all(proxy).map_err(unusable)?);
        }
        builder.build().map_err(unusable)
    }

    fn read(&self, answer: &[u8]) -> Result<Token, TokenError> {
        let granted: Granted = serde_json::from_slice(answer)
            .map_err(|_| self.useless("the answer is no JSON with an access_token"))?;
        let kind = granted.token_type.as_deref().unwrap_or("bearer");
        if !kind.eq_ignore_ascii_case("bearer") {
            return Err(self.useless("the token's type is not Bearer"));
        }
        let told = &granted.expires_in;
        let seconds = told
            .as_f64()
            .or_else(|| told.as_str().and_then(|text| text.parse().ok()));
        let life = seconds.map_or(UNKNOWN_LIFE, |seconds| {
            Duration::try_from_secs_f64(seconds.clamp(0.0, 1e9)).unwrap_or(UNKNOWN_LIFE)
        });
        let renew_after = match life.checked_sub(self.refresh_before) {
            Some(after) if !after.is_zero() => after,
            // It lives no longer than it ought to be left: half of its life must do.
            _ => life / 2,
        };
        Ok(Token {
            text: granted.access_token.into(),
            renew_after: renew_after.max(SOONEST),
        })
    }

    fn useless(&self, reason: &'static str) -> TokenError {
        TokenError::Answer {
            url: self.url.clone(),
            reason,
        }
    }
}

/// What happened, which lies at the bottom of an error.
fn reason(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return format!("no answer within {} s", TIMEOUT.as_secs());
    }
    let mut this: &dyn std::error::Error = error;
    while let Some(cause) = this.source() {
        this = cause;
    }
    this.to_string()
}

/// What a server says, without anything that must not be shown.
fn words(answer: &[u8], hidden: &[&str]) -> String {
    let mut words = match serde_json::from_slice::<Refusal>(answer) {
        Ok(Refusal {
            error,
            error_description: Some(description),
        }) => format!("{error}: {description}"),
        Ok(refusal) => refusal.error,
        Err(_) => String::from_utf8_lossy(answer).into_owned(),
    };
    for secret in hidden.iter().filter(|secret| !secret.is_empty()) {
        words = words.replace(secret, "[secret]");
    }
    let line = words.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default()),
        None if line.is_empty() => "without a word".to_owned(),
        None => line,
    }
}
