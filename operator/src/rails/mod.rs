//! Guard rails: what the people who run the cluster allow, from one configuration file.
//!
//! [`File`] is the file as it is written, [`GuardRails`] what it means. [`limits`] says of a test
//! what it exceeds, [`queue`] which runs wait for others to end.

pub mod hosts;
pub mod limits;
pub mod queue;

use std::{collections::BTreeMap, path::Path};

use loadtest_core::scalar::parse_duration;
use loadtest_crds::{
    Problem, Problems, Stage, TestSpec,
    scalar::{Duration, Host, Rate},
    spec::Elasticsearch,
    validate,
};
use schemars::JsonSchema;
use serde::Deserialize;

use self::hosts::HostPattern;

/// The configuration file.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct File {
    /// Runs of all namespaces that may be under way at once; others wait. Default: any number.
    #[schemars(range(min = 1, max = 100_000))]
    max_concurrent_runs: Option<i32>,
    /// What each namespace may do.
    limits: Option<Limits>,
    /// What single namespaces may do, by name: a limit here stands instead of that in `limits`.
    #[serde(default)]
    namespaces: BTreeMap<String, Limits>,
    /// Search servers by name, which tests refer to by `results.elasticsearch.profile`.
    #[serde(default)]
    result_profiles: BTreeMap<String, Elasticsearch>,
}

/// What the tests of a namespace may do. What is left out is not limited.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Limits {
    /// Hosts that load may be sent to: `shop.perf.svc`, `*.perf.svc`, `*:8080`, `[::1]:8080`.
    #[schemars(length(min = 1, max = 256))]
    target_hosts: Option<Vec<Host>>,
    /// Users of all scenarios of a test together.
    #[schemars(range(min = 1, max = 1_000_000))]
    max_users: Option<i32>,
    /// Iterations that all scenarios of a test may begin together: `500/s`.
    max_rate: Option<Rate>,
    /// Pods of a run.
    #[schemars(range(min = 1, max = 1000))]
    max_runners: Option<i32>,
    /// Length of the load of a run: `2h`.
    max_duration: Option<Duration>,
    /// Runs of the namespace that may be under way at once; others wait.
    #[schemars(range(min = 1, max = 100_000))]
    max_concurrent_runs: Option<i32>,
}

/// What the file means.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GuardRails {
    file: File,
}

/// A file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RailsError {
    /// It cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// Which.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// Something in it is wrong.
    #[error("{path}: {problems}")]
    Content {
        /// Which.
        path: String,
        /// What, each with line and column.
        problems: Problems,
    },
}

/// A limit with the place where it is set.
#[derive(Debug, Clone, PartialEq)]
pub struct Limit<'a, T: ?Sized> {
    /// Its value.
    pub value: &'a T,
    /// Where: `namespaces.perf.maxUsers of the operator's configuration`.
    pub set_in: String,
}

impl File {
    /// What the schema cannot say.
    fn check(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut refuse = |path: String, message: String| {
            problems.push(Problem::new(Stage::Acceptance, path, message));
        };
        let own = self.namespaces.iter();
        let own = own.map(|(name, limits)| (format!("namespaces.{name}"), limits));
        let all = self
            .limits
            .iter()
            .map(|limits| ("limits".to_owned(), limits));
        for (place, limits) in all.chain(own) {
            for (index, text) in limits.target_hosts.iter().flatten().enumerate() {
                if let Err(message) = text.parse::<HostPattern>() {
                    refuse(format!("{place}.targetHosts[{index}]"), message);
                }
            }
        }
        for (name, profile) in &self.result_profiles {
            if profile.profile.is_some() {
                let message = "a profile cannot name another: set urls".to_owned();
                refuse(format!("resultProfiles.{name}.profile"), message);
            }
        }
        problems
    }
}

impl GuardRails {
    /// Reads the file.
    ///
    /// # Errors
    /// [`RailsError`] says what is wrong with it, by line and column.
    pub fn read(path: &Path) -> Result<Self, RailsError> {
        let name = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&text).map_err(|problems| RailsError::Content {
                path: name,
                problems,
            }),
            Err(source) => Err(RailsError::Read { path: name, source }),
        }
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(text: &str) -> Result<Self, Problems> {
        let file: File = validate::file(text, File::check).map_err(Problems)?;
        Ok(Self { file })
    }

    /// A limit of a namespace: its own, or that of all.
    fn limit<'a, T: ?Sized>(
        &'a self,
        namespace: &str,
        name: &str,
        pick: impl Fn(&'a Limits) -> Option<&'a T>,
    ) -> Option<Limit<'a, T>> {
        let own = self.file.namespaces.get(namespace).and_then(&pick);
        let set_in = |place: &str| format!("{place}.{name} of the operator's configuration");
        own.map(|value| Limit {
            value,
            set_in: set_in(&format!("namespaces.{namespace}")),
        })
        .or_else(|| {
            let value = self.file.limits.as_ref().and_then(&pick)?;
            let set_in = set_in("limits");
            Some(Limit { value, set_in })
        })
    }

    /// Whether anything about tests is limited in a namespace.
    fn limits_tests(&self, namespace: &str) -> bool {
        let of = |limits: &Limits| {
            let Limits {
                target_hosts,
                max_users,
                max_rate,
                max_runners,
                max_duration,
                max_concurrent_runs: _,
            } = limits;
            target_hosts.is_some()
                || max_users.is_some()
                || max_rate.is_some()
                || max_runners.is_some()
                || max_duration.is_some()
        };
        let own = self.file.namespaces.get(namespace);
        own.into_iter().chain(&self.file.limits).any(of)
    }

    /// Whether runs may have to wait for others.
    pub fn has_queue(&self) -> bool {
        let File {
            max_concurrent_runs,
            limits,
            namespaces,
            result_profiles: _,
        } = &self.file;
        let all = limits.iter().chain(namespaces.values());
        max_concurrent_runs.is_some() || all.into_iter().any(|of| of.max_concurrent_runs.is_some())
    }

    /// Puts the search server that a test names into it. What the test says itself stays.
    ///
    /// A name that is not known stays as it is, and is refused by [`GuardRails::check`].
    pub fn resolve(&self, test: &mut TestSpec) {
        let search = test
            .results
            .as_mut()
            .and_then(|results| results.elasticsearch.as_mut());
        let Some(search) = search else { return };
        let named = search.profile.as_ref();
        let profile = named.and_then(|name| self.file.result_profiles.get(&**name));
        if let Some(profile) = profile {
            let Elasticsearch {
                profile: _,
                urls,
                flavor,
                data_stream_prefix,
                manage_templates,
                auth_ref,
                tls,
                raw,
                drain_timeout,
                spool_limit,
            } = profile.clone();
            search.urls = urls;
            search.flavor = search.flavor.or(flavor);
            search.data_stream_prefix = search.data_stream_prefix.take().or(data_stream_prefix);
            search.manage_templates = search.manage_templates.or(manage_templates);
            search.auth_ref = search.auth_ref.take().or(auth_ref);
            search.tls = search.tls.take().or(tls);
            search.raw = search.raw.take().or(raw);
            search.drain_timeout = search.drain_timeout.take().or(drain_timeout);
            search.spool_limit = search.spool_limit.take().or(spool_limit);
        }
    }
}

/// Of a text that the schema has taken.
fn duration(text: &Duration) -> std::time::Duration {
    parse_duration(text).unwrap_or(std::time::Duration::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::run::fixtures;

    #[test]
    fn what_is_wrong_with_the_file_is_said_by_line_and_column() {
        for (text, said) in [
            (
                "limits:\n  maxUser: 5\n",
                "2:3: unknown field \"limits.maxUser\": did you mean maxUsers?",
            ),
            (
                "limit: {}\n",
                "1:1: unknown field \"limit\": did you mean limits?",
            ),
            (
                "namespaces:\n  perf: { maxRate: 10 }\n",
                "2:11: namespaces.perf.maxRate: must be of type string: \"integer\"",
            ),
            ("maxConcurrentRuns: 0\n", "1:1: maxConcurrentRuns: "),
            (
                "limits: { targetHosts: [\"http://shop\"] }\n",
                "1:25: limits.targetHosts[0]: \"http://shop\" is no pattern of hosts",
            ),
            (
                "resultProfiles:\n  big: { raw: { mode: None } }\n",
                "2:3: resultProfiles.big: set exactly one of profile, urls",
            ),
            ("a: b: c\n", "1:"),
            ("{}\n---\n{}\n", "has more than one document"),
        ] {
            let problems = GuardRails::parse(text).unwrap_err().to_string();
            assert!(problems.contains(said), "{text}: {problems}");
        }
        for empty in ["", "# nothing\n", "{}", "limits:\n"] {
            let rails = GuardRails::parse(empty).unwrap();
            assert!(!rails.has_queue() && !rails.limits_tests("perf"), "{empty}");
        }
    }

    #[test]
    fn a_test_gets_the_search_server_that_it_names_and_keeps_its_own_words() {
        let rails = GuardRails::parse(
            "resultProfiles: { big: { urls: [\"https://es:9200\"], flavor: OpenSearch,
               authRef: { apiKey: { name: es, key: k } }, drainTimeout: 1m } }",
        )
        .unwrap();
        let mut test = fixtures::spec();
        test.results = serde_json::from_value(json!({"elasticsearch": {
            "profile": "big", "drainTimeout": "2m", "raw": {"mode": "None"},
        }}))
        .unwrap();
        rails.resolve(&mut test);
        let search = test.results.as_ref().unwrap().elasticsearch.as_ref();
        let expected = json!({
            "profile": "big", "urls": ["https://es:9200"], "flavor": "OpenSearch",
            "authRef": {"apiKey": {"name": "es", "key": "k"}},
            "drainTimeout": "2m", "raw": {"mode": "None"},
        });
        assert_eq!(serde_json::to_value(search).unwrap(), expected);
        let mut other = test.clone();
        if let Some(search) = other
            .results
            .as_mut()
            .and_then(|r| r.elasticsearch.as_mut())
        {
            search.profile = Some("small".into());
            search.urls.clear();
        }
        let before = other.clone();
        rails.resolve(&mut other);
        assert_eq!(other, before);
        let said: Vec<_> = rails.check("perf", &other, "spec");
        assert_eq!(
            said[0].sentence(),
            "spec.results.elasticsearch.profile: the operator's configuration has no result profile \"small\": it has big"
        );
    }
}
