//! How a search server that the command line names is reached: `loadtest run` and `loadtest push`.

use std::path::PathBuf;

use loadtest_core::plan::Auth;
use loadtest_crds::{Problem, SearchServer};

use crate::overrides::{client_certificate, readable};

/// Options beside `--elasticsearch`. What is secret is in files, since everybody on a machine may see
/// what a process was started with.
#[allow(clippy::doc_markdown)]
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Access {
    /// File with an encoded API key for --elasticsearch.
    #[arg(long = "elasticsearch-api-key-file", value_name = "FILE", requires = "elasticsearch",
          conflicts_with_all = ["token", "username"])]
    pub api_key: Option<PathBuf>,
    /// File with a bearer token for --elasticsearch.
    #[arg(
        long = "elasticsearch-token-file",
        value_name = "FILE",
        requires = "elasticsearch",
        conflicts_with = "username"
    )]
    pub token: Option<PathBuf>,
    /// File with a user name for --elasticsearch; needs --elasticsearch-password-file.
    #[arg(long = "elasticsearch-username-file", value_name = "FILE", requires_all = ["elasticsearch", "password"])]
    pub username: Option<PathBuf>,
    /// File with the password of --elasticsearch-username-file.
    #[arg(
        long = "elasticsearch-password-file",
        value_name = "FILE",
        requires = "username"
    )]
    pub password: Option<PathBuf>,
    /// PEM file with the authorities to trust for --elasticsearch; default: the public ones.
    #[arg(
        long = "elasticsearch-ca",
        value_name = "FILE",
        requires = "elasticsearch"
    )]
    pub ca: Option<PathBuf>,
    /// PEM file with the certificate to show to --elasticsearch; needs --elasticsearch-key.
    #[arg(long = "elasticsearch-cert", value_name = "FILE", requires_all = ["elasticsearch", "key"])]
    pub cert: Option<PathBuf>,
    /// PEM file with the private key of --elasticsearch-cert.
    #[arg(long = "elasticsearch-key", value_name = "FILE", requires = "cert")]
    pub key: Option<PathBuf>,
}

impl Access {
    /// A server with all of this.
    ///
    /// # Errors
    /// A file that cannot be read, by its option.
    pub fn to(&self, url: &str) -> Result<SearchServer, Vec<Problem>> {
        let file = |option: &str, path: &Option<PathBuf>| {
            readable(&format!("--elasticsearch-{option}"), path.as_deref())
        };
        let key = file("api-key-file", &self.api_key)?;
        let token = file("token-file", &self.token)?;
        let username = file("username-file", &self.username)?;
        let password = file("password-file", &self.password)?;
        // At most one of them is given.
        let key = key.map(|key_file| Auth::ApiKey { key_file });
        let token = token.map(|token_file| Auth::Bearer { token_file });
        let basic = username
            .zip(password)
            .map(|(username_file, password_file)| Auth::Basic {
                username_file,
                password_file,
            });
        let (certificate, shown_with) = (self.cert.as_deref(), self.key.as_deref());
        Ok(SearchServer {
            url: url.to_owned(),
            auth: key.or(token).or(basic),
            ca_file: file("ca", &self.ca)?,
            client_certificate: client_certificate("--elasticsearch", certificate, shown_with)?,
        })
    }
}
