//! Where results go, and where the operator mounts what exporters need.

use std::time::Duration;

use loadtest_core::{
    plan::{Auth, DEFAULT_SPOOL_LIMIT, Elasticsearch, Files, Flavor, RawMode, Results},
    scalar::format_duration,
};
use url::Url;

use super::{Builder, DEFAULT_DRAIN_TIMEOUT, DEFAULT_INTERVAL};
use crate::{
    rule,
    spec::{self, TestSpec},
};

/// Where Secrets and `ConfigMap`s are mounted: those of `results.elasticsearch` in the exporter's
/// container only, those of `target.tls` in the engine's only. The plan names these files and never
/// their content.
pub mod mounts {
    /// Directory of the credentials.
    pub const AUTH_DIR: &str = "/etc/loadtest/auth";
    /// Directory of the search server's CA.
    pub const ES_CA_DIR: &str = "/etc/loadtest/es-ca";
    /// File name of the user name, within [`AUTH_DIR`].
    pub const USERNAME: &str = "username";
    /// File name of the password, within [`AUTH_DIR`].
    pub const PASSWORD: &str = "password";
    /// File name of the API key, within [`AUTH_DIR`].
    pub const API_KEY: &str = "key";
    /// File name of the bearer token, within [`AUTH_DIR`].
    pub const TOKEN: &str = "token";
    /// Directory of the target's CA.
    pub const TARGET_CA_DIR: &str = "/etc/loadtest/target-ca";
    /// Directory of the certificate that is shown to the target.
    pub const TARGET_CERTIFICATE_DIR: &str = "/etc/loadtest/target-certificate";
    /// File name of the certificate, within [`TARGET_CERTIFICATE_DIR`], and its key in the Secret.
    pub const CERTIFICATE: &str = "tls.crt";
    /// File name of the private key, within [`TARGET_CERTIFICATE_DIR`], and its key in the Secret.
    pub const CERTIFICATE_KEY: &str = "tls.key";
    /// File name of the CA certificates, within [`ES_CA_DIR`] and [`TARGET_CA_DIR`].
    pub const CA: &str = "ca.crt";
    /// Key of the user name in a Secret that does not say.
    pub const DEFAULT_USERNAME_KEY: &str = "username";
    /// Key of the password in a Secret that does not say.
    pub const DEFAULT_PASSWORD_KEY: &str = "password";
}

/// Exported intervals are whole seconds of this range.
const INTERVALS: std::ops::RangeInclusive<u64> = 1..=600;

impl Builder<'_> {
    pub(super) fn results(&mut self, spec: &TestSpec, load: Duration) -> Results {
        let root = format!("{}.results", self.root);
        let results = spec.results.clone().unwrap_or_default();
        let search = results.elasticsearch.as_ref();
        let interval = self.interval(&format!("{root}.interval"), results.interval.as_deref());
        let drain_timeout = self.duration(
            &format!("{root}.elasticsearch.drainTimeout"),
            search.and_then(|search| search.drain_timeout.as_deref()),
            DEFAULT_DRAIN_TIMEOUT.max(load),
        );
        let raw = self.overrides.raw.unwrap_or_else(|| {
            match search
                .and_then(|search| search.raw.as_ref())
                .and_then(|raw| raw.mode)
            {
                Some(spec::RawMode::None) => RawMode::None,
                Some(spec::RawMode::All) | None => RawMode::All,
            }
        });
        // Checked even where it is not used: a manifest is right or wrong wherever it is read.
        let written =
            search.map(|search| self.elasticsearch(&format!("{root}.elasticsearch"), search, raw));
        let elasticsearch = match self.overrides.elasticsearch_url.as_deref() {
            Some(url) => Some(self.named_on_command_line(url, written, raw)),
            None => written.filter(|_| !self.overrides.local),
        };
        let files = self.overrides.files.then_some(Files { raw });
        Results {
            interval,
            elasticsearch,
            files,
            drain_timeout,
            spool_limit: DEFAULT_SPOOL_LIMIT,
        }
    }

    fn interval(&mut self, path: &str, text: Option<&str>) -> Duration {
        let interval = self.duration(path, text, DEFAULT_INTERVAL);
        if interval.subsec_nanos() != 0 || !INTERVALS.contains(&interval.as_secs()) {
            let message = format!(
                "{} is not an interval: use whole seconds from 1s to 10m",
                format_duration(interval)
            );
            self.problem(path, message);
        }
        interval
    }

    fn elasticsearch(
        &mut self,
        path: &str,
        search: &spec::Elasticsearch,
        raw: RawMode,
    ) -> Elasticsearch {
        for (index, url) in search.urls.iter().enumerate() {
            if let Err(message) = check_url(url) {
                self.problem(&format!("{path}.urls[{index}]"), message);
            }
        }
        let auth = search
            .auth_ref
            .as_ref()
            .and_then(|auth| self.auth(&format!("{path}.authRef"), auth));
        let ca = search.tls.as_ref().and_then(|tls| tls.ca_ref.as_ref());
        if let Some(ca) = ca
            && ca.config_map.is_some() == ca.secret.is_some()
        {
            self.problem(&format!("{path}.tls.caRef"), rule::CA.message());
        }
        Elasticsearch {
            urls: search.urls.iter().map(|url| trimmed(url)).collect(),
            flavor: match search.flavor.unwrap_or_default() {
                spec::Flavor::Auto => Flavor::Auto,
                spec::Flavor::Elasticsearch => Flavor::Elasticsearch,
                spec::Flavor::OpenSearch => Flavor::OpenSearch,
            },
            auth,
            ca_file: ca.map(|_| format!("{}/{}", mounts::ES_CA_DIR, mounts::CA)),
            raw,
        }
    }

    fn auth(&mut self, path: &str, auth: &spec::AuthRef) -> Option<Auth> {
        let file = |name: &str| format!("{}/{name}", mounts::AUTH_DIR);
        match (&auth.basic, &auth.api_key, &auth.bearer) {
            (Some(_), None, None) => Some(Auth::Basic {
                username_file: file(mounts::USERNAME),
                password_file: file(mounts::PASSWORD),
            }),
            (None, Some(_), None) => Some(Auth::ApiKey {
                key_file: file(mounts::API_KEY),
            }),
            (None, None, Some(_)) => Some(Auth::Bearer {
                token_file: file(mounts::TOKEN),
            }),
            _ => {
                self.problem(path, rule::AUTH.message());
                None
            }
        }
    }

    fn named_on_command_line(
        &mut self,
        url: &str,
        written: Option<Elasticsearch>,
        raw: RawMode,
    ) -> Elasticsearch {
        if let Err(message) = check_url(url) {
            self.problem("--elasticsearch", message);
        }
        Elasticsearch {
            urls: vec![trimmed(url)],
            flavor: written.map_or(Flavor::Auto, |search| search.flavor),
            auth: self.overrides.elasticsearch_auth.clone(),
            ca_file: self.overrides.elasticsearch_ca_file.clone(),
            raw,
        }
    }
}

fn trimmed(url: &str) -> String {
    url.trim_end_matches('/').to_owned()
}

fn check_url(text: &str) -> Result<(), String> {
    let url = Url::parse(text).map_err(|error| format!("{text:?} is not a url: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(rule::SEARCH_URL.message().to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not hold a user name or password: use authRef".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("must not hold a query or fragment".to_owned());
    }
    Ok(())
}
