//! Where results go.

use std::time::Duration;

use loadtest_core::{
    plan::{
        Auth, DEFAULT_DATA_STREAM_PREFIX, DEFAULT_SPOOL_LIMIT, Elasticsearch, Files, Flavor,
        RawMode, Results,
    },
    scalar::format_duration,
};
use url::Url;

use super::{Builder, DEFAULT_DRAIN_TIMEOUT, DEFAULT_INTERVAL, SearchServer, mounts};
use crate::{
    rule,
    spec::{self, TestSpec},
};

/// From which latency on a request is slow when the test does not say.
const DEFAULT_SLOW: Duration = Duration::from_millis(500);

/// Share of a sample when the test does not say: 10%.
const DEFAULT_SAMPLE_PER_MILLION: u32 = 100_000;

/// Largest spool: a typing error beyond it would only be seen when a node has no disk left.
const MAX_SPOOL: u64 = 1 << 40;

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
        let raw = search.and_then(|search| search.raw.as_ref());
        let raw = raw.map_or(RawMode::All, |raw| {
            self.raw(&format!("{root}.elasticsearch.raw"), raw)
        });
        let raw = self.overrides.raw.unwrap_or(raw);
        let limit = search.and_then(|search| search.spool_limit.as_deref());
        let spool_limit = limit.map_or(DEFAULT_SPOOL_LIMIT, |limit| {
            self.size(&format!("{root}.elasticsearch.spoolLimit"), limit)
        });
        // Checked even where it is not used: a manifest is right or wrong wherever it is read.
        let written =
            search.map(|search| self.elasticsearch(&format!("{root}.elasticsearch"), search, raw));
        let elasticsearch = match &self.overrides.elasticsearch {
            Some(server) => Some(self.named_on_command_line(server, written.as_ref(), raw)),
            // A profile that the operator did not put in is one that nobody here knows.
            None => written.filter(|search| !self.overrides.local && !search.urls.is_empty()),
        };
        let files = self.overrides.files.then_some(Files { raw });
        Results {
            interval,
            elasticsearch,
            files,
            drain_timeout,
            spool_limit,
            samples: results.samples.unwrap_or(true),
        }
    }

    /// Which requests become documents; a member that its mode has no use for is a mistake.
    fn raw(&mut self, path: &str, raw: &spec::Raw) -> RawMode {
        let mode = raw.mode.unwrap_or_default();
        if raw.sample_rate.is_some() && mode != spec::RawMode::Sample {
            let path = format!("{path}.sampleRate");
            self.problem(&path, "is for mode Sample: set that mode, or leave it out");
        }
        let chooses = matches!(mode, spec::RawMode::ErrorsAndSlow | spec::RawMode::Sample);
        let path_of_slow = format!("{path}.slowerThan");
        if raw.slower_than.is_some() && !chooses {
            let message =
                "is for the modes ErrorsAndSlow and Sample: set one of them, or leave it out";
            self.problem(&path_of_slow, message);
        }
        let slower_than = raw.slower_than.as_deref();
        match mode {
            spec::RawMode::All => RawMode::All,
            spec::RawMode::None => RawMode::None,
            spec::RawMode::ErrorsAndSlow => RawMode::ErrorsAndSlow {
                slower_than: self.duration(&path_of_slow, slower_than, DEFAULT_SLOW),
            },
            spec::RawMode::Sample => RawMode::Sample {
                per_million: self.sample_rate(&format!("{path}.sampleRate"), raw),
                slower_than: slower_than
                    .map(|text| self.duration(&path_of_slow, Some(text), DEFAULT_SLOW)),
            },
        }
    }

    fn sample_rate(&mut self, path: &str, raw: &spec::Raw) -> u32 {
        let Some(text) = raw.sample_rate.as_deref() else {
            return DEFAULT_SAMPLE_PER_MILLION;
        };
        let per_million = self.per_million(path, text);
        if per_million == 0 {
            self.problem(
                path,
                "a share of 0% is none: use mode ErrorsAndSlow, or at least 0.0001%",
            );
        }
        per_million
    }

    /// A percentage in millionths.
    pub(super) fn per_million(&mut self, path: &str, text: &str) -> u32 {
        (self.share(path, text) * 1e6).round() as u32
    }

    /// A size in bytes.
    fn size(&mut self, path: &str, text: &str) -> u64 {
        let units = [("Mi", 20), ("Gi", 30)];
        let parsed = units.into_iter().find_map(|(unit, shift)| {
            let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
            number.checked_mul(1 << shift)
        });
        match parsed {
            Some(bytes) if bytes <= MAX_SPOOL => bytes,
            _ => {
                let message =
                    format!("{text:?} is no size from 0Mi to 1024Gi: write it like 512Mi or 2Gi");
                self.problem(path, message);
                DEFAULT_SPOOL_LIMIT
            }
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
        let certificate = search
            .tls
            .as_ref()
            .and_then(|tls| tls.client_certificate_ref.as_ref());
        Elasticsearch {
            urls: search.urls.iter().map(|url| trimmed(url)).collect(),
            flavor: match search.flavor.unwrap_or_default() {
                spec::Flavor::Auto => Flavor::Auto,
                spec::Flavor::Elasticsearch => Flavor::Elasticsearch,
                spec::Flavor::OpenSearch => Flavor::OpenSearch,
            },
            data_stream_prefix: search
                .data_stream_prefix
                .as_deref()
                .unwrap_or(DEFAULT_DATA_STREAM_PREFIX)
                .to_owned(),
            manage_templates: search.manage_templates.unwrap_or(true),
            auth,
            ca_file: ca.map(|_| format!("{}/{}", mounts::ES_CA_DIR, mounts::CA)),
            client_certificate: certificate
                .map(|_| mounts::certificate(mounts::ES_CERTIFICATE_DIR)),
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

    /// What the manifest says of its own server that is no matter of who it is stays so.
    fn named_on_command_line(
        &mut self,
        server: &SearchServer,
        written: Option<&Elasticsearch>,
        raw: RawMode,
    ) -> Elasticsearch {
        if let Err(message) = check_url(&server.url) {
            self.problem("--elasticsearch", message);
        }
        let prefix = written.map(|search| &search.data_stream_prefix[..]);
        Elasticsearch {
            urls: vec![trimmed(&server.url)],
            data_stream_prefix: prefix.unwrap_or(DEFAULT_DATA_STREAM_PREFIX).to_owned(),
            manage_templates: written.is_none_or(|search| search.manage_templates),
            flavor: written.map_or(Flavor::Auto, |search| search.flavor),
            auth: server.auth.clone(),
            ca_file: server.ca_file.clone(),
            client_certificate: server.client_certificate.clone(),
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
